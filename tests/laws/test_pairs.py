"""Experiments beside each other: units that they share, and what differs between two of one pair."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workflow_scripts.laws.bootstrap import fit_runs
from workflow_scripts.laws.fit import write_results
from workflow_scripts.laws.pairs import main, ratios, sentences
from workflow_scripts.laws.runs import check_runs
from workflow_scripts.laws.simulate import Planted, simulate_runs
from workflow_scripts.sections import Fit

BYTES = {"german": 1.02, "chinese": 2.9}
"""Bytes a character."""


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """Two languages; and one of them again, where only half of the transfer is left."""
    folder = tmp_path_factory.mktemp("results")
    for name, target, planted in [
        ("english_to_german", "german", Planted()),
        ("german_own", "german", Planted(k=20.0)),
        ("english_to_chinese", "chinese", Planted(k=10.0)),
    ]:
        runs = simulate_runs(planted=planted, document_size=None).assign(corpus=target)
        runs["d_bytes"] = runs["d_chars"] * BYTES[target]
        runs["test_bits_per_byte"] /= BYTES[target]
        checked = check_runs(runs)
        laws = folder / name / "laws"
        laws.mkdir(parents=True)
        runs.to_parquet(laws / "runs.parquet")
        write_results(checked, fit_runs(checked, Fit(d_f=(6_000, 60_000), draws=100), "excerpt"), laws)
    return folder


@pytest.fixture(scope="module")
def tables(results, tmp_path_factory) -> tuple[pd.DataFrame, pd.DataFrame]:
    out = tmp_path_factory.mktemp("pairs")
    main([*map(str, sorted(results.iterdir())), "--out", str(out)])
    return pd.read_csv(out / "cells.csv"), pd.read_csv(out / "laws.csv")


def test_every_cell_has_its_data_in_characters_and_bytes_and_its_losses_in_bits_per_byte(results, tables):
    cells, _ = tables
    for name, rows in cells.groupby("experiment"):
        effective = pd.read_parquet(results / name / "laws" / "effective_data.parquet").query("d_f > 0")
        assert len(rows) == len(effective)
        assert np.allclose(rows["multiplier"], effective["d_e"] / effective["d_f"], equal_nan=True)
        assert np.allclose(rows["d_f_bytes"], rows["d_f"] * BYTES[rows["target"].iloc[0]])
        assert np.allclose(rows["test_bits_per_byte"], effective["test_bits_per_byte"])
        runs = pd.read_parquet(results / name / "laws" / "runs.parquet").query("arm == 'scratch'")
        cell = rows.iloc[0]
        same = runs[(runs.n_params == cell.n_params) & (runs.d_chars == cell.d_f)]
        assert cell.scratch_bits_per_byte == pytest.approx(same.test_bits_per_byte.mean())


def test_every_pair_has_its_law_with_intervals(tables):
    _, laws = tables
    assert set(laws["target"]) == {"german", "chinese"}
    for name in ("k", "alpha", "beta"):
        assert (laws[f"{name}_low"] < laws[name]).all()
        assert (laws[name] < laws[f"{name}_high"]).all()


def test_what_differs_between_two_experiments_of_one_pair_is_a_number_with_an_interval(results, tables, capsys):
    """Half of D_T was planted."""
    cells, _ = tables
    (ratio,) = ratios([results / "german_own", results / "english_to_german"], cells)
    assert ratio["experiments"] == ["german_own", "english_to_german"]
    assert ratio["low"] < 0.5 < ratio["high"]
    assert ratio["high"] / ratio["low"] < 3


def test_the_sentences_name_pairs_units_and_intervals(results, tmp_path, capsys):
    main([str(results / "english_to_chinese"), str(results / "english_to_german"), "--out", str(tmp_path)])
    told = capsys.readouterr().out
    assert "english -> chinese (english_to_chinese): at N = 55k, 6,000 characters (17,400 bytes) count" in told
    assert "bits per byte against" in told
    assert "english -> german" in told
    assert "nan" not in told


def test_the_cell_that_is_told_is_one_of_the_law(tables):
    """A smaller set of another sampling unit, or outside the fit, stood beside a law that it has no part in."""
    cells, laws = tables
    of_law = cells[cells["in_fit"]]
    other = of_law.assign(d_f=of_law["d_f"] // 2, multiplier=99.0, in_fit=False)
    assert sentences(pd.concat([other, cells]), laws, []) == sentences(cells, laws, [])


def test_the_share_that_differs_is_of_the_larger_whichever_comes_first(results, tables):
    cells, laws = tables
    both = [results / "german_own", results / "english_to_german"]
    shares = []
    for experiments in (both, both[::-1]):
        *_, told = sentences(cells, laws, ratios(experiments, cells))
        shares.append(told.split("what differs between them is ")[1])
    assert shares[0] == shares[1]
    assert shares[0].endswith("% of the larger")
    assert not shares[0].startswith("-")


def test_an_experiment_that_was_not_run_is_named(results, tmp_path):
    with pytest.raises(SystemExit, match=r"nowhere/laws/runs.parquet: no such file; run that experiment first"):
        main([str(results / "nowhere"), "--out", str(tmp_path)])


def test_two_folders_of_one_name_are_refused(results, tmp_path):
    """Experiments are told apart by their folders' names: the numbers of one stood for those of the other."""
    other = tmp_path / "other" / "german_own"
    shutil.copytree(results / "english_to_german", other)
    with pytest.raises(
        SystemExit, match=rf"^{results / 'german_own'} and {other}: both folders are called german_own, .* one of them"
    ):
        main([str(results / "german_own"), str(other), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out" / "cells.csv").exists()


def test_a_multiplier_read_across_a_coarse_grid_says_so(tables):
    """Kim's from-scratch D are a factor 10 apart: what is read between two of them is known no better."""
    cells, laws = tables
    assert not any("differ by a factor" in told for told in sentences(cells, laws, []))
    _, *coarse = sentences(cells.assign(d_e_gap=10.0), laws, [])
    assert all("read between from-scratch D that differ by a factor 10" in told for told in coarse)


def test_a_fit_on_a_bound_of_its_search_is_no_law(tables):
    """English to Chinese: alpha 1.50, beta 4.00, k 4.83e-24 stood beside the laws of other pairs."""
    cells, laws = tables
    _, *pairs = sentences(cells, laws.assign(status="on a bound"), [])
    for told in pairs:
        assert "no law can be read: the fit is on a bound of its search" in told
        assert "alpha" not in told

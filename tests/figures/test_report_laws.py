"""What the laws found stands in the report: help and harm by cell, noise, searches, sweeps."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.figures.conftest import Report
from tests.figures.test_figures import AWKWARD
from tests.figures.test_report import text_of
from workflow_scripts.experiment import Experiment
from workflow_scripts.figures import report_harm, report_laws, report_sweeps, sentences, transfer_law
from workflow_scripts.figures.tables import Laws, TableError
from workflow_scripts.figures.words import count, interval, number
from workflow_scripts.laws.simulate import simulate_runs
from workflow_scripts.laws.sweeps import judge

FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
OWN = 0.004
"""The recipe's own value of a constant that is swept."""


def copied(laws: Path, folder: Path, **documents: Callable[[dict], object]) -> Path:
    """A copy of a laws folder in which JSON files, named without their suffix, are changed in place."""
    shutil.copytree(laws, folder, dirs_exist_ok=True)
    for name, change in documents.items():
        path = folder / f"{name}.json"
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))
    return folder


def rows_of(html: str) -> list[list[str]]:
    return [
        [text_of(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)] for row in re.findall("<tr>.*?</tr>", html)
    ]


def on_a_bound(document: dict) -> None:
    """Statutes in Chinese after English, as measured: transfer of nothing, fitted by the ends of the search."""
    for law in document["sources"].values():
        law["status"] = "on a bound"


def test_coefficients_on_a_bound_of_the_search_are_told_as_none(
    laws_folder: Path, make_report: Report, tmp_path: Path
) -> None:
    """They stood as the law under "The answer", and drew its lines."""
    laws = Laws(copied(laws_folder, tmp_path / "laws", transfer_law=on_a_bound))
    text = text_of(make_report(laws.folder))
    assert "No law can be read for English: the best coefficients lie on a bound of the search" in text
    assert "By the law" not in text
    assert "So the fraction" not in text
    axes = transfer_law.draw(laws, "python").axes[0]
    assert axes.get_title().endswith("no law: the fit is on a bound of its search")
    assert "Lines" not in " ".join(t.get_text() for t in axes.figure.texts)


def test_every_cell_of_the_law_has_its_verdict_and_probability(html: str, laws_folder: Path) -> None:
    """The map of ossification: a row a size, a column a D_F."""
    cells = Laws(laws_folder).cells("english")
    shown = rows_of(html)
    for size, of_size in cells.groupby("size"):
        told = []
        for cell in of_size.itertuples():
            good, bad = (f"{100 * share:.3g} %" for share in (cell.probability_of_help, cell.probability_of_harm))
            told.append({"helps": f"helps ({good})", "hurts": f"hurts ({bad})"}.get(cell.verdict))
            told[-1] = told[-1] or f"undecided ({good} help, {bad} harm)"
        assert [size, *told] in shown
    head = "".join(f"<th>D<sub>F</sub> = {count(d_f)}</th>" for d_f in sorted(cells["d_f"].unique()))
    assert f"<th>N</th>{head}" in html
    helped = (cells["verdict"] == "helps").sum()
    assert f"English: pre-training helps in {helped} of {len(cells)} cells" in text_of(html)


def verdicts(cells: pd.DataFrame) -> pd.DataFrame:
    """One D_F hurts, one is undecided, at one nothing is known, the others help; the other sampling unit is left out."""
    cells, here = cells.assign(verdict="helps"), cells["unit"] == "excerpt"
    at = [here & (cells["d_f"] == d_f) for d_f in (6_000, 10_000, 20_000)]
    columns = ["verdict", "probability_of_help", "probability_of_harm"]
    for row, values in zip(
        at, [("hurts", 0.004, 0.981), ("undecided", 0.62, 0.31), ("unknown", np.nan, np.nan)], strict=True
    ):
        cells.loc[row, columns] = values
    return cells.assign(verdict=cells["verdict"].where(here, "of documents"))


def test_harm_doubt_and_ignorance_are_told_apart(make_laws: Callable[..., Path]) -> None:
    (found,) = report_harm.section(Laws(make_laws(change=verdicts)))["maps"]
    for _, *told in found["rows"]:
        by_d_f = dict(zip(found["head"][1:], told, strict=True))
        assert by_d_f["D_F = 6k"] == "hurts (98.1 %)"
        assert by_d_f["D_F = 10k"] == "undecided (62 % help, 31 % harm)"
        assert by_d_f["D_F = 20k"] == "unknown"
    n = len(found["rows"])
    assert f"hurts in {n} and is undecided in {n}. In {n} it is unknown" in found["sentence"]


def test_lengths_of_pretraining_have_maps_of_their_own(make_laws: Callable[..., Path]) -> None:
    """Cells of several P share N and D_F: one must not stand for the other."""

    def longer(cells: pd.DataFrame) -> pd.DataFrame:
        more = cells.assign(pretrain_tokens=2 * cells["pretrain_tokens"], verdict="hurts", probability_of_harm=1.0)
        return pd.concat([cells, more], ignore_index=True)

    maps = report_harm.section(Laws(make_laws(change=longer)))["maps"]
    assert [found["sentence"].split(":")[0] for found in maps] == ["English, P = 4M tokens", "English, P = 8M tokens"]
    assert {cell for row in maps[1]["rows"] for cell in row[1:]} == {"hurts (100 %)"}


def test_how_many_times_data_counts_is_said_at_both_ends_of_n(html: str, laws_folder: Path) -> None:
    ends = Laws(laws_folder).transfer_law["english"]["data_multiplier"]
    told = [
        f"{number(one['estimate'])} ({interval(one['low'], one['high'])}) times at N = {count(one['n_params'])}"
        for one in ends
    ]
    given = f"By the law, {count(ends[0]['d_f'])} characters of Python, the middle of the fit, count"
    assert f"{given} {' and '.join(told)}." in text_of(html)
    assert ends[0]["n_params"] < ends[1]["n_params"]


def test_a_multiplier_without_a_value_is_unknown() -> None:
    ends = {"d_f": 20_000, "estimate": None, "low": None, "high": None}
    told = sentences.multiplier({"data_multiplier": [ends | {"n_params": n} for n in (6_000, 60_000)]}, "python")
    assert "unknown (no interval) times at N = 6k and unknown" in told


def test_the_parts_of_the_noise_stand_in_the_report(html: str, laws_folder: Path) -> None:
    noise = Laws(laws_folder).noise
    assert len(noise["nats_per_token"]) == len(report_laws.NOISE)
    for name, deviation in noise["nats_per_token"].items():
        assert [report_laws.NOISE[name], number(deviation)] in rows_of(html)
    text = text_of(html)
    assert "the differences between the seeds of a cell, pooled over all cells" in text
    assert f"characters, it goes as D^{number(noise['d_exponent'])}." in text
    assert f"rests on up to {noise['pretrain_seeds']} pre-trained models" in text


def test_noise_that_one_seed_cannot_show_is_unknown(make_laws: Callable[..., Path]) -> None:
    found = report_laws.noise(Laws(make_laws(runs=simulate_runs(seeds=(0,)))))
    told = dict(found["rows"])
    assert [told[report_laws.NOISE[name]] for name in ("pretrain", "prefix", "zero_shot")] == ["unknown"] * 3
    assert told[report_laws.NOISE["finetune_run"]] != "unknown"
    assert "No cell has two seeds: the noise is the scatter" in found["sentences"]
    assert "rests on one pre-trained model" in found["sentences"]


def test_pretrained_models_that_the_table_does_not_tell_are_not_counted(make_laws: Callable[..., Path]) -> None:
    runs = simulate_runs()
    found = report_laws.noise(Laws(make_laws(runs=runs[runs.arm.isin(["finetune", "scratch"])])))
    assert found["sentences"].endswith("How many pre-trained models a cell rests on, the table of runs does not say.")


def test_no_noise_at_all_is_said(laws_folder: Path, tmp_path: Path) -> None:
    def silence(law: dict) -> None:
        parts = law["noise"]["nats_per_token"]
        law["noise"] |= {"nats_per_token": dict.fromkeys(parts, 0.0) | {"finetune_run": None}, "from_seeds": False}

    found = report_laws.noise(Laws(copied(laws_folder, tmp_path, transfer_law=silence)))
    assert {nats for _, nats in found["rows"]} == {"unknown"}
    assert "intervals are unknown" in found["sentences"]


def test_the_search_for_each_law_around_stands_beside_its_status(
    make_report: Report, laws_folder: Path, tmp_path: Path
) -> None:
    def lose(scaling: dict) -> None:
        scaling["laws"][0]["draws"] = {"number": 1000, "not_converged": 3, "on_a_bound": 5}
        scaling["laws"][0] |= {"n_points": 20, "n_at_budget_left_out": 4}

    folder = copied(laws_folder, tmp_path, scaling=lose)
    rows = [row for row in rows_of(make_report(folder)) if len(row) == 8]
    shown = [row[-2:] for row in rows]
    laws = Laws(folder).scaling["laws"]
    starts = [f"{law['starts']['agreed']} of {law['starts']['tried']}" for law in laws]
    assert [row[0] for row in shown] == starts
    assert shown[0][1] == "1,000: 3 not converged, 5 on a bound"
    for law, (_, draws) in list(zip(laws, shown, strict=True))[1:]:
        bound = law["draws"]["on_a_bound"]
        assert draws == ("20" if not bound else f"20: {bound} on a bound")
    assert {"20"} < {draws for _, draws in shown}
    assert rows[0][4] == "20, 4 at budget left out"


def test_d_of_n_says_how_often_it_lies_beyond_the_runs(html: str, laws_folder: Path) -> None:
    cells = Laws(laws_folder).cells("english").drop_duplicates("size")
    shown = {row[1]: row[2:5] for row in rows_of(html) if len(row) == 6 and row[0] == "English"}
    for cell in cells.itertuples():
        d_n, span, beyond = shown[cell.size]
        assert beyond == f"{100 * cell.d_n_beyond:.3g} % of draws"
        if np.isfinite(cell.d_n):
            assert (d_n, span) == (count(cell.d_n), interval(cell.d_n_low, cell.d_n_high, count))
        else:
            assert (d_n, span) == (f"≥ {count(cell.d_n_low)}", "beyond the runs")


def test_zero_shot_has_its_interval_where_d_e_is_a_limit_too(laws_folder: Path, tmp_path: Path) -> None:
    def limit(law: dict) -> None:
        cells = law["sources"]["english"]["effective_data"]["zero_shot"]
        cells[0] |= {"d_e": None, "d_e_low": None, "d_e_high": 3_000.0, "censored": "below", "d_e_limit": 2_000.0}
        cells[2] |= {"d_e": None, "d_e_low": None, "d_e_high": None, "censored": "above", "d_e_limit": 9_000.0}
        cells[1] |= {"d_e": 4_000.0, "d_e_low": 3_000.0, "d_e_high": 5_000.0}

    told = report_laws.readings(Laws(copied(laws_folder, tmp_path, transfer_law=limit)))[-1]
    assert "is worth D_E = below 2k (at most 3k) at N = 6k, 4k (3k to 5k) at N = 14k, above 9k at N = 25k" in told


def swept(optimum: float, arm: str, constant: str = "learning_rate") -> pd.DataFrame:
    """Losses of a sweep, on a parabola about the optimum (over the recipe's own); two seeds, which differ a little."""
    rows = [
        {"constant": constant, "value": OWN * factor, "own": OWN, "arm": arm}
        | {"source": None if arm == "scratch" else "english"}
        | {"size": "25k", "n_params": 24_576, "d_chars": 6_000, "seed": seed}
        | {"test_loss": 3.0 + 0.05 * np.log(factor / optimum) ** 2 + 0.004 * seed * (factor == 4)}
        for factor in FACTORS
        for seed in (0, 1)
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def with_sweeps(laws_folder: Path, tmp_path: Path) -> Path:
    """From scratch the recipe's learning rate is the best; fine-tuned, the best lies at the upper edge."""
    folder = copied(laws_folder, tmp_path / "laws")
    runs = pd.concat([swept(1.0, "scratch"), swept(9.0, "finetune"), swept(0.9, "scratch", "weight_decay")])
    place = {"constant": "learning_rate", "source": "english", "size": "25k", "d_chars": 6_000}
    at_optima = {"same_runs": True, "transfer": [{**place, "d_e": 12_000.0, "d_t_ratio": 1.37}]}
    for name, made in (("sweeps", {"cells": judge(runs)}), ("transfer_at_optima", at_optima)):
        (folder / f"{name}.json").write_text(json.dumps({"simulated": False} | made))
    return folder


def test_a_report_says_what_the_sweeps_found(make_report: Report, with_sweeps: Path) -> None:
    """An optimum at the edge of a sweep is none: the reader must meet that among the reservations."""
    html = make_report(with_sweeps)
    shown = {(row[0], row[1]): row for row in rows_of(html) if len(row) == 10}
    tuned = shown["learning rate", "fine-tuning from English"]
    assert tuned[2:5] == ["25k", "6k", "0.00400"]
    assert tuned[5] == "≥ 0.0160"
    assert tuned[6].startswith("≥ 0.")
    assert tuned[7:] == ["not negligible", "1.4", "–"]
    assert shown["learning rate", "from scratch"][4:8] == ["0.00400", "0.00400", "0.000 ± 0.001", "negligible"]
    assert "≥" not in "".join(shown["weight decay", "from scratch"])
    text = text_of(html)
    reserved = text[text.index("What the data does not support") : text.index("What a larger model buys")]
    assert "In 1 of 2 cells of the sweep the best learning rate lies at its edge" in reserved
    assert "In 1 of 2 cells of the sweep another learning rate is better by more than 0.02 nats per token" in reserved
    assert "weight decay" not in reserved
    assert "Not measured" not in text


def test_a_ratio_to_a_loss_by_pretraining_is_not_told(make_report: Report, with_sweeps: Path) -> None:
    """It read backwards: D_T from -4 to -2 million characters was `0.5`, as if transfer were halved."""
    at_optima = json.loads((with_sweeps / "transfer_at_optima.json").read_text())
    at_optima["transfer"][0]["d_t_ratio"] = None
    (with_sweeps / "transfer_at_optima.json").write_text(json.dumps(at_optima))
    html = make_report(with_sweeps)
    (tuned,) = [row for row in rows_of(html) if len(row) == 10 and row[1] == "fine-tuning from English"]
    assert tuned[8] == "none, DT ≤ 0"
    assert "none where DT is 0 or below" in text_of(html)


def test_a_cell_of_a_sweep_without_the_recipes_own_value_is_unknown(with_sweeps: Path, experiment: dict) -> None:
    runs = swept(0.1, "finetune").assign(test_loss=lambda table: table["test_loss"].mask(table["value"] == OWN))
    sweeps = {"simulated": False, "cells": judge(runs)}
    (with_sweeps / "sweeps.json").write_text(json.dumps(sweeps))
    (with_sweeps / "transfer_at_optima.json").unlink()
    laws = Laws(with_sweeps)
    (row,) = report_sweeps.section(laws, Experiment.parse(experiment, "here"))["rows"]
    assert row[4:] == ["0.00400", "≤ 0.00100", "unknown", "unknown", "unknown", "0.00400"]
    assert (
        "runs at the recipe's own learning rate failed: what it loses is unknown" in report_sweeps.reservations(laws)[1]
    )


def test_sweeps_that_are_missing_or_out_of_date_are_said(
    html: str, with_sweeps: Path, experiment: dict, make_report: Report
) -> None:
    assert "Not measured: <code>snakemake sweeps</code> does it." in html
    without = report_sweeps.section(Laws(with_sweeps), Experiment.parse(experiment | {"sweeps": []}, "here"))
    assert without["caution"] is None
    other = {"simulated": False, "same_runs": False, "transfer": []}
    (with_sweeps / "transfer_at_optima.json").write_text(json.dumps(other))
    assert "of other runs than the law: <code>snakemake sweeps</code> makes them again" in make_report(with_sweeps)
    (with_sweeps / "sweeps.json").unlink()
    without = report_sweeps.section(Laws(with_sweeps), Experiment.parse(experiment | {"sweeps": []}, "here"))
    assert without["caution"] == "Not measured: the configuration names no sweeps."


def test_simulated_sweeps_do_not_stand_beside_measured_tables(with_sweeps: Path) -> None:
    sweeps = json.loads((with_sweeps / "sweeps.json").read_text())
    (with_sweeps / "sweeps.json").write_text(json.dumps(sweeps | {"simulated": True}))
    with pytest.raises(TableError, match=r"sweeps.json is simulated"):
        assert Laws(with_sweeps).simulated


def test_awkward_cells_have_words_in_every_table(make_laws: Callable[..., Path], make_report: Report) -> None:
    """Without a law, there is no multiplier, but a map, the noise and D(N)."""
    text = text_of(make_report(make_laws(**AWKWARD["no law fitted"])))
    assert "By the law" not in text
    assert "English: pre-training helps in" in text
    assert "of a data set, shared by all runs on it in both arms" in text

"""Intervals of effective data: D(N), help and harm, bits per byte; nothing is extrapolated, nothing invented."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts.laws.bootstrap import fit_runs
from workflow_scripts.laws.curves import fit_power_law
from workflow_scripts.laws.effective_data import Curve, log_inverse
from workflow_scripts.laws.runs import check_runs
from workflow_scripts.laws.simulate import Noise, Planted, simulate_runs
from workflow_scripts.sections import Fit

RULE = Fit(d_f=(6000, 60000), draws=200)
SHARP = Planted(floor=3.0, data_scale=5e4, data_exponent=1.2, size_scale=0.0)
"""Curves that reach their floor inside the grid: D(N) = 152 k."""


def table_of(runs: pd.DataFrame) -> pd.DataFrame:
    return fit_runs(check_runs(runs), RULE, "excerpt").table


def test_sufficient_data_inside_the_grid_has_an_interval_around_the_truth():
    table = table_of(simulate_runs(planted=SHARP, noise=Noise(0.002, 0.002, 0.003), document_size=None))
    truth = (5e4 * 99 / 3) ** (1 / 1.2)
    known = table[table.d_n.notna() & table.d_n_high.notna()]
    assert len(known) > 20
    assert (known.d_n_low < known.d_n).all()
    assert (known.d_n < known.d_n_high).all()
    assert ((known.d_n_low < truth) & (truth < known.d_n_high)).mean() > 0.8


def test_sufficient_data_beyond_the_grid_has_the_largest_scratch_d_as_its_lower_bound():
    table = table_of(simulate_runs())
    excerpt = table[table.unit == "excerpt"]
    assert excerpt.d_n.isna().all()
    assert excerpt.d_n_high.isna().all()
    assert (excerpt.d_n_low == 600_000).all()
    assert (excerpt.d_n_beyond > 0.5).all()
    assert set(excerpt.regime) == {"low", "unknown"}
    assert (excerpt.d_f[excerpt.regime == "unknown"] > 60_000).all()


def test_the_tolerance_of_sufficient_data_is_the_users():
    runs = check_runs(simulate_runs(planted=SHARP, noise=Noise(0, 0, 0), document_size=None))
    tables = [fit_runs(runs, Fit(d_f=(6000, 60000), draws=100, infinite_data_tolerance=t)).table for t in (0.01, 0.05)]
    assert (tables[1].d_n < tables[0].d_n).all()


def test_the_map_of_ossification_says_where_pretraining_hurts_and_how_sure_that_is():
    table = table_of(simulate_runs(planted=Planted(ossification=2.0), document_size=None))
    tuned = table[table.d_f > 0]
    truth = np.array(
        [Planted(ossification=2.0).effective_data(n, d) for n, d in zip(tuned.n_params, tuned.d_f, strict=True)]
    )
    assert (truth < tuned.d_f)[tuned.verdict == "hurts"].all()
    assert (truth > tuned.d_f)[tuned.verdict == "helps"].all()
    assert {"helps", "hurts", "undecided"} == set(tuned.verdict)
    assert (tuned.probability_of_harm + tuned.probability_of_help <= 1 + 1e-12).all()


def test_limits_decide_neither_help_nor_harm_on_their_open_side():
    """A fine-tuned run at its budget may still have helped; a D_E read from a scratch run at its own may be smaller."""
    runs = simulate_runs(document_size=None)
    runs = runs.assign(hit_budget=runs.arm.isin(["finetune", "scratch"]))
    table = table_of(runs)
    assert (table.probability_of_harm[table.lower_bound] == 0).all()
    assert (table.probability_of_help[table.upper_bound] == 0).all()


def test_bits_per_byte_give_the_same_effective_data_with_one_tokenizer():
    table = table_of(simulate_runs())
    for end in ("", "_low", "_high"):
        np.testing.assert_allclose(table[f"d_e_in_bits{end}"], table[f"d_e{end}"], rtol=1e-5)


def test_bits_per_byte_decide_where_tokenizers_differ():
    """Longer tokens raise the loss a token, not the loss a byte: D_E of such models must be read in bits."""
    runs = simulate_runs(noise=Noise(0, 0, 0), document_size=None)
    longer = (runs.arm == "finetune") & (runs.d_chars == 20_000)
    runs.loc[longer, "test_loss"] *= 1.1
    table = table_of(runs)
    cells = table[(table.d_f == 20_000) & table.d_e_in_bits.notna()]
    truth = [Planted().effective_data(n, 20_000) for n in cells.n_params]
    np.testing.assert_allclose(cells.d_e_in_bits, truth, rtol=0.05)
    assert not np.allclose(cells.d_e.fillna(0), truth, rtol=0.1)


def test_intervals_in_bits_know_of_as_many_pretrained_models():
    """Rows of pre-training were left out there, so that seeds of one model counted as one each; they need no bits."""
    runs = simulate_runs(document_size=None)
    runs = runs[(runs.arm != "zero_shot") & ((runs.arm != "pretrain") | (runs.seed == 0))]
    runs["test_bits_per_byte"] = runs.test_bits_per_byte.where(runs.arm != "pretrain")
    table = table_of(runs)
    for end in ("low", "high"):
        np.testing.assert_allclose(table[f"d_e_in_bits_{end}"], table[f"d_e_{end}"], rtol=1e-5)


def test_a_table_without_bits_has_nulls_for_them():
    table = table_of(simulate_runs().drop(columns="test_bits_per_byte"))
    assert table[["d_e_in_bits", "d_e_in_bits_low", "d_e_in_bits_high"]].isna().all(axis=None)


D = np.geomspace(6e3, 6e5, 7)
CURVE = Curve(np.log(D), np.ones(7), np.zeros(7, dtype=bool), np.arange(7), np.arange(1))


@given(st.floats(0.1, 9.0), st.floats(0.1, 9.0), st.floats(0.05, 0.8))
def test_the_parametric_inverse_is_monotone_and_never_extrapolates(one, other, exponent):
    law = fit_power_law(D, 1 + 20 * D**-exponent, np.ones(7))
    better, worse = log_inverse(CURVE, law, np.array([[min(one, other), max(one, other)]]))[0]
    assert better >= worse
    for value in (better, worse):
        assert np.isinf(value) or np.log(D[0]) - 1e-6 <= value <= np.log(D[-1]) + 1e-6


def test_both_readings_have_intervals_and_are_compared():
    table = table_of(simulate_runs(document_size=None))
    inside = table[table.d_e.notna()]
    assert (inside.d_e_parametric_low < inside.d_e_parametric).all()
    assert (inside.d_e_parametric < inside.d_e_parametric_high).all()
    assert np.median(inside.d_e_parametric / inside.d_e) == pytest.approx(1.0, abs=0.1)

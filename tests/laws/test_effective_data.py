"""Cells from runs: what is censored, flagged, kept, and in which regime."""

import numpy as np
import pandas as pd
import pytest

from workflow_scripts.laws.bootstrap import fit_runs, observe
from workflow_scripts.laws.effective_data import Effective, collect_cells, describe_cells, regime
from workflow_scripts.laws.runs import RunsError, check_runs
from workflow_scripts.laws.simulate import Noise, Planted, simulate_runs
from workflow_scripts.laws.summary import summarise
from workflow_scripts.sections import Fit

QUIET = Noise(0.0, 0.0, 0.0)
STRAIGHT = Planted(floor=0.0, size_scale=0.0)
"""From-scratch curves that are straight in (ln D, ln L), so that interpolation is exact."""
RULE = Fit(d_f=(6000, 60000), draws=100)


def cells_of(runs: pd.DataFrame) -> pd.DataFrame:
    return describe_cells(collect_cells(check_runs(runs), "excerpt"), 0.01, 0.1)


def only(table: pd.DataFrame, n_params: int, d_f: int, unit: str = "excerpt") -> pd.Series:
    (row,) = table[(table.n_params == n_params) & (table.d_f == d_f) & (table.unit == unit)].itertuples()
    return row


def with_budget(runs: pd.DataFrame, arm: str, d: int) -> pd.DataFrame:
    return runs.assign(hit_budget=(runs.arm == arm) & (runs.d_chars == d) & (runs.n_params == 24576))


def test_planted_effective_data_is_returned_by_both_estimators():
    table = cells_of(simulate_runs(planted=STRAIGHT, noise=QUIET, document_size=None))
    table = table[table.d_f > 0]
    truth = [STRAIGHT.effective_data(n, d) for n, d in zip(table.n_params, table.d_f, strict=True)]
    np.testing.assert_allclose(table.d_e, truth, rtol=1e-9)
    np.testing.assert_allclose(table.d_e_parametric, truth, rtol=1e-3)
    np.testing.assert_allclose(table.d_t, truth - table.d_f, rtol=1e-9)


def test_cells_outside_the_curve_are_censored_and_have_no_number():
    """Neither clamped to the largest from-scratch D nor extrapolated; the zero-shot cell lies below the smallest."""
    runs = simulate_runs(noise=QUIET, scratch=(10_000, 20_000, 35_000, 60_000))
    table = cells_of(runs)
    above, below, inside = (only(table, 196608, 200_000), only(table, 6144, 0), only(table, 6144, 10_000))
    assert (above.censored, below.censored, inside.censored) == ("above", "below", "none")
    assert np.isnan([above.d_e, above.d_t, above.d_e_gap, below.d_e, above.d_e_parametric, below.d_e_parametric]).all()
    assert (above.d_e_limit, below.d_e_limit) == (60_000, 10_000)
    assert inside.d_e_gap == pytest.approx(2.0)


def test_ossified_cells_keep_their_negative_transfer():
    runs = simulate_runs(noise=QUIET, planted=Planted(floor=0.0, size_scale=0.0, ossification=2.0))
    fitted = fit_runs(check_runs(runs), RULE, "excerpt")
    cell = only(fitted.table, 6144, 60_000)
    assert cell.d_t < 0
    assert cell.in_fit
    assert cell.probability_of_harm == 1.0
    assert len(fitted.in_fit("english")) == 30


def test_a_plateau_gives_the_geometric_middle_and_the_whole_interval():
    runs = simulate_runs(noise=QUIET, document_size=None)
    flat = (runs.arm == "scratch") & (runs.n_params == 6144) & runs.d_chars.isin([20_000, 35_000, 60_000])
    runs.loc[flat, "test_loss"] = 4.4
    runs.loc[(runs.arm == "finetune") & (runs.n_params == 6144) & (runs.d_chars == 10_000), "test_loss"] = 4.4
    fitted = fit_runs(check_runs(runs), RULE)
    cell = only(fitted.table, 6144, 10_000)
    assert cell.d_e == pytest.approx(np.sqrt(20_000 * 60_000))
    assert cell.d_e_gap == pytest.approx(3.0)
    assert cell.d_e_low <= 20_001
    assert cell.d_e_high >= 59_999
    design = fitted.laws[0].design
    (deviation,) = design.deviation[(design.n_params == 6144) & (design.d_f == 10_000)]
    assert deviation >= np.log(3) / np.sqrt(12), "its width is part of its weight in the law"


@pytest.mark.parametrize("beside", [-0.01, 0.0, 0.01])
def test_a_loss_beside_a_plateau_weighs_little_too(beside):
    """The width counted only where the loss was that of the plateau to nine digits, which no measured loss is."""
    runs = simulate_runs(document_size=None, random_seed=3)
    cell = (runs.n_params == 6144) & (runs.arm == "finetune") & (runs.d_chars == 10_000)
    flat = (runs.arm == "scratch") & (runs.n_params == 6144) & runs.d_chars.isin([20_000, 35_000, 60_000, 100_000])
    runs.loc[flat, "test_loss"], runs.loc[cell, "test_loss"] = 4.4, 4.4 + beside
    (deviation,) = [
        fitted.design.deviation[(fitted.design.n_params == 6144) & (fitted.design.d_f == 10_000)][0]
        for fitted in fit_runs(check_runs(runs), RULE).laws
    ]
    assert deviation > np.log(5) / np.sqrt(12) / 2


def test_cells_read_from_a_scratch_run_at_its_budget_are_upper_limits():
    """They were left out: a decision by outcome."""
    runs = with_budget(simulate_runs(noise=QUIET), "scratch", 35_000)
    fitted = fit_runs(check_runs(runs), RULE, "excerpt")
    table, (law,) = fitted.table, fitted.laws
    flagged = table[table.upper_bound & (table.unit == "excerpt") & (table.d_f > 0)]
    assert set(flagged.n_params) == {24576}
    assert flagged.d_e.between(20_000, 60_000).all()
    assert flagged.in_fit.all()
    assert (law.observed.side == -1).sum() == len(flagged)
    assert law.best.law.alpha[0] == pytest.approx(Planted().alpha, abs=0.02)
    assert flagged.d_e_low.isna().all()
    assert flagged.d_e_high.notna().all()
    assert only(table, 24576, 60_000).in_fit


def test_parametric_data_beyond_the_points_within_budget_are_limits_there():
    """They were taken for limits at the curve's last point, which stopped at its budget, and drew alpha up."""
    runs = simulate_runs(noise=QUIET)
    scratch = runs.arm == "scratch"
    cells = collect_cells(check_runs(runs.assign(hit_budget=scratch & (runs.d_chars >= 60_000))), "excerpt")
    every = np.arange(len(cells.tuned))
    beyond = np.full((1, len(every)), np.inf)
    for parametric, last in ((True, 35_000), (False, runs.d_chars[scratch].max())):
        seen = observe(cells, Effective(beyond, beyond), every, np.zeros(len(every), dtype=bool), parametric=parametric)
        assert (seen.side == 1).all()
        assert np.exp(seen.log_d_e[0]) == pytest.approx(last)


def test_fine_tuned_runs_at_their_budget_give_lower_limits():
    runs = with_budget(simulate_runs(noise=QUIET), "finetune", 20_000)
    fitted = fit_runs(check_runs(runs), RULE, "excerpt")
    cell = only(fitted.table, 24576, 20_000)
    assert cell.lower_bound
    assert np.isnan([cell.d_e_high, cell.d_t_high]).all()
    assert np.isfinite([cell.d_e_low, cell.d_t_low]).all()
    assert (fitted.laws[0].observed.side == 1).sum() == 1


def test_the_rule_alone_decides_what_enters_the_fit():
    table = fit_runs(check_runs(simulate_runs()), Fit(d_f=(10_000, 35_000), draws=100), "excerpt").table
    expected = (table.unit == "excerpt") & table.d_f.isin([10_000, 20_000, 35_000])
    assert (table.in_fit == expected).all()


def test_intervals_are_null_where_they_leave_the_curve():
    runs = simulate_runs(scratch=(10_000, 20_000, 35_000, 60_000))
    table = fit_runs(check_runs(runs), RULE, "excerpt").table
    for cell, null in ((only(table, 196608, 200_000), "d_e_high"), (only(table, 6144, 0), "d_e_low")):
        assert np.isnan(getattr(cell, null))
    ends = table[["d_e_low", "d_e_high"]].to_numpy()
    assert (np.isnan(ends) | (ends >= 9_999)).all()
    assert (np.isnan(ends) | (ends <= 60_001)).all()


def test_zero_shot_cells_have_rows_and_stay_out_of_the_fit():
    table = fit_runs(check_runs(simulate_runs()), RULE, "excerpt").table
    zero_shot = table[table.d_f == 0]
    assert len(zero_shot) == 7
    assert not zero_shot.in_fit.any()


@pytest.mark.parametrize(
    ("d_f", "d_n", "d_n_low", "d_n_high", "expected"),
    [
        (9, 100, 90, 110, "low"),
        (10, 100, 90, 110, "low"),
        (11, 100, 90, 110, "medium"),
        (100, 100, 90, 110, "medium"),
        (101, 100, 90, 110, "high"),
        (9, np.nan, 100, np.nan, "low"),
        (11, np.nan, 100, np.nan, "unknown"),
        (5, np.nan, np.nan, 6, "unknown"),
        (6, np.nan, np.nan, 6, "high"),
        (6, np.nan, np.nan, np.nan, "unknown"),
    ],
)
def test_regimes(d_f, d_n, d_n_low, d_n_high, expected):
    assert regime(d_f, d_n, d_n_low, d_n_high, 0.1) == expected


def test_sufficient_data_beyond_the_grid_is_a_lower_bound():
    table = cells_of(simulate_runs(noise=QUIET))
    assert table.d_n.isna().all()
    np.testing.assert_allclose(table.d_n_low, 600_000)


def test_without_a_falling_curve_nothing_is_known_of_sufficient_data():
    """A flat curve, or two points within their budget, is no sign that more data would help."""
    flat, few = simulate_runs(noise=QUIET), simulate_runs(noise=QUIET)
    flat.loc[flat.arm == "scratch", "test_loss"] = 3.0
    few["hit_budget"] = (few.arm == "scratch") & (few.d_chars > sorted(set(few.d_chars[few.arm == "scratch"]))[1])
    for runs in (flat, few):
        table = cells_of(runs)
        assert table[["d_n", "d_n_low", "d_n_high"]].isna().all(axis=None)
        assert set(table.regime) == {"unknown"}


def test_power_laws_end_where_the_points_within_their_budget_end():
    runs = simulate_runs(noise=QUIET)
    last = sorted(set(runs.d_chars[runs.arm == "scratch"]))[-3]
    runs["hit_budget"] = (runs.arm == "scratch") & (runs.d_chars > last)
    table = cells_of(runs)
    assert table.d_e_parametric.max() <= last * (1 + 1e-6)
    np.testing.assert_allclose(table.d_n_low, last)


def test_sufficient_data_below_the_grid_is_an_upper_bound():
    planted = Planted(floor=3.0, data_scale=5e4, data_exponent=2.0, size_scale=0.0)
    table = cells_of(simulate_runs(planted=planted, noise=QUIET, document_size=None))
    truth = (5e4 * 99 / 3) ** 0.5
    assert truth < table.d_n_high.iloc[0]
    assert table[["d_n", "d_n_low"]].isna().all(axis=None)
    assert set(table.regime[table.d_f >= table.d_n_high]) == {"high"}


def test_sufficient_data_inside_the_grid_is_given():
    planted = Planted(floor=3.0, data_scale=5e4, data_exponent=1.2, size_scale=0.0)
    table = cells_of(simulate_runs(planted=planted, noise=QUIET, document_size=None))
    np.testing.assert_allclose(table.d_n, (5e4 * 99 / 3) ** (1 / 1.2), rtol=1e-3)
    assert {"low", "medium", "high"} >= set(table.regime) > {"low"}


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        (lambda runs: runs.arm != "scratch", "no run of the arm scratch"),
        (lambda runs: runs.arm != "finetune", "no run of the arm finetune"),
        (
            lambda runs: (runs.arm != "scratch") | (runs.d_chars < 20_000),
            "fewer than 3 from-scratch data sizes at n_params=6144, 13824, 24576, 55296, 98304, 196608, unit=excerpt",
        ),
    ],
)
def test_tables_that_have_no_effective_data_are_refused(keep, message):
    runs = simulate_runs(document_size=None)
    with pytest.raises(RunsError, match=message):
        fit_runs(check_runs(runs[keep(runs)]), RULE)


def without_curve(runs: pd.DataFrame, unit: str, n_params: int) -> pd.DataFrame:
    """Two from-scratch data sizes are left there."""
    return runs[(runs.arm != "scratch") | (runs.unit != unit) | (runs.n_params != n_params) | (runs.d_chars <= 10_000)]


def test_cells_without_a_curve_are_left_out_and_told():
    """One size without three from-scratch data sizes ended the fit of all."""
    runs = check_runs(without_curve(simulate_runs(document_size=None), "excerpt", 196608))
    fitted = fit_runs(runs, RULE)
    expected = fit_runs(check_runs(runs[(runs.n_params != 196608) | (runs.arm == "scratch")]), RULE)
    pd.testing.assert_frame_equal(fitted.table, expected.table)
    (law,) = summarise(fitted)["sources"].values()
    assert law["n_cells"] == 25
    assert (
        "6 fine-tuned cells were left out: with fewer than 3 from-scratch d_chars there is no curve to read them against"
        " (6 of N = 196,608 on excerpt)."
    ) in law["warnings"]


def test_cells_without_a_curve_on_another_unit_leave_the_law_alone():
    """They ended the fit on a unit that they have no part in."""
    runs = check_runs(without_curve(simulate_runs(), "document", 24576))
    fitted = fit_runs(runs, RULE, "excerpt")
    expected = fit_runs(check_runs(runs[(runs.unit != "document") | runs.arm.isin(["pretrain", "zero_shot"])]), RULE)
    pd.testing.assert_frame_equal(*(found.in_fit("english").reset_index(drop=True) for found in (fitted, expected)))
    (law,) = summarise(fitted)["sources"].values()
    assert any("6 of N = 24,576 on document" in words for words in law["warnings"])
    assert fit_runs(runs, RULE).unit == "excerpt"
    with pytest.raises(RunsError, match="fewer than 3 from-scratch data sizes at n_params=24576, unit=document"):
        fit_runs(runs, RULE, "document")


def test_an_unknown_unit_is_refused():
    with pytest.raises(RunsError, match="no fine-tuned run has 'page'; expected one of document, excerpt"):
        fit_runs(check_runs(simulate_runs()), RULE, "page")


def test_the_noise_of_one_unit_does_not_touch_the_other():
    """Sets of whole documents differ more than sets of excerpts: pooled, either unit would get the other's noise."""
    runs = simulate_runs()
    noisy, document = runs.copy(), runs.unit == "document"
    noisy.loc[document, "test_loss"] += 0.15 * np.random.default_rng(0).standard_normal(document.sum())
    quiet, loud = (fit_runs(check_runs(table), RULE, "excerpt") for table in (runs, noisy))
    np.testing.assert_array_equal(quiet.laws[0].draws.alpha, loud.laws[0].draws.alpha)
    tables = [fitted.table[fitted.table.unit == "excerpt"] for fitted in (quiet, loud)]
    pd.testing.assert_frame_equal(*tables)
    noise = [fitted.cells["document"].noise.deviations()["finetune_run"] for fitted in (quiet, loud)]
    assert noise[1] > 3 * noise[0]


def test_without_seeds_or_spare_points_cells_have_no_interval():
    """One seed, and as many points as it takes to draw the curve: an interval without any width would be a lie."""
    runs = simulate_runs(seeds=(0,))
    points = (runs.unit == "document") & (runs.arm == "scratch")
    runs = runs[~points | runs.d_chars.isin([6_000, 60_000, 600_000])]
    table = fit_runs(check_runs(runs), RULE, "excerpt").table
    unknown = table[["d_e_low", "d_e_high", "d_t_low", "d_t_high", "probability_of_harm"]].isna().all(axis=1)
    assert (unknown == ((table.unit == "document") | (table.d_f == 0))).all()

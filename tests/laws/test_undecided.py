"""What the cells do not decide is not reported as found: too many limits, held-out limits, draws on a bound, no noise."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from workflow_scripts.laws.bootstrap import Fitted, fit_runs
from workflow_scripts.laws.cautions import _holds_zero
from workflow_scripts.laws.fit import write_results
from workflow_scripts.laws.likelihood import Observed, maximise
from workflow_scripts.laws.plan import interval_sentences, plan
from workflow_scripts.laws.planning.answers import Question
from workflow_scripts.laws.planning.forecast import interval, read_forecast
from workflow_scripts.laws.planning.pilot import pilots
from workflow_scripts.laws.runs import check_runs
from workflow_scripts.laws.simulate import Planted, simulate_runs
from workflow_scripts.laws.summary import coefficients, summarise
from workflow_scripts.laws.transfer_law import Design, Law, fit_from_many_starts, fit_law, missed_factor
from workflow_scripts.sections import Fit

RULE = Fit(d_f=(6000, 60000), draws=100)
GRID = Design(*np.array([(d, n) for n in (1e4, 4e4, 1.6e5) for d in (1e4, 3e4, 9e4)]).T, np.full(9, 0.05))


def measured(inside: list[int]) -> Observed:
    """D_T = 40 D_F^0.3 N^0.3 on `GRID`; the cells but those `inside` are lower limits at half their D_E."""
    log_d_e = np.logaddexp(np.log(GRID.d_f), np.log(40) + 0.3 * np.log(GRID.d_f) + 0.3 * np.log(GRID.n_params))
    limit = ~np.isin(np.arange(9), inside)
    return Observed((log_d_e - np.log(2) * limit)[None], limit.astype(float)[None])


def at_budget(runs: pd.DataFrame, but: list[tuple[int, int]] = ()) -> pd.DataFrame:
    """All fine-tuned runs at their budget, but those of the cells (n_params, d_chars)."""
    kept = pd.Series(list(zip(runs.n_params, runs.d_chars, strict=True)), runs.index).isin(list(but))
    return runs.assign(hit_budget=(runs.arm == "finetune") & ~kept)


@pytest.mark.parametrize("inside", [[], [4], [0, 8], [0, 1, 2], [0, 3, 6], [0, 4, 8]])
def test_a_law_of_limits_is_undefined(inside):
    """The likelihood of limits is flat: each start agreed with itself, stayed where it was and was `ok`."""
    best = fit_from_many_starts(GRID, measured(inside))
    assert best.status == "undefined"
    assert not best.law.known.any()
    assert fit_from_many_starts(GRID, measured([0, 1, 3])).status == "ok"


def test_a_draw_that_loses_its_cells_is_unknown_and_the_others_are_not():
    lost, kept = measured([0]), measured([0, 1, 3, 5])
    both = Observed(*(np.concatenate(pair) for pair in ((lost.log_d_e, kept.log_d_e), (lost.side, kept.side))))
    found = fit_law(GRID, both, np.array([10.0, 0.3, 0.3]))
    assert found.known.tolist() == [False, True]
    assert np.isnan(found.alpha[0])
    assert found.alpha[1] == fit_law(GRID, kept, np.array([10.0, 0.3, 0.3])).alpha[0]


def test_cells_that_are_left_out_decide_nothing():
    deviation = np.where(np.isin(np.arange(9), [0, 1, 2]), 0.05, np.inf)
    found = maximise(GRID.terms(), deviation, measured(list(range(9))), np.array([10.0, 0.3, 0.3]))
    assert found.undefined.tolist() == [True]


@pytest.mark.parametrize("but", [[], [(6_144, 6_000), (24_576, 6_000)], [(6_144, 6_000), (6_144, 20_000)]])
def test_a_table_of_limits_has_no_law_and_says_what_it_needs(but):
    """24 runs at their budget gave k with an interval of no width."""
    fitted = fit_runs(check_runs(at_budget(simulate_runs(document_size=None), but)), RULE)
    law = summarise(fitted)["sources"]["english"]
    assert law["status"] == "too few cells"
    assert law["k"] == law["alpha"] == {"estimate": None, "low": None, "high": None}
    assert law["n_uncensored"] == len(but)
    told = law["warnings"][0]
    assert "3 of them inside the from-scratch curve and within their budget" in told
    assert (
        f"30 may enter the fit, over 6 and 5, and {30 - len(but)} of them are limits; let runs at their budget" in told
    )


def test_held_out_sizes_are_not_predicted_from_limits():
    """Without the largest N two cells with a D_E remain: the refit stayed where it started."""
    largest = [(n, d) for n, d in ((196_608, 6_000), (196_608, 20_000), (196_608, 60_000))]
    runs = simulate_runs(document_size=None)
    runs = at_budget(runs, [*largest, (6_144, 6_000), (24_576, 20_000)])
    law = summarise(fit_runs(check_runs(runs), RULE))["sources"]["english"]
    assert law["predictions"]["largest_size"]["status"] == "too few cells"
    assert law["largest_size_error_factor"] is None
    assert any(
        s.startswith(
            "The largest size could not be predicted from the smaller ones: the fit to those has too few cells"
        )
        for s in law["warnings"]
    )


def test_held_out_limits_measure_no_factor():
    """Where the law satisfies every limit, the factor was the first that the search tried."""
    law = fit_from_many_starts(GRID, measured(list(range(9)))).law
    assert missed_factor(law, GRID, measured([])) is None
    assert missed_factor(law, GRID, measured([4])) == pytest.approx(1.0, rel=1e-4)


def test_a_largest_size_of_limits_is_told():
    runs = simulate_runs(document_size=None)
    largest = runs.n_params == runs.n_params[runs.arm == "finetune"].max()
    runs = runs.assign(hit_budget=(runs.arm == "finetune") & largest)
    law = summarise(fit_runs(check_runs(runs), RULE))["sources"]["english"]
    assert law["largest_size_error_factor"] is None
    assert "The largest size could not be predicted from the smaller ones: all its D_E are limits." in law["warnings"]


def test_draws_on_a_bound_are_known_only_beyond_it():
    """alpha and beta of draws whose level lay on a bound were taken as found, with intervals of no width."""
    draws = Law(
        ln_k=np.full(100, 2.0),
        alpha=np.linspace(0.2, 0.4, 100),
        beta=np.full(100, 0.3),
        objective=np.zeros(100),
        converged=np.ones(100, dtype=bool),
        on_bound=np.zeros((100, 3), dtype=int),
    )
    known = coefficients(draws.take(0), draws)
    assert (known["beta"]["low"], known["beta"]["high"]) == (0.3, 0.3)
    for place, side, alpha in (
        (0, 1, (None, None)),
        (1, 1, ("low", None)),
        (1, -1, (None, "high")),
        (2, 1, (None, None)),
    ):
        on_bound = np.zeros((100, 3), dtype=int)
        on_bound[:10, place] = side
        found = coefficients(draws.take(50), replace(draws, on_bound=on_bound))
        assert found["ln_k"]["low"] is found["ln_k"]["high"] is found["k"]["low"] is found["k"]["high"] is None
        ends = (found["alpha"]["low"] and "low", found["alpha"]["high"] and "high")
        assert ends == alpha
        assert found["beta"]["high"] is None
        assert (found["beta"]["low"] is None) == (place != 2)
        assert found["beta"]["estimate"] == 0.3


@pytest.fixture(scope="module")
def unknown_noise() -> Fitted:
    """One seed, and as many from-scratch D as a curve has parameters: nothing tells the noise."""
    runs = simulate_runs(document_size=None, seeds=(0,), scratch=(6_000, 60_000, 600_000))
    code = simulate_runs(document_size=None, seeds=(0,), scratch=(6_000, 60_000, 600_000), source="code")
    fitted = fit_runs(check_runs(pd.concat([runs, code[code["init"] == "code"]])), RULE)
    assert not fitted.cells[fitted.unit].noise.known
    return fitted


def test_without_noise_a_law_has_estimates_and_no_intervals(unknown_noise):
    """Draws of 1e-7 nats gave intervals of 95 % that held 75 to 80 %, and the JSON stated 1e-7 nats."""
    found = summarise(unknown_noise)
    law = found["sources"]["english"]
    for one in (law, *law["estimators"].values()):
        for name in ("k", "ln_k", "alpha", "beta"):
            assert one[name]["estimate"] is not None
            assert one[name]["low"] is one[name]["high"] is None
    assert law["alpha"]["estimate"] == pytest.approx(0.3, abs=0.2)
    assert law["draws"] == {"number": 100, "not_converged": 0, "undefined": 100, "on_a_bound": 0}
    assert law["covariance"]["matrix"] is law["reach"]["d_f"]["interval_factor_at_10x"] is None
    assert law["lack_of_fit"]["expected_from_seed_noise"] is law["alternatives"]["rms_of_seed_noise"] is None
    noise = found["noise"]["nats_per_token"]
    assert set(noise.values()) == {None}
    for tested in found["across_sources"]["differences"].values():
        assert tested["p_value_of_shared"] is None
    told = law["warnings"]
    assert (
        "One seed a cell, and no from-scratch curve of more than 3 points: nothing tells the noise, so no interval is known;"
        " a second seed or a fourth from-scratch d_chars is needed."
    ) in told
    assert not any(
        "scatter" in words or "draws" in words or "holds 0" in words or "interval of" in words for words in told
    )


def test_a_plan_without_noise_has_forecasts_and_no_intervals(unknown_noise, tmp_path):
    write_results(check_runs(simulate_runs(document_size=None)), unknown_noise, tmp_path)
    assert pd.read_parquet(tmp_path / "draws.parquet")[["ln_k", "alpha", "beta"]].isna().all(axis=None)
    forecast = read_forecast(tmp_path)
    for source in ("english", "scratch"):
        found = interval(forecast.loss(source, 24_576, 20_000))
        assert found["estimate"] > 0
        assert found["low"] is found["high"] is None
    told = plan(forecast, Question(20_000.0, (24_576.0, 55_296.0), target=forecast.loss("english", 24_576, 20_000)[0]))
    assert all("nan" not in sentence for answer in told for sentence in answer.sentences)
    assert "it is lower in an unknown share of the draws." in " ".join(told[0].sentences)
    assert "(in an unknown share of the draws); none here is sure to" in " ".join(told[0].sentences)
    assert {row["probability_of_target"] for row in told[0].rows} == {None}
    lacks = interval_sentences(forecast)
    assert any("by an unknown amount, so no interval is known" in sentence for sentence in lacks["lacks"])
    for pilot in pilots(forecast, "english"):
        assert pilot["draws_unknown"] == 1000
        assert pilot["missed"]["the rest"]["inside"] is None


def test_draws_with_too_few_cells_are_told_as_such():
    """Five of 30 cells lie inside the curve, and fewer in some draws."""
    scratch = (6_000, 10_000, 20_000, 35_000, 60_000, 100_000)
    runs = simulate_runs(planted=Planted(k=900.0, alpha=0.23, beta=0.28), document_size=None, scratch=scratch)
    law = summarise(fit_runs(check_runs(runs), RULE))["sources"]["english"]
    undefined = law["draws"]["undefined"]
    assert undefined > 2
    assert law["draws"]["not_converged"] == 0
    assert any(s.startswith(f"In {undefined} of 100 draws too few cells lie inside") for s in law["warnings"])


def test_a_law_without_an_interval_is_not_said_to_hold_0() -> None:
    """Where too many draws are undefined both ends are unknown: that says nothing of 0."""
    assert not _holds_zero({"low": None, "high": None})
    assert _holds_zero({"low": None, "high": 0.2})
    assert not _holds_zero({"low": 0.1, "high": None})

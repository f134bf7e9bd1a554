"""Mistakes that others made with effective data and the law, and wrong statements in circulation: not here."""

import json
import subprocess
import sys

import numpy as np
import pytest

from workflow_scripts.laws.bootstrap import fit_runs
from workflow_scripts.laws.fit import sentences
from workflow_scripts.laws.runs import check_runs
from workflow_scripts.laws.simulate import Noise, Planted, simulate_runs
from workflow_scripts.laws.summary import summarise
from workflow_scripts.sections import Fit

RULE = Fit(d_f=(6000, 60000), draws=200)
QUIET = Noise(0, 0, 0)


@pytest.fixture(scope="module")
def law() -> dict:
    return summarise(fit_runs(check_runs(simulate_runs()), RULE, "excerpt"))


def test_coefficients_are_stored_at_full_precision(law):
    """Rounded coefficients of another law cost a factor 1.7 in its optimum; k depends on the last digits of alpha."""
    fit = json.loads(json.dumps(law))["sources"]["english"]
    assert fit["k"]["estimate"] == np.exp(fit["ln_k"]["estimate"])
    assert fit["alpha"]["estimate"] != round(fit["alpha"]["estimate"], 6)


def test_the_covariance_is_that_of_draws_and_the_three_are_correlated(law):
    """Not an optimizer's inverse Hessian: the deviations match the width of the intervals."""
    fit = law["sources"]["english"]
    matrix = np.array(fit["covariance"]["matrix"])
    deviations = np.sqrt(np.diag(matrix))
    widths = [(fit[name]["high"] - fit[name]["low"]) / 3.92 for name in ("ln_k", "alpha", "beta")]
    np.testing.assert_allclose(deviations, widths, rtol=0.2)
    assert matrix[0, 1] / deviations[0] / deviations[1] < -0.5


def test_data_is_counted_in_characters_not_tokens():
    """`D_F in tokens` is wrong: twice the characters a token, at the same characters, change nothing."""
    runs = simulate_runs(document_size=None)
    longer = runs.assign(d_tokens=runs.d_tokens // 2)
    one, other = (fit_runs(check_runs(table), RULE).laws[0].best.law for table in (runs, longer))
    assert one.ln_k[0] == other.ln_k[0]


def test_effective_data_is_additive():
    """D_E = D_F + D_T by definition (eq. B.1), in every cell that has a number."""
    table = fit_runs(check_runs(simulate_runs()), RULE, "excerpt").table
    np.testing.assert_allclose(table.d_e, table.d_f + table.d_t)


def test_zero_shot_is_measured_and_never_fitted_as_one_character():
    """The paper puts D_F = 1 into its law; here D_E(0) is read from the curve, with an interval, beside the fit."""
    runs = simulate_runs(planted=Planted(k=400.0), document_size=None)
    fit = summarise(fit_runs(check_runs(runs), RULE))["sources"]["english"]
    known = [cell for cell in fit["effective_data"]["zero_shot"] if cell["d_e"] is not None]
    assert known
    for cell in known:
        assert cell["d_e"] == pytest.approx(Planted(k=400.0).effective_data(cell["n_params"], 0), rel=0.2)
    below = [cell for cell in fit["effective_data"]["zero_shot"] if cell["censored"] == "below"]
    assert all(cell["d_e"] is None and cell["d_e_limit"] == 6_000 for cell in below)


def test_cells_that_land_in_one_wide_gap_are_told():
    """A published ranking of languages rests on D_E that all fall into a from-scratch gap of a decade."""
    runs = simulate_runs(scratch=(6_000, 60_000, 600_000), document_size=None)
    (fit,) = summarise(fit_runs(check_runs(runs), RULE))["sources"].values()
    assert any("from-scratch D that differ by up to a factor 10" in sentence for sentence in fit["warnings"])


def test_nothing_is_said_about_model_size_being_worth_data(law):
    """`10x model ~ 100x data` equates D_T, not loss: the summary does not repeat it."""
    words = sentences({"simulated": True, **law})
    assert "100x" not in words
    assert "factor" in words


def test_both_directions_of_prediction_are_judged(law):
    fit = law["sources"]["english"]
    assert fit["largest_size_error_factor"] == fit["predictions"]["largest_size"]["error_factor"] >= 1
    assert fit["largest_d_f_error_factor"] == fit["predictions"]["largest_d_f"]["error_factor"] >= 1


def test_extrapolation_is_told_by_how_far_the_interval_opens():
    narrow = {"14k": 13_824, "20k": 20_000, "25k": 24_576}
    (fit,) = summarise(fit_runs(check_runs(simulate_runs(sizes=narrow, document_size=None)), RULE))["sources"].values()
    assert fit["reach"]["n_params"]["interval_factor_at_10x"] > 3
    assert any(s.startswith("Ten times beyond the largest N of the fit") for s in fit["warnings"])


def test_the_laws_run_without_torch():
    """The command is for tables from anywhere: on a machine that never trained anything."""
    code = "import sys; import workflow_scripts.laws.__main__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

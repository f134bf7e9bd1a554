"""The estimators beside the default: exact without noise, and their distance from it is explained step by step."""

import numpy as np
import pytest

from workflow_scripts.laws import estimators, likelihood
from workflow_scripts.laws.bootstrap import SourceFit, fit_runs
from workflow_scripts.laws.estimators import DROPPED, estimates, fit_of_fits, plane, robust, squares_of_fractions
from workflow_scripts.laws.runs import check_runs
from workflow_scripts.laws.simulate import Noise, Planted, simulate_runs
from workflow_scripts.laws.summary import _other
from workflow_scripts.laws.transfer_law import fit_law
from workflow_scripts.sections import Fit

from .test_transfer_law import grid, measured

RULE = Fit(d_f=(6000, 60000), draws=100)


def fit_of(**setting) -> SourceFit:
    return fit_runs(check_runs(simulate_runs(document_size=None, **setting)), RULE).laws[0]


@pytest.mark.parametrize("estimator", [plane, fit_of_fits])
def test_the_papers_estimators_are_exact_without_noise(estimator):
    design = grid()
    law, used, *_ = estimator(design, measured(design, 40.0, 0.3, 0.25))
    assert used.all()
    np.testing.assert_allclose([law.ln_k[0], law.alpha[0], law.beta[0]], [np.log(40), 0.3, 0.25], atol=1e-9)


def test_the_papers_n_star_is_where_pretraining_doubles_the_data():
    """N* of each D_F: D_T = D_F there (Hernandez et al. 2021, eq. B.2)."""
    design = grid()
    _, _, (log_n_star,) = fit_of_fits(design, measured(design, 40.0, 0.3, 0.25))
    d_f = np.unique(design.d_f)
    np.testing.assert_allclose(log_n_star, np.log(d_f**0.7 / 40.0) / 0.25, rtol=1e-9)
    kept = _other(fit_of(), estimates(fit_of())["fit_of_fits"])["n_star"]
    assert [row["d_f"] for row in kept] == [6_000, 10_000, 20_000, 35_000, 60_000]
    assert all(row["n_params"] > 0 for row in kept)


def test_all_estimators_agree_on_a_clean_law():
    fit = fit_of(planted=Planted(floor=0.0, size_scale=0.0), noise=Noise(0, 0, 0))
    found = estimates(fit)
    assert set(found) == {"plane", "fit_of_fits", "logit", "robust", "parametric"}
    for name, other in found.items():
        assert other.law.beta[0] == pytest.approx(0.3, abs=1e-3 if name == "parametric" else 1e-6)
        assert other.used.all()


def test_the_fit_of_fractions_keeps_cells_that_pre_training_hurts():
    """D_T <= 0 is a negative fraction, which has no ln D_T: the plane drops such a cell, this one is pulled by it."""
    design = grid()
    observed = measured(design, 40.0, 0.3, 0.25)
    start = np.array([9.0, 0.3, 0.3])
    exact = fit_law(design, observed, start, objective_of=squares_of_fractions)
    np.testing.assert_allclose([exact.ln_k[0], exact.alpha[0], exact.beta[0]], [np.log(40), 0.3, 0.25], atol=1e-6)
    observed.log_d_e[0, -1] = np.log(0.9 * design.d_f[-1])
    pulled = fit_law(design, observed, start, objective_of=squares_of_fractions)
    assert pulled.status == "ok"
    assert pulled.log_d_t(design)[0, -1] < exact.log_d_t(design)[0, -1]
    assert plane(design, observed)[0].alpha[0] == pytest.approx(0.3, abs=1e-9)


def test_the_slope_of_the_squares_of_fractions_is_their_derivative():
    design, observed = grid(), measured(grid(), 40.0, 0.3, 0.25)
    terms, at = design.terms(), np.array([[8.5, 0.2, 0.4]])
    ends = [
        squares_of_fractions(at + sign * 1e-6 * np.eye(3), terms, design.deviation, observed)[0] for sign in (-1, 1)
    ]
    found = squares_of_fractions(at, terms, design.deviation, observed)[1][0]
    np.testing.assert_allclose(found, (ends[1] - ends[0]) / 2e-6, rtol=1e-5)


def test_one_wild_cell_moves_the_robust_law_less():
    design = grid()
    wild = measured(design, 40.0, 0.3, 0.25)
    wild.log_d_e[0, 3] += 1.5
    noise = 0.02 * np.random.default_rng(0).standard_normal(16)
    wild.log_d_e[0] += noise
    default = fit_law(design, wild, np.array([9.0, 0.3, 0.3]))
    tough, stretch = robust(design, wild, np.array([9.0, 0.3, 0.3]))
    assert abs(tough.alpha[0] - 0.3) < 0.25 * abs(default.alpha[0] - 0.3)
    assert stretch[0].argmax() == 3


def test_the_steps_from_the_default_end_at_the_estimator():
    """The plane drops censored cells: that part of its difference is told apart from that of its weights."""
    fit = fit_of(scratch=(6_000, 10_000, 20_000, 35_000, 60_000))
    other = estimates(fit)["plane"]
    assert next(iter(other.steps)) == DROPPED
    assert other.steps[DROPPED].beta[0] != fit.best.law.beta[0]
    assert list(other.steps.values())[-1] is other.law
    dropped = int((fit.observed.side != 0).sum())
    assert f"It drops {dropped} of 30 cells by outcome ({dropped} limits, 0 with D_T <= 0)" in other.why


def test_every_estimator_has_a_status_and_says_how_many_starts_agreed(monkeypatch):
    """Those that search do; the plane and the fit of fits are linear problems with one solution."""
    fit = fit_of()
    found = estimates(fit)
    assert {name: (other.law.status, other.starts) for name, other in found.items()} == {
        "plane": ("ok", None),
        "fit_of_fits": ("ok", None),
        "logit": ("ok", (36, 36)),
        "robust": ("ok", (37, 37)),
        "parametric": ("ok", (36, 36)),
    }
    monkeypatch.setattr(likelihood, "STEPS", 0)
    lost = estimates(fit)
    assert lost["robust"].law.status == lost["parametric"].law.status == "not converged"
    assert lost["plane"].law.status == "ok"
    told = _other(fit, lost["robust"])
    assert (told["status"], told["alpha"]["estimate"]) == ("not converged", None)


def test_weights_that_do_not_settle_have_not_converged(monkeypatch):
    design = grid()
    wild = measured(design, 40.0, 0.3, 0.25)
    wild.log_d_e[0, 3] += 1.5
    wild.log_d_e[0] += 0.02 * np.random.default_rng(0).standard_normal(16)
    monkeypatch.setattr(estimators, "ROUNDS", 2)
    assert robust(design, wild, np.array([9.0, 0.3, 0.3]))[0].status == "not converged"


def test_estimators_that_fit_draws_do_so_for_all():
    for other in estimates(fit_of()).values():
        assert len(other.draws.beta) == 100
        assert np.isfinite(other.draws.beta).all()

"""The default estimator returns planted laws exactly without noise, and keeps cells that the paper's must drop."""

import numpy as np
import pytest

from workflow_scripts.laws.estimators import plane
from workflow_scripts.laws.likelihood import Observed, Terms, _likelihood
from workflow_scripts.laws.transfer_law import Design, fit_from_many_starts, fit_law, missed_factor

PAPER = {"text": (1.9e4, 0.18, 0.38), "mix": (2.1e5, 0.096, 0.38)}
"""Table 1 of Hernandez et al. 2021."""
FIXTURES = {
    "text": {(1e6, 1e5): 2.88e7, (4e7, 3e5): 1.42e8, (1e8, 1e7): 3.79e8, (1e9, 1e8): 1.38e9},
    "mix": {(1e6, 1e5): 1.21e8, (4e7, 3e5): 5.46e8, (1e8, 1e7): 1.08e9, (1e9, 1e8): 3.24e9},
}
"""D_T in characters at (N, D_F), from the paper's coefficients."""


def grid(deviation: float = 0.05) -> Design:
    n_params, d_f = np.meshgrid([6144, 24576, 98304, 196608], [6e3, 1e4, 2e4, 6e4])
    return Design(d_f.ravel(), n_params.ravel(), np.full(16, deviation))


def measured(design: Design, k: float, alpha: float, beta: float) -> Observed:
    d_e = design.d_f + k * design.d_f**alpha * design.n_params**beta
    return Observed(np.log(d_e)[None], np.zeros((1, len(d_e))))


@pytest.mark.parametrize("source", PAPER)
def test_the_papers_rows_are_recovered_from_points_on_them(source):
    n_params, d_f = np.array(list(FIXTURES[source])).T
    k, alpha, beta = PAPER[source]
    design = Design(d_f, n_params, np.full(4, 0.1))
    best = fit_from_many_starts(design, measured(design, k, alpha, beta))
    assert best.status == "ok"
    assert np.exp(best.law.ln_k[0]) == pytest.approx(k, rel=1e-5)
    assert best.law.alpha[0] == pytest.approx(alpha, abs=1e-6)
    assert best.law.beta[0] == pytest.approx(beta, abs=1e-6)
    np.testing.assert_allclose(np.exp(best.law.log_d_t(design)[0]), list(FIXTURES[source].values()), rtol=0.01)


def test_smaller_alpha_and_larger_k_mean_more_transfer_from_little_data():
    """Notes in circulation swap them: the closer source (half code) has the larger k and the smaller alpha."""
    (k_text, alpha_text, beta_text), (k_mix, alpha_mix, beta_mix) = PAPER["text"], PAPER["mix"]
    d_f = np.geomspace(1e5, 1e9, 9)
    ratio = (k_mix * d_f**alpha_mix * 1e8**beta_mix) / (k_text * d_f**alpha_text * 1e8**beta_text)
    assert ratio[0] > 4
    assert (np.diff(ratio) < 0).all()


def test_all_starts_agree_on_a_clean_law():
    design = grid()
    best = fit_from_many_starts(design, measured(design, 40.0, 0.3, 0.25))
    assert best.agreed == best.starts


def test_cells_where_pretraining_hurt_are_kept():
    """D_T <= 0 has no logarithm: the plane drops such cells and is biased upwards, the default is not."""
    design = grid(0.3)
    random = np.random.default_rng(1)
    truth = measured(design, 2.0, 0.3, 0.3)
    noisy = Observed(truth.log_d_e + 0.3 * random.standard_normal((400, 16)), np.zeros((400, 16)))
    law = fit_law(design, noisy, np.array([8.0, 0.3, 0.3]))
    other, used = plane(design, noisy)
    assert (noisy.log_d_e <= np.log(design.d_f)).any()
    assert not used.all()
    centre = np.array([np.exp(fit.log_d_t(design)).mean(axis=1) for fit in (law, other)])
    true = np.exp(np.log(2.0) + 0.3 * np.log(design.d_f) + 0.3 * np.log(design.n_params)).mean()
    ours, theirs = np.nanmedian(centre, axis=1)
    assert ours < theirs
    assert abs(np.log(ours / true)) < abs(np.log(theirs / true))


def test_censored_cells_pull_the_law_only_past_their_limit():
    design = grid()
    truth = measured(design, 40.0, 0.3, 0.25)
    beyond = design.n_params == 196608
    limit = np.where(beyond, truth.log_d_e - 0.5, truth.log_d_e)
    law = fit_from_many_starts(design, Observed(limit, np.where(beyond, 1.0, 0.0)[None])).law
    assert law.beta[0] == pytest.approx(0.25, abs=1e-6)
    limit = np.where(beyond, truth.log_d_e + 0.5, truth.log_d_e)
    law = fit_from_many_starts(design, Observed(limit, np.where(beyond, 1.0, 0.0)[None])).law
    assert law.beta[0] > 0.3


def test_draws_side_by_side_equal_draws_one_by_one():
    design = grid()
    noise = 0.05 * np.random.default_rng(0).standard_normal((5, 16))
    values = measured(design, 40.0, 0.3, 0.25).log_d_e + noise
    together = fit_law(design, Observed(values, np.zeros_like(values)), np.array([9.0, 0.3, 0.3]))
    assert together.converged.all()
    for i in range(5):
        alone = fit_from_many_starts(design, Observed(values[i : i + 1], np.zeros((1, 16)))).law
        assert together.beta[i] == pytest.approx(alone.beta[0], abs=1e-6)


def test_every_draw_converges_even_where_the_law_fits_badly():
    """Large residuals slow plain Gauss-Newton down: hundreds of draws were left unfinished."""
    design = grid(0.1)
    noise = np.random.default_rng(0).standard_normal((300, 16))
    values = measured(design, 4.0, 0.3, 0.3).log_d_e + 0.8 * noise
    assert fit_law(design, Observed(values, np.zeros_like(values)), np.array([8.0, 0.3, 0.3])).converged.all()


def test_no_transfer_at_all_ends_on_a_bound_and_says_so():
    design = grid()
    nothing = Observed(np.log(design.d_f)[None] - 0.2, np.zeros((1, 16)))
    best = fit_from_many_starts(design, nothing)
    assert best.status == "on a bound"
    assert best.law.on_bound[0, 0] == -1


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_missed_factor_is_measured_over_predicted_transfer(factor):
    design = grid()
    law = fit_from_many_starts(design, measured(design, 40.0, 0.3, 0.25)).law
    assert missed_factor(law, design, measured(design, 40.0 * factor, 0.3, 0.25)) == pytest.approx(factor, rel=1e-5)


def test_missed_factor_is_unknown_where_all_cells_are_beyond_the_curve():
    design = grid()
    law = fit_from_many_starts(design, measured(design, 40.0, 0.3, 0.25)).law
    assert missed_factor(law, design, Observed(np.full((1, 16), 30.0), np.ones((1, 16)))) is None


def test_an_infinite_deviation_leaves_a_cell_out():
    design = grid()
    truth = measured(design, 40.0, 0.3, 0.25)
    wrong = Observed(np.where(np.arange(16) == 5, truth.log_d_e + 3, truth.log_d_e), truth.side)
    deviation = np.where(np.arange(16) == 5, np.inf, design.deviation)[None]
    law = fit_law(design, wrong, np.array([9.0, 0.3, 0.3]), deviation)
    assert law.alpha[0] == pytest.approx(0.3, abs=1e-6)


def test_a_third_axis_is_recovered():
    """D_T = k D_F^alpha N^beta P^gamma from points on it."""
    n_params, d_f, p = (
        axis.ravel() for axis in np.meshgrid([6144.0, 24576.0, 98304.0], [6e3, 2e4, 6e4], [1e6, 4e6, 1.6e7])
    )
    design = Design(d_f, n_params, np.full(27, 0.05), p)
    d_e = d_f + 0.5 * d_f**0.3 * n_params**0.25 * p**0.2
    best = fit_from_many_starts(design, Observed(np.log(d_e)[None], np.zeros((1, 27))))
    assert best.status == "ok"
    found = [best.law.ln_k[0], *best.law.exponents[0]]
    np.testing.assert_allclose(found, [np.log(0.5), 0.3, 0.25, 0.2], atol=1e-6)


@pytest.mark.parametrize("away", [1.0, 1e4, 1e8, 1e12])
def test_the_curvature_of_a_limit_that_is_broken_by_far_is_never_negative(away):
    """Two large numbers were subtracted: the fit of few cells, with an outlier, ended in "Singular matrix"."""
    values = np.array([[1.0, -0.7, 1.0]])
    terms = Terms(values, np.array([True, False, False]), np.array([np.log(1000.0)]))
    for side in (1, -1):
        observed = Observed(np.array([[np.log(1000.0) + side * 5.0]]), np.array([[side]]))
        _, _, curvature = _likelihood(
            np.array([[np.log(1e3) - 2 * side, 0.0, 0.0]]), terms, np.array([5.0 / away]), observed
        )
        assert (np.linalg.eigvalsh(curvature) >= -1e-9 * np.abs(curvature).max()).all()
        assert np.einsum("dii->di", curvature).min() >= 0

"""The pooled noise: its components are recovered, and draws have the correlations that the experiment has."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts.laws.effective_data import collect_cells
from workflow_scripts.laws.noise import _contrasts, _likelihood, of_models, of_prefixes
from workflow_scripts.laws.runs import check_runs
from workflow_scripts.laws.simulate import Noise, simulate_runs

PLANTED = Noise(pretrain=0.03, prefix=0.02, run=0.01)


@pytest.fixture(scope="module")
def cells():
    return collect_cells(check_runs(simulate_runs(noise=PLANTED, seeds=range(4))), "excerpt")


def test_components_are_recovered(cells):
    """Zero-shot losses are simulated with the noise of pre-training alone: what it was in this sample."""
    found = cells.noise.deviations()
    assert found["pretrain"] == pytest.approx(cells.noise.zero_shot[0], rel=0.15)
    assert found["prefix"] == pytest.approx(0.02, rel=0.3)
    assert found["finetune_run"] == pytest.approx(0.01, rel=0.15)
    assert found["scratch_run"] == pytest.approx(0.01, rel=0.15)


@pytest.mark.parametrize("planted", [-0.5, 0.0])
def test_the_power_of_d_is_recovered(planted):
    """Small sets of real experiments differ more from seed to seed: one size for all left their intervals too narrow."""
    noise = replace(PLANTED, d_exponent=planted)
    found = collect_cells(check_runs(simulate_runs(noise=noise, seeds=range(4))), "excerpt").noise
    assert found.d_exponent == pytest.approx(planted, abs=0.12)
    at = found.deviations()["finetune_run"] * (30_000 / found.reference_d) ** found.d_exponent
    assert at == pytest.approx(0.01, rel=0.2)


def test_small_sets_draw_as_much_more_as_they_vary():
    runs = simulate_runs(noise=Noise(0.0, 0.0, 0.02, d_exponent=-0.5), seeds=range(4), document_size=None)
    cells = collect_cells(check_runs(runs), "excerpt")
    spread = cells.noise.draw(4000, np.random.default_rng(0)).std(axis=0)[: len(cells.scratch)]
    slope = np.polyfit(np.log(cells.scratch.d), np.log(spread), 1)[0]
    assert slope == pytest.approx(cells.noise.d_exponent, abs=0.05)
    stated = np.sqrt(np.diag(cells.noise.covariance()))[: len(cells.scratch)]
    np.testing.assert_allclose(stated, spread, rtol=0.15)


def test_draws_have_the_stated_covariance(cells):
    """Every entry, in units of its two deviations, with the components known (their posterior widens the draws)."""
    sd, noise = cells.noise.deviations(), cells.noise
    ratios = np.array([[sd[name] / sd["finetune_run"] for name in ("pretrain", "prefix", "scratch_run")]])
    many = 10**8
    known = replace(
        noise,
        ratios=ratios,
        d_exponents=np.array([noise.d_exponent]),
        probability=np.ones(1),
        squares=np.array([many * sd["finetune_run"] ** 2]),
        degrees=many,
        zero_shot=(noise.zero_shot[0], many),
    )
    expected, draws = known.covariance(), 8000
    deviation = np.sqrt(np.diag(expected))
    found = np.cov(known.draw(draws, np.random.default_rng(0)).T)
    np.testing.assert_allclose(
        found / np.outer(deviation, deviation), expected / np.outer(deviation, deviation), atol=0.06
    )


def test_cells_of_one_pretrained_model_move_together(cells):
    n_points = len(cells.scratch)
    correlation = np.corrcoef(cells.noise.draw(4000, np.random.default_rng(0)).T)
    tuned = cells.tuned.reset_index()

    def pick(n_params: int, d_f: int) -> int:
        return n_points + tuned.index[(tuned.n_params == n_params) & (tuned.d_f == d_f)][0]

    assert correlation[pick(6144, 6000), pick(6144, 60000)] > 0.5
    assert abs(correlation[pick(6144, 6000), pick(196608, 60000)]) < 0.3
    assert correlation[pick(6144, 60000), pick(196608, 60000)] > 0.2


def test_seeds_that_share_a_pretrained_model_are_not_taken_for_independent():
    """One pre-training seed: its component cannot be seen, is not invented, and the table says so."""
    runs = simulate_runs()
    runs = runs[(runs.seed == 0) | ~runs.arm.isin(["pretrain", "zero_shot"])]
    cells = collect_cells(check_runs(runs), "excerpt")
    assert cells.pretrain_seeds == 1
    assert cells.noise.deviations()["pretrain"] == 0.0


def test_one_seed_falls_back_on_the_scatter_about_the_curves():
    runs = simulate_runs(seeds=(0,), noise=Noise(0.0, 0.0, 0.02), document_size=None)
    noise = collect_cells(check_runs(runs), "excerpt").noise
    assert not noise.from_seeds
    assert noise.deviations()["finetune_run"] == pytest.approx(0.02, rel=0.35)


@given(st.lists(st.tuples(st.integers(1, 10**9), st.integers(0, 2)), min_size=1, max_size=12))
def test_sets_of_one_shuffle_correlate_by_what_they_share(sets):
    runs = pd.DataFrame(sets, columns=["d_chars", "seed"]).assign(arm="scratch")
    factor, d = of_prefixes(runs), runs.d_chars.to_numpy(dtype=float)
    seed = runs.seed.to_numpy()
    nested = np.sqrt(np.minimum.outer(d, d) / np.maximum.outer(d, d)) * np.equal.outer(seed, seed)
    np.testing.assert_allclose(factor @ factor.T, nested, atol=1e-9)


def test_the_likelihood_is_that_of_the_whole_covariance():
    """Woodbury's identity saves the large matrix, and changes nothing."""
    runs = collect_cells(check_runs(simulate_runs(noise=PLANTED, seeds=range(3))), "excerpt").noise.runs
    contrasts = _contrasts(runs.cell.to_numpy(), (runs.arm != "zero_shot").to_numpy())
    ratios = np.array([[0.0, 0.5, 1.0], [1.4, 0.1, 0.2], [6.5, 3.0, 5.0]])
    random = np.random.default_rng(0)
    log_scales = random.normal(0, 0.3, (contrasts.shape[0], 2))
    log_scales -= log_scales.mean(axis=0)
    likelihood, squares = _likelihood(runs, contrasts, ratios, np.exp(log_scales))
    models, prefixes, dense = of_models(runs), of_prefixes(runs), contrasts.toarray()
    data = dense @ runs.test_loss.to_numpy()
    for i, (pretrain, prefix, scratch) in enumerate(ratios):
        own = np.where(runs.arm == "scratch", scratch**2, 1.0)
        whole = np.diag(own) + pretrain**2 * models @ models.T + prefix**2 * prefixes @ prefixes.T
        for j, log_scale in enumerate(log_scales.T):
            covariance = dense @ whole @ dense.T / np.exp(np.add.outer(log_scale, log_scale))
            assert squares[i, j] == pytest.approx(data @ np.linalg.solve(covariance, data), rel=1e-8)
            expected = -np.linalg.slogdet(covariance)[1] / 2 - len(data) / 2 * np.log(squares[i, j])
            assert likelihood[i, j] == pytest.approx(expected, rel=1e-9)

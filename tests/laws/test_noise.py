"""The pooled noise: its components are recovered, and draws have the correlations that the experiment has."""

from dataclasses import replace

import numpy as np
import pytest

from workflow_scripts.laws.effective_data import collect_cells
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


def test_draws_have_the_stated_covariance(cells):
    """Every entry, in units of its two deviations, with the components known (their posterior widens the draws)."""
    sd, noise = cells.noise.deviations(), cells.noise
    ratios = np.array([[sd[name] / sd["finetune_run"] for name in ("pretrain", "prefix", "scratch_run")]])
    many = 10**8
    known = replace(
        noise,
        ratios=ratios,
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

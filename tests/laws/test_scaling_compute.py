"""What follows from a surface: published allocations, the known biases of approaches 1 and 2, who is ahead when."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts.laws.scaling.catalogue import CHINCHILLA, STEPS_TO_A_LOSS
from workflow_scripts.laws.scaling.compute import (
    Crossover,
    approach_1,
    approach_2,
    compute_frontier,
    crossover,
    data_multiplier,
    least_compute,
    least_steps,
    optimal_allocation,
    useful_size,
)
from workflow_scripts.laws.scaling.fit import bootstrap, fit
from workflow_scripts.laws.scaling.law import LawError

REFIT = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}
UNROUNDED = {"E": 1.6934, "A": 406.4, "B": 410.7, "alpha": 0.3392, "beta": 0.2849}
ROUNDED = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
EXPONENT = REFIT["beta"] / (REFIT["alpha"] + REFIT["beta"])
BUDGETS = np.geomspace(1e18, 1e22, 7)


@pytest.mark.parametrize(
    ("surface", "n", "tokens_per_parameter"), [(REFIT, 7.2e10, 18), (UNROUNDED, 4.0e10, 59), (ROUNDED, 3.2e10, 93)]
)
def test_chinchillas_own_budget(surface, n, tokens_per_parameter):
    """At 5.76e23 FLOPs rounding two exponents more than triples the tokens a parameter: store full precision."""
    best = optimal_allocation(surface, 5.76e23)
    assert best.n == pytest.approx(n, rel=0.02)
    assert best.d / best.n == pytest.approx(tokens_per_parameter, rel=0.03)


@given(flops=st.floats(1e12, 1e26), factor=st.floats(0.2, 5.0))
def test_no_other_split_of_the_budget_is_better(flops, factor):
    best = optimal_allocation(REFIT, flops)
    assert 6 * best.n * best.d == pytest.approx(flops)
    other = CHINCHILLA.predict(REFIT, N=best.n * factor, D=best.d / factor)
    assert CHINCHILLA.predict(REFIT, N=best.n, D=best.d) <= other * (1 + 1e-12)
    assert useful_size(REFIT, best.d) == pytest.approx(best.n, rel=1e-6)


def test_an_allocation_has_an_interval():
    random = np.random.default_rng(0)
    n, d = 10 ** random.uniform(7, 10, 100), 10 ** random.uniform(9, 12, 100)
    loss = CHINCHILLA.predict(REFIT, N=n, D=d) * np.exp(0.005 * random.standard_normal(100))
    draws = bootstrap(fit(CHINCHILLA, loss, {"N": n, "D": d}), 200)
    interval = draws.interval(lambda p: optimal_allocation(p, 5.76e23).n)
    assert interval["low"] < 7.2e10 < interval["high"]
    assert interval["low"] < interval["estimate"] < interval["high"]


def isoflops(centre: np.ndarray, width: float = 4.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nine sizes at each budget, from 1/width to width times `centre`, without noise."""
    n = centre[:, None] * np.geomspace(1 / width, width, 9)
    budget = np.broadcast_to(BUDGETS[:, None], n.shape)
    return budget.ravel(), n.ravel(), CHINCHILLA.predict(REFIT, N=n, D=budget / 6 / n).ravel()


def test_approach_2_is_right_only_for_sizes_centred_on_the_optimum():
    """Its exponent survives sizes around the optimum; sizes that drift off it bend it, without any noise."""
    optimum = optimal_allocation(REFIT, BUDGETS).n
    centred = approach_2(*isoflops(optimum)).parameters["alpha"]
    drifting = approach_2(*isoflops(optimum * np.geomspace(1 / 3, 3, 7), 8.0)).parameters["alpha"]
    assert centred == pytest.approx(EXPONENT, abs=1e-3)
    assert abs(drifting - EXPONENT) > 0.003
    budget, n, loss = isoflops(optimum * np.geomspace(1 / 3, 3, 7), 8.0)
    surface = fit(CHINCHILLA, loss, {"N": n, "D": budget / 6 / n}).parameters
    assert optimal_allocation(surface, 1e24).n == pytest.approx(optimal_allocation(REFIT, 1e24).n, rel=1e-6)


def test_approach_2_refuses_a_budget_without_a_minimum():
    budget, n, loss = isoflops(optimal_allocation(REFIT, BUDGETS).n * 30)
    with pytest.raises(LawError, match="approach 2: no minimum between the sizes .* add sizes on either side"):
        approach_2(budget, n, loss)
    with pytest.raises(LawError, match="2 sizes at the budget 1e\\+18; a parabola needs three"):
        approach_2(BUDGETS[[0, 0]], np.array([1e7, 1e8]), np.array([3.0, 2.9]))


def test_approach_1_is_near_and_no_more():
    size = np.repeat(np.geomspace(1e7, 1e11, 25), 200)
    tokens = np.tile(np.geomspace(1e8, 1e13, 200), 25)
    found = approach_1(size, size, 6 * size * tokens, CHINCHILLA.predict(REFIT, N=size, D=tokens))
    assert found.parameters["alpha"] == pytest.approx(EXPONENT, abs=0.02)
    few = size < 3e7
    with pytest.raises(LawError, match="approach 1: fewer than two sizes"):
        approach_1(size[few], size[few], (6 * size * tokens)[few], CHINCHILLA.predict(REFIT, N=size, D=tokens)[few])


def test_data_multiplier_of_the_papers_first_figure():
    """N = 4e7 on 3e5 characters, text: the law gives D_T of 475 times D_F."""
    assert data_multiplier(1.9e4, 0.18, 0.38, 3e5, 4e7) == pytest.approx(1 + 475, rel=0.01)


def test_at_the_critical_batch_both_prices_double():
    """Steps and FLOPs of a run at B_crit are twice the least of each."""
    steps = float(STEPS_TO_A_LOSS.predict({"S_min": 1000.0, "E_min": 1000.0 * 5e5}, B=5e5))
    assert least_steps(steps, 5e5, 5e5) == pytest.approx(1000.0)
    assert least_compute(1e18, 5e5, 5e5) == pytest.approx(5e17)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), min_size=1, max_size=20))
def test_a_frontier_is_what_no_cheaper_run_beats(runs):
    flops, loss = np.array(runs, dtype=float).T
    frontier = compute_frontier(flops, loss)
    assert (np.diff(frontier.flops) > 0).all()
    assert (np.diff(frontier.loss) < 0).all()
    for c in flops:
        assert frontier.reached(np.array([c]))[0] == loss[flops <= c].min()


def test_who_is_ahead_and_since_when():
    scratch = compute_frontier(np.array([1.0, 4.0, 16.0]), np.array([4.0, 3.0, 2.0]))
    tuned = compute_frontier(np.array([2.0, 8.0]), np.array([2.8, 2.5]))
    assert crossover(scratch, tuned) == Crossover("scratch", 8.0, 16.0, 16.0)
    assert crossover(tuned, scratch) == Crossover("tuned", 8.0, 16.0, 16.0)
    cheaper = compute_frontier(np.array([0.5, 8.0]), np.array([1.9, 1.8]))
    assert crossover(scratch, cheaper) == Crossover("tuned", None, 0.5, 16.0)


def test_the_price_of_pretraining_delays_the_tuned_arm():
    scratch = compute_frontier(np.array([1.0, 10.0]), np.array([4.0, 3.0]))
    flops, loss = np.array([1.0, 10.0]), np.array([3.5, 2.5])
    assert crossover(scratch, compute_frontier(flops, loss)) == Crossover("tuned", None, 1.0, 10.0)
    assert crossover(scratch, compute_frontier(flops + 100, loss)) == Crossover("tuned", 101.0, 110.0, 110.0)

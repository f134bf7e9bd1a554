"""The from-scratch curve: cleaned as an oracle does, inverted without clamping, fitted exactly where it is a law."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import isotonic_regression

from workflow_scripts.laws.curves import SAME, clean_curve, fit_power_law, invert, isotonic

LOG_D = np.log([6e3, 1e4, 2e4, 35e3, 6e4, 1e5])
losses = arrays(float, 6, elements=st.floats(1.0, 8.0))


@given(losses, arrays(float, 6, elements=st.floats(0.5, 4.0)))
def test_isotonic_agrees_with_scipy(loss, weights):
    expected = isotonic_regression(loss, weights=weights, increasing=False).x
    np.testing.assert_allclose(isotonic(loss, weights), expected, atol=1e-9)


@given(losses, st.floats(0.5, 9.0), st.floats(0.5, 9.0))
def test_effective_data_never_falls_when_the_loss_falls(loss, one, other):
    """A better model never gets less D_E (a peer's periodic interpolation did that)."""
    found = invert(LOG_D, isotonic(loss, np.ones(6)), np.array([max(one, other), min(one, other)]))
    assert found.low[0] <= found.low[1]
    assert found.high[0] <= found.high[1]
    assert (found.low <= found.high).all()


@given(losses, st.floats(0.5, 9.0))
def test_outside_the_curve_is_marked_and_never_clamped(loss, target):
    curve = isotonic(loss, np.ones(6))
    found = invert(LOG_D, curve, np.array([target]))
    if target < curve.min() * (1 - 2 * SAME):
        assert found.low[0] == found.high[0] == np.inf
    elif target > curve.max() * (1 + 2 * SAME):
        assert found.low[0] == found.high[0] == -np.inf
    elif curve.min() <= target <= curve.max():
        assert LOG_D[0] <= found.low[0] <= found.high[0] <= LOG_D[-1]


def test_the_inverse_returns_the_points_of_the_curve():
    curve = np.array([5.0, 4.5, 4.1, 3.8, 3.6, 3.5])
    found = invert(LOG_D, curve, curve)
    np.testing.assert_allclose(found.low, LOG_D)
    np.testing.assert_allclose(found.high, LOG_D)


def test_a_plateau_gives_its_whole_width():
    found = invert(LOG_D, np.array([5.0, 4.0, 4.0, 4.0, 3.0, 2.5]), np.array([4.0, 3.999, 4.001]))
    np.testing.assert_allclose([found.low[0], found.high[0]], [LOG_D[1], LOG_D[3]])
    assert found.low[1] == found.high[1] > LOG_D[3]
    assert found.low[2] == found.high[2] < LOG_D[1]


def test_draws_side_by_side_equal_draws_one_by_one():
    random = np.random.default_rng(0)
    curves = isotonic(random.uniform(2, 5, (20, 6)), np.ones(6))
    targets = random.uniform(1.5, 5.5, (20, 4))
    together = invert(LOG_D, curves, targets)
    for i in range(20):
        np.testing.assert_array_equal(together.low[i], invert(LOG_D, curves[i], targets[i]).low)


def test_a_point_at_its_budget_does_not_raise_the_curve():
    """Its loss is an upper bound: where neighbours with less data are lower, it says nothing."""
    at_budget = np.array([False, False, True, False, False, False])
    loss = np.array([5.0, 4.5, 4.9, 3.8, 3.6, 3.5])
    np.testing.assert_allclose(clean_curve(loss, np.ones(6), at_budget), [5.0, 4.5, 4.5, 3.8, 3.6, 3.5])


@pytest.mark.parametrize(("floor", "scale", "exponent"), [(2.0, 11.0, 0.15), (0.0, 30.0, 0.2), (1.0, 500.0, 0.6)])
def test_power_law_is_recovered(floor, scale, exponent):
    d = np.exp(LOG_D)
    law = fit_power_law(d, floor + scale * d**-exponent, np.ones(6))
    assert law.floor == pytest.approx(floor, abs=1e-4)
    assert law.exponent == pytest.approx(exponent, rel=1e-4)
    assert law.inverse(np.array(floor + scale * 5e4**-exponent)) == pytest.approx(5e4, rel=1e-6)
    assert law.slope(np.array(5e4)) == pytest.approx(-exponent * scale * 5e4**-exponent, rel=1e-4)


def test_sufficient_data_follows_the_papers_footnote():
    """L(inf) = 0.99 L(D(N)): the floor 2 is reached to 1 % where scale d^-b = 2/99."""
    d = np.exp(LOG_D)
    law = fit_power_law(d, 2.0 + 500 * d**-0.8, np.ones(6))
    assert law.sufficient_data(0.01) == pytest.approx((500 * 99 / 2) ** (1 / 0.8), rel=1e-4)


def test_a_rising_curve_has_no_inverse_below_its_mean():
    law = fit_power_law(np.exp(LOG_D), np.array([3.0, 3.1, 3.2, 3.3, 3.4, 3.5]), np.ones(6))
    assert law.on_bound
    assert law.inverse(np.array(3.0)) == np.inf

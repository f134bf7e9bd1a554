"""A fit says how far it can be trusted: a status, an interval that covers, and an error with advice where it failed."""

from dataclasses import replace

import numpy as np
import pytest

from workflow_scripts.laws.scaling import solver
from workflow_scripts.laws.scaling.catalogue import CHINCHILLA, FLOORED_LOSS_OF_D, LOSS_OF_N
from workflow_scripts.laws.scaling.fit import bootstrap, fit
from workflow_scripts.laws.scaling.law import LawError
from workflow_scripts.laws.scaling.solver import HUBER, nonnegative

SURFACE = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}
OBJECTIVES = {"least squares": {}, "huber": {"huber": HUBER}}


def points(n: int = 80, noise: float = 0.0, seed: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    random = np.random.default_rng(seed)
    x = {"N": 10 ** random.uniform(7, 10, n), "D": 10 ** random.uniform(9, 12, n)}
    return CHINCHILLA.predict(SURFACE, **x) * np.exp(noise * random.standard_normal(n)), x


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_symmetric_noise_biases_nothing(objective):
    """A one-sided loss, as a peer's default has, moves E and beta by many standard errors."""
    found = [fit(CHINCHILLA, *points(noise=0.01, seed=seed), **OBJECTIVES[objective]).parameters for seed in range(24)]
    for name, value in SURFACE.items():
        logs = np.log([one[name] / value for one in found])
        assert abs(logs.mean()) < 3 * logs.std() / np.sqrt(len(logs))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_intervals_cover_the_surface(objective):
    hits = []
    for seed in range(16):
        fitted = fit(CHINCHILLA, *points(60, 0.01, seed), **OBJECTIVES[objective])
        draws = bootstrap(fitted, 200, seed)
        intervals = {name: draws.interval(name) for name in SURFACE}
        hits += [intervals[name]["low"] <= value <= intervals[name]["high"] for name, value in SURFACE.items()]
        assert draws.not_converged == 0
    assert np.mean(hits) >= 0.85


@pytest.mark.filterwarnings("error")
def test_an_end_that_the_edge_of_the_search_decides_is_unknown():
    """Seven noisy points do not decide a curvature: the interval of the exponent is not the box that was searched."""
    d = np.geomspace(1e4, 1e6, 7)
    y = (1.0 + (1e4 / d) ** 0.3) * np.exp(0.05 * np.random.default_rng(3).standard_normal(7))
    draws = bootstrap(fit(FLOORED_LOSS_OF_D, y, {"D": d}), 300)
    beyond = draws.edge["alpha"] != 0
    assert beyond.mean() > 0.025
    alpha, floor = draws.known("alpha"), draws.known("E")
    lower, upper = FLOORED_LOSS_OF_D.shapes[0].bounds
    assert all(end is None or lower < end < upper for end in (alpha["low"], alpha["high"]))
    assert None in (alpha["low"], alpha["high"])
    assert (floor["low"], floor["high"]) == (None, None), "the exponent that it goes with is unknown"


def test_shared_noise_needs_groups():
    """Noise that twelve runs of a prefix share narrows intervals falsely unless it is drawn for the group."""
    random = np.random.default_rng(0)
    d = np.repeat(np.geomspace(1e5, 1e8, 16), 12)
    shared = np.repeat(0.02 * random.standard_normal(16), 12)
    y = (1e12 / d) ** 0.1 * np.exp(shared + 0.002 * random.standard_normal(len(d)))
    fitted = fit(FLOORED_LOSS_OF_D, y, {"D": d})
    alone, grouped = (bootstrap(fitted, 300, groups=groups).interval(lambda p: p["alpha"]) for groups in (None, d))
    assert grouped["high"] - grouped["low"] > 1.5 * (alone["high"] - alone["low"])


def test_the_seed_decides_the_draws():
    fitted = fit(CHINCHILLA, *points(noise=0.01))
    first, again, other = (bootstrap(fitted, 50, seed).parameters["beta"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_many_draws_in_parts_equal_draws_at_once(monkeypatch):
    fitted = fit(CHINCHILLA, *points(noise=0.01))
    at_once = bootstrap(fitted, 30).parameters["E"]
    monkeypatch.setattr("workflow_scripts.laws.scaling.fit.AT_ONCE", 500)
    np.testing.assert_allclose(bootstrap(fitted, 30).parameters["E"], at_once, rtol=1e-9)


def test_the_objective_is_a_sum():
    """The mean of Huber terms is so small that the published fit stopped early."""
    response, x = points(noise=0.01)
    twice = np.tile(response, 2), {name: np.tile(values, 2) for name, values in x.items()}
    one, two = fit(CHINCHILLA, response, x, huber=HUBER), fit(CHINCHILLA, *twice, huber=HUBER)
    assert two.objective == pytest.approx(2 * one.objective, rel=1e-6)
    assert two.parameters == pytest.approx(one.parameters, rel=1e-4)


def test_huber_is_not_moved_by_outliers():
    response, x = points(noise=1e-4)
    response[::10] *= 1.3
    robust, squares = (fit(CHINCHILLA, response, x, **kind).parameters["alpha"] for kind in ({"huber": HUBER}, {}))
    assert abs(robust - SURFACE["alpha"]) < 0.005 < abs(squares - SURFACE["alpha"])


def test_float32_is_fitted_in_float64():
    response, x = points()
    single = fit(CHINCHILLA, response.astype(np.float32), {name: v.astype(np.float32) for name, v in x.items()})
    assert single.parameters["beta"] == pytest.approx(SURFACE["beta"], rel=1e-4)
    assert isinstance(single.parameters["beta"], float)


def test_points_in_any_order_give_the_same_law():
    response, x = points(noise=0.01)
    order = np.random.default_rng(0).permutation(len(response))
    shuffled = fit(CHINCHILLA, response[order], {name: values[order] for name, values in x.items()})
    assert shuffled.parameters == pytest.approx(fit(CHINCHILLA, response, x).parameters, rel=1e-5)


def test_an_optimum_on_a_bound_is_named():
    """A loss that rises with N has no exponent in the domain."""
    n = np.geomspace(1e5, 1e9, 12)
    found = fit(LOSS_OF_N, 2 * n**0.05, {"N": n})
    assert (found.status, found.on_bound) == ("on a bound", ("alpha",))


def test_a_single_start_at_the_optimum_is_said():
    found = fit(CHINCHILLA, *points(noise=0.01))
    assert found.status == "ok"
    assert replace(found, agreed=1).status == "found by one start only"


def test_a_fit_that_does_not_converge_is_an_error(monkeypatch):
    monkeypatch.setattr(solver, "STEPS", 0)
    with pytest.raises(LawError, match="the best of 12 starts did not converge; look for outliers"):
        fit(CHINCHILLA, *points(noise=0.01))


@pytest.mark.parametrize("loss", [2.0, 3.0, 4.123])
def test_losses_that_do_not_change_decide_no_exponent(loss):
    """Its term is next to nothing, so the exponent changes nothing: it was told with an interval of no width."""
    with pytest.raises(LawError, match="do not decide its 3 parameters"):
        fit(FLOORED_LOSS_OF_D, np.full(14, loss), {"D": np.geomspace(6e3, 6e4, 14)})


def test_points_that_do_not_decide_are_an_error():
    response, x = points()
    with pytest.raises(LawError, match=r"do not decide .* 1 values of D\); vary each variable"):
        fit(CHINCHILLA, CHINCHILLA.predict(SURFACE, N=x["N"], D=1e10), x | {"D": np.full(80, 1e10)})


@pytest.mark.parametrize(
    ("response", "n", "message"),
    [
        ([3.0, 2.5], [1e3, 1e4], "2 points for 2 parameters; it needs at least 3"),
        ([3.0, -2.5, 2.0], [1e3, 1e4, 1e5], "loss of point 2 is -2.5"),
        ([3.0, np.nan, 2.0], [1e3, 1e4, 1e5], "loss of point 2 is nan"),
        ([3.0, 2.5, 2.0], [1e3, 0.0, 1e5], "N of point 2 is 0.0"),
        ([3.0, 2.5, 2.0], [1e3, 1e4], r"N has the shape \(2,\), expected one value a point, \(3,\)"),
    ],
)
def test_bad_points_are_named(response, n, message):
    with pytest.raises(LawError, match=message):
        fit(LOSS_OF_N, np.array(response), {"N": np.array(n)})


def test_a_missing_variable_is_named():
    with pytest.raises(LawError, match="no variable D; it needs N, D"):
        fit(CHINCHILLA, np.ones(9), {"N": np.ones(9)})


def test_intervals_need_more_groups_than_parameters():
    response, x = points(noise=0.01)
    with pytest.raises(LawError, match="5 independent groups of points for 5 parameters"):
        bootstrap(fit(CHINCHILLA, response, x), 10, groups=np.arange(80) % 5)


def test_nonnegative_amplitudes_are_the_best_that_are():
    """Against a search: no random non-negative amplitudes are nearer."""
    random = np.random.default_rng(0)
    design = random.normal(0.3, 1.0, (5, 3, 8))
    found = nonnegative(design)
    assert (found >= 0).all()

    def distance(c):
        return ((1 - np.einsum("mk,mkn->mn", c, design)) ** 2).sum(axis=1)

    for _ in range(300):
        assert (distance(found) <= distance(random.exponential(0.5, (5, 3))) + 1e-12).all()

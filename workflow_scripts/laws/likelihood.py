"""The likelihood of ln D_E under laws that are linear in ln D_T, and its maximum.

ln D_T is a sum of terms times coefficients, and ln D_E = ln(D_F + D_T) plus normal noise.  Cells outside the
from-scratch curve enter by the probability of lying there (Tobin 1958), cells with D_T <= 0 as they are.  Many data
sets over the same cells are fitted at once: arrays are (draws, cells).  D is in characters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import erfcx, log_ndtr

EXPONENT_BOUND = 4.0
LEVEL_BOUND = 14.0
"""ln D_T at the centre of the cells stays within this of their mean ln D_F: a factor of a million either way."""
STEPS = 100
FLAT = 1e-8
"""Converged is where a Newton step along any axis would gain less than this fraction of the objective."""
SINGULAR = 1e10
"""Condition number of the sum of x xᵀ from which on cells do not decide the coefficients."""
AGREEMENT = 1e-6
"""Two starts agree if their objectives differ by less."""


@dataclass(frozen=True)
class Observed:
    """ln D_E (draws, cells), NaN where unknown, or its limit where `side` is +1 (D_E lies above it) or -1 (below it)."""

    log_d_e: np.ndarray
    side: np.ndarray

    def take(self, chosen: np.ndarray) -> Observed:
        return Observed(self.log_d_e[:, chosen], self.side[:, chosen])

    def draws(self, chosen: np.ndarray) -> Observed:
        return Observed(self.log_d_e[chosen], self.side[chosen])

    def unknown(self) -> Observed:
        return Observed(np.full(self.log_d_e.shape, np.nan), self.side)

    def repeated(self, times: int) -> Observed:
        """One data set, `times` over."""
        return Observed(np.repeat(self.log_d_e, times, axis=0), np.repeat(self.side, times, axis=0))


@dataclass(frozen=True)
class Terms:
    """ln D_T = values @ coefficients."""

    values: np.ndarray
    """(cells, coefficients): indicators for levels, centred logarithms for exponents."""
    level: np.ndarray
    """(coefficients,): whether it is a level of ln D_T; the others are exponents."""
    log_d_f: np.ndarray
    """(cells,)"""

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        centre = np.where(self.level, self.log_d_f.mean(), 0.0)
        reach = np.where(self.level, LEVEL_BOUND, EXPONENT_BOUND)
        return centre - reach, centre + reach

    def log_d_e(self, coefficients: np.ndarray) -> np.ndarray:
        """(draws, cells); NaN in draws without coefficients."""
        with np.errstate(invalid="ignore"):
            return np.logaddexp(self.log_d_f, coefficients @ self.values.T)

    def weighted_products(self, weights: np.ndarray) -> np.ndarray:
        """weights (draws, cells) -> (draws, coefficients, coefficients): the sum over cells of w x xᵀ."""
        size = self.values.shape[1]
        products = (self.values[:, :, None] * self.values[:, None, :]).reshape(-1, size**2)
        return (weights @ products).reshape(-1, size, size)

    def decided_by(self, inside: np.ndarray) -> np.ndarray:
        """(draws,): whether the cells `inside` (draws, cells) decide the coefficients: they are as many or more, and vary in
        every term apart from the others.  Limits do not: where they hold, their likelihood is flat."""
        return np.linalg.cond(self.weighted_products(inside.astype(float))) < SINGULAR


@dataclass(frozen=True)
class Maximum:
    """Of many fits: `coefficients` (draws, coefficients), NaN where the cells do not decide them; the others (draws,)."""

    coefficients: np.ndarray
    objective: np.ndarray
    """Minus the log-likelihood, without constants."""
    converged: np.ndarray
    on_bound: np.ndarray
    """(draws, coefficients): -1 or +1 where one ended on its lower or upper bound, else 0."""

    @property
    def undefined(self) -> np.ndarray:
        """(draws,)"""
        return np.isnan(self.coefficients).any(axis=1)


Objective = Callable[[np.ndarray, Terms, np.ndarray, Observed], tuple[np.ndarray, np.ndarray, np.ndarray]]
"""Of coefficients (draws, c), terms, deviation and data: its value (draws,), gradient (draws, c), curvature (draws, c, c)."""


def maximise(
    terms: Terms, deviation: np.ndarray, observed: Observed, starts: np.ndarray, objective_of: Objective | None = None
) -> Maximum:
    """Levenberg-Marquardt with all draws side by side, inside wide bounds, from one start (coefficients,) or one a draw.

    `deviation` of the noise of ln D_E is (cells,) or (draws, cells); infinite leaves a cell out.  `objective_of` is
    minus the log-likelihood unless another is given.  Draws whose cells with a known D_E do not decide the coefficients
    have none, and have not converged; nor have those whose start is NaN.
    """
    n_draws, size = len(observed.log_d_e), len(terms.level)
    starts = np.broadcast_to(np.asarray(starts, dtype=float), (n_draws, size))
    deviation = np.broadcast_to(deviation, observed.side.shape)
    inside = (observed.side == 0) & np.isfinite(observed.log_d_e) & np.isfinite(deviation)
    decided = terms.decided_by(inside) & np.isfinite(starts).all(axis=1)
    found = _search(terms, deviation[decided], observed.draws(decided), starts[decided], objective_of or _likelihood)
    coefficients, objective = np.full((n_draws, size), np.nan), np.full(n_draws, np.nan)
    converged, on_bound = np.zeros(n_draws, dtype=bool), np.zeros((n_draws, size), dtype=int)
    coefficients[decided], objective[decided] = found.coefficients, found.objective
    converged[decided], on_bound[decided] = found.converged, found.on_bound
    return Maximum(coefficients, objective, converged, on_bound)


def _search(
    terms: Terms, deviation: np.ndarray, observed: Observed, starts: np.ndarray, objective_of: Objective
) -> Maximum:
    """`maximise` of draws that are all decided; `deviation` is (draws, cells), `starts` (draws, coefficients)."""
    lower, upper = terms.bounds()
    n_draws, size = starts.shape
    position = np.clip(starts, lower, upper)
    objective, gradient, curvature = objective_of(position, terms, deviation, observed)
    damping, still = np.full(n_draws, 1e-3), np.zeros(n_draws, dtype=bool)
    for _ in range(STEPS):
        scale = np.maximum(np.einsum("dii->di", curvature), 1e-12)
        damped = curvature + (damping[:, None] * scale)[:, :, None] * np.eye(size)
        free = ~_held(position, gradient, lower, upper)
        damped = np.where(free[:, :, None] & free[:, None, :], damped, np.eye(size))
        step = np.linalg.solve(damped, -(gradient * free)[:, :, None])[:, :, 0]
        proposal = np.clip(position + step, lower, upper)
        moved = np.abs(proposal - position).max(axis=1)
        trial = objective_of(proposal, terms, deviation, observed)
        better = trial[0] <= objective
        still |= moved < 1e-8
        position[better], objective[better] = proposal[better], trial[0][better]
        gradient[better], curvature[better] = trial[1][better], trial[2][better]
        damping = np.where(better, np.maximum(damping / 5, 1e-9), np.minimum(damping * 4, 1e12))
        if still.all():
            break
    scale = np.maximum(np.einsum("dii->di", curvature), 1e-12)
    left_to_gain = np.where(_held(position, gradient, lower, upper), 0.0, gradient**2 / scale).sum(axis=1)
    return Maximum(
        position,
        objective,
        still & (left_to_gain < FLAT * (1 + objective)),
        np.where(position <= lower, -1, np.where(position >= upper, 1, 0)),
    )


def _held(position: np.ndarray, gradient: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """(draws, coefficients): those on a bound that the objective pushes further out."""
    return ((position <= lower) & (gradient > 0)) | ((position >= upper) & (gradient < 0))


def _likelihood(
    position: np.ndarray, terms: Terms, deviation: np.ndarray, observed: Observed
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Objective (draws,), gradient (draws, c) and curvature (draws, c, c) at `position` (draws, c).

    The curvature is the Hessian where that is positive definite, elsewhere its Gauss-Newton part.
    """
    log_d_t = position @ terms.values.T
    log_d_e = np.logaddexp(terms.log_d_f, log_d_t)
    away = (log_d_e - observed.log_d_e) / deviation
    outside = observed.side != 0
    value, first, second = 0.5 * away**2, away / deviation, 1 / np.broadcast_to(deviation, away.shape) ** 2
    if outside.any():
        signed = away * observed.side
        hazard = np.sqrt(2 / np.pi) / erfcx(-signed / np.sqrt(2))
        value = np.where(outside, -log_ndtr(signed), value)
        first = np.where(outside, -hazard * observed.side / deviation, first)
        # between 0 and 1, but the difference of two large numbers where a limit is broken by far
        second = np.where(outside, np.clip(hazard * (signed + hazard), 0, 1) / deviation**2, second)
    share = np.exp(log_d_t - log_d_e)
    gauss_newton = terms.weighted_products(second * share**2)
    hessian = gauss_newton + terms.weighted_products(first * share * (1 - share))
    eigenvalues = np.linalg.eigvalsh(hessian)
    definite = eigenvalues[:, 0] > 1e-9 * eigenvalues[:, -1]
    return (
        value.sum(axis=1),
        (first * share) @ terms.values,
        np.where(definite[:, None, None], hessian, gauss_newton),
    )


@dataclass(frozen=True)
class BestOfStarts:
    """The best of many starts for a single data set."""

    maximum: Maximum
    """Of one draw."""
    starts: int
    agreed: int

    @property
    def status(self) -> str:
        """`ok`, `on a bound`, `not converged`, or `undefined` where the cells do not decide the coefficients."""
        if self.maximum.undefined[0]:
            return "undefined"
        if not self.maximum.converged[0]:
            return "not converged"
        return "on a bound" if self.maximum.on_bound.any() else "ok"


def maximise_from_many(
    terms: Terms, deviation: np.ndarray, observed: Observed, starts: np.ndarray, objective_of: Objective | None = None
) -> BestOfStarts:
    """From every row of `starts` (starts, coefficients); `observed` has one draw, `deviation` is (cells,)."""
    found = maximise(terms, deviation, observed.repeated(len(starts)), starts, objective_of)
    best = int(found.objective.argmin())
    agreed = int((found.objective <= found.objective[best] + AGREEMENT * (1 + found.objective[best])).sum())
    one = Maximum(*(getattr(found, name)[best : best + 1] for name in Maximum.__dataclass_fields__))
    return BestOfStarts(one, len(starts), agreed)

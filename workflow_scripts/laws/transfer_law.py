"""The transfer law D_T = k D_F^alpha N^beta (Hernandez et al. 2021, eq. 1.1), by three estimators.

The default works on what is measured: ln D_E on ln(D_F + k D_F^alpha N^beta), weighted by the noise of each ln D_E.
Cells outside the from-scratch curve enter by the probability of lying there (a Tobit likelihood), cells with D_T <= 0
as they are.  `plane` and `fit_of_fits` (the paper's) need D_T > 0 and so drop cells by outcome; they stand beside it.

All fit many data sets over the same cells at once: arrays are (draws, cells).  D is in characters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_ndtr

EXPONENT_BOUND = 4.0
LEVEL_BOUND = 14.0
"""ln D_T at the centre of the cells stays within this of their mean ln D_F: a factor of a million either way."""
STEPS = 100
FLAT = 1e-8
"""Converged is where a Newton step along any axis would gain less than this fraction of the objective."""
AGREEMENT = 1e-6
"""Two starts agree if their objectives differ by less."""


@dataclass(frozen=True)
class Design:
    """Where the cells lie: characters, parameters, and the standard deviation of the noise of ln D_E, each (cells,)."""

    d_f: np.ndarray
    n_params: np.ndarray
    deviation: np.ndarray

    def take(self, chosen: np.ndarray) -> Design:
        return Design(self.d_f[chosen], self.n_params[chosen], self.deviation[chosen])

    @property
    def centre(self) -> tuple[float, float]:
        return float(np.log(self.d_f).mean()), float(np.log(self.n_params).mean())

    def terms(self) -> np.ndarray:
        """(cells, 3): 1, ln D_F and ln N, the last two centred, where the level is least correlated with the slopes."""
        x, z = self.centre
        return np.stack([np.ones(len(self.d_f)), np.log(self.d_f) - x, np.log(self.n_params) - z], axis=1)


@dataclass(frozen=True)
class Observed:
    """ln D_E (draws, cells), or its limit where `side` is +1 (D_E lies above it) or -1 (below it)."""

    log_d_e: np.ndarray
    side: np.ndarray

    def take(self, chosen: np.ndarray) -> Observed:
        return Observed(self.log_d_e[:, chosen], self.side[:, chosen])


@dataclass(frozen=True)
class Law:
    """Coefficients of many fits, each (draws,): D_T = exp(ln_k) D_F^alpha N^beta."""

    ln_k: np.ndarray
    alpha: np.ndarray
    beta: np.ndarray
    objective: np.ndarray
    """Minus the log-likelihood, without constants."""
    converged: np.ndarray
    on_bound: np.ndarray
    """(draws, 3): -1 or +1 where ln D_T at the centre, alpha or beta ended on its lower or upper bound, else 0."""

    def log_d_t(self, design: Design) -> np.ndarray:
        """(draws, cells)"""
        return (
            self.ln_k[:, None] + self.alpha[:, None] * np.log(design.d_f) + self.beta[:, None] * np.log(design.n_params)
        )

    def log_d_e(self, design: Design) -> np.ndarray:
        return np.logaddexp(np.log(design.d_f), self.log_d_t(design))


def fit_law(design: Design, observed: Observed, starts: np.ndarray) -> Law:
    """The default estimator, from one start (3,) or (draws, 3) a draw: ln D_T at the centre, alpha, beta.

    Levenberg-Marquardt with all draws side by side, inside wide bounds (`EXPONENT_BOUND`, `LEVEL_BOUND`).
    """
    draws = len(observed.log_d_e)
    terms, log_d_f = design.terms(), np.log(design.d_f)
    bound = np.array([LEVEL_BOUND, EXPONENT_BOUND, EXPONENT_BOUND])
    lower, upper = -bound, bound
    lower[0] += design.centre[0]
    upper[0] += design.centre[0]
    position = np.broadcast_to(np.asarray(starts, dtype=float), (draws, 3)).copy()
    objective, gradient, curvature = _likelihood(position, terms, log_d_f, design.deviation, observed)
    damping, still = np.full(draws, 1e-3), np.zeros(draws, dtype=bool)
    for _ in range(STEPS):
        scale = np.maximum(np.einsum("dii->di", curvature), 1e-12)
        damped = curvature + (damping[:, None] * scale)[:, :, None] * np.eye(3)
        free = ~_held(position, gradient, lower, upper)
        damped = np.where(free[:, :, None] & free[:, None, :], damped, np.eye(3))
        step = np.linalg.solve(damped, -(gradient * free)[:, :, None])[:, :, 0]
        proposal = np.clip(position + step, lower, upper)
        moved = np.abs(proposal - position).max(axis=1)
        trial = _likelihood(proposal, terms, log_d_f, design.deviation, observed)
        better = trial[0] <= objective
        still |= moved < 1e-8
        position[better], objective[better] = proposal[better], trial[0][better]
        gradient[better], curvature[better] = trial[1][better], trial[2][better]
        damping = np.where(better, np.maximum(damping / 5, 1e-9), np.minimum(damping * 4, 1e12))
        if still.all():
            break
    on_bound = np.where(position <= lower, -1, np.where(position >= upper, 1, 0))
    scale = np.maximum(np.einsum("dii->di", curvature), 1e-12)
    left_to_gain = np.where(_held(position, gradient, lower, upper), 0.0, gradient**2 / scale).sum(axis=1)
    converged = still & (left_to_gain < FLAT * (1 + objective))
    level, alpha, beta = position.T
    x, z = design.centre
    return Law(level - alpha * x - beta * z, alpha, beta, objective, converged, on_bound)


def _held(position: np.ndarray, gradient: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """(draws, 3): coordinates on a bound that the objective pushes further out."""
    return ((position <= lower) & (gradient > 0)) | ((position >= upper) & (gradient < 0))


def _likelihood(
    position: np.ndarray, terms: np.ndarray, log_d_f: np.ndarray, deviation: np.ndarray, observed: Observed
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Objective (draws,), gradient (draws, 3) and curvature (draws, 3, 3) at `position` (draws, 3).

    The curvature is the Hessian where that is positive definite, elsewhere its Gauss-Newton part.
    """
    log_d_t = position @ terms.T
    log_d_e = np.logaddexp(log_d_f, log_d_t)
    away = (log_d_e - observed.log_d_e) / deviation
    signed = away * observed.side
    log_mass = log_ndtr(signed)
    hazard = np.exp(-0.5 * signed**2 - 0.5 * np.log(2 * np.pi) - log_mass)
    outside = observed.side != 0
    value = np.where(outside, -log_mass, 0.5 * away**2)
    first = np.where(outside, -hazard * observed.side, away) / deviation
    second = np.where(outside, hazard * (signed + hazard), 1.0) / deviation**2
    share = np.exp(log_d_t - log_d_e)
    gauss_newton = np.einsum("dc,ci,cj->dij", second * share**2, terms, terms)
    hessian = gauss_newton + np.einsum("dc,ci,cj->dij", first * share * (1 - share), terms, terms)
    eigenvalues = np.linalg.eigvalsh(hessian)
    definite = eigenvalues[:, 0] > 1e-9 * eigenvalues[:, 2]
    return (
        value.sum(axis=1),
        (first * share) @ terms,
        np.where(definite[:, None, None], hessian, gauss_newton),
    )


def start_of(law: Law, design: Design) -> np.ndarray:
    """(draws, 3): the coefficients of a fit as a start for `fit_law` on `design`."""
    x, z = design.centre
    return np.stack([law.ln_k + law.alpha * x + law.beta * z, law.alpha, law.beta], axis=1)


@dataclass(frozen=True)
class BestOfStarts:
    law: Law
    """Of one draw."""
    starts: int
    agreed: int
    status: str
    """`ok`, `on a bound` or `not converged`."""


def fit_from_many_starts(design: Design, observed: Observed) -> BestOfStarts:
    """The best of 36 starts for a single data set (observed has one draw)."""
    levels = np.array([-3.0, -1.0, 0.0, 2.0]) + design.centre[0]
    starts = np.stack(np.meshgrid(levels, [0.0, 0.4, 0.8], [0.0, 0.3, 0.8], indexing="ij"), axis=-1).reshape(-1, 3)
    many = Observed(np.repeat(observed.log_d_e, len(starts), axis=0), np.repeat(observed.side, len(starts), axis=0))
    laws = fit_law(design, many, starts)
    best = int(laws.objective.argmin())
    law = Law(*(getattr(laws, name)[best : best + 1] for name in Law.__dataclass_fields__))
    agreed = int((laws.objective <= laws.objective[best] + AGREEMENT * (1 + laws.objective[best])).sum())
    status = "on a bound" if law.on_bound.any() else "ok" if law.converged[0] else "not converged"
    return BestOfStarts(law, len(starts), agreed, status)


def missed_factor(law: Law, design: Design, observed: Observed) -> float | None:
    """The factor by which D_T of held-out cells exceeds the law's: c of ln D_E on ln(D_F + c D_T), same likelihood.

    One factor for all the cells, so it is defined where some have D_T <= 0 or are censored; its noise is that of all
    of them.  None if no factor between 1e-4 and 1e4 explains the cells.
    """
    log_d_t, log_d_f = law.log_d_t(design), np.log(design.d_f)

    def objective(log_factor: float) -> float:
        shifted = np.array([[log_factor]])
        away = (np.logaddexp(log_d_f, log_d_t + shifted) - observed.log_d_e) / design.deviation
        return float(np.where(observed.side != 0, -log_ndtr(away * observed.side), 0.5 * away**2).sum())

    limit = np.log(1e4)
    found = minimize_scalar(objective, bounds=(-limit, limit), method="bounded", options={"xatol": 1e-8})
    return float(np.exp(found.x)) if abs(found.x) < limit - 1e-3 else None


def plane(design: Design, observed: Observed) -> tuple[Law, np.ndarray]:
    """Ordinary least squares of ln D_T on 1, ln D_F, ln N over cells with D_T > 0 inside the curve; and which those are.

    Coefficients are NaN where fewer than 3 cells, or cells on a line, remain.
    """
    d_t, used = _positive_transfer(design, observed)
    terms, weights = design.terms(), used.astype(float)
    moments = np.einsum("dc,ci,cj->dij", weights, terms, terms)
    target = np.einsum("dc,ci,dc->di", weights, terms, np.log(np.where(used, d_t, 1.0)))
    solvable = np.linalg.cond(moments) < 1e10
    solution = np.full(target.shape, np.nan)
    solution[solvable] = np.linalg.solve(moments[solvable], target[solvable][:, :, None])[:, :, 0]
    level, alpha, beta = solution.T
    x, z = design.centre
    return _explicit(level - alpha * x - beta * z, alpha, beta), used


def fit_of_fits(design: Design, observed: Observed) -> tuple[Law, np.ndarray]:
    """The paper's estimator (its eqs. C.1 and B.2), over the cells of `plane`; and which those are.

    For each D_F the line logit(D_T / D_E) = ln(D_T / D_F) = beta (ln N - ln N*), with one beta for all; then the
    intercepts against ln D_F, each D_F counting the same, have the slope alpha - 1 and the intercept ln k.
    """
    d_t, used = _positive_transfer(design, observed)
    log_n, odds = np.log(design.n_params), np.log(np.where(used, d_t, 1.0) / design.d_f)
    values, group = np.unique(design.d_f, return_inverse=True)
    member = np.equal.outer(np.arange(len(values)), group)[None] & used[:, None, :]
    count = member.sum(axis=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_log_n = (member * log_n).sum(axis=2) / count
        mean_odds = (member * odds[:, None, :]).sum(axis=2) / count
        off_n = np.where(used, log_n - np.take_along_axis(mean_log_n, np.broadcast_to(group, used.shape), axis=1), 0.0)
        beta = (off_n * odds * used).sum(axis=1) / (off_n**2).sum(axis=1)
        intercept = mean_odds - beta[:, None] * mean_log_n
        there = count > 0
        x = np.where(there, np.log(values), 0.0)
        off_x = np.where(there, x - (x.sum(axis=1) / there.sum(axis=1))[:, None], 0.0)
        slope = (off_x * np.where(there, intercept, 0.0)).sum(axis=1) / (off_x**2).sum(axis=1)
        ln_k = (np.where(there, intercept, 0.0).sum(axis=1) - slope * x.sum(axis=1)) / there.sum(axis=1)
    return _explicit(ln_k, slope + 1, beta), used


def _positive_transfer(design: Design, observed: Observed) -> tuple[np.ndarray, np.ndarray]:
    d_t = np.exp(observed.log_d_e) - design.d_f
    return d_t, (observed.side == 0) & (d_t > 0)


def _explicit(ln_k: np.ndarray, alpha: np.ndarray, beta: np.ndarray) -> Law:
    solved = np.isfinite(ln_k) & np.isfinite(alpha) & np.isfinite(beta)
    ln_k, alpha, beta = (np.where(solved, value, np.nan) for value in (ln_k, alpha, beta))
    return Law(ln_k, alpha, beta, np.full(len(ln_k), np.nan), solved, np.zeros((len(ln_k), 3), dtype=int))

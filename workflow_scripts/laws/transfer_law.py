"""The transfer law D_T = k D_F^alpha N^beta (Hernandez et al. 2021, eq. 1.1), by the default estimator.

It works on what is measured: ln D_E on ln(D_F + k D_F^alpha N^beta), weighted by the noise of each ln D_E, censored
cells and cells with D_T <= 0 included (`likelihood.py`).  The others, which stand beside it, are in `estimators.py`.
Arrays are (draws, cells).  D is in characters.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_ndtr

from workflow_scripts.laws.likelihood import Maximum, Objective, Observed, Terms, maximise, maximise_from_many


@dataclass(frozen=True)
class Design:
    """Where the cells lie: characters, parameters, and the standard deviation of the noise of ln D_E, each (cells,)."""

    d_f: np.ndarray
    n_params: np.ndarray
    deviation: np.ndarray
    pretrain_tokens: np.ndarray | None = None
    """P, for the law with a third axis: D_T = k D_F^alpha N^beta P^gamma."""

    def take(self, chosen: np.ndarray) -> Design:
        p = None if self.pretrain_tokens is None else self.pretrain_tokens[chosen]
        return Design(self.d_f[chosen], self.n_params[chosen], self.deviation[chosen], p)

    def logs(self) -> np.ndarray:
        """(axes, cells): ln D_F, ln N and, where the law has it, ln P."""
        axes = [self.d_f, self.n_params] + ([] if self.pretrain_tokens is None else [self.pretrain_tokens])
        return np.log(np.array(axes))

    def terms(self) -> Terms:
        """1 and the logarithms, these centred, where the level is least correlated with the slopes."""
        logs = self.logs()
        values = np.vstack([np.ones(len(self.d_f)), logs - logs.mean(axis=1, keepdims=True)]).T
        return Terms(values, np.arange(len(logs) + 1) == 0, logs[0])


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
    gamma: np.ndarray | None = None
    """The exponent of P, for a design with P; `on_bound` then has a fourth column."""

    @property
    def exponents(self) -> np.ndarray:
        """(draws, axes)"""
        return np.stack([self.alpha, self.beta] + ([] if self.gamma is None else [self.gamma]), axis=1)

    @property
    def status(self) -> str:
        """Of the first draw: `ok`, `on a bound`, `not converged`, or `undefined` where there is no estimate."""
        if not np.isfinite(self.ln_k[0]):
            return "undefined"
        if not self.converged[0]:
            return "not converged"
        return "on a bound" if self.on_bound[0].any() else "ok"

    @property
    def known(self) -> np.ndarray:
        """(draws,): converged within the bounds of the search; of the others everything is unknown but which bound."""
        return self.converged & ~self.on_bound.any(axis=1)

    def take(self, draw: int) -> Law:
        """One draw of it."""
        one = {name: value[draw : draw + 1] for name, value in vars(self).items() if value is not None}
        return replace(self, **one)

    def log_d_t(self, design: Design) -> np.ndarray:
        """(draws, cells)"""
        return self.ln_k[:, None] + self.exponents @ design.logs()

    def log_d_e(self, design: Design) -> np.ndarray:
        """(draws, cells); NaN in draws without an estimate."""
        with np.errstate(invalid="ignore"):
            return np.logaddexp(np.log(design.d_f), self.log_d_t(design))


def _law(found: Maximum, design: Design) -> Law:
    level, *exponents = found.coefficients.T
    ln_k = level - np.stack(exponents, axis=1) @ design.logs().mean(axis=1)
    alpha, beta, *gamma = exponents
    return Law(ln_k, alpha, beta, found.objective, found.converged, found.on_bound, *gamma)


def fit_law(
    design: Design,
    observed: Observed,
    starts: np.ndarray,
    deviation: np.ndarray | None = None,
    objective_of: Objective | None = None,
) -> Law:
    """The default estimator, from one start (3,) or (draws, 3) a draw: ln D_T at the centre, alpha, beta.

    `deviation` (draws, cells) replaces that of the design, `objective_of` the likelihood.
    """
    deviation = design.deviation if deviation is None else deviation
    return _law(maximise(design.terms(), deviation, observed, starts, objective_of), design)


def start_of(law: Law, design: Design) -> np.ndarray:
    """(draws, 3): the coefficients of a fit as a start for `fit_law` on `design`."""
    level = law.ln_k + law.exponents @ design.logs().mean(axis=1)
    return np.column_stack([level, law.exponents])


@dataclass(frozen=True)
class BestLaw:
    """The best of many starts."""

    law: Law
    """Of one draw."""
    starts: int
    agreed: int

    @property
    def status(self) -> str:
        """`ok`, `on a bound`, `not converged`, or `undefined` where the cells do not decide the coefficients."""
        return self.law.status


def fit_from_many_starts(design: Design, observed: Observed, objective_of: Objective | None = None) -> BestLaw:
    """The best of 36 starts for a single data set (observed has one draw)."""
    best = maximise_from_many(design.terms(), design.deviation, observed, many_starts(design), objective_of)
    return BestLaw(_law(best.maximum, design), best.starts, best.agreed)


def many_starts(design: Design) -> np.ndarray:
    """(36, coefficients): ln D_T at the centre of the cells from a twentieth of D_F to seven times it, exponents 0 to 0.8."""
    levels = np.array([-3.0, -1.0, 0.0, 2.0]) + np.log(design.d_f).mean()
    starts = np.stack(np.meshgrid(levels, [0.0, 0.4, 0.8], [0.0, 0.3, 0.8], indexing="ij"), axis=-1).reshape(-1, 3)
    if design.pretrain_tokens is not None:
        starts = np.column_stack([starts, np.full(len(starts), 0.3)])
    return starts


def missed_factor(law: Law, design: Design, observed: Observed) -> float | None:
    """The factor by which D_T of held-out cells exceeds the law's: c of ln D_E on ln(D_F + c D_T), same likelihood.

    One factor for all the cells, so it is defined where some have D_T <= 0 or are censored; its noise is that of all
    of them.  None if no factor between 1e-4 and 1e4 explains the cells, or if all are limits, which many explain.
    """
    if (observed.side != 0).all():
        return None
    log_d_t, log_d_f = law.log_d_t(design), np.log(design.d_f)

    def objective(log_factor: float) -> float:
        shifted = np.array([[log_factor]])
        away = (np.logaddexp(log_d_f, log_d_t + shifted) - observed.log_d_e) / design.deviation
        return float(np.where(observed.side != 0, -log_ndtr(away * observed.side), 0.5 * away**2).sum())

    limit = np.log(1e4)
    found = minimize_scalar(objective, bounds=(-limit, limit), method="bounded", options={"xatol": 1e-8})
    return float(np.exp(found.x)) if found.success and abs(found.x) < limit - 1e-3 else None

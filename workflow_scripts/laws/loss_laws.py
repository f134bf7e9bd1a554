"""Laws of the fine-tuned loss that do without effective data, or carry it inside: least squares in nats per token.

Each was proposed for transfer; `alternatives.py` sets them against the transfer law on held-out cells.  Axes are
centred, so that no fit depends on units.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import least_squares

BOUND = 1000.0
"""No coefficient is looked for beyond this."""
FLATTEST = 0.01
"""An exponent that must differ from zero, or its term and the constant beside it are one."""
STATUSES = ("ok", "on a bound", "not converged")
"""Of a fit, from good to bad."""
AT_BOUND = 1e-4
AGREEMENT = 1e-6
ALL = "all"


@dataclass(frozen=True)
class Losses:
    """Mean losses in nats per token, and where they lie: tuned cells (cells,), from-scratch points (points,)."""

    tuned: np.ndarray
    at_most: np.ndarray
    """(cells,): stopped at the budget, so that the loss is an upper bound: a law may lie below it, not above."""
    d_f: np.ndarray
    n_params: np.ndarray
    pretrain_tokens: np.ndarray | None
    scratch: np.ndarray
    scratch_at_most: np.ndarray
    """(points,)"""
    d: np.ndarray
    scratch_n_params: np.ndarray
    transfer: np.ndarray
    """The transfer law of the cells as level, alpha and beta about their centre: a start for laws that hold it."""


@dataclass(frozen=True)
class LossLaw:
    equation: str
    predict: Callable[[np.ndarray], np.ndarray]
    """Coefficients -> losses of the tuned cells."""
    starts: np.ndarray
    """(starts, coefficients)"""
    lower: np.ndarray
    """(coefficients,): 0 for amplitudes, which are not negative."""
    name: Callable[[np.ndarray], dict[str, float]]
    """Coefficients as the equation has them."""
    predict_scratch: Callable[[np.ndarray], np.ndarray] | None = None
    """Coefficients -> losses of the from-scratch points, where the law covers them too."""
    of_one_n: bool = False
    """It has no N, so every N has its own coefficients."""


@dataclass(frozen=True)
class FittedLosses:
    predicted: np.ndarray
    """(cells,), NaN where too few cells were kept to say."""
    found: dict[str, np.ndarray]
    """N, or `all` -> coefficients as they are fitted."""
    coefficients: dict[str, Any]
    """As the equation has them, None where one is infinite; by N for a law of one N."""
    status: str
    starts: int
    agreed: int


def laws_of_losses(losses: Losses) -> dict[str, LossLaw]:
    """The laws that the cells can tell apart: those with P only where it varies."""
    laws = {
        "zhang": _zhang("L = A N^-alpha D_F^-beta + E (Zhang et al. 2024)", losses, losses.n_params),
        "unified_d_e": _unified(losses, given=True),
        "unified_d_t": _unified(losses, given=False),
    }
    if losses.pretrain_tokens is None:
        return laws
    equation = "L = A P^-alpha D_F^-beta + E at each N (Zhang et al. 2024)"
    return laws | {
        "zhang_p": _zhang(equation, losses, losses.pretrain_tokens, of_one_n=True),
        "mikami": _mikami("L = delta (gamma + P^-alpha) D_F^-beta at each N (Mikami et al. 2021)", losses, False),
        "barnett": _mikami("L = (A P^-alpha + G) D_F^-beta + E at each N (Barnett 2024)", losses, True),
    }


def _centred(values: np.ndarray) -> tuple[np.ndarray, float]:
    logs = np.log(values)
    return logs - logs.mean(), float(logs.mean())


def _zhang(equation: str, losses: Losses, axis: np.ndarray, of_one_n: bool = False) -> LossLaw:
    (x, x_mean), (f, f_mean) = _centred(axis), _centred(losses.d_f)

    def predict(c: np.ndarray) -> np.ndarray:
        return c[0] + c[1] * np.exp(-c[2] * x - c[3] * f)

    def name(c: np.ndarray) -> dict[str, float]:
        return {"E": c[0], "ln_A": np.log(c[1]) + c[2] * x_mean + c[3] * f_mean, "alpha": c[2], "beta": c[3]}

    mean, least = losses.tuned.mean(), losses.tuned.min()
    starts = [[share * least, mean - share * least, slope, slope] for share in (0.1, 0.5, 0.9) for slope in (0.05, 0.3)]
    return LossLaw(equation, predict, np.array(starts), np.array([0, 0, -BOUND, -BOUND]), name, of_one_n=of_one_n)


def _mikami(equation: str, losses: Losses, with_floor: bool) -> LossLaw:
    (p, p_mean), (f, f_mean) = _centred(losses.pretrain_tokens), _centred(losses.d_f)

    def predict(c: np.ndarray) -> np.ndarray:
        return np.exp(-c[3] * f) * (c[0] + c[1] * np.exp(-c[2] * p)) + (c[4] if with_floor else 0.0)

    def name(c: np.ndarray) -> dict[str, float]:
        with np.errstate(divide="ignore"):
            ln_gap, ln_scale = np.log(c[0]) + c[3] * f_mean, np.log(c[1]) + c[2] * p_mean + c[3] * f_mean
        common = {"alpha": c[2], "beta": c[3]}
        if with_floor:
            return common | {"ln_A": ln_scale, "ln_G": ln_gap, "E": c[4]}
        return common | {"ln_delta": ln_scale, "gamma": np.exp(ln_gap - ln_scale)}

    mean, size = losses.tuned.mean(), 5 if with_floor else 4
    starts = [[0.7 * mean, 0.2 * mean, alpha, beta, 0.1 * mean][:size] for alpha in (0.1, 0.5) for beta in (0.05, 0.3)]
    lower = np.array([0, 0, FLATTEST, -BOUND, 0])[:size]
    return LossLaw(equation, predict, np.array(starts), lower, name, of_one_n=True)


def _unified(losses: Losses, *, given: bool) -> LossLaw:
    """Kaplan's L(N, D) at D = D_T for fine-tuned runs (Hernandez et al. 2021, section 6.1), or at D_E = D_F + D_T where
    the data that is `given` counts too.  The paper means it for little data, where both are nearly the same."""
    (n, n_mean), (f, _) = _centred(losses.n_params), _centred(losses.d_f)
    log_d, log_d_f = np.log(losses.d), np.log(losses.d_f)
    middle, scratch_n = float(log_d.mean()), np.log(losses.scratch_n_params) - n_mean

    def surface(c: np.ndarray, n_: np.ndarray, log_d_: np.ndarray) -> np.ndarray:
        return np.exp(np.exp(c[3]) * np.logaddexp(c[0] - c[2] * n_, c[1] - (log_d_ - middle)))

    def predict(c: np.ndarray) -> np.ndarray:
        log_d_t = c[4] + c[5] * f + c[6] * n
        return surface(c, n, np.logaddexp(log_d_f, log_d_t) if given else log_d_t)

    def name(c: np.ndarray) -> dict[str, float]:
        a_d, ln_k = np.exp(c[3]), c[4] - c[5] * log_d_f.mean() - c[6] * n_mean
        kaplan = {"a_N": c[2] * a_d, "a_D": a_d, "ln_N_c": c[0] / c[2] + n_mean, "ln_D_c": c[1] + middle}
        return kaplan | {"ln_k": ln_k, "alpha": c[5], "beta": c[6]}

    starts = [
        [np.log(losses.scratch.mean()) / a_d - 0.7, np.log(losses.scratch.mean()) / a_d - 0.7, ratio, np.log(a_d)]
        for a_d in (0.1, 0.3, 0.6)
        for ratio in (0.5, 1.0, 2.0)
    ]
    starts = np.array([[*start, *losses.transfer[:3]] for start in starts])
    data = "D_E]^a_D, D_E = D_F + k D_F^alpha N^beta" if given else "D_T]^a_D, D_T = k D_F^alpha N^beta"
    equation = f"L = [(N_c / N)^(a_N / a_D) + D_c / {data} (Hernandez et al. 2021, 6.1)"
    lower = np.full(7, -BOUND)
    return LossLaw(equation, predict, starts, lower, name, lambda c: surface(c, scratch_n, log_d))


def fit_losses(law: LossLaw, losses: Losses, kept: np.ndarray, near: FittedLosses | None = None) -> FittedLosses:
    """Fits to the cells `kept` (cells,), and to the from-scratch points where the law covers them; predicts all cells.

    From every start of the law, or from `near`, a fit to more of the cells.
    """
    if law.of_one_n:
        groups = {f"{value:.0f}": losses.n_params == value for value in np.unique(losses.n_params)}
    else:
        groups = {ALL: np.ones(len(kept), dtype=bool)}
    predicted, found, statuses, agreed = np.full(len(kept), np.nan), {}, [], []
    for value, mine in groups.items():
        if not _enough(law, losses, mine & kept):
            continue
        if near is not None and kept[mine].all() and law.of_one_n:
            coefficients, status, same = near.found[value], "ok", 1
        else:
            starts = law.starts if near is None else near.found[value][None]
            coefficients, status, same = _best(law, losses, mine & kept, starts)
        predicted[mine] = law.predict(coefficients)[mine]
        found[value] = coefficients
        statuses.append(status)
        agreed.append(same)
    named = {
        key: {name: float(v) if np.isfinite(v) else None for name, v in law.name(c).items()} for key, c in found.items()
    }
    return FittedLosses(
        predicted,
        found,
        named if law.of_one_n else named.get(ALL, {}),
        max(statuses, key=STATUSES.index, default="too few cells"),
        len(law.starts) if near is None else 1,
        min(agreed, default=0),
    )


def _enough(law: LossLaw, losses: Losses, kept: np.ndarray) -> bool:
    """More losses than coefficients, and two values or more of every axis that varies within the law."""
    axes = [losses.d_f, losses.pretrain_tokens if law.of_one_n else losses.n_params]
    number = kept.sum() + (len(losses.scratch) if law.predict_scratch else 0)
    return number > law.starts.shape[1] and all(len(np.unique(axis[kept])) > 1 for axis in axes)


def _best(law: LossLaw, losses: Losses, kept: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, str, int]:
    """The best coefficients over `starts`, a status (`ok`, `on a bound`, `not converged`), and how many starts agreed."""

    def residuals(c: np.ndarray) -> np.ndarray:
        away = law.predict(c) - losses.tuned
        away = np.where(losses.at_most, np.maximum(away, 0.0), away)[kept]
        if law.predict_scratch is None:
            return away
        beside = law.predict_scratch(c) - losses.scratch
        return np.append(away, np.where(losses.scratch_at_most, np.maximum(beside, 0.0), beside))

    bounds = law.lower, np.full(len(law.lower), BOUND)
    with np.errstate(over="ignore"):
        tries = [least_squares(residuals, start, bounds=bounds, x_scale="jac", max_nfev=200) for start in starts]
    costs = np.array([one.cost for one in tries])
    best = tries[int(costs.argmin())]
    on_bound = ((best.x - law.lower < AT_BOUND) | (best.x > BOUND - AT_BOUND)).any()
    status = "not converged" if not best.success else "on a bound" if on_bound else "ok"
    return best.x, status, int((costs <= best.cost * (1 + 1e-4) + AGREEMENT).sum())

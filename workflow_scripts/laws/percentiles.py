"""95 % percentile intervals of draws that are not all known."""

from __future__ import annotations

import numpy as np

FEW_UNKNOWN = 0.025
"""The share of unknown draws from which on they decide an end of an interval."""

Interval = dict[str, float | None]
"""`estimate`, `low`, `high`; null where unknown."""


def ends(draws: np.ndarray, below: np.ndarray | bool = False, above: np.ndarray | bool = False) -> tuple[float, float]:
    """Of draws (n,), of which some lie `below` or `above` by an unknown amount: on a bound of the search.  Undefined draws
    (NaN) may lie on either side.  An end is not finite where such draws decide it."""
    undefined = np.isnan(draws)
    with np.errstate(invalid="ignore"):
        low = np.quantile(np.where(below | undefined, -np.inf, draws), 0.025)
        high = np.quantile(np.where(above | undefined, np.inf, draws), 0.975)
    return float(low), float(high)


def told(converged: np.ndarray, on_bound: np.ndarray) -> np.ndarray:
    """(draws, coefficients): of which coefficients a draw tells, `on_bound` being of the same shape and `converged` (draws,).
    All of them inside the bounds of the search; on a bound only those that lie beyond their own."""
    return converged[:, None] & ((on_bound != 0) | ~on_bound.any(axis=1, keepdims=True))


def held(draws: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(m,): which of `values` (m,) lie in the interval of their draws (n, m); none does where neither end is known."""
    low, high = np.array([ends(one) for one in draws.T]).reshape(-1, 2).T
    return (low <= values) & (values <= high) & (np.isfinite(low) | np.isfinite(high))


def interval(
    estimate: float, draws: np.ndarray, below: np.ndarray | bool = False, above: np.ndarray | bool = False
) -> Interval:
    """The estimate and the `ends` of its draws."""
    low, high = ends(draws, below, above)
    return {"estimate": finite(estimate), "low": finite(low), "high": finite(high)}


def finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def in_words(found: Interval, form: str) -> str:
    """The interval without its estimate, each end in the format `form`."""
    low, high = found["low"], found["high"]
    if low is None and high is None:
        return "unknown"
    if low is None or high is None:
        return f"at most {high:{form}}" if low is None else f"at least {low:{form}}"
    return f"{low:{form}} to {high:{form}}"

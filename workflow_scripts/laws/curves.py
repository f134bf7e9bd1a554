"""The from-scratch curve L_N(D) at one size: cleaned, inverted, and fitted by a power law with a floor.

Every function works on leading axes too (the draws of a bootstrap), with D along the last axis, ascending.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

EXPONENTS = np.geomspace(0.01, 3.0, 72)
GOLDEN = (np.sqrt(5) - 1) / 2
SECTIONS = 32
"""Of the interval between two neighbours of the best of `EXPONENTS`: they leave 2e-7 of it."""
NO_FLOOR = 1e-6
"""A floor below this fraction of the loss above it is none."""
SAME = 1e-9
"""Losses that differ by less than this fraction are equal: averages of equal numbers may differ in their last bits."""


def isotonic(loss: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The non-increasing sequence nearest to `loss` (..., n) in least squares weighted by `weights` (n,).

    By the min-max formula (Robertson, Wright and Dykstra 1988, theorem 1.4.4): value i is the smallest over a <= i of
    the largest over b >= i of the weighted mean of loss[a..b].
    """
    total = np.concatenate([[0.0], np.cumsum(weights)])
    summed = np.concatenate([np.zeros((*loss.shape[:-1], 1)), np.cumsum(weights * loss, axis=-1)], axis=-1)
    n = loss.shape[-1]
    values = np.full(loss.shape, np.inf)
    for a in range(n):
        means = (summed[..., a + 1 :] - summed[..., a, None]) / (total[a + 1 :] - total[a])
        largest = np.maximum.accumulate(means[..., ::-1], axis=-1)[..., ::-1]
        values[..., a:] = np.minimum(values[..., a:], largest)
    return values


def clean_curve(loss: np.ndarray, weights: np.ndarray, hit_budget: np.ndarray) -> np.ndarray:
    """`isotonic`, where points at their budget (`hit_budget` (n,)) bound the curve from above only.

    Such a point counts for no more than the lowest loss to its left: above that it says nothing.
    """
    bounded = np.array(loss, dtype=float)
    for i in np.flatnonzero(hit_budget):
        if i:
            bounded[..., i] = np.minimum(bounded[..., i], bounded[..., :i].min(axis=-1))
    return isotonic(bounded, weights)


@dataclass(frozen=True)
class Inverse:
    """Where a non-increasing curve passes through target losses; all arrays have the shape of the targets.

    `low` and `high` (ln D) are equal except on a plateau.  Where the target is below the whole curve, both are +inf
    (D lies above the grid); where it is above the whole curve, both are -inf.  `left` and `right` index the points
    that bracket the target, `share` is the way from left to right.
    """

    low: np.ndarray
    high: np.ndarray
    left: np.ndarray
    right: np.ndarray
    share: np.ndarray


def invert(log_d: np.ndarray, curve: np.ndarray, target: np.ndarray) -> Inverse:
    """D at which `curve` (..., n), non-increasing over `log_d` (n,), has the loss `target` (..., m).

    Linear in (ln D, ln L) between points; nothing is extrapolated or clamped.
    """
    n = len(log_d)
    above = (curve[..., None, :] > target[..., :, None] * (1 + SAME)).sum(axis=-1)
    not_below = (curve[..., None, :] >= target[..., :, None] * (1 - SAME)).sum(axis=-1)
    low, left, _, share = _between(log_d, curve, target, above)
    high, _, right, _ = _between(log_d, curve, target, not_below)
    on_points = above < not_below
    low = np.where(on_points, log_d[np.clip(above, 0, n - 1)], low)
    high = np.where(on_points, log_d[np.clip(not_below - 1, 0, n - 1)], high)
    left = np.where(on_points, above, left)
    right = np.where(on_points, not_below - 1, right)
    outside = np.where(above == n, np.inf, np.where(not_below == 0, -np.inf, 0.0))
    return Inverse(
        low=np.where(outside == 0, low, outside),
        high=np.where(outside == 0, high, outside),
        left=left,
        right=right,
        share=np.where(on_points, 0.5, share),
    )


def _between(log_d: np.ndarray, curve: np.ndarray, target: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, ...]:
    """Interpolates between point count - 1 and point count (both held inside the grid)."""
    right = np.clip(count, 0, len(log_d) - 1)
    left = np.clip(count - 1, 0, len(log_d) - 1)
    with np.errstate(invalid="ignore"):  # a draw of a loss known from one difference may be below 0: outside any curve
        log_left = np.log(np.take_along_axis(curve, left, axis=-1))
        fall = log_left - np.log(np.take_along_axis(curve, right, axis=-1))
        share = np.where(fall > 0, (log_left - np.log(target)) / np.where(fall > 0, fall, 1.0), 0.0)
    share = np.clip(share, 0.0, 1.0)
    return log_d[left] + share * (log_d[right] - log_d[left]), left, right, share


@dataclass(frozen=True)
class PowerLaw:
    """L(D) = floor + scale (D / reference)^-exponent; `floor`, `scale`, `exponent` have the leading axes of the fit."""

    floor: np.ndarray
    scale: np.ndarray
    exponent: np.ndarray
    reference: float
    on_bound: np.ndarray
    """The exponent lies on the edge of the search, or the best scale is zero."""

    @property
    def without_floor(self) -> np.ndarray:
        """Whether the points need no floor: D(N) then has no end."""
        return self.floor <= NO_FLOOR * self.scale

    def loss(self, d: np.ndarray) -> np.ndarray:
        return self.floor + self.scale * (d / self.reference) ** -self.exponent

    def slope(self, d: np.ndarray) -> np.ndarray:
        """dL / d ln D, in nats; not positive."""
        return -self.exponent * self.scale * (d / self.reference) ** -self.exponent

    def inverse(self, loss: np.ndarray) -> np.ndarray:
        """D at `loss`, wherever it lies; infinite at or below the floor."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            d = self.reference * ((loss - self.floor) / self.scale) ** (-1 / self.exponent)
        return np.where((loss > self.floor) & (self.scale > 0), d, np.inf)

    def sufficient_data(self, tolerance: float) -> np.ndarray:
        """D(N) with L(inf) = (1 - tolerance) L(D(N)) (Hernandez et al. 2021, footnote 7); infinite if the floor is 0."""
        return self.inverse(self.floor / (1 - tolerance))


def fit_power_law(d: np.ndarray, loss: np.ndarray, weights: np.ndarray) -> PowerLaw:
    """Weighted least squares of `loss` (..., n) on `d` (n,), n >= 3, with floor >= 0 and scale >= 0.

    Variable projection: given the exponent, floor and scale are a linear problem with two non-negative unknowns, so
    only the exponent is searched (a grid, then golden sections).
    """
    reference = float(np.exp(np.mean(np.log(d))))
    ratio = d / reference

    def error(log_exponent: np.ndarray) -> np.ndarray:
        return _linear(ratio, loss, weights, np.exp(log_exponent))[2]

    best = _linear(ratio, loss[..., None, :], weights, EXPONENTS)[2].argmin(axis=-1)
    low = np.log(EXPONENTS[np.maximum(best - 1, 0)])
    high = np.log(EXPONENTS[np.minimum(best + 1, len(EXPONENTS) - 1)])
    left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    at_left, at_right = error(left), error(right)
    for _ in range(SECTIONS):
        better = at_left <= at_right
        low, high = np.where(better, low, left), np.where(better, right, high)
        kept, at_kept = np.where(better, left, right), np.where(better, at_left, at_right)
        new = low + high - kept
        at_new = error(new)
        left, at_left = np.where(better, new, kept), np.where(better, at_new, at_kept)
        right, at_right = np.where(better, kept, new), np.where(better, at_kept, at_new)
    exponent = np.exp((low + high) / 2)
    floor, scale, _ = _linear(ratio, loss, weights, exponent)
    on_bound = (best == 0) | (best == len(EXPONENTS) - 1) | (scale <= 0)
    return PowerLaw(floor, scale, exponent, reference, on_bound)


def _linear(ratio: np.ndarray, loss: np.ndarray, weights: np.ndarray, exponent: np.ndarray) -> tuple[np.ndarray, ...]:
    """Non-negative floor and scale of least squares at a given exponent (...), and the weighted squared error."""
    feature = ratio ** -exponent[..., None]
    total = weights.sum()
    mean_feature = (weights * feature).sum(axis=-1) / total
    mean_loss = (weights * loss).sum(axis=-1) / total
    centred = feature - mean_feature[..., None]
    scale = (weights * centred * loss).sum(axis=-1) / (weights * centred**2).sum(axis=-1)
    floor = mean_loss - scale * mean_feature
    through_origin = (weights * feature * loss).sum(axis=-1) / (weights * feature**2).sum(axis=-1)
    flat = scale < 0
    scale = np.where(flat, 0.0, np.where(floor < 0, through_origin, scale))
    floor = np.where(flat, mean_loss, np.where(floor < 0, 0.0, floor))
    error = (weights * (loss - floor[..., None] - scale[..., None] * feature) ** 2).sum(axis=-1)
    return floor, scale, error

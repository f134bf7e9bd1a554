"""What follows from the laws: the best use of compute, the worth of a batch, where training from scratch overtakes.

C is in FLOPs, C = 6 N D for one pass over D tokens; which parameters N counts is the caller's choice, and the same
throughout.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from workflow_scripts.laws.scaling.catalogue import OPTIMAL_SIZE
from workflow_scripts.laws.scaling.fit import Fit, fit
from workflow_scripts.laws.scaling.law import LawError, Parameters

Number = float | np.ndarray
BUDGETS = 1500
"""Of approach 1, as published."""
SAME = 1e-9
"""Budgets that differ by less than this fraction are one."""


@dataclass(frozen=True)
class Allocation:
    n: Number
    d: Number


def optimal_allocation(surface: Parameters, flops: Number) -> Allocation:
    """N and D of the least loss at C = 6 N D, for L = E + A/N^alpha + B/D^beta (Hoffmann et al. 2022, eq. 4).

    N = G (C/6)^(beta/(alpha+beta)) with G = (alpha A / (beta B))^(1/(alpha+beta)); D = C / (6 N).
    """
    total = surface["alpha"] + surface["beta"]
    n = np.exp((_log_ratio(surface) + surface["beta"] * np.log(flops / 6)) / total)
    return Allocation(n, flops / 6 / n)


def useful_size(surface: Parameters, unique: Number) -> Number:
    """N whose compute-optimal D is `unique`: the base U_N beyond which parameters are in excess (Muennighoff et al.
    2023), from alpha A / N^alpha = beta B / D^beta at the optimum."""
    return np.exp((_log_ratio(surface) + surface["beta"] * np.log(unique)) / surface["alpha"])


def _log_ratio(surface: Parameters) -> Number:
    with np.errstate(divide="ignore"):  # where a draw has lost a term, all compute goes to the other
        return np.log(surface["alpha"] * surface["A"]) - np.log(surface["beta"] * surface["B"])


def approach_1(curve: np.ndarray, n: np.ndarray, flops: np.ndarray, loss: np.ndarray) -> Fit:
    """N_opt(C) from the lower envelope of learning curves (Hoffmann et al. 2022, section 3.1).

    A row is a point of a learning curve: which `curve` it is of, its N, FLOPs so far, loss.  At each of 1,500 budgets
    the size of the lowest curve enters, if the sizes next to it have curves at that budget too: else a size beyond the
    ladder, or a curve that ended too early, might have been lower.

    Biased: the winner is a size of the ladder, not the optimum between them; noise picks lucky runs; and a curve
    before its learning rate has decayed lies above what a run of that length would reach, less so at its end.
    """
    sizes, budgets = np.unique(n), np.geomspace(flops.min(), flops.max(), BUDGETS)
    of_curve, losses = along_curves(curve, n, flops, loss, budgets)
    reached = np.stack([losses[of_curve == size].min(axis=0) for size in sizes])
    winner = reached.argmin(axis=0)
    there = np.pad(np.isfinite(reached), ((1, 1), (0, 0)))
    column = np.arange(BUDGETS)
    flanked = there[winner, column] & there[winner + 1, column] & there[winner + 2, column]
    if len(np.unique(winner[flanked])) < 2:
        raise LawError(
            "approach 1: fewer than two sizes are ever the best of a budget that the sizes next to them reach too;"
            " it needs more sizes, or learning curves that overlap more"
        )
    return fit(OPTIMAL_SIZE, sizes[winner[flanked]], {"C": budgets[flanked]})


def along_curves(
    curve: np.ndarray, n: np.ndarray, flops: np.ndarray, loss: np.ndarray, budgets: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The N of each learning curve (curves,), and its loss at each of `budgets` (curves, budgets), linear in ln C
    between its points; infinite where it has no points on both sides."""
    names, first = np.unique(curve, return_index=True)
    losses = np.empty((len(names), len(budgets)))
    for i, name in enumerate(names):
        c, values = flops[curve == name], loss[curve == name]
        order = np.argsort(c)
        inside = (budgets >= c.min() * (1 - SAME)) & (budgets <= c.max() * (1 + SAME))
        losses[i] = np.where(inside, np.interp(np.log(budgets), np.log(c[order]), values[order]), np.inf)
    return n[first], losses


def isoflops(
    curve: np.ndarray, n: np.ndarray, flops: np.ndarray, loss: np.ndarray, budgets: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The points of approach 2 from learning curves: budget, N and loss of every curve at every budget that it has."""
    sizes, losses = along_curves(curve, n, flops, loss, budgets)
    there = np.isfinite(losses)
    return (
        np.broadcast_to(budgets, there.shape)[there],
        np.broadcast_to(sizes[:, None], there.shape)[there],
        losses[there],
    )


def approach_2(budget: np.ndarray, n: np.ndarray, loss: np.ndarray) -> Fit:
    """N_opt(C) from the minima of parabolas in ln N, one for each `budget` (Hoffmann et al. 2022, section 3.2).

    Biased even without noise (2603.22339): the loss at one budget is no parabola in ln N unless alpha = beta, so the
    vertex depends on where the sizes lie.  Sizes that drift off the optimum as budgets grow bend the exponent, wide
    ones the scale.  Approach 3, a fit of the surface, has no such error.
    """
    budgets = np.unique(budget)
    vertices = [parabola_vertex(value, n[budget == value], loss[budget == value]) for value in budgets]
    return fit(OPTIMAL_SIZE, np.array(vertices), {"C": budgets})


def parabola_vertex(budget: float, n: np.ndarray, loss: np.ndarray) -> float:
    """N of the least loss by a parabola in ln N.  Raises LawError where it has no minimum between the sizes."""
    x = np.log(n)
    if len(np.unique(x)) < 3:
        raise LawError(f"approach 2: {len(np.unique(x))} sizes at the budget {budget:g}; a parabola needs three")
    curvature, slope, _ = np.polyfit(x - x.mean(), loss, 2)
    vertex = x.mean() - slope / (2 * curvature) if curvature > 0 else np.inf
    if not x.min() < vertex < x.max():
        raise LawError(
            f"approach 2: no minimum between the sizes {n.min():.3g} and {n.max():.3g} at the budget {budget:g};"
            " add sizes on either side"
        )
    return float(np.exp(vertex))


def data_multiplier(k: Number, alpha: Number, beta: Number, d_f: Number, n: Number) -> Number:
    """(D_F + D_T) / D_F: how many times as much data fine-tuning is worth (Hernandez et al. 2021, eq. 1.2)."""
    return 1 + k * d_f ** (alpha - 1) * n**beta


def least_steps(steps: Number, batch: Number, critical: Number) -> Number:
    """S_min: the steps to the same loss with very large batches (Kaplan et al. 2020, eq. 5.4)."""
    return steps / (1 + critical / batch)


def least_compute(flops: Number, batch: Number, critical: Number) -> Number:
    """C_min: the FLOPs to the same loss with very small batches (Kaplan et al. 2020, eq. 5.5)."""
    return flops / (1 + batch / critical)


@dataclass(frozen=True)
class Frontier:
    """The lowest loss that any run reached with at most so many FLOPs: `flops` rise, `loss` falls, both strictly."""

    flops: np.ndarray
    loss: np.ndarray

    def reached(self, flops: np.ndarray) -> np.ndarray:
        """Loss with at most `flops`; infinite below the cheapest run."""
        return np.concatenate([[np.inf], self.loss])[np.searchsorted(self.flops, flops, side="right")]


def compute_frontier(flops: np.ndarray, loss: np.ndarray) -> Frontier:
    """The runs (one FLOP count and loss each) that no cheaper run beats.  For tuned runs, `flops` with or without
    those of pre-training, or a share of them."""
    order = np.lexsort((loss, flops))
    flops, loss = np.asarray(flops, dtype=float)[order], np.asarray(loss, dtype=float)[order]
    better = loss < np.concatenate([[np.inf], np.minimum.accumulate(loss)[:-1]])
    return Frontier(flops[better], loss[better])


@dataclass(frozen=True)
class Crossover:
    """Who is ahead with the most compute that was run, and since when; nothing is extrapolated."""

    ahead: str
    """`scratch`, `tuned` or `level`."""
    above: float | None
    """FLOPs at which that arm was not yet ahead; null if it always was."""
    by: float
    """FLOPs from which it is ahead for good."""
    up_to: float
    """FLOPs of the last point of either frontier."""


def crossover(scratch: Frontier, tuned: Frontier) -> Crossover:
    """The last change of the lead, between two FLOP counts that were run: where training from scratch overtakes, or
    from where on pre-training pays."""
    flops = np.union1d(scratch.flops, tuned.flops)
    lead = np.sign(tuned.reached(flops) - scratch.reached(flops))
    others = np.flatnonzero(lead != lead[-1])
    first = int(others[-1]) + 1 if len(others) else 0
    above = float(flops[first - 1]) if first else None
    ahead = {1.0: "scratch", -1.0: "tuned", 0.0: "level"}[float(lead[-1])]
    return Crossover(ahead, above, float(flops[first]), float(flops[-1]))

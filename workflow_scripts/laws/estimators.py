"""Other estimators of the transfer law, which stand beside the default: where they part from it, and why.

`plane` and `fit_of_fits` (the paper's) work on ln D_T, so they drop cells by outcome, and weight all cells alike
although the noise of ln D_T is D_E / D_T times that of ln D_E.  `logit` fits the fraction D_T / D_E, on whose logit axis
the paper draws its law.  `robust` is the default with Huber's loss.  `parametric`
is the default on D_E from power laws through the from-scratch curves.  Arrays are (draws, cells); D is in characters.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit

from workflow_scripts.laws.bootstrap import SourceFit
from workflow_scripts.laws.likelihood import Observed, Terms
from workflow_scripts.laws.transfer_law import Design, Law, fit_from_many_starts, fit_law, many_starts, start_of

HUBER = 1.345
"""Deviations from which on a cell counts less: 95 % efficient on normal noise (Huber 1964)."""
ROUNDS = 50
SETTLED = 1e-3
"""The weights have settled where no deviation is stretched by more than this from one round to the next."""
SAME_LAW = 1e-3
"""Two starts end in the same robust law if no ln D_E differs by more."""


@dataclass(frozen=True)
class Estimate:
    """An estimator's law (one draw), its draws, the cells (cells,) it rests on, and how it parts from the default."""

    description: str
    law: Law
    draws: Law
    used: np.ndarray
    steps: dict[str, Law]
    """From the default to this estimator, a change at a time: what was changed -> the law after it."""
    why: str
    starts: tuple[int, int] | None = None
    """Tried, and agreed with the law; None for a linear problem, which has one solution."""
    n_star: dict[float, float] | None = None
    """By D_F the N at which D_T = D_F (the paper's N*), where the estimator has it."""


def estimates(fit: SourceFit) -> dict[str, Estimate]:
    """Every estimator but the default, by name."""
    makers = {"plane": _plane, "fit_of_fits": _fit_of_fits, "logit": _logit, "robust": _robust}
    if fit.parametric:
        makers["parametric"] = _parametric
    return {name: make(fit) for name, make in makers.items()}


def plane(design: Design, observed: Observed) -> tuple[Law, np.ndarray]:
    """Ordinary least squares of ln D_T on 1, ln D_F, ln N over cells with D_T > 0 inside the curve; and which those are.

    Coefficients are NaN where fewer than 3 cells, or cells on a line, remain.
    """
    d_t, used = _positive_transfer(design, observed)
    terms, weights = design.terms().values, used.astype(float)
    moments = np.einsum("dc,ci,cj->dij", weights, terms, terms)
    target = np.einsum("dc,ci,dc->di", weights, terms, np.log(np.where(used, d_t, 1.0)))
    solvable = design.terms().decided_by(used)
    solution = np.full(target.shape, np.nan)
    solution[solvable] = np.linalg.solve(moments[solvable], target[solvable][:, :, None])[:, :, 0]
    level, alpha, beta = solution.T
    x, z = design.logs().mean(axis=1)
    return _explicit(level - alpha * x - beta * z, alpha, beta), used


def fit_of_fits(design: Design, observed: Observed) -> tuple[Law, np.ndarray, np.ndarray]:
    """The paper's estimator (its eqs. C.1 and B.2), over the cells of `plane`; which those are; and ln N* (draws, D_F).

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
        log_n_star = np.where(there, -intercept / beta[:, None], np.nan)
    return _explicit(ln_k, slope + 1, beta), used, log_n_star


def squares_of_fractions(
    position: np.ndarray, terms: Terms, deviation: np.ndarray, observed: Observed
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Half the squared residuals of D_T / D_E = sigma(ln D_T - ln D_F), the axis of the paper's Fig. 2, with gradient and
    Gauss-Newton curvature.  Cells count alike (`deviation` is not read), D_T <= 0 is a fraction too, limits are left out.
    """
    inside = observed.side == 0
    share = expit(position @ terms.values.T - terms.log_d_f)
    away = np.where(inside, share + np.expm1(terms.log_d_f - observed.log_d_e), 0.0)
    slope = np.where(inside, share * (1 - share), 0.0)
    return 0.5 * (away**2).sum(axis=1), (away * slope) @ terms.values, terms.weighted_products(slope**2)


def robust(design: Design, observed: Observed, starts: np.ndarray) -> tuple[Law, np.ndarray]:
    """The default with Huber's loss, by reweighting; and by how much the deviation of each cell was stretched.

    The scale of the residuals is their median absolute deviation, where that is below the stated noise.  Draws whose
    weights do not settle have not converged.
    """
    inside = observed.side == 0
    law, stretch, moved = fit_law(design, observed, starts), np.ones(inside.shape), np.full(len(inside), np.inf)
    for _ in range(ROUNDS):
        away = np.abs(law.log_d_e(design) - observed.log_d_e) / design.deviation
        median = np.ma.median(np.ma.masked_array(away, ~inside), axis=1).filled(1.0)[:, None]
        scale = np.clip(1.4826 * median, 1e-6, 1.0)
        before, stretch = stretch, np.where(inside, np.sqrt(np.fmax(away / (HUBER * scale), 1.0)), 1.0)
        law = fit_law(design, observed, start_of(law, design), design.deviation * stretch)
        moved = np.abs(stretch - before).max(axis=1)
        if moved.max() < SETTLED:
            break
    return replace(law, converged=law.converged & (moved < SETTLED)), stretch


def _positive_transfer(design: Design, observed: Observed) -> tuple[np.ndarray, np.ndarray]:
    d_t = np.exp(observed.log_d_e) - design.d_f
    return d_t, (observed.side == 0) & (d_t > 0)


def _explicit(ln_k: np.ndarray, alpha: np.ndarray, beta: np.ndarray) -> Law:
    solved = np.isfinite(ln_k) & np.isfinite(alpha) & np.isfinite(beta)
    ln_k, alpha, beta = (np.where(solved, value, np.nan) for value in (ln_k, alpha, beta))
    return Law(ln_k, alpha, beta, np.full(len(ln_k), np.nan), solved, np.zeros((len(ln_k), 3), dtype=int))


def _on_their_cells(fit: SourceFit, used: np.ndarray) -> Law:
    """The default over the cells that an estimator keeps; as it was where it keeps all."""
    if used.all():
        return fit.best.law
    if used.sum() < 3:
        return _explicit(*(np.full(1, np.nan) for _ in range(3)))
    return fit_from_many_starts(fit.design.take(used), fit.observed.take(used)).law


LIMITS = "cells that are limits are left out"
DROPPED = "cells without a ln D_T are dropped"
WEIGHTS = "cells count alike, in ln D_T"


def _plane(fit: SourceFit) -> Estimate:
    law, (used,) = plane(fit.design, fit.observed)
    factor = np.exp(fit.observed.log_d_e[0])[used] / (np.exp(fit.observed.log_d_e[0]) - fit.design.d_f)[used]
    noise = f"{factor.min():.2g} to {factor.max():.2g} times" if used.any() else "D_E / D_T times"
    outside = int((fit.observed.side != 0).sum())
    return Estimate(
        "ordinary least squares of ln D_T",
        law,
        plane(fit.design, fit.drawn)[0],
        used,
        {DROPPED: _on_their_cells(fit, used), WEIGHTS: law},
        f"It drops {(~used).sum()} of {len(used)} cells by outcome ({outside} limits, {(~used).sum() - outside} with"
        f" D_T <= 0), and weights the others alike although the noise of ln D_T is {noise} that of ln D_E.",
    )


def _fit_of_fits(fit: SourceFit) -> Estimate:
    flat, (one, _, (log_n_star,)) = _plane(fit), fit_of_fits(fit.design, fit.observed)
    with np.errstate(over="ignore"):
        n_star = dict(zip(np.unique(fit.design.d_f).tolist(), np.exp(log_n_star).tolist(), strict=True))
    return Estimate(
        "one N* for each D_F with a shared slope, then a line across D_F (the paper's)",
        one,
        fit_of_fits(fit.design, fit.drawn)[0],
        flat.used,
        flat.steps | {"every D_F counts alike, whatever its cells": one},
        flat.why + " Its slope in N is taken within each D_F, and each D_F counts alike however many cells it keeps.",
        n_star=n_star,
    )


def _logit(fit: SourceFit) -> Estimate:
    used = fit.observed.side[0] == 0
    best = fit_from_many_starts(fit.design, fit.observed, squares_of_fractions)
    factor = (fit.design.d_f / np.exp(fit.observed.log_d_e[0]))[used]
    noise = f"{factor.min():.2g} to {factor.max():.2g} times" if used.any() else "D_F / D_E times"
    return Estimate(
        "least squares of the fraction D_T / D_E on its logit axis",
        best.law,
        fit_law(fit.design, fit.drawn, start_of(best.law, fit.design), objective_of=squares_of_fractions),
        used,
        {LIMITS: _on_their_cells(fit, used), "cells count alike, in D_T / D_E": best.law},
        f"It leaves out {(~used).sum()} of {len(used)} cells that are limits, and weights the others alike although the"
        f" noise of D_T / D_E is {noise} that of ln D_E.",
        (best.starts, best.agreed),
    )


def _robust(fit: SourceFit) -> Estimate:
    starts = np.concatenate([start_of(fit.best.law, fit.design), many_starts(fit.design)])
    found, (stretch, *_) = robust(fit.design, fit.observed.repeated(len(starts)), starts)
    law, log_d_e = found.take(0), found.log_d_e(fit.design)
    agreed = int((np.abs(log_d_e - log_d_e[0]).max(axis=1) < SAME_LAW).sum())
    return Estimate(
        "the default with Huber's loss",
        law,
        robust(fit.design, fit.drawn, start_of(fit.draws, fit.design))[0],
        np.ones(len(stretch), dtype=bool),
        {"cells far from the law count less": law},
        f"{(stretch > 1).sum()} of {len(stretch)} cells lie further than {HUBER} deviations from the law and count less.",
        (len(starts), agreed),
    )


def _parametric(fit: SourceFit) -> Estimate:
    one, many = fit.parametric, fit.parametric_drawn
    best = fit_from_many_starts(fit.design, one)
    apart = np.abs(one.log_d_e - fit.observed.log_d_e)[(one.side == 0) & (fit.observed.side == 0)]
    widest = f"by up to {np.expm1(apart.max()):.0%}" if len(apart) else "nowhere both inside the grid"
    return Estimate(
        "the default on D_E from power laws through the from-scratch curves",
        best.law,
        fit_law(fit.design, many, start_of(best.law, fit.design)),
        np.ones(len(fit.design.d_f), dtype=bool),
        {"D_E from L = E + B D^-b instead of interpolation": best.law},
        f"The two readings of D_E differ {widest}; the power law smooths over the noise of single points, and is wrong"
        " where a curve is none.",
        (best.starts, best.agreed),
    )

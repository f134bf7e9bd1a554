"""Other laws on the cells of the transfer law, judged by cells that they were not fitted to.

Laws of D_T drop or add a factor of k D_F^alpha N^beta; laws of the loss (`loss_laws.py`) do without D_E.  Their common
currency is the test loss in nats per token: a law of D_T predicts that of the from-scratch curve of the same N at
D_E = D_F + D_T.  Every law keeps the from-scratch runs of all sizes; fine-tuned cells are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from workflow_scripts.laws.bootstrap import Fitted, SourceFit
from workflow_scripts.laws.effective_data import Cells
from workflow_scripts.laws.likelihood import Terms, maximise, maximise_from_many
from workflow_scripts.laws.loss_laws import FAILED, Losses, fit_losses
from workflow_scripts.laws.scaling.law import Law
from workflow_scripts.laws.transfer_law import start_of

NAMES = ("level", "alpha", "beta", "gamma")
FACTORS = {"alpha": "D_F^alpha", "beta": "N^beta", "gamma": "P^gamma"}
TITLES = {
    "transfer_law": ("alpha", "beta"),
    "without_n": ("alpha",),
    "without_d_f": ("beta",),
    "with_p": ("alpha", "beta", "gamma"),
}
"""Laws of D_T and the exponents they have."""


def compare(fitted: Fitted, fit: SourceFit) -> dict[str, Any]:
    """Every law on the cells of `fit`: coefficients, status, and the root mean square error on held-out cells.

    `rms_nats` is null where a law says nothing on the cells left out, as laws of one N on another.
    """
    cells = fitted.cells[fitted.unit]
    losses = _losses(cells, fit)
    scored = ~cells.tuned.hit_budget.to_numpy()[fit.chosen]
    n_points = len(cells.scratch)
    noise = np.diag(cells.noise.covariance())[n_points:][fit.chosen]
    laws = {
        name: _law_of_d_t(cells, fit, exponents, losses, scored)
        for name, exponents in TITLES.items()
        if "gamma" not in exponents or fit.design.pretrain_tokens is not None
    }
    laws |= {name: _law_of_loss(law, losses, fit, scored) for name, law in losses.laws().items()}
    return {
        "n_cells": int(scored.sum()),
        "rms_of_seed_noise": float(np.sqrt(noise[scored].mean())) if scored.any() and cells.noise.known else None,
        "laws": laws,
    }


def _losses(cells: Cells, fit: SourceFit) -> Losses:
    tuned = cells.tuned.loc[fit.chosen]
    points = cells.scratch[cells.scratch.n_params.isin(tuned.n_params)]
    return Losses(
        tuned=tuned.test_loss.to_numpy(),
        at_budget=tuned.hit_budget.to_numpy(dtype=bool),
        d_f=fit.design.d_f,
        n_params=fit.design.n_params,
        pretrain_tokens=fit.design.pretrain_tokens,
        scratch=points.test_loss.to_numpy(),
        scratch_at_budget=points.hit_budget.to_numpy(dtype=bool),
        d=points.d.to_numpy(float),
        scratch_n_params=points.n_params.to_numpy(float),
    )


def _held_out(fit: SourceFit, scored: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Cells left out together: a name and (folds, cells)."""
    axes = {"largest_n": fit.design.n_params, "largest_d_f": fit.design.d_f, "largest_p": fit.design.pretrain_tokens}
    for name, axis in axes.items():
        if axis is not None:
            yield name, (axis == axis.max())[None]
    alone = np.eye(len(scored), dtype=bool)[scored]
    yield "each_cell", alone if len(alone) else np.zeros((1, len(scored)), dtype=bool)


def held_out_error(
    predicted: np.ndarray, measured: np.ndarray, chosen: np.ndarray, fitted: np.ndarray, on_a_bound: np.ndarray
) -> dict[str, Any]:
    """Of losses `predicted` (folds, cells), NaN where the law says nothing, over those `chosen`, alike (folds, cells).

    A fold that could not be `fitted` (folds,) says nothing; it is counted, as are fits that ended `on_a_bound` (folds,).
    """
    away = np.where(fitted[:, None], predicted - measured, np.nan)[chosen]
    known = len(away) > 0 and np.isfinite(away).all()
    return {
        "n_cells": int(chosen.sum()),
        "n_failed": int((~fitted).sum()),
        "n_on_a_bound": int((fitted & on_a_bound).sum()),
        "rms_nats": float(np.sqrt((away**2).mean())) if known else None,
    }


def _law_of_d_t(
    cells: Cells, fit: SourceFit, exponents: tuple[str, ...], losses: Losses, scored: np.ndarray
) -> dict[str, Any]:
    terms, logs = fit.design.terms(), fit.design.logs()
    own = [NAMES.index(name) for name in ("level", *exponents)]
    terms = Terms(terms.values[:, own], terms.level[own], terms.log_d_f)
    levels = [np.eye(len(own))[0] * (terms.log_d_f.mean() + level) for level in (-1.0, 0.0, 2.0)]
    starts = np.stack([start_of(fit.best.law, fit.design)[0][own], *levels])
    best = maximise_from_many(terms, fit.design.deviation, fit.observed, starts)
    start = best.maximum.coefficients[0]
    held_out = {}
    for name, folds in _held_out(fit, scored):
        deviation = np.where(folds, np.inf, fit.design.deviation)
        found = maximise(terms, deviation, fit.observed.repeated(len(folds)), start)
        predicted = loss_at(cells, fit.chosen, terms.log_d_e(found.coefficients))
        fitted, on_a_bound = found.converged | found.undefined, found.on_bound.any(axis=1)
        held_out[name] = held_out_error(predicted, losses.tuned, folds & scored, fitted, on_a_bound)
    ln_k = start[0] - start[1:] @ logs.mean(axis=1)[[NAMES.index(name) - 1 for name in exponents]]
    return {
        "equation": " ".join(["D_T = k", *(FACTORS[name] for name in exponents)]),
        "coefficients": {"ln_k": float(ln_k)} | dict(zip(exponents, start[1:].tolist(), strict=True)),
        "status": best.status,
        "problems": [],
        "on_bound": [name for name, side in zip(("k", *exponents), best.maximum.on_bound[0], strict=True) if side],
        "starts": {"tried": best.starts, "agreed": best.agreed},
        "held_out": held_out,
    }


def loss_at(cells: Cells, chosen: np.ndarray, log_d_e: np.ndarray) -> np.ndarray:
    """The from-scratch loss at D_E (draws, cells), at the N of the cells `chosen`; beyond the grid, its power law's."""
    loss = np.full(log_d_e.shape, np.nan)
    for curve in cells.curves:
        mine = np.isin(chosen, curve.cells)
        at, measured = log_d_e[:, mine], cells.scratch.test_loss.to_numpy()[curve.points]
        inside = np.exp(np.interp(at, curve.log_d, np.log(curve.clean(measured))))
        law = curve.power_law(measured)
        beyond = np.nan if law is None else law.loss(np.exp(at))
        loss[:, mine] = np.where((at >= curve.log_d[0]) & (at <= curve.log_d[-1]), inside, beyond)
    return loss


def _law_of_loss(law: Law, losses: Losses, fit: SourceFit, scored: np.ndarray) -> dict[str, Any]:
    best = fit_losses(law, losses, np.ones(len(losses.tuned), dtype=bool))
    held_out = {}
    for name, folds in _held_out(fit, scored):
        refits = [fit_losses(law, losses, ~fold, best) for fold in folds]
        fitted = np.array([refit.status != FAILED for refit in refits])
        on_a_bound = np.array([refit.search_ended for refit in refits])
        predicted = np.stack([refit.predicted for refit in refits])
        held_out[name] = held_out_error(predicted, losses.tuned, folds & scored, fitted, on_a_bound)
    return {
        "equation": f"{law.equation}{'' if 'N' in law.variables else ' at each N'} ({law.source})",
        "coefficients": best.coefficients(),
        "status": best.status,
        "problems": list(best.problems),
        "on_bound": best.on_bound,
        "starts": best.starts,
        "held_out": held_out,
    }

"""How well a small pilot would have predicted the rest: the law fitted to a part of the measured cells.

The recipe of Hernandez et al. 2021, section 6.3, fine-tunes on 1 % and 10 % of the data at several sizes.  Here the
largest measured D_F stands for all data, and the data sizes nearest to those shares for the pilot.  The from-scratch
curves are taken as measured, so a pilot needs those too, up to its own D_E.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from workflow_scripts.laws.bootstrap import enough_cells, extra_scatter
from workflow_scripts.laws.percentiles import held
from workflow_scripts.laws.planning.forecast import Forecast, noise_known
from workflow_scripts.laws.transfer_law import Design, Observed, fit_from_many_starts, fit_law, start_of

SHARES = (0.01, 0.1)
FEW_SIZES = 3
QUANTILES = 2 * 1.96
"""Width of a 95 % interval in standard deviations."""
LEAST_DEVIATION = 0.01
DRAWS = 1000


def pilots(forecast: Forecast, source: str, seed: int = 0) -> list[dict[str, Any]]:
    """For a pilot at all sizes and one at the smallest three: how far off its law is at the other cells.

    Each has its `d_f` and `n_params`, `largest_d_f` (all data), and under `missed` a row for what is predicted, `the
    rest` and `the largest set`: `n_cells`, the typical factor of D_E (exp of the root mean square of ln D_E), the
    typical error of the loss in nats, the mean error of the loss (positive: the pilot promised too much), and
    `inside`, the cells within the pilot's own 95 % interval (None where nothing tells the noise).  `status` is that of the pilot's fit, or `too few cells`
    (`enough_cells`), with `starts` null; one that did not converge or has too few cells has missed nothing, because it
    says nothing.  Empty if there are fewer than 3 data sizes.  Cells that stopped at their budget above their whole curve
    tell the law nothing (`bootstrap.observe`) and are left out.
    """
    cells = forecast.cells[(forecast.cells.source == source) & ~forecast.cells.upper_bound]
    cells = cells[~(cells.lower_bound & (cells.censored == "below"))]
    all_d_f = np.sort(cells.d_f.unique()).astype(float)
    if len(all_d_f) < 3:
        return []
    d_f = _nearest(all_d_f[:-1], all_d_f[-1])
    sizes = np.sort(cells.n_params.unique())
    found = []
    for chosen in dict.fromkeys((tuple(sizes), tuple(sizes[:FEW_SIZES]))):
        inside = cells.d_f.isin(d_f) & cells.n_params.isin(chosen)
        if len(chosen) >= 2:
            pilot = {"d_f": d_f, "largest_d_f": float(all_d_f[-1]), "n_params": [float(n) for n in chosen]}
            found.append(pilot | _predict(forecast, cells, inside.to_numpy(), np.random.default_rng(seed)))
    return found


def _nearest(d_f: np.ndarray, largest: float) -> list[float]:
    """Two data sizes nearest to 1 % and 10 % of the largest; the two smallest if the grid does not tell them apart."""
    nearest = sorted({float(d_f[np.abs(np.log(d_f / (share * largest))).argmin()]) for share in SHARES})
    return nearest if len(nearest) == len(SHARES) else [float(d) for d in d_f[: len(SHARES)]]


def _predict(
    forecast: Forecast, cells: pd.DataFrame, inside: np.ndarray, random: np.random.Generator
) -> dict[str, Any]:
    """Fits the law to the cells `inside` and compares it with the other cells whose D_E is known: `status`, `starts`,
    `missed`.

    The interval holds the noise of both and the scatter about the law that the pilot itself shows; `draws_unknown` are
    draws that did not converge within the bounds of the search, and lie on either side; all, where nothing tells the noise.
    """
    design, observed = _observe(forecast, cells)
    seen = observed.take(inside)
    if not enough_cells(design.take(inside), seen.side[0] == 0):
        return {"status": "too few cells", "starts": None, "draws_unknown": 0, "missed": {}}
    best = fit_from_many_starts(design.take(inside), seen).law
    extra = extra_scatter(design.take(inside), seen, best, np.diag(design.deviation[inside] ** 2))[2]
    design = replace(design, deviation=np.hypot(design.deviation, extra))
    pilot = design.take(inside)
    found = fit_from_many_starts(pilot, seen)
    search = {"status": found.status, "starts": {"tried": found.starts, "agreed": found.agreed}}
    if found.status == "not converged":
        return search | {"draws_unknown": 0, "missed": {}}
    best = found.law
    noise = pilot.deviation * random.standard_normal((DRAWS, inside.sum()))
    drawn = Observed(np.where(seen.side == 0, seen.log_d_e + noise, seen.log_d_e), np.repeat(seen.side, DRAWS, axis=0))
    known_noise = noise_known(forecast.law)
    if not known_noise:
        drawn = drawn.unknown()
    draws = fit_law(pilot, drawn, start_of(best, pilot))
    known = ~inside & (observed.side[0] == 0)
    rest = design.take(known)
    measured = observed.log_d_e[0, known]
    predicted = np.concatenate([best.log_d_e(rest), draws.log_d_e(rest)])
    predicted[1:] += rest.deviation * random.standard_normal((DRAWS, len(measured)))
    possible = np.where(draws.known[:, None], predicted[1:], np.nan)
    table = pd.DataFrame(
        {
            "d_f": rest.d_f,
            "error": measured - predicted[0],
            "loss_error": cells.test_loss.to_numpy()[known] - _loss(forecast, rest.n_params, predicted[0]),
            "inside": held(possible, measured),
        }
    )
    largest = table[table.d_f == table.d_f.max()]
    return search | {
        "draws_unknown": int((~draws.known).sum()),
        "missed": {
            "the rest": _score(table, known_noise),
            "the largest set": _score(largest, known_noise),
        }
        if len(table)
        else {},
    }


def _observe(forecast: Forecast, cells: pd.DataFrame) -> tuple[Design, Observed]:
    """Stored D_E with its noise; censored cells are limits at the end of their curve."""
    ends = [forecast.curves.reach(n) for n in cells.n_params]
    limit = np.where(cells.censored == "above", [end[1] for end in ends], [end[0] for end in ends])
    log_d_e = np.log(np.where(cells.censored == "none", cells.d_e, limit).astype(float))
    above, below = (cells.censored == "above") | cells.lower_bound, (cells.censored == "below") | cells.upper_bound
    side = np.select([above, below], [1.0, -1.0], 0.0)
    width = np.log(cells.d_e_high.astype(float) / cells.d_e_low.astype(float)) / QUANTILES
    deviation = width.fillna(width.median()).fillna(LEAST_DEVIATION).clip(lower=LEAST_DEVIATION).to_numpy()
    return Design(cells.d_f.to_numpy(float), cells.n_params.to_numpy(float), deviation), Observed(
        log_d_e[None], side[None]
    )


def _loss(forecast: Forecast, n_params: np.ndarray, log_d_e: np.ndarray) -> np.ndarray:
    """The estimated curves at predicted D_E; NaN outside."""
    estimates = forecast.curves.estimates
    loss = np.array([estimates.loss(n, np.array([[d]]))[0, 0] for n, d in zip(n_params, log_d_e, strict=True)])
    return np.where(np.isfinite(loss), loss, np.nan)


def _score(table: pd.DataFrame, known_noise: bool) -> dict[str, Any]:
    loss_error = table.loss_error.dropna()
    known = len(loss_error) > 0
    return {
        "n_cells": len(table),
        "d_e_factor": float(np.exp(np.sqrt((table.error**2).mean()))),
        "loss_error": float(np.sqrt((loss_error**2).mean())) if known else None,
        "loss_error_mean": float(loss_error.mean()) if known else None,
        "inside": int(table.inside.sum()) if known_noise else None,
    }

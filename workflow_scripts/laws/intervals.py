"""Intervals of effective data: every cell read again from curves and losses to which noise was added.

A draw adds noise (`noise.py`) to the mean loss of every from-scratch point and every tuned cell: what runs of one
pre-trained model or one prefix share is drawn once for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from workflow_scripts.laws.curves import PowerLaw
from workflow_scripts.laws.effective_data import Cells, Effective, effective_data, parametric_data

SURE = 0.975
"""The share of draws from which on a cell is said to be helped or hurt by pre-training."""


@dataclass(frozen=True)
class Redrawn:
    """The experiment with other noise: arrays are (draws, ...)."""

    scratch_loss: np.ndarray
    """About the cleaned curves, nats per token."""
    laws: list[PowerLaw | None]
    """Power laws of the draws, a curve each, about the losses as they were measured."""
    tuned_loss: np.ndarray


def redraw(cells: Cells, noise: np.ndarray) -> Redrawn:
    """Draws of the experiment, whose noise is (draws, points and tuned cells)."""
    measured = cells.scratch.test_loss.to_numpy()
    n_points, centre = len(measured), measured.copy()
    laws = []
    for curve in cells.curves:
        centre[curve.points] = curve.clean(measured[curve.points])
        laws.append(curve.power_law(measured[curve.points] + noise[:, curve.points]))
    return Redrawn(centre + noise[:, :n_points], laws, cells.tuned.test_loss.to_numpy() + noise[:, n_points:])


def read_draws(cells: Cells, drawn: Redrawn, scatter: np.ndarray | float = 0.0) -> tuple[Effective, Effective | None]:
    """Effective data of the draws by interpolation and by power laws; `scatter` (draws, tuned cells) is added in nats.

    The second is None where a curve has too few points for a power law.
    """
    tuned_loss = drawn.tuned_loss + scatter
    return effective_data(cells, drawn.scratch_loss, tuned_loss), parametric_data(cells, drawn.laws, tuned_loss)


def with_intervals(cells: Cells, table: pd.DataFrame, drawn: Redrawn, tolerance: float) -> pd.DataFrame:
    """Adds 95 % intervals of D_E (by both readings), D_T and D(N), and whether pre-training helped or hurt.

    An end is null where it leaves the from-scratch curve; so is the upper end of a lower limit, and the reverse.  All
    are null where the noise is unknown.  `probability_of_harm` and `_of_help` are the shares of draws in which D_E is
    known to lie below or above D_F.  `tolerance` is that of D(N).
    """
    interpolated, parametric = read_draws(cells, drawn)
    low, high = _ends(cells, table, interpolated)
    d_f = table.d_f.to_numpy(dtype=float)
    table = table.assign(d_e_low=low, d_e_high=high, d_t_low=low - d_f, d_t_high=high - d_f)
    low, high = (np.full(len(table), np.nan),) * 2 if parametric is None else _ends(cells, table, parametric)
    table = table.assign(d_e_parametric_low=low, d_e_parametric_high=high)
    return _harm(cells, _sufficient(cells, table, drawn.laws, tolerance), interpolated)


def _ends(cells: Cells, table: pd.DataFrame, measured: Effective) -> tuple[np.ndarray, np.ndarray]:
    low = np.quantile(measured.low, 0.025, axis=0, method="inverted_cdf")
    high = np.quantile(measured.high, 0.975, axis=0, method="inverted_cdf")
    return (
        _known(cells, low, ~table.upper_bound.to_numpy(dtype=bool)),
        _known(cells, high, ~table.lower_bound.to_numpy(dtype=bool)),
    )


def _known(cells: Cells, log_d: np.ndarray, there: np.ndarray) -> np.ndarray:
    return np.exp(np.where(there & cells.noise_known & np.isfinite(log_d), log_d, np.nan))


def _sufficient(cells: Cells, table: pd.DataFrame, laws: list[PowerLaw | None], tolerance: float) -> pd.DataFrame:
    """95 % interval of D(N), where that is known, and `d_n_beyond`, the share of draws in which it lies beyond the points."""
    table = table.assign(d_n_beyond=np.nan)
    if not cells.noise.known:
        return table
    for curve, law in zip(cells.curves, laws, strict=True):
        if law is None:
            continue
        least, largest = np.exp(curve.ends) * (1 - 1e-9, 1 + 1e-9)
        d_n = law.sufficient_data(tolerance)
        low, high = np.quantile(d_n, [0.025, 0.975], method="inverted_cdf")
        table.loc[curve.cells, "d_n_beyond"] = (d_n > largest).mean()
        if table.d_n[curve.cells].notna().all():
            table.loc[curve.cells, "d_n_low"] = min(low, largest) if low >= least else np.nan
            table.loc[curve.cells, "d_n_high"] = high if high <= largest else np.nan
    return table


def _harm(cells: Cells, table: pd.DataFrame, measured: Effective) -> pd.DataFrame:
    """What a limit leaves open counts as neither: harm in a run at its budget, help read from a point at its own."""
    first, last = cells.reach()
    with np.errstate(divide="ignore"):
        log_d_f = np.log(table.d_f.to_numpy(dtype=float))
    middle = measured.middle
    harmed = np.where(middle == -np.inf, first <= log_d_f, middle < log_d_f) & ~table.lower_bound.to_numpy(dtype=bool)
    helped = np.where(middle == np.inf, last >= log_d_f, middle > log_d_f) & ~table.upper_bound.to_numpy(dtype=bool)
    harm, help_ = (np.where(cells.noise_known, share.mean(axis=0), np.nan) for share in (harmed, helped))
    verdict = np.select([~cells.noise_known, harm >= SURE, help_ >= SURE], ["unknown", "hurts", "helps"], "undecided")
    return table.assign(probability_of_harm=harm, probability_of_help=help_, verdict=verdict)

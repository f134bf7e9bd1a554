"""Laws of the fine-tuned loss that do without effective data, or carry it inside, fitted to the cells of a source.

Each was proposed for transfer and stands in `scaling/catalogue.py`; `alternatives.py` sets them against the transfer
law on held-out cells.  Runs at their budget, whose losses are too high, are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from workflow_scripts.laws.percentiles import finite
from workflow_scripts.laws.scaling.catalogue import (
    TUNED_OF_N,
    TUNED_OF_P,
    TUNED_WITH_GAP,
    TUNED_WITH_GAP_AND_FLOOR,
    UNIFIED_D_E,
    UNIFIED_D_T,
)
from workflow_scripts.laws.scaling.fit import Fit, fit
from workflow_scripts.laws.scaling.law import Law, LawError

LAWS = {"zhang": TUNED_OF_N, "unified_d_e": UNIFIED_D_E, "unified_d_t": UNIFIED_D_T}
LAWS_OF_P = {"zhang_p": TUNED_OF_P, "mikami": TUNED_WITH_GAP, "barnett": TUNED_WITH_GAP_AND_FLOOR}
"""Without N: each N has its own coefficients."""
ALL = "all"
FAILED = "failed"


@dataclass(frozen=True)
class Losses:
    """Mean losses in nats per token, and where they lie: tuned cells (cells,), from-scratch points (points,)."""

    tuned: np.ndarray
    at_budget: np.ndarray
    """(cells,)"""
    d_f: np.ndarray
    n_params: np.ndarray
    pretrain_tokens: np.ndarray | None
    scratch: np.ndarray
    scratch_at_budget: np.ndarray
    """(points,)"""
    d: np.ndarray
    scratch_n_params: np.ndarray

    def laws(self) -> dict[str, Law]:
        """Those that the cells can tell apart: with P only where it varies."""
        return LAWS if self.pretrain_tokens is None else LAWS | LAWS_OF_P

    def cells(self, law: Law) -> dict[str, np.ndarray]:
        """The variables of the law, at all cells."""
        values = {
            "N": self.n_params,
            "P": self.pretrain_tokens,
            "D_F": self.d_f,
            "D": np.zeros(len(self.tuned)),
        }
        return {name: values[name] for name in law.variables}

    def points(self, law: Law, kept: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """What the law is fitted to, losses and variables: the cells `kept`, and the other arm where it covers that."""
        chosen = kept & ~self.at_budget
        losses, variables = self.tuned[chosen], {name: values[chosen] for name, values in self.cells(law).items()}
        if "D" not in variables:
            return losses, variables
        beside = {"N": self.scratch_n_params, "D": self.d, "D_F": np.zeros(len(self.d))}
        exact = ~self.scratch_at_budget
        return np.append(losses, self.scratch[exact]), {
            name: np.append(variables[name], beside[name][exact]) for name in variables
        }


@dataclass(frozen=True)
class FittedLosses:
    law: Law
    fits: dict[str, Fit]
    """By N for a law without N, else under `all`; only those that could be fitted."""
    problems: tuple[str, ...]
    """Why the others could not."""
    predicted: np.ndarray
    """(cells,), NaN where no fit says anything."""

    @property
    def status(self) -> str:
        """`ok`, `found by one start only` or `on a bound`, the worst of all fits; `failed` if one could not be made."""
        found = {one.status for one in self.fits.values()}
        worst = next((status for status in ("on a bound", "found by one start only") if status in found), "ok")
        return FAILED if self.problems else worst

    @property
    def starts(self) -> dict[str, int]:
        fits = self.fits.values()
        return {
            "tried": max((one.starts for one in fits), default=0),
            "agreed": min((one.agreed for one in fits), default=0),
        }

    @property
    def on_bound(self) -> list[str]:
        """Parameters that ended on a bound of their domain at some N, such as a floor of 0."""
        return sorted({name for one in self.fits.values() for name in one.on_bound})

    @property
    def search_ended(self) -> bool:
        return any(one.search_ended for one in self.fits.values())

    def coefficients(self) -> dict[str, Any]:
        """As the law names them, None where one is infinite; by N for a law without it."""
        named = {
            group: {name: finite(value) for name, value in one.parameters.items()} for group, one in self.fits.items()
        }
        return named.get(ALL, {}) if "N" in self.law.variables else named


def fit_losses(law: Law, losses: Losses, kept: np.ndarray, near: FittedLosses | None = None) -> FittedLosses:
    """Fits to the cells `kept` (cells,), and to the from-scratch points where the law covers them; predicts all cells.

    From the grid, or from `near`, a fit to more of the cells; where that failed nothing is tried again.
    """
    if "N" in law.variables:
        groups = {ALL: np.ones(len(kept), dtype=bool)}
    else:
        groups = {f"{value:.0f}": losses.n_params == value for value in np.unique(losses.n_params)}
    variables, predicted = losses.cells(law), np.full(len(kept), np.nan)
    fits, problems = {}, list(near.problems) if near else []
    for group, mine in groups.items():
        start = near.fits.get(group) if near else None
        if not (mine & kept).any() or (near and not start):
            continue
        try:
            fits[group] = (
                start
                if start and kept[mine].all()
                else fit(law, *losses.points(law, mine & kept), near=start.parameters if start else None)
            )
        except LawError as error:
            problems.append(str(error))
            continue
        predicted[mine] = fits[group].predict(**{name: values[mine] for name, values in variables.items()})
    return FittedLosses(law, fits, tuple(problems), predicted)

"""Compute-optimal N and D by the three approaches of Hoffmann et al. 2022, and how far approaches 1 and 2 are off.

Approach 3, the fit of the surface, is the answer.  Approaches 1 and 2 are read from the same points; their bias is that
of the method on the fitted surface, at those points, without any noise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from workflow_scripts.laws.scaling.catalogue import OPTIMAL_SIZE, published, published_in_words
from workflow_scripts.laws.scaling.compute import (
    approach_1,
    approach_2,
    isoflops,
    optimal_allocation,
    parabola_vertex,
)
from workflow_scripts.laws.scaling.fit import Draws, Fit
from workflow_scripts.laws.scaling.law import LawError, Parameters
from workflow_scripts.laws.scaling.table import Absent, Case

BUDGETS = (1.0, 10.0)
"""Compute that allocations are given for, in units of the largest run's."""
SLICES = 9
"""Budgets at which approach 2 compares sizes."""


def exponent(surface: Parameters) -> Any:
    """Of N_opt(C) = G (C / 6)^(beta / (alpha + beta))."""
    return surface["beta"] / (surface["alpha"] + surface["beta"])


def allocations(case: Case, drawn: Draws) -> list[dict[str, Any]]:
    """N and D of the least loss at C = 6 N D, at the largest compute that was run and beyond; and their exponents."""
    largest = float((6 * case.rows[case.columns["N"]] * case.rows[case.columns["D"]]).max())
    return [
        {
            "of": case.of,
            "flops": flops,
            "measured": flops <= largest,
            "exponent": drawn.known(exponent),
            "n": drawn.known(lambda p, c=flops: optimal_allocation(p, c).n),
            "d_tokens": drawn.known(lambda p, c=flops: optimal_allocation(p, c).d),
            "published": published(OPTIMAL_SIZE.name),
        }
        for flops in (largest * factor for factor in BUDGETS)
    ]


def envelopes(case: Case, surface: Fit) -> list[dict[str, Any] | Absent]:
    """N_opt(C) by approaches 1 and 2 from the points of `case`, each with its bias; or why there is none."""
    found = []
    for number, approach in {1: _first, 2: _second}.items():
        try:
            found.append(_judged(number, approach, case, surface))
        except LawError as error:
            found.append(Absent(f"approach {number} to the compute-optimal N", case.of, str(error)))
    return found


Approach = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], Fit]
"""Curve, N, FLOPs and loss of every point -> N_opt(C)."""


def _judged(number: int, approach: Approach, case: Case, surface: Fit) -> dict[str, Any]:
    n, d = (case.rows[case.columns[name]].to_numpy(float) for name in ("N", "D"))
    curve = _curves(case)
    flops = 6 * n * d
    fitted = approach(curve, n, flops, case.rows[case.response].to_numpy())
    entry = {
        "of": case.of,
        "approach": number,
        "exponent": fitted.parameters["alpha"],
        "n": [
            {"flops": c, "n": float(fitted.predict(C=c))} for c in (float(flops.max()) * factor for factor in BUDGETS)
        ],
        "n_budgets": fitted.n_points,
        "status": fitted.status,
        "starts": {"tried": fitted.starts, "agreed": fitted.agreed},
    }
    try:
        exact = approach(curve, n, flops, surface.predict(N=n, D=d))
    except LawError as error:
        return entry | {"bias": None, "bias_unknown": str(error)}
    truth = optimal_allocation(surface.parameters, flops.max()).n
    bias = {
        "exponent": exact.parameters["alpha"] - float(exponent(surface.parameters)),
        "n_factor": float(exact.predict(C=flops.max()) / truth),
    }
    return entry | {"bias": bias, "bias_unknown": None}


def _curves(case: Case) -> np.ndarray:
    """Which curve each point is of: that of its run, or of all runs of its N and seed that are one point each."""
    rows = case.rows
    of_run = rows.run.where(rows.groupby("run").run.transform("size") > 1)
    return rows.groupby([case.columns["N"], "seed", of_run], dropna=False).ngroup().to_numpy()


def _first(curve: np.ndarray, n: np.ndarray, flops: np.ndarray, loss: np.ndarray) -> Fit:
    return approach_1(curve, n, flops, loss)


def _second(curve: np.ndarray, n: np.ndarray, flops: np.ndarray, loss: np.ndarray) -> Fit:
    """At the budgets, of `SLICES`, whose parabola has a minimum between the sizes."""
    grid = np.geomspace(flops.min(), flops.max(), SLICES)
    budget, sizes, losses = isoflops(curve, n, flops, loss, grid)
    usable, why = [], "no curve reaches a budget"
    for value in np.unique(budget):
        here = budget == value
        try:
            parabola_vertex(value, sizes[here], losses[here])
            usable.append(value)
        except LawError as error:
            why = str(error)
    if len(usable) < 3:
        raise LawError(f"approach 2: {len(usable)} of {SLICES} budgets have a minimum, it needs three ({why})")
    chosen = np.isin(budget, usable)
    return approach_2(budget[chosen], sizes[chosen], losses[chosen])


def sentences(allocated: list[dict[str, Any]], words: Callable) -> list[str]:
    """The best use of compute by approach 3, in words; `words` says an interval."""
    told = []
    for of in dict.fromkeys(one["of"] for one in allocated):
        mine = [one for one in allocated if one["of"] == of]
        told.append(
            f"{of}: the compute-optimal N grows with C to the power {words(mine[0]['exponent'])}, by approach 3"
            f"{published_in_words(mine[0]['published'])}."
        )
        for one in mine:
            beyond = "" if one["measured"] else "; an extrapolation beyond the largest run"
            told.append(
                f"{of}: {one['flops']:.3g} FLOPs (6 N D) are best spent on N = {words(one['n'])} and"
                f" {words(one['d_tokens'])} tokens{beyond}."
            )
    return told


def approach_sentences(approaches: list[dict[str, Any]]) -> list[str]:
    """What approaches 1 and 2 say, in words, and how far they are off."""
    return [
        f"{one['of']}: approach {one['approach']} says the power {one['exponent']:.3f}, and N = {one['n'][0]['n']:,.0f} at"
        f" {one['n'][0]['flops']:.3g} FLOPs, from {one['n_budgets']} budgets, {one['status']}. {_bias(one)}"
        for one in approaches
    ]


def _bias(one: dict[str, Any]) -> str:
    if one["bias"] is None:
        return f"Its bias here is unknown ({one['bias_unknown']})."
    return (
        f"On the surface of approach 3, at these points and without noise, it is off by {one['bias']['exponent']:+.3f} in"
        f" the exponent and by a factor {one['bias']['n_factor']:.2f} in that N: its own bias."
    )

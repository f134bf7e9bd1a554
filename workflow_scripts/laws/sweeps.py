"""Step `sweeps`: what a constant of the recipe leaves on the table in each arm; what that does to D_T is the next step's,
`transfer_at_optima`, which needs the law.

python -m workflow_scripts.laws.sweeps --experiment JSON --training E/training --out E/laws/sweeps.json

Seeds are paired: the losses at two values of the constant share data and initial weights, so their difference is known
much better than each of them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workflow_scripts.experiment import Experiment
from workflow_scripts.files import write_json
from workflow_scripts.laws.collect import read_record

CELL = ["constant", "arm", "source", "size", "n_params", "d_chars"]
NEGLIGIBLE = 0.02
"""Nats a token that a rule may leave on the table, if that is more than two standard errors."""


def read_runs(experiment: Experiment, training: Path) -> pd.DataFrame:
    """A row a run of the sweeps.  Raises SystemExit if one is missing, or not of the experiment's kind."""
    rows = []
    for run in experiment.sweep_runs:
        outcome = read_record(training, run.folder, experiment)["outcome"]
        rows.append(
            {
                "constant": run.sweep,
                "value": run.value,
                "own": getattr(experiment.recipe, run.sweep),
                "arm": run.arm,
                "source": run.source,
                "size": run.size,
                "n_params": experiment.shapes[run.size].parameter_counts()["body"],
                "d_chars": run.characters,
                "seed": run.seed,
                "test_loss": outcome["test_loss"] if outcome else np.nan,
            }
        )
    return pd.DataFrame(rows).drop_duplicates()  # two sweeps of a constant may share cells, its own value at the least


def judge_cell(runs: pd.DataFrame) -> dict[str, Any]:
    """The best of the swept values, and how much the recipe's own loses against it (nats a token).

    0 is an end of what is possible, not of the sweep alone.  Raises SystemExit if no value is left whose runs all ended
    well.
    """
    by_value = runs.pivot(index="value", columns="seed", values="test_loss").dropna()
    if by_value.empty:
        cell = ", ".join(f"{name} {runs[name].iloc[0]}" for name in CELL if runs[name].notna().all())
        raise SystemExit(
            f"sweep of {cell}: a run failed at every value; their run.json say why: change the sweep, or drop it"
        )
    values, loss, own = by_value.index.to_numpy(), by_value.mean(axis=1).to_numpy(), float(runs.own.iloc[0])
    best = by_value.index[int(np.argmin(loss))]
    there = own in by_value.index
    at = int(np.searchsorted(values, own))
    others = {best, *values[max(at - 1, 0) : at + 2]} - {own} if there else set()
    return {
        "own": own,
        "losses": dict(zip((f"{value:g}" for value in values), loss.tolist(), strict=True)),
        "failed": sorted(set(runs.value) - set(values)),
        "best_value": float(best),
        "optimum_inside": bool(values[0] < best < values[-1] or best == 0),
        "left": float(by_value.loc[own].mean() - loss.min()) if there else None,
        "differences": [(by_value.loc[own] - by_value.loc[other]).tolist() for other in sorted(others)],
    }


def judge(runs: pd.DataFrame) -> list[dict[str, Any]]:
    """A verdict a cell; the standard error of what is left pools the seeds' differences of all cells of a constant, from its own
    value to the best and to those beside it."""
    cells = []
    for _, of_constant in runs.groupby("constant"):
        found = [
            {**dict(zip(CELL, key, strict=True)), **judge_cell(cell)}
            for key, cell in of_constant.groupby(CELL, dropna=False)
        ]
        pairs = [pair for cell in found for pair in cell["differences"] if len(pair) > 1]
        error = float(np.sqrt(np.mean([np.var(pair, ddof=1) / len(pair) for pair in pairs]))) if pairs else None
        for cell in found:
            del cell["differences"]
            limit = max(NEGLIGIBLE, 2 * error) if error is not None else NEGLIGIBLE
            source = None if cell["arm"] == "scratch" else cell["source"]
            cells.append({**cell, "source": source, "left_error": error, "verdict": verdict(cell, limit)})
    return cells


def verdict(cell: dict[str, Any], limit: float) -> str:
    """`negligible` or `not negligible`; `undecided` at an edge of the sweep, which leaves an unknown amount beyond it, and
    `unknown` where runs at the recipe's own value failed."""
    if cell["left"] is None:
        return "unknown"
    if cell["left"] > limit:
        return "not negligible"
    return "negligible" if cell["optimum_inside"] else "undecided"


def left_at(d: float, cells: list[dict[str, Any]]) -> float | None:
    """What the rule leaves at `d` characters, linear in ln D between the swept cells around it, beyond the last as there.

    None where one of the two is not known, or there is none.
    """
    cells = sorted(cells, key=lambda cell: cell["d_chars"])
    below, above = ([c for c in cells if c["d_chars"] <= d], [c for c in cells if c["d_chars"] >= d])
    around = [*below[-1:], *above[:1]]
    if not around or any(cell["left"] is None or not cell["optimum_inside"] for cell in around):
        return None
    return float(np.interp(np.log(d), np.log([c["d_chars"] for c in around]), [c["left"] for c in around]))


def effect_on_transfer(
    cells: list[dict[str, Any]], effective: pd.DataFrame, curves: pd.DataFrame, unit: str
) -> list[dict]:
    """D_T on the sampling unit of the sweeps, if each arm had its own optimum, over D_T as it is (null where that is 0 or
    below, of which a ratio reads backwards); where both were seen.

    A lower fine-tuned loss moves D_E along the from-scratch curve, a lower from-scratch curve moves it back:
    ln D_E' = ln D_E + (left_finetune(D_F) - left_scratch(D_E)) / slope, slope = -dL / dln D of a line through that curve.
    """
    found = []
    for tuned in (cell for cell in cells if cell["arm"] == "finetune"):
        same = [
            c for c in cells if (c["arm"], c["constant"], c["size"]) == ("scratch", tuned["constant"], tuned["size"])
        ]
        rows = effective[
            (effective.unit == unit)
            & (effective.source == tuned["source"])
            & (effective["size"] == tuned["size"])
            & (effective.d_f == tuned["d_chars"])
            & effective.d_e.notna()
        ]
        if rows.empty or tuned["left"] is None or not tuned["optimum_inside"]:
            continue
        cell = rows.iloc[0]
        scratch_left = left_at(cell.d_e, same)
        if scratch_left is None:
            continue
        curve = curves[(curves.unit == cell.unit) & (curves.n_params == cell.n_params)].sort_values("d")
        slope = -np.polyfit(np.log(curve.d), curve.loss, 1)[0]
        moved = cell.d_e * np.exp((tuned["left"] - scratch_left) / slope)
        place = {key: tuned[key] for key in ("constant", "source", "size", "d_chars")}
        ratio = float((moved - cell.d_f) / (cell.d_e - cell.d_f)) if cell.d_e > cell.d_f else None
        found.append({**place, "d_e": float(cell.d_e), "d_t_ratio": ratio})
    return found


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", required=True, type=json.loads, help="configuration, as JSON")
    parser.add_argument("--training", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    arguments = parser.parse_args(argv)
    experiment = Experiment.parse(arguments.experiment, "--experiment")
    cells = judge(read_runs(experiment, arguments.training))
    write_json(arguments.out, {"simulated": experiment.simulated is not None, "cells": cells})


if __name__ == "__main__":
    main()

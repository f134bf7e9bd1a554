"""Sanity before laws: do the runs behave as runs must, before anything is fitted to them?

Each check has a verdict (`ok` or `warn`), one sentence, and the runs or numbers behind it.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from workflow_scripts.laws.runs import CELL

LIMIT = 3.0
"""Standard errors beyond which a rise, or a seed, is more than noise."""


Spread = dict[tuple[str, str], float]
"""Standard deviation between seeds by arm and sampling unit, in nats per token; NaN where it is unknown."""


def check_sanity(runs: pd.DataFrame) -> dict[str, Any]:
    """Checks a table from `check_runs`.  `pooled_spread` is the deviation between seeds, by arm and sampling unit."""
    runs = _comparable(runs)
    good = runs[runs.status == "ok"]
    spread = _pooled_spread(good)
    return {
        "pooled_spread": [
            {"arm": arm, "unit": unit, "deviation": None if np.isnan(value) else value}
            for (arm, unit), value in spread.items()
        ],
        "checks": [
            _falls(good, "pretrain", "n_params", spread),
            _falls(good, "scratch", "n_params", spread),
            _falls(good, "scratch", "d_chars", spread),
            _seeds_agree(good, spread),
            _listed(good[good.unstable], "stable", "showed spikes of the training loss"),
            _batches_are_small_enough(good),
            _listed(runs[runs.status != "ok"], "finished", "failed", ": set aside"),
            _listed(
                good[good.hit_budget & (good.arm != "pretrain")],
                "within budget",
                "stopped at the budget",
                ": the loss is an upper bound",
            ),
        ],
    }


def _comparable(runs: pd.DataFrame) -> pd.DataFrame:
    """Cells of pre-training are told apart by tokens and corpus, where a row has them: it is asked for in tokens, which
    are a few characters more or less from seed to seed, and its `init` does not name the source."""
    others = runs.arm != "pretrain"
    columns = {"d_chars": "d_tokens", "init": "corpus"}
    return runs.assign(
        **{
            here: runs[here].where(others | runs[there].isna(), runs[there])
            for here, there in columns.items()
            if there in runs
        }
    )


def _pooled_spread(runs: pd.DataFrame) -> Spread:
    """Pooled over the cells of each arm and unit; NaN where no cell has two seeds."""
    cells = runs.groupby(CELL).test_loss.agg(["var", "size"]).reset_index()
    cells["degrees"] = cells["size"] - 1
    cells["squares"] = cells["var"].fillna(0.0) * cells.degrees
    sums = cells.groupby(["arm", "unit"])[["squares", "degrees"]].sum()
    return {key: float(np.sqrt(row.squares / row.degrees)) if row.degrees else np.nan for key, row in sums.iterrows()}


def _falls(runs: pd.DataFrame, arm: str, axis: str, spread: Spread) -> dict[str, Any]:
    """Whether the mean loss falls from each value of `axis` to the next, all else equal."""
    others = [column for column in CELL if column != axis]
    cells = runs[runs.arm == arm].groupby([*others, axis]).test_loss.agg(["mean", "size"]).reset_index()
    rises, steps = [], Counter()
    for _, line in cells.groupby(others):
        line, unit = line.sort_values(axis), line.unit.iloc[0]
        allowed = np.nan_to_num(LIMIT * spread[arm, unit])
        pairs = zip(line[:-1].itertuples(), line[1:].itertuples(), strict=True)
        for before, after in pairs:
            steps[unit] += 1
            rise = after.mean - before.mean
            if rise > allowed * np.sqrt(1 / before.size + 1 / after.size):
                rises.append({column: getattr(after, column) for column in CELL} | {"rise": float(rise)})
    axis_name = {"n_params": "N", "d_chars": "D"}[axis]
    name = f"{arm} losses fall with {axis_name}"
    if not steps:
        return _check(name, True, f"No two {arm} cells differ in {axis_name} alone.")
    found = Counter(rise["unit"] for rise in rises)
    unknown = [unit for unit in steps if np.isnan(spread[arm, unit])]
    known = [unit for unit in steps if unit not in unknown]
    (risen, of_known), (unsure, of_unknown) = (
        (sum(found[unit] for unit in units), sum(steps[unit] for unit in units)) for units in (known, unknown)
    )
    told = [f"by more than {LIMIT:g} standard errors in {risen} of {of_known} steps"] if known else []
    if unknown:
        where = f" on {' and '.join(unknown)}" if known else ""
        so = ": how much of that is noise is unknown" if unsure else ""
        told.append(f"in {unsure} of {of_unknown} steps{where}, where no cell has two seeds{so}")
    return _check(name, not rises, f"The {arm} loss rises with {axis_name} {'; and '.join(told)}.", rises)


def _seeds_agree(runs: pd.DataFrame, spread: Spread) -> dict[str, Any]:
    losses = runs.groupby(CELL).test_loss
    n = losses.transform("size")
    pooled = np.array([spread[key] for key in zip(runs.arm, runs.unit, strict=True)])
    scale = pooled * np.sqrt(1 - 1 / n)
    away = (runs.test_loss - losses.transform("mean")) / scale.where(scale > 0)
    odd = away.abs() > LIMIT
    if not (n > 1).any():
        return _check("seeds agree", False, "Every cell has one seed: the spread of seeds is unknown.")
    outliers = [row | {"deviations": float(away[i])} for i, row in zip(runs.index[odd], _named(runs[odd]), strict=True)]
    sentence = (
        f"{len(outliers)} of {int((n > 1).sum())} runs lie more than {LIMIT:g} pooled deviations from their cell."
    )
    return _check("seeds agree", not outliers, sentence, outliers)


def _batches_are_small_enough(runs: pd.DataFrame) -> dict[str, Any]:
    check = _listed(
        runs[runs.batch_above_noise_scale],
        "batch within the noise scale",
        "used a batch above the gradient noise scale",
        ": a smaller one would reach the same loss with less compute",
    )
    trained = runs[runs.arm != "zero_shot"]
    unknown = int(trained.noise_scale_tokens.isna().sum()) if "noise_scale_tokens" in trained else len(trained)
    if unknown:
        check["sentence"] += (
            f" Of {unknown} of {len(trained)} it is unknown: too short to measure it, a batch of one sequence, or one of gradient and noise lost in the other."
        )
    return check


def _listed(runs: pd.DataFrame, name: str, did: str, so: str = "") -> dict[str, Any]:
    """A check that no run `did` something; `so` says what follows where one did."""
    if runs.empty:
        return _check(name, True, f"No run {did}.")
    return _check(name, False, f"{len(runs)} {'run' if len(runs) == 1 else 'runs'} {did}{so}.", _named(runs))


def _named(runs: pd.DataFrame) -> list[dict[str, Any]]:
    named = runs[[*CELL, "size", "seed"]].to_dict("records")
    if "failure" in runs.columns:
        for row, failure in zip(named, runs.failure, strict=True):
            if pd.notna(failure):
                row["failure"] = str(failure)
    return named


def _check(name: str, good: bool, sentence: str, runs: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"check": name, "verdict": "ok" if good else "warn", "sentence": sentence, "runs": runs or []}

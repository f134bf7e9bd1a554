"""Progress of a whole experiment, printed by every training job once a minute and at its end: runs done, left, expected end."""

from __future__ import annotations

import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from workflow_scripts.files import read_json, write_json

Mark = tuple[int, int]
"""Tells a file from another one at its place: inode, and time of the last change."""


def mark(folder: Path, run: str) -> Mark | None:
    """Of a run that is there; None if there is none."""
    try:
        status = (folder / run / "run.json").stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def outdated(folder: Path, specifications: dict[str, dict[str, Any]], code: str) -> dict[str, Mark]:
    """Runs that are there and that the configuration or the code has left behind: they are made again."""
    found = {}
    for run, specification in specifications.items():
        if there := mark(folder, run):
            identity = read_json(folder / run / "run.json")["identity"]
            if identity["specification"] != specification or identity["code"] != code:
                found[run] = there
    return found


def finished(folder: Path, runs: dict[str, float], left_behind: dict[str, Mark]) -> set[str]:
    return {run for run in runs if (there := mark(folder, run)) and there != tuple(left_behind.get(run, ()))}


def write_plan(plan: Path, runs: dict[str, float], left_behind: dict[str, Mark]) -> None:
    """Notes when the work starts and what is already there; `runs` is run folder beside the plan -> expected cost."""
    done = sorted(finished(plan.parent, runs, left_behind))
    write_json(plan, {"started": time.time(), "done_at_start": done, "outdated": left_behind, "runs": runs})


def report(plan: Path, now: float) -> str:
    """One line on where the plan stands at time `now` (seconds since the epoch)."""
    noted = read_json(plan)
    runs: dict[str, float] = noted["runs"]
    done = finished(plan.parent, runs, noted["outdated"])
    line = f"[training] {len(done)} of {len(runs)} runs done, {len(runs) - len(done)} left"
    work_now = sum(runs[name] for name in done - set(noted["done_at_start"]))
    work_left = sum(cost for name, cost in runs.items() if name not in done)
    if not work_left or not work_now:
        return line
    seconds = (now - noted["started"]) * work_left / work_now
    end = datetime.fromtimestamp(now) + timedelta(seconds=seconds)
    return f"{line}, about {max(1, round(seconds / 60))} min to go (until {end:%H:%M})"


def print_report(plan: Path) -> None:
    if plan.exists():
        print(report(plan, time.time()), file=sys.stderr, flush=True)

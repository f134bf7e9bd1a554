"""Progress of a whole experiment, printed by every training job once a minute and at its end: runs done, left, expected end."""

from __future__ import annotations

import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from workflow_scripts.files import read_json, write_json


def finished(folder: Path, runs: dict[str, float]) -> set[str]:
    return {name for name in runs if (folder / name / "run.json").exists()}


def drop_outdated(folder: Path, specifications: dict[str, dict[str, Any]], code: str) -> None:
    """Removes the `run.json` of runs that the configuration or the code has left behind (the store keeps its copy), so
    that nothing counts as done before it is."""
    for name, specification in specifications.items():
        path = folder / name / "run.json"
        if path.exists():
            identity = read_json(path)["identity"]
            if identity["specification"] != specification or identity["code"] != code:
                path.unlink()


def write_plan(plan: Path, runs: dict[str, float]) -> None:
    """Notes when the work starts and what is already there; `runs` is run folder beside the plan -> expected cost."""
    done = sorted(finished(plan.parent, runs))
    write_json(plan, {"started": time.time(), "done_at_start": done, "runs": runs})


def report(plan: Path, now: float) -> str:
    """One line on where the plan stands at time `now` (seconds since the epoch)."""
    noted = read_json(plan)
    runs: dict[str, float] = noted["runs"]
    done = finished(plan.parent, runs)
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

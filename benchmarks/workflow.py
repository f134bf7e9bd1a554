"""What the workflow itself costs, from 100 to 10,000 cells: planning, doing nothing, a cell, collecting the runs.

    python -m benchmarks.workflow [--cells 100 1000 10000]

Runs are simulated, so that nothing but the workflow takes time.  Planning and doing nothing are measured with a job a
cell, in turns with a bare Snakefile of those jobs and edges, the fastest of three each; and as the quickstart shares
processes.  A cell and collecting are measured with all processes shared.  The table goes to `benchmarks/workflow.csv`,
where the rows of other sizes stay, and to the screen as Markdown for docs/workflow.md.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from tests.checkout import ROOT, checkout
from workflow_scripts.experiment import Experiment
from workflow_scripts.files import written
from workflow_scripts.store import canonical_json

TABLE = Path(__file__).with_suffix(".csv")
GRIDS = {100: (5, 1, 8, 10), 1000: (10, 2, 23, 25), 10_000: (10, 10, 48, 50)}
"""Cells -> sizes, seeds, fine-tuning and from-scratch D; pre-training and zero-shot are two more of each size and seed."""
TARGET = "results/grid.simulated/laws/runs.parquet"
BARE = """
import json
from pathlib import Path
JOBS = json.loads(Path("jobs.json").read_text())
rule collect:
    input: [f"out/{job}.json" for job in JOBS]
    output: "results/grid.simulated/laws/runs.parquet"
    shell: "touch {output}"
rule train:
    input: lambda wildcards: [f"out/{job}.json" for job in JOBS[wildcards.job]]
    output: "out/{job}.json"
    wildcard_constraints: job=".+"
    shell: "touch {output}"
"""
CONFIGURED = ("--configfile", "grid.yaml")
PROFILE = ("--cores", "all", "--scheduler", "greedy", "--rerun-triggers", "mtime", "params", "input", "code")
QUIETLY = (TARGET, "--quiet", "rules", *PROFILE, *CONFIGURED)
TURNS = 3
USUAL = Experiment.load(ROOT / "config/config.yaml").share_process_below
"""Characters: cells with less share a process in the quickstart."""


@dataclass(frozen=True)
class Cost:
    """Of one command: seconds by the clock, and the largest memory of its process in MB."""

    seconds: float
    memory_mb: float


def cost(folder: Path, *command: str) -> Cost:
    """Runs a command to its end.  Raises SystemExit, with what it printed, if it fails."""
    with open(folder / "output.txt", "w+") as output:
        start = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-m", *command], cwd=folder, stdout=output, stderr=output)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        output.seek(0)
        if status:
            raise SystemExit(f"{' '.join(command)} failed in {folder}:\n{output.read()}")
    return Cost(seconds, used.ru_maxrss / 1024)


def configuration(cells: int, shared_below: int | None) -> dict[str, Any]:
    """The quickstart, simulated, with a grid of so many cells; those with a D below `shared_below` share processes, None:
    all do."""
    sizes, seeds, finetune, scratch = GRIDS[cells]
    d_f, d = (
        np.geomspace(6_000, end, number).round().astype(int) for end, number in ((60_000, finetune), (600_000, scratch))
    )
    return {
        "base": "config/config.yaml",
        "experiment": "grid",
        "title": f"{cells} cells",
        "model": {"sizes": [{"n_layer": 2, "d_model": 12 + 8 * i, "n_head": 1} for i in range(sizes)]},
        "grids": [{"unit": "excerpt", "finetune": d_f.tolist(), "scratch": d.tolist()}],
        "sweeps": [],
        "seeds": list(range(seeds)),
        "fit": {"d_f": [6_000, 60_000]},
        "simulated": {"laws": {"english": {}}},
        "share_process_below": shared_below,
    }


def jobs_of(experiment: Experiment) -> dict[str, list[str]]:
    """Training job -> the training jobs that it waits for."""
    jobs: dict[str, list[str]] = {}
    for run in experiment.runs:
        tuned = run.arm in ("finetune", "zero_shot")
        jobs[experiment.job(run)] = [experiment.job(experiment.pretraining_of(run))] if tuned else []
    return jobs


def make_all(folder: Path, experiment: Experiment) -> None:
    """Every run and manifest of an experiment in one process, and Snakemake told that they are made."""
    jobs: dict[str, dict[str, Any]] = {}
    for run in experiment.runs:
        name = f"results/{experiment.folder}/training/{run.folder}"
        jobs.setdefault(experiment.job(run), {})[name] = experiment.specification(run)
    calls = [
        ["--runs", canonical_json(runs), "--out", f"results/{experiment.folder}/training/{job}.json"]
        for job, runs in jobs.items()
    ]
    (folder / "calls.json").write_text(canonical_json(calls))
    (folder / "make_all.py").write_text(
        "import json\nfrom workflow_scripts.training.simulated import main\n"
        "for call in json.load(open('calls.json')):\n    main(call)\n"
    )
    cost(folder, "make_all")
    collect(folder, experiment)
    cost(folder, "snakemake", TARGET, "--touch", *PROFILE, *CONFIGURED)


def collect(folder: Path, experiment: Experiment) -> Cost:
    results = f"results/{experiment.folder}"
    return cost(
        folder,
        "workflow_scripts.laws.collect",
        *("--experiment", experiment.model_dump_json(), "--training", f"{results}/training"),
        *("--out", f"{results}/laws/runs.parquet", "--curves", f"{results}/laws/learning_curves.parquet"),
    )


def project(folder: Path, cells: int, shared_below: int | None) -> Experiment:
    """Sets up a checkout in `folder`, and returns its experiment."""
    checkout(folder)
    config = configuration(cells, shared_below)
    (folder / "grid.yaml").write_text(yaml.safe_dump(config))
    experiment = Experiment.parse(config, "grid")
    if len(experiment.runs) != cells:
        raise SystemExit(f"the grid holds {len(experiment.runs)} runs, expected {cells}")
    return experiment


def bare(folder: Path, jobs: dict[str, list[str]]) -> None:
    """A Snakefile with these jobs and nothing else."""
    folder.mkdir()
    (folder / "Snakefile").write_text(BARE)
    (folder / "jobs.json").write_text(canonical_json(jobs))
    (folder / "grid.yaml").write_text("{}")


def make_all_bare(folder: Path, jobs: dict[str, list[str]]) -> None:
    for job in jobs:
        path = folder / "out" / f"{job}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (folder / TARGET).parent.mkdir(parents=True)
    (folder / TARGET).touch()
    cost(folder, "snakemake", TARGET, "--touch", *PROFILE)


def in_turns(folders: Mapping[str, Path], *arguments: str) -> dict[str, Cost]:
    """The fastest of `TURNS` calls of Snakemake in each folder."""
    turns = [{name: cost(folder, "snakemake", *arguments) for name, folder in folders.items()} for _ in range(TURNS)]
    return {name: min((turn[name] for turn in turns), key=lambda one: one.seconds) for name in folders}


def measure(cells: int) -> dict[str, Any]:
    """One row of the table."""
    with tempfile.TemporaryDirectory() as name:
        folders = {kind: Path(name) / kind for kind in ("apart", "usual", "bare", "together")}
        apart, usual, together = (
            project(folders[kind], cells, below) for kind, below in (("apart", 0), ("usual", USUAL), ("together", None))
        )
        bare(folders["bare"], jobs_of(apart))
        compared = {kind: folders[kind] for kind in ("apart", "usual", "bare")}
        plan = in_turns(compared, "-n", *QUIETLY)
        make_all(folders["apart"], apart)
        make_all(folders["usual"], usual)
        make_all_bare(folders["bare"], jobs_of(apart))
        nothing = in_turns(compared, *QUIETLY)
        whole = cost(folders["together"], "snakemake", *QUIETLY)
        return {
            "cells": cells,
            "usual_jobs": len(jobs_of(usual)),
            "shared_jobs": len(jobs_of(together)),
            **{f"plan_{kind}_s": found.seconds for kind, found in plan.items()},
            **{f"nothing_{kind}_s": found.seconds for kind, found in nothing.items()},
            "memory_mb": max(found.memory_mb for found in (*plan.values(), *nothing.values())),
            "cell_s": whole.seconds / cells,
            "collect_s": collect(folders["together"], together).seconds,
        }


def as_markdown(table: pd.DataFrame) -> str:
    lines = [
        "| cells | `-n`: bare, s | a job a cell | as the quickstart shares (jobs) | nothing to do: bare, s | a job a cell"
        " | as the quickstart shares | MB | a cell, s | collecting, s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in table.itertuples():
        lines.append(
            f"| {row.cells:,} | {row.plan_bare_s:.1f} | {row.plan_apart_s / row.plan_bare_s:.2f} times"
            f" | {row.plan_usual_s / row.plan_bare_s:.2f} times ({row.usual_jobs:,}) | {row.nothing_bare_s:.1f}"
            f" | {row.nothing_apart_s / row.nothing_bare_s:.2f} times | {row.nothing_usual_s / row.nothing_bare_s:.2f} times"
            f" | {row.memory_mb:.0f} | {row.cell_s:.3f} | {row.collect_s:.1f} |"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workflow", description=__doc__.split("\n")[0])
    parser.add_argument("--cells", type=int, nargs="+", choices=GRIDS, default=list(GRIDS))
    arguments = parser.parse_args(argv)
    table = pd.DataFrame([measure(cells) for cells in arguments.cells])
    if TABLE.exists():
        kept = pd.read_csv(TABLE)
        table = pd.concat([kept[~kept.cells.isin(table.cells)], table]).sort_values("cells")
    with written(TABLE) as path:
        table.to_csv(path, index=False)
    print(as_markdown(table))


if __name__ == "__main__":
    main()

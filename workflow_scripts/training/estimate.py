"""How long an experiment will take, and how much memory, before anything is trained: `make plan`.

    python -m workflow_scripts.training.estimate --configfile config/config.yaml
    python -m workflow_scripts.training.estimate --configfile config/experiments/text-to-python.yaml --gpu h100

Each size trains and evaluates for some seconds on random tokens in a process of its own, so speed and memory are this
machine's; with `--gpu`, nothing is run, and they follow from the published rates of that GPU (`published.py`).  The steps
of a pre-training are its plan; those of other runs are expected from the quickstart's (docs/workflow.md), or from
`--epochs`.  Prints a table and writes results/<experiment>/estimate.json, from which the rules take each job's `mem_mb`
and `runtime` from then on.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from workflow_scripts.experiment import ConfigurationError, Experiment
from workflow_scripts.files import write_json
from workflow_scripts.training import published
from workflow_scripts.training.expected import (
    QUICKSTART,
    START_SECONDS,
    Expectation,
    devices_of,
    evaluated_tokens,
    expected_steps,
    seconds_ahead,
    set_mb,
)

MEASURED_SECONDS = 2.0
MARGIN, START_MINUTES = 1.5, 5
"""Of what jobs ask a scheduler for over what is expected; a job that exceeds it is tried again with twice as much."""
SNAKEMAKE_MB = 400
"""Of the two Snakemakes that run beside the trainer in a scheduler's job, and count there (194 MB each)."""
ALLOCATION = {"MALLOC_MMAP_THRESHOLD_": "1000000000", "MALLOC_TRIM_THRESHOLD_": "4000000000"}
"""Environment of training processes: else glibc may give the head's logits back to the system at every step."""
TORCHRUN = "torchrun --signals-to-handle SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1 --shutdown-timeout 600"
"""Starts the processes of a job, hands on what asks them to stop, and leaves them the time to save."""


def measure(experiment: Experiment, size: str) -> dict[str, float]:
    """Seconds a step, a token evaluated on the way and one of the final evaluation, which is in float32, and the largest memory
    (MB) of a process that trains this size on a few random tokens.  One process is measured; the devices of a job are taken to
    share a step without loss."""
    import torch

    from workflow_scripts.training.data import Batches
    from workflow_scripts.training.devices import device
    from workflow_scripts.training.loop import Task, Trainer, held_out_loss
    from workflow_scripts.training.placement import Placement

    torch.set_num_threads(1)
    shape, recipe, random = experiment.shapes[size], experiment.recipe, np.random.default_rng(0)
    tokens = random.integers(shape.vocab_size, size=64 * recipe.batch_sequences * shape.n_ctx)
    windows = random.integers(shape.vocab_size, size=(16, shape.n_ctx + 1))
    batches = Batches(tokens, shape.n_ctx, recipe.batch_sequences, 0)
    with device(experiment.gpu) as chosen:
        trainer = Trainer(
            Task(shape, recipe, 0, batches, windows), Placement(chosen, micro_batch=experiment.micro_batch)
        )

        def seconds(work: Callable[[], Any]) -> float:
            """Mean time of `work`, with what it left running on the device."""
            work()
            trainer.interval["loss"].item()
            count, started = 0, time.perf_counter()
            while count < 3 or time.perf_counter() - started < MEASURED_SECONDS:
                work()
                count += 1
            trainer.interval["loss"].item()
            return (time.perf_counter() - started) / count

        step = seconds(trainer.train_step)

        def evaluate() -> float:
            return held_out_loss(trainer.averaged, windows, chosen)

        with trainer.precision():
            on_the_way = seconds(evaluate) / windows[:, 1:].size
        final = seconds(evaluate) / windows[:, 1:].size
        trainer.measure_noise()
        trainer.state()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "seconds_per_step": step / devices_of(experiment),
        "seconds_per_evaluated_token": on_the_way,
        "seconds_per_final_token": final,
        "memory_mb": memory,
    }


def estimate(
    experiment: Experiment, machine: dict[str, dict[str, float]], expected: Expectation = QUICKSTART
) -> dict[str, Any]:
    """Seconds of every run and job of the grids, and what every job asks for, be it of the grids or of a sweep, from what
    `measure` found or `published.machine` says."""
    runs: dict[str, dict[str, Any]] = {}
    jobs: dict[str, float] = defaultdict(lambda: START_SECONDS)
    memory: dict[str, float] = defaultdict(float)
    for run in (*experiment.runs, *experiment.sweep_runs):
        here, steps, job = machine[run.size], expected_steps(experiment, run, expected), experiment.job(run)
        on_the_way, final = evaluated_tokens(experiment, steps)
        seconds = steps * here["seconds_per_step"]
        seconds += on_the_way * here["seconds_per_evaluated_token"] + final * here["seconds_per_final_token"]
        runs[run.folder] = {"arm": run.arm, "size": run.size, "steps": steps, "seconds": seconds}
        jobs[job] += seconds
        memory[job] = max(memory[job], here["memory_mb"] + set_mb(experiment, run, expected))
    needs = {
        job: {
            "mem_mb": math.ceil(MARGIN * memory[job]) + SNAKEMAKE_MB,
            "runtime": math.ceil(MARGIN * jobs[job] / 60) + START_MINUTES,
        }
        for job in jobs
    }
    of_grids = {job: jobs[job] for job in map(experiment.job, experiment.runs)}
    return {
        "machine": machine,
        "devices": devices_of(experiment),
        "needs": needs,
        "runs": {run.folder: runs[run.folder] for run in experiment.runs},
        "jobs": of_grids,
        "longest_way": max(seconds_ahead(experiment, of_grids).values()),
    }


def workers_of(experiment: Experiment) -> int:
    """GPUs of this machine if the experiment uses some and there are any, else cores."""
    from workflow_scripts.training.devices import visible_devices

    return len(visible_devices()) * bool(experiment.gpu) or os.cpu_count()


def table(found: dict[str, Any], workers: int) -> str:
    """Minutes by size and arm, memory without the data set, and the whole on `workers` cores or GPUs."""
    arms = ("pretrain", "finetune", "scratch")
    lines = [f"{'size':>8}{'ms a step':>11}{'MB':>7}" + "".join(f"{arm + ', min':>15}" for arm in arms)]
    for size, here in found["machine"].items():
        minutes = [
            sum(run["seconds"] for run in found["runs"].values() if (run["size"], run["arm"]) == (size, arm)) / 60
            for arm in arms
        ]
        step = 1000 * here["seconds_per_step"]
        lines.append(f"{size:>8}{step:11.2f}{here['memory_mb']:7.0f}" + "".join(f"{m:15.1f}" for m in minutes))
    spent = sum(found["jobs"].values()) * found["devices"]
    whole = max(spent / workers, found["longest_way"])
    lines.append(
        f"{len(found['runs'])} runs in {len(found['jobs'])} jobs: {spent / 3600:.1f} hours of one, about"
        f" {whole / 60:.0f} min of training on {workers}"
    )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--configfile", default="config/config.yaml")
    parser.add_argument("--workers", type=int, help="cores or GPUs that train side by side; by default all there are")
    parser.add_argument("--gpu", choices=published.GPUS, help="nothing is run: take its published rates")
    parser.add_argument("--utilisation", type=float, default=0.35, help="with --gpu: share of its rate that is reached")
    parser.add_argument("--epochs", type=float, default=5.0, help="with --gpu: passes up to the best point")
    parser.add_argument("--characters-per-token", type=float, default=3.0, help="with --gpu: of the target")
    parser.add_argument("--size", help="measure this size in this process, and print it as JSON")
    given = parser.parse_args(argv)
    try:
        experiment = Experiment.load(given.configfile)
    except ConfigurationError as error:
        raise SystemExit(str(error)) from error
    if given.size:
        print(json.dumps(measure(experiment, given.size)))
        return
    out = Path("results") / experiment.folder / "estimate.json"
    if given.gpu:
        expected = Expectation(given.characters_per_token, given.epochs)
        machine = published.machine(experiment, published.GPUS[given.gpu], given.utilisation)
        found = estimate(experiment, machine, expected)
        write_json(out, found)
        print(published.table(experiment, found, published.GPUS[given.gpu], given.utilisation, expected))
        return
    machine = {}
    for size in experiment.shapes:
        print(f"measuring {size} ...", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", __spec__.name, "--configfile", given.configfile, "--size", size]
        measured = subprocess.run(command, env=os.environ | ALLOCATION, stdout=subprocess.PIPE, text=True)
        if measured.returncode:
            raise SystemExit(
                f"{size}: could not be measured here, its message stands above; where it does not fit, --gpu NAME (make plan"
                f" GPU=NAME) takes the published rates of one of {', '.join(published.GPUS)}"
            )
        machine[size] = json.loads(measured.stdout)
    found = estimate(experiment, machine)
    write_json(out, found)
    print(table(found, given.workers or workers_of(experiment)))


if __name__ == "__main__":
    main()

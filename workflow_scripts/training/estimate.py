"""How long an experiment will take, and how much memory, before anything is trained: `make plan`.

    python -m workflow_scripts.training.estimate --configfile config/config.yaml

Each size trains and evaluates for some seconds on random tokens in a process of its own, so speed and memory are this
machine's.  The steps of a pre-training are its plan; those of other runs are expected from the quickstart's
(docs/trainer.md).  Prints a table and writes results/<experiment>/estimate.json, from which the rules take `mem_mb`
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
from workflow_scripts.grid import Run

CHARACTERS_PER_TOKEN = 1.53
"""Of the quickstart's Python under its English tokenizer of 1,024; there may be no tokenizer yet."""
START_SECONDS = 5.0
"""Of a process, for its imports."""
MEASURED_SECONDS = 2.0
MARGIN, START_MINUTES = 1.5, 5
"""Of what jobs ask a scheduler for over what is expected; a job that exceeds it is tried again with twice as much."""
SNAKEMAKE_MB = 400
"""Of the two Snakemakes that run beside the trainer in a scheduler's job, and count there (194 MB each)."""
ALLOCATION = {"MALLOC_MMAP_THRESHOLD_": "1000000000", "MALLOC_TRIM_THRESHOLD_": "4000000000"}
"""Environment of training processes: else glibc may give the head's buffers back to the system at every step."""
STEP_SECONDS, SECONDS_PER_FLOP = 7.5e-3, 2e-11
"""Of a nominal core, for the relative costs behind the progress line: 8.5 ms at 5 k parameters, 22 ms at 154 k."""
SHAPE = {"steps": 18_700.0, "steps_of_n": 0.811, "tokens": 102_600.0, "tokens_of_n": 0.569, "sharpness": 2.78}
"""Fitted to the quickstart's from-scratch runs (N relative to 20,000): sizes are met within a factor 1.2."""


def best_step(n_params: int, tokens: float) -> float:
    """Step of the best loss of a from-scratch run on `tokens`: few where it soon overfits; where the data is large for
    the model, many and the same for every set, since the loss then falls as a slow power of the steps."""
    n = n_params / 20_000
    enough = SHAPE["tokens"] * n ** SHAPE["tokens_of_n"]
    return SHAPE["steps"] * n ** SHAPE["steps_of_n"] / (1 + (enough / tokens) ** SHAPE["sharpness"])


def expected_steps(experiment: Experiment, run: Run) -> float:
    """Steps until a run ends; 0 for the evaluation of pre-trained weights."""
    recipe, n_params = experiment.recipe, experiment.shapes[run.size].parameter_counts()["body"]
    batch_tokens = recipe.batch_sequences * experiment.model.n_ctx
    if run.arm == "zero_shot":
        return 0.0
    if run.arm == "pretrain":
        return experiment.pretrain.tokens / batch_tokens
    tokens = run.characters / CHARACTERS_PER_TOKEN
    best = best_step(n_params, tokens) if run.arm == "scratch" else 0.0
    steps = recipe.patience * max(best, recipe.minimum_epochs * tokens / batch_tokens)
    return min(steps, recipe.budget_epochs * tokens / batch_tokens)


def expected_cost(experiment: Experiment, run: Run) -> float:
    """Seconds of a nominal core, for the expected end in the progress line."""
    flops = experiment.shapes[run.size].flops_per_token(with_head=True)
    step = STEP_SECONDS + SECONDS_PER_FLOP * flops * experiment.recipe.batch_sequences * experiment.model.n_ctx
    return START_SECONDS + expected_steps(experiment, run) * step


def evaluated_tokens(experiment: Experiment, steps: float) -> float:
    """Tokens of all evaluations of a run of so many steps: on the way, and the final ones."""
    recipe, evaluation = experiment.recipe, experiment.evaluation
    on_the_way = math.log(max(steps / recipe.first_evaluation, 1)) / math.log(recipe.evaluation_growth) + 2
    final = evaluation.validation_tokens + evaluation.test_tokens
    return final + (on_the_way * evaluation.stop_tokens if steps else 0.0)


def measure(experiment: Experiment, size: str) -> dict[str, float]:
    """Seconds a step and an evaluated token, and the largest memory (MB) of a process that trains this size."""
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
        trainer = Trainer(Task(shape, recipe, 0, batches, windows), Placement(chosen))

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
        evaluated = seconds(lambda: held_out_loss(trainer.averaged, windows, chosen)) / windows[:, 1:].size
        trainer.state()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds_per_step": step, "seconds_per_evaluated_token": evaluated, "memory_mb": memory}


def estimate(experiment: Experiment, machine: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Seconds (of one core, or one GPU) of every run and job, and what the longest job of each size asks for, from what
    `measure` found."""
    runs: dict[str, dict[str, Any]] = {}
    jobs: dict[str, float] = defaultdict(lambda: START_SECONDS)
    longest: dict[str, float] = defaultdict(float)
    for run in experiment.runs:
        here, steps = machine[run.size], expected_steps(experiment, run)
        evaluation = evaluated_tokens(experiment, steps) * here["seconds_per_evaluated_token"]
        seconds = steps * here["seconds_per_step"] + evaluation
        runs[run.folder] = {"arm": run.arm, "size": run.size, "steps": steps, "seconds": seconds}
        job = experiment.job(run)
        jobs[job] += seconds
        longest[run.size] = max(longest[run.size], jobs[job])
    sizes = {
        size: {
            "mem_mb": math.ceil(MARGIN * here["memory_mb"]) + SNAKEMAKE_MB,
            "runtime": math.ceil(MARGIN * longest[size] / 60) + START_MINUTES,
        }
        for size, here in machine.items()
    }
    return {"machine": machine, "sizes": sizes, "runs": runs, "jobs": dict(jobs)}


def table(found: dict[str, Any], workers: int) -> str:
    """Minutes by size and arm, memory, and the whole on `workers` cores or GPUs."""
    arms = ("pretrain", "finetune", "scratch")
    lines = [f"{'size':>8}{'ms a step':>11}{'MB':>7}" + "".join(f"{arm + ', min':>15}" for arm in arms)]
    for size, here in found["machine"].items():
        minutes = [
            sum(run["seconds"] for run in found["runs"].values() if (run["size"], run["arm"]) == (size, arm)) / 60
            for arm in arms
        ]
        step = 1000 * here["seconds_per_step"]
        lines.append(f"{size:>8}{step:11.2f}{here['memory_mb']:7.0f}" + "".join(f"{m:15.1f}" for m in minutes))
    seconds = list(found["jobs"].values())
    whole = max(sum(seconds) / workers, max(seconds))
    lines.append(
        f"{len(found['runs'])} runs in {len(seconds)} jobs: {sum(seconds) / 3600:.1f} hours of one, about"
        f" {whole / 60:.0f} min of training on {workers}"
    )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--configfile", default="config/config.yaml")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="cores or GPUs that train side by side")
    parser.add_argument("--size", help="measure this size in this process, and print it as JSON")
    given = parser.parse_args(argv)
    try:
        experiment = Experiment.load(given.configfile)
    except ConfigurationError as error:
        raise SystemExit(str(error)) from error
    if given.size:
        print(json.dumps(measure(experiment, given.size)))
        return
    machine = {}
    for size in experiment.shapes:
        print(f"measuring {size} ...", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", __spec__.name, "--configfile", given.configfile, "--size", size]
        measured = subprocess.run(command, env=os.environ | ALLOCATION, stdout=subprocess.PIPE, text=True, check=True)
        machine[size] = json.loads(measured.stdout)
    found = estimate(experiment, machine)
    write_json(Path("results") / experiment.experiment / "estimate.json", found)
    print(table(found, given.workers))


if __name__ == "__main__":
    main()

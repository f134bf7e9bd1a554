"""What an experiment costs on a GPU that is not here: from its published rates, with every assumption named.

The memory of a GPU is that of the trainer's state and of the activations of one micro-batch; that of the host is the
largest data set, which the trainer holds as int64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workflow_scripts.experiment import Experiment
from workflow_scripts.training.expected import Expectation
from workflow_scripts.training.shape import ModelShape

Machine = dict[str, dict[str, float]]
FASTEST_STEP = 0.01
"""Seconds: a small model waits for its kernels to be launched."""
STATE_BYTES = 20
"""A parameter on the GPU, in float32: weights, their average, the gradient, two moments."""
COPY_BYTES = 2
"""A parameter more where products are in bfloat16."""
ACTIVATION_BYTES = 34
"""A token, layer and unit of width, without attention scores (Korthikanti et al. 2022, 2205.05198, table 2); twice that
in float32."""
CHECKPOINT_BYTES = 20
"""A parameter on the disk while its run goes on: weights, average, two moments, best weights."""
WEIGHT_BYTES = 4
TOKEN_BYTES = 2
HOST_MB, HOST_TOKEN_BYTES = 4000, 24
"""A process with CUDA; a token of the data set at its peak: units, set and their sum or ring, in int64."""


@dataclass(frozen=True)
class Gpu:
    """Dense FLOP/s and memory of a data sheet."""

    title: str
    bfloat16: float
    float32: float
    memory_gb: float


GPUS = {
    "a100": Gpu("NVIDIA A100 SXM 80 GB", 312e12, 19.5e12, 80),
    "h100": Gpu("NVIDIA H100 SXM 80 GB", 989e12, 67e12, 80),
    "l40s": Gpu("NVIDIA L40S 48 GB", 362e12, 91.6e12, 48),
}


def machine(experiment: Experiment, gpu: Gpu, utilisation: float, expected: Expectation) -> Machine:
    """Seconds a step and an evaluated token, memory of the host and of the GPU (MB), by size."""
    rate = getattr(gpu, experiment.recipe.precision) * utilisation
    batch = experiment.recipe.batch_sequences * experiment.model.n_ctx
    set_mb = HOST_TOKEN_BYTES * largest_set(experiment, expected) / 1e6
    found = {}
    for size, shape in experiment.shapes.items():
        flops, total = shape.flops_per_token(with_head=True), shape.parameter_counts()["total"]
        found[size] = {
            "seconds_per_step": max(FASTEST_STEP, batch * flops / rate),
            "seconds_per_evaluated_token": flops / 3 / rate,
            "memory_mb": HOST_MB + CHECKPOINT_BYTES * total / 1e6 + set_mb,
            "gpu_memory_mb": gpu_memory(experiment, shape) / 1e6,
        }
    return found


def largest_set(experiment: Experiment, expected: Expectation) -> float:
    """Tokens of the largest set that a run trains on."""
    characters = max(run.characters or 0 for run in (*experiment.runs, *experiment.sweep_runs))
    return max(experiment.pretrain.tokens, characters / expected.characters_per_token)


def gpu_memory(experiment: Experiment, shape: ModelShape) -> float:
    """Bytes."""
    half = experiment.recipe.precision == "bfloat16"
    sequences = experiment.micro_batch or experiment.recipe.batch_sequences
    activations = ACTIVATION_BYTES * (1 if half else 2) * sequences * shape.n_ctx * shape.n_layer * shape.d_model
    return (STATE_BYTES + COPY_BYTES * half) * shape.parameter_counts()["total"] + activations


def table(experiment: Experiment, found: dict[str, Any], gpu: Gpu, utilisation: float, expected: Expectation) -> str:
    """GPU hours by size and arm, memory, jobs and disk, as Markdown with the assumptions below."""
    arms = ("pretrain", "finetune", "scratch")
    lines = [
        "| N | GPU hours: pre-training | fine-tuning | from scratch | longest job, h | GPU memory, GB | host memory, GB | jobs |",
        "|---|---|---|---|---|---|---|---|",
    ]
    hours = dict.fromkeys(arms, 0.0)
    for size, here in found["machine"].items():
        runs = [run for run in found["runs"].values() if run["size"] == size]
        jobs = [seconds / 3600 for job, seconds in found["jobs"].items() if f"/{size}/" in job]
        of_arm = {arm: sum(run["seconds"] for run in runs if run["arm"] == arm) / 3600 for arm in arms}
        hours = {arm: hours[arm] + of_arm[arm] for arm in arms}
        spent = " | ".join(f"{of_arm[arm]:,.0f}" for arm in arms)
        memory = f"{here['gpu_memory_mb'] / 1000:.0f} | {here['memory_mb'] / 1000:.0f}"
        lines.append(f"| {size} | {spent} | {max(jobs):,.0f} | {memory} | {len(jobs)} |")
    spent = " | ".join(f"{hours[arm]:,.0f}" for arm in arms)
    lines.append(f"| all | {spent} | | | | {len(found['jobs'])} |")
    return "\n".join([*lines, "", *_notes(experiment, found, gpu, utilisation, expected)])


def _notes(
    experiment: Experiment, found: dict[str, Any], gpu: Gpu, utilisation: float, expected: Expectation
) -> list[str]:
    totals = {size: shape.parameter_counts()["total"] for size, shape in experiment.shapes.items()}
    weights = sum(WEIGHT_BYTES * totals[run["size"]] for run in found["runs"].values())
    needs = experiment.data_needs()
    characters = expected.characters_per_token
    tokens = sum(
        counts.get("tokens", 0) + counts.get("characters", 0) / characters
        for splits in needs.values()
        for counts in splits.values()
    )
    wide = 1 if experiment.tokenizer.vocab_size <= 2**16 else 2
    over = [size for size, here in found["machine"].items() if here["gpu_memory_mb"] > 1000 * gpu.memory_gb]
    return [
        f"{len(found['runs'])} runs in {len(found['jobs'])} jobs, {sum(found['jobs'].values()) / 3600:,.0f} GPU hours."
        f" Disk: {weights / 1e9:,.0f} GB of weights, {wide * TOKEN_BYTES * tokens / 1e9:,.0f} GB of tokens that are trained"
        f" and judged on, {CHECKPOINT_BYTES * max(totals.values()) / 1e9:,.0f} GB of checkpoint for each job at work on the"
        " largest size.",
        f"Assumed: {gpu.title}, {utilisation:.0%} of {getattr(gpu, experiment.recipe.precision) / 1e12:g} TFLOP/s"
        f" ({experiment.recipe.precision}, dense), no step faster than {1000 * FASTEST_STEP:g} ms; the best point after"
        f" {expected.epochs:g} epochs at every N and D, or after `minimum_epochs`; {characters:g} characters a token.",
        *(
            [f"Does not fit in one GPU: {', '.join(over)}; take `gpu` and `shard`, or a smaller `micro_batch`."]
            if over
            else []
        ),
    ]

"""What an experiment costs on a GPU that is not here: from its published rates, with every assumption named.

The memory of a GPU is that of the trainer's state and of the activations of one micro-batch; that of the host is the
data set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workflow_scripts.experiment import Experiment
from workflow_scripts.training.expected import Expectation, devices_of, set_mb, token_bytes
from workflow_scripts.training.shape import ModelShape

Machine = dict[str, dict[str, float]]
FASTEST_STEP = 0.01
"""Seconds: a small model waits for its kernels to be launched."""
STATE_BYTES = 20
"""A parameter on the GPU, in float32: weights, their average, the gradient, two moments."""
NOISE_BYTES = 8
"""A parameter more while the gradient noise is measured, on three gradients; it is not where weights are in shards."""
COPY_BYTES = 2
"""A parameter more where products are in bfloat16."""
ACTIVATION_BYTES = 34
"""A token, layer and unit of width, without attention scores (Korthikanti et al. 2022, 2205.05198, table 2); twice that
in float32."""
HEAD_BYTES = 2048 * 10
"""An entry of the vocabulary, of the logits in work: float32, with two copies in bfloat16 and one more on its way."""
CHECKPOINT_BYTES = 20
"""A parameter: weights, average, two moments, best weights."""
CHECKPOINTS = 3
"""On the disk while a run goes on: the last two, and the one that is written."""
WEIGHT_BYTES = 4
HOST_MB = 4000
"""A process with CUDA."""


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


def machine(experiment: Experiment, gpu: Gpu, utilisation: float) -> Machine:
    """Seconds a step and an evaluated token, memory of the host and of the GPU (MB), by size.  The GPUs of a job share a step;
    each evaluates all, and finally in float32."""
    rate = getattr(gpu, experiment.recipe.precision) * utilisation
    share = experiment.recipe.batch_sequences * experiment.model.n_ctx / devices_of(experiment)
    found = {}
    for size, shape in experiment.shapes.items():
        flops = shape.flops_per_token(with_head=True)
        found[size] = {
            "seconds_per_step": max(FASTEST_STEP, share * flops / rate),
            "seconds_per_evaluated_token": flops / 3 / rate,
            "seconds_per_final_token": flops / 3 / (gpu.float32 * utilisation),
            "memory_mb": HOST_MB + CHECKPOINT_BYTES * shape.parameter_counts()["total"] / 1e6,
            "gpu_memory_mb": gpu_memory(experiment, shape) / 1e6,
        }
    return found


def gpu_memory(experiment: Experiment, shape: ModelShape) -> float:
    """Bytes on each of a job's devices, which share the batch, and with `shard` the state."""
    half, devices = experiment.recipe.precision == "bfloat16", devices_of(experiment)
    sequences = experiment.recipe.batch_sequences / devices
    sequences = min(experiment.micro_batch or sequences, sequences)
    activations = ACTIVATION_BYTES * (1 if half else 2) * sequences * shape.n_ctx * shape.n_layer * shape.d_model
    in_shards = experiment.shard and devices > 1
    state = STATE_BYTES + COPY_BYTES * half + NOISE_BYTES * (not in_shards)
    return (
        state * shape.parameter_counts()["total"] / (devices if in_shards else 1)
        + activations
        + HEAD_BYTES * shape.vocab_size
    )


def table(experiment: Experiment, found: dict[str, Any], gpu: Gpu, utilisation: float, expected: Expectation) -> str:
    """GPU hours by size and arm, memory, jobs and disk, as Markdown with the assumptions below."""
    arms = ("pretrain", "finetune", "scratch")
    lines = [
        "| N | GPU hours: pre-training | fine-tuning | from scratch | longest job, h | GPU memory, GB | host memory, GB | jobs |",
        "|---|---|---|---|---|---|---|---|",
    ]
    hours, gpus = dict.fromkeys(arms, 0.0), found["devices"]
    for size, here in found["machine"].items():
        runs = [run for run in found["runs"].values() if run["size"] == size]
        jobs = [seconds / 3600 for job, seconds in found["jobs"].items() if f"/{size}/" in job]
        of_arm = {arm: gpus * sum(run["seconds"] for run in runs if run["arm"] == arm) / 3600 for arm in arms}
        hours = {arm: hours[arm] + of_arm[arm] for arm in arms}
        spent = " | ".join(f"{of_arm[arm]:,.0f}" for arm in arms)
        data = max(set_mb(experiment, run, expected) for run in experiment.runs if run.size == size)
        memory = f"{here['gpu_memory_mb'] / 1000:.0f} | {(here['memory_mb'] + data) / 1000:.0f}"
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
    over = [size for size, here in found["machine"].items() if here["gpu_memory_mb"] > 1000 * gpu.memory_gb]
    return [
        f"{len(found['runs'])} runs in {len(found['jobs'])} jobs, {found['devices'] * sum(found['jobs'].values()) / 3600:,.0f} GPU hours."
        f" Disk: {weights / 1e9:,.0f} GB of weights, {token_bytes(experiment) * tokens / 1e9:,.0f} GB of tokens that are trained"
        f" and judged on, {CHECKPOINTS * CHECKPOINT_BYTES * max(totals.values()) / 1e9:,.0f} GB of checkpoints for each job at"
        " work on the largest size.",
        f"Assumed: {gpu.title}, {utilisation:.0%} of {getattr(gpu, experiment.recipe.precision) / 1e12:g} TFLOP/s"
        f" ({experiment.recipe.precision}, dense), no step faster than {1000 * FASTEST_STEP:g} ms; the best point after"
        f" {expected.epochs:g} epochs at every N and D, or after `minimum_epochs`; {characters:g} characters a token.",
        *(
            [f"Does not fit in a GPU: {', '.join(over)}; take more `gpu` and `shard`, or a smaller `micro_batch`."]
            if over
            else []
        ),
    ]

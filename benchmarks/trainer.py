"""Tokens a second of our training step beside two peers: GPT2LMHeadModel in a plain loop, and Hugging Face's Trainer.

python -m benchmarks.trainer [--sizes 6k 25k ...] [--vocabularies 1024 4096 16384] [--batches 4 64] [--out FILE.md]

Same shape, batch (so many sequences of 128 tokens), data, thread (one) and optimizer (fused AdamW, gradients clipped).  Each
contender has a process of its own, in the environment of its user: ours in that of the rules, peers in a plain one, and one
of them in ours too.  They take turns, and the median of the rounds counts.  Peers: `pip install accelerate`.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import transformers

from workflow_scripts.training.data import Batches
from workflow_scripts.training.estimate import ALLOCATION
from workflow_scripts.training.export import gpt2_config
from workflow_scripts.training.loop import Task, Trainer
from workflow_scripts.training.placement import Placement
from workflow_scripts.training.products import product
from workflow_scripts.training.recipe import Recipe
from workflow_scripts.training.shape import ModelShape

SIZES = {"6k": (2, 16), "25k": (2, 32), "98k": (2, 64), "332k": (3, 96), "786k": (4, 128), "5M": (6, 256)}
N_CTX = 128
RECIPE = Recipe(
    batch_sequences=4,
    learning_rate=1e-3,
    reference_n_params=24_576,
    learning_rate_n_exponent=0,
    beta_1=0.9,
    beta_2=0.95,
    weight_decay=0.1,
    warmup_steps=10,
    averaging_power=8,
    first_evaluation=10**9,
    evaluation_growth=2,
    patience=2,
    tolerance=0.01,
    minimum_epochs=1,
    budget_epochs=10**6,
)
Contender = Callable[[int], float]
"""Trains so many steps, returns the seconds they took."""


def ours(shape: ModelShape, sequences: int, tokens: np.ndarray, precision: str) -> Contender:
    batches = Batches(tokens, N_CTX, sequences, seed=0)
    recipe = RECIPE.model_copy(update={"precision": precision, "batch_sequences": sequences})
    trainer = Trainer(Task(shape, recipe, 0, batches, stop_windows=tokens[None, : N_CTX + 1]), Placement(CPU))

    def run(steps: int) -> float:
        started = time.perf_counter()
        for _ in range(steps):
            trainer.train_step()
        return time.perf_counter() - started

    return run


def peer(shape: ModelShape) -> transformers.GPT2LMHeadModel:
    configuration = gpt2_config(vars(shape), end_of_text=0) | {"use_cache": False}  # a cache of keys is for generating
    del configuration["architectures"]
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**configuration)).train()


def plain_loop(shape: ModelShape, sequences: int, tokens: np.ndarray, precision: str) -> Contender:
    model, batches = peer(shape), Batches(tokens, N_CTX, sequences, seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    done = 0

    def run(steps: int) -> float:
        nonlocal done
        started = time.perf_counter()
        for _ in range(steps):
            ids = torch.from_numpy(batches[done][:, :-1])
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                loss = model(input_ids=ids, labels=ids).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            done += 1
        return time.perf_counter() - started

    return run


def hugging_face_trainer(shape: ModelShape, sequences: int, tokens: np.ndarray, precision: str) -> Contender:
    model = peer(shape)
    windows = tokens[: len(tokens) // N_CTX * N_CTX].reshape(-1, N_CTX)
    dataset = [{"input_ids": row, "labels": row} for row in windows]

    def run(steps: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            arguments = transformers.TrainingArguments(
                folder,
                max_steps=steps,
                per_device_train_batch_size=sequences,
                optim="adamw_torch_fused",
                bf16=precision == "bfloat16",
                use_cpu=True,
                report_to="none",
                disable_tqdm=True,
                save_strategy="no",
                logging_strategy="no",
            )
            return transformers.Trainer(model, arguments, train_dataset=dataset).train().metrics["train_runtime"]

    return run


TUNED = "plain loop in our environment"
CONTENDERS = {
    "ours": (ours, ALLOCATION),
    "plain loop": (plain_loop, {}),
    "HF Trainer": (hugging_face_trainer, {}),
    TUNED: (plain_loop, ALLOCATION),
}
"""What trains, and the environment that its user has."""
PEERS = ("plain loop", "HF Trainer")
CPU = torch.device("cpu")


def peak(dtype: torch.dtype, rounds: int = 9, width: int = 1024) -> float:
    """Measured FLOPs a second of a square matrix product, by the faster library."""
    a = b = torch.randn(width, width).to(dtype)
    seconds = []
    for multiply in [torch.matmul, product] * rounds:
        started = time.perf_counter()
        multiply(a, b)
        seconds.append(time.perf_counter() - started)
    return 2 * width**3 / min(seconds)


def serve(connection: Connection, name: str, shape: ModelShape, sequences: int, precision: str) -> None:
    """Trains as many steps as it is told and answers with the seconds, until it is told 0; a few first, to say that it can."""
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    tokens = np.random.default_rng(0).integers(0, shape.vocab_size, 50_000)
    run = CONTENDERS[name][0](shape, sequences, tokens, precision)
    connection.send(run(3))
    while steps := connection.recv():
        connection.send(run(steps))


@contextmanager
def contender(
    name: str, shape: ModelShape, sequences: int, precision: str
) -> Iterator[tuple[Callable[[], float], Contender]]:
    """A process in the environment of its user: what waits until it is ready, and the contender."""
    here, there = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=serve, args=(there, name, shape, sequences, precision), daemon=True)
    with mock.patch.dict(os.environ):
        for variable in ALLOCATION:
            os.environ.pop(variable, None)
        os.environ.update(CONTENDERS[name][1])
        process.start()
    there.close()

    def run(steps: int) -> float:
        here.send(steps)
        return here.recv()

    yield here.recv, run
    here.send(0)
    process.join()


def compare(shape: ModelShape, sequences: int, seconds: float, rounds: int) -> dict[tuple[str, str], float]:
    """Tokens a second by (contender, precision); every contender trains about `seconds` a round."""
    with ExitStack() as held:
        started = {
            (name, precision): held.enter_context(contender(name, shape, sequences, precision))
            for name in CONTENDERS
            for precision in ("float32", "bfloat16")
        }
        for ready, _ in started.values():
            ready()
        runs = {key: run for key, (_, run) in started.items()}
        steps = {key: max(2, round(seconds * 2 / run(2))) for key, run in runs.items()}
        taken: dict[tuple[str, str], list[float]] = {key: [] for key in runs}
        for _ in range(rounds):
            for key, run in runs.items():
                taken[key].append(run(steps[key]) / steps[key])
    return {key: sequences * N_CTX / statistics.median(times) for key, times in taken.items()}


HEADER = [
    "batch",
    "N",
    "vocabulary",
    *CONTENDERS,
    "ratio to the faster peer",
    "in our environment",
    "of peak",
    "ours bf16",
    "best bf16 peer",
    "of bf16 peak",
]


def row(
    size: str, vocabulary: int, sequences: int, peaks: dict[str, float], rate: dict[tuple[str, str], float]
) -> list[str]:
    n_layer, d_model = SIZES[size]
    flops = ModelShape(n_layer, d_model, 2, N_CTX, vocabulary).flops_per_token(with_head=True)
    best = {precision: max(rate[name, precision] for name in PEERS) for precision in peaks}
    of_peak = {precision: rate["ours", precision] * flops / peaks[precision] for precision in peaks}
    return [
        f"{sequences} x {N_CTX}",
        size,
        f"{vocabulary:,}",
        *(f"{rate[name, 'float32'] / 1e3:.1f}" for name in CONTENDERS),
        f"{rate['ours', 'float32'] / best['float32']:.2f}",
        f"{rate['ours', 'float32'] / rate[TUNED, 'float32']:.2f}",
        f"{of_peak['float32']:.0%}",
        f"{rate['ours', 'bfloat16'] / 1e3:.1f}",
        f"{best['bfloat16'] / 1e3:.1f}",
        f"{of_peak['bfloat16']:.0%}",
    ]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--vocabularies", nargs="+", type=int, default=[1024, 4096, 16384])
    parser.add_argument("--batches", nargs="+", type=int, default=[4, 64], help="sequences in each")
    parser.add_argument("--seconds", type=float, default=1.0, help="of every contender in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="the table in Markdown")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    peaks = {"float32": peak(torch.float32), "bfloat16": peak(torch.bfloat16)}
    lines = [
        f"Matrix-product peak of one thread: {peaks['float32'] / 1e9:.0f} GFLOP/s float32, "
        f"{peaks['bfloat16'] / 1e9:.0f} bfloat16. Thousands of tokens a second.",
        "",
        f"| {' | '.join(HEADER)} |",
        "|---" * len(HEADER) + "|",
    ]
    print(*lines, sep="\n", flush=True)
    for sequences, vocabulary, size in itertools.product(arguments.batches, arguments.vocabularies, arguments.sizes):
        n_layer, d_model = SIZES[size]
        shape = ModelShape(n_layer, d_model, 2, N_CTX, vocabulary)
        rate = compare(shape, sequences, arguments.seconds, arguments.rounds)
        lines.append(f"| {' | '.join(row(size, vocabulary, sequences, peaks, rate))} |")
        print(lines[-1], flush=True)
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

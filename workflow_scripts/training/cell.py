"""One run: from its declared choices to its weights, its learning curve and its record.

The specification of a run is `Experiment.specification`: model, data, seed, recipe, evaluation, initial weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from workflow_scripts.training.data import Batches, Corpus, TokenSet, windows
from workflow_scripts.training.loop import Progress, Task, Trained, TrainingFailure, held_out_loss, train
from workflow_scripts.training.model import GPT
from workflow_scripts.training.noise_scale import noise_scale
from workflow_scripts.training.placement import Placement
from workflow_scripts.training.recipe import Recipe
from workflow_scripts.training.shape import ModelShape

HELD_OUT_SEED = 0
SPIKE_NATS = 0.5
SPIKE_NORM = 20.0
"""Largest gradient norm over the mean norm around it; the 186 runs of the quickstart stay below 7."""
SPIKE_STEPS = 10


@dataclass
class Cell:
    """A run's declared choices beside what they refer to."""

    specification: Mapping[str, Any]
    corpus: Corpus
    initial: dict[str, Tensor] | None
    """Pre-trained weights; None for random ones."""

    def __post_init__(self) -> None:
        self.shape = ModelShape(**self.specification["model"])
        self.recipe = Recipe(**self.specification["recipe"])
        self.evaluation = self.specification["evaluation"]

    def training_set(self) -> TokenSet | None:
        """None where D is 0: the initial weights are measured as they are."""
        data = self.specification["data"]
        if data.get("characters") == 0:
            return None
        size = {key: data[key] for key in ("characters", "tokens") if key in data}
        return self.corpus.prefix("train", data["unit_tokens"], self.specification["seed"], **size)

    def held_out(self, split: str, tokens: int) -> np.ndarray:
        return held_out(self.corpus, split, self.evaluation["unit_tokens"], tokens, self.shape.n_ctx)

    def run(
        self, state: Path, placement: Placement, checkpoint_seconds: float, stop_requested: Callable[[], bool]
    ) -> tuple[Trained, dict[str, Any]]:
        """The best weights and the record.  A failure of the training is a record too: the cell is not dropped.

        Raises Preempted if `stop_requested` says so.
        """
        data, n_params = self.training_set(), self.shape.parameter_counts()["body"]
        tokens = len(data.tokens) if data else 0
        sequences = self.recipe.sequences_of(tokens, self.shape.n_ctx) if data else 0
        record: dict[str, Any] = {
            "parameters": self.shape.parameter_counts(),
            "learning_rate": self.recipe.peak_learning_rate(n_params, tokens) if data else None,
            "weight_decay": self.recipe.weight_decay_of(n_params, tokens) if data else None,
            "batch_tokens": sequences * self.shape.n_ctx if data else None,
            "data": {
                "characters": data.characters if data else 0,
                "bytes": data.bytes if data else 0,
                "tokens": tokens,
                "units": data.units if data else 0,
            },
        }
        try:
            if data is None:
                trained = Trained(self.initial, Progress(), "plan")
            else:
                trained = train(
                    self._task(data, sequences), state, placement, checkpoint_seconds, stop_requested=stop_requested
                )
        except TrainingFailure as failure:
            trained = Trained({}, failure.progress, "failure")
            return trained, record | {"status": "failed", "failure": str(failure), "outcome": None}
        outcome = self._measure(trained, placement) | self._effort(trained.progress, tokens, sequences)
        return trained, record | {"status": "ok", "failure": None, "outcome": outcome}

    def _task(self, data: TokenSet, sequences: int) -> Task:
        seed = self.specification["seed"]
        return Task(
            shape=self.shape,
            recipe=self.recipe,
            seed=seed,
            batches=Batches(data.tokens, self.shape.n_ctx, sequences, seed),
            stop_windows=self.held_out("validation", self.evaluation["stop_tokens"]),
            one_pass="tokens" in self.specification["data"],
            initial_weights=self.initial,
            trainable=self.specification["trainable"],
        )

    def _measure(self, trained: Trained, placement: Placement) -> dict[str, Any]:
        """Losses at the best weights on full passes: nats a token, and bits a byte of the text behind the targets."""
        model = GPT(self.shape).requires_grad_(False)
        model.load_state_dict(trained.weights)
        device = placement.device
        model.to(device)
        test = self.held_out("test", self.evaluation["test_tokens"])
        test_loss = held_out_loss(model, test, device)
        targets = test[:, 1:]
        validation = self.held_out("validation", self.evaluation["validation_tokens"])
        return {
            "val_loss": held_out_loss(model, validation, device),
            "test_loss": test_loss,
            "test_bits_per_byte": test_loss * targets.size / (np.log(2) * int(self.corpus.bytes_of[targets].sum())),
            "stopped_by": trained.stopped_by,
        }

    def _effort(self, progress: Progress, tokens: int, sequences: int) -> dict[str, Any]:
        """What it took to reach the best point, and whether the way there was smooth."""
        batch_tokens = sequences * self.shape.n_ctx
        best_tokens = progress.best_step * batch_tokens
        critical = noise_scale(progress.curve, progress.best_step, sequences, self.shape.n_ctx)
        loss_spike, gradient_spike = largest_rise(progress.curve), largest_norm(progress.curve)
        return {
            "best_step": progress.best_step,
            "best_tokens": best_tokens,
            "best_epoch": best_tokens / tokens if tokens else 0.0,
            "steps": progress.step,
            "loss_spike": loss_spike,
            "gradient_spike": gradient_spike,
            "noise_scale_tokens": critical,
            "batch_above_noise_scale": critical is not None and batch_tokens > critical,
            "unstable": loss_spike > SPIKE_NATS or gradient_spike > SPIKE_NORM,
            "flops": best_tokens * self.shape.flops_per_token(with_head=False),
            "flops_with_head": best_tokens * self.shape.flops_per_token(with_head=True),
            "seconds": progress.seconds,
            "evaluation_seconds": progress.evaluation_seconds,
        }


@cache
def held_out(corpus: Corpus, split: str, unit_tokens: int | None, tokens: int, n_ctx: int) -> np.ndarray:
    """The same windows (n, n_ctx + 1) for every run of an experiment, from units of all held-out documents."""
    return windows(corpus.prefix(split, unit_tokens, HELD_OUT_SEED, tokens=tokens).tokens, n_ctx)


def largest_rise(curve: list[dict[str, Any]]) -> float:
    """Largest rise (nats) of the training loss between evaluations above the lowest mean before it.

    Intervals of fewer than 10 steps are too noisy to count.
    """
    lowest, largest = np.inf, 0.0
    for row in _long_intervals(curve):
        largest = max(largest, row["train_loss"] - lowest)
        lowest = min(lowest, row["train_loss"])
    return float(largest)


def largest_norm(curve: list[dict[str, Any]]) -> float:
    """Largest ratio of a gradient norm to the mean norm between the evaluations around it."""
    return max((row["largest_gradient_norm"] / row["gradient_norm"] for row in _long_intervals(curve)), default=0.0)


def _long_intervals(curve: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for before, row in pairwise(curve):
        if row["step"] - before["step"] >= SPIKE_STEPS:
            yield row

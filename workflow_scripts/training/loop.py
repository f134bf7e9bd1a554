"""One training run: from declared choices and tokens to the weights at the best validation loss.

Pre-training, training from scratch and fine-tuning are this one function; they differ in the data, in the initial
weights, and in that pre-training is one pass over its data and has no patience.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from workflow_scripts.training.checkpoint import load_checkpoint, save_checkpoint
from workflow_scripts.training.data import Batches, DataError
from workflow_scripts.training.model import GPT, Dropout
from workflow_scripts.training.noise_scale import squared_norms
from workflow_scripts.training.optimizer import AdamW
from workflow_scripts.training.placement import Placement, like, most_sequences, whole
from workflow_scripts.training.recipe import Recipe
from workflow_scripts.training.shape import ModelShape

EVALUATION_SEQUENCES = 16
NOISE_STEPS = 20
"""The gradient noise is measured at evaluations that are at least so many steps apart: it costs more than one."""


class TrainingFailure(RuntimeError):
    """The run cannot go on: its loss or gradient is not finite.  `progress` is how far it came."""

    def __init__(self, words: str, progress: Progress) -> None:
        super().__init__(words)
        self.progress = progress


class Preempted(Exception):
    """The process was asked to stop.  Nothing is lost: started again, it goes on."""


@dataclass(frozen=True)
class Task:
    """What is trained, on what, judged by what."""

    shape: ModelShape
    recipe: Recipe
    seed: int
    batches: Batches
    stop_windows: np.ndarray
    """Held-out windows (n, n_ctx + 1) whose loss decides when to stop."""
    one_pass: bool = False
    """Over the data, as in pre-training."""
    initial_weights: dict[str, Tensor] | None = None
    trainable: str = "all"
    """What is trained: see `GPT.train_only`."""

    @property
    def epoch_steps(self) -> float:
        return self.batches.windows / self.batches.sequences

    @property
    def has_a_plan(self) -> bool:
        """Whether the run goes to its last step, whatever its loss: over its one pass, or to where its rate has fallen."""
        return self.one_pass or not self.recipe.has_patience

    @property
    def planned_steps(self) -> int:
        return max(1, math.floor((1 if self.one_pass else self.recipe.budget_epochs) * self.epoch_steps))


@dataclass
class Progress:
    """Where a run stands, apart from its tensors."""

    step: int = 0
    best_step: int = 0
    best_loss: float = math.inf
    improved_step: int = 0
    """Step and loss of the last improvement by at least the tolerance."""
    improved_loss: float = math.inf
    next_evaluation: int = 0
    seconds: float = 0.0
    evaluation_seconds: float = 0.0
    """Of `seconds`, those of the evaluations, the gradient noise included that is measured there.  A GPU works on: what an
    evaluation has to wait for counts there."""
    curve: list[dict[str, float | int | None]] = field(default_factory=list)


@dataclass(frozen=True)
class Trained:
    weights: dict[str, Tensor]
    """Averaged weights at the lowest validation loss; the initial weights are a candidate."""
    progress: Progress
    stopped_by: str
    """`patience`, `budget`, or `plan` (`Task.has_a_plan`)."""


@torch.inference_mode()
def held_out_loss(model: GPT, windows: np.ndarray, device: torch.device) -> float:
    """Mean loss (nats a token) over windows (n, n_ctx + 1) in their order: same weights, same number."""
    total, sequences = 0.0, min(EVALUATION_SEQUENCES, most_sequences(device, model.shape))
    for start in range(0, len(windows), sequences):
        tokens = torch.from_numpy(windows[start : start + sequences]).to(device)
        total += model(tokens[:, :-1], tokens[:, 1:]).item() * len(tokens)
    return total / len(windows)


class Trainer:
    """A model, its average, its optimizer, and the best weights so far."""

    def __init__(self, task: Task, placement: Placement) -> None:
        self.task, self.placement, self.device = task, placement, placement.device
        self.model = GPT(task.shape)
        self.model.initialise(task.seed)
        if task.initial_weights is not None:
            self.model.load_state_dict(task.initial_weights)
        if not placement.in_shards:  # which move to the device block by block: a whole model may not fit there
            self.model.to(self.device)
        self.averaged = placement.shard(copy.deepcopy(self.model).requires_grad_(False))
        self.model.train_only(task.trainable)
        self.wrapped = placement.wrap(self.model)
        pairs = zip(self.model.parameters(), self.averaged.parameters(), strict=True)
        trained = [(parameter, average) for parameter, average in pairs if parameter.requires_grad]
        self.parameters, self.averages = map(list, zip(*trained, strict=True))
        n_params = task.shape.parameter_counts()["body"]
        self.peak_learning_rate = task.recipe.peak_learning_rate(n_params, task.batches.length)
        decay = task.recipe.weight_decay_of(n_params, task.batches.length)
        self.optimizer = AdamW(self.parameters, task.recipe, decay)
        self.best = self._copy_of_average()
        self.progress = Progress()
        self.interval = self._empty_interval()

    def _copy_of_average(self) -> dict[str, Tensor]:
        return {name: tensor.detach().cpu().clone() for name, tensor in whole(self.averaged.state_dict()).items()}

    def _empty_interval(self) -> dict[str, Tensor]:
        """Sums over the steps since the last evaluation, kept on the device: reading them waits for it.

        `sound` is 1 until the first loss or gradient that is not finite.
        """
        names = ("steps", "sound_steps", "loss", "gradient_norm", "largest_norm")
        zeros = {name: torch.zeros((), device=self.device) for name in names}
        return {**zeros, "sound": torch.ones((), device=self.device)}

    def train_step(self) -> None:
        """One update; none from the first loss or gradient on that is not finite, as `require_sound_steps` then says."""
        recipe, progress = self.task.recipe, self.progress
        loss = self._gradient(self.task.batches[progress.step])
        norm = self.optimizer.gradient_norm()
        sound = self.interval["sound"].mul_(torch.isfinite(loss + norm))
        self.optimizer.step(self._learning_rate_at(progress.step), norm, sound)
        progress.step += 1
        with torch.no_grad():
            torch._foreach_lerp_(self.averages, self.parameters, recipe.averaging_weight(progress.step))
            self.interval["steps"] += 1
            self.interval["sound_steps"] += sound
            self.interval["loss"] += loss
            self.interval["gradient_norm"] += norm
            torch.maximum(self.interval["largest_norm"], norm, out=self.interval["largest_norm"])

    def _learning_rate_at(self, step: int) -> float:
        return self.peak_learning_rate * self.task.recipe.share_of_peak(step, self.task.planned_steps)

    def _gradient(self, batch: np.ndarray) -> Tensor:
        """Leaves the gradient of the batch's mean loss in `.grad`, returns that loss; the batch is (B, T + 1)."""
        parts = self.placement.parts(batch, self.task.shape)
        loss = torch.zeros((), device=self.device)
        for part, dropout in zip(parts, self._dropout(parts), strict=True):
            with self.placement.without_exchange(self.wrapped, last=part is parts[-1]), self.precision():
                part_loss = self.wrapped(part[:, :-1], part[:, 1:], dropout) * (len(part) / sum(map(len, parts)))
            part_loss.backward()
            loss += part_loss.detach()
        return self.placement.mean(loss)

    def _dropout(self, parts: Sequence[Tensor]) -> list[Dropout | None]:
        """Of each micro-batch of this step; None without any."""
        if not self.task.recipe.dropout:
            return [None] * len(parts)
        stream = np.random.Philox(key=[self.task.seed, self.progress.step])
        keys = stream.random_raw(self.task.batches.sequences).view(np.int64)
        keys = self.placement.parts(keys, self.task.shape)
        return [Dropout(self.task.recipe.dropout, part) for part in keys]

    def precision(self) -> torch.autocast:
        """Of the products inside the block."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.task.recipe.precision == "bfloat16")

    def measure_noise(self) -> tuple[float | None, float | None]:
        """Of the gradients of the next batch without dropout, by halves; unknown where weights are in shards, or where the batch
        is one sequence."""
        if self.placement.in_shards or self.task.batches.sequences == 1:
            return None, None
        batch = torch.from_numpy(self.task.batches[self.progress.step]).to(self.device)
        sequences = self.placement.sequences_a_pass(len(batch), self.task.shape)
        with self.precision():
            return squared_norms(self.model, self.parameters, batch, sequences)

    def evaluate(self) -> None:
        """Judges the averaged weights, keeps them if they are the best so far, adds a row to the curve.

        Processes judge by the mean of their losses, which unlike devices may round otherwise: they must decide alike.
        Raises TrainingFailure if something was not finite since the last time.
        """
        recipe, progress = self.task.recipe, self.progress
        self.require_sound_steps()
        with self.precision():
            loss = held_out_loss(self.averaged, self.task.stop_windows, self.device)
        loss = self.placement.mean(torch.tensor(loss, dtype=torch.float64, device=self.device)).item()
        if not math.isfinite(loss):
            raise self._failure(progress.step, "the validation loss is not finite")
        steps = int(self.interval["steps"].item())
        square_half, square_batch = self.measure_noise() if steps >= NOISE_STEPS else (None, None)
        progress.curve.append(
            {
                "step": progress.step,
                "tokens": progress.step * self.task.batches.sequences * self.task.shape.n_ctx,
                "validation_loss": loss,
                "train_loss": self.interval["loss"].item() / steps if steps else None,
                "gradient_norm": self.interval["gradient_norm"].item() / steps if steps else None,
                "largest_gradient_norm": self.interval["largest_norm"].item() if steps else None,
                "gradient_square_half": square_half,
                "gradient_square_batch": square_batch,
            }
        )
        self.interval = self._empty_interval()
        if loss < progress.best_loss:
            progress.best_loss, progress.best_step = loss, progress.step
            self.best = self._copy_of_average()
        if loss < progress.improved_loss - recipe.tolerance:
            progress.improved_loss, progress.improved_step = loss, progress.step
        progress.next_evaluation = recipe.next_evaluation(progress.step)

    def require_sound_steps(self) -> None:
        """Raises TrainingFailure if a loss or a gradient was not finite since the last evaluation."""
        lost = int((self.interval["steps"] - self.interval["sound_steps"]).item())
        if lost:
            raise self._failure(self.progress.step - lost, "the loss or its gradient is not finite")

    def _failure(self, step: int, what: str) -> TrainingFailure:
        words = f"step {step}: {what}, at learning rate {self._learning_rate_at(step):.3g}"
        if self.progress.curve:
            good = self.progress.curve[-1]
            words += (
                f"; the last good evaluation was at step {good['step']}, validation loss {good['validation_loss']:.3f}"
            )
        return TrainingFailure(words, self.progress)

    def stopped_by(self) -> str | None:
        task, progress = self.task, self.progress
        if task.has_a_plan:
            return "plan" if progress.step >= task.planned_steps else None
        if task.recipe.out_of_patience(progress.step, progress.improved_step, task.epoch_steps):
            return "patience"
        return "budget" if progress.step >= task.planned_steps else None

    def state(self) -> dict[str, Any]:
        """Everything a resumed run needs, gathered from all devices; of what is in shards the first process alone keeps it."""
        first = self.placement.rank == 0
        return {
            "model": whole(self.model.state_dict(), keep=first),
            "averaged": whole(self.averaged.state_dict(), keep=first),
            "optimizer": whole(self.optimizer.state(), keep=first),
            "best": self.best,
            "interval": self.interval,
            "progress": vars(self.progress),
        }

    def restore(self, state: dict[str, Any]) -> None:
        for module, weights in ((self.model, state["model"]), (self.averaged, state["averaged"])):
            present = module.state_dict()
            module.load_state_dict({name: like(tensor, present[name]) for name, tensor in weights.items()})
        self.optimizer.restore(state["optimizer"])
        self.best = state["best"]
        self.interval = {name: tensor.to(self.device) for name, tensor in state["interval"].items()}
        self.progress = Progress(**state["progress"])


def train(
    task: Task,
    state_folder: Path,
    placement: Placement,
    checkpoint_seconds: float = 60.0,
    clock: Callable[[], float] = time.monotonic,
    stop_requested: Callable[[], bool] = lambda: False,
) -> Trained:
    """Trains until patience, plan or budget ends, going on from the checkpoint in `state_folder` if there is one.

    Raises TrainingFailure if a loss or a gradient is not finite, Preempted if `stop_requested` says so, DataError if the
    processes of a job find different checkpoints.
    """
    state = load_checkpoint(state_folder)
    step = state["progress"]["step"] if state else 0
    if not placement.same(step):
        raise DataError(
            f"{state_folder}: the processes of this job find different checkpoints there (this one's is of step {step:,});"
            " start it again when the file system shows them the same files"
        )
    trainer = Trainer(task, placement)
    if state is not None:
        trainer.restore(state)
        state = None  # as large as the model, its average and the optimizer together
    progress = trainer.progress
    started, saved = clock() - progress.seconds, clock()

    def evaluate() -> None:
        began = clock()
        trainer.evaluate()
        progress.evaluation_seconds += clock() - began

    if progress.step == 0:
        evaluate()
    while True:
        trainer.train_step()
        stopped_by = None
        if progress.step >= progress.next_evaluation or progress.step >= task.planned_steps:
            evaluate()
            stopped_by = trainer.stopped_by()
        progress.seconds = clock() - started
        if stopped_by:
            return Trained(trainer.best, progress, stopped_by)
        leave = stop_requested()
        if placement.agree(progress.step, leave or clock() - saved > checkpoint_seconds):
            trainer.require_sound_steps()
            state = trainer.state()
            if placement.rank == 0:
                save_checkpoint(state_folder, state)
            state, saved = None, clock()
            if placement.agree(progress.step, leave):
                raise Preempted(f"asked to stop at step {progress.step}; its checkpoint is saved")

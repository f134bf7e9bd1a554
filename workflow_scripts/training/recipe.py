"""How a run is trained: one recipe for both arms, every size and every D (DESIGN: rule 1).

The constants stand in the configuration; what they mean stands here, and where each comes from in docs/trainer.md.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

COSINE_FLOOR = 0.1
"""Last learning rate of the cosine schedule over its peak (Hoffmann et al. 2022)."""
DECAY_SHARE = 0.2
"""Share of the steps in which warm-up-stable-decay goes linearly to zero (Hägele et al. 2024)."""


class Recipe(BaseModel):
    """One policy of batch, rate, stopping and regularisation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    batch_sequences: int = Field(gt=0)
    """Sequences of n_ctx tokens a step, of every set that fills `steps_an_epoch` such batches."""
    steps_an_epoch: int = Field(1, gt=0)
    """At least: a set too small for so many steps has smaller batches, down to one sequence, the same in both arms and at all N
    (docs/trainer.md).  Of tokens, of which the sets of two seeds hold a few more or less."""
    learning_rate: float = Field(gt=0)
    """AdamW's, for `reference_n_params` parameters and a data set of `reference_tokens` tokens."""
    reference_n_params: int = Field(gt=0)
    reference_tokens: int | None = Field(None, gt=0)
    """Needed where a power of the data is not 0."""
    learning_rate_n_exponent: float = Field(le=0)
    """Power of N / reference_n_params in the learning rate."""
    learning_rate_d_exponent: float = 0.0
    """Power of the data set's tokens over `reference_tokens` in the learning rate."""
    schedule: Literal["averaged", "cosine", "warmup_stable_decay"] = "averaged"
    """`averaged`: a constant rate; the weights that are judged are an average over the run's tail.  It stands in for a
    cool-down whose length would have to be known beforehand, so one run serves early stopping and its whole curve
    (measured in docs/trainer.md).  The other two lower the rate towards the end of `budget_epochs` (of the data, in
    pre-training), which every run then trains to, without patience, and judge the weights themselves."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of matrix products; weights, their average and the optimizer stay in float32."""
    beta_1: float = Field(ge=0, lt=1)
    beta_2: float = Field(ge=0, lt=1)
    """AdamW's, of the means of gradients and of their squares."""
    weight_decay: float = Field(ge=0)
    """AdamW's, for the same references as the learning rate; of matrices and embeddings, not of norms and biases."""
    weight_decay_n_exponent: float = 0.0
    """Power of N / reference_n_params in the weight decay."""
    weight_decay_d_exponent: float = 0.0
    """Power of the data set's tokens over `reference_tokens` in the weight decay.  Less data wants more of it: at -1 the time
    over which AdamW averages its updates is as many epochs for all (Wang & Aitchison 2024, 2405.13698)."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the entries left out, while training, of the embeddings and of what each attention and MLP adds to them:
    GPT-2's, but that attention weights stay.  A step takes a quarter longer with it."""
    gradient_clip: float = Field(1.0, gt=0)
    """Largest norm of all gradients as one vector: longer ones are shortened to it."""
    warmup_steps: int = Field(gt=0)
    """In which the rate rises in a straight line to its peak."""
    averaging_power: float = Field(gt=0)
    """gamma of the power-law average: step t has weight t^gamma, a mean age of t / (gamma + 2) steps
    (Karras et al. 2024, 2312.02696, eq. 4)."""
    evaluation_growth: float = Field(gt=1)
    """Each evaluation comes this factor later than the one before."""
    first_evaluation: int = Field(gt=0)
    """Step of the first after that of the initial weights."""
    patience: float = Field(gt=1)
    """A run stops when this factor more steps brought no improvement by `tolerance`."""
    tolerance: float = Field(ge=0)
    """Improvement of the validation loss (nats a token) that counts against patience."""
    minimum_epochs: float = Field(gt=0)
    """No run loses its patience before this many epochs (times `patience`).  Without it pre-trained weights, whose loss
    falls slowly from the start, would be stopped earlier than random ones."""
    minimum_steps: int | None = Field(None, gt=0)
    """Where so many epochs are more steps than this, these steps suffice."""
    budget_epochs: float = Field(gt=0)
    """Where a run ends even with patience left; it is then marked `hit_budget`, unless its schedule ends there."""

    @model_validator(mode="after")
    def _powers_have_a_reference(self) -> Recipe:
        if self.reference_tokens is None and (self.learning_rate_d_exponent or self.weight_decay_d_exponent):
            raise ValueError("reference_tokens is missing: the powers of the data are of its tokens over that many")
        return self

    def sequences_of(self, tokens: int, n_ctx: int) -> int:
        """Of a batch, on a data set of so many tokens."""
        return max(1, min(self.batch_sequences, tokens // n_ctx // self.steps_an_epoch))

    def peak_learning_rate(self, n_params: int, tokens: int) -> float:
        """For N = `n_params` on a data set of so many tokens."""
        size, data = self._over_references(n_params, tokens)
        return self.learning_rate * size**self.learning_rate_n_exponent * data**self.learning_rate_d_exponent

    def weight_decay_of(self, n_params: int, tokens: int) -> float:
        size, data = self._over_references(n_params, tokens)
        return self.weight_decay * size**self.weight_decay_n_exponent * data**self.weight_decay_d_exponent

    def _over_references(self, n_params: int, tokens: int) -> tuple[float, float]:
        return n_params / self.reference_n_params, tokens / (self.reference_tokens or tokens)

    @property
    def has_patience(self) -> bool:
        """Whether a run may end before its budget: not where the rate falls towards it."""
        return self.schedule == "averaged"

    def share_of_peak(self, step: int, planned_steps: int) -> float:
        """Learning rate of update number `step` (from 0) of at most `planned_steps`, over the peak."""
        left = max(0.0, 1.0 - step / planned_steps)
        shape = {
            "averaged": 1.0,
            "cosine": COSINE_FLOOR + (1 - COSINE_FLOOR) * (1 - math.cos(math.pi * left)) / 2,
            "warmup_stable_decay": min(1.0, left / DECAY_SHARE),
        }[self.schedule]
        return shape * min(1.0, (step + 1) / self.warmup_steps)

    def averaging_weight(self, step: int) -> float:
        """Weight of the newest weights in the average after update number `step` (from 1)."""
        if self.schedule != "averaged":
            return 1.0
        return 1.0 - (1.0 - 1.0 / step) ** (self.averaging_power + 1)

    def next_evaluation(self, step: int) -> int:
        return max(self.first_evaluation, math.ceil(step * self.evaluation_growth))

    def out_of_patience(self, step: int, last_improvement: int, epoch_steps: float) -> bool:
        return step >= self.patience * max(last_improvement, self.least_steps(epoch_steps))

    def least_steps(self, epoch_steps: float) -> float:
        """No run loses its patience before this many steps (times `patience`), and none inside its warm-up."""
        return max(self.warmup_steps, min(self.minimum_epochs * epoch_steps, self.minimum_steps or math.inf))

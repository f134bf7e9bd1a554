"""How a run is trained: one recipe for both arms, every size and every D (DESIGN: rule 1).

The constants stand in the configuration; what they mean, and where each comes from, stands here.
"""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict, Field


class Recipe(BaseModel):
    """A constant learning rate after a short warm-up; the weights that are judged are an average over the run's tail.

    An average over the last tenth or so of the steps, at any time, stands in for a cool-down whose length would have to
    be known beforehand: one run serves early stopping and its whole learning curve (measured in docs/trainer.md).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    batch_sequences: int = Field(gt=0)
    """Sequences of n_ctx tokens a step, the same for every D: small enough for the smallest set."""
    learning_rate: float = Field(gt=0)
    """AdamW's, for a model of `reference_n_params` parameters."""
    reference_n_params: int = Field(gt=0)
    learning_rate_exponent: float = Field(le=0)
    """Power of N / reference_n_params in the learning rate of a model of N parameters."""
    beta_1: float = Field(0.9, ge=0, lt=1)
    beta_2: float = Field(0.95, ge=0, lt=1)
    weight_decay: float = Field(ge=0)
    """Applied to matrices and embeddings, not to norms and biases."""
    gradient_clip: float = Field(1.0, gt=0)
    warmup_steps: int = Field(gt=0)
    averaging_power: float = Field(gt=0)
    """gamma of the power-law average: step t has weight t^gamma, a mean age of t / (gamma + 2) steps
    (Karras et al. 2024, 2312.02696, eq. 4)."""
    evaluation_growth: float = Field(gt=1)
    """Each evaluation comes this factor later than the one before."""
    first_evaluation: int = Field(gt=0)
    patience: float = Field(gt=1)
    """A run stops when this factor more steps brought no improvement by `tolerance`."""
    tolerance: float = Field(ge=0)
    """Improvement of the validation loss (nats a token) that counts against patience."""
    minimum_epochs: float = Field(gt=0)
    """No run loses its patience before this many epochs (times `patience`).  Without it pre-trained weights, whose loss
    falls slowly from the start, would be stopped earlier than random ones."""
    budget_epochs: float = Field(gt=0)
    """Where a run ends even with patience left; it is then marked `hit_budget`."""

    def learning_rate_at(self, n_params: int, step: int) -> float:
        """Learning rate of update number `step` (from 0) for N = `n_params`."""
        peak = self.learning_rate * (n_params / self.reference_n_params) ** self.learning_rate_exponent
        return peak * min(1.0, (step + 1) / self.warmup_steps)

    def averaging_weight(self, step: int) -> float:
        """Weight of the newest weights in the average after update number `step` (from 1)."""
        return 1.0 - (1.0 - 1.0 / step) ** (self.averaging_power + 1)

    def next_evaluation(self, step: int) -> int:
        return max(self.first_evaluation, math.ceil(step * self.evaluation_growth))

    def out_of_patience(self, step: int, last_improvement: int, epoch_steps: float) -> bool:
        return step >= self.patience * max(last_improvement, self.minimum_epochs * epoch_steps)

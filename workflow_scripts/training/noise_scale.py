"""The gradient noise scale: how large a batch may be before its gradient says little that is new.

McCandlish et al. 2018 (1812.06162), appendix A.1: with E|G_B|² = |G|² + tr(Sigma) / B at two batch sizes, both unknowns
follow; the simple noise scale is B_simple = tr(Sigma) / |G|².
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from workflow_scripts.training.model import GPT

WINDOW = 4.0
"""The noise scale at a step is taken over the evaluations since a quarter of the steps: one alone is too noisy."""


def squared_norms(model: GPT, parameters: list[Tensor], batch: Tensor) -> tuple[float, float]:
    """Mean |gradient|² of one sequence of the batch (B, T + 1), and |mean gradient|².  Touches no `.grad`."""
    one, total = 0.0, None
    for sequence in batch.split(1):
        gradients = torch.autograd.grad(model(sequence[:, :-1], sequence[:, 1:]), parameters)
        one += _squared_norm(gradients)
        total = gradients if total is None else torch._foreach_add(total, gradients)
    return float(one) / len(batch), float(_squared_norm(total)) / len(batch) ** 2


def _squared_norm(gradients: Sequence[Tensor]) -> Tensor:
    return torch.stack(torch._foreach_norm(gradients)).square().sum()


def noise_scale(curve: list[dict[str, Any]], step: int, sequences: int, n_ctx: int) -> float | None:
    """B_simple in tokens around `step`, from the squared norms that the curve holds for batches of `sequences`.

    None where the gradient itself is lost in its noise, or where the batch is a single sequence.
    """
    rows = [row for row in curve if step / WINDOW <= row["step"] <= step and row["gradient_square_one"] is not None]
    if not rows or sequences == 1:
        return None
    one = sum(row["gradient_square_one"] for row in rows) / len(rows)
    every = sum(row["gradient_square_batch"] for row in rows) / len(rows)
    gradient = (sequences * every - one) / (sequences - 1)
    noise = (one - every) / (1 - 1 / sequences)
    return n_ctx * noise / gradient if gradient > 0 else None

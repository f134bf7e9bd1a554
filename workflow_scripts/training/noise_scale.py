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


def halves(sequences: int) -> list[int]:
    """Sizes of the parts of a batch whose gradients are compared with its own; one alone cannot be split."""
    return [size for size in (sequences - sequences // 2, sequences // 2) if size]


def squared_norms(model: GPT, parameters: list[Tensor], batch: Tensor, micro_batch: int) -> tuple[float, float]:
    """Mean |gradient|² of the halves of the batch (B, T + 1), and |mean gradient|²; at most `micro_batch` sequences in one
    pass.  Touches no `.grad`."""
    half, total = 0.0, [torch.zeros_like(parameter) for parameter in parameters]
    parts = batch.split(halves(len(batch)))
    for part in parts:
        gradients = _mean_gradients(model, parameters, part.split(micro_batch))
        half += _squared_norm(gradients)
        torch._foreach_add_(total, gradients, alpha=len(part) / len(batch))
    return float(half) / len(parts), float(_squared_norm(total))


def _mean_gradients(model: GPT, parameters: list[Tensor], pieces: Sequence[Tensor]) -> list[Tensor]:
    mean: list[Tensor] = []
    for piece in pieces:
        loss = model(piece[:, :-1], piece[:, 1:]) * (len(piece) / sum(map(len, pieces)))
        gradients = list(torch.autograd.grad(loss, parameters))
        if mean:
            torch._foreach_add_(mean, gradients)
        else:
            mean = gradients
    return mean


def _squared_norm(gradients: Sequence[Tensor]) -> Tensor:
    return torch.stack(torch._foreach_norm(gradients)).square().sum()


def noise_scale(curve: list[dict[str, Any]], step: int, sequences: int, n_ctx: int) -> float | None:
    """B_simple in tokens around `step`, from the squared norms that the curve holds for batches of `sequences`.

    None where one of gradient and noise is lost in the other, or where the batch is a single sequence.
    """
    rows = [row for row in curve if step / WINDOW <= row["step"] <= step and row["gradient_square_half"] is not None]
    if not rows or sequences == 1:
        return None
    half = sum(row["gradient_square_half"] for row in rows) / len(rows)
    every = sum(row["gradient_square_batch"] for row in rows) / len(rows)
    sizes = halves(sequences)
    noise = (half - every) / (sum(1 / size for size in sizes) / len(sizes) - 1 / sequences)
    gradient = every - noise / sequences
    return n_ctx * noise / gradient if min(noise, gradient) > 0 else None

"""Matrix products of a training step.

On a CPU torch has MKL make those in float32, which on processors of other makers than Intel uses half of what a core with
AVX-512 can do; oneDNN, a part of torch too, uses all of it (docs/trainer.md).  Everything else is torch's choice.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NARROWEST = 32
"""Layers with a narrower side are left to MKL: a gradient of our own costs more there than oneDNN saves."""


def _mkl_is_slow() -> bool:
    processors = Path("/proc/cpuinfo")
    if not (processors.exists() and torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()):
        return False
    return "GenuineIntel" not in processors.read_text(encoding="utf-8", errors="replace")


MKL_IS_SLOW = _mkl_is_slow()


def by_onednn(x: Tensor) -> bool:
    """Whether products of `x` are oneDNN's."""
    return MKL_IS_SLOW and x.device.type == "cpu" and x.dtype == torch.float32


def product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b of a (M, K) and b (K, N); it has no gradient."""
    return _onednn(a, b.T) if by_onednn(a) else a @ b


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x @ weight.T + bias; x (..., in), weight (out, in)."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:  # noqa: ANN001
        ctx.save_for_backward(x, weight)
        return _onednn(x, weight, bias)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN001
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        rows, grad_rows = x.flatten(0, -2), grad.flatten(0, -2)
        return (
            _onednn(grad, weight.T) if of_x else None,
            _weight_gradient(rows, grad_rows) if of_weight else None,
            grad_rows.sum(0) if of_bias else None,
        )


def _weight_gradient(rows: Tensor, grad: Tensor) -> Tensor:
    """grad.T @ rows; oneDNN is faster with the narrower of the two on the left."""
    return _onednn(grad.T, rows.T) if grad.shape[1] < rows.shape[1] else _onednn(rows.T, grad.T).T


class Linear(nn.Linear):
    """x @ weight.T + bias; x is (..., in), the result (..., out)."""

    def forward(self, x: Tensor) -> Tensor:
        if not by_onednn(x) or min(self.weight.shape) < NARROWEST or torch.is_autocast_enabled("cpu"):
            return F.linear(x, self.weight, self.bias)
        return (_Linear.apply if torch.is_grad_enabled() else _onednn)(x, self.weight, self.bias)

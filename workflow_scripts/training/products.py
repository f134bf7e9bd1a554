"""Matrix products of a training step.

On a CPU torch has MKL make those in float32, which on processors of other makers than Intel leaves half of what AVX-512 can do;
oneDNN, a part of torch too, takes all of it (docs/trainer.md: Speed).  Everything else is torch's choice.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

NARROWEST = 32
"""Layers with a narrower side are left to MKL: a gradient of our own costs more there than oneDNN saves."""


def mkl_is_slow(processors: str) -> bool:
    """Whether it is, on a machine whose /proc/cpuinfo says that."""
    present = torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()
    return present and torch.backends.cpu.get_cpu_capability() == "AVX512" and "GenuineIntel" not in processors.split()


PROCESSORS = Path("/proc/cpuinfo")
MKL_IS_SLOW = PROCESSORS.exists() and mkl_is_slow(PROCESSORS.read_text(encoding="utf-8", errors="replace"))


def by_onednn(x: Tensor) -> bool:
    """Whether products of `x` are oneDNN's."""
    return MKL_IS_SLOW and x.device.type == "cpu" and x.dtype == torch.float32


def product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b of a (M, K) and b (K, N); it has no gradient."""
    return _onednn(a, b.T) if by_onednn(a) else a @ b


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x @ weight.T + bias; x (..., in), weight (out, in), which is contiguous or the transpose of what is: others take a
    thousand times as long.  What torch.compile calls, too; torch has no public name for it."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:  # noqa: ANN001
        ctx.save_for_backward(x, weight)
        return _onednn(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN001
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        rows, grad_rows = x.flatten(0, -2).contiguous(), grad.flatten(0, -2).contiguous()
        return (
            _onednn(grad, weight.T) if of_x else None,
            _weight_gradient(rows, grad_rows) if of_weight else None,
            grad_rows.sum(0) if of_bias else None,
        )


def _weight_gradient(rows: Tensor, grad: Tensor) -> Tensor:
    """grad.T @ rows; oneDNN is faster with the narrower of the two on the left."""
    return _onednn(grad.T, rows.T) if grad.shape[1] <= rows.shape[1] else _onednn(rows.T, grad.T).T


class Linear(nn.Linear):
    """x @ weight.T + bias; x is (..., in), the result (..., out)."""

    def forward(self, x: Tensor) -> Tensor:
        if not by_onednn(x) or min(self.weight.shape) < NARROWEST or torch.is_autocast_enabled("cpu"):
            return F.linear(x, self.weight, self.bias)
        return (_Linear.apply if torch.is_grad_enabled() else _onednn)(x, self.weight, self.bias)

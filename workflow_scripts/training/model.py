"""GPT-2: decoder-only, pre-layer-norm, learned positions, GELU, tied embeddings.

Letters in shapes: B sequences, T positions, C = d_model, H heads, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workflow_scripts.training.products import Linear, product
from workflow_scripts.training.shape import ModelShape

GOLDEN, FIRST, SECOND = (number - 2**64 for number in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
"""Increment and multipliers of SplitMix64 (Steele et al. 2014), as signed numbers."""


class Dropout(NamedTuple):
    """Leaves entries out that are a pure function of a sequence's key, the place in the model, and that in the sequence.

    So they are the same whatever the number of devices, and after a run is resumed.
    """

    rate: float
    keys: Tensor
    """(B,), int64: uniform, another one for every sequence of every step."""


def dropped(x: Tensor, dropout: Dropout | None, site: int) -> Tensor:
    """`x` (B, T, C) with a share of its entries 0 and the others larger, so that the mean stays; as it is without dropout.

    `site` numbers the places in the model: 0 is the embeddings, then two a block.
    """
    if dropout is None:
        return x
    B, T, C = x.shape
    places = torch.arange(T * C, device=x.device) + site * T * C
    kept = mixed(dropout.keys[:, None] + places * GOLDEN) >= round((dropout.rate - 0.5) * 2**64)
    return torch.where(kept.view(B, T, C), x, 0) / (1 - dropout.rate)


def mixed(x: Tensor) -> Tensor:
    """The finaliser of SplitMix64: 64 uniform bits of each number."""
    x = (x ^ _shifted(x, 30)) * FIRST
    x = (x ^ _shifted(x, 27)) * SECOND
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """To the right, zeros moving in: `>>` alone would move copies of the sign in."""
    return (x >> bits) & ((1 << 64 - bits) - 1)


class Attention(nn.Module):
    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.n_head = shape.n_head
        self.qkv = Linear(shape.d_model, 3 * shape.d_model)
        self.out = Linear(shape.d_model, shape.d_model)

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.n_head, C // self.n_head).permute(2, 0, 3, 1, 4)  # each B H T C/H
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(B, T, C))


class Block(nn.Module):
    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.norm_1 = nn.LayerNorm(shape.d_model)
        self.attention = Attention(shape)
        self.norm_2 = nn.LayerNorm(shape.d_model)
        self.up = Linear(shape.d_model, 4 * shape.d_model)
        self.down = Linear(4 * shape.d_model, shape.d_model)

    def forward(self, x: Tensor, dropout: Dropout | None = None, site: int = 0) -> Tensor:
        x = x + dropped(self.attention(self.norm_1(x)), dropout, site)
        return x + dropped(self.down(gelu(self.up(self.norm_2(x)))), dropout, site + 1)


class GPT(nn.Module):
    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocab_size, shape.d_model)
        self.position = nn.Embedding(shape.n_ctx, shape.d_model)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.n_layer))
        self.norm = nn.LayerNorm(shape.d_model)

    def initialise(self, seed: int) -> None:
        """Normal weights: std 0.1 for embeddings, 0.5 / sqrt(fan-in) for matrices, residual outputs scaled by
        1 / sqrt(2 n_layer) as in GPT-2; biases zero.

        GPT-2's own std of 0.02 is the same rule at its width of 768; at a width of 32 it costs 0.14 nats after a
        million tokens (docs/trainer.md).
        """
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if name in ("embedding.weight", "position.weight"):
                nn.init.normal_(parameter, std=0.1, generator=generator)
            elif parameter.dim() == 2:
                std = 0.5 / parameter.shape[1] ** 0.5
                if name.endswith(("out.weight", "down.weight")):
                    std /= (2 * self.shape.n_layer) ** 0.5
                nn.init.normal_(parameter, std=std, generator=generator)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def train_only(self, trainable: str) -> None:
        """Freezes what is not `trainable`: `all`, `norms_and_embeddings` (Lu et al. 2021's frozen transformer) or
        `last_blocks:k` (the last k blocks and the final norm)."""
        kind, _, count = trainable.partition(":")
        if kind == "all":
            return
        chosen = [self.norm]
        if kind == "last_blocks":
            chosen += self.blocks[-int(count) :]
        else:
            chosen += [self.embedding, self.position]
            chosen += [norm for block in self.blocks for norm in (block.norm_1, block.norm_2)]
        self.requires_grad_(False)
        for module in chosen:
            module.requires_grad_(True)

    def hidden(self, tokens: Tensor, dropout: Dropout | None = None) -> Tensor:
        """tokens (B, T) -> the last layer's states after the final norm (B, T, C)."""
        x = dropped(self.embedding(tokens) + self.position.weight[: tokens.shape[1]], dropout, 0)
        for number, block in enumerate(self.blocks):
            x = block(x, dropout, 1 + 2 * number)
        return self.norm(x)

    def forward(self, tokens: Tensor, targets: Tensor, dropout: Dropout | None = None) -> Tensor:
        """Mean cross-entropy in nats a token; tokens and targets are (B, T)."""
        hidden = self.hidden(tokens, dropout)
        return linear_cross_entropy(hidden.flatten(0, 1), self.embedding.weight, targets.flatten())


class _Gelu(torch.autograd.Function):
    """x sigmoid(2 u(x)) with u = sqrt(2 / pi) (x + 0.044715 x³), which is GPT-2's x (1 + tanh u) / 2: torch's sigmoid is
    four times as fast on a CPU as its tanh, and serves the gradient too."""

    LINEAR, CUBIC = 2 * (2 / math.pi) ** 0.5, 2 * (2 / math.pi) ** 0.5 * 0.044715

    @classmethod
    def sigmoid(cls, x: Tensor) -> Tensor:
        return (x * x).mul_(cls.CUBIC).add_(cls.LINEAR).mul_(x).sigmoid_()

    @classmethod
    def forward(cls, ctx, x: Tensor) -> Tensor:  # noqa: ANN001
        sigmoid = cls.sigmoid(x)
        y = x * sigmoid
        ctx.save_for_backward(x, sigmoid, y)
        return y

    @classmethod
    def backward(cls, ctx, grad: Tensor) -> Tensor:  # noqa: ANN001
        x, sigmoid, y = ctx.saved_tensors
        slope = (x * x).mul_(3 * cls.CUBIC).add_(cls.LINEAR).mul_(y)
        return slope.addcmul_(slope, sigmoid, value=-1).add_(sigmoid).mul_(grad)


def gelu(x: Tensor) -> Tensor:
    """GPT-2's GELU."""
    if x.device.type != "cpu":
        return F.gelu(x, approximate="tanh")
    return _Gelu.apply(x) if torch.is_grad_enabled() else _Gelu.sigmoid(x).mul_(x)


SMALL_LOGIT = 80.0
"""Logits in bits within +- this need no shift before they are exponentiated: 2^80 a million times is still a float32."""


def _chunk_rows(weight: Tensor) -> int:
    """On a CPU the probabilities of a chunk stay in the cache of a core; a GPU wants fewer and larger products."""
    if weight.device.type != "cpu":
        return 2048
    return 256 if len(weight) <= 8192 else 128


def _rounded(x: Tensor) -> Tensor:
    """An operand in the precision that autocast asks for: once, instead of at every product."""
    device = x.device.type
    return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x


def _logits_in_chunks(hidden: Tensor, weight: Tensor, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
    """Yields rows of hidden @ weight.T, so few at a time that no (B·T, V) tensor exists."""
    rows = _chunk_rows(weight)
    for start in range(0, len(hidden), rows):
        part = slice(start, start + rows)
        yield part, product(hidden[part], weight.T).to(dtype)


class _LinearCrossEntropy(torch.autograd.Function):
    """Loss and gradients of the head in one go: one softmax serves both.

    The weight's gradient is kept transposed, which is up to twice as fast.  Under autocast operands are rounded,
    and sums of products kept in the type of the arguments.
    """

    @staticmethod
    def forward(ctx, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:  # noqa: ANN001
        of_target = hidden.new_empty(len(targets), 1)
        grad_hidden = torch.empty_like(hidden)
        grad_weight_t = hidden.new_zeros(weight.shape[1], weight.shape[0]) if ctx.needs_input_grad[1] else None
        dtype, hidden, weight = hidden.dtype, _rounded(hidden), _rounded(weight)
        for part, p in _logits_in_chunks(hidden, weight, dtype):
            torch.softmax(p, dim=-1, out=p)
            torch.gather(p, 1, targets[part, None], out=of_target[part])
            p.scatter_add_(1, targets[part, None], -p.new_ones(len(p), 1))
            p = p.to(weight.dtype)
            grad_hidden[part] = product(p, weight)
            if grad_weight_t is not None:
                grad_weight_t += product(hidden[part].T, p)
            del p  # or two chunks are there while the next one is made
        ctx.save_for_backward(grad_hidden, grad_weight_t)
        return -of_target.clamp_(min=torch.finfo(of_target.dtype).tiny).log_().mean()

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor | None, None]:  # noqa: ANN001
        grad_hidden, grad_weight_t = ctx.saved_tensors
        scale = grad / len(grad_hidden)
        return grad_hidden * scale, grad_weight_t.T * scale if ctx.needs_input_grad[1] else None, None


def linear_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy (nats) of softmax(hidden @ weight.T); hidden (n, C), weight (V, C), targets (n,)."""
    if torch.is_grad_enabled():
        return _LinearCrossEntropy.apply(hidden, weight, targets)
    hidden = hidden / math.log(2)  # logits in bits: where torch has MKL make e^x, 2^x is up to four times as fast
    of_target, total = hidden.new_empty(2, len(targets), 1)
    small = bool(hidden.norm(dim=1).max() * weight.norm(dim=1).max() < SMALL_LOGIT)
    for part, logits in _logits_in_chunks(_rounded(hidden), _rounded(weight), hidden.dtype):
        if not small:
            logits -= logits.amax(1, keepdim=True)
        torch.gather(logits, 1, targets[part, None], out=of_target[part])
        torch.sum(logits.exp2_(), 1, keepdim=True, out=total[part])
        del logits
    return (total.log2_() - of_target).mean() * math.log(2)

"""The model is the one that the counts describe, and its fused loss is the plain one."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts.training.model import GOLDEN, GPT, Dropout, dropped, gelu, linear_cross_entropy, mixed
from workflow_scripts.training.shape import ModelShape

shapes = st.builds(
    lambda n_layer, heads, width, n_ctx, vocab_size: ModelShape(n_layer, heads * width, heads, n_ctx, vocab_size),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 12),
    st.integers(2, 40),
    st.integers(3, 300),
)


@given(shapes)
@settings(max_examples=30)
def test_counts_are_those_of_the_model_in_every_group(shape):
    model, counts = GPT(shape), shape.parameter_counts()
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    assert sum(sizes.values()) == counts["total"]
    assert sizes["embedding.weight"] == counts["embedding"]
    assert sizes["position.weight"] == counts["position"]
    matrices = sum(p.numel() for name, p in model.blocks.named_parameters() if p.dim() == 2)
    assert matrices == counts["body"] == 12 * shape.n_layer * shape.d_model**2


def test_flops_count_the_head_only_when_asked():
    shape = ModelShape(n_layer=2, d_model=64, n_head=2, n_ctx=128, vocab_size=1024)
    assert shape.flops_per_token(with_head=False) == 6 * 98_304 + 6 * 2 * 128 * 64
    assert shape.flops_per_token(with_head=True) - shape.flops_per_token(with_head=False) == 6 * 1024 * 64


@given(st.integers(1, 1300), st.integers(0, 10**6))
@settings(max_examples=15)
def test_fused_loss_and_gradients_are_those_of_the_plain_head(n, seed):
    """Also across chunk borders (256 rows a chunk)."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(n, 5, generator=generator, dtype=torch.float64).requires_grad_()
    weight = torch.randn(11, 5, generator=generator, dtype=torch.float64).requires_grad_()
    targets = torch.randint(0, 11, (n,), generator=generator)
    fused = linear_cross_entropy(hidden, weight, targets)
    fused_gradients = torch.autograd.grad(fused * 3, [hidden, weight])
    plain = F.cross_entropy(hidden @ weight.T, targets)
    plain_gradients = torch.autograd.grad(plain * 3, [hidden, weight])
    torch.testing.assert_close(fused, plain)
    torch.testing.assert_close(fused_gradients, plain_gradients)
    frozen = linear_cross_entropy(hidden, weight.detach(), targets)
    torch.testing.assert_close(torch.autograd.grad(frozen * 3, hidden), plain_gradients[:1])
    with torch.no_grad():
        torch.testing.assert_close(linear_cross_entropy(hidden, weight, targets), plain)


@given(st.integers(1, 600), st.integers(0, 10**6))
@settings(max_examples=15)
def test_under_autocast_the_products_of_the_head_are_rounded_and_nothing_else(n, seed):
    """They were in float32: with a vocabulary of 4,096 the peers were faster in bfloat16."""
    generator = torch.Generator().manual_seed(seed)
    hidden, weight = (torch.randn(count, 16, generator=generator).requires_grad_() for count in (n, 11))
    targets = torch.randint(0, 11, (n,), generator=generator)

    def plain_loss(unit=1.0):  # of the logits
        logits = (hidden / unit).bfloat16() @ weight.bfloat16().T
        return F.cross_entropy(logits.float() * unit, targets)

    plain = plain_loss()
    with torch.autocast("cpu", torch.bfloat16):
        fused = linear_cross_entropy(hidden, weight, targets)
        with torch.no_grad():
            evaluated = linear_cross_entropy(hidden, weight, targets)
    assert fused.dtype == evaluated.dtype == torch.float32
    assert fused.item() == pytest.approx(plain.item(), abs=1e-3)
    assert evaluated.item() == pytest.approx(plain_loss(unit=math.log(2)).item(), abs=1e-3)
    for found, expected in zip(
        torch.autograd.grad(fused, [hidden, weight]), torch.autograd.grad(plain, [hidden, weight]), strict=True
    ):
        assert found.dtype == torch.float32
        assert (found - expected).norm() < 0.02 * expected.norm()


@given(st.floats(-2, 3), st.integers(0, 10**6))
@settings(max_examples=30)
def test_an_evaluated_loss_is_that_of_exact_logits_however_large_they_are(power, seed):
    """Small ones are exponentiated as they are; 2^128 is no float32."""
    generator = torch.Generator().manual_seed(seed)
    hidden = 10**power * torch.randn(300, 5, generator=generator)
    weight = torch.randn(11, 5, generator=generator)
    targets = torch.randint(0, 11, (300,), generator=generator)
    exact = F.cross_entropy(hidden.double() @ weight.double().T, targets)
    with torch.no_grad():
        found = linear_cross_entropy(hidden, weight, targets)
    assert found.item() == pytest.approx(exact.item(), rel=1e-5)


@pytest.mark.parametrize("spoilt", [0, 1], ids=["state", "weight"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_evaluated_loss_of_what_is_not_finite_is_not_finite(spoilt, value):
    """It ends the run as failed; a loss that looked sound would hide it."""
    operands = [torch.ones(6, 3), torch.ones(4, 3)]
    operands[spoilt][2, 1] = value
    with torch.no_grad():
        assert not linear_cross_entropy(*operands, torch.zeros(6, dtype=torch.int64)).isfinite()


@given(st.floats(-20, 20), st.floats(-3, 3))
def test_gelu_and_its_gradient_are_those_of_torch(x, grad):
    x = torch.tensor([x], dtype=torch.float64, requires_grad=True)
    grad = torch.tensor([grad], dtype=torch.float64)
    plain = F.gelu(x, approximate="tanh")
    torch.testing.assert_close(gelu(x), plain)
    torch.testing.assert_close(torch.autograd.grad(gelu(x), x, grad), torch.autograd.grad(plain, x, grad))


def test_a_position_sees_nothing_of_what_follows():
    shape = ModelShape(n_layer=2, d_model=12, n_head=3, n_ctx=16, vocab_size=50)
    model = GPT(shape)
    model.initialise(0)
    tokens = torch.arange(16)[None]
    changed = tokens.clone()
    changed[0, 10:] = 49
    with torch.no_grad():
        before, after = model.hidden(tokens), model.hidden(changed)
    torch.testing.assert_close(before[:, :10], after[:, :10])
    assert not torch.allclose(before[:, 10:], after[:, 10:])


def test_initial_weights_depend_on_the_seed_alone():
    shape = ModelShape(n_layer=1, d_model=8, n_head=2, n_ctx=8, vocab_size=20)
    models = [GPT(shape) for _ in range(3)]
    torch.manual_seed(1)
    for model, seed in zip(models, (0, 0, 1), strict=True):
        model.initialise(seed)
    first, second, third = (torch.cat([p.flatten() for p in model.parameters()]) for model in models)
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def kept(keys, site=0, rate=0.3):
    return dropped(torch.ones(len(keys), 128, 64), Dropout(rate, torch.tensor(keys)), site)


def test_random_bits_are_those_of_splitmix():
    """Its first three numbers from the seed 0, as published with the algorithm."""
    found = mixed(torch.arange(1, 4) * GOLDEN).numpy().view(np.uint64)
    assert found.tolist() == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 200), st.floats(0.01, 0.9))
def test_dropout_leaves_out_its_share_and_keeps_the_mean(key, site, rate):
    found = kept([key], site, rate)
    left_out = (found == 0).float().mean().item()
    assert left_out == pytest.approx(rate, abs=6 * (rate * (1 - rate) / found.numel()) ** 0.5)
    torch.testing.assert_close(found[found != 0], torch.full_like(found[found != 0], 1 / (1 - rate)))


@given(st.integers(-(2**63), 2**63 - 2), st.integers(0, 200))
def test_dropout_depends_on_the_sequence_and_the_site_alone(key, site):
    together = kept([key, key + 1], site)
    torch.testing.assert_close(together[1:], kept([key + 1], site), rtol=0, atol=0)
    for other in (kept([key + 1], site), kept([key], site + 1)):
        both = ((together[:1] > 0) & (other > 0)).float().mean().item()
        assert both == pytest.approx(0.7**2, abs=0.04), "independent of each other"


def test_a_compiled_block_leaves_out_what_it_leaves_out_uncompiled():
    shape = ModelShape(n_layer=1, d_model=8, n_head=2, n_ctx=16, vocab_size=30)
    model = GPT(shape)
    model.initialise(0)
    (block,) = model.blocks
    x, dropout = torch.randn(3, 16, 8), Dropout(0.3, torch.tensor([5, 6, 7]))
    compiled = torch.compile(block, backend="eager")
    for site in (1, 3):
        torch.testing.assert_close(compiled(x, dropout, site), block(x, dropout, site))
    assert not torch.equal(block(x, dropout, 1), block(x, None, 1))

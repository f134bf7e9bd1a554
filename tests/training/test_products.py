"""Products by oneDNN are those by BLAS, wherever the trainer makes them."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts.training import products
from workflow_scripts.training.model import GPT
from workflow_scripts.training.products import NARROWEST, Linear
from workflow_scripts.training.shape import ModelShape


@pytest.fixture(scope="module")
def by_onednn():
    """Whatever the processor."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "MKL_IS_SLOW", True)
        yield


@given(st.integers(1, 70), st.sampled_from([5, 32, 96]), st.sampled_from([7, 32, 128]), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_a_layer_and_its_gradients_are_those_of_torch(by_onednn, n, width, width_out, seed):
    generator = torch.Generator().manual_seed(seed)
    layer = Linear(width, width_out)
    x = torch.randn(2, n, width, generator=generator).requires_grad_()
    grad = torch.randn(2, n, width_out, generator=generator)
    y = layer(x)
    assert (y.grad_fn.name() == "_LinearBackward") == (min(width, width_out) >= NARROWEST)
    arguments = [x, layer.weight, layer.bias]
    exact = [argument.detach().double().requires_grad_() for argument in arguments]
    expected = F.linear(*exact)
    torch.testing.assert_close(y.double(), expected, rtol=1e-4, atol=1e-4)
    found_gradients = torch.autograd.grad(y, arguments, grad)
    expected_gradients = torch.autograd.grad(expected, exact, grad.double())
    for found, wanted in zip(found_gradients, expected_gradients, strict=True):
        torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), y)


def test_what_is_frozen_has_no_gradient(by_onednn):
    layer = Linear(32, 64)
    layer.weight.requires_grad_(False)
    x = torch.randn(3, 32)
    layer(x).sum().backward()
    assert layer.weight.grad is None
    torch.testing.assert_close(layer.bias.grad, torch.full((64,), 3.0))


def test_a_model_has_the_loss_and_the_gradients_of_one_without(by_onednn, monkeypatch):
    shape = ModelShape(n_layer=2, d_model=32, n_head=2, n_ctx=64, vocab_size=300)
    model = GPT(shape)
    model.initialise(seed=0)
    tokens, targets = torch.randint(0, 300, (2, 6, 64), generator=torch.Generator().manual_seed(0))

    def loss_and_gradients():
        model.zero_grad()
        loss = model(tokens, targets)
        loss.backward()
        with torch.no_grad():
            return [loss.detach(), model(tokens, targets), *(parameter.grad for parameter in model.parameters())]

    found = loss_and_gradients()
    monkeypatch.setattr(products, "MKL_IS_SLOW", False)
    torch.testing.assert_close(found, loss_and_gradients(), rtol=1e-4, atol=1e-6)


def test_under_autocast_torch_rounds_the_operands(by_onednn):
    layer, x = Linear(32, 32), torch.randn(4, 32)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16

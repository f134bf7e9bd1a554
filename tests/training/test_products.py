"""Products by oneDNN are those by BLAS, wherever the trainer makes them."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts.training import products
from workflow_scripts.training.model import GPT, linear_cross_entropy
from workflow_scripts.training.products import NARROWEST, Linear, mkl_is_slow
from workflow_scripts.training.shape import ModelShape

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch has no oneDNN here")


@pytest.fixture(scope="module")
def by_onednn():
    """Whatever the processor."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "MKL_IS_SLOW", True)
        yield


@pytest.fixture
def products_made(by_onednn, monkeypatch):
    """The weights' strides of every product that oneDNN makes."""
    made, real = [], products._onednn

    def spy(x, weight, bias=None):
        made.append(weight.stride())
        return real(x, weight, bias)

    monkeypatch.setattr(products, "_onednn", spy)
    return made


def a_layer(width, width_out, seed=0):
    torch.manual_seed(seed)
    return Linear(width, width_out)


@given(st.integers(1, 70), st.sampled_from([5, 32, 96]), st.sampled_from([7, 32, 128]), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_a_layer_and_its_gradients_are_those_of_torch(by_onednn, n, width, width_out, seed):
    layer = a_layer(width, width_out, seed)
    x = torch.randn(2, n, width).requires_grad_()
    grad = torch.randn(2, n, width_out)
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


@pytest.mark.parametrize(
    "grad", [torch.ones(()).expand(4, 64), torch.randn(4, 128)[:, ::2]], ids=["expanded", "sliced"]
)
def test_a_gradient_in_pieces_is_made_whole_first(products_made, grad):
    """oneDNN takes it as it is, and a thousand times as long."""
    a_layer(32, 64)(torch.randn(4, 64)[:, ::2]).backward(grad)
    weight_gradient = products_made[-1]
    assert weight_gradient == (1, 64)


def test_what_is_frozen_costs_no_product(products_made):
    layer = a_layer(32, 64)
    layer.weight.requires_grad_(False)
    layer(torch.randn(3, 32)).sum().backward()
    assert len(products_made) == 1, "forward"
    torch.testing.assert_close(layer.bias.grad, torch.full((64,), 3.0))


def test_a_second_derivative_is_refused(by_onednn):
    """It would be 0 in silence."""
    x = torch.randn(3, 32).requires_grad_()
    (gradient,) = torch.autograd.grad(a_layer(32, 64)(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_onednn_makes_what_is_in_float32_and_nothing_else(products_made):
    layer, x = a_layer(32, 32), torch.randn(300, 32)
    hidden, weight = torch.randn(300, 32, requires_grad=True), torch.randn(40, 32, requires_grad=True)
    targets = torch.zeros(300, dtype=torch.int64)
    for made, work in [
        (1, lambda: layer(x)),
        (6, lambda: linear_cross_entropy(hidden, weight, targets)),  # three a chunk of 256
        (0, lambda: linear_cross_entropy(hidden.double(), weight.double(), targets)),
    ]:
        work()
        assert len(products_made) == made
        products_made.clear()
    with torch.no_grad():
        layer(x)
        linear_cross_entropy(hidden, weight, targets)
        assert len(products_made) == 3
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
        linear_cross_entropy(hidden, weight, targets)
        assert len(products_made) == 3


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


@pytest.mark.parametrize(("maker", "slow"), [("AuthenticAMD", True), ("HygonGenuine", True), ("GenuineIntel", False)])
def test_mkl_is_slow_where_it_is_not_at_home(monkeypatch, maker, slow):
    for library in (torch.backends.mkl, torch.backends.mkldnn):
        monkeypatch.setattr(library, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    assert mkl_is_slow(f"processor : 0\nvendor_id : {maker}\ncpu family : 26\n") == slow
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert not mkl_is_slow("vendor_id : AuthenticAMD"), "half of the unit is all of it"

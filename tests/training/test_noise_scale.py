"""The gradient noise scale is that of McCandlish et al. 2018: planted ones are found again."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.training.conftest import SHAPE
from workflow_scripts.training.model import GPT
from workflow_scripts.training.noise_scale import halves, noise_scale, squared_norms


@given(st.floats(0.01, 10), st.floats(0.01, 1000), st.integers(2, 64))
def test_a_planted_scale_is_found(gradient, noise, sequences):
    row = {
        "step": 10,
        "gradient_square_half": gradient + noise * sum(1 / size for size in halves(sequences)) / 2,
        "gradient_square_batch": gradient + noise / sequences,
    }
    found = noise_scale([row, row | {"step": 1, "gradient_square_half": 1e9}], 10, sequences, n_ctx=16)
    assert found == pytest.approx(16 * noise / gradient, rel=1e-3)


def test_nothing_is_said_where_nothing_is_known():
    row = {"step": 10, "gradient_square_half": 4.0, "gradient_square_batch": 0.5}
    assert noise_scale([row], 10, 4, 16) is None, "the gradient is lost in its noise"
    assert noise_scale([row | {"gradient_square_half": None}], 10, 4, 16) is None
    assert noise_scale([row], 10, 1, 16) is None
    assert noise_scale([], 10, 4, 16) is None
    halves_differ = row | {"gradient_square_half": 8.5, "gradient_square_batch": 9.0}
    assert noise_scale([halves_differ], 10, 3, 16) is None, "the noise is lost in the gradient"


@pytest.mark.parametrize("micro_batch", [1, 2, 9])
@pytest.mark.parametrize("sequences", [1, 2, 3, 4, 7])
def test_squared_norms_are_those_of_halves_and_of_the_whole(sequences, micro_batch):
    model = GPT(SHAPE)
    model.initialise(0)
    parameters = list(model.parameters())
    generator = torch.Generator().manual_seed(0)
    batch = torch.randint(0, SHAPE.vocab_size, (sequences, SHAPE.n_ctx + 1), generator=generator)

    largest, forward = [], model.forward
    model.forward = lambda tokens, targets: largest.append(len(tokens)) or forward(tokens, targets)

    def square(part):
        model.zero_grad()
        model(part[:, :-1], part[:, 1:]).backward()
        return sum(parameter.grad.square().sum().item() for parameter in parameters)

    half, every = squared_norms(model, parameters, batch, micro_batch)
    assert max(largest) <= micro_batch
    first, second = batch.tensor_split(2)
    assert half == pytest.approx((square(first) + square(second)) / 2 if len(second) else square(first), rel=1e-4)
    assert every == pytest.approx(square(batch), rel=1e-4)
    assert every < half or sequences == 1


def test_noise_planted_in_gradients_is_found_whatever_the_batch():
    """Gradients of single sequences are drawn; halves and the whole are their means."""
    random, truth, noise, n_params = np.random.default_rng(0), 0.5, 2.0, 400
    direction = np.full(n_params, (truth / n_params) ** 0.5)
    for sequences in (2, 3, 4, 7):
        rows = []
        for _ in range(4_000):
            one = direction + random.normal(size=(sequences, n_params)) * (noise / n_params) ** 0.5
            parts = np.split(one, [halves(sequences)[0]])
            half = sum((part.mean(axis=0) ** 2).sum() for part in parts) / 2
            every = (one.mean(axis=0) ** 2).sum()
            rows.append({"step": 10, "gradient_square_half": half, "gradient_square_batch": every})
        assert noise_scale(rows, 10, sequences, 16) == pytest.approx(16 * noise / truth, rel=0.05)

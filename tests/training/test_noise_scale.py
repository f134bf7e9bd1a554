"""The gradient noise scale is that of McCandlish et al. 2018: planted ones are found again."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.training.conftest import SHAPE
from workflow_scripts.training.model import GPT
from workflow_scripts.training.noise_scale import noise_scale, squared_norms


@given(st.floats(0.01, 10), st.floats(0.01, 1000), st.integers(2, 64))
def test_a_planted_scale_is_found(gradient, noise, sequences):
    row = {
        "step": 10,
        "gradient_square_one": gradient + noise,
        "gradient_square_batch": gradient + noise / sequences,
    }
    found = noise_scale([row, row | {"step": 1, "gradient_square_one": 1e9}], 10, sequences, n_ctx=16)
    assert found == pytest.approx(16 * noise / gradient, rel=1e-3)


def test_nothing_is_said_where_nothing_is_known():
    row = {"step": 10, "gradient_square_one": 4.0, "gradient_square_batch": 0.5}
    assert noise_scale([row], 10, 4, 16) is None, "the gradient is lost in its noise"
    assert noise_scale([row | {"gradient_square_one": None}], 10, 4, 16) is None
    assert noise_scale([row], 10, 1, 16) is None
    assert noise_scale([], 10, 4, 16) is None


def test_squared_norms_are_those_of_single_sequences_and_of_their_mean():
    model = GPT(SHAPE)
    model.initialise(0)
    parameters = list(model.parameters())
    batch = torch.randint(0, SHAPE.vocab_size, (3, SHAPE.n_ctx + 1), generator=torch.Generator().manual_seed(0))

    def square(part):
        model.zero_grad()
        model(part[:, :-1], part[:, 1:]).backward()
        return sum(parameter.grad.square().sum().item() for parameter in parameters)

    one, every = squared_norms(model, parameters, batch)
    model.zero_grad()
    assert one == pytest.approx(sum(square(batch[i : i + 1]) for i in range(3)) / 3, rel=1e-4)
    assert every == pytest.approx(square(batch), rel=1e-4)
    assert every < one

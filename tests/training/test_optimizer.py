"""Our AdamW is torch's, clipped gradients and all."""

import pytest
import torch

from tests.training.conftest import RECIPE
from workflow_scripts.training.optimizer import AdamW


def weights():
    torch.manual_seed(0)
    return [torch.randn(shape).requires_grad_() for shape in [(7, 5), (5,), (3, 5)]]


def set_gradients(parameters, step, size):
    torch.manual_seed(step)
    for parameter in parameters:
        parameter.grad = size * torch.randn(parameter.shape)


@pytest.mark.parametrize("size", [0.01, 1.0, 100.0], ids=["small", "about the clip", "clipped"])
def test_it_makes_the_updates_of_torch(size):
    recipe = RECIPE.model_copy(update={"gradient_clip": 2.0})
    ours, theirs = weights(), weights()
    optimizer = AdamW(ours, recipe, 0.3)
    betas = (recipe.beta_1, recipe.beta_2)
    groups = [{"params": [theirs[0], theirs[2]], "weight_decay": 0.3}, {"params": [theirs[1]], "weight_decay": 0.0}]
    reference = torch.optim.AdamW(groups, betas=betas)
    for step in range(20):
        rate = 0.1 / (step + 1)
        set_gradients(ours, step, size)
        set_gradients(theirs, step, size)
        norm = optimizer.gradient_norm()
        expected = torch.nn.utils.clip_grad_norm_(theirs, 2.0)
        torch.testing.assert_close(norm, expected)
        optimizer.step(rate, norm, torch.ones(()))
        for group in reference.param_groups:
            group["lr"] = rate
        reference.step()
        assert all(parameter.grad is None for parameter in ours)
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_an_unsound_step_changes_nothing():
    parameters = weights()
    optimizer = AdamW(parameters, RECIPE, 0.1)
    set_gradients(parameters, 0, 1.0)
    optimizer.step(0.1, optimizer.gradient_norm(), torch.ones(()))
    before = [parameter.clone() for parameter in parameters]
    state = {name: [v.clone() for v in value] for name, value in optimizer.state().items() if name != "updates"}
    set_gradients(parameters, 1, float("nan"))
    optimizer.step(0.1, optimizer.gradient_norm(), torch.zeros(()))
    assert all(torch.equal(a, b) for a, b in zip(before, parameters, strict=True))
    assert all(torch.equal(a, b) for name in state for a, b in zip(state[name], optimizer.state()[name], strict=True))
    assert optimizer.updates == 1

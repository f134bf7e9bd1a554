"""AdamW with clipped gradients (Loshchilov & Hutter 2019), in one call of torch's fused kernel for all weights.

`torch.optim.AdamW` and `clip_grad_norm_` do the same in a loop over the weights in Python, which takes a tenth of the step
of a small model.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from workflow_scripts.training.placement import gathered, like
from workflow_scripts.training.recipe import Recipe

EPSILON = 1e-8


class AdamW:
    """Moments of the gradients of `parameters`; matrices and embeddings decay, norms and biases do not."""

    def __init__(self, parameters: list[Tensor], recipe: Recipe, weight_decay: float) -> None:
        self.parameters, self.recipe = parameters, recipe
        self.updates = torch.zeros((), device=parameters[0].device)
        self.first = [torch.zeros_like(parameter) for parameter in parameters]
        self.second = [torch.zeros_like(parameter) for parameter in parameters]
        self.groups = {decay: ([], [], []) for decay in (weight_decay, 0.0)}
        for parameter, *moments in zip(parameters, self.first, self.second, strict=True):
            group = self.groups[weight_decay if parameter.dim() == 2 else 0.0]
            for members, member in zip(group, (parameter, *moments), strict=True):
                members.append(member)

    def gradient_norm(self) -> Tensor:
        """Norm of all gradients as one vector."""
        norms = torch._foreach_norm([parameter.grad for parameter in self.parameters])
        return torch.linalg.vector_norm(gathered(torch.stack(norms)))

    def step(self, learning_rate: float, norm: Tensor, sound: Tensor) -> None:
        """One update by gradients of that norm, clipped; none where `sound` is 0.  Drops the gradients."""
        recipe = self.recipe
        scale = (norm / recipe.gradient_clip).clamp_(min=1.0)
        self.updates += sound
        for weight_decay, (parameters, first, second) in self.groups.items():
            torch._fused_adamw_(
                parameters,
                [parameter.grad for parameter in parameters],
                first,
                second,
                [],
                [self.updates] * len(parameters),
                lr=learning_rate,
                beta1=recipe.beta_1,
                beta2=recipe.beta_2,
                weight_decay=weight_decay,
                eps=EPSILON,
                amsgrad=False,
                maximize=False,
                grad_scale=scale,
                found_inf=1 - sound,
            )
        for parameter in self.parameters:
            parameter.grad = None

    def state(self) -> dict[str, Any]:
        return {"updates": self.updates, "first": self.first, "second": self.second}

    def restore(self, state: dict[str, Any]) -> None:
        self.updates.copy_(state["updates"])
        for mine, saved in ((self.first, state["first"]), (self.second, state["second"])):
            for moment, value in zip(mine, saved, strict=True):
                moment.copy_(like(value, moment))

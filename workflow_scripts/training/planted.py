"""What simulated runs are drawn from: a loss surface, the transfer law of each source, and noise.

From scratch, the loss follows L(N, D) = floor + A N^-a + B D^-b (the form of Hoffmann et al. 2022, approach 3).  A
fine-tuned run has the loss of a from-scratch run on D_E = D_F + k D_F^alpha N^beta characters (Hernandez et al. 2021,
eq. 1.1).  The noise has the structure of the experiment: a component that all runs fine-tuned from one pre-trained
model share, one that all runs on one prefix of one seed's shuffle share (prefixes nest, so sizes D < D' correlate with
sqrt(D / D')), and one of the run alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from workflow_scripts.strict import Strict

CHARACTERS_PER_TOKEN = 2.2
NOISE_D = 30_000
Deviation = Annotated[float, Field(ge=0)]


class Transfer(Strict):
    """D_T = k D_F^alpha N^beta of one source (characters, parameters without embeddings)."""

    k: float = 40.0
    alpha: float = 0.3
    beta: float = 0.3
    ossification: float | None = Field(None, gt=0)
    """D_T falls by the factor 1 - D_F / (ossification N) and may turn negative: pre-training that hurts."""


class Surface(Strict):
    """The from-scratch loss in nats per token."""

    floor: float = Field(1.2, ge=0)
    size_scale: float = Field(8.0, ge=0)
    size_exponent: float = 0.25
    data_scale: float = Field(11.0, ge=0)
    data_exponent: float = 0.15

    def scratch_loss(self, n_params: float, d: float) -> float:
        """Nats per token after training from scratch on `d` characters."""
        return self.floor + self.size_scale * n_params**-self.size_exponent + self.data_scale * d**-self.data_exponent


class Planted(Transfer, Surface):
    """The truth behind the simulated runs of one source; the defaults resemble the quickstart."""

    def effective_data(self, n_params: float, d_f: float) -> float:
        """D_E in characters; the paper's stand-in for zero-shot is D_F = 1 character."""
        d_f = max(d_f, 1.0)
        left = 1.0 if self.ossification is None else 1 - d_f / (self.ossification * n_params)
        return d_f + max(self.k * d_f**self.alpha * n_params**self.beta * left, -0.7 * d_f)


@dataclass(frozen=True)
class Noise:
    """Standard deviations in nats per token, at `NOISE_D` characters."""

    pretrain: Deviation = 0.008
    prefix: Deviation = 0.010
    run: Deviation = 0.015
    d_exponent: float = 0.0
    """Power of D in all of them, but that zero-shot losses have no D: small sets vary more."""

    def of(self, d: float) -> float:
        """Deviations at D characters over those at `NOISE_D`."""
        return (d / NOISE_D) ** self.d_exponent if d else 1.0


class Simulated(Strict):
    """In a configuration: the runs are drawn from this truth instead of being trained."""

    laws: dict[str, Transfer]
    """The law of each source of pre-training."""
    loss: Surface = Surface()
    noise: Noise = Noise()


def epochs(d: float) -> float:
    """Passes over `d` characters up to the best point: many over small sets, few over large ones."""
    return (3e6 / max(d, 1.0)) ** 0.5 + 2

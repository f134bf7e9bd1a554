"""The noise of losses, pooled over all cells, and draws of it for the bootstrap.

Two or three seeds are too few to resample alone, so the noise is modelled (in nats, the same for all cells of one
sampling unit):
- `pretrain`: shared by all runs that start from one pre-trained model, that is one (source, P, N, seed);
- `prefix`: shared by all runs on one (D, seed), fine-tuned or not, whatever N; prefixes of one shuffle nest, so those
  of D < D' correlate with sqrt(D / D');
- a part of each run alone, of one size for fine-tuned runs and another for from-scratch runs.

The components come from the differences between seeds within cells, whose likelihood (REML: Patterson and Thompson
1971) does not depend on the cells' means and so needs no n/(n-1) correction by hand.  Their own uncertainty is large
with few seeds; draws take them from their posterior on a grid, which widens intervals as a t distribution does.  The
prior of what is shared has the scale of a run's noise, the tail of a Cauchy distribution (Gelman 2006) and no mass at
zero (Chung et al. 2013): a few seeds often look as if they shared nothing, and intervals that believe it are too narrow.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from scipy.linalg import cho_factor, cho_solve, helmert

SHARED_RATIOS = np.array([0.1, 0.25, 0.5, 0.75, 1.0, 1.4, 2.0, 3.0, 4.5, 6.5])
SCRATCH_RATIOS = np.geomspace(0.4, 2.5, 5)
SMALLEST_DEVIATION = 1e-7
"""Nats: what a table without any noise is taken to have, so that weights stay finite."""


@dataclass(frozen=True)
class Noise:
    """Posterior of the components for `runs`, whose column `cell` counts cells from 0."""

    runs: pd.DataFrame
    averaging: np.ndarray
    """(cells, runs): from losses of runs to means of cells."""
    ratios: np.ndarray
    """(grid, 3): standard deviations of pretrain, prefix and from-scratch runs relative to a fine-tuned run's."""
    probability: np.ndarray
    """(grid,)"""
    squares: np.ndarray
    """(grid,): weighted sum of squares; the variance of a fine-tuned run is squares / chi-squared(degrees)."""
    degrees: int
    zero_shot: tuple[float, int]
    """Standard deviation of zero-shot losses between pre-training seeds, and its degrees of freedom."""
    from_seeds: bool
    """False where no cell has two seeds: the noise is then the scatter of from-scratch losses about their curves."""
    known: bool
    """False where there is neither: no curve has more than the 3 points that it takes to draw it."""

    def deviations(self) -> dict[str, float]:
        """Posterior means of the standard deviations, in nats per token."""
        run = np.sqrt(self.squares / self.degrees)
        names = ("pretrain", "prefix", "scratch_run")
        values = {
            name: float(self.probability @ (run * ratio)) for name, ratio in zip(names, self.ratios.T, strict=True)
        }
        return values | {"finetune_run": float(self.probability @ run)}

    def covariance(self) -> np.ndarray:
        """(cells, cells): of the means of cells, at the posterior means of the components."""
        sd = self.deviations()
        own = self._own(sd["finetune_run"], sd["scratch_run"], self.zero_shot[0])
        runs = (
            sd["pretrain"] ** 2 * same_model(self.runs) + sd["prefix"] ** 2 * same_prefix(self.runs) + np.diag(own**2)
        )
        return self.averaging @ runs @ self.averaging.T

    def draw(self, n: int, random: np.random.Generator) -> np.ndarray:
        """(n, cells): noise of the means of cells."""
        point = random.choice(len(self.probability), size=n, p=self.probability)
        run = np.sqrt(self.squares[point] / random.chisquare(self.degrees, n))
        pretrain, prefix, scratch_run = self.ratios[point].T * run
        zero_shot = self.zero_shot[0] * np.sqrt(self.zero_shot[1] / random.chisquare(self.zero_shot[1], n))
        own = self._own(run[:, None], scratch_run[:, None], zero_shot[:, None])
        values = own * random.standard_normal((n, len(self.runs)))
        values += pretrain[:, None] * random.standard_normal((n, len(self.runs))) @ _root(same_model(self.runs)).T
        values += prefix[:, None] * random.standard_normal((n, len(self.runs))) @ _root(same_prefix(self.runs)).T
        return values @ self.averaging.T

    def _own(
        self, finetune: float | np.ndarray, scratch: float | np.ndarray, zero_shot: float | np.ndarray
    ) -> np.ndarray:
        arm = self.runs.arm.to_numpy()
        return np.where(arm == "finetune", finetune, np.where(arm == "scratch", scratch, zero_shot))


def same_model(runs: pd.DataFrame) -> np.ndarray:
    """(runs, runs): 1 where two fine-tuned runs start from one pre-trained model, else 0."""
    tuned = (runs.arm == "finetune").to_numpy()
    model = runs.groupby(["init", "pretrain_tokens", "n_params", "seed"]).ngroup().to_numpy()
    return (np.equal.outer(model, model) & np.logical_and.outer(tuned, tuned)).astype(float)


def same_prefix(runs: pd.DataFrame) -> np.ndarray:
    """(runs, runs): sqrt(D / D') between runs on nested prefixes of one shuffle, 0 between different ones."""
    used = (runs.arm != "zero_shot").to_numpy()
    seed = runs.seed.to_numpy()
    d = np.maximum(runs.d_chars.to_numpy(dtype=float), 1.0)
    correlation = np.sqrt(np.minimum.outer(d, d) / np.maximum.outer(d, d))
    return correlation * np.equal.outer(seed, seed) * np.logical_and.outer(used, used)


def _root(covariance: np.ndarray) -> np.ndarray:
    """A square root R of a positive semi-definite matrix: R Rᵀ = covariance."""
    values, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(np.maximum(values, 0.0))


def estimate_noise(runs: pd.DataFrame, *, pretrain_seeds: int, scatter: tuple[float, int]) -> Noise:
    """Components of the noise of `runs` on one sampling unit (columns arm, init, n_params, d_chars, seed, cell, test_loss).

    `scatter` is the squared scatter of from-scratch losses about their curves, with its degrees of freedom: it serves
    where no cell has two seeds.  With fewer than two pre-training seeds that component cannot be seen and is 0:
    everything that follows is then conditional on the pre-trained weights.
    """
    cell = runs.cell.to_numpy()
    averaging = np.equal.outer(np.arange(cell.max() + 1), cell).astype(float)
    averaging /= averaging.sum(axis=1, keepdims=True)
    trained = (runs.arm != "zero_shot").to_numpy()
    zero_shot = _pooled(runs[~trained])
    contrasts = _contrasts(cell, trained)
    if len(contrasts):
        tuned_twice = runs[runs.arm == "finetune"].groupby("cell").seed.nunique().gt(1).any()
        ratios, probability, squares = _posterior(runs, contrasts, pretrain_seeds > 1 and tuned_twice)
        degrees = len(contrasts)
    else:
        ratios, probability = np.array([[0.0, 0.0, 1.0]]), np.ones(1)
        squares, degrees = np.array([scatter[0]]), max(scatter[1], 1)
    squares = np.maximum(squares, degrees * SMALLEST_DEVIATION**2)
    from_seeds = bool(len(contrasts))
    known = from_seeds or scatter[1] > 0
    return Noise(runs, averaging, ratios, probability, squares, degrees, zero_shot, from_seeds, known)


def _pooled(runs: pd.DataFrame) -> tuple[float, int]:
    groups = runs.groupby("cell").test_loss
    degrees = int((groups.size() - 1).sum())
    return (
        (float(np.sqrt((groups.var(ddof=1) * (groups.size() - 1)).sum() / degrees)), degrees) if degrees else (0.0, 1)
    )


def _contrasts(cell: np.ndarray, used: np.ndarray) -> np.ndarray:
    """(contrasts, runs): for each cell of n seeds, n - 1 orthonormal differences between its runs."""
    rows = []
    for number in np.unique(cell[used]):
        members = np.flatnonzero(cell == number)
        for weights in helmert(len(members)) if len(members) > 1 else ():
            row = np.zeros(len(cell))
            row[members] = weights
            rows.append(row)
    return np.array(rows)


def _posterior(runs: pd.DataFrame, contrasts: np.ndarray, see_pretraining: bool) -> tuple[np.ndarray, ...]:
    """Ratios of the components (grid, 3), their posterior and the weighted sums of squares (REML on a grid)."""
    data = contrasts @ runs.test_loss.to_numpy()
    parts = [
        contrasts @ matrix @ contrasts.T
        for matrix in (
            np.diag((runs.arm == "finetune").to_numpy(dtype=float)),
            same_model(runs),
            same_prefix(runs),
            np.diag((runs.arm == "scratch").to_numpy(dtype=float)),
        )
    ]
    prior = np.gradient(SHARED_RATIOS) * SHARED_RATIOS / (1 + SHARED_RATIOS**2) ** 1.5
    shared = list(zip(SHARED_RATIOS, prior, strict=True))
    grid = list(
        product(shared if see_pretraining else [(0.0, 1.0)], shared, [(ratio, 1.0) for ratio in SCRATCH_RATIOS])
    )
    ratios = np.array([[ratio for ratio, _ in point] for point in grid])
    log_prior = np.log([np.prod([weight for _, weight in point]) for point in grid])
    likelihood, squares = np.empty(len(grid)), np.empty(len(grid))
    for i, (pretrain, prefix, scratch) in enumerate(ratios**2):
        covariance = parts[0] + pretrain * parts[1] + prefix * parts[2] + scratch * parts[3]
        factor = cho_factor(covariance, lower=True, check_finite=False)
        squares[i] = max(data @ cho_solve(factor, data), len(data) * SMALLEST_DEVIATION**2)
        likelihood[i] = -np.log(np.diag(factor[0])).sum() - len(data) / 2 * np.log(squares[i])
    posterior = np.exp(likelihood + log_prior - (likelihood + log_prior).max())
    return ratios, posterior / posterior.sum(), squares

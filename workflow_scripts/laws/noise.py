"""The noise of losses, pooled over all cells, and draws of it for the bootstrap.

Two or three seeds are too few to resample alone, so the noise is modelled (in nats, for all cells of one sampling unit):
- `pretrain`: shared by all runs that start from one pre-trained model, that is one (source, P, N, seed);
- `prefix`: shared by all runs on one (D, seed), fine-tuned or not, whatever N; prefixes of one shuffle nest, so a set has
  the pieces of every smaller one, and those of D < D' correlate with sqrt(D / D');
- a part of each run alone, of one size for fine-tuned runs and another for from-scratch runs.
All go as a power of D: losses of small sets differ more from seed to seed, with an exponent of -0.05 to -0.44 in eight of
the nine experiments of docs/experiments.md.

The components come from the differences between seeds within cells, whose likelihood (REML: Patterson and Thompson
1971) does not depend on the cells' means and so needs no n/(n-1) correction by hand.  Their own uncertainty is large
with few seeds; draws take them from their posterior on a grid, which widens intervals as a t distribution does.  The
prior of what is shared has the scale of a run's noise, the tail of a Cauchy distribution (Gelman 2006) and no mass at
zero (Chung et al. 2013): a few seeds often look as if they shared nothing, and intervals that believe it are too narrow.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from scipy.linalg import cho_factor, cho_solve, helmert
from scipy.sparse import csr_array

SHARED_RATIOS = np.array([0.1, 0.25, 0.5, 0.75, 1.0, 1.4, 2.0, 3.0, 4.5, 6.5])
SCRATCH_RATIOS = np.geomspace(0.2, 5.0, 7)
D_EXPONENTS = np.linspace(-1.0, 0.5, 13)
EXPECTED_D_EXPONENT, ITS_DEVIATION = -0.25, 0.25
"""Of the normal prior: from no effect of D to that of averaging over independent characters, whose exponent is -1/2."""
RELATIVE = ("pretrain", "prefix", "scratch_run")
"""Components whose deviation is searched as a ratio to that of a fine-tuned run."""
ROUNDING = 1e-9
"""Differences of ln D that are none."""
SMALLEST_DEVIATION = 1e-7
"""Nats: what a table without any noise is taken to have, so that weights stay finite."""


@dataclass(frozen=True)
class Noise:
    """Posterior of the components for `runs`, whose column `cell` counts cells from 0."""

    runs: pd.DataFrame
    averaging: csr_array
    """(cells, runs): from losses of runs to means of cells."""
    ratios: np.ndarray
    """(grid, 3): standard deviations of `RELATIVE`."""
    d_exponents: np.ndarray
    """(grid,): powers of D / `reference_d` in all of them."""
    reference_d: float
    """Characters for which deviations are stated: the geometric mean over the differences between seeds."""
    probability: np.ndarray
    """(grid,)"""
    squares: np.ndarray
    """(grid,): weighted sum of squares; the variance of a fine-tuned run is squares / chi-squared(degrees)."""
    degrees: int
    zero_shot: tuple[float, int]
    """Standard deviation of zero-shot losses between pre-training seeds, and its degrees of freedom; without any, it is
    not known."""
    from_seeds: bool
    """False where no cell has two seeds: the noise is then the scatter of from-scratch losses about their curves."""
    known: bool
    """False where there is neither: no curve has more than the 3 points that it takes to draw it."""

    def stated(self) -> dict[str, float | None]:
        """`deviations` and that of zero-shot losses; None where nothing tells them."""
        zero_shot, degrees = self.zero_shot
        found = self.deviations()
        return (found if self.known else dict.fromkeys(found)) | {"zero_shot": zero_shot if degrees else None}

    def deviations(self) -> dict[str, float]:
        """Posterior means of the standard deviations at `reference_d`, in nats per token."""
        run = np.sqrt(self.squares / self.degrees)
        values = {
            name: float(self.probability @ (run * ratio)) for name, ratio in zip(RELATIVE, self.ratios.T, strict=True)
        }
        return values | {"finetune_run": float(self.probability @ run)}

    @property
    def d_exponent(self) -> float:
        """Posterior mean."""
        return float(self.probability @ self.d_exponents)

    @property
    def beyond_search(self) -> dict[str, float]:
        """Components that more likely than not lie on an end of their search, and where that is, relative to a fine-tuned
        run's.  The lower end of what is shared is none: the prior stands for it.  A table without noise has nothing to
        search."""
        found = {}
        if self.squares.max() <= self.degrees * SMALLEST_DEVIATION**2:
            return found
        for name, ratio in zip(RELATIVE, self.ratios.T, strict=True):
            for end in {ratio.max()} | ({ratio.min()} if name == "scratch_run" else set()):
                if ratio.min() < ratio.max() and self.probability[ratio == end].sum() > 0.5:
                    found[name] = float(end)
        return found

    def covariance(self) -> np.ndarray:
        """(cells, cells): of the means of cells, at the posterior means of the components."""
        sd = self.deviations()
        of_d = self._of_d(self.d_exponent)
        own = of_d * self._own(sd["finetune_run"], sd["scratch_run"], self.zero_shot[0])
        models, prefixes = (
            self.averaging @ (of_d[:, None] * factor) for factor in (of_models(self.runs), of_prefixes(self.runs))
        )
        shared = sd["pretrain"] ** 2 * models @ models.T + sd["prefix"] ** 2 * prefixes @ prefixes.T
        return shared + np.diag(self.averaging.power(2) @ own**2)

    def draw(self, n: int, random: np.random.Generator) -> np.ndarray:
        """(n, cells): noise of the means of cells."""
        point = random.choice(len(self.probability), size=n, p=self.probability)
        run = np.sqrt(self.squares[point] / random.chisquare(self.degrees, n))
        pretrain, prefix, scratch_run = self.ratios[point].T * run
        deviation, degrees = self.zero_shot
        zero_shot = deviation * np.sqrt(degrees / random.chisquare(degrees, n)) if degrees else np.zeros(n)
        own = self._own(run[:, None], scratch_run[:, None], zero_shot[:, None])
        values = own * random.standard_normal((n, len(self.runs)))
        for deviation, factor in ((pretrain, of_models(self.runs)), (prefix, of_prefixes(self.runs))):
            values += deviation[:, None] * (random.standard_normal((n, factor.shape[1])) @ factor.T)
        return (self.averaging @ (values * self._of_d(self.d_exponents[point, None])).T).T

    def _of_d(self, exponent: float | np.ndarray) -> np.ndarray:
        """(..., runs): deviations of the runs over those at `reference_d`; 1 without any data."""
        d = self.runs.d_chars.to_numpy(dtype=float)
        return np.where(d > 0, np.maximum(d, 1.0) / self.reference_d, 1.0) ** exponent

    def _own(
        self, finetune: float | np.ndarray, scratch: float | np.ndarray, zero_shot: float | np.ndarray
    ) -> np.ndarray:
        arm = self.runs.arm.to_numpy()
        return np.where(arm == "finetune", finetune, np.where(arm == "scratch", scratch, zero_shot))


def of_models(runs: pd.DataFrame) -> np.ndarray:
    """(runs, models): 1 where a fine-tuned run starts from that pre-trained model, else 0; `model` tells those of one
    (source, P, N) apart."""
    tuned = (runs.arm == "finetune").to_numpy()
    model = runs.groupby(["init", "pretrain_tokens", "n_params", "model"]).ngroup().to_numpy()
    return (np.equal.outer(model, np.unique(model[tuned])) & tuned[:, None]).astype(float)


def of_prefixes(runs: pd.DataFrame) -> np.ndarray:
    """(runs, pieces): the root of the share that a piece of a seed's shuffle, between one D and the next, has in the set
    of a run.  So the noise of two sets has the correlation sqrt(D / D') if they are nested, and 0 if they are not."""
    used, seed = (runs.arm != "zero_shot").to_numpy(), runs.seed.to_numpy()
    d = np.maximum(runs.d_chars.to_numpy(dtype=float), 1.0)[:, None]
    shares = []
    for one in np.unique(seed[used]):
        mine = (used & (seed == one))[:, None]
        ends = np.unique(d[mine])
        shares.append(np.where(mine & (ends <= d), np.diff(ends, prepend=0.0) / d, 0.0))
    return np.sqrt(np.concatenate(shares, axis=1))


def estimate_noise(runs: pd.DataFrame, *, pretrain_seeds: int | None, scatter: tuple[float, int]) -> Noise:
    """Components of the noise of `runs` on one sampling unit (columns arm, init, n_params, d_chars, seed, model, cell,
    test_loss).

    `scatter` is the squared scatter of from-scratch losses about their curves, with its degrees of freedom: it serves
    where no cell has two seeds.  With fewer than two pre-training seeds that component cannot be seen and is 0:
    everything that follows is then conditional on the pre-trained weights.  With None, each seed is taken to have its own.
    """
    cell = runs.cell.to_numpy()
    averaging = csr_array((1 / np.bincount(cell)[cell], (cell, np.arange(len(cell)))))
    trained = (runs.arm != "zero_shot").to_numpy()
    zero_shot = _pooled(runs[~trained])
    contrasts = _contrasts(cell, trained)
    if contrasts.shape[0]:
        tuned_twice = runs[runs.arm == "finetune"].groupby("cell").seed.nunique().gt(1).any()
        paired = pretrain_seeds is None or pretrain_seeds > 1
        found, degrees = _posterior(runs, contrasts, paired and tuned_twice), contrasts.shape[0]
    else:
        found = {"ratios": np.array([[0.0, 0.0, 1.0]]), "d_exponents": np.zeros(1), "probability": np.ones(1)}
        found |= {"squares": np.array([scatter[0]]), "reference_d": 1.0}
        degrees = max(scatter[1], 1)
    found["squares"] = np.maximum(found["squares"], degrees * SMALLEST_DEVIATION**2)
    from_seeds = contrasts.shape[0] > 0
    known = from_seeds or scatter[1] > 0
    return Noise(runs, averaging, degrees=degrees, zero_shot=zero_shot, from_seeds=from_seeds, known=known, **found)


def _pooled(runs: pd.DataFrame) -> tuple[float, int]:
    groups = runs.groupby("cell").test_loss
    degrees = int((groups.size() - 1).sum())
    if not degrees:
        return 0.0, 0
    return float(np.sqrt((groups.var(ddof=1) * (groups.size() - 1)).sum() / degrees)), degrees


def _contrasts(cell: np.ndarray, used: np.ndarray) -> csr_array:
    """(contrasts, runs): for each cell of n seeds, n - 1 orthonormal differences between its runs."""
    values, rows, columns = [], [], []
    for _, members in pd.Series(np.flatnonzero(used)).groupby(cell[used]):
        weights = helmert(len(members)) if len(members) > 1 else np.empty((0, 1))
        first = rows[-1][-1] + 1 if rows else 0
        if len(weights):
            values.append(weights.ravel())
            rows.append(np.repeat(np.arange(first, first + len(weights)), len(members)))
            columns.append(np.tile(members.to_numpy(), len(weights)))
    if not rows:
        return csr_array((0, len(cell)))
    values, rows, columns = (np.concatenate(parts) for parts in (values, rows, columns))
    return csr_array((values, (rows, columns)), shape=(rows[-1] + 1, len(cell)))


def _posterior(runs: pd.DataFrame, contrasts: csr_array, see_pretraining: bool) -> dict[str, Any]:
    """Ratios of the components (grid, 3), exponents of D, their posterior and the weighted sums of squares (REML on a grid)."""
    prior = np.gradient(SHARED_RATIOS) * SHARED_RATIOS / (1 + SHARED_RATIOS**2) ** 1.5
    shared = list(zip(SHARED_RATIOS, prior, strict=True))
    grid = list(
        product(shared if see_pretraining else [(0.0, 1.0)], shared, [(ratio, 1.0) for ratio in SCRATCH_RATIOS])
    )
    ratios = np.array([[ratio for ratio, _ in point] for point in grid])
    log_prior = np.log([np.prod([weight for _, weight in point]) for point in grid])
    log_d, reference_d = _log_d(runs, contrasts)
    exponents = D_EXPONENTS if np.ptp(log_d) > ROUNDING else np.zeros(1)
    log_prior = log_prior[:, None] - ((exponents - EXPECTED_D_EXPONENT) / ITS_DEVIATION) ** 2 / 2
    likelihood, squares = _likelihood(runs, contrasts, ratios, np.exp(-np.outer(log_d, exponents)))
    posterior = np.exp(likelihood + log_prior - (likelihood + log_prior).max())
    return {
        "ratios": np.repeat(ratios, len(exponents), axis=0),
        "d_exponents": np.tile(exponents, len(ratios)),
        "reference_d": reference_d,
        "probability": (posterior / posterior.sum()).ravel(),
        "squares": squares.ravel(),
    }


def _log_d(runs: pd.DataFrame, contrasts: csr_array) -> tuple[np.ndarray, float]:
    """ln D of the contrasts, each of one cell, about its mean; and the D of that mean."""
    weights = abs(contrasts)
    log_d = weights @ np.log(np.maximum(runs.d_chars.to_numpy(dtype=float), 1.0)) / weights.sum(axis=1)
    return log_d - log_d.mean(), float(np.exp(log_d.mean()))


def _likelihood(
    runs: pd.DataFrame, contrasts: csr_array, ratios: np.ndarray, scales: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Log-likelihood and weighted sum of squares (grid, exponents) of the contrasts at each of `ratios` (grid, 3) and of
    `scales` (contrasts, exponents), which make contrasts of any D as large as one of the reference.

    Their covariance is diagonal (1, or the from-scratch ratio squared) but for what few models and pieces share, so
    only a matrix of the size of those is inverted (Woodbury), whatever the number of runs.  The logarithms of the scales
    sum to 0, since the reference is their mean.
    """
    data, models, prefixes = (
        contrasts @ values for values in (runs.test_loss.to_numpy(), of_models(runs), of_prefixes(runs))
    )
    data = data[:, None] * scales
    shared = np.concatenate([models, prefixes], axis=1)
    from_scratch = abs(contrasts) @ (runs.arm == "scratch").to_numpy(dtype=float) > 0
    parts = [
        (shared[rows].T @ shared[rows], shared[rows].T @ data[rows], (data[rows] ** 2).sum(axis=0))
        for rows in (~from_scratch, from_scratch)
    ]
    likelihood, squares = (np.empty((len(ratios), scales.shape[1])) for _ in range(2))
    for i, (pretrain, prefix, scratch) in enumerate(ratios):
        products, moments, total = (tuned + other / scratch**2 for tuned, other in zip(*parts, strict=True))
        scale = np.repeat([pretrain, prefix], [models.shape[1], prefixes.shape[1]])
        factor = cho_factor(np.eye(len(scale)) + scale[:, None] * products * scale, lower=True, check_finite=False)
        moments = scale[:, None] * moments
        explained = (moments * cho_solve(factor, moments)).sum(axis=0)
        squares[i] = np.maximum(total - explained, len(data) * SMALLEST_DEVIATION**2)
        log_root = np.log(np.diag(factor[0])).sum() + from_scratch.sum() * np.log(scratch)
        likelihood[i] = -log_root - len(data) / 2 * np.log(squares[i])
    return likelihood, squares

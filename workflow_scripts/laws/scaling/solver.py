"""How a law is fitted: variable projection finds the basins, Gauss-Newton the optimum of each.

Given the shapes a law is linear in its amplitudes, which non-negative least squares then gives at once: five unknowns
of Hoffmann et al.'s surface become a search over two (Golub and Pereyra 1973; for scaling laws 2603.22339).  A grid
over the shapes costs milliseconds, and cannot miss a basin as gradients from a far start do.  The best points of the
grid are polished in all parameters by Levenberg-Marquardt, inside the domain.

Residuals are those of ln y.  The objective is the SUM over points (a mean is so small that optimizers stop early:
Besiroglu et al. 2024) of half their squares, or of Huber's function.  Terms are divided by their geometric means over
the points, where amplitudes and exponents correlate least.  Derivatives by the shapes are complex steps, exact to the
last digit (Squire and Trapp 1998).  Many data sets over the same points are fitted side by side: arrays are
(draws, points), positions (draws, shapes and amplitudes).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from workflow_scripts.laws.scaling.law import Law, Parameters

GRID = {0: 1, 1: 40, 2: 14, 3: 8, 4: 5, 5: 4}
"""Points along each axis of the grid, by the number of shapes."""
STARTS = 12
STEPS = 200
LEAST_SQUARES = 1e6
HUBER = 1e-3
"""The delta of Hoffmann et al. 2022."""
COMPLEX_STEP = 1e-30
TOLERANCE = 1e-10
"""Converged is where a Newton step would gain less than this fraction of the objective."""
EXACT = 1e-12
"""Residuals of ln y of this size are none."""


@dataclass(frozen=True)
class Problem:
    law: Law
    x: tuple[np.ndarray, ...]
    """Each (points,)."""
    log_y: np.ndarray
    """(draws, points)"""
    delta: float
    """Residuals beyond it count linearly (Huber); `LEAST_SQUARES` is out of their reach."""

    @property
    def centre(self) -> np.ndarray:
        """(draws, 1): mean ln y."""
        return self.log_y.mean(axis=1, keepdims=True)

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        low, high = (np.array([shape.bounds[i] for shape in self.law.shapes]) for i in (0, 1))
        n = len(self.law.amplitudes)
        return np.concatenate([low, np.zeros(n)]), np.concatenate([high, np.full(n, np.inf)])

    def take(self, chosen: np.ndarray) -> Problem:
        return replace(self, log_y=self.log_y[chosen])

    def terms(self, coordinates: np.ndarray) -> tuple[np.ndarray, np.ndarray, float | np.ndarray]:
        """At `coordinates` (draws, shapes): ln of the scaled terms (draws, terms, points), ln of the scales
        (draws, terms, 1), and the outer power (draws, 1)."""
        shapes = [shape.value(coordinates[:, i, None]) for i, shape in enumerate(self.law.shapes)]
        size = (len(coordinates), len(self.x[0]))
        terms = [np.broadcast_to(term, size) for term in self.law.log_terms(*self.x, *shapes)]
        logs = np.stack(terms, axis=1)
        scales = logs.mean(axis=2, keepdims=True)
        return logs - scales, scales, self.law.power(*shapes)

    def log_response(self, position: np.ndarray) -> np.ndarray:
        """ln y relative to its mean (draws, points)."""
        coordinates, amplitudes = self._split(position)
        logs, _, power = self.terms(coordinates)
        return power * np.log((amplitudes[:, :, None] * np.exp(logs)).sum(axis=1))

    def residuals(self, position: np.ndarray) -> np.ndarray:
        return self.log_y - self.centre - self.log_response(position)

    def objective(self, position: np.ndarray) -> np.ndarray:
        """(draws,)"""
        with np.errstate(all="ignore"):
            size = np.abs(self.residuals(position))
            value = np.where(size <= self.delta, size**2 / 2, self.delta * (size - self.delta / 2))
            total = value.sum(axis=1)
        return np.where(np.isfinite(total), total, np.inf)

    def jacobian(self, position: np.ndarray) -> np.ndarray:
        """Of `log_response`: (draws, points, parameters)."""
        coordinates, amplitudes = self._split(position)
        logs, _, power = self.terms(coordinates)
        terms = np.exp(logs)
        total = (amplitudes[:, :, None] * terms).sum(axis=1, keepdims=True)
        by_amplitude = np.moveaxis(np.asarray(power)[..., None] * terms / total, 1, 2)
        by_shape = []
        for i in range(coordinates.shape[1]):
            shifted = position.astype(complex)
            shifted[:, i] += COMPLEX_STEP * 1j
            by_shape.append(self.log_response(shifted).imag / COMPLEX_STEP)
        return np.concatenate([np.stack(by_shape, axis=2), by_amplitude], axis=2) if by_shape else by_amplitude

    def _split(self, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n = len(self.law.shapes)
        return position[:, :n], position[:, n:]

    def position(self, parameters: Parameters) -> np.ndarray:
        """(1, parameters): where these lie in the coordinates of the search; the reverse of `parameters`."""
        coordinates = np.array([[shape.coordinate(parameters[shape.name]) for shape in self.law.shapes]])
        _, scales, power = self.terms(coordinates)
        values = np.array([[parameters[name] for name in self.law.amplitudes]])
        return np.concatenate([coordinates, values * np.exp(scales[:, :, 0] - self.centre / power)], axis=1)

    def parameters(self, position: np.ndarray) -> dict[str, np.ndarray]:
        """Each (draws,), as the literature writes them."""
        coordinates, amplitudes = self._split(position)
        _, scales, power = self.terms(coordinates)
        values = amplitudes * np.exp(self.centre / power - scales[:, :, 0])
        found = {shape.name: shape.value(coordinates[:, i]) for i, shape in enumerate(self.law.shapes)}
        found |= {name: values[:, j] for j, name in enumerate(self.law.amplitudes)}
        return self.law.complete(found)


@dataclass(frozen=True)
class Solution:
    position: np.ndarray
    objective: np.ndarray
    converged: np.ndarray


def starts(problem: Problem) -> np.ndarray:
    """(starts, parameters): for a single draw, the best points of the grid of which no two are neighbours."""
    per_axis = GRID[len(problem.law.shapes)]
    axes = [np.linspace(*shape.bounds, per_axis + 2)[1:-1] for shape in problem.law.shapes]
    index = np.indices([per_axis] * len(axes)).reshape(len(axes), -1).T if axes else np.zeros((1, 0), dtype=int)
    coordinates = np.stack([axis[index[:, i]] for i, axis in enumerate(axes)], axis=1) if axes else np.zeros((1, 0))
    position = np.concatenate([coordinates, project(problem, coordinates)], axis=1)
    objective = replace(problem, log_y=np.repeat(problem.log_y, len(position), axis=0)).objective(position)
    chosen: list[int] = []
    for i in np.argsort(objective, kind="stable"):
        if np.isfinite(objective[i]) and all(np.abs(index[i] - index[j]).max(initial=0) > 1 for j in chosen):
            chosen.append(int(i))
        if len(chosen) == STARTS:
            break
    return position[chosen]


def project(problem: Problem, coordinates: np.ndarray) -> np.ndarray:
    """(grid, terms): amplitudes of least squares of y^(1/p), in relative residuals, at each point of the grid."""
    logs, _, power = problem.terms(coordinates)
    with np.errstate(over="ignore", invalid="ignore"):
        design = np.exp(logs - ((problem.log_y - problem.centre) / power)[:, None, :])
    usable = np.isfinite(design).all(axis=(1, 2))
    amplitudes = np.full(design.shape[:2], np.nan)
    amplitudes[usable] = nonnegative(design[usable])
    return amplitudes


def nonnegative(design: np.ndarray) -> np.ndarray:
    """Amplitudes c ≥ 0 (m, terms) that bring Σ c design (m, terms, points) nearest to 1, by trying every set of terms.

    With at most four terms that is at most 15 small linear systems, solved for all m at once.
    """
    gram = design @ np.moveaxis(design, 1, 2)
    moment = design.sum(axis=2)
    n_terms = design.shape[1]
    best, gained = np.zeros(moment.shape), np.zeros(len(moment))
    for size in range(1, n_terms + 1):
        for chosen in map(list, combinations(range(n_terms), size)):
            inverse = np.linalg.pinv(gram[:, chosen][:, :, chosen], hermitian=True)
            solution = (inverse @ moment[:, chosen, None])[:, :, 0]
            gain = (solution * moment[:, chosen]).sum(axis=1)
            better = (solution >= 0).all(axis=1) & (gain > gained)
            gained = np.where(better, gain, gained)
            full = np.zeros(moment.shape)
            full[:, chosen] = solution
            best = np.where(better[:, None], full, best)
    return best


def minimise(problem: Problem, start: np.ndarray) -> Solution:
    """Levenberg-Marquardt from `start` (draws, parameters), all draws side by side, until each has converged."""
    lower, upper = problem.bounds
    position = np.clip(np.asarray(start, dtype=float), lower, upper)
    objective = problem.objective(position)
    damping, converged = np.full(len(position), 1e-3), np.zeros(len(position), dtype=bool)
    enough = problem.log_y.shape[1] * EXACT**2
    live = np.arange(len(position))
    for _ in range(STEPS):
        part, here = problem.take(live), position[live]
        gradient, curvature, scale = _derivatives(part, here)
        free = ~(((here <= lower) & (gradient > 0)) | ((here >= upper) & (gradient < 0)))
        gain = -(_step(gradient, curvature, 1e-12 * scale, free) * gradient).sum(axis=1)
        converged[live] = gain <= TOLERANCE * objective[live] + enough
        step = _step(gradient, curvature, damping[live, None] * scale, free)
        proposal = np.clip(here + step, lower, upper)
        trial = part.objective(proposal)
        better = trial < objective[live]
        position[live[better]], objective[live[better]] = proposal[better], trial[better]
        damping[live] = np.where(better, np.maximum(damping[live] / 6, 1e-12), np.minimum(damping[live] * 5, 1e12))
        live = live[~converged[live]]
        if not len(live):
            break
    return Solution(position, objective, converged)


def _derivatives(problem: Problem, position: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradient (draws, p), Gauss-Newton curvature (draws, p, p), and the scale of each coordinate (draws, p)."""
    residuals, jacobian = problem.residuals(position), problem.jacobian(position)
    size = np.abs(residuals)
    near = size <= problem.delta
    pull = np.where(near, residuals, np.sign(residuals) * problem.delta)
    gradient = -(pull[:, None, :] @ jacobian)[:, 0]
    transposed = np.moveaxis(jacobian, 1, 2)
    curvature = (transposed * near[:, None, :]) @ jacobian
    scale = np.einsum("dn,dnp->dp", problem.delta / np.maximum(size, problem.delta), jacobian**2)
    return gradient, curvature, np.maximum(scale, 1e-14 * scale.max(axis=1, keepdims=True) + 1e-300)


def _step(gradient: np.ndarray, curvature: np.ndarray, added: np.ndarray, free: np.ndarray) -> np.ndarray:
    """The Newton step of the free coordinates, with `added` on the diagonal of the curvature."""
    identity = np.eye(gradient.shape[1])
    matrix = curvature + added[:, :, None] * identity
    matrix = np.where(free[:, :, None] & free[:, None, :], matrix, identity)
    return np.linalg.solve(matrix, -(gradient * free)[:, :, None])[:, :, 0]

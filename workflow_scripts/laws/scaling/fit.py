"""Fitting a law to points, and how sure that is.

    surface = fit(CHINCHILLA, loss, {"N": n, "D": d})            # least squares of ln y; huber=HUBER as published
    surface.parameters["alpha"], surface.status, surface.agreed
    draws = bootstrap(surface)
    draws.interval(lambda p: optimal_allocation(p, 5.76e23).n)

A fit that failed is a LawError with advice; trouble that leaves a usable fit is its status.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from workflow_scripts.laws.percentiles import ends, finite
from workflow_scripts.laws.scaling.law import Law, LawError, Parameters
from workflow_scripts.laws.scaling.solver import EXACT, LEAST_SQUARES, Problem, minimise, starts

AGREEMENT = 1e-6
"""Two starts agree if their objectives differ by less than this fraction."""
SINGULAR = 1e-8
"""Ratio of singular values of the scaled Jacobian below which points do not decide the parameters."""
AT_ONCE = 2_000_000
"""Draws times points fitted side by side: some hundred megabytes."""


@dataclass(frozen=True)
class Fit:
    law: Law
    parameters: dict[str, float]
    """Shapes, amplitudes and what is derived from them, in the units of the points, at full precision."""
    objective: float
    """Sum over points of half the squared residuals of ln y, or of Huber's function of them."""
    n_points: int
    deviation: float
    """Of ln y about the law: root of the squared residuals over the degrees of freedom; NaN if there are none."""
    starts: int
    agreed: int
    """Starts that came within `AGREEMENT` of the best objective."""
    on_bound: tuple[str, ...]
    """Parameters that ended on a bound of their domain, such as a floor of 0."""
    problem: Problem
    position: np.ndarray
    """(1, parameters): the optimum in the coordinates of the solver."""

    @property
    def status(self) -> str:
        """`ok`, `on a bound` or `found by one start only`."""
        if self.on_bound:
            return "on a bound"
        return "ok" if self.agreed > 1 or not self.law.shapes else "found by one start only"

    @property
    def search_ended(self) -> bool:
        """Whether a shape lies on its bound.  An amplitude of 0 is a result, not the end of a search."""
        return any(shape.name in self.on_bound for shape in self.law.shapes)

    def predict(self, **variables: float | np.ndarray) -> np.ndarray:
        return self.law.predict(self.parameters, **variables)


def fit(
    law: Law,
    response: np.ndarray,
    variables: Mapping[str, np.ndarray],
    *,
    huber: float = LEAST_SQUARES,
    near: Parameters | None = None,
) -> Fit:
    """The law nearest to `response` (points,) at `variables`, each (points,) in the units that `law` states.

    `huber` is the residual of ln y beyond which points count linearly.  The search starts from the grid, or from the
    parameters `near`, those of a fit to nearly the same points.  Raises LawError if values are missing or not positive,
    if points are too few or do not decide the parameters, or if the best start did not converge.
    """
    y, x = _checked(law, response, variables)
    problem = Problem(law, tuple(x[name] for name in law.variables), np.log(y)[None], huber)
    start = starts(problem) if near is None else problem.position(near)
    many = Problem(law, problem.x, np.repeat(problem.log_y, len(start), axis=0), huber)
    found = minimise(many, start)
    best = int(found.objective.argmin())
    if not found.converged[best]:
        raise LawError(
            f"{law.name}: the best of {len(start)} starts did not converge;"
            " look for outliers and mixed units, or fit a law with fewer parameters"
        )
    position, objective = found.position[best : best + 1], float(found.objective[best])
    on_bound = _on_bound(problem, position[0])
    _require_decided(problem, position, on_bound, x)
    close = AGREEMENT * objective + len(y) * EXACT * AGREEMENT
    degrees = len(y) - law.n_parameters
    squares = float((problem.residuals(position) ** 2).sum())
    return Fit(
        law=law,
        parameters={name: float(value[0]) for name, value in problem.parameters(position).items()},
        objective=objective,
        n_points=len(y),
        deviation=float(np.sqrt(squares / degrees)),
        starts=len(start),
        agreed=int((found.objective <= objective + close).sum()),
        on_bound=on_bound,
        problem=problem,
        position=position,
    )


def _checked(
    law: Law, response: np.ndarray, variables: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """In float64, whatever came: float32 has too few digits for a fit."""
    if absent := [name for name in law.variables if name not in variables]:
        raise LawError(f"{law.name}: no variable {absent[0]}; it needs {', '.join(law.variables)}")
    y = np.asarray(response, dtype=float)
    x = {name: np.asarray(variables[name], dtype=float) for name in law.variables}
    for name, values in {law.response: y, **x}.items():
        if values.shape != y.shape or values.ndim != 1:
            raise LawError(f"{law.name}: {name} has the shape {values.shape}, expected one value a point, {y.shape}")
        good = np.isfinite(values) & (values >= 0 if name in law.may_be_zero else values > 0)
        if not good.all():
            row = int(np.flatnonzero(~good)[0])
            raise LawError(f"{law.name}: {name} of point {row + 1} is {values[row]}, expected a finite, positive value")
    if len(y) <= law.n_parameters:
        raise LawError(
            f"{law.name}: {len(y)} points for {law.n_parameters} parameters; it needs at least {law.n_parameters + 1}"
        )
    return y, x


def _names(law: Law) -> tuple[str, ...]:
    return (*(shape.name for shape in law.shapes), *law.amplitudes)


def _on_bound(problem: Problem, position: np.ndarray) -> tuple[str, ...]:
    lower, upper = problem.bounds
    return tuple(
        name
        for name, value, low, high in zip(_names(problem.law), position, lower, upper, strict=True)
        if not low < value < high
    )


def _require_decided(
    problem: Problem, position: np.ndarray, on_bound: tuple[str, ...], x: Mapping[str, np.ndarray]
) -> None:
    """Raises LawError unless the points decide the parameters that lie inside their bounds."""
    inside = [name not in on_bound for name in _names(problem.law)]
    jacobian = problem.jacobian(position)[0][:, inside]
    lengths = np.linalg.norm(jacobian, axis=0)
    values = np.linalg.svd(jacobian / np.where(lengths > 0, lengths, 1.0), compute_uv=False)
    if min(lengths.min() / lengths.max(), values[-1] / values[0]) < SINGULAR:
        distinct = ", ".join(f"{len(np.unique(values))} values of {name}" for name, values in x.items())
        raise LawError(
            f"{problem.law.name}: the points do not decide its {problem.law.n_parameters} parameters"
            f" (they have {distinct}); vary each variable apart from the others, over at least three values"
        )


@dataclass(frozen=True)
class Draws:
    """The law fitted again to each draw."""

    fit: Fit
    parameters: dict[str, np.ndarray]
    """Each (draws,)"""
    converged: np.ndarray
    """(draws,)"""
    edge: dict[str, np.ndarray]
    """Of each exponent, (draws,): -1 or +1 where it ended on the lower or upper bound of the search, else 0.  An
    amplitude of 0 is a result, not the end of a search."""
    on_bound: int
    """Draws with a parameter on a bound of its domain."""

    @property
    def not_converged(self) -> int:
        return int((~self.converged).sum())

    def interval(self, quantity: str | Callable[[Parameters], Any]) -> dict[str, float]:
        """`estimate`, `low` and `high` (95 %) of a parameter, or of a number that follows from the parameters.

        An end is not finite where draws decide it that did not converge, or whose search ended on a bound: there the
        exponent lies beyond it, and everything else is unknown.
        """
        function = (lambda parameters: parameters[quantity]) if isinstance(quantity, str) else quantity
        side = self.edge.get(quantity, np.zeros(len(self.converged))) if isinstance(quantity, str) else 0.0
        unknown = ~self.converged | ((np.abs(list(self.edge.values())).sum(axis=0) > 0) & (side == 0))
        values = np.broadcast_to(function(self.parameters), unknown.shape)
        low, high = ends(np.where(unknown, np.nan, values), side < 0, side > 0)
        return {"estimate": float(function(self.fit.parameters)), "low": low, "high": high}

    def known(self, quantity: str | Callable[[Parameters], Any]) -> dict[str, float | None]:
        """`interval`, with None for what is not finite."""
        return {end: finite(value) for end, value in self.interval(quantity).items()}


def _numbered(groups: np.ndarray) -> np.ndarray:
    """The number of each point's group, whose names (points, names) may be numbers or text."""
    table = pd.DataFrame(groups)
    return table.groupby(list(table.columns), dropna=False).ngroup().to_numpy()


def bootstrap(fit: Fit, draws: int = 1000, seed: int = 0, groups: np.ndarray | None = None) -> Draws:
    """Fits the law again to `draws` data sets of the wild bootstrap (Wu 1986; clusters: Cameron et al. 2008).

    Residuals, divided by the root of 1 - leverage, stay at their points and change their signs at random: so the
    design is kept, and noise may differ between points.  Points of one of `groups` (points, names) share their sign, as
    runs on one prefix share their luck.  A factor common to a draw, sqrt(m / chi-squared(m)) for m degrees of freedom,
    widens intervals as a t distribution does.  Raises LawError if there are no more groups than parameters.
    """
    problem, position = fit.problem, fit.position
    group = np.arange(fit.n_points) if groups is None else _numbered(groups)
    degrees = int(group.max()) + 1 - fit.law.n_parameters
    if degrees < 1:
        raise LawError(
            f"{fit.law.name}: {int(group.max()) + 1} independent groups of points for {fit.law.n_parameters}"
            " parameters; intervals need at least one group more"
        )
    q, _ = np.linalg.qr(problem.jacobian(position)[0])
    leverage = (q**2).sum(axis=1)
    noise = problem.residuals(position)[0] / np.sqrt(np.maximum(1 - leverage, 1e-3))
    centre = problem.log_y - problem.residuals(position)
    random = np.random.default_rng(seed)
    multiplier = random.choice([-1.0, 1.0], (draws, int(group.max()) + 1))
    multiplier *= np.sqrt(degrees / random.chisquare(degrees, (draws, 1)))
    lower, upper = (bounds[: len(fit.law.shapes)] for bounds in problem.bounds)
    parts, converged, edges, bound = [], [], [], 0
    for rows in np.array_split(np.arange(draws), -(-draws * fit.n_points // AT_ONCE)):
        drawn = Problem(fit.law, problem.x, centre + noise * multiplier[rows][:, group], problem.delta)
        found = minimise(drawn, np.repeat(position, len(rows), axis=0))
        parts.append(drawn.parameters(found.position))
        exponents = found.position[:, : len(fit.law.shapes)]
        converged.append(found.converged)
        edges.append((exponents >= upper).astype(int) - (exponents <= lower))
        bound += sum(bool(_on_bound(drawn, one)) for one in found.position)
    parameters = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    edge = dict(zip((shape.name for shape in fit.law.shapes), np.concatenate(edges).T, strict=True))
    return Draws(fit, parameters, np.concatenate(converged), edge, bound)

"""What a scaling law is: one type that serves all of them.

Every law here has the form

    y = ( A_1 t_1(x; θ) + A_2 t_2(x; θ) + ... ) ^ p(θ)

with amplitudes A ≥ 0 that it is linear in (up to the outer power) and a few shapes θ, mostly exponents, that it is not.
So a law is its terms, in logs; the domain of each shape, and whether it is searched in logs; and the names by which the
literature knows the parameters.  No law brings derivatives or a solver of its own (`solver.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

Parameters = Mapping[str, float | np.ndarray]
"""Values by name; arrays (draws,) for the draws of a bootstrap."""


class LawError(ValueError):
    """A law cannot be fitted; the message says what was found, what is needed and what to do."""


@dataclass(frozen=True)
class Shape:
    """A parameter in which a law is not linear."""

    name: str
    low: float
    high: float
    log: bool = True
    """Searched in its logarithm (exponents, scales), not as it is (slopes of either sign)."""

    @property
    def bounds(self) -> tuple[float, float]:
        """The domain in the coordinate of the search."""
        return (np.log(self.low), np.log(self.high)) if self.log else (self.low, self.high)

    def value(self, coordinate: np.ndarray) -> np.ndarray:
        return np.exp(coordinate) if self.log else coordinate

    def coordinate(self, value: float) -> float:
        return float(np.log(value)) if self.log else value


def _one(*shapes: np.ndarray) -> float:
    return 1.0


def without_more(parameters: Parameters) -> dict[str, np.ndarray]:
    return {}


@dataclass(frozen=True)
class Law:
    name: str
    equation: str
    source: str
    response: str
    """What y is, with its unit."""
    variables: tuple[str, ...]
    shapes: tuple[Shape, ...]
    amplitudes: tuple[str, ...]
    log_terms: Callable[..., tuple[float | np.ndarray, ...]]
    """(*variables, *shapes) -> ln t of each amplitude's term, analytic in the shapes."""
    power: Callable[..., float | np.ndarray] = _one
    """(*shapes) -> p"""
    derived: Callable[[Parameters], dict[str, np.ndarray]] = without_more
    """Further names of the same content, such as N_c = A^(1/alpha)."""
    may_be_zero: tuple[str, ...] = ()
    """Variables that need not be positive."""

    @property
    def n_parameters(self) -> int:
        return len(self.shapes) + len(self.amplitudes)

    def predict(self, parameters: Parameters, **variables: float | np.ndarray) -> np.ndarray:
        """y at the variables, which broadcast against the parameters."""
        if set(variables) != set(self.variables):
            raise LawError(f"{self.name}: found the variables {_names(variables)}, expected {_names(self.variables)}")
        shapes = [np.asarray(parameters[shape.name], dtype=float) for shape in self.shapes]
        x = [np.asarray(variables[name], dtype=float) for name in self.variables]
        terms = self.log_terms(*x, *shapes)
        total = sum(
            np.asarray(parameters[name]) * np.exp(term) for name, term in zip(self.amplitudes, terms, strict=True)
        )
        return total ** self.power(*shapes)

    def complete(self, parameters: Parameters) -> dict[str, np.ndarray]:
        """The parameters and those derived from them."""
        return dict(parameters) | self.derived(parameters)


def _names(names: Mapping[str, object] | tuple[str, ...]) -> str:
    return ", ".join(names) or "none"

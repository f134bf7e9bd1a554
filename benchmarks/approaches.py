"""How far approaches 1 and 2 to compute-optimal sizes are off without any noise, where approach 3 is exact.

    python -m benchmarks.approaches

Points lie on a surface L = E + A/N^alpha + B/D^beta.  Approach 2 and 3 see seven sizes at each of seven budgets from 1e18
to 1e22 FLOPs, approach 1 learning curves of 25 sizes; told is by how much the exponent of N_opt(C) is off, and N_opt at
1e24 FLOPs over the true one.
"""

from __future__ import annotations

import numpy as np

from workflow_scripts.laws.scaling.catalogue import CHINCHILLA
from workflow_scripts.laws.scaling.compute import approach_1, approach_2, optimal_allocation
from workflow_scripts.laws.scaling.fit import fit
from workflow_scripts.laws.scaling.law import Parameters

SURFACES = {
    "refit (Besiroglu et al. 2024)": {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658},
    "alpha three times beta": {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.465, "beta": 0.155},
}
BUDGETS = np.geomspace(1e18, 1e22, 7)
FAR = 1e24
SIZES = {
    "within a factor 4 of the optimum": (4.0, np.ones(7)),
    "within a factor 16": (16.0, np.ones(7)),
    "within a factor 8, drifting from 1/3 to 3 times the optimum": (8.0, np.geomspace(1 / 3, 3, 7)),
}
"""Of approaches 2 and 3: how far the sizes of a budget reach to both sides, and what their centre is of the optimum."""


def isoflops(surface: Parameters, reach: float, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Budget, N and loss of each point."""
    sizes = (optimal_allocation(surface, BUDGETS).n * centre)[:, None] * np.geomspace(1 / reach, reach, 7)
    budget = np.broadcast_to(BUDGETS[:, None], sizes.shape)
    return budget.ravel(), sizes.ravel(), CHINCHILLA.predict(surface, N=sizes, D=budget / 6 / sizes).ravel()


def learning_curves(surface: Parameters) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """N, FLOPs and loss of the points of 25 curves, around the optima of all budgets."""
    first, *_, last = optimal_allocation(surface, BUDGETS).n
    size, flops = (
        axis.ravel() for axis in np.meshgrid(np.geomspace(first / 9, last * 9, 25), np.geomspace(1e17, 1e23, 200))
    )
    return size, flops, CHINCHILLA.predict(surface, N=size, D=flops / 6 / size)


def rows(name: str) -> list[tuple[str, str, float, float]]:
    """Surface, approach, error of the exponent, N_opt at `FAR` over the true one."""
    surface = SURFACES[name]
    exponent, n = surface["beta"] / (surface["alpha"] + surface["beta"]), optimal_allocation(surface, FAR).n
    size, flops, loss = learning_curves(surface)
    found = {"approach 1, learning curves": approach_1(size, size, flops, loss)}
    found |= {f"approach 2, {what}": approach_2(*isoflops(surface, *sizes)) for what, sizes in SIZES.items()}
    told = [(name, what, law.parameters["alpha"] - exponent, law.predict(C=FAR) / n) for what, law in found.items()]
    for what, sizes in SIZES.items():
        budget, size, loss = isoflops(surface, *sizes)
        p = fit(CHINCHILLA, loss, {"N": size, "D": budget / 6 / size}).parameters
        error = p["beta"] / (p["alpha"] + p["beta"]) - exponent
        told.append((name, f"approach 3, {what}", error, optimal_allocation(p, FAR).n / n))
    return told


def main() -> None:
    print(f"| surface | approach and sizes | error of the exponent | N_opt at {FAR:g} FLOPs, of the truth |")
    print("|---|---|---|---|")
    for name in SURFACES:
        for surface, what, error, factor in rows(name):
            print(f"| {surface} | {what} | {error:+.4f} | {factor:.3f} |")


if __name__ == "__main__":
    main()

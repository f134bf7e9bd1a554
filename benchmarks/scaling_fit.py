"""A Chinchilla-form fit of 250 points beside the package `chinchilla`: the same data, the same run, error and time.

    python -m benchmarks.scaling_fit [--rounds 5] [--grid 2] [--out FILE.md]

Points are drawn on the surface of Besiroglu et al. 2024 with symmetric noise; each round has its own, and the contenders
take turns on them.  The peer starts from a grid of `--grid` points for each of five parameters over the ranges of its
README, with its default loss and with the published Huber loss of the logarithm; its plots are off.  Times are of the
CPU, over all processes (the peer starts one a core).  Needs `pip install chinchilla`, in an environment of its own.
"""

from __future__ import annotations

import argparse
import functools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from chinchilla import Chinchilla
from chinchilla._metrics import asymmetric_mae, log_huber

from workflow_scripts.files import write_text
from workflow_scripts.laws.scaling.catalogue import CHINCHILLA
from workflow_scripts.laws.scaling.compute import optimal_allocation
from workflow_scripts.laws.scaling.fit import bootstrap, fit
from workflow_scripts.laws.scaling.solver import HUBER

SURFACE = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}
POINTS, NOISE, DRAWS, BUDGET = 250, 0.01, 1000, 5.76e23
RANGES = {"E": (1, 2), "a": (1, 10), "b": (1, 10), "alpha": (0.1, 0.7), "beta": (0.1, 0.7)}
Points = tuple[np.ndarray, np.ndarray, np.ndarray]


def cpu_seconds() -> float:
    """Of this process and of those that it started and that have ended."""
    return sum(os.times()[:4])


def points(seed: int) -> Points:
    """N, D (tokens) and loss (nats per token)."""
    random = np.random.default_rng(seed)
    n, d = 10 ** random.uniform(7, 10, POINTS), 10 ** random.uniform(9, 12, POINTS)
    return n, d, CHINCHILLA.predict(SURFACE, N=n, D=d) * np.exp(NOISE * random.standard_normal(POINTS))


def ours(data: Points, **objective: float) -> dict[str, float]:
    n, d, loss = data
    return fit(CHINCHILLA, loss, {"N": n, "D": d}, **objective).parameters


def ours_with_draws(data: Points) -> dict[str, float]:
    n, d, loss = data
    draws = bootstrap(fit(CHINCHILLA, loss, {"N": n, "D": d}), DRAWS)
    if draws.not_converged:
        raise SystemExit(f"{draws.not_converged} of {DRAWS} draws did not converge")
    return draws.fit.parameters


def peer(data: Points, loss_function: Callable, grid: int) -> dict[str, float]:
    starts = {name: np.linspace(*ends, grid) for name, ends in RANGES.items()}
    with tempfile.TemporaryDirectory() as folder:
        model = Chinchilla(folder, param_grid=starts, loss_fn=loss_function, log_level=60)
        model.visualizer.optim = lambda *arguments, **options: None
        n, d, loss = data
        model.database.df = pd.DataFrame({"C": 6 * n * d, "N": n, "D": d, "loss": loss})
        began = cpu_seconds()
        model.fit()
    return {name: float(value) for name, value in model.params.items()} | {"seconds": cpu_seconds() - began}


def measure(contenders: dict[str, Callable[[Points], dict[str, float]]], rounds: int) -> str:
    """A Markdown table: medians over rounds of the seconds and of the absolute errors."""
    rows = {name: [] for name in contenders}
    best = optimal_allocation(SURFACE, BUDGET).n
    for seed in range(rounds):
        data = points(seed)
        for name, contender in contenders.items():
            began = cpu_seconds()
            found = contender(data)
            seconds = found.get("seconds", cpu_seconds() - began)
            errors = [abs(found[key] - SURFACE[key]) for key in ("E", "alpha", "beta")]
            missed = np.exp(abs(np.log(optimal_allocation(found, BUDGET).n / best)))
            rows[name].append([seconds, *errors, missed])
    lines = [
        f"| {POINTS} points, noise {NOISE:.0%}, {rounds} rounds | CPU seconds | error of E | of alpha | of beta"
        f" | N_opt({BUDGET:g} FLOPs) missed by |",
        "|---|---|---|---|---|---|",
    ]
    for name, values in rows.items():
        seconds, *errors, missed = np.median(values, axis=0)
        cells = [f"{seconds:.3g}", *(f"{error:.4f}" for error in errors), f"a factor {missed:.3f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--grid", type=int, default=2, help="the peer's starts along each of five axes")
    parser.add_argument("--out", type=Path, help="file for the table, besides the screen")
    arguments = parser.parse_args(argv)
    huber = functools.partial(log_huber, delta=HUBER)
    starts = f"{arguments.grid**5} starts"
    table = measure(
        {
            "ours, least squares of ln L": ours,
            "ours, Huber of ln L": functools.partial(ours, huber=HUBER),
            f"ours, least squares and {DRAWS} draws": ours_with_draws,
            f"chinchilla, its default loss, {starts}": functools.partial(
                peer, loss_function=asymmetric_mae, grid=arguments.grid
            ),
            f"chinchilla, Huber of ln L, {starts}": functools.partial(peer, loss_function=huber, grid=arguments.grid),
        },
        arguments.rounds,
    )
    print(table, end="")
    if arguments.out:
        write_text(arguments.out, table)


if __name__ == "__main__":
    main()

"""Do 95 % intervals of the transfer law hold the truth 95 times in 100?  Simulated experiments with planted laws.

    python -m benchmarks.coverage [--settings NAME ...] [--experiments N] [--workers 1]

Each setting is simulated with the seeds 0, 1, 2, ... and fitted as the pipeline fits.  The table goes to
`benchmarks/coverage.csv`, where the rows of other settings stay, and to the screen as Markdown for docs/coverage.md.  An
interval with one end unknown holds whatever lies on the right side of the other; one without ends holds nothing, and is
counted beside.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workflow_scripts.experiment import Experiment
from workflow_scripts.files import written
from workflow_scripts.laws.bootstrap import fit_runs
from workflow_scripts.laws.runs import check_runs
from workflow_scripts.laws.simulate import Noise, Planted, simulate_runs
from workflow_scripts.laws.summary import COEFFICIENTS, coefficients
from workflow_scripts.sections import Fit

TABLE = Path(__file__).with_suffix(".csv")
PAPER_LOSS = {"floor": 0.5, "size_scale": 20.0, "size_exponent": 0.2, "data_scale": 60.0, "data_exponent": 0.18}
"""Nats per token: about 5 for 1e6 parameters on 1e7 characters, 1.9 for 1e9 on 1e10."""
PAPER_GRID = {
    "sizes": {"1M": 10**6, "4M": 4 * 10**6, "16M": 16 * 10**6, "63M": 63 * 10**6, "250M": 25 * 10**7, "1B": 10**9},
    "finetune": tuple(round(10 ** (5 + i / 2)) for i in range(7)),
    "scratch": tuple(round(10 ** (7 + i / 3)) for i in range(10)),
}
SCATTER = 0.08
"""Standard deviation of ln D_E about the law in the setting that has it; the quickstart showed as much."""
SHORT = 0.05
"""Nats that a run at its budget is short of its best."""


def quickstart_grid() -> dict[str, Any]:
    """Sizes, and the D of the first grid that the law is fitted to."""
    experiment = Experiment.load("config/config.yaml")
    grid, (low, high) = experiment.grids[0], experiment.fit.d_f
    return {
        "sizes": {name: shape.parameter_counts()["body"] for name, shape in experiment.shapes.items()},
        "finetune": tuple(d for d in grid.finetune if low <= d <= high),
        "scratch": tuple(grid.scratch),
    }


Change = Callable[[pd.DataFrame, Planted, np.random.Generator], pd.DataFrame]
"""Runs, what was planted, randomness -> runs."""


def scattered(runs: pd.DataFrame, planted: Planted, random: np.random.Generator) -> pd.DataFrame:
    """Every fine-tuned cell lies off the law by a factor of its own, as cells do where the law is not the whole story."""
    tuned = runs.arm == "finetune"
    cells = {
        cell: random.normal(0, SCATTER)
        for cell in sorted(set(zip(runs.n_params[tuned], runs.d_chars[tuned], strict=True)))
    }
    for row, n, d in zip(runs.index[tuned], runs.n_params[tuned], runs.d_chars[tuned], strict=True):
        d_e = planted.effective_data(n, d)
        runs.loc[row, "test_loss"] += planted.scratch_loss(n, d_e * np.exp(cells[n, d])) - planted.scratch_loss(n, d_e)
    return runs


def stopped_early(runs: pd.DataFrame, planted: Planted, random: np.random.Generator) -> pd.DataFrame:
    """The largest models stop at their budget on the smallest sets, in both arms, and are short of their best."""
    at_budget = (runs.n_params == runs.n_params.max()) & runs.arm.isin(["finetune", "scratch"])
    at_budget &= runs.d_chars.isin(sorted(runs.d_chars[runs.arm == "finetune"].unique())[:2])
    return runs.assign(hit_budget=at_budget, test_loss=runs.test_loss + SHORT * at_budget)


@dataclass(frozen=True)
class Setting:
    """What is planted, and the grid it is measured on: two paired seeds everywhere."""

    planted: Planted
    grid: dict[str, Any]
    noise: Noise = field(default_factory=Noise)
    change: Change | None = None
    experiments: int = 200


QUICKSTART, QUICKSTART_GRID = Planted(k=77.0, alpha=0.23, beta=0.28), quickstart_grid()
SETTINGS = {
    "paper, text": Setting(Planted(k=1.9e4, alpha=0.18, beta=0.38, **PAPER_LOSS), PAPER_GRID),
    "paper, half code": Setting(Planted(k=2.1e5, alpha=0.096, beta=0.38, **PAPER_LOSS), PAPER_GRID),
    "quickstart": Setting(QUICKSTART, QUICKSTART_GRID, experiments=1000),
    "noisy, censored": Setting(
        QUICKSTART, QUICKSTART_GRID | {"scratch": QUICKSTART_GRID["scratch"][:5]}, Noise(0.02, 0.02, 0.02)
    ),
    "noise that falls with D": Setting(QUICKSTART, QUICKSTART_GRID, Noise(d_exponent=-0.5)),
    "scatter about the law": Setting(QUICKSTART, QUICKSTART_GRID, change=scattered),
    "runs at their budget": Setting(QUICKSTART, QUICKSTART_GRID, change=stopped_early),
    "little transfer": Setting(Planted(k=8.0, alpha=0.23, beta=0.28), QUICKSTART_GRID),
}


def experiment(name: str, seed: int, draws: int = 1000) -> dict[str, Any]:
    """Of one simulated experiment: rows of `estimate`, `low`, `high`, `truth`, by coefficient and for ln D_E of every
    cell of the fit, those with the least data once more; and of all cells of the fit `censored`, the share that are limits,
    and `harm`, that with D_T <= 0."""
    setting = SETTINGS[name]
    runs = simulate_runs(
        planted=setting.planted, noise=setting.noise, document_size=None, random_seed=seed, **setting.grid
    )
    if setting.change:
        runs = setting.change(runs, setting.planted, np.random.default_rng(seed))
    d_f = setting.grid["finetune"]
    rule = Fit(d_f=(d_f[0], d_f[-1]), draws=draws)
    fitted = fit_runs(check_runs(runs.drop(columns="test_bits_per_byte")), rule)
    (fit,) = fitted.laws
    found = coefficients(fit.best.law, fit.draws)
    truth = {"ln_k": np.log(setting.planted.k), "alpha": setting.planted.alpha, "beta": setting.planted.beta}
    rows = [found[name] | {"coefficient": name, "truth": truth[name]} for name in COEFFICIENTS]
    cells = fitted.in_fit("english")
    log_d_e = np.log(
        pd.DataFrame({"estimate": cells.d_e, "low": cells.d_e_low, "high": cells.d_e_high}).assign(
            truth=[setting.planted.effective_data(n, d) for n, d in zip(cells.n_params, cells.d_f, strict=True)]
        )
    )
    if setting.change is None:
        rows += log_d_e[cells.d_e.notna()].assign(coefficient="ln D_E").to_dict("records")
        least = cells.d_e.notna() & (cells.d_f == cells.d_f.min())
        rows += log_d_e[least].assign(coefficient="ln D_E at the least D_F").to_dict("records")
    return {"rows": rows, "censored": float((fit.observed.side != 0).mean()), "harm": float((cells.d_t <= 0).mean())}


def coverage(name: str, seeds: range, workers: int = 1) -> pd.DataFrame:
    """A row a coefficient, and for ln D_E: share of intervals that hold the truth, errors, widths."""
    if workers == 1:
        results = [experiment(name, seed) for seed in seeds]
    else:
        with ProcessPoolExecutor(workers) as pool:
            results = list(pool.map(partial(experiment, name), seeds))
    rows = pd.DataFrame([row for result in results for row in result["rows"]])
    unknown = rows.low.isna() & rows.high.isna()
    low, high = rows.low.astype(float).fillna(-np.inf), rows.high.astype(float).fillna(np.inf)
    error = rows.estimate - rows.truth
    held = ((low <= rows.truth) & (rows.truth <= high)).astype(float).mask(unknown)
    rows = rows.assign(covered=held, unknown=unknown, error=error, away=error.abs(), width=high - low)
    table = rows.groupby("coefficient", sort=False).agg(
        truth=("truth", "first"),
        covered=("covered", "mean"),
        unknown=("unknown", "mean"),
        median_error=("away", "median"),
        bias=("error", "mean"),
        median_width=("width", "median"),
    )
    shares = {what: float(np.mean([result[what] for result in results])) for what in ("censored", "harm")}
    table = table.reset_index().assign(**shares, experiments=len(results), setting=name)
    table.loc[table.coefficient.str.startswith("ln D_E"), "truth"] = np.nan
    return table[["setting", *table.columns.drop("setting")]]


def as_markdown(table: pd.DataFrame) -> str:
    lines = [
        "| planted | coefficient | truth | 95 % intervals that hold it | without an interval | median error | median width"
        " | cells that are limits | with D_T ≤ 0 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in table.itertuples():
        lines.append(
            f"| {row.setting} | {row.coefficient} | {'' if np.isnan(row.truth) else f'{row.truth:.4g}'} | {row.covered:.1%}"
            f" | {row.unknown:.1%} | {row.median_error:.3f} | {row.median_width:.3f} | {row.censored:.0%} | {row.harm:.0%} |"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__.split("\n")[0])
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--experiments", type=int, help="default: 200, and 1,000 of the quickstart's shape")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args(argv)
    tables = [
        coverage(name, range(arguments.experiments or SETTINGS[name].experiments), arguments.workers)
        for name in arguments.settings
    ]
    if TABLE.exists():
        kept = pd.read_csv(TABLE)
        tables.insert(0, kept[~kept.setting.isin(arguments.settings)])
    table = pd.concat(tables)
    table = table.sort_values("setting", key=lambda names: names.map(list(SETTINGS).index), kind="stable")
    with written(TABLE) as path:
        table.to_csv(path, index=False)
    print(as_markdown(table))


if __name__ == "__main__":
    main()

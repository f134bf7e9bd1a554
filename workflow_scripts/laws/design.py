"""Which grid of D, and how many seeds, give alpha to +- 0.02?  Answered by simulation, before anything is paid for.

    python -m workflow_scripts.laws.design --configfile FILE --out design.csv [--within 0.02] [--seeds 2 3 4 6]
        [--experiments 10] [--workers 1]

The configuration at hand, with the truth that its key `simulated` plants, is simulated with its own grid of D, with every
other D and with a D more between any two, each with several numbers of seeds; every experiment is fitted as the
pipeline fits.  Nothing is trained.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workflow_scripts.experiment import ConfigurationError, Experiment
from workflow_scripts.files import written
from workflow_scripts.laws.bootstrap import fit_runs
from workflow_scripts.laws.effective_data import FEWEST_POINTS
from workflow_scripts.laws.runs import SIMULATED, check_runs
from workflow_scripts.laws.simulate import simulate_runs
from workflow_scripts.laws.summary import coefficients
from workflow_scripts.sections import Fit
from workflow_scripts.training.planted import Planted

AS_CONFIGURED = "as configured"


@dataclass(frozen=True)
class Design:
    """What is simulated; D in characters."""

    source: str
    grid: str
    finetune: tuple[int, ...]
    scratch: tuple[int, ...]
    seeds: int


def thinned(sizes: Sequence[int]) -> tuple[int, ...]:
    """Every other D, both ends kept."""
    sizes = sorted(sizes)
    return tuple(sorted({*sizes[::2], sizes[-1]}))


def doubled(sizes: Sequence[int]) -> tuple[int, ...]:
    """A D more between any two, at their geometric mean."""
    sizes = sorted(sizes)
    return tuple(sorted({*sizes, *(round((a * b) ** 0.5) for a, b in pairwise(sizes))}))


THINNED = "every other D"
GRIDS = {THINNED: thinned, AS_CONFIGURED: tuple, "twice as many D": doubled}


def designs(experiment: Experiment, seeds: Sequence[int]) -> list[Design]:
    """Those that are compared: grids of D in the range of the fit (and from-scratch D of the first grid) by seeds; without
    those that leave no from-scratch curve."""
    grid, (low, high) = experiment.grids[0], experiment.fit.d_f
    fitted = [d for d in grid.finetune if low <= d <= high]
    return [
        Design(source, name, change(fitted), change(grid.scratch), number)
        for source in experiment.pretrain.sources
        for name, change in GRIDS.items()
        for number in sorted(set(seeds))
        if len(change(grid.scratch)) >= FEWEST_POINTS
    ]


def try_once(experiment: Experiment, draws: int, task: tuple[Design, int]) -> dict[str, Any]:
    """One simulated experiment: errors and half-widths of the 95 % intervals of alpha and beta, and its FLOPs.

    A half-width is infinite where an end is unknown or the cells support no law, whose error is NaN.
    """
    design, random_seed = task
    truth = Planted(**experiment.simulated.laws[design.source].model_dump(), **experiment.simulated.loss.model_dump())
    runs = simulate_runs(
        planted=truth,
        noise=experiment.simulated.noise,
        sizes={name: shape.parameter_counts()["body"] for name, shape in experiment.shapes.items()},
        finetune=design.finetune,
        scratch=design.scratch,
        seeds=range(design.seeds),
        source=design.source,
        document_size=None,
        pretrain_tokens=experiment.pretrain.tokens,
        random_seed=random_seed,
    )
    fit = Fit(d_f=(design.finetune[0], design.finetune[-1]), draws=draws, seed=random_seed)
    fitted = fit_runs(check_runs(runs.drop(columns="test_bits_per_byte")), fit)
    cells = fitted.in_fit(design.source)
    limits = (cells.censored != "none") | cells.lower_bound | cells.upper_bound
    row = {"runs": len(runs), "flops": runs.flops.sum(), "censored": float(limits.mean())}
    row |= {f"{name}_half_width": np.inf for name in ("alpha", "beta")}
    row |= {f"{name}_error": np.nan for name in ("alpha", "beta")}
    for law in fitted.laws:
        found = coefficients(law.best.law, law.draws)
        for name in ("alpha", "beta"):
            estimate, low, high = found[name].values()
            row[f"{name}_error"] = estimate - getattr(truth, name)
            if low is not None and high is not None:
                row[f"{name}_half_width"] = (high - low) / 2
    return row


def compare(
    experiment: Experiment, seeds: Sequence[int], within: float, experiments: int, workers: int
) -> pd.DataFrame:
    """A row a design: median half-widths, root mean square errors, and compute over that of the configuration as it
    stands; `reached` where the median half-width of alpha is at most `within`."""
    compared, draws = designs(experiment, {*seeds, len(experiment.seeds)}), experiment.fit.draws
    tasks = [(design, number) for design in compared for number in range(experiments)]
    if workers == 1:
        found = [try_once(experiment, draws, task) for task in tasks]
    else:
        with ProcessPoolExecutor(workers) as pool:
            found = list(pool.map(partial(try_once, experiment, draws), tasks))
    tried = pd.DataFrame(found)
    rows = []
    for number, design in enumerate(compared):
        mine = tried[number * experiments : (number + 1) * experiments]
        row = {"simulated": True, "source": design.source, "grid": design.grid, "seeds": design.seeds}
        row |= {"d_f": len(design.finetune), "scratch_d": len(design.scratch), "runs": int(mine.runs.iloc[0])}
        for name in ("alpha", "beta"):
            row[f"{name}_half_width"] = mine[f"{name}_half_width"].median()
            row[f"{name}_rms_error"] = float(np.sqrt((mine[f"{name}_error"] ** 2).mean()))
        rows.append(row | {"censored": mine.censored.mean(), "flops": mine.flops.mean()})
    table = pd.DataFrame(rows)
    base = table[(table.grid == AS_CONFIGURED) & (table.seeds == len(experiment.seeds))].set_index("source").flops
    table["compute"] = table.flops / table.source.map(base)
    return table.assign(reached=table.alpha_half_width <= within)


def sentence(table: pd.DataFrame, source: str, within: float) -> str:
    """The cheapest design that is good enough for a source, or how far the best of them is."""
    mine = table[table.source == source]
    good = mine[mine.reached]
    best = (good.sort_values("flops") if len(good) else mine.sort_values("alpha_half_width")).iloc[0]
    what = f"{best.grid}, {best.seeds} seeds: +- {best.alpha_half_width:.3f} with {best.compute:.2g} times the compute"
    if len(good):
        return f"{source}: alpha to +- {within:g} takes at least {what}."
    return f"{source}: none of these gives alpha to +- {within:g}; the best is {what}."


def as_text(table: pd.DataFrame, within: float, experiments: int) -> str:
    """The table for a terminal."""
    shown = table[["source", "grid", "seeds", "runs", "compute"]].copy()
    shown["compute"] = shown.compute.map("{:.2f}".format)
    for name in ("alpha", "beta"):
        shown[f"{name} +-"] = table[f"{name}_half_width"].map("{:.3f}".format)
        shown[f"{name} missed by"] = table[f"{name}_rms_error"].map("{:.3f}".format)
    shown["censored"] = table.censored.map("{:.0%}".format)
    lines = [SIMULATED, shown.to_string(index=False)]
    lines.append(
        f"Medians of half-widths of 95 % intervals and root mean square errors over {experiments} simulated experiments each;"
        " compute over that of the configuration as it stands."
    )
    if THINNED not in set(table.grid):
        lines.append(f"The grid with {THINNED} is left out: fewer than {FEWEST_POINTS} from-scratch D make no curve.")
    return "\n".join([*lines, *(sentence(table, source, within) for source in table.source.unique())])


def _whole(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text}, expected a whole number, 1 or more")
    return int(text)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--configfile", help="a configuration")
    which.add_argument("--experiment", help="a configuration, as JSON")
    parser.add_argument("--out", type=Path, required=True, help="the table, CSV")
    parser.add_argument("--within", type=float, default=0.02, help="half-width of the 95 %% interval of alpha")
    parser.add_argument("--seeds", type=_whole, nargs="+", default=[2, 3, 4, 6])
    parser.add_argument("--experiments", type=_whole, default=10, help="simulated, of each design")
    parser.add_argument("--workers", type=_whole, default=1)
    given = parser.parse_args(argv)
    try:
        if given.configfile:
            experiment = Experiment.load(given.configfile)
        else:
            experiment = Experiment.parse(json.loads(given.experiment), "--experiment")
    except ConfigurationError as error:
        raise SystemExit(str(error)) from error
    if experiment.simulated is None:
        raise SystemExit(
            f"{experiment.experiment}: no key `simulated`; it says which law and noise to expect, for example"
            " simulated: {laws: {" + experiment.pretrain.sources[0] + ": {k: 40, alpha: 0.3, beta: 0.3}}}"
        )
    table = compare(experiment, given.seeds, given.within, given.experiments, given.workers)
    with written(given.out) as path:
        table.to_csv(path, index=False)
    print(as_text(table, given.within, given.experiments))


if __name__ == "__main__":
    main()

"""Do the planner's 95 % intervals hold the losses of models that were not trained?  Simulated experiments.

    python -m benchmarks.forecasts [--experiments 18]

Experiments of the quickstart's shape are fitted as the pipeline fits, and the planner forecasts seven losses of each: four
inside the cells of the fit, one from scratch, one at twice the largest N, one at twice the largest D_F.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.coverage import SETTINGS
from workflow_scripts.laws.bootstrap import fit_runs
from workflow_scripts.laws.fit import write_results
from workflow_scripts.laws.planning.forecast import SCRATCH, interval, read_forecast
from workflow_scripts.laws.runs import check_runs
from workflow_scripts.laws.simulate import simulate_runs
from workflow_scripts.sections import Fit

SETTING = SETTINGS["quickstart"]


def asked() -> list[tuple[str, float, float]]:
    """Source, N and D of each forecast."""
    sizes, d_f = sorted(SETTING.grid["sizes"].values()), SETTING.grid["finetune"]
    inside = [("english", n, d) for n in (sizes[1], sizes[-1]) for d in (d_f[0] * 1.3, d_f[-1] / 1.3)]
    beyond = [("english", sizes[-1] * 2, d_f[2]), ("english", sizes[2], d_f[-1] * 2)]
    return [*inside, (SCRATCH, sizes[2], d_f[-1]), *beyond]


def experiment(seed: int) -> list[dict[str, float | None]]:
    """Of each forecast `estimate`, `low`, `high` and `truth`, in nats per token."""
    planted = SETTING.planted
    runs = check_runs(simulate_runs(planted=planted, document_size=None, random_seed=seed, **SETTING.grid))
    d_f = SETTING.grid["finetune"]
    with tempfile.TemporaryDirectory() as folder:
        write_results(runs, fit_runs(runs, Fit(d_f=(d_f[0], d_f[-1]))), Path(folder))
        forecast = read_forecast(Path(folder))
    found = []
    for source, n, d in asked():
        d_e = d if source == SCRATCH else planted.effective_data(n, d)
        found.append(interval(forecast.loss(source, n, d)) | {"truth": planted.scratch_loss(n, d_e)})
    return found


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forecasts", description=__doc__.split("\n")[0])
    parser.add_argument("--experiments", type=int, default=18)
    experiments = parser.parse_args(argv).experiments
    rows = pd.DataFrame([row for seed in range(experiments) for row in experiment(seed)]).astype(float)
    answered = rows.dropna()
    held = (answered.low <= answered.truth) & (answered.truth <= answered.high)
    by_question = np.arange(len(rows)) % len(asked())
    error = (rows.estimate - rows.truth).pow(2).groupby(by_question).mean().pow(0.5)
    half_width = ((rows.high - rows.low) / 2).groupby(by_question).median()
    print(
        f"{held.sum()} of {len(answered)} intervals hold the loss; {len(rows) - len(answered)} forecasts lack an end."
    )
    print(f"Root mean square errors of a question {error.min():.3f} to {error.max():.3f} nats,", end=" ")
    print(f"median half-widths {half_width.min():.3f} to {half_width.max():.3f}.")


if __name__ == "__main__":
    main()

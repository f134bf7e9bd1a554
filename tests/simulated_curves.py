"""Learning curves to go with a simulated table of runs."""

from __future__ import annotations

import numpy as np
import pandas as pd

from workflow_scripts.laws.scaling.catalogue import decayed
from workflow_scripts.laws.simulate import CHARACTERS_PER_TOKEN, QUICKSTART, Planted


def simulate_learning_curves(
    runs: pd.DataFrame, *, planted: Planted = QUICKSTART, half_life: float = 8.0, random_seed: int = 0
) -> pd.DataFrame:
    """Curves of the pre-training and from-scratch runs of `simulate_runs`, with the columns of
    `laws/learning_curves.parquet`, from a thousandth of their tokens up to their best point.

    A set that is seen again is worth what `catalogue.decayed` says of it with R_D = `half_life`; pre-training sees each
    token once.  A run is above or below by as much all the way as it is at its end.
    """
    random = np.random.default_rng(random_seed)
    rows = []
    for run in runs[runs.arm.isin(["pretrain", "scratch"])].itertuples():
        tokens = run.best_tokens * 1.2 ** -np.arange(38.0)
        unique, chars = (
            float(run.d_tokens),
            200 * CHARACTERS_PER_TOKEN if run.arm == "pretrain" else CHARACTERS_PER_TOKEN,
        )
        worth = chars * np.where(tokens <= unique, tokens, decayed(unique, tokens, half_life))
        loss = np.array([planted.scratch_loss(run.n_params, d) for d in worth])
        loss += run.test_loss - loss[0] + 0.002 * random.standard_normal(len(tokens))
        names = ("arm", "unit", "size", "n_params", "n_params_total", "seed", "d_tokens", "batch_tokens")
        common = {name: getattr(run, name) for name in names} | {"corpus": getattr(run, "corpus", None)}
        rows.append(pd.DataFrame({"tokens": tokens, "loss": loss}).assign(**common))
    return pd.concat(rows, ignore_index=True).dropna(axis=1, how="all")

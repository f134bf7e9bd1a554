"""Sanity before laws: what is odd is named, and nothing else is."""

import numpy as np
import pandas as pd
import pytest

from workflow_scripts.experiment import Fit
from workflow_scripts.laws.bootstrap import fit_runs
from workflow_scripts.laws.runs import check_runs
from workflow_scripts.laws.sanity import check_sanity
from workflow_scripts.laws.simulate import simulate_runs


def verdicts(runs: pd.DataFrame) -> dict[str, dict]:
    checked = check_runs(runs)
    table = fit_runs(checked, Fit(d_f=(6000, 60000), draws=100), "excerpt").table
    return {check["check"]: check for check in check_sanity(checked, table)["checks"]}


def named(check: dict) -> set[tuple]:
    return {(run["n_params"], run["d_chars"]) for run in check["runs"]}


def row_of(runs: pd.DataFrame, arm: str, n_params: int, d: int, seed: int = 0) -> int:
    chosen = (runs.arm == arm) & (runs.n_params == n_params) & (runs.d_chars == d) & (runs.seed == seed)
    return runs.index[chosen & (runs.unit != "document")][0]


def test_healthy_runs_pass_every_check():
    assert {check["verdict"] for check in verdicts(simulate_runs()).values()} == {"ok"}


@pytest.mark.parametrize(
    ("column", "value", "check"),
    [("unstable", True, "stable"), ("hit_budget", True, "within budget"), ("status", "failed", "finished")],
)
def test_runs_in_trouble_are_named(column, value, check):
    runs = simulate_runs()
    runs.loc[row_of(runs, "finetune", 24576, 20_000), column] = value
    found = verdicts(runs)[check]
    assert found["verdict"] == "warn"
    assert named(found) == {(24576, 20_000)}


def test_a_curve_that_rises_is_named():
    runs = simulate_runs()
    for seed in (0, 1):
        runs.loc[row_of(runs, "scratch", 24576, 100_000, seed), "test_loss"] += 0.4
    found = verdicts(runs)
    assert (24576, 100_000) in named(found["scratch losses fall with D"]) | named(found["scratch losses fall with N"])


def test_a_seed_far_from_its_cell_is_named():
    runs = simulate_runs()
    runs.loc[row_of(runs, "scratch", 24576, 100_000), "test_loss"] += 0.5
    assert named(verdicts(runs)["seeds agree"]) == {(24576, 100_000)}


def test_the_sampling_units_are_contrasted():
    checked = check_runs(simulate_runs())
    table = fit_runs(checked, Fit(d_f=(6000, 60000), draws=100), "excerpt").table
    contrast = check_sanity(checked, table)["unit_contrast"]
    assert {row["n_params"] for row in contrast} == {24576}
    assert all(row["d_e_over_d_f"]["document"] > row["d_e_over_d_f"]["excerpt"] for row in contrast)
    assert np.isfinite([row["d_e_over_d_f"]["excerpt"] for row in contrast]).all()


def test_seeds_of_pre_training_are_compared_although_their_characters_differ():
    """P is a number of tokens: one pass over it is a few characters more or less from seed to seed."""
    runs = simulate_runs()
    pretrain = runs.arm == "pretrain"
    runs.loc[pretrain, "d_chars"] += 17 * runs.loc[pretrain, "seed"]
    runs.loc[pretrain, "d_tokens"] = 3_000_000
    checked = check_runs(runs)
    table = fit_runs(checked, Fit(d_f=(6000, 60000), draws=100), "excerpt").table
    assert check_sanity(checked, table)["pooled_spread"]["pretrain"] > 0

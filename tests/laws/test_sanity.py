"""Sanity before laws: what is odd is named, and nothing else is."""

import numpy as np
import pandas as pd
import pytest

from workflow_scripts.laws.runs import check_runs
from workflow_scripts.laws.sanity import check_sanity
from workflow_scripts.laws.simulate import Noise, simulate_runs


def verdicts(runs: pd.DataFrame) -> dict[str, dict]:
    return {check["check"]: check for check in check_sanity(check_runs(runs))["checks"]}


def named(check: dict) -> set[tuple]:
    return {(run["n_params"], run["d_chars"]) for run in check["runs"]}


def row_of(runs: pd.DataFrame, arm: str, n_params: int, d: int, seed: int = 0) -> int:
    chosen = (runs.arm == arm) & (runs.n_params == n_params) & (runs.d_chars == d) & (runs.seed == seed)
    return runs.index[chosen & (runs.unit != "document")][0]


def test_healthy_runs_pass_every_check():
    assert {check["verdict"] for check in verdicts(simulate_runs()).values()} == {"ok"}


@pytest.mark.parametrize(
    ("column", "value", "check"),
    [
        ("unstable", True, "stable"),
        ("hit_budget", True, "within budget"),
        ("batch_above_noise_scale", True, "batch within the noise scale"),
        ("status", "failed", "finished"),
    ],
)
def test_runs_in_trouble_are_named(column, value, check):
    runs = simulate_runs()
    runs.loc[row_of(runs, "finetune", 24576, 20_000), column] = value
    found = verdicts(runs)[check]
    assert found["verdict"] == "warn"
    assert named(found) == {(24576, 20_000)}


def test_runs_whose_noise_scale_is_unknown_are_counted():
    """The smallest sets reach their best weights before it is measured: that is no proof of a small enough batch."""
    runs = simulate_runs()
    runs.loc[row_of(runs, "finetune", 24576, 20_000), "noise_scale_tokens"] = np.nan
    found = verdicts(runs)["batch within the noise scale"]
    trained = (runs.arm != "zero_shot").sum()
    assert f"Of 1 of {trained} it is unknown" in found["sentence"]


def test_a_curve_that_rises_is_named():
    runs = simulate_runs()
    for seed in (0, 1):
        runs.loc[row_of(runs, "scratch", 24576, 100_000, seed), "test_loss"] += 0.4
    found = verdicts(runs)
    assert (24576, 100_000) in named(found["scratch losses fall with D"]) | named(found["scratch losses fall with N"])


def test_with_one_seed_a_rise_is_not_called_more_than_noise():
    """The spread of one seed is unknown, and passed for none: any rise was `more than 3 standard errors`."""
    runs = simulate_runs(seeds=(0,), document_size=None)
    runs.loc[row_of(runs, "scratch", 24576, 100_000), "test_loss"] += 0.4
    found = verdicts(runs)["scratch losses fall with D"]
    assert found["verdict"] == "warn"
    assert found["sentence"] == (
        "The scratch loss rises with D in 1 of 48 steps, where no cell has two seeds: how much of that is noise is unknown."
    )
    healthy = simulate_runs(seeds=(0,), document_size=None, noise=Noise(0, 0, 0))
    assert verdicts(healthy)["scratch losses fall with D"]["verdict"] == "ok"


def test_a_unit_without_a_second_seed_is_judged_apart_from_one_that_has_it():
    runs = simulate_runs(noise=Noise(0, 0, 0))
    runs = runs[(runs.unit != "document") | (runs.seed == 0)].reset_index(drop=True)
    assert verdicts(runs)["scratch losses fall with D"]["sentence"] == (
        "The scratch loss rises with D by more than 3 standard errors in 0 of 48 steps; and in 0 of 8 steps on document, where"
        " no cell has two seeds."
    )


def test_a_seed_far_from_its_cell_is_named():
    runs = simulate_runs()
    runs.loc[row_of(runs, "scratch", 24576, 100_000), "test_loss"] += 0.5
    assert named(verdicts(runs)["seeds agree"]) == {(24576, 100_000)}


def spread_of(runs: pd.DataFrame, arm: str, unit: str) -> float:
    (found,) = [
        row["deviation"]
        for row in check_sanity(check_runs(runs))["pooled_spread"]
        if (row["arm"], row["unit"]) == (arm, unit)
    ]
    return found


def test_the_spread_of_one_unit_does_not_judge_the_other():
    runs = simulate_runs()
    noisy, document = runs.copy(), runs.unit == "document"
    noisy.loc[document, "test_loss"] += 0.15 * np.random.default_rng(0).standard_normal(document.sum())
    assert spread_of(noisy, "scratch", "excerpt") == spread_of(runs, "scratch", "excerpt")
    assert spread_of(noisy, "scratch", "document") > 3 * spread_of(runs, "scratch", "document")


def test_two_sources_are_not_seeds_of_one_cell_of_pre_training():
    """Rows of `pretrain` have init `scratch`, whatever the source: the column `corpus` tells them apart."""
    english = simulate_runs().assign(corpus="english")
    code = english[english.arm == "pretrain"].assign(corpus="code", test_loss=lambda runs: runs.test_loss + 1.0)
    both = pd.concat([english, code])
    assert spread_of(both, "pretrain", "document") == pytest.approx(spread_of(english, "pretrain", "document"))
    assert named(verdicts(both)["seeds agree"]) == set()


def test_sentences_say_one_or_many_or_none():
    runs = simulate_runs()
    assert verdicts(runs)["within budget"]["sentence"] == "No run stopped at the budget."
    runs.loc[row_of(runs, "finetune", 24576, 20_000), "hit_budget"] = True
    assert verdicts(runs)["within budget"]["sentence"].startswith("1 run stopped at the budget: ")


def test_seeds_of_pre_training_are_compared_although_their_characters_differ():
    """P is a number of tokens: one pass over it is a few characters more or less from seed to seed."""
    runs = simulate_runs()
    pretrain = runs.arm == "pretrain"
    runs.loc[pretrain, "d_chars"] += 17 * runs.loc[pretrain, "seed"]
    runs.loc[pretrain, "d_tokens"] = 3_000_000
    assert spread_of(runs, "pretrain", "document") > 0


@pytest.mark.parametrize("column", ["d_tokens", "corpus"])
def test_pre_training_without_tokens_or_corpus_is_checked_by_what_it_has(column):
    """Nulls there took the rows out of every cell: a traceback after the law was computed."""
    runs = simulate_runs().assign(corpus="english")
    without = runs.assign(**{column: runs[column].where(runs.arm != "pretrain")})
    assert spread_of(without, "pretrain", "document") == pytest.approx(spread_of(runs, "pretrain", "document"))
    assert verdicts(without)["pretrain losses fall with N"] == verdicts(runs)["pretrain losses fall with N"]

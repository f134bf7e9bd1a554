"""The compute behind prices and budgets: what the runs took, and what is said where they do not tell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from workflow_scripts.laws import fit
from workflow_scripts.laws.planning.answers import Prices, Question
from workflow_scripts.laws.planning.compute import Compute, measure_compute
from workflow_scripts.laws.planning.forecast import SCRATCH, PlanError, read_forecast
from workflow_scripts.laws.planning.spending import budget, costs
from workflow_scripts.laws.runs import check_runs
from workflow_scripts.laws.simulate import simulate_runs

SIZES = {"6k": 6_144, "25k": 24_576, "55k": 55_296}


@pytest.fixture(scope="module")
def runs() -> pd.DataFrame:
    return check_runs(simulate_runs(sizes=SIZES, document_size=None))


@pytest.fixture(scope="module")
def l_shaped(runs) -> pd.DataFrame:
    """Every D_F at the smallest size, one D_F at the others."""
    return runs[(runs.arm != "finetune") | (runs.n_params == 6_144) | (runs.d_chars == 20_000)]


def _compute(runs: pd.DataFrame) -> Compute:
    return measure_compute(runs, "excerpt", ["english"])


def test_training_costs_what_the_runs_cost(runs):
    compute = _compute(runs)
    cell = runs[(runs.init == "english") & (runs.n_params == 24_576) & (runs.d_chars == 20_000)]
    assert compute.training("english", 24_576, np.array([20_000.0]))[0] == pytest.approx(cell.flops.mean())
    assert compute.pretraining("english", 24_576) == pytest.approx(6 * 24_576 * 4_000_000)
    assert compute.pretraining(SCRATCH, 24_576) == 0


def test_runs_without_compute_say_which_columns_are_needed(runs):
    with pytest.raises(PlanError, match="no column flops"):
        _compute(runs.drop(columns="flops"))


def test_of_several_lengths_of_pretraining_the_longest_is_priced(runs):
    shorter = runs[runs.init == "english"].assign(pretrain_tokens=1_000_000, flops=1.0)
    both = _compute(pd.concat([runs, shorter]))
    assert both.pretraining("english", 24_576) == pytest.approx(6 * 24_576 * 4_000_000)
    differs = (runs.init == "english") & (runs.n_params == 24_576)
    unequal = runs.assign(pretrain_tokens=runs.pretrain_tokens.mask(differs, 8_000_000))
    with pytest.raises(PlanError, match="found .* in the runs of english, expected one"):
        _compute(unequal)


@pytest.mark.parametrize("n_params", SIZES.values())
def test_a_size_with_one_data_set_costs_what_its_runs_cost(runs, l_shaped, n_params):
    """Such sizes were dropped, and took the FLOPs of the only one left: nine times too few at the largest."""
    sparse, full = _compute(l_shaped), _compute(runs)
    cell = runs[(runs.arm == "finetune") & (runs.n_params == n_params) & (runs.d_chars == 20_000)]
    assert sparse.training("english", n_params, np.array([20_000.0]))[0] == pytest.approx(cell.flops.mean())
    assert sparse.pretraining("english", n_params) == pytest.approx(full.pretraining("english", n_params), rel=1e-6)


def test_other_data_sets_of_such_a_size_cost_in_proportion_and_the_plan_says_so(runs, l_shaped, tmp_path):
    compute = _compute(l_shaped)
    half, twice = compute.training("english", 55_296, np.array([10_000.0, 40_000.0]))
    assert twice == pytest.approx(4 * half)
    told = "At N = 24,576, 55,296 the runs of english have one data size: FLOPs at others are taken in proportion to D."
    assert compute.cautions() == [told]
    assert _compute(runs).cautions() == []
    (tmp_path / "runs.parquet").write_bytes(runs.to_parquet())
    rule = '{"d_f": [6000, 60000], "draws": 100}'
    fit.main([str(tmp_path / "runs.parquet"), "--out", str(tmp_path), "--fit", rule])
    forecast = read_forecast(tmp_path)
    question = Question(20_000.0, tuple(forecast.sizes), target=3.6, prices=Prices(flop=1e-12), budget=1e13)
    for answer in (costs(forecast, question, compute), budget(forecast, question, compute)):
        assert answer.sentences[-1] == told
    unpriced = replace(question, prices=Prices(character=1.0))
    assert told not in costs(forecast, unpriced, compute).sentences


def test_runs_of_one_size_do_not_price_the_others(runs):
    one = runs[(runs.arm != "finetune") | (runs.n_params == 6_144)]
    with pytest.raises(
        PlanError, match="column n_params: the runs of english have 6,144 only, expected two sizes or more"
    ):
        _compute(one)


def test_runs_of_another_unit_name_both_units(runs):
    found = "column unit: no finetune run of english is on excerpt, the sampling unit of the law; found document"
    with pytest.raises(PlanError, match=found):
        _compute(runs.assign(unit="document"))
    with pytest.raises(PlanError, match=f"no scratch run of {SCRATCH} is on excerpt"):
        _compute(runs[runs.arm != "scratch"])
    with pytest.raises(PlanError, match="no finetune run of german is on excerpt"):
        measure_compute(runs, "excerpt", ["german"])


def test_runs_without_numbers_are_counted(runs):
    lacking = runs.assign(flops=runs.flops.where(runs.arm != "finetune"))
    with pytest.raises(PlanError, match=r"flops, best_tokens: .* every run of english, .*; 0 of \d+ runs have both"):
        _compute(lacking)

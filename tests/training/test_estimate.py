"""What a run is expected to take, before it is trained."""

import json
import math
import os
import subprocess
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts.experiment import Experiment
from workflow_scripts.training import estimate
from workflow_scripts.training.expected import START_SECONDS, best_step, expected_cost, expected_steps

MACHINE = {
    "seconds_per_step": 0.01,
    "seconds_per_evaluated_token": 1e-5,
    "seconds_per_final_token": 2e-5,
    "memory_mb": 400.0,
}


@pytest.fixture(scope="module")
def experiment():
    return Experiment.load("config/config.yaml")


@given(st.integers(1_000, 10**9), st.floats(1e3, 1e9), st.floats(1, 100))
def test_more_data_never_takes_fewer_steps(n_params, tokens, factor):
    assert best_step(n_params, tokens * factor) >= best_step(n_params, tokens) * (1 - 1e-9)


def test_steps_are_those_of_the_plan_and_of_the_recipe(experiment):
    by_arm = {arm: [run for run in experiment.runs if run.arm == arm] for arm in ("pretrain", "zero_shot", "finetune")}
    assert {expected_steps(experiment, run) for run in by_arm["pretrain"]} == {2_500_000 / 512}
    assert {expected_steps(experiment, run) for run in by_arm["zero_shot"]} == {0.0}
    smallest = next(run for run in by_arm["finetune"] if run.characters == 6_000)
    assert expected_steps(experiment, smallest) == pytest.approx(1.2 * 20 * 6_000 / 1.54 / 512)
    assert all(expected_cost(experiment, run) > 0 for run in experiment.runs)


def test_the_quickstart_is_met_within_a_factor_of_one_and_a_half(experiment):
    """Steps that all runs of a size took in each arm."""
    taken = {
        "scratch": {"3k": 29_145, "10k": 30_492, "25k": 36_117, "55k": 35_483, "124k": 36_402},
        "finetune": {"3k": 19_105, "10k": 19_517, "25k": 23_215, "55k": 19_517, "124k": 19_517},
    }
    for arm, sizes in taken.items():
        for size, steps in sizes.items():
            runs = [run for run in experiment.runs if run.arm == arm and run.size == size]
            assert 1 / 1.5 < sum(expected_steps(experiment, run) for run in runs) / steps < 1.5


def test_jobs_hold_their_runs_and_ask_for_half_more(experiment):
    found = estimate.estimate(experiment, dict.fromkeys(experiment.shapes, MACHINE))
    runs = sum(run["seconds"] for run in found["runs"].values())
    assert sum(found["jobs"].values()) == pytest.approx(runs + START_SECONDS * len(found["jobs"]))
    for job, seconds in found["jobs"].items():
        minutes = found["needs"][job]["runtime"] - estimate.START_MINUTES
        assert 1.5 * seconds / 60 <= minutes < 1.5 * seconds / 60 + 1
    small, large = (found["needs"][f"scratch/excerpt/124k/seed0/{cells}"] for cells in ("small", "d245000"))
    assert small["mem_mb"] == math.ceil(1.5 * (400 + 6.8 * 138_000 / 1.54 / 1e6)) + estimate.SNAKEMAKE_MB
    assert large["mem_mb"] > small["mem_mb"]
    assert "186 runs" in estimate.table(found, 2)


def test_many_workers_wait_for_the_longest_way(experiment):
    """Which is a pre-training and the longest job that starts from its weights."""
    longer = {"pretrain": experiment.pretrain.model_copy(update={"tokens": 25_000_000})}
    found = estimate.estimate(experiment.model_copy(update=longer), dict.fromkeys(experiment.shapes, MACHINE))
    ways = {
        size: found["jobs"][f"pretrain/english/{size}/seed0"]
        + max(found["jobs"][f"finetune/english/excerpt/{size}/seed0/{cells}"] for cells in ("small", "d200000"))
        for size in experiment.shapes
    }
    assert found["longest_way"] == pytest.approx(max(ways.values()))
    assert found["longest_way"] > max(found["jobs"].values())
    assert f"about {found['longest_way'] / 60:.0f} min of training on 1000" in estimate.table(found, 1000)
    assert f"about {sum(found['jobs'].values()) / 60 / 2:.0f} min of training on 2" in estimate.table(found, 2)


def test_the_final_evaluation_is_priced_in_float32(experiment):
    """Training in bfloat16 evaluates on the way in bfloat16, but what a run is judged by in float32."""
    slow = MACHINE | {"seconds_per_final_token": 1e-3}
    plain, found = (estimate.estimate(experiment, dict.fromkeys(experiment.shapes, it)) for it in (MACHINE, slow))
    more = {run: found["runs"][run]["seconds"] - plain["runs"][run]["seconds"] for run in plain["runs"]}
    assert list(more.values()) == pytest.approx([(1e-3 - 2e-5) * 2 * 102_528] * len(more))


def test_jobs_of_sweeps_ask_too_and_only_grids_are_told_of():
    config = yaml.safe_load(Path("config/config.yaml").read_text())
    config["sweeps"] = []
    without = Experiment.parse(config, "config")
    config["sweeps"] = [
        {"constant": "weight_decay", "values": [0.03, 0.1, 0.3], "sizes": ["25k"], "characters": [2_000_000]}
    ]
    swept = Experiment.parse(config, "config")
    plain, found = (estimate.estimate(it, dict.fromkeys(it.shapes, MACHINE)) for it in (without, swept))
    assert set(found["needs"]) - set(plain["needs"]) == {swept.job(run) for run in swept.sweep_runs}
    assert (found["runs"], found["jobs"]) == (plain["runs"], plain["jobs"])


def test_workers_are_gpus_where_there_are_some(experiment, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    assert estimate.workers_of(experiment) == 3
    assert estimate.workers_of(experiment.model_copy(update={"gpu": 0})) == os.cpu_count()


def test_a_size_that_cannot_be_measured_ends_with_the_way_on(tmp_path, monkeypatch):
    monkeypatch.setattr(estimate.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 1, ""))
    with pytest.raises(SystemExit, match="3k: could not be measured here.*--gpu"):
        estimate.main(["--configfile", "config/config.yaml"])


def test_the_command_measures_every_size_and_leaves_what_the_rules_read(tmp_path, monkeypatch, capsys):
    path = Path("tests/workflow/tiny.yaml").resolve()
    monkeypatch.setattr(estimate, "MEASURED_SECONDS", 0.01)
    experiment = Experiment.load(path)
    machine = {size: estimate.measure(experiment, size) for size in experiment.shapes}
    assert all(value > 0 for here in machine.values() for value in here.values())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        estimate.subprocess,
        "run",
        lambda command, **_: subprocess.CompletedProcess(command, 0, json.dumps(machine[command[-1]])),
    )
    estimate.main(["--configfile", str(path), "--workers", "3"])
    assert set(json.loads((tmp_path / "results/tiny/estimate.json").read_text())["needs"]) == {
        experiment.job(run) for run in experiment.runs
    }
    assert "min of training on 3" in capsys.readouterr().out

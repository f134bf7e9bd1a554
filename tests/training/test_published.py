"""The cost of an experiment on a GPU that is not here: arithmetic that a person can check."""

import pytest

from workflow_scripts.experiment import Experiment
from workflow_scripts.files import read_json
from workflow_scripts.training import estimate
from workflow_scripts.training.expected import Expectation, expected_steps
from workflow_scripts.training.published import FASTEST_STEP, GPUS, gpu_memory, largest_set, machine, table

CONFIG = "config/experiments/text-to-python.yaml"
EXPECTED = Expectation(characters_per_token=3.0, epochs=5.0)


@pytest.fixture(scope="module")
def experiment():
    return Experiment.load(CONFIG)


def test_a_step_takes_its_flops_over_the_rate_that_is_reached(experiment):
    found = machine(experiment, GPUS["h100"], 0.5, EXPECTED)
    flops = experiment.shapes["1208M"].flops_per_token(with_head=True) * 32 * 2048
    assert found["1208M"]["seconds_per_step"] == pytest.approx(flops / (989e12 * 0.5))
    assert found["393k"]["seconds_per_step"] == FASTEST_STEP


def test_steps_follow_from_the_epochs_that_are_assumed(experiment):
    runs = [run for run in experiment.runs if run.characters == 10_000_000]
    assert {run.arm for run in runs} == {"scratch", "finetune"}
    steps = {expected_steps(experiment, run, EXPECTED) for run in runs}
    assert list(steps) == [pytest.approx(1.2 * 5 * 10_000_000 / 3 / (32 * 2048))]


def test_the_set_in_memory_and_the_state_on_the_gpu_are_counted(experiment):
    """The trainer holds a set as int64, three times at its peak: 20e9 characters are 6.7e9 tokens, 160 GB."""
    found = machine(experiment, GPUS["h100"], 0.5, EXPECTED)
    assert found["393k"]["memory_mb"] > 24 * 20e9 / 3 / 1e6
    shape = experiment.shapes["1208M"]
    assert 22 * shape.parameter_counts()["total"] < gpu_memory(experiment, shape) < 80e9


def test_the_largest_set_may_be_that_of_a_sweep(experiment):
    sweep = {"constant": "weight_decay", "values": [0.03, 0.1, 0.3], "sizes": ["393k"], "characters": [10**12]}
    swept = Experiment.model_validate(experiment.model_dump() | {"sweeps": [sweep]})
    assert largest_set(swept, EXPECTED) == pytest.approx(10**12 / 3)


def test_a_size_that_does_not_fit_is_named(experiment):
    small = GPUS["l40s"].__class__("a small one", 1e14, 1e13, 24)
    found = estimate.estimate(experiment, machine(experiment, small, 0.5, EXPECTED), EXPECTED)
    assert "Does not fit in one GPU: 679M, 1208M" in table(experiment, found, small, 0.5, EXPECTED)


def test_the_command_prints_the_table_and_leaves_what_the_rules_read(tmp_path, monkeypatch, capsys, experiment):
    monkeypatch.setattr(Experiment, "load", classmethod(lambda cls, path: experiment))
    monkeypatch.chdir(tmp_path)
    estimate.main(["--configfile", CONFIG, "--gpu", "h100"])
    printed = capsys.readouterr().out
    assert "| 1208M |" in printed
    assert "Assumed: NVIDIA H100 SXM 80 GB, 35% of 989 TFLOP/s" in printed
    found = read_json("results/text_to_python/estimate.json")
    assert set(found["sizes"]) == set(experiment.shapes)
    assert f"{len(experiment.runs)} runs in {len(found['jobs'])} jobs" in printed

"""The cost of an experiment on a GPU that is not here: arithmetic that a person can check."""

import pytest

from workflow_scripts.experiment import Experiment
from workflow_scripts.files import read_json
from workflow_scripts.training import estimate
from workflow_scripts.training.expected import Expectation, expected_steps, set_mb
from workflow_scripts.training.published import FASTEST_STEP, GPUS, HEAD_BYTES, gpu_memory, machine, table

CONFIG = "config/experiments/text-to-python.yaml"
EXPECTED = Expectation(characters_per_token=3.0, epochs=5.0)


@pytest.fixture(scope="module")
def experiment():
    return Experiment.load(CONFIG)


def test_a_step_takes_its_flops_over_the_rate_that_is_reached(experiment):
    found = machine(experiment, GPUS["h100"], 0.5)
    flops = experiment.shapes["1208M"].flops_per_token(with_head=True)
    assert found["1208M"]["seconds_per_step"] == pytest.approx(flops * 32 * 2048 / (989e12 * 0.5))
    assert machine(experiment, GPUS["h100"], 1.0)["393k"]["seconds_per_step"] == FASTEST_STEP
    assert found["1208M"]["seconds_per_final_token"] == pytest.approx(flops / 3 / (67e12 * 0.5)), "in float32"


def test_the_gpus_of_a_job_share_a_step_but_none_is_faster_than_its_kernels_are_launched(experiment):
    one, eight = (machine(experiment.model_copy(update={"gpu": gpus}), GPUS["h100"], 0.5) for gpus in (1, 8))
    assert one["1208M"]["seconds_per_step"] / eight["1208M"]["seconds_per_step"] == pytest.approx(8)
    assert eight["393k"]["seconds_per_step"] == FASTEST_STEP
    assert one["1208M"]["seconds_per_evaluated_token"] == eight["1208M"]["seconds_per_evaluated_token"]


def test_steps_follow_from_the_epochs_that_are_assumed(experiment):
    runs = [run for run in experiment.runs if run.characters == 10_000_000]
    assert {run.arm for run in runs} == {"scratch", "finetune"}
    steps = {expected_steps(experiment, run, EXPECTED) for run in runs}
    assert list(steps) == [pytest.approx(1.2 * 5 * 10_000_000 / 3 / (32 * 2048))]


def test_the_set_in_memory_and_the_state_on_the_gpu_are_counted(experiment):
    """20e9 characters are 6.7e9 tokens of two bytes, 3.4 times at its peak: 45 GB."""
    found = estimate.estimate(experiment, machine(experiment, GPUS["h100"], 0.5), EXPECTED)
    largest = max((run for run in experiment.runs if run.size == "393k"), key=lambda run: run.characters or 0)
    assert set_mb(experiment, largest, EXPECTED) == pytest.approx(6.8 * 20e9 / 3 / 1e6)
    assert found["needs"][experiment.job(largest)]["mem_mb"] > 1.5 * 6.8 * 20e9 / 3 / 1e6
    shape = experiment.shapes["1208M"]
    assert 30 * shape.parameter_counts()["total"] < gpu_memory(experiment, shape) < 80e9


def test_shards_and_a_shared_batch_take_less_of_each_gpu(experiment):
    shape, several = experiment.shapes["1208M"], {"gpu": 8, "micro_batch": None}
    alone, shared, sharded = (
        gpu_memory(experiment.model_copy(update=more), shape)
        for more in ({"micro_batch": None}, several, several | {"shard": True})
    )
    head, noise = HEAD_BYTES * shape.vocab_size, 8 * shape.parameter_counts()["total"]
    assert (alone - head - noise) / 8 + head == pytest.approx(sharded), (
        "no noise is measured, and the head is each one's"
    )
    assert sharded < shared < alone


def test_a_size_that_does_not_fit_is_named(experiment):
    small = GPUS["l40s"].__class__("a small one", 1e14, 1e13, 24)
    found = estimate.estimate(experiment, machine(experiment, small, 0.5), EXPECTED)
    assert "Does not fit in a GPU: 679M, 1208M" in table(experiment, found, small, 0.5, EXPECTED)


def test_the_command_prints_the_table_and_leaves_what_the_rules_read(tmp_path, monkeypatch, capsys, experiment):
    monkeypatch.setattr(Experiment, "load", classmethod(lambda cls, path: experiment))
    monkeypatch.chdir(tmp_path)
    estimate.main(["--configfile", CONFIG, "--gpu", "h100"])
    printed = capsys.readouterr().out
    assert "| 1208M |" in printed
    assert "Assumed: NVIDIA H100 SXM 80 GB, 35% of 989 TFLOP/s" in printed
    found = read_json("results/text_to_python/estimate.json")
    assert set(found["jobs"]) <= set(found["needs"])
    assert f"{len(experiment.runs)} runs in {len(found['jobs'])} jobs" in printed

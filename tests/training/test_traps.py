"""Mistakes of other trainers: what is tested, timed, repeated and shared must be what it is called."""

import itertools
import json
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from tests.training.conftest import SHAPE, write_tokens
from tests.training.test_loop import ALONE, CPU, Interrupted, Killed, same, vary
from tests.training.test_run import SPECIFICATION
from workflow_scripts.experiment import Experiment
from workflow_scripts.files import read_json
from workflow_scripts.training import estimate
from workflow_scripts.training.cell import Cell
from workflow_scripts.training.data import Batches, Corpus, windows
from workflow_scripts.training.loop import held_out_loss, train
from workflow_scripts.training.model import GPT
from workflow_scripts.training.optimizer import AdamW
from workflow_scripts.training.run import main

QUICKSTART = Experiment.load("config/config.yaml")
SHORT = 3.0
"""Epochs of a run that need not reach its best: more than 20 steps."""


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """Record, weights and corpus of a run whose test split is as written, or every token of it one further on."""

    def make(name: str, other_test_text: bool = False, **recipe: float) -> tuple[dict, dict, Corpus]:
        folder = tmp_path / name
        tokens = write_tokens(folder / "tokens" / "corpus")
        if other_test_text:
            found = np.fromfile(tokens / "test.bin", "<u2")
            (found % 36 + 1).astype("<u2").tofile(tokens / "test.bin")
        monkeypatch.chdir(folder)
        specification = SPECIFICATION | {"recipe": SPECIFICATION["recipe"] | recipe}
        main(["--runs", json.dumps({"cell": specification}), "--tokens", "tokens", "--out", "cell.json"])
        return read_json("cell/run.json"), load_file("cell/model.safetensors"), Corpus(folder / "tokens" / "corpus")

    return make


def test_the_test_loss_is_that_of_the_best_weights(trained):
    """Kim tested the last weights, stopped on 4,096 tokens."""
    record, weights, corpus = trained("one")
    assert record["outcome"]["best_step"] < record["outcome"]["steps"], "the last weights are others"
    model = GPT(SHAPE).requires_grad_(False)
    model.load_state_dict(weights)
    for split, name in (("test", "test_loss"), ("validation", "val_loss")):
        tokens = SPECIFICATION["evaluation"][f"{split}_tokens"]
        rows = windows(corpus.prefix(split, 32, 0, tokens=tokens).tokens, SHAPE.n_ctx)
        assert held_out_loss(model, rows, CPU) == record["outcome"][name]


def test_the_test_text_decides_nothing(trained):
    """Stop on validation, report on test: with other test text the run is the same, and its test loss is not."""
    one, weights, _ = trained("one", budget_epochs=SHORT)
    other, other_weights, _ = trained("other", other_test_text=True, budget_epochs=SHORT)
    assert all(torch.equal(weights[name], other_weights[name]) for name in weights)
    for name in ("val_loss", "best_step", "steps", "stopped_by"):
        assert one["outcome"][name] == other["outcome"][name]
    assert one["outcome"]["test_loss"] != other["outcome"]["test_loss"]


def test_held_out_text_is_one_for_all_arms_seeds_and_sizes_of_a_target(corpus):
    variants = [
        SPECIFICATION,
        SPECIFICATION | {"seed": 1, "initial": SPECIFICATION},
        SPECIFICATION | {"data": SPECIFICATION["data"] | {"characters": 300, "unit_tokens": None}},
        SPECIFICATION | {"model": SPECIFICATION["model"] | {"n_layer": 1, "d_model": 4}},
    ]
    for split in ("validation", "test"):
        first, *others = (Cell(variant, corpus, None).held_out(split, 321) for variant in variants)
        assert all(np.array_equal(first, other) for other in others)


def test_the_random_state_of_the_process_decides_nothing(make_task, tmp_path):
    """torchtitan does not save it; here a resumed run needs none."""
    task = make_task(recipe={"budget_epochs": SHORT, "dropout": 0.1})
    whole = train(task, tmp_path / "whole", ALONE, checkpoint_seconds=10**9)
    with pytest.raises(Killed):
        train(vary(task, batches=Interrupted(task.batches, 20)), tmp_path / "state", ALONE, 0)
    for seed in (torch.manual_seed, np.random.seed, random.seed):
        seed(12345)
    same(train(task, tmp_path / "state", ALONE, checkpoint_seconds=10**9), whole)


def test_the_time_of_a_run_is_a_duration(make_task, tmp_path):
    """litgpt divided tokens by a timestamp; and the hours between a kill and its resumption are no work."""
    task, now = make_task(recipe={"budget_epochs": SHORT}), 1_700_000_000
    whole = train(task, tmp_path / "whole", ALONE, 10**9, clock=itertools.count(now).__next__).progress
    looks = 2 * whole.step + 2 * len(whole.curve)
    assert whole.seconds == pytest.approx(looks, abs=4), (
        "two looks at the clock a step and an evaluation, a second each"
    )
    assert whole.evaluation_seconds == len(whole.curve)
    broken = vary(task, batches=Interrupted(task.batches, 20))
    with pytest.raises(Killed):
        train(broken, tmp_path / "state", ALONE, 0, clock=itertools.count(now).__next__)
    resumed = train(task, tmp_path / "state", ALONE, 10**9, clock=itertools.count(now + 86_400).__next__).progress
    assert resumed.seconds == pytest.approx(whole.seconds, abs=25), "saving after each of 20 steps takes a look more"
    assert resumed.evaluation_seconds == whole.evaluation_seconds


def test_the_speed_of_a_step_is_measured_by_a_fake_clock(monkeypatch):
    """A clock of one second a look, from a timestamp on: four steps in three seconds, and so for evaluations."""
    ticks = itertools.count(1_700_000_000.0)
    monkeypatch.setattr(estimate, "time", type("Clock", (), {"perf_counter": staticmethod(ticks.__next__)}))
    monkeypatch.setattr(estimate, "MEASURED_SECONDS", 2.0)
    experiment = Experiment.load("tests/workflow/tiny.yaml")
    found = estimate.measure(experiment, "1k")
    assert found["seconds_per_step"] == 3 / 4
    assert found["seconds_per_evaluated_token"] == 3 / 4 / (16 * experiment.model.n_ctx)


@given(st.integers(17, 200), st.integers(1, 40), st.integers(0, 30))
def test_a_batch_larger_than_its_set_is_full_and_takes_every_window_as_often(n_tokens, sequences, step):
    """Kim's tiny sets silently got 8 or 2 sequences instead of 512; here a batch has what the recipe declares."""
    batches = Batches(np.arange(n_tokens), 16, sequences, 0)
    assert batches[step].shape == (sequences, 17)
    starts = np.concatenate([batches[i][:, 0] for i in range(batches.windows)])
    assert len(starts) == sequences * batches.windows, "as many epochs as there are sequences in a batch"
    for epoch in starts.reshape(sequences, batches.windows):
        assert len(set(epoch.tolist())) == batches.windows


def test_every_epoch_has_its_own_order():
    """Kim's epochs all ran through one fixed order."""
    batches = Batches(np.arange(1000), 16, 1, 0)
    epochs = [tuple(int(batches[e * batches.windows + i][0, 0]) for i in range(batches.windows)) for e in range(5)]
    assert len(set(epochs)) == 5
    assert len({frozenset(epoch) for epoch in epochs}) > 1, "other windows too, from another phase"


@pytest.mark.parametrize("kind", [{"one_pass": True, "characters": 1500}, {"characters": 60}])
def test_a_schedule_ends_with_the_run_it_belongs_to(make_task, tmp_path, monkeypatch, kind):
    """All of Kim's runs took the cosine of 250,000 steps: small sets ended at the peak, pre-training at 92 % of it."""
    rates, step = [], AdamW.step

    def noted(optimizer, rate, *others):
        rates.append(rate)
        return step(optimizer, rate, *others)

    monkeypatch.setattr(AdamW, "step", noted)
    task = make_task(recipe={"schedule": "cosine", "warmup_steps": 3, "budget_epochs": 50}, **kind)
    trained = train(task, tmp_path, ALONE)
    peak = task.recipe.peak_learning_rate(1536, task.batches.length)
    assert len(rates) == task.planned_steps == trained.progress.step
    assert max(rates) > 0.95 * peak
    assert rates[-1] == pytest.approx(0.1 * peak, rel=0.1)


@pytest.fixture(scope="module")
def large_corpus(tmp_path_factory) -> Corpus:
    """More characters than the largest set of the quickstart."""
    corpus = Corpus(write_tokens(tmp_path_factory.mktemp("large") / "corpus", documents_per_split=4500))
    assert corpus.manifest["splits"]["train"]["characters"] > QUICKSTART.data_needs()["python"]["train"]["characters"]
    return corpus


@pytest.mark.parametrize("unit", ["excerpt", "document"])
def test_fine_tuning_sets_nest_in_the_from_scratch_sets(large_corpus, unit):
    """Every set of D_F is the start of every larger from-scratch set of its seed, also where no run has that very D."""
    sets: dict[str, dict[int, np.ndarray]] = {"finetune": {}, "scratch": {}}
    for run in QUICKSTART.runs:
        if run.unit == unit and (run.size, run.seed) == ("25k", 1) and run.arm in sets:
            cell = Cell(QUICKSTART.specification(run), large_corpus, None)
            sets[run.arm][run.characters] = cell.training_set().tokens
    compared = 0
    for d_f, ours in sets["finetune"].items():
        for d, theirs in sets["scratch"].items():
            shared = min(len(ours), len(theirs))
            assert np.array_equal(ours[:shared], theirs[:shared])
            assert (len(ours) <= len(theirs)) == (d_f <= d)
            compared += d_f <= d
    assert compared >= 10
    assert unit == "document" or {60_000, 200_000} <= set(sets["finetune"]) - set(sets["scratch"])


def test_sets_of_two_seeds_do_not_nest(large_corpus):
    runs = [run for run in QUICKSTART.runs if (run.arm, run.size, run.characters) == ("scratch", "25k", 6_000)]
    first, second = (
        Cell(QUICKSTART.specification(run), large_corpus, None).training_set().tokens
        for run in runs
        if run.unit == "excerpt"
    )
    shared = min(len(first), len(second))
    assert not np.array_equal(first[:shared], second[:shared])

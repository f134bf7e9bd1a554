"""A run goes to its best point, resumes to the last bit, and fails aloud."""

import itertools
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.training.conftest import SHAPE
from workflow_scripts.training import products
from workflow_scripts.training.checkpoint import load_checkpoint
from workflow_scripts.training.loop import Preempted, Trainer, TrainingFailure, held_out_loss, train
from workflow_scripts.training.model import GPT
from workflow_scripts.training.placement import Placement

CPU = torch.device("cpu")
ALONE = Placement(CPU)


class Killed(BaseException):
    """Stands for the end of the process: nothing may catch it."""


class Interrupted:
    """Batches that end the process when a certain step is asked for."""

    def __init__(self, batches, at):
        self.batches, self.at, self.first = batches, at, None

    def __getattr__(self, name):
        return getattr(self.batches, name)

    def __getitem__(self, step):
        self.first = step if self.first is None else self.first
        if step == self.at:
            raise Killed
        return self.batches[step]


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def ticking():
    """A clock that moves one second at each look, so that checkpoints fall at every other step or so."""
    return itertools.count().__next__


def same(first, second):
    assert first.progress.curve == second.progress.curve
    assert first.stopped_by == second.stopped_by
    assert first.weights.keys() == second.weights.keys()
    for name, tensor in first.weights.items():
        assert torch.equal(tensor, second.weights[name]), name


@pytest.mark.parametrize("kills", [[1], [7], [13, 14, 29], [3, 20, 21, 40, 41]])
@pytest.mark.parametrize("checkpoint_seconds", [0, 5, 40])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_a_killed_run_goes_on_to_the_same_bits(make_task, tmp_path, kills, checkpoint_seconds, dropout):
    """Peers replay batches or lose random state on resuming."""
    task = make_task(recipe={"dropout": dropout})
    whole = train(task, tmp_path / "whole", ALONE, checkpoint_seconds=10**9)
    assert whole.progress.step > max(kills)
    for at in kills:
        broken = Interrupted(task.batches, at)
        with pytest.raises(Killed):
            train(vary(task, batches=broken), tmp_path / "state", ALONE, checkpoint_seconds, ticking())
    last = vary(task, batches=Interrupted(task.batches, None))
    same(train(last, tmp_path / "state", ALONE, checkpoint_seconds, ticking()), whole)
    if checkpoint_seconds == 0:
        assert last.batches.first == max(kills), "it went on, it did not begin again"


@pytest.mark.parametrize("by_onednn", [False, True])
def test_a_run_that_is_asked_to_stop_saves_and_goes_on_to_the_same_bits(make_task, tmp_path, monkeypatch, by_onednn):
    """Preemption and time limits: a scheduler's signal is not a kill."""
    monkeypatch.setattr(products, "MKL_IS_SLOW", by_onednn and torch.backends.mkldnn.is_available())
    monkeypatch.setattr(products, "NARROWEST", 1)
    task = make_task()
    whole = train(task, tmp_path / "whole", ALONE, checkpoint_seconds=10**9)
    answers = iter([False] * 17 + [True])
    with pytest.raises(Preempted, match="step 18"):
        train(task, tmp_path / "state", ALONE, checkpoint_seconds=10**9, stop_requested=lambda: next(answers))
    last = vary(task, batches=Interrupted(task.batches, None))
    same(train(last, tmp_path / "state", ALONE, checkpoint_seconds=10**9), whole)
    assert last.batches.first == 18


def test_twenty_kills_at_random_moments_leave_the_same_bits(make_task, tmp_path):
    """SIGKILL from outside, also in the middle of writing a checkpoint, which happens after every step here."""
    task = make_task()
    whole = train(task, tmp_path / "whole", ALONE, checkpoint_seconds=10**9)
    random, saved = np.random.default_rng(0), 0
    for _ in range(20):
        pid, steps = forked(task, tmp_path / "state")
        assert int(steps.readline()) == saved, "it goes on where the last checkpoint is"
        for _ in range(random.integers(0, 25)):
            steps.readline()
        for _ in range(random.integers(0, 200_000)):
            pass
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        steps.close()
        state = load_checkpoint(tmp_path / "state")
        saved = state["progress"]["step"] if state else 0
    assert whole.progress.step / 2 < saved < whole.progress.step, "the kills are spread over the run"
    same(train(task, tmp_path / "state", ALONE, 0, ticking()), whole)


def forked(task, state):
    """A process that trains and saves after every step; returns its number and a file that tells each step, a line each."""
    reading, writing = os.pipe()
    if pid := os.fork():
        os.close(writing)
        return pid, os.fdopen(reading)

    class Told(Interrupted):
        def __getitem__(self, step):
            os.write(writing, b"%d\n" % step)
            return super().__getitem__(step)

    try:
        train(vary(task, batches=Told(task.batches, None)), state, ALONE, 0, ticking())
    finally:
        os._exit(0)


def vary(task, **changes):
    return type(task)(**{**vars(task), **changes})


def test_the_weights_are_those_of_the_lowest_validation_loss(make_task, tmp_path):
    """Peers test the last weights."""
    task = make_task()
    trained = train(task, tmp_path, ALONE)
    losses = [row["validation_loss"] for row in trained.progress.curve]
    model = GPT(SHAPE)
    model.load_state_dict(trained.weights)
    assert held_out_loss(model, task.stop_windows, CPU) == min(losses) == trained.progress.best_loss
    assert losses[-1] > min(losses), "this set is small enough to over-fit"


def test_the_initial_weights_are_a_candidate(make_task, tmp_path):
    """Ossification: where fine-tuning only hurts, the run says so by its best step, 0."""
    good = train(make_task(characters=1500), tmp_path / "a", ALONE)
    task = make_task(characters=60, initial_weights=good.weights, recipe={"learning_rate": 0.5, "warmup_steps": 1})
    hurt = train(task, tmp_path / "b", ALONE)
    assert hurt.progress.best_step == 0
    assert all(torch.equal(hurt.weights[name], good.weights[name]) for name in good.weights)


def test_patience_budget_and_plan_are_told_apart(make_task, tmp_path):
    assert train(make_task(), tmp_path / "a", ALONE).stopped_by == "patience"
    budget = train(make_task(recipe={"budget_epochs": 1.0}), tmp_path / "b", ALONE)
    assert budget.stopped_by == "budget"
    patience = make_task()
    steps = train(patience, tmp_path / "a2", ALONE).progress.step
    windows_a_step = patience.batches.sequences / patience.batches.windows
    both = make_task(recipe={"budget_epochs": steps * windows_a_step + 1e-9})
    assert train(both, tmp_path / "d", ALONE).stopped_by == "patience", "out of patience at the budget's last step"
    one_pass = make_task(one_pass=True)
    planned = train(one_pass, tmp_path / "c", ALONE)
    assert planned.stopped_by == "plan"
    assert planned.progress.step == one_pass.batches.windows // one_pass.recipe.batch_sequences


def test_a_loss_that_is_not_finite_stops_before_the_update(make_task):
    trainer = Trainer(make_task(), ALONE)
    trainer.evaluate()
    trainer.train_step()
    with torch.no_grad():
        trainer.model.norm.weight[0] = float("nan")
    before = [parameter.nan_to_num() for parameter in trainer.parameters]
    trainer.train_step()
    with torch.no_grad():
        trainer.model.norm.weight[0] = 1.0
        before = [parameter.nan_to_num(1.0) for parameter in before]
        before[[name for name, _ in trainer.model.named_parameters()].index("norm.weight")][0] = 1.0
    trainer.train_step()
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.parameters, strict=True)), "no update after it"
    with pytest.raises(TrainingFailure, match=r"step 1: the loss .* at learning rate .* evaluation was at step 0"):
        trainer.evaluate()


def test_a_gradient_that_is_not_finite_stops_too(make_task):
    """The loss may be sound when a product of its gradient overflows."""
    trainer = Trainer(make_task(), ALONE)
    trainer.evaluate()
    trainer.train_step()
    trainer.model.norm.weight.register_hook(lambda grad: grad / 0)
    before = [parameter.detach().clone() for parameter in trainer.parameters]
    trainer.train_step()
    assert trainer.interval["loss"].isfinite()
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.parameters, strict=True))
    with pytest.raises(TrainingFailure, match="step 1: the loss or its gradient is not finite"):
        trainer.evaluate()


def test_no_checkpoint_is_made_after_a_loss_that_is_not_finite(make_task, tmp_path, monkeypatch):
    """The last two were of the steps after it, which could only fail again: the good one before them was gone."""
    gradient = Trainer._gradient

    def lost(trainer, batch):
        return gradient(trainer, batch) * (float("nan") if trainer.progress.step == 15 else 1)

    monkeypatch.setattr(Trainer, "_gradient", lost)
    with pytest.raises(TrainingFailure, match="step 15: the loss or its gradient is not finite"):
        train(make_task(), tmp_path, ALONE, 0, ticking())
    state = load_checkpoint(tmp_path)
    assert state["progress"]["step"] == 15
    assert state["interval"]["sound"] == 1


@pytest.mark.parametrize(
    ("trainable", "moved"),
    [
        ("norms_and_embeddings", {"embedding", "position", "norm", "norm_1", "norm_2"}),
        ("last_blocks:1", {"norm", "norm_1", "norm_2", "qkv", "out", "up", "down"}),
    ],
)
def test_only_what_is_trainable_moves(make_task, trainable, moved):
    trainer = Trainer(make_task(trainable=trainable), ALONE)
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    for _ in range(5):
        trainer.train_step()
    trainer.evaluate()
    changed = {name for name, tensor in trainer.model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {name.split(".")[-2] for name in changed} == moved
    if trainable.startswith("last_blocks"):
        assert not any(name.startswith("blocks.0.") for name in changed)
    averaged = {name for name, tensor in trainer.averaged.state_dict().items() if not torch.equal(tensor, before[name])}
    assert averaged == changed


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_micro_batches_give_the_gradient_of_the_batch(make_task, dropout):
    task = make_task(recipe={"batch_sequences": 6, "dropout": dropout})
    whole, parts = Trainer(task, ALONE), Trainer(task, Placement(CPU, micro_batch=4))
    for trainer in (whole, parts):
        trainer._gradient(task.batches[0])
    for one, other in zip(whole.parameters, parts.parameters, strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-7, rtol=1e-4)


def test_bfloat16_rounds_products_and_keeps_weights_whole(make_task, tmp_path):
    exact = train(make_task(), tmp_path / "a", ALONE)
    rounded = train(make_task(recipe={"precision": "bfloat16"}), tmp_path / "b", ALONE)
    assert rounded.progress.best_loss != exact.progress.best_loss
    assert rounded.progress.best_loss == pytest.approx(exact.progress.best_loss, abs=0.05)
    assert {tensor.dtype for tensor in rounded.weights.values()} == {torch.float32}


@pytest.mark.parametrize("schedule", ["cosine", "warmup_stable_decay"])
def test_a_run_whose_rate_falls_goes_to_the_end_of_its_schedule(make_task, tmp_path, schedule):
    """Patience ended it near the peak, where the weights that are judged are at their noisiest."""
    recipe = {"schedule": schedule, "budget_epochs": 30.0, "minimum_epochs": 1, "tolerance": 10.0}
    task = make_task(recipe=recipe)
    trained = train(task, tmp_path, ALONE)
    assert trained.stopped_by == "plan"
    assert trained.progress.step == task.planned_steps
    assert trained.progress.curve[-1]["step"] == task.planned_steps


@pytest.mark.parametrize("schedule", ["cosine", "warmup_stable_decay"])
def test_other_schedules_judge_the_weights_themselves(make_task, tmp_path, schedule):
    trainer = Trainer(make_task(recipe={"schedule": schedule, "budget_epochs": 5.0}), ALONE)
    for _ in range(12):
        trainer.train_step()
    torch.testing.assert_close(trainer.averaged.state_dict(), trainer.model.state_dict(), rtol=0, atol=0)


def test_the_same_weights_always_give_the_same_loss(make_task):
    """Peers evaluate on random batches."""
    task, model = make_task(), GPT(SHAPE)
    model.initialise(0)
    assert len({held_out_loss(model, task.stop_windows, CPU) for _ in range(3)}) == 1


def test_dropout_changes_training_and_no_evaluation(make_task):
    """The first evaluation is that of the initial weights: the same; what is learnt from them differs."""
    plain, dropped = (Trainer(make_task(recipe={"dropout": share}), ALONE) for share in (0.0, 0.3))
    for trainer in (plain, dropped):
        trainer.evaluate()
        for _ in range(20):
            trainer.train_step()
    assert plain.progress.curve == dropped.progress.curve
    assert plain.interval["loss"].item() < dropped.interval["loss"].item()


@pytest.mark.parametrize("by_onednn", [False, True])
@pytest.mark.parametrize("d_model", [8, 32])
def test_golden_trace(make_task, monkeypatch, d_model, by_onednn):
    """The first 20 steps, and what is seen after them, so that a refactoring that changes the computation is noticed."""
    monkeypatch.setattr(products, "MKL_IS_SLOW", by_onednn and torch.backends.mkldnn.is_available())
    task = make_task(seed=3, recipe={"dropout": 0.1 if d_model == 32 else 0.0})
    trainer = Trainer(vary(task, shape=replace(SHAPE, d_model=d_model)), ALONE)
    trace = []
    for _ in range(20):
        trainer.train_step()
        trace.append(trainer.interval["loss"].item())
    losses = [second - first for first, second in zip([0.0, *trace], trace, strict=False)]
    trainer.evaluate()
    seen = trainer.progress.curve[-1]
    squares = [seen["gradient_square_half"], seen["gradient_square_batch"]]
    assert losses == pytest.approx(GOLDEN[d_model], abs=2e-4)
    assert seen["validation_loss"] == pytest.approx(GOLDEN_AVERAGE[d_model], abs=2e-4)
    assert squares == pytest.approx(GOLDEN_SQUARES[d_model], rel=1e-3)


GOLDEN = {
    8: [
        3.5395, 3.6278, 3.7263, 3.6784, 3.7040, 3.5982, 3.6928, 3.7127, 3.6161, 3.6317,
        3.7198, 3.6587, 3.5658, 3.6008, 3.5436, 3.5453, 3.5412, 3.6482, 3.6422, 3.5971,
    ],
    32: [
        3.7482, 3.7090, 3.7725, 3.7963, 3.9106, 3.9798, 3.7837, 3.7889, 3.4819, 3.6185,
        3.3866, 3.4994, 3.3623, 3.2804, 3.1834, 2.8071, 3.2989, 3.4382, 3.1530, 3.0229,
    ],
}  # fmt: skip
GOLDEN_AVERAGE = {8: 3.6114, 32: 3.1292}
GOLDEN_SQUARES = {8: [0.30636, 0.13493], 32: [6.25218, 3.82032]}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_gpu_learns_what_a_cpu_learns(make_task, precision):
    """With compiled blocks, flash attention and the fused optimizer: the same losses but for rounding."""
    task, judged = make_task(recipe={"precision": precision}), []
    for device in ("cpu", "cuda"):
        trainer = Trainer(task, Placement(torch.device(device)))
        for _ in range(20):
            trainer.train_step()
        trainer.evaluate()
        judged.append(trainer.progress.curve[-1]["validation_loss"])
    assert judged[1] == pytest.approx(judged[0], abs=0.02)

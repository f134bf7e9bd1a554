"""The number of devices is placement: it does not change what is learnt.  Two processes on a CPU stand for two GPUs."""

import math
import os

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing

from workflow_scripts.training import loop
from workflow_scripts.training.checkpoint import save_checkpoint
from workflow_scripts.training.data import DataError
from workflow_scripts.training.loop import Preempted, Trainer, train
from workflow_scripts.training.placement import AGREE_EVERY, Placement, processes
from workflow_scripts.training.shape import ModelShape

CPU = torch.device("cpu")
STEPS = 12


def run_together(task, count, port, sharded, folder, first=None, micro_batch=None):
    """Trains `STEPS` steps in `count` processes from the state `first`; each leaves its losses in `folder`."""
    if first is not None:
        torch.save(first, folder / "first.pt")
    arguments = (count, port, sharded, task, folder, first is not None, micro_batch)
    multiprocessing.spawn(_one_of, arguments, nprocs=count)
    traces = [np.load(folder / f"losses{rank}.npy") for rank in range(count)]
    for trace in traces[1:]:
        np.testing.assert_array_equal(trace, traces[0])
    return traces[0], torch.load(folder / "state.pt")


def _one_of(rank, count, port, sharded, task, folder, resumed, micro_batch):
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with processes(CPU, sharded=sharded, micro_batch=micro_batch) as placement:
        trainer = Trainer(task, placement)
        if resumed:
            trainer.restore(torch.load(folder / "first.pt"))
        np.save(folder / f"losses{rank}.npy", trace(trainer))
        state = trainer.state()
        if rank == 0:
            torch.save(state, folder / "state.pt")
        elif sharded:
            gathered = [*state["model"].values(), *state["averaged"].values(), *state["optimizer"]["first"]]
            assert not any(torch.is_tensor(value) for value in gathered), "one process keeps what is whole"


def alone(task, first=None):
    trainer = Trainer(task, Placement(CPU))
    if first is not None:
        trainer.restore(first)
    return trace(trainer), trainer.state()


def trace(trainer):
    """Training losses of `STEPS` steps, and the validation losses after each third of them.

    None of those is the best so far: a new best gathers the weights of all processes, and would hide it if an evaluation
    looked at weights that are no longer there.
    """
    losses, judged = [], []
    trainer.progress.best_loss = -math.inf
    for step in range(1, STEPS + 1):
        before = trainer.interval["loss"].item()
        trainer.train_step()
        losses.append(trainer.interval["loss"].item() - before)
        if step % (STEPS // 3) == 0:
            trainer.evaluate()
            judged.append(trainer.progress.curve[-1]["validation_loss"])
    return np.array([*losses, *judged])


@pytest.fixture
def port():
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("sharded", [False, True], ids=["ddp", "fsdp"])
def test_two_processes_learn_what_one_learns(make_task, tmp_path, port, sharded, dropout):
    task = make_task(recipe={"dropout": dropout})
    expected, _ = alone(task)
    found, _ = run_together(task, 2, port, sharded, tmp_path)
    np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.mark.parametrize("sharded", [False, True], ids=["ddp", "fsdp"])
@pytest.mark.parametrize("micro_batch", [None, 1])
def test_they_do_where_a_small_sets_batch_cannot_be_shared(make_task, tmp_path, port, sharded, micro_batch):
    """Each takes all of it then: devices are placement, and change no result."""
    task = make_task(recipe={"batch_sequences": 4, "steps_an_epoch": 10, "dropout": 0.3}, characters=1000)
    assert task.batches.sequences == 3
    expected, _ = alone(task)
    found, _ = run_together(task, 2, port, sharded, tmp_path, micro_batch=micro_batch)
    np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.mark.parametrize("trainable", ["all", "last_blocks:1", "norms_and_embeddings"])
@pytest.mark.parametrize("sharded", [False, True], ids=["ddp", "fsdp"])
def test_they_do_with_micro_batches_and_frozen_weights_too(make_task, tmp_path, port, sharded, trainable):
    """Gradients are exchanged once a step, after the last micro-batch, and only those that there are."""
    task = make_task(recipe={"batch_sequences": 4}, trainable=trainable)
    expected, _ = alone(task)
    found, _ = run_together(task, 2, port, sharded, tmp_path, micro_batch=1)
    np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.mark.parametrize("sharded", [False, True], ids=["ddp", "fsdp"])
def test_a_run_may_resume_with_another_number_of_devices(make_task, tmp_path, port, sharded):
    task = make_task()
    trainer = Trainer(task, Placement(CPU))
    _, expected = trace(trainer), trace(trainer)
    _, half = run_together(task, 2, port, sharded, tmp_path)
    resumed, _ = alone(task, first=half)
    np.testing.assert_allclose(resumed, expected, atol=5e-4)
    _, first_half = alone(task)
    again, _ = run_together(task, 2, port, sharded, tmp_path, first=first_half)
    np.testing.assert_allclose(again, expected, atol=5e-4)


def _judge_unlike(rank, port, sharded, task, folder):
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    judged = loop.held_out_loss
    loop.held_out_loss = lambda *of: judged(*of) + rank * 1e-7
    with processes(CPU, sharded=sharded) as placement:
        trainer = Trainer(task, placement)
        for _ in range(3):
            trainer.evaluate()
            trainer.train_step()
        losses = [row["validation_loss"] for row in trainer.progress.curve]
        np.save(folder / f"judged{rank}.npy", [*losses, trainer.progress.best_loss])


@pytest.mark.parametrize("sharded", [False, True], ids=["ddp", "fsdp"])
def test_processes_whose_devices_round_unlike_decide_alike(make_task, tmp_path, port, sharded):
    """Else one keeps new best weights, or leaves, while the others wait for it."""
    multiprocessing.spawn(_judge_unlike, (port, sharded, make_task(), tmp_path), nprocs=2)
    first, second = (np.load(tmp_path / f"judged{rank}.npy") for rank in range(2))
    np.testing.assert_array_equal(first, second)


def _train_where_only_the_first_sees_a_checkpoint(rank, port, sharded, task, folder):
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with (
        processes(CPU, sharded=sharded) as placement,
        pytest.raises(DataError, match="find different checkpoints there"),
    ):
        train(task, folder / ("saved" if rank == 0 else "unseen"), placement)


@pytest.mark.parametrize("sharded", [False, True], ids=["ddp", "fsdp"])
def test_processes_that_find_different_checkpoints_refuse(make_task, tmp_path, port, sharded):
    """A network file system may show a node's new file late: they averaged gradients of different weights to the end."""
    task = make_task()
    trainer = Trainer(task, Placement(CPU))
    trainer.evaluate()
    trainer.train_step()
    save_checkpoint(tmp_path / "saved", trainer.state())
    multiprocessing.spawn(_train_where_only_the_first_sees_a_checkpoint, (port, sharded, task, tmp_path), nprocs=2)


@pytest.mark.parametrize("asked", [0, 1])
def test_two_processes_stop_and_go_on_together(make_task, tmp_path, port, asked):
    """`train` itself, whose processes must agree when to save and when to leave: a scheduler may ask one of them alone."""
    task = make_task()
    alone = train(task, tmp_path / "alone", Placement(CPU))
    multiprocessing.spawn(_train_stop_and_go_on, (port, task, tmp_path, asked), nprocs=2)
    together = np.load(tmp_path / "validation.npy")
    judged = [row["validation_loss"] for row in alone.progress.curve]
    assert abs(len(together) - len(judged)) <= 1, "rounding may end one of them an evaluation sooner"
    np.testing.assert_allclose(together[: len(judged)], judged[: len(together)], atol=2e-3)


def _train_stop_and_go_on(rank, port, task, folder, asked):
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with processes(CPU) as placement:
        with pytest.raises(Preempted, match=f"step {AGREE_EVERY};"):
            train(task, folder / "state", placement, stop_requested=lambda: rank == asked)
        dist.barrier()
        trained = train(task, folder / "state", placement)
        if rank == 0:
            np.save(folder / "validation.npy", [row["validation_loss"] for row in trained.progress.curve])


def test_every_sequence_of_a_batch_goes_to_one_process():
    batch = np.arange(8 * 3).reshape(8, 3)
    parts = [
        torch.cat(Placement(CPU, rank, 4, micro_batch=1).parts(batch, ModelShape(1, 8, 1, 3, 16))) for rank in range(4)
    ]
    assert sorted(map(tuple, torch.cat(parts).tolist())) == sorted(map(tuple, batch.tolist()))
    assert len(Placement(CPU, 0, 4, micro_batch=1).parts(batch, ModelShape(1, 8, 1, 3, 16))) == 2


def test_passes_on_a_cpu_stay_in_its_cache_unless_told_otherwise():
    shape, large = ModelShape(3, 96, 2, 128, 4096), ModelShape(12, 768, 12, 1024, 50_257)
    assert Placement(CPU).sequences_a_pass(4, shape) == 4
    assert Placement(CPU).sequences_a_pass(64, shape) == 8
    assert Placement(CPU).sequences_a_pass(9, shape) == 5, "two passes alike, not 8 and 1"
    assert Placement(CPU).sequences_a_pass(64, large) == 1
    assert Placement(CPU, world_size=16).sequences_a_pass(64, shape) == 4
    assert Placement(torch.device("cuda"), world_size=8).sequences_a_pass(63, large) == 8, (
        "no more than of a whole batch"
    )
    assert Placement(CPU, micro_batch=32).sequences_a_pass(64, shape) == 32
    assert Placement(CPU, world_size=2, sharded=True).sequences_a_pass(64, large) == 32, (
        "gradients stay whole between passes"
    )
    assert Placement(torch.device("cuda")).sequences_a_pass(64, large) == 64


def test_a_batch_in_several_passes_gives_the_gradient_of_one(make_task, monkeypatch):
    """What fits the cache of a core is placement: it changes no result."""
    task = make_task(recipe={"batch_sequences": 8, "dropout": 0.1})
    whole, expected = Trainer(task, Placement(CPU, micro_batch=8)), []
    for _ in range(STEPS):
        whole.train_step()
        expected.append(whole.interval["loss"].item())
    monkeypatch.setattr("workflow_scripts.training.placement.CACHED", 3 * task.shape.n_ctx * task.shape.d_model)
    monkeypatch.setattr("workflow_scripts.training.placement.LEAST_TOKENS", 1)
    parts, passes = Trainer(task, Placement(CPU)), []
    monkeypatch.setattr(parts, "wrapped", lambda *batch: passes.append(len(batch[0])) or parts.model(*batch))
    for loss in expected:
        parts.train_step()
        assert parts.interval["loss"].item() == pytest.approx(loss, rel=1e-5)
    assert passes == [3, 3, 2] * STEPS


def test_the_noise_is_measured_in_passes_as_large_as_those_of_a_step(make_task, monkeypatch):
    """Halves of the whole batch on each of eight devices took four times the activations."""
    trainer, largest = Trainer(make_task(recipe={"batch_sequences": 8}), Placement(CPU)), []
    trainer.placement = Placement(CPU, world_size=4)
    forward = trainer.model.forward
    monkeypatch.setattr(trainer.model, "forward", lambda *batch: largest.append(len(batch[0])) or forward(*batch))
    trainer.measure_noise()
    assert largest == [2] * 4

"""A training job: what a scheduler's signal does to it, and that the store is kept by one process alone."""

import itertools
import json
import os
import signal
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors import SafetensorError

from tests.training.conftest import RECIPE, SHAPE, write_tokens
from workflow_scripts.files import read_json
from workflow_scripts.store import STORE, key_of
from workflow_scripts.training import run
from workflow_scripts.training.cell import Cell
from workflow_scripts.training.checkpoint import load_checkpoint
from workflow_scripts.training.data import Batches
from workflow_scripts.training.placement import Placement
from workflow_scripts.training.progress import write_plan
from workflow_scripts.training.run import PREEMPTED, Runner, main

SPECIFICATION = {
    "model": vars(SHAPE),
    "data": {"corpus": "corpus", "unit_tokens": 32, "characters": 900},
    "seed": 0,
    "recipe": RECIPE.model_dump(),
    "evaluation": {"stop_tokens": 321, "validation_tokens": 321, "test_tokens": 321, "unit_tokens": 32},
    "initial": None,
    "trainable": "all",
}


@pytest.fixture
def job(tmp_path, monkeypatch):
    def run(name):
        write_tokens(tmp_path / name / "tokens" / "corpus")
        monkeypatch.chdir(tmp_path / name)
        main(["--runs", json.dumps({"runs/cell": SPECIFICATION}), "--tokens", "tokens", "--out", "cell.json"])
        return read_json("runs/cell/run.json")["outcome"] | dict.fromkeys(("seconds", "evaluation_seconds"))

    return run


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_job_that_is_asked_to_stop_leaves_with_its_own_code_and_goes_on(job, monkeypatch, capsys, number):
    """Preemption and a time limit must not look like a failure, and cost no work."""
    whole = job("whole")
    get = Batches.__getitem__

    def signalled(batches, step):
        if step == 17:
            os.kill(os.getpid(), number)
        return get(batches, step)

    monkeypatch.setattr(Batches, "__getitem__", signalled)
    with pytest.raises(SystemExit) as left:
        job("stopped")
    assert left.value.code == PREEMPTED == 75
    assert "checkpoint is saved" in capsys.readouterr().err
    monkeypatch.setattr(Batches, "__getitem__", get)
    assert job("stopped") == whole
    assert "going on from its checkpoint" in capsys.readouterr().err
    assert signal.getsignal(number) == signal.SIG_DFL, "outside of training the signal ends the process as ever"


def test_a_request_to_stop_while_a_run_is_measured_ends_the_job_after_it(tmp_path, monkeypatch, capsys):
    """A scheduler that asks only once and then kills would else find the next run half done."""
    write_tokens(tmp_path / "tokens" / "corpus")
    monkeypatch.chdir(tmp_path)
    measure = Cell._measure

    def signalled(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return measure(*arguments)

    monkeypatch.setattr(Cell, "_measure", signalled)
    runs = {"runs/first": SPECIFICATION, "runs/second": SPECIFICATION | {"seed": 1}}
    command = ["--runs", json.dumps(runs), "--tokens", "tokens", "--out", "cells.json"]
    with pytest.raises(SystemExit) as left:
        main(command)
    assert left.value.code == PREEMPTED
    assert "asked to stop before runs/second" in capsys.readouterr().err
    assert Path("runs/first/run.json").exists()
    assert not Path("runs/second").exists()
    with pytest.raises(SystemExit):
        main(["--runs", json.dumps(runs | {"runs/third": SPECIFICATION | {"seed": 2}}), *command[2:]])
    monkeypatch.setattr(Cell, "_measure", measure)
    main(command)
    assert list(read_json("cells.json")) == list(runs)


def test_a_small_set_has_a_smaller_batch_in_both_arms(tmp_path, monkeypatch):
    """And its counts of tokens are of that batch."""
    write_tokens(tmp_path / "tokens" / "corpus")
    monkeypatch.chdir(tmp_path)
    small = SPECIFICATION | {"recipe": SPECIFICATION["recipe"] | {"batch_sequences": 4, "steps_an_epoch": 10}}
    main(["--runs", json.dumps({"a": small}), "--tokens", "tokens", "--out", "a.json"])
    main(
        [
            "--runs",
            json.dumps({"b": small | {"seed": 1}}),
            "--tokens",
            "tokens",
            "--out",
            "b.json",
            "--initial",
            "a.json",
        ]
    )
    for name in ("a", "b"):
        record, curve = read_json(f"{name}/run.json"), pq.read_table(f"{name}/curve.parquet").to_pylist()
        windows = record["data"]["tokens"] // SHAPE.n_ctx
        assert 20 <= windows < 30
        assert record["batch_tokens"] == 2 * SHAPE.n_ctx
        assert [row["tokens"] for row in curve] == [row["step"] * 2 * SHAPE.n_ctx for row in curve]
        assert record["outcome"]["best_tokens"] == record["outcome"]["best_step"] * 2 * SHAPE.n_ctx


def test_every_curve_has_the_same_columns(tmp_path, monkeypatch):
    """A run without 20 steps between two evaluations has no gradient noise, one without a step no row."""
    write_tokens(tmp_path / "tokens" / "corpus")
    monkeypatch.chdir(tmp_path)
    none = SPECIFICATION | {"data": SPECIFICATION["data"] | {"characters": 0}}
    main(["--runs", json.dumps({"a": SPECIFICATION}), "--tokens", "tokens", "--out", "a.json"])
    main(["--runs", json.dumps({"b": none}), "--tokens", "tokens", "--out", "b.json", "--initial", "a.json"])
    some, empty = (pq.read_table(f"{run}/curve.parquet") for run in "ab")
    assert some.schema == empty.schema
    assert len(some) > 3
    assert len(empty) == 0


def test_a_run_that_fails_keeps_what_it_saw(tmp_path, monkeypatch, capsys):
    """Its curve was empty, and its last checkpoint was deleted: nobody could look how it came to that."""
    write_tokens(tmp_path / "tokens" / "corpus")
    monkeypatch.chdir(tmp_path)
    steep = SPECIFICATION | {"recipe": SPECIFICATION["recipe"] | {"learning_rate": 1e30}}
    main(["--runs", json.dumps({"a": steep}), "--tokens", "tokens", "--out", "a.json", "--checkpoint-seconds", "0"])
    record = read_json("a/run.json")
    (checkpoint,) = Path("results/store/runs").glob("*.state/checkpoint.pt")
    assert f"a: failed, {record['failure']}; its last good checkpoint is {checkpoint}" in capsys.readouterr().err
    state = load_checkpoint(checkpoint.parent)
    assert state["interval"]["sound"] == 1
    assert all(tensor.isfinite().all() for tensor in state["model"].values())
    assert (record["status"], record["outcome"]) == ("failed", None)
    assert "not finite" in record["failure"]
    curve = pq.read_table("a/curve.parquet").to_pylist()
    assert curve[0]["step"] == 0
    assert curve[0]["validation_loss"] > 0


@pytest.mark.parametrize(("seconds", "lines"), [(0.0, [3]), (61.0, [0, 1, 2, 3])])
def test_a_job_of_many_runs_tells_how_far_it_is_once_a_minute(tmp_path, monkeypatch, capsys, seconds, lines):
    """Each line looks for every run of the experiment: ten thousand of them took longer than a small run."""
    write_tokens(tmp_path / "tokens" / "corpus")
    monkeypatch.chdir(tmp_path)
    runs = {f"runs/{seed}": SPECIFICATION | {"seed": seed} for seed in range(3)}
    write_plan(Path("runs/plan.json"), {str(seed): 1.0 for seed in range(3)}, {})
    clock = itertools.count(0.0, seconds or 0)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    main(["--runs", json.dumps(runs), "--tokens", "tokens", "--out", "cells.json", "--plan", "runs/plan.json"])
    told = [line.split(",")[0] for line in capsys.readouterr().err.splitlines() if "runs done" in line]
    assert told == [f"[training] {done} of 3 runs done" for done in lines]


def test_code_that_changed_since_snakemake_started_is_refused(tmp_path):
    """Its results would stand in the store under the identity of the old code."""
    with pytest.raises(SystemExit, match="the code changed since Snakemake started"):
        main(["--code", "of before", "--runs", "{}", "--tokens", "tokens", "--out", str(tmp_path / "cells.json")])


def test_what_a_kill_while_saving_left_is_removed(tmp_path, monkeypatch):
    """A checkpoint may have 26 GB, and every kill left a part under another name."""
    write_tokens(tmp_path / "tokens" / "corpus")
    monkeypatch.chdir(tmp_path)
    runner = Runner(Path("tokens"), None, Placement(torch.device("cpu")), 60)
    part = STORE / "runs" / f"{key_of(runner.identity(SPECIFICATION))}.state" / ".checkpoint.new.pt.123.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"half")
    monkeypatch.setattr(Runner, "compute", lambda *_: pytest.fail("removed too late") if part.exists() else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        runner.train(Path("runs/cell"), SPECIFICATION)


def test_weights_that_do_not_fit_on_the_disk_end_in_one_message(tmp_path, monkeypatch):
    write_tokens(tmp_path / "tokens" / "corpus")
    monkeypatch.chdir(tmp_path)

    def full(*_):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(run, "save_file", full)
    with pytest.raises(SystemExit, match="training: .*No space left on device"):
        main(["--runs", json.dumps({"a": SPECIFICATION}), "--tokens", "tokens", "--out", "a.json"])

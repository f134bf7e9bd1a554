"""Devices are handed out once, come back when their process dies, and a scheduler's choice is respected."""

import json
import multiprocessing
import os
import platform
import tempfile
from multiprocessing.connection import wait

import pytest
import torch

from workflow_scripts.training import devices

FORK = multiprocessing.get_context("fork")
PATIENCE = 60
"""Seconds until a process that must not wait is taken to wait for ever."""


@pytest.fixture(autouse=True)
def _leases(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(devices, "POLL_SECONDS", 0.05)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)


def hold(connection, names, environment):
    os.environ.update(environment)
    with devices.leased_index(names) as index:
        connection.send(index)
        connection.recv()


@pytest.fixture
def start():
    """Starts a process that leases a device of `names`; returns it, and the connection by which it tells which."""
    started = []

    def begin(names, **environment):
        ours, theirs = FORK.Pipe()
        process = FORK.Process(target=hold, args=(theirs, names, environment))
        process.start()
        started.append(process)
        return process, ours

    yield begin
    for process in started:
        process.kill()
        process.join()


@pytest.fixture
def start_job(start):
    """Starts the processes of a job as `torchrun` does."""

    def begin(run, count, names):
        world = {"TORCHELASTIC_RUN_ID": run, "LOCAL_WORLD_SIZE": str(count)}
        return [start(names, LOCAL_RANK=str(rank), **world) for rank in range(count)]

    return begin


def told(connection):
    assert connection.poll(PATIENCE), "the process waits"
    return connection.recv()


def all_told(job):
    return [told(connection) for _, connection in job]


def test_processes_get_distinct_devices_and_a_killed_one_gives_its_device_back(start):
    names = ["0", "1", "2"]
    holders = [start(names) for _ in names]
    indices = all_told(holders)
    assert sorted(indices) == [0, 1, 2]
    killed, _ = holders[1]
    killed.kill()
    killed.join()
    with devices.leased_index(names) as index:
        assert index == indices[1]
    for process, connection in (holders[0], holders[2]):
        connection.send("done")
        process.join()
        assert process.exitcode == 0


def test_jobs_of_several_processes_get_all_their_devices_or_wait(start_job):
    """Each process for itself, both jobs would hold two of four devices and wait for a third for ever."""
    names = ["0", "1", "2", "3"]
    jobs = [start_job(run, 3, names) for run in ("a", "b")]
    first = wait([connection for job in jobs for _, connection in job], PATIENCE)[0]
    jobs.sort(key=lambda job: first not in [connection for _, connection in job])
    served, waiting = jobs
    assert len(set(all_told(served))) == 3
    assert not any(connection.poll(0.2) for _, connection in waiting)
    for process, _ in served:
        process.kill()
        process.join()
    assert len(set(all_told(waiting))) == 3


def test_jobs_of_several_processes_run_side_by_side_where_there_are_devices(start_job):
    names = ["4", "5", "6", "7"]
    jobs = [start_job(run, 2, names) for run in ("a", "b")]
    assert sorted(index for job in jobs for index in all_told(job)) == [0, 1, 2, 3]


def test_what_a_dead_job_of_the_same_name_said_is_not_believed(start):
    """As after SLURM has put a job back into the queue."""
    stale = devices.leases() / "job-a.lock"
    stale.parent.mkdir()
    stale.write_text(json.dumps([7, 7]))
    job = {"TORCHELASTIC_RUN_ID": "a", "LOCAL_WORLD_SIZE": "2"}
    second = start(["0", "1"], LOCAL_RANK="1", **job)
    assert not second[1].poll(0.2)
    assert all_told([start(["0", "1"], LOCAL_RANK="0", **job), second]) == [0, 1]


def test_more_processes_than_devices_are_refused():
    with (
        pytest.raises(SystemExit, match="gpu: a job's 3 processes need a device each, and there are 2"),
        devices.leased(["0", "1"], 3),
    ):
        pass


def test_a_schedulers_choice_is_respected(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert devices.visible_devices() == ["3", "5"]
    with devices.leased_index(devices.visible_devices()) as index:
        assert index == 0
        assert (devices.leases() / "3.lock").exists()


def test_slurm_jobs_whose_devices_have_one_number_do_not_wait_for_each_other(start):
    """With ConstrainDevices every job sees its devices numbered from 0."""
    assert all_told([start(["0"], SLURM_JOB_ID=job) for job in ("1", "2")]) == [0, 0]


def test_users_have_leases_of_their_own(monkeypatch):
    ours = devices.leases()
    monkeypatch.setattr(os, "getuid", lambda: 4321)
    assert devices.leases() != ours


def test_machines_that_share_a_folder_have_leases_of_their_own(monkeypatch):
    ours = devices.leases()
    monkeypatch.setattr(platform, "node", lambda: "another")
    assert devices.leases() != ours


def test_no_gpu_asked_for_is_the_cpu(monkeypatch, capfd):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with devices.device(0) as device:
        assert device == torch.device("cpu")
    assert not capfd.readouterr().err


def test_gpus_that_torch_cannot_open_are_told(monkeypatch, capfd):
    """As where a node's driver is too old: the job would only end at its time limit, on a CPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    with devices.device(1) as device:
        assert device == torch.device("cpu")
    assert "CUDA_VISIBLE_DEVICES=3, but torch" in capfd.readouterr().err


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_is_used_where_there_is_one():
    with devices.device(1) as device:
        assert device.type == "cuda"

"""Devices are handed out once, come back when their process dies, and a scheduler's choice is respected."""

import multiprocessing

import pytest
import torch

from workflow_scripts.training import devices


@pytest.fixture(autouse=True)
def _leases(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "LEASES", tmp_path / "leases")


def hold(connection, names, leases):
    devices.LEASES = leases
    with devices.leased_index(names) as index:
        connection.send(index)
        connection.recv()


def test_processes_get_distinct_devices_and_a_killed_one_gives_its_device_back(tmp_path):
    context = multiprocessing.get_context("fork")
    names, holders = ["0", "1", "2"], []
    for _ in names:
        ours, theirs = context.Pipe()
        process = context.Process(target=hold, args=(theirs, names, devices.LEASES))
        process.start()
        holders.append((process, ours, ours.recv()))
    assert sorted(index for *_, index in holders) == [0, 1, 2]
    killed, _, freed = holders[1]
    killed.kill()
    killed.join()
    with devices.leased_index(names) as index:
        assert index == freed
    for process, connection, _ in (holders[0], holders[2]):
        connection.send("done")
        process.join()
        assert process.exitcode == 0


def test_a_schedulers_choice_is_respected(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert devices.visible_devices() == ["3", "5"]
    with devices.leased_index(devices.visible_devices()) as index:
        assert index == 0
        assert (devices.LEASES / "3.lock").exists()


def test_no_gpu_asked_for_is_the_cpu():
    with devices.device(0) as device:
        assert device == torch.device("cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_is_used_where_there_is_one():
    with devices.device(1) as device:
        assert device.type == "cuda"

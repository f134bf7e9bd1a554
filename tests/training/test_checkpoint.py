"""A checkpoint is whole or absent, whatever happens while it is written, and afterwards."""

import os
import tempfile
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.training.test_loop import ALONE, Interrupted, Killed, same, ticking, vary
from workflow_scripts.training import checkpoint
from workflow_scripts.training.checkpoint import CURRENT, NEW, PREVIOUS, load_checkpoint, save_checkpoint
from workflow_scripts.training.loop import train


def test_a_truncated_checkpoint_gives_way_to_the_one_before(make_task, tmp_path, capsys):
    task = make_task()
    whole = train(task, tmp_path / "whole", ALONE, checkpoint_seconds=10**9)
    with pytest.raises(Killed):
        train(vary(task, batches=Interrupted(task.batches, 25)), tmp_path, ALONE, 0, ticking())
    assert (tmp_path / PREVIOUS).exists()
    damaged = tmp_path / CURRENT
    damaged.write_bytes(damaged.read_bytes()[:500])
    same(train(task, tmp_path, ALONE, 0, ticking()), whole)
    assert "not a whole checkpoint" in capsys.readouterr().err


def test_a_kill_while_saving_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, {"step": 1})

    def dies(state, file):
        file.write(b"half")
        raise Killed

    monkeypatch.setattr(torch, "save", dies)
    with pytest.raises(Killed):
        save_checkpoint(tmp_path, {"step": 2})
    assert load_checkpoint(tmp_path) == {"step": 1}


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, {"step": 1})
    replace = Path.replace

    def dies(self, target):
        if self.name == NEW:
            raise Killed
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", dies)
    with pytest.raises(Killed):
        save_checkpoint(tmp_path, {"step": 2})
    assert load_checkpoint(tmp_path) == {"step": 2}


@pytest.mark.parametrize("garbage", [b"", b"garbage", b"\x80\x02garbage", b"PK\x03\x04garbage"])
def test_garbage_gives_way_to_the_checkpoint_before(tmp_path, garbage):
    save_checkpoint(tmp_path, {"step": 1})
    save_checkpoint(tmp_path, {"step": 2})
    (tmp_path / CURRENT).write_bytes(garbage)
    assert load_checkpoint(tmp_path) == {"step": 1}


@given(st.data())
def test_a_damaged_checkpoint_gives_way_to_the_one_before_wherever_it_is_damaged(data):
    """torch reads past changed bytes, and some of an archive no checksum covers: a run went on from weights that nobody
    trained, or could not go on at all."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_checkpoint(folder, {"step": 6})
        save_checkpoint(folder, {"step": 7, "weights": torch.arange(1000.0)})
        whole = (folder / CURRENT).read_bytes()
        at = data.draw(st.integers(0, len(whole) - 1))
        damaged = bytearray(whole)
        damaged[at : at + data.draw(st.integers(1, 600))] = data.draw(st.binary(max_size=600))
        assume(damaged != whole)
        (folder / CURRENT).write_bytes(damaged)
        assert load_checkpoint(folder) == {"step": 6}


@pytest.mark.parametrize("kills", [1, 5])
def test_kills_before_the_rename_lose_no_checkpoint(tmp_path, monkeypatch, kills):
    save_checkpoint(tmp_path, {"step": 1})
    replace = os.replace

    def dies(source, target):
        if Path(target).name == NEW:
            raise Killed
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", dies)
        for _ in range(kills):
            with pytest.raises(Killed):
                save_checkpoint(tmp_path, {"step": 2})
            assert load_checkpoint(tmp_path) == {"step": 1}
    save_checkpoint(tmp_path, {"step": 3})
    (tmp_path / CURRENT).write_bytes(b"damaged")
    assert load_checkpoint(tmp_path) == {"step": 1}


def test_a_checkpoint_and_its_hash_are_on_the_disk_before_they_take_their_names(tmp_path, monkeypatch):
    """A power failure left the hashes empty: both checkpoints were refused, and the run began again."""
    synced, fsync, replace = set(), os.fsync, os.replace

    def noted(descriptor):
        synced.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    def renamed(source, target):
        assert os.stat(source).st_ino in synced, target
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(os, "replace", renamed)
    save_checkpoint(tmp_path, {"step": 1})
    assert load_checkpoint(tmp_path) == {"step": 1}
    assert len(synced) == 2


def test_what_is_wrong_with_the_machine_does_not_throw_a_checkpoint_away(tmp_path, monkeypatch):
    """Memory that was short for a moment made a run begin again, and its next checkpoint replaced the good one."""
    save_checkpoint(tmp_path, {"step": 1})

    def without_memory(*_, **__):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(torch, "load", without_memory)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        load_checkpoint(tmp_path)


def test_a_checkpoint_that_does_not_fit_on_the_disk_says_so(tmp_path, monkeypatch):
    """torch hides it behind `unexpected pos`."""
    monkeypatch.setattr(checkpoint, "written", lambda _: nullcontext(Path("/dev/full")))
    with pytest.raises(OSError, match="No space left on device"):
        save_checkpoint(tmp_path, {"weights": torch.zeros(1_000_000)})


def test_no_checkpoint_is_no_state(tmp_path):
    assert load_checkpoint(tmp_path / "nowhere") is None

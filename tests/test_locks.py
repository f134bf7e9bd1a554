"""A file system without locks is named, with what to do."""

import errno
import fcntl
import os
import platform

import pytest

from workflow_scripts import locks


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
@pytest.mark.parametrize("lock", [locks.try_lock, locks.wait_for_lock])
def test_where_there_are_no_locks_one_message_says_what_to_do(tmp_path, monkeypatch, lock, code):
    def refuses(file, how):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuses)
    with pytest.raises(SystemExit, match=r"a\.lock: its file system has no locks .* mount Lustre with -o flock, NFS"):
        lock(tmp_path / "a.lock")


def test_an_owner_is_told_with_its_machine_and_its_job(tmp_path, monkeypatch):
    """Process numbers of a cluster's nodes say nothing by themselves, and `scancel` wants the job's."""
    monkeypatch.setenv("SLURM_JOB_ID", "56")
    with locks.try_lock(tmp_path / "a.lock"):
        assert locks.owner(tmp_path / "a.lock") == f"{os.getpid()} on {platform.node()} in SLURM job 56"


def test_other_errors_of_a_lock_are_not_taken_for_it(tmp_path, monkeypatch):
    def fails(file, how):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(fcntl, "flock", fails)
    with pytest.raises(OSError, match="broken"):
        locks.try_lock(tmp_path / "a.lock")

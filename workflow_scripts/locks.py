"""Locks that the kernel frees when their process dies, however it dies."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
from pathlib import Path
from typing import IO

WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


def try_lock(path: Path) -> IO[str] | None:
    """The open file while no other process holds the lock on it, else None.  Closing the file frees the lock.

    The file tells the last owner.  Raises SystemExit where the file system has no locks.
    """
    file = _opened(path)
    try:
        _flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    _sign(file)
    return file


def wait_for_lock(path: Path) -> IO[str]:
    """As `try_lock`, but waits until the lock is free."""
    file = _opened(path)
    _flock(file, fcntl.LOCK_EX)
    _sign(file)
    return file


def owner(path: Path) -> str:
    """The process that holds, or held, the lock: its number, its machine, and the SLURM job that it is of."""
    return path.read_text() or "?"


def text_while_locked(path: Path) -> str | None:
    """What the file says while a process holds the lock on it, else None."""
    if not path.exists():
        return None
    with open(path) as file:
        try:
            _flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read()
    return None


def _opened(path: Path) -> IO[str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    return open(path, "a+")


def _flock(file: IO[str], how: int) -> None:
    try:
        fcntl.flock(file, how)
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
        raise SystemExit(
            f"{file.name}: its file system has no locks ({error.strerror}); mount Lustre with -o flock, NFS as version 4, "
            "or put the folder on another file system (results/ may be a link)"
        ) from None


def _sign(file: IO[str]) -> None:
    file.truncate(0)
    job = os.environ.get("SLURM_JOB_ID")
    file.write(f"{os.getpid()} on {platform.node()}" + (f" in SLURM job {job}" if job else ""))
    file.flush()

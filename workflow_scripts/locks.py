"""Locks that the kernel frees when their process dies, however it dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO


def try_lock(path: Path) -> IO[str] | None:
    """The open file while no other process holds the lock on it, else None.  Closing the file frees the lock.

    The file holds the process number of the last owner.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = open(path, "a+")  # noqa: SIM115 - the caller keeps it
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    _sign(file)
    return file


def wait_for_lock(path: Path) -> IO[str]:
    """As `try_lock`, but waits until the lock is free."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = open(path, "a+")  # noqa: SIM115 - the caller keeps it
    fcntl.flock(file, fcntl.LOCK_EX)
    _sign(file)
    return file


def owner(path: Path) -> str:
    """Process number of the one that holds, or held, the lock."""
    return path.read_text() or "?"


def _sign(file: IO[str]) -> None:
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()

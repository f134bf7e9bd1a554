"""Checkpoints that are whole or absent: written beside and renamed, the one before kept until then."""

from __future__ import annotations

import errno
import os
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch

from workflow_scripts.files import written

CURRENT, PREVIOUS, NEW = "checkpoint.pt", "checkpoint.previous.pt", "checkpoint.new.pt"


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """The last checkpoint becomes the previous one only when the new one is on the disk.  Raises OSError if it does not fit."""
    current = folder / CURRENT
    with written(folder / NEW) as temporary, open(temporary, "wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:  # torch's own, raised while it handles the file's
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None
        file.flush()
        os.fsync(file.fileno())
    if current.exists():
        current.replace(folder / PREVIOUS)
    (folder / NEW).replace(current)


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The newest checkpoint that is whole, or None.  One that is not is named on standard error."""
    for name in (NEW, CURRENT, PREVIOUS):
        path = folder / name
        if not path.exists():
            continue
        if damage := _damage(path):
            print(f"{path}: not a whole checkpoint ({damage}); trying the one before", file=sys.stderr, flush=True)
            continue
        return torch.load(path, map_location="cpu", weights_only=True)
    return None


def _damage(path: Path) -> str | None:
    """What is wrong with a checkpoint, by the checksums of the archive that it is, which torch does not look at."""
    try:
        with zipfile.ZipFile(path) as archive:
            return f"wrong checksum of {bad}" if (bad := archive.testzip()) else None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        return str(error)
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # of a decompressor, of an offset before the file's beginning
            raise
        return str(error)

"""Checkpoints that are whole or absent: written beside and renamed, the one before kept until then."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import IO, Any

import torch

from workflow_scripts.files import sha256, written

CURRENT, PREVIOUS, NEW = "checkpoint.pt", "checkpoint.previous.pt", "checkpoint.new.pt"
WHOLE = "checkpoints.sha256"
"""Hashes of the last checkpoints: torch reads past changed bytes, and the checksums in its archives do not cover all."""
REMEMBERED = 100
"""More than two: a process may be killed between the hash and the renames, again and again."""


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """The last checkpoint becomes the previous one only when the new one is on the disk.  Raises OSError if it does not fit."""
    current = folder / CURRENT
    with written(folder / NEW) as temporary:
        with open(temporary, "wb") as file:
            try:
                torch.save(state, file)
            except RuntimeError as error:  # torch's own, raised while it handles the file's
                raise error.__context__ if isinstance(error.__context__, OSError) else error from None
            _synced(file)
        with written(folder / WHOLE) as hashes, open(hashes, "w", encoding="utf-8") as file:
            file.write("\n".join([*_whole(folder), sha256(temporary)][-REMEMBERED:]))
            _synced(file)
    if current.exists():
        current.replace(folder / PREVIOUS)
    (folder / NEW).replace(current)


def _synced(file: IO[Any]) -> None:
    """On the disk, not in its cache: renamed before that, a file may be empty after a power failure."""
    file.flush()
    os.fsync(file.fileno())


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The newest checkpoint that is whole, or None.  One that is not is named on standard error."""
    whole = _whole(folder)
    for name in (NEW, CURRENT, PREVIOUS):
        path = folder / name
        if not path.exists():
            continue
        if sha256(path) in whole:
            return torch.load(path, map_location="cpu", weights_only=True)
        print(f"{path}: not a whole checkpoint, by its hash; trying the one before", file=sys.stderr, flush=True)
    return None


def _whole(folder: Path) -> list[str]:
    path = folder / WHOLE
    return path.read_text(encoding="utf-8").split() if path.exists() else []

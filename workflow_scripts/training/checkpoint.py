"""Checkpoints that are whole or absent: written beside and renamed, the one before kept until then."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from typing import Any

import torch

from workflow_scripts.files import written

CURRENT, PREVIOUS, NEW = "checkpoint.pt", "checkpoint.previous.pt", "checkpoint.new.pt"


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """The last checkpoint becomes the previous one only when the new one is on the disk."""
    current = folder / CURRENT
    with written(folder / NEW) as temporary:
        torch.save(state, temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
    if current.exists():
        current.replace(folder / PREVIOUS)
    (folder / NEW).replace(current)


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The newest checkpoint that can be read, or None.  One that cannot be read is named on standard error."""
    for name in (NEW, CURRENT, PREVIOUS):
        path = folder / name
        if not path.exists():
            continue
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
            print(f"{path}: not a whole checkpoint ({error}); trying the one before", file=sys.stderr, flush=True)
    return None

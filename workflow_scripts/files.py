"""Files that are there whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from argparse import ArgumentTypeError
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def temporary_beside(path: Path) -> Path:
    """A name in the same folder (thus the same file system) that no other process uses."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")


@contextmanager
def written(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; renames it to `path` if the block succeeds, removes it if not."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def folder_to_write(text: str) -> Path:
    """Of a command's option: a folder, or where one can be made.  Raises ArgumentTypeError."""
    path = Path(text)
    if found := next((part for part in (path, *path.parents) if part.exists() and not part.is_dir()), None):
        raise ArgumentTypeError(f"{found} is a file, expected a folder or a new name")
    return path


def file_to_write(text: str) -> Path:
    """Of a command's option: a file, or where one can be made.  Raises ArgumentTypeError."""
    path = Path(text)
    if path.is_dir():
        raise ArgumentTypeError(f"{path} is a folder, expected the name of a file")
    folder_to_write(str(path.parent))
    return path


def write_text(path: str | Path, text: str) -> None:
    with written(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Indented UTF-8 JSON.  Raises ValueError on NaN and infinities: a missing number is null."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def sha256(path: str | Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

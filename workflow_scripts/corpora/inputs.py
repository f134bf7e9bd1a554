"""The files and folders that a source is read from, and what tells that they are still the same."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from workflow_scripts.corpora.archives import files_below
from workflow_scripts.errors import CorpusError
from workflow_scripts.files import sha256

State = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Input:
    """A file or folder as it was when its hash was taken."""

    path: Path
    sha256: str
    """Of a folder: of the names and hashes of its files."""
    state: State

    @classmethod
    def of(cls, path: Path) -> Input:
        state = _state(path)
        if not path.is_dir():
            return cls(path, sha256(path), state)
        names = "".join(f"{file.relative_to(path)}\n{sha256(file)}\n" for file in files_below(path))
        return cls(path, hashlib.sha256(names.encode("utf-8", "surrogateescape")).hexdigest(), state)

    @property
    def name(self) -> str:
        """The path as text; of bytes that are no UTF-8 their numbers."""
        return str(self.path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")

    @property
    def bytes(self) -> int:
        return sum(size for _, size, _ in self.state)

    def check(self) -> None:
        """Raises CorpusError if a file has come, gone or changed since the hash was taken."""
        if _state(self.path) != self.state:
            raise CorpusError(f"{self.path}: changed while it was read; start again when nothing writes to it")


def _state(path: Path) -> State:
    """Name, size in bytes and time of change in nanoseconds of each file."""
    stats = [(str(file), os.stat(file)) for file in (files_below(path) if path.is_dir() else [path])]
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


def described(path: Path, folder: Path) -> dict[str, str | int]:
    """A file that a step was made from, for its manifest: path below `folder`, bytes, sha256."""
    return {"path": path.relative_to(folder).as_posix(), "bytes": path.stat().st_size, "sha256": sha256(path)}

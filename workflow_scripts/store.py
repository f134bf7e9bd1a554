"""The content-addressed store: what is expensive is made once, whoever asks for it, and by one process at a time.

An entry lives in `results/store/<kind>/<key>/`, where the key is a hash of everything that decides its content: the
declared choices, the content of its inputs, and the code that makes it.  Experiments hold hard links to its files, so
Snakemake may delete and recreate its outputs without losing the work behind them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workflow_scripts.files import write_json, written
from workflow_scripts.locks import owner, try_lock, wait_for_lock

STORE = Path("results/store")


def canonical_json(value: Any) -> str:
    """One string for one value: sorted keys, no spaces.  Raises ValueError on NaN and infinities."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def key_of(identity: Mapping[str, Any]) -> str:
    """The first 20 hexadecimal digits of the SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical_json(identity).encode()).hexdigest()[:20]


@contextmanager
def only_writer(path: Path) -> Iterator[None]:
    """Holds the lock `path` for the block; says so if it has to wait for another process."""
    file = try_lock(path)
    if file is None:
        print(f"{path.stem}: process {owner(path)} is making it; waiting", file=sys.stderr, flush=True)
        file = wait_for_lock(path)
    with file:
        yield


def link(source: Path, target: Path) -> None:
    """Makes `target` the same file as `source` (a copy where the file system has no hard links), atomically."""
    # A rename leaves both names alone where they are one file already; `written` removes the other.
    with written(target) as temporary:
        temporary.unlink(missing_ok=True)
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copy2(source, temporary)


def produce(kind: str, identity: Mapping[str, Any], outputs: Mapping[str, Path], make: Callable[[Path], None]) -> Path:
    """Makes the entry of `identity` unless the store has it, links its files to `outputs`, returns its folder.

    `make(folder)` writes the files named by the keys of `outputs` (and may write more) into an empty folder; the
    folder becomes the entry only when `make` returns, and is removed if it raises.
    """
    entry = STORE / kind / key_of(identity)
    with only_writer(entry.with_suffix(".lock")):
        if not entry.exists():
            making = entry.with_suffix(".making")
            shutil.rmtree(making, ignore_errors=True)
            making.mkdir(parents=True)
            try:
                make(making)
                write_json(making / "identity.json", identity)
                os.replace(making, entry)
            finally:
                shutil.rmtree(making, ignore_errors=True)
        for name, path in outputs.items():
            link(entry / name, Path(path))
    return entry

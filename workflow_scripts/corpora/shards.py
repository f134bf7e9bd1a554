"""Which files of a source make a shard: the unit in which documents are cleaned, fingerprinted and encoded.

A shard is one large file or a run of smaller ones, in the order of their names.  Shards change no result: the steps
after them see the same documents in the same order, however they are cut.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import PurePath

from workflow_scripts.corpora.containers import COMPRESSIONS, DUMPS
from workflow_scripts.errors import CorpusError

SHARD_BYTES = 256 * 2**20
"""Most bytes of a shard of several files, as they are on disk."""
SHARD_FILES = 1000
"""Most files of a shard."""

LONGEST_NAME = 120
"""Bytes of the name of a shard: with what is put around it, a file system takes 255."""

_SUFFIXES = {*COMPRESSIONS, *DUMPS, ".tgz", ".txz", ".whl"}


def check_names(paths: Sequence[str]) -> None:
    """Raises CorpusError for a link to nothing, and for a name that is no UTF-8, which Snakemake cannot hold."""
    for path in paths:
        if not os.path.exists(path):
            raise CorpusError(f"{path}: a link to what is not there; mend or remove it")
        try:
            path.encode()
        except UnicodeEncodeError:
            raise CorpusError(f"{os.fsencode(path)!r}: the name is no UTF-8; rename it") from None


def shards_of(paths: Sequence[str], pattern: str) -> dict[str, list[str]]:
    """Shard name -> its files, in order; `paths` is sorted, `pattern` the path or glob that they match.

    A shard is called after its first file, seen from the folder that `pattern` searches.
    """
    root = _folder_without_wildcards(pattern)
    shards: dict[str, list[str]] = {}
    for files in runs((path, _size(path)) for path in paths):
        name = _name(files[0], root)
        if len(name.encode()) > LONGEST_NAME:
            name = f"{name[: LONGEST_NAME // 4]}-{_digest(files[0])}"
        if name in shards:  # `a/b.txt` and `a-b.txt`, or `a.txt` and `a.csv`
            name = f"{name}-{_digest(files[0])}"
        shards[name] = files
    return shards


def _digest(path: str) -> str:
    return hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:8]


def runs(sizes: Iterable[tuple[str, int]]) -> list[list[str]]:
    """(path, bytes) in order, cut into runs of at most SHARD_BYTES and SHARD_FILES; a larger file is alone.

    Besides where a run is full, it ends after a file with a chance of the share of a shard that the file fills, by a
    hash of its name.  So a new file changes the run that it falls in, and hardly ever more than the next ones: cuts
    further on depend on the files around them alone, as in content-defined chunking (Muthitacharoen et al. 2001).
    """
    found: list[list[str]] = []
    filled, closed = 0.0, True
    for path, size in sizes:
        share = max(size / SHARD_BYTES, 1 / SHARD_FILES)
        if closed or filled + share > 1:
            found.append([])
            filled = 0.0
        found[-1].append(path)
        filled += share
        digest = hashlib.blake2b(path.encode("utf-8", "surrogateescape"), digest_size=8).digest()
        closed = int.from_bytes(digest) < share * 2**64
    return found


def _size(path: str) -> int:
    """A folder counts as a whole shard: to measure it would take a walk through it whenever rules are read."""
    return SHARD_BYTES if os.path.isdir(path) else os.path.getsize(path)


def _folder_without_wildcards(pattern: str) -> PurePath:
    parts = PurePath(pattern).parts
    wild = next((place for place, part in enumerate(parts) if re.search(r"[*?\[]", part)), len(parts) - 1)
    return PurePath(*parts[:wild])


def _name(path: str, root: PurePath) -> str:
    """`CC-MAIN-1-00000` of `dumps/CC-MAIN-1-00000.warc.wet.gz`, `a-b` of `dumps/a/b.jsonl.zst` under `dumps`."""
    relative = PurePath(path).relative_to(root)
    stem = relative.name
    while (suffix := PurePath(stem).suffix.lower()) and suffix in _SUFFIXES:
        stem = PurePath(stem).stem
    return re.sub(r"[^A-Za-z0-9_.+-]", "_", "-".join([*relative.parent.parts, stem])).lstrip(".-") or "shard"

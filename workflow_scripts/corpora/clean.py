"""Step `clean`: one configured source -> one shard of clean documents, and the count of everything that was not kept.

python -m workflow_scripts.corpora.clean --source '{"kind":"packages",...}' --corpus python --name sympy
    --input WHEEL --out results/<experiment>/corpora/python/sympy.parquet --counts .../sympy.json
"""

from __future__ import annotations

import argparse
import json
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from workflow_scripts.code_identity import code_hash
from workflow_scripts.corpora.documents import write_shard
from workflow_scripts.corpora.errors import CorpusError, one_message
from workflow_scripts.corpora.filters import Filter, plain_text, python_code
from workflow_scripts.corpora.local_files import read_files
from workflow_scripts.corpora.packages import READERS, Document, Unreadable
from workflow_scripts.files import sha256, write_json
from workflow_scripts.store import produce


class Counts:
    """What happened to the documents of a source.

    Documents: read = kept + dropped + set aside.  Characters of the readable ones: read = kept + dropped + stripped.
    """

    def __init__(self) -> None:
        self.read = {"documents": 0, "characters": 0, "bytes": 0}
        self.kept = {"documents": 0, "characters": 0, "bytes": 0}
        self.dropped: dict[str, dict[str, int]] = defaultdict(lambda: {"documents": 0, "characters": 0})
        self.set_aside: dict[str, dict[str, int]] = defaultdict(lambda: {"documents": 0, "bytes": 0})
        self.stripped = {"documents": 0, "characters": 0}

    def set_one_aside(self, found: Unreadable) -> None:
        self.read["documents"] += 1
        self.read["bytes"] += found.bytes
        self.set_aside[found.reason]["documents"] += 1
        self.set_aside[found.reason]["bytes"] += found.bytes

    def add(self, raw: str, raw_bytes: int, text: str, reason: str | None) -> None:
        self.read["documents"] += 1
        self.read["characters"] += len(raw)
        self.read["bytes"] += raw_bytes
        if len(text) < len(raw):
            self.stripped["documents"] += 1
            self.stripped["characters"] += len(raw) - len(text)
        if reason:
            self.dropped[reason]["documents"] += 1
            self.dropped[reason]["characters"] += len(text)
        else:
            self.kept["documents"] += 1
            self.kept["characters"] += len(text)
            self.kept["bytes"] += len(text.encode())


def clean(documents: Iterable[Document], keep: Filter, counts: Counts) -> Iterator[tuple[str, str]]:
    """The documents that pass `keep`, with `\\n` as the only line end and without NUL; all are entered in `counts`."""
    for name, raw in documents:
        if isinstance(raw, Unreadable):
            counts.set_one_aside(raw)
            continue
        try:
            raw_bytes = len(raw.encode("utf-8"))
        except UnicodeEncodeError:  # a lone surrogate, from a JSON escape
            counts.set_one_aside(Unreadable("invalid_unicode", len(raw.encode("utf-8", "surrogatepass"))))
            continue
        text, reason = keep(name, raw.replace("\r\n", "\n").replace("\r", "\n").replace("\0", ""))
        counts.add(raw, raw_bytes, text, reason)
        if reason is None:
            yield name, text


@contextmanager
def opened(source: dict[str, Any], inputs: list[Path]) -> Iterator[Iterable[Document]]:
    """The raw documents of a source of the configuration.

    Raises CorpusError for a wheel that is no zip archive, lacks what the reader expects, or has no such reader.
    """
    if source["kind"] == "files":
        yield read_files(inputs, source["text"])
        return
    if source["reader"] not in READERS:
        raise CorpusError(f"reader {source['reader']!r} does not exist; there are {', '.join(READERS)}")
    (path,) = inputs
    try:
        with zipfile.ZipFile(path) as wheel:
            yield READERS[source["reader"]](wheel)
    except (zipfile.BadZipFile, zlib.error) as error:
        raise CorpusError(f"{path}: not a whole wheel ({error}); delete it and fetch it again") from error
    except KeyError as error:
        raise CorpusError(f"{path}: reader {source['reader']!r} does not fit this package: {error}") from error


def make_shard(source: dict[str, Any], name: str, inputs: list[Path], folder: Path) -> None:
    """Writes `documents.parquet` and `counts.json` into `folder`.

    Raises CorpusError if no document is left, naming what was dropped.
    """
    counts = Counts()
    keep = python_code if source.get("reader") == "python" else plain_text
    with opened(source, inputs) as documents:
        write_shard(folder / "documents.parquet", name, clean(documents, keep, counts))
    outcome = {
        "source": name,
        "read": counts.read,
        "kept": counts.kept,
        "dropped": dict(counts.dropped),
        "set_aside": dict(counts.set_aside),
        "stripped": counts.stripped,
    }
    if not counts.kept["documents"]:
        raise CorpusError(
            f"no document is left of {counts.read['documents']} read from {', '.join(map(str, inputs))} "
            f"(dropped {outcome['dropped']}, set aside {outcome['set_aside']}); "
            "check the source or set `enabled: false`"
        )
    outcome["inputs"] = [{"path": str(path), "sha256": sha256(path)} for path in inputs]
    write_json(folder / "counts.json", outcome)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Clean the documents of one source.")
    parser.add_argument(
        "--source", required=True, type=json.loads, help="the source's entry in the configuration, JSON"
    )
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--name", required=True, help="the source's name")
    parser.add_argument("--input", required=True, type=Path, nargs="+", help="the wheel, or the user's files")
    parser.add_argument("--out", required=True, type=Path, help="shard of documents (parquet)")
    parser.add_argument("--counts", required=True, type=Path, help="counts (JSON)")
    arguments = parser.parse_args(argv)
    inputs = sorted(arguments.input)
    with one_message(f"{arguments.corpus}/{arguments.name}"):
        identity = {
            "source": {key: value for key, value in arguments.source.items() if key not in ("enabled", "path")},
            "name": arguments.name,
            "inputs": [[str(path), sha256(path)] for path in inputs],
            "code": code_hash("workflow_scripts.corpora.clean"),
        }
        outputs = {"documents.parquet": arguments.out, "counts.json": arguments.counts}
        produce("documents", identity, outputs, partial(make_shard, arguments.source, arguments.name, inputs))


if __name__ == "__main__":
    main()

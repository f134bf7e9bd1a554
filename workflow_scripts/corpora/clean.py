"""Step `clean`: files of one source -> one shard of clean documents, and the count of everything that was not kept.

python -m workflow_scripts.corpora.clean --source '{"kind":"packages",...}' --corpus python --name sympy
    --input WHEEL --out SHARD.parquet --counts SHARD.json
"""

from __future__ import annotations

import argparse
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

from pydantic import TypeAdapter

from workflow_scripts.code_identity import code_hash
from workflow_scripts.corpora.documents import write_shard
from workflow_scripts.corpora.errors import CorpusError, one_message
from workflow_scripts.corpora.filters import Filter, plain_text, python_code
from workflow_scripts.corpora.inputs import Input
from workflow_scripts.corpora.packages import READERS
from workflow_scripts.corpora.readers import read
from workflow_scripts.corpora.records import Document, LeftOut, Unreadable
from workflow_scripts.corpora.sources import PackageSource, Source
from workflow_scripts.files import write_json
from workflow_scripts.store import produce

SOURCE: TypeAdapter[Source] = TypeAdapter(Source)
EARLY_RECORDS = 10_000
"""From here on a source that breaks its limit is given up before it is read whole."""
EXAMPLES = 100


class Counts:
    """What happened to the records of a source.

    Documents: read = kept + dropped + set aside.  Characters of those that are decoded: read = kept + dropped +
    stripped; what is left out by the source's own choice (language, licence, ...) is dropped with 0 characters.
    """

    def __init__(self, set_aside_limit: float = 1.0) -> None:
        self.read = {"documents": 0, "characters": 0, "bytes": 0}
        self.kept = {"documents": 0, "characters": 0, "bytes": 0}
        self.dropped: dict[str, dict[str, int]] = defaultdict(lambda: {"documents": 0, "characters": 0})
        self.set_aside: dict[str, dict[str, int]] = defaultdict(lambda: {"documents": 0, "bytes": 0})
        self.set_aside_examples: list[dict[str, str | int]] = []
        self.stripped = {"documents": 0, "characters": 0}
        self._limit = set_aside_limit

    def set_one_aside(self, name: str, found: Unreadable) -> None:
        """Raises CorpusError where too many are, once 10,000 records are read."""
        self.read["documents"] += 1
        self.read["bytes"] += found.bytes
        self.set_aside[found.reason]["documents"] += 1
        self.set_aside[found.reason]["bytes"] += found.bytes
        if len(self.set_aside_examples) < EXAMPLES:
            self.set_aside_examples.append({"id": name, **asdict(found)})
        if self.read["documents"] >= EARLY_RECORDS:
            self.check_limit()

    def check_limit(self) -> None:
        """Raises CorpusError with file, offset and cause of the first broken record if there are too many."""
        broken, read = sum(reason["documents"] for reason in self.set_aside.values()), self.read["documents"]
        if broken > self._limit * read:
            first = self.set_aside_examples[0]
            raise CorpusError(
                f"{first['id']}: {first['reason']} at byte {first['offset']:,}; {broken:,} of {read:,} records are "
                f"broken ({broken / read:.2%}), and this is the first. Correct the input, or let more than "
                f"{self._limit:.2%} be set aside: `set_aside`"
            )

    def leave_out(self, found: LeftOut) -> None:
        self.read["documents"] += 1
        self.read["bytes"] += found.bytes
        self.dropped[found.reason]["documents"] += 1

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
    """The documents that pass `keep`, with `\n` as the only line end and without NUL; all are entered in `counts`.

    Raises CorpusError where more records are broken than `counts` allows.
    """
    for name, raw in documents:
        name = name.encode("utf-8", "backslashreplace").decode()  # names of files need not be UTF-8
        if isinstance(raw, LeftOut):
            counts.leave_out(raw)
            continue
        if isinstance(raw, Unreadable):
            counts.set_one_aside(name, raw)
            continue
        try:
            raw_bytes = len(raw.encode("utf-8"))
        except UnicodeEncodeError:  # a lone surrogate, from a JSON escape
            counts.set_one_aside(name, Unreadable("invalid_unicode", len(raw.encode("utf-8", "surrogatepass"))))
            continue
        text, reason = keep(name, raw.replace("\r\n", "\n").replace("\r", "\n").replace("\0", ""))
        counts.add(raw, raw_bytes, text, reason)
        if reason is None:
            yield name, text
    counts.check_limit()


@contextmanager
def opened_wheel(source: PackageSource, path: Path) -> Iterator[Iterable[Document]]:
    """The raw documents of a package.

    Raises CorpusError for a wheel that is no zip archive, lacks what the reader expects, or has no such reader.
    """
    if source.reader not in READERS:
        raise CorpusError(f"reader {source.reader!r} does not exist; there are {', '.join(READERS)}")
    try:
        with zipfile.ZipFile(path) as wheel:
            yield READERS[source.reader](wheel)
    except (zipfile.BadZipFile, zlib.error) as error:
        raise CorpusError(f"{path}: not a whole wheel ({error}); delete it and fetch it again") from error
    except KeyError as error:
        raise CorpusError(f"{path}: reader {source.reader!r} does not fit this package: {error}") from error


def make_shard(source: Source, name: str, inputs: Sequence[Input], folder: Path) -> None:
    """Writes `documents.parquet` and `counts.json` into `folder`.

    Raises CorpusError if an input changes on the way, or if too many records are broken.
    """
    shard, paths = folder / "documents.parquet", [given.path for given in inputs]
    if isinstance(source, PackageSource):
        counts = Counts()
        keep = python_code if source.reader == "python" else plain_text
        with opened_wheel(source, *paths) as documents:
            write_shard(shard, name, clean(documents, keep, counts))
    else:
        counts = Counts(source.set_aside)
        write_shard(shard, name, clean(read(source, paths), plain_text, counts))
    for given in inputs:
        given.check()
    outcome = {
        "source": name,
        "read": counts.read,
        "kept": counts.kept,
        "dropped": dict(counts.dropped),
        "set_aside": dict(counts.set_aside),
        "set_aside_examples": counts.set_aside_examples,
        "stripped": counts.stripped,
    }
    outcome["inputs"] = [{"path": str(given.path), "sha256": given.sha256} for given in inputs]
    write_json(folder / "counts.json", outcome)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Clean the documents of one source.")
    parser.add_argument(
        "--source", required=True, type=SOURCE.validate_json, help="the source's entry in the configuration, JSON"
    )
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--name", required=True, help="the source's name")
    parser.add_argument("--input", required=True, type=Path, nargs="+", help="the wheel, or the files of the shard")
    parser.add_argument("--out", required=True, type=Path, help="shard of documents (parquet)")
    parser.add_argument("--counts", required=True, type=Path, help="counts (JSON)")
    arguments = parser.parse_args(argv)
    with one_message(f"{arguments.corpus}/{arguments.name}"):
        inputs = [Input.of(path) for path in arguments.input]
        identity = {
            "source": arguments.source.model_dump(mode="json", exclude={"enabled", "path"}),
            "name": arguments.name,
            "inputs": [[str(given.path), given.sha256] for given in inputs],
            "code": code_hash("workflow_scripts.corpora.clean"),
        }
        outputs = {"documents.parquet": arguments.out, "counts.json": arguments.counts}
        produce("documents", identity, outputs, partial(make_shard, arguments.source, arguments.name, inputs))


if __name__ == "__main__":
    main()

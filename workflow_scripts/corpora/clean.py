"""Step `clean`: files of one source -> one shard of clean documents, and the count of everything that was not kept.

python -m workflow_scripts.corpora.clean --source '{"kind":"packages",...}' --corpus python --name sympy
    --input WHEEL --out SHARD.parquet --counts SHARD.json
"""

from __future__ import annotations

import argparse
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from pydantic import TypeAdapter

from workflow_scripts.code_identity import code_hash
from workflow_scripts.corpora import code_filters, hub, text_filters
from workflow_scripts.corpora.budget import OVER_BUDGET, Budget, key_of, write_keys
from workflow_scripts.corpora.counts import Counts
from workflow_scripts.corpora.documents import read_shard, write_shard
from workflow_scripts.corpora.inputs import Input
from workflow_scripts.corpora.packages import READERS
from workflow_scripts.corpora.readers import read
from workflow_scripts.corpora.records import Document, LeftOut, Unreadable
from workflow_scripts.corpora.sources import HubSource, PackageSource, Source
from workflow_scripts.corpora.text import Text
from workflow_scripts.errors import CorpusError, one_message
from workflow_scripts.files import write_json
from workflow_scripts.store import produce

SOURCE: TypeAdapter[Source] = TypeAdapter(Source)


class Filters:
    """The chosen filters of a source: first those that cut text out, then those that drop documents, in fixed order."""

    def __init__(self, names: frozenset[str]) -> None:
        self._cuts = {name: cut for name, cut in (text_filters.CUTS | code_filters.CUTS).items() if name in names}
        self._drops = {name: drop for name, drop in (text_filters.DROPS | code_filters.DROPS).items() if name in names}

    def __call__(self, document: Text, name: str, counts: Counts) -> Text | None:
        """What stays of a document; what goes is entered in `counts`."""
        for reason, cut in self._cuts.items():
            kept, gone = cut(document)
            if len(kept) < len(document.text):
                counts.cut_out(reason, name, gone, len(document.text) - len(kept))
                document = document.with_text(kept)
        for reason, drop in self._drops.items():
            if drop(document):
                counts.drop(reason, name, document.text)
                return None
        return document


def clean(
    documents: Iterable[Document], filters: Filters, counts: Counts, *, root: str = "", language: str | None = None
) -> Iterator[tuple[str, Text]]:
    """The documents that pass, with `\n` as the only line end and without NUL; all others are entered in `counts`.

    The path by which files of code are judged is the id after `root`; `language` is what the source states.  Raises
    CorpusError where more records are broken than `counts` allows.
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
            counts.decode(raw, len(raw.encode("utf-8")))
        except UnicodeEncodeError:  # a lone surrogate, from a JSON escape
            counts.set_one_aside(name, Unreadable("invalid_unicode", len(raw.encode("utf-8", "surrogatepass"))))
            continue
        text = raw.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
        if len(text) < len(raw):
            counts.cut_out("line_ends_and_nul", name, "", len(raw) - len(text))
        document = filters(Text(name.removeprefix(root), text, language), name, counts)
        if document is not None:
            yield name, document


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


def documents_of(source: Source, paths: Sequence[Path], counts: Counts) -> Iterator[tuple[str, Text]]:
    """The clean documents of all files of a source.  Raises CorpusError."""
    filters = Filters(source.filter_names)
    if isinstance(source, PackageSource):
        with opened_wheel(source, *paths) as documents:
            yield from clean(documents, filters, counts)
    elif isinstance(source, HubSource):
        yield from clean(hub.read(source), filters, counts, language=source.language)
    else:
        for path, documents in read(source, paths):
            yield from clean(documents, filters, counts, root=f"{path}", language=source.language)
    counts.check_limit()


def sampled(
    documents: Iterable[tuple[str, Text]], source: Source, budget: Budget, folder: Path, counts: Counts
) -> Iterator[tuple[str, Text]]:
    """The sample that the budget allows, by way of a file in `folder` with the sample and some more."""
    candidates = folder / "candidates.parquet"

    def offered() -> Iterator[tuple[str, str]]:
        for name, document in documents:
            if budget.offer(key_of(document.text, source.seed), len(document.text)):
                yield name, document.text
            else:
                counts.drop(OVER_BUDGET, name, document.text)

    write_shard(candidates, "", offered())
    yield from below(budget.limit, candidates, source, counts)
    candidates.unlink()


def below(limit: int, shard: Path, source: Source, counts: Counts) -> Iterator[tuple[str, Text]]:
    """The documents of a shard whose keys are below `limit`; the others are entered in `counts`."""
    for batch in read_shard(shard):
        for place, text in zip(batch.column("id").to_pylist(), batch.column("text").to_pylist(), strict=True):
            name = place.partition("/")[2]  # of `<source>/<name>`
            if key_of(text, source.seed) < limit:
                yield name, Text(name, text, getattr(source, "language", None))
            else:
                counts.drop(OVER_BUDGET, name, text)


def write_kept(path: Path, name: str, documents: Iterable[tuple[str, Text]], source: Source, counts: Counts) -> None:
    """Writes the documents as a shard of the source called `name`, and enters them in `counts`."""

    def kept() -> Iterator[tuple[str, str]]:
        for place, document in documents:
            counts.keep(document.text, None if source.is_code else document.language)
            yield place, document.text

    write_shard(path, name, kept())


def make_shard(source: Source, name: str, inputs: Sequence[Input], folder: Path, *, with_keys: bool = False) -> None:
    """Writes `documents.parquet` and `counts.json` into `folder`, and the keys of a sample as `keys.arrow`.

    Raises CorpusError if an input changes on the way, or if too many records are broken.
    """
    counts = Counts(getattr(source, "set_aside", 1.0))
    documents = documents_of(source, [given.path for given in inputs], counts)
    budget = None if source.characters is None else Budget(source.characters)
    if budget:
        documents = sampled(documents, source, budget, folder, counts)
    write_kept(folder / "documents.parquet", name, documents, source, counts)
    for given in inputs:
        given.check()
    if budget and with_keys:
        write_keys(folder / "keys.arrow", budget)
    outcome = {"step": "clean", "source": name, **counts.summary()}
    outcome["inputs"] = [{"path": given.name, "bytes": given.bytes, "sha256": given.sha256} for given in inputs] or [
        {"path": f"hub: {source.name}", "revision": source.revision}
    ]
    write_json(folder / "counts.json", outcome)


def names_in(file: str) -> list[Path]:
    """The names in a file, each ended by NUL: more than a command line holds, and any that a file may have."""
    return [Path(os.fsdecode(name)) for name in Path(file).read_bytes().split(b"\0") if name]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Clean the documents of one source.")
    parser.add_argument(
        "--source", required=True, type=SOURCE.validate_json, help="the source's entry in the configuration, JSON"
    )
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--name", required=True, help="the source's name")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--input", type=Path, nargs="*", help="the wheel, or the files of the shard")
    which.add_argument("--input-list", dest="input", type=names_in, help="file of their names, each ended by NUL")
    parser.add_argument("--out", required=True, type=Path, help="shard of documents (parquet)")
    parser.add_argument("--counts", required=True, type=Path, help="counts (JSON)")
    parser.add_argument("--keys", type=Path, help="places of the documents in the shuffle of a budget (Arrow)")
    arguments = parser.parse_args(argv)
    if arguments.keys and arguments.source.characters is None:
        parser.error("--keys is for a source with a budget: `characters`")
    with one_message(f"{arguments.corpus}/{arguments.name}"):
        inputs = [Input.of(path) for path in arguments.input]
        identity = {
            "source": arguments.source.model_dump(mode="json", exclude={"enabled", "path"}),
            "name": arguments.name,
            "inputs": [[given.name, given.sha256] for given in inputs],
            "with_keys": arguments.keys is not None,
            "code": code_hash("workflow_scripts.corpora.clean"),
        }
        outputs = {"documents.parquet": arguments.out, "counts.json": arguments.counts}
        if arguments.keys:
            outputs["keys.arrow"] = arguments.keys
        make = partial(make_shard, arguments.source, arguments.name, inputs, with_keys=identity["with_keys"])
        produce("documents", identity, outputs, make)


if __name__ == "__main__":
    main()

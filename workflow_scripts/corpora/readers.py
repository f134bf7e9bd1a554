"""Which reader reads which file: by the kind of the source and the suffix of the file.

A reader yields the documents of one file in their order, so that a file can be a shard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from workflow_scripts.corpora import common_crawl, github, local_files, oscar, webtext, wikimedia
from workflow_scripts.corpora.containers import suffix_of
from workflow_scripts.corpora.records import Document
from workflow_scripts.corpora.rows import READERS as ROWS
from workflow_scripts.corpora.rows import read_rows
from workflow_scripts.corpora.sources import PathSource
from workflow_scripts.errors import CorpusError

Reader = Callable[[Path], Iterator[Document]]
Format = Callable[[Path, Any], Iterator[Document]]
"""Takes the file and its source."""


def reader_of(source: PathSource, path: Path) -> Reader:
    """Raises CorpusError if the kind of the source has no such format."""
    formats = FORMATS[source.kind]
    suffix = "folder" if path.is_dir() else suffix_of(path)
    if suffix not in formats and not (source.kind == "files" and suffix not in NO_TEXT):
        known = ", ".join(sorted(filter(None, formats)))
        advice = "Correct `path`" + (", or write a table as CSV or JSON lines" if suffix == ".tsv" else "")
        raise CorpusError(f"{path}: kind {source.kind!r} reads {known}; found {suffix or 'no suffix'}. {advice}")
    return partial(formats.get(suffix, _text_file), source=source)


def read(source: PathSource, paths: Sequence[Path]) -> Iterator[tuple[Path, Iterator[Document]]]:
    """Each file of a source with its documents.  Raises CorpusError at once for a file that no reader takes."""
    readers = [(path, reader_of(source, path)) for path in paths]
    return ((path, reader(path)) for path, reader in readers)


def _text_file(path: Path, source: PathSource) -> Iterator[Document]:
    return local_files.read_text(path)


def _text_rows(path: Path, source: PathSource) -> Iterator[Document]:
    return read_rows(path, {"text": (getattr(source, "text", "text"),)})


def _text_archive(path: Path, source: PathSource) -> Iterator[Document]:
    return webtext.read_text_archive(path)


def _warc(path: Path, source: PathSource) -> Iterator[Document]:
    return common_crawl.read_warc(path)


def _xml(path: Path, source: PathSource) -> Iterator[Document]:
    return wikimedia.read_xml(path)


def _oscar_text(path: Path, source: Any) -> Iterator[Document]:
    return oscar.read_text(path)


def _oscar_json_lines(path: Path, source: Any) -> Iterator[Document]:
    return oscar.read_json_lines(path, source.language)


def _answers(path: Path, source: PathSource) -> Iterator[Document]:
    """webtext2019zh: the question's title, its description and the answer, on lines of their own."""
    fields = {"text": ("content",), "title": ("title",), "description": ("desc",)}
    parts = ("title", "description", "text")
    return read_rows(path, fields, lambda row: "\n".join(str(row[part]) for part in parts if row[part]))


NO_TEXT = ("folder", ".tar", ".zip", ".tsv")
"""What the kind `files` does not take for one text."""
JSON = (".jsonl", ".ndjson", ".json")
WIKIMEDIA = {".xml": _xml, ".txt": _text_file, ".parquet": _text_rows} | dict.fromkeys(JSON, _text_rows)
FORMATS: dict[str, dict[str, Format]] = {
    # OpenWebText's parts are named `urlsf_subset00-1_data.xz`: no suffix is left below the compression
    "webtext": {".tar": _text_archive, "": _text_archive, ".parquet": _text_rows} | dict.fromkeys(JSON, _text_rows),
    "common_crawl": {".wet": _warc, ".warc": _warc} | dict.fromkeys(JSON, _text_rows),
    "wikipedia": WIKIMEDIA,
    "books": WIKIMEDIA,
    "github": dict.fromkeys((".tar", ".zip", "folder"), github.read_files)
    | dict.fromkeys((".parquet", *JSON), github.read_exports),
    "oscar": {".txt": _oscar_text} | dict.fromkeys(JSON, _oscar_json_lines),
    "community_qa": dict.fromkeys(JSON, _answers),
    "files": dict.fromkeys(ROWS, _text_rows),
}

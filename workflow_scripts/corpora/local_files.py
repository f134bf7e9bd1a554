"""A user's own files as documents: text, JSON lines (.jsonl, .ndjson, .json) and parquet.

Text and JSON lines may be compressed (.gz, .zst or .bz2 after the suffix).  A text file is one document; JSON lines and
parquet are streamed, so memory does not grow with the file.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from workflow_scripts.corpora.errors import CorpusError
from workflow_scripts.corpora.packages import Document, Unreadable, decoded

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
JSON_LINES = {".jsonl", ".ndjson", ".json"}


def read_files(paths: list[Path], text: str) -> Iterator[Document]:
    """(id, text) of each document; ids are the path as given, with `:<line>` or `:<row>` from 1 where it holds many.

    `text` names the key (JSON lines) or column (parquet).  Raises CorpusError for a file that cannot be read as what
    its name says, and for a parquet file without the column.
    """
    for path in paths:
        try:
            yield from _read_file(path, text)
        except (OSError, EOFError, pa.ArrowInvalid) as error:
            raise CorpusError(
                f"{path}: cannot be read ({error}); is the file complete, and its suffix right?"
            ) from error


def _read_file(path: Path, text: str) -> Iterator[Document]:
    compression = COMPRESSIONS.get(path.suffix)
    kind = Path(path.stem).suffix if compression else path.suffix
    if kind == ".parquet":
        yield from _parquet(path, text)
        return
    # pyarrow's reader knows zstd, which Python's standard library gains only in 3.14
    with pa.input_stream(str(path), compression=compression) as stream:
        if kind in JSON_LINES:
            yield from _json_lines(path, io.BufferedReader(stream), text)
        else:
            yield str(path), decoded(stream.read())


def _json_lines(path: Path, lines: io.BufferedReader, text: str) -> Iterator[Document]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield f"{path}:{number}", _json_text(line, text)


def _json_text(line: bytes, text: str) -> str | Unreadable:
    try:
        record = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        return Unreadable("invalid_utf8", len(line))
    except json.JSONDecodeError:
        return Unreadable("broken_json", len(line))
    value = record.get(text) if isinstance(record, dict) else None
    return value if isinstance(value, str) else Unreadable(f"no_text_under_{text}", len(line))


def _parquet(path: Path, text: str) -> Iterator[Document]:
    with pq.ParquetFile(path) as file:
        if text not in file.schema_arrow.names:
            raise CorpusError(
                f"{path}: no column {text!r}; it has {file.schema_arrow.names}. Set `text` to one of them"
            )
        number = 0
        for batch in file.iter_batches(batch_size=1024, columns=[text]):
            for value in batch.column(0).to_pylist():
                number += 1
                yield f"{path}:{number}", value if isinstance(value, str) else Unreadable(f"no_text_under_{text}", 0)

"""Rows of named fields: JSON lines (.jsonl, .ndjson, .json), CSV and parquet, each compressed or not."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from workflow_scripts.corpora import containers
from workflow_scripts.corpora.containers import BYTE_ORDER_MARK, check_head, lines, opened, suffix_of, unchanged
from workflow_scripts.corpora.records import Document, LeftOut, Unreadable, has_lone_surrogate
from workflow_scripts.errors import CorpusError

Fields = Mapping[str, tuple[str, ...]]
"""Our name of a field -> the names that it may have in the file.  `text` must be there; any other may be missing."""
PARQUET_ROWS = 16
"""Rows that are decoded at once, at most."""
ROOM_FOR_HEADERS = 1.01
"""A column takes some more than its values."""

_HEAD = 1024
_ARRAY = re.compile(rb"(\xef\xbb\xbf)?\s*\[\s*(\{|$)")
SHOWN = 200
"""Characters of the keys of a row, in a message."""


class Row(NamedTuple):
    name: str
    values: Mapping[str, Any] | Unreadable
    """By the names of the file."""
    bytes: int
    offset: int


Values = Mapping[str, Any]
"""Of a row, by our names; missing ones are None."""


def read_rows(
    path: Path,
    fields: Fields,
    text_of: Callable[[Values], str] = lambda values: values["text"],
    refused: Callable[[Values], str | None] = lambda values: None,
) -> Iterator[Document]:
    """A document a row; ids are the path with `:<line>` or `:<row>`, from 1, and `/<path>` where a row has a path, or
    `.<extension>`.

    `text_of` gives the text of a row that has one, by default `text` itself; `refused` says before, whatever the text is,
    why a row is not asked for, or None.  The offset of a broken row is its byte in JSON lines and CSV, and its number in
    parquet.  Memory: one row, in parquet 16 of them and the pages of a row group that hold them.  Raises CorpusError for a
    file that is not what its name says, and for one without a column for `text`.
    """
    return texts_of(READERS[suffix_of(path)](path, fields), fields, text_of, refused)


def texts_of(
    rows: Iterable[Row],
    fields: Fields,
    text_of: Callable[[Values], str] = lambda values: values["text"],
    refused: Callable[[Values], str | None] = lambda values: None,
) -> Iterator[Document]:
    """The documents of rows, as `read_rows` tells them."""
    missing = "no_text_under_" + "_or_".join(fields["text"])
    for row in rows:
        if isinstance(row.values, Unreadable):
            yield row.name, row.values
            continue
        values = {ours: _first(row.values, theirs) for ours, theirs in fields.items()}
        text = values["text"]
        if reason := refused(values):
            length = len(text.encode("utf-8", "surrogatepass")) if isinstance(text, str) else row.bytes
            yield row.name, LeftOut(reason, length)
        elif not isinstance(text, str):
            yield row.name, Unreadable(missing, row.bytes, row.offset, _keys_of(row.values, fields))
        elif has_lone_surrogate(text):
            yield row.name, Unreadable("invalid_unicode", row.bytes, row.offset)
        elif len(text) > containers.LARGEST_RECORD:
            yield row.name, Unreadable("too_large", len(text), row.offset)
        else:
            yield _named(row.name, values), text_of(values)


def _keys_of(values: Values, fields: Fields) -> str:
    """The keys of a row that lacks that of the text, and the one of its longest text; nothing if it only has no text there."""
    if any(name in values for name in fields["text"]):
        return ""
    texts = {name: len(value) for name, value in values.items() if isinstance(value, str)}
    likely = f"; set `text: {_shown(max(texts, key=texts.get))}` (kind `files`)" if texts else ""
    return f"it has [{_shown(', '.join(values))}]{likely}"


def _shown(words: str) -> str:
    words = words.encode("utf-8", "backslashreplace").decode()  # an escape of JSON may be half of a character
    return words if len(words) <= SHOWN else f"{words[:SHOWN]}…"


def _named(name: str, values: Values) -> str:
    if values.get("path"):
        return f"{name}/{values['path']}"
    return f"{name}.{values['extension']}" if values.get("extension") else name


def _first(values: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((values[name] for name in names if values.get(name) is not None), None)


def _json_lines(path: Path, fields: Fields) -> Iterator[Row]:
    with opened(path) as stream:
        yield from json_lines(stream, path)


def json_lines(stream: BufferedReader, path: Path) -> Iterator[Row]:
    """The rows of an open file; `path` stands in their names.

    Raises CorpusError if it is one array of objects, or cut off within its last line.
    """
    if _ARRAY.match(stream.peek(_HEAD)[:_HEAD]):
        raise CorpusError(f"{path}: byte 0: a JSON array; write one object a line (`jq -c '.[]'`)")
    for number, (offset, line) in enumerate(lines(stream), 1):
        if isinstance(line, Unreadable):
            yield Row(f"{path}:{number}", line, line.bytes, offset)
        elif line.strip():
            found = _json_object(line.removeprefix(BYTE_ORDER_MARK) if offset == 0 else line, offset)
            if isinstance(found, Unreadable) and not line.endswith(b"\n"):
                raise CorpusError(
                    f"{path}: byte {offset:,}: {found.reason} in the last line, which has no end: cut off? Fetch it again"
                )
            yield Row(f"{path}:{number}", found, len(line), offset)


def _json_object(line: bytes, offset: int) -> dict[str, Any] | Unreadable:
    try:
        record = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        return Unreadable("invalid_utf8", len(line), offset)
    except (ValueError, RecursionError):  # RecursionError: `[[[[...`; ValueError: also a number of 5,000 digits
        return Unreadable("nul_bytes" if b"\0" in line else "broken_json", len(line), offset)
    return record if isinstance(record, dict) else Unreadable("no_json_object", len(line), offset)


def _csv(path: Path, fields: Fields) -> Iterator[Row]:
    csv.field_size_limit(containers.LARGEST_RECORD)
    with opened(path) as stream:
        table = _CsvTable(path, stream)
        header = table.columns = table.next_row()
        if not isinstance(header, list):
            raise CorpusError(f"{path}: byte 0: {header or 'nothing'} where the first line must name the columns")
        _require_text(path, header, fields)
        number = 0
        while (row := table.next_row()) is not None:
            number += 1
            length = table.end - table.start
            values = _csv_values(header, row, table.start, length)
            if values:
                yield Row(f"{path}:{number}", values, length, table.start)


def _csv_values(header: list[str], row: list[str] | str, start: int, length: int) -> dict[str, str] | Unreadable:
    """The row by its header; {} for an empty line."""
    if isinstance(row, str):
        return Unreadable(row, length, start)
    if row and len(row) != len(header):
        return Unreadable("wrong_number_of_columns", length, start)
    if any("\udc80" <= character <= "\udcff" for value in row if not value.isascii() for character in value):
        return Unreadable("invalid_utf8", length, start)
    return dict(zip(header, row, strict=bool(row)))


class _CsvTable:
    """Rows of a CSV file, and the bytes that the last one took: from `start` to `end`."""

    def __init__(self, path: Path, stream: BinaryIO) -> None:
        self.start = self.end = 0
        self.columns: list[str] = []
        self._path = path
        self._at_end = False
        self._held: list[tuple[int, bytes]] = []
        self._lines = lines(stream)
        self._rows = csv.reader(self._decoded(), strict=True)

    def _decoded(self) -> Iterator[str]:
        while (found := self._held.pop() if self._held else next(self._lines, None)) is not None:
            offset, line = found
            if isinstance(line, Unreadable):
                raise CorpusError(f"{self._path}: byte {offset:,}: a line of {line.bytes:,} bytes; split it")
            self.end = offset + len(line)
            line = line.removeprefix(BYTE_ORDER_MARK) if offset == 0 else line
            yield line.decode("utf-8", "surrogateescape")
        self._at_end = True

    def next_row(self) -> list[str] | str | None:
        """The values of the next row, the reason why it has none, or None at the end.

        Raises CorpusError where a quotation mark is never closed, or breaks a table of one column: nothing after it can be
        told apart.
        """
        self.start = self.end
        try:
            return next(self._rows, None)
        except csv.Error as error:
            if self._at_end or "field limit" in str(error) or len(self.columns) < 2:
                raise CorpusError(
                    f"{self._path}: byte {self.start:,}: {error}; is a quotation mark never closed?"
                ) from error
            self._pass_over()
            return "broken_csv"

    def _pass_over(self) -> None:
        """Goes on to the first line that can be a row of its own: those before may lie inside the broken one."""
        for offset, line in self._lines:
            if not isinstance(line, Unreadable) and line.count(b'"') % 2 == 0:
                row = next(csv.reader([line.decode("utf-8", "surrogateescape")]))
                if len(row) == len(self.columns):
                    self._held.append((offset, line))
                    return
            self.end = offset + (line.bytes if isinstance(line, Unreadable) else len(line))


def _parquet(path: Path, fields: Fields) -> Iterator[Row]:
    with unchanged(path):
        check_head(path)
        number = 0
        try:
            with pq.ParquetFile(path, buffer_size=containers.BUFFER) as file:
                names = file.schema_arrow.names
                _require_text(path, names, fields)
                columns = [name for theirs in fields.values() for name in theirs if name in names]
                for group in range(file.num_row_groups):
                    for values in _rows_of_group(file, group, columns, number):
                        number += 1
                        yield Row(f"{path}:{number}", values, 0, number)
        except (OSError, pa.ArrowException) as error:
            raise CorpusError(
                f"{path}: broken after row {number:,}: {error}; is the file complete, and its suffix right?"
            ) from error


def _rows_of_group(
    file: pq.ParquetFile, group: int, columns: list[str], number: int
) -> Iterator[dict[str, Any] | Unreadable]:
    """The values of each row of a row group that comes after so many rows.

    So few rows are decoded at once that they cannot take much more than the largest record, were each as long as all that
    is written; none where they are larger than it on average.
    """
    metadata = file.metadata.row_group(group)
    chunks = [metadata.column(place) for place in range(metadata.num_columns)]
    sizes = [
        chunk.total_uncompressed_size
        for chunk in chunks
        if chunk.path_in_schema in columns or chunk.path_in_schema.split(".")[0] in columns
    ]
    mean, written = max(sizes) // max(metadata.num_rows, 1), sum(sizes)
    if mean > containers.LARGEST_RECORD * ROOM_FOR_HEADERS:
        yield from (Unreadable("too_large", mean, number + row) for row in range(1, metadata.num_rows + 1))
        return
    rows = min(max(containers.LARGEST_RECORD // max(written, 1), 1), PARQUET_ROWS)
    for batch in file.iter_batches(rows, row_groups=[group], columns=columns, use_threads=False):
        for row in range(batch.num_rows):
            number += 1
            yield _values_of(batch, row, number)


def _values_of(batch: pa.RecordBatch, row: int, number: int) -> dict[str, Any] | Unreadable:
    values = {name: batch.column(name)[row] for name in batch.schema.names}
    largest = max(map(_text_bytes, values.values()))
    if largest > containers.LARGEST_RECORD:
        return Unreadable("too_large", largest, number)
    try:
        return {name: value.as_py() for name, value in values.items()}
    except UnicodeDecodeError as error:
        return Unreadable("invalid_utf8", len(error.object), number)


def _text_bytes(value: pa.Scalar) -> int:
    """Of a text, without making it one; 0 of anything else."""
    value = value.value if isinstance(value, pa.DictionaryScalar) else value
    return len(value.as_buffer() or b"") if isinstance(value, pa.BinaryScalar) else 0


def _require_text(path: Path, names: list[str], fields: Fields) -> None:
    if twice := [name for name in fields["text"] if names.count(name) > 1]:
        raise CorpusError(f"{path}: two columns are called {twice[0]!r}, and no row tells which is meant; rename one")
    if not set(fields["text"]) & set(names):
        raise CorpusError(
            f"{path}: no column {' or '.join(map(repr, fields['text']))}; it has {names}. "
            "Set `text` to one of them (kind `files`), or check the kind"
        )


READERS: dict[str, Callable[[Path, Fields], Iterator[Row]]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json_lines,
    ".csv": _csv,
    ".parquet": _parquet,
}

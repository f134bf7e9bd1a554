"""Files as streams of bytes: decompressed on the way, forward only, never more than one record in memory.

No record is longer than `LARGEST_RECORD`; a longer one is passed over in pieces and set aside.
"""

from __future__ import annotations

import io
import lzma
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from workflow_scripts.corpora.records import Unreadable
from workflow_scripts.errors import CorpusError

LARGEST_RECORD = 64 * 2**20
"""Bytes after decompression of the largest line, page, member or text that is read."""
BUFFER = 2**20
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".xz": "xz"}
DUMPS = frozenset(
    (".jsonl", ".ndjson", ".json", ".csv", ".parquet", ".tar", ".zip", ".xml", ".txt", ".warc", ".wet", "")
)
"""Suffixes of files in which an HTML page is a mistake."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def suffix_of(path: Path) -> str:
    """The suffix that tells the format, in lower case: `.jsonl` of `a.jsonl.zst`, `.tar` of `a.tgz`, `.xml` of Wikimedia's
    `a.xml-p1p41242.bz2`."""
    path = Path(re.sub(r"-p\d+p\d+(?=\.|$)", "", path.name.lower()))
    if path.suffix in (".tgz", ".txz"):
        return ".tar"
    return Path(path.stem).suffix if path.suffix in COMPRESSIONS else path.suffix


def compression_of(path: Path) -> str | None:
    """How a file is compressed, by its last suffix."""
    last = path.suffix.lower()
    return COMPRESSIONS.get({".tgz": ".gz", ".txz": ".xz"}.get(last, last))


@contextmanager
def unchanged(path: Path) -> Iterator[None]:
    """Raises CorpusError if the file is another one after the block, or has another size or time of change."""
    before = _state(path)
    yield
    if _state(path) != before:
        raise CorpusError(f"{path}: changed while it was read; start again when nothing writes to it")


def _state(path: Path) -> tuple[int, int, int]:
    stat = os.stat(path)
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


@contextmanager
def opened(path: Path) -> Iterator[io.BufferedReader]:
    """The bytes of a file, decompressed.

    Raises CorpusError, with the file, the offset and the cause, for a file that is empty, cut off, damaged, not
    compressed as its name says, an HTML page, or changed before the end of the block.
    """
    compression = compression_of(path)
    with unchanged(path):
        check_head(path)
        opener = partial(lzma.open, path) if compression == "xz" else partial(pa.input_stream, str(path), compression)
        with opener() as file:
            stream = checked(path, file)
            _refuse_html(path, head := stream.peek(1024))
            if not head:
                raise CorpusError(
                    f"{path}: empty, decompressed, no document at byte 0; fetch it again or take it out of `path`"
                )
            yield stream


def checked(path: Path, file: BinaryIO) -> io.BufferedReader:
    """A stream that raises CorpusError, with `path` and the offset, where it is damaged or cut off."""
    return io.BufferedReader(_Counted(path, file), BUFFER)


class _Counted(io.RawIOBase):
    """A stream that knows how many bytes it gave, which pyarrow's do not, and says where it broke.

    Raises CorpusError, whoever reads: a member of an archive is read outside of the block that opened the archive.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path, self._file = path, file
        self.offset = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        try:
            count = self._file.readinto(buffer)
        except (OSError, EOFError, lzma.LZMAError) as error:
            raise CorpusError(
                f"{self._path}: broken after byte {self.offset:,} (decompressed): {error}; fetch or write the file again"
            ) from error
        self.offset += count
        return count


def check_head(path: Path) -> None:
    """Raises CorpusError if a file is empty, or is an HTML page in the place of a dump."""
    with open(path, "rb") as file:
        head = file.read(1024)
    if not head:
        raise CorpusError(f"{path}: empty, no document at byte 0; fetch it again or take it out of `path`")
    _refuse_html(path, head)


def _refuse_html(path: Path, head: bytes) -> None:
    start = head.removeprefix(BYTE_ORDER_MARK).lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")) and suffix_of(path) in DUMPS:
        raise CorpusError(f"{path}: an HTML page at byte 0, where a dump is expected; did its download fail?")


def lines(stream: BinaryIO) -> Iterator[tuple[int, bytes | Unreadable]]:
    """(offset, line with its line end); only `\\n` ends a line, so that text with other ends stays whole."""
    offset = 0
    while line := stream.readline(LARGEST_RECORD + 1):
        length = len(line)
        if length <= LARGEST_RECORD:
            yield offset, line
        else:
            while not line.endswith(b"\n") and (line := stream.readline(BUFFER)):
                length += len(line)
            yield offset, Unreadable("too_large", length, offset)
        offset += length


def bounded(stream: BinaryIO, offset: int = 0, expected: int = LARGEST_RECORD) -> bytes | Unreadable:
    """All bytes of a stream, or, if there are more than the largest record has, how many were read at least.

    Where a caller expects fewer, `expected` and one more are read, so that it sees a longer stream: asking for room for
    the largest record is not free.
    """
    data = stream.read(min(expected, LARGEST_RECORD) + 1)
    return data if len(data) <= LARGEST_RECORD else Unreadable("too_large", len(data), offset)


class Gathered:
    """A record of several lines, forgotten once it is longer than the largest record."""

    def __init__(self, offset: int) -> None:
        self.offset = offset
        self.bytes = 0
        self._lines: list[bytes] = []

    def add(self, line: bytes | Unreadable) -> None:
        self.bytes += line.bytes if isinstance(line, Unreadable) else len(line)
        if self.bytes > LARGEST_RECORD:
            self._lines = []
        else:
            self._lines.append(line)

    def record(self) -> bytes | Unreadable:
        if self.bytes > LARGEST_RECORD:
            return Unreadable("too_large", self.bytes, self.offset)
        return b"".join(self._lines)

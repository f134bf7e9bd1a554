"""Common Crawl: WET (plain text) and WARC (HTML to text); C4's JSON lines are read as rows.

fastwarc reads the containers, and resiliparse turns HTML into text as for DataComp-LM (Li et al. 2024, section 4.2).
"""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from fastwarc.warc import ArchiveIterator, WarcHeaderMap, WarcRecord, WarcRecordType
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.encoding import bytes_to_str, detect_encoding, map_encoding_to_html5

from workflow_scripts.corpora.containers import BUFFER, bounded, check_head, unchanged
from workflow_scripts.corpora.records import Document, LeftOut, Unreadable, decoded
from workflow_scripts.errors import CorpusError

RECORDS = WarcRecordType.conversion | WarcRecordType.response
_DIGITS = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", b"0123456789abcdefghijklmnopqrstuv")
_GZIP = b"\x1f\x8b\x08"
_RECORD_END = b"\r\n\r\n"
_CHUNK = re.compile(rb"[0-9a-fA-F]{1,8}[ \t]*(;[^\r\n]*)?\r\n")


def read_warc(path: Path) -> Iterator[Document]:
    """WET conversion records as they are, and the HTML of WARC responses as text; ids are `<path>:<record>`, from 1.

    A damaged record is set aside, with all up to the next sound one; offsets are in the file as it is, compressed.  HTML is
    decoded as browsers do: by the declared encoding, a byte that it does not know as U+FFFD.  Memory: one record.  Raises
    CorpusError if the file holds no such record, is no WARC file, cut off, or changed while read.
    """
    with unchanged(path):
        check_head(path)
        with open(path, "rb") as file:
            number = 0
            for found in _documents(path, file):
                number += 1
                yield f"{path}:{number}", found
            if not number:
                raise CorpusError(
                    f"{path}: no conversion or response record from byte 0 on; is it a WET or WARC file of pages?"
                )


def _documents(path: Path, file: BinaryIO) -> Iterator[str | Unreadable | LeftOut]:
    start: int | None = 0
    gap: Unreadable | None = None  # damage before `start` that may be the record at `start`
    while start is not None:
        file.seek(start)
        last, in_record, begun = start, True, False
        try:
            for record in ArchiveIterator(file, record_types=RECORDS, auto_decode="none"):
                last, in_record, begun = record.stream_pos, True, True
                found = _text_of(record, last)
                if gap is not None:
                    yield gap
                    gap = None
                yield found
                in_record = False
            if gap is not None:
                yield gap
            _require_end(path, file, last)
            return
        except OSError as error:
            start = _next_member(file, last + 1)
            if start is None and begun and in_record and _end_of_member(file, last) == file.seek(0, os.SEEK_END):
                yield Unreadable("broken_record", file.tell() - last, last)  # the last one, and whole as a member
                return
            if start is None:
                raise CorpusError(f"{path}: cut off or damaged at byte {last:,}: {error}; fetch it again") from error
            if in_record:
                yield Unreadable("broken_record", start - last, last)
                gap = None
            else:
                damaged = _end_of_member(file, last)
                gap = Unreadable("broken_record", start - damaged, damaged)


def _require_end(path: Path, file: BinaryIO, last: int) -> None:
    """Raises CorpusError if the file ends within the record after that at `last`: fastwarc ends there without a word."""
    file.seek(0)
    if file.read(len(_GZIP)) == _GZIP:
        while (end := _end_of_member(file, last)) > last:
            last = end
        whole = last == file.seek(0, os.SEEK_END)
    else:
        file.seek(max(file.seek(0, os.SEEK_END) - len(_RECORD_END), 0))
        whole = file.read() == _RECORD_END
    if not whole:
        raise CorpusError(f"{path}: cut off within the record at byte {last:,}; fetch it again")


def _end_of_member(file: BinaryIO, start: int) -> int:
    """Where the gzip member at `start` ends; `start` itself if it is cut off, or none begins there."""
    file.seek(start)
    member, end = zlib.decompressobj(31), start
    try:
        while not member.eof and (block := file.read(BUFFER)):
            end += len(block)
            while block and not member.eof:
                member.decompress(block, BUFFER)
                block = member.unconsumed_tail
    except zlib.error:
        return start
    return end - len(member.unused_data) if member.eof else start


def _next_member(file: BinaryIO, start: int) -> int | None:
    """Where the first gzip member at or after `start` that holds a WARC record begins."""
    file.seek(start)
    overlap = b""
    while block := file.read(BUFFER):
        data = overlap + block
        place = data.find(_GZIP)
        while place >= 0:
            offset = start - len(overlap) + place
            if _holds_warc(file, offset):
                return offset
            place = data.find(_GZIP, place + 1)
        start += len(block)
        file.seek(start)
        overlap = data[-len(_GZIP) + 1 :]
    return None


def _holds_warc(file: BinaryIO, offset: int) -> bool:
    file.seek(offset)
    try:
        return zlib.decompressobj(31).decompress(file.read(4096), 5) == b"WARC/"
    except zlib.error:
        return False


def _text_of(record: WarcRecord, offset: int) -> str | Unreadable | LeftOut:
    """The text of a record, or why there is none.  Raises OSError if the record is damaged or not of its length."""
    data = bounded(record.reader, offset, record.content_length)
    if isinstance(data, Unreadable):
        return data
    headers = record.headers
    if len(data) != record.content_length or not (data or "Content-Length" in headers):
        raise OSError("the length of a record is not the one that it states")
    if record.record_type == WarcRecordType.conversion:
        if not _agrees(data, headers.get("WARC-Block-Digest", "")):
            raise OSError("the digest of a record is not the one that it states")
        return decoded(data, offset)
    if "html" not in (record.http_content_type or "").lower():
        return LeftOut("not_html", len(data))
    if _is_encoded(data, record.http_headers):
        return Unreadable("encoded_http_body", len(data), offset)
    known = map_encoding_to_html5(record.http_charset or "", fallback_utf8=False)
    encoding = known or detect_encoding(data, from_html_meta=True)
    return extract_plain_text(bytes_to_str(data, encoding, errors="replace"), main_content=True, alt_texts=False)


def _is_encoded(data: bytes, headers: WarcHeaderMap) -> bool:
    """Whether a body is compressed or in chunks.  Older crawls decoded it and kept the header that says that it is."""
    if "chunked" in headers.get("Transfer-Encoding", "").lower():
        return _CHUNK.match(data) is not None
    if headers.get("Content-Encoding", "identity").lower() == "identity":
        return False
    return data.startswith(_GZIP) or b"<" not in data[:1024]


def _agrees(data: bytes, stated: str) -> bool:
    """Whether a stated `sha1:` digest in base 32 is that of the data; true of any other.

    Python reads base 32 as a number with other digits, which takes a fifth of the time that writing it does.
    """
    kind, _, digits = stated.partition(":")
    if kind != "sha1" or len(digits) != 32 or not digits.isupper():
        return True
    try:
        return int(digits.encode().translate(_DIGITS), 32) == int.from_bytes(hashlib.sha1(data).digest())
    except ValueError:
        return False

"""Small dumps in the formats of their makers, from known text."""

import bz2
import csv
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from xml.sax.saxutils import escape

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st
from pydantic import TypeAdapter

from workflow_scripts.corpora.readers import reader_of
from workflow_scripts.corpora.records import Document
from workflow_scripts.corpora.sources import PathSource, Source

PROSE = (
    "The harbour of the old town lies to the west of the church, and most of its boats are painted blue.\n"
    "Fishermen have mended nets there since the railway came, with songs that nobody wrote down.\n"
    "In winter the quay is empty; only gulls walk between the coils of rope and look for bread.\n"
    "A visitor who asks for the lighthouse will be sent up the hill, where it stood until the storm of 1911.\n"
)
"""A text that passes all filters of text."""
PROSE_WORDS = tuple(dict.fromkeys(PROSE.replace(".", "").replace(",", "").replace(";", "").lower().split()))


def source(kind: str, **keys: Any) -> PathSource:
    """A source of the configuration, checked as the configuration is."""
    needed = {"extensions": ["py"]} if kind == "github" else {}
    return TypeAdapter(Source).validate_python({"kind": kind, "path": "*", **needed, **keys})


def documents(kind: str, path: Path, **keys: Any) -> list[Document]:
    return list(reader_of(source(kind, **keys), path)(path))


def found(kind: str, path: Path, **keys: Any) -> list[Any]:
    """What the reader yields, without the ids."""
    return [value for _, value in documents(kind, path, **keys)]


def compressed(name: str, data: bytes) -> bytes:
    """`data` as the last suffix of `name` says."""
    squeeze = {
        ".gz": gzip.compress,
        ".tgz": gzip.compress,
        ".bz2": bz2.compress,
        ".xz": lambda raw: lzma.compress(raw, preset=0),
        ".zst": lambda raw: pa.compress(raw, codec="zstd", asbytes=True),
    }
    return squeeze.get(Path(name).suffix, bytes)(data)


def json_lines(records: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()


def tar(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return packed.getvalue()


def warc_record(body: bytes, kind: str, content_type: str, number: int = 0) -> bytes:
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: http://example.org/{number}\r\n"
        f"WARC-Date: 2020-01-01T00:00:00Z\r\nWARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-{number:012}>\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body + b"\r\n\r\n"


def wet_members(texts: list[str]) -> list[bytes]:
    """One gzip member a record, as Common Crawl has them; the first is the description of the file."""
    records = [warc_record(b"Software-Info: none\r\n", "warcinfo", "application/warc-fields")]
    records += [warc_record(text.encode(), "conversion", "text/plain", row) for row, text in enumerate(texts)]
    return [gzip.compress(record) for record in records]


def response(html: bytes, content_type: str = "text/html; charset=utf-8", extra: str = "") -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n{extra}\r\n"
    return gzip.compress(warc_record(head.encode() + html, "response", "application/http; msgtype=response"))


def page(text: str, number: int = 1, namespace: int = 0, more: str = "") -> str:
    return (
        f"  <page>\n    <title>Title</title>\n    <ns>{namespace}</ns>\n    <id>{number}</id>\n{more}"
        f'    <revision>\n      <id>9</id>\n      <text bytes="1" xml:space="preserve">{escape(text)}</text>\n'
        "    </revision>\n  </page>\n"
    )


def export(pages: list[str]) -> bytes:
    head = (
        '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="de">\n  <siteinfo>\n'
        '    <namespaces>\n      <namespace key="0" case="first-letter" />\n'
        '      <namespace key="6" case="first-letter">Datei</namespace>\n'
        '      <namespace key="14" case="first-letter">Kategorie</namespace>\n    </namespaces>\n  </siteinfo>\n'
    )
    return (head + "".join(pages) + "</mediawiki>\n").encode()


def table(columns: dict[str, list[Any]]) -> bytes:
    packed = io.BytesIO()
    pq.write_table(pa.table(columns), packed)
    return packed.getvalue()


def rows(text: str, **others: Any) -> Callable[[list[str]], bytes]:
    return lambda texts: json_lines([{**others, text: value} for value in texts])


def csv_table(texts: list[str]) -> bytes:
    packed = io.StringIO(newline="")
    writer = csv.writer(packed, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerows([["id", "text"], *enumerate(texts)])
    return packed.getvalue().encode()


def stack(texts: list[str]) -> bytes:
    count = len(texts)
    licences = pa.array([["MIT"]] * count, pa.list_(pa.string()))
    return table({"content": pa.array(texts, pa.string()), "ext": ["py"] * count, "lang": ["Python"] * count}
                 | {"max_stars_repo_licenses": licences, "max_stars_repo_path": ["a.py"] * count})  # fmt: skip


def numbered(texts: list[str], suffix: str) -> dict[str, bytes]:
    return {f"repo/{row:04}{suffix}": text.encode() for row, text in enumerate(texts)}


def folder(path: Path, texts: list[str]) -> None:
    (path / "repo").mkdir(parents=True)
    for name, data in numbered(texts, ".py").items():
        (path / name).write_bytes(data)


ANY = st.text(st.characters(codec="utf-8"))
LETTERS = st.text(st.characters(codec="utf-8", categories=["L", "Nd", "Mn", "So"]))
WORDS = st.lists(st.sampled_from(["Grüße", "中文", "🙂👍🏽", "e\u0301", "plain", "Größe", "words"]), min_size=8).map(
    " ".join
)
# A carriage return before a line feed is part of the line end, as everywhere: a line of text does not end with one.
LINES = st.lists(
    ANY.map(lambda text: text.replace("\n", "")).filter(lambda text: text and not text.endswith("\r")), min_size=1
)


@dataclass(frozen=True)
class Format:
    """A format of a kind: `pack(texts)` are the bytes of the file `name`, before compression."""

    kind: str
    name: str
    pack: Callable[[list[str]], bytes] | None
    texts: st.SearchStrategy[str] = ANY
    """Texts that the format can hold as they are."""
    before: str = ""
    """What the reader puts before each text."""
    is_compressed: bool = False
    """Whether `pack` has compressed the bytes, record by record."""

    def write(self, path: Path, texts: list[str]) -> Path:
        path = path / self.name
        if self.pack is None:
            folder(path, texts)
        else:
            data = self.pack(texts)
            path.write_bytes(data if self.is_compressed else compressed(self.name, data))
        return path


def html(texts: list[str]) -> bytes:
    return b"".join(response(f"<html><body><p>{text}</p></body></html>".encode()) for text in texts)


def nested(texts: list[str]) -> bytes:
    return tar({f"openwebtext/part{row}_data.xz": lzma.compress(tar({"a.txt": text.encode()}), preset=0)
                for row, text in enumerate(texts)})  # fmt: skip


FORMATS = [
    Format("webtext", "a.jsonl.zst", rows("text", meta={"title": "T"})),
    Format("webtext", "openwebtext.tar.xz", nested),
    Format("webtext", "urlsf_subset00-1_data.xz", lambda texts: tar(numbered(texts, ".txt"))),
    Format("webtext", "openwebtext.parquet", lambda texts: table({"text": pa.array(texts, pa.string())})),
    Format("common_crawl", "a.warc.wet", lambda texts: gzip.decompress(b"".join(wet_members(texts)))),
    Format("common_crawl", "a.warc.wet.gz", lambda texts: b"".join(wet_members(texts)), is_compressed=True),
    Format("common_crawl", "a.warc.gz", html, WORDS, is_compressed=True),
    Format("common_crawl", "c4.json.gz", rows("text", timestamp="2019-04-25T12:57:54Z", url="https://example.org")),
    Format(
        "wikipedia",
        "dump.xml.bz2",
        lambda texts: export([page(text, row) for row, text in enumerate(texts)]),
        LETTERS,
        "Title\n",
    ),
    Format("wikipedia", "wiki.parquet", lambda texts: table({"title": ["T"] * len(texts), "text": pa.array(texts, pa.string())})),
    Format("github", "stack.parquet", stack),
    Format("github", "codeparrot.json.gz", rows("content", path="a/b.py", repo_name="r", license="mit")),
    Format("github", "repos.tar.gz", lambda texts: tar(numbered(texts, ".py"))),
    Format("github", "repos.zip", lambda texts: zipped(numbered(texts, ".py"))),
    Format("github", "folder", None),
    Format("oscar", "de_dedup.txt.gz", lambda texts: "\n\n".join(texts).encode(), LINES.map("\n".join)),
    Format("oscar", "de_part_1.jsonl.gz", rows("content", id=1)),
    Format("oscar", "de_meta_part_1.jsonl.zst", rows("content", warc_headers={}, metadata={"identification": {"label": "de"}})),
    Format("community_qa", "web_text_zh_train.json", rows("content", title="问", desc="", qid=1), ANY.filter(bool), "问\n"),
    Format("files", "table.csv", csv_table),
    Format("files", "lines.jsonl.gz", rows("text")),
    Format("files", "table.parquet", lambda texts: table({"text": pa.array(texts, pa.string())})),
]  # fmt: skip


def passing_text(number: int, kind: str) -> str:
    """Some 600 characters that no other number has, and that no filter of its kind drops or cuts."""
    random = Random(number)
    lines = [random.choices(PROSE_WORDS, k=10) for _ in range(12)]
    if kind == "github":
        return "\n".join(
            f"def {'_'.join(words[:4])}(value):\n    return value + {'.'.join(words[4:])}" for words in lines
        )
    return "\n".join(f"{' '.join(words)}." for words in lines)

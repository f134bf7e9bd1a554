"""Bad input: a broken record is set aside and counted, a broken file ends the step; both with file, offset and cause."""

import gzip
import io
import json
import os
import struct
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

from tests.corpora.dumps import (
    compressed,
    documents,
    export,
    found,
    json_lines,
    page,
    response,
    source,
    table,
    tar,
    warc_record,
    wet_members,
    zipped,
)
from workflow_scripts.corpora import clean, containers
from workflow_scripts.corpora.counts import EARLY_RECORDS, Counts
from workflow_scripts.corpora.errors import CorpusError
from workflow_scripts.corpora.inputs import Input
from workflow_scripts.corpora.readers import reader_of
from workflow_scripts.corpora.records import Unreadable

HTML = b"\n<!DOCTYPE html>\n<html><body>404: not here</body></html>\n" * 50
MANY = json_lines([{"text": f"{row} {os.urandom(40).hex()}"} for row in range(400)])
FILES = {f"r/{row}.py": os.urandom(700).hex().encode() for row in range(4)}


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]


def tar_without(end: int) -> bytes:
    """A tar archive whose last `end` bytes are missing: the end marker, at first."""
    data = tar({"r/0.py": b"code"})
    return data[: 1024 - end]


def tar_with_header_of(size: int) -> bytes:
    """A tar archive that claims an extended header of `size` bytes."""
    entry = tarfile.TarInfo("header")
    entry.type, entry.size = tarfile.XHDTYPE, size
    return entry.tobuf() + bytes(5_000)


PARQUET = table({"text": ["some text"] * 500})
WET = b"".join(wet_members(["first " * 50, "second " * 50]))
BROKEN_FILES = {
    # name: (kind, file, content, part of the message)
    "gzip cut off": ("webtext", "a.jsonl.gz", gzip.compress(MANY)[:-2000], "Truncated"),
    "gzip without its last byte": ("files", "a.jsonl.gz", gzip.compress(MANY)[:-1], "Truncated"),
    "zstd cut off": ("webtext", "a.jsonl.zst", compressed("a.zst", MANY)[:-2000], "Truncated"),
    "bzip2 cut off": ("files", "a.jsonl.bz2", compressed("a.bz2", MANY)[:-2000], "Truncated"),
    "xz cut off": ("files", "a.jsonl.xz", compressed("a.xz", MANY)[:-2000], "ended before"),
    "gzip damaged": ("common_crawl", "c4.json.gz", flipped(gzip.compress(MANY), 9000), "zlib"),
    "bzip2 damaged": ("files", "a.jsonl.bz2", flipped(compressed("a.bz2", MANY), 9000), "bz2"),
    "xz damaged": ("files", "a.jsonl.xz", flipped(compressed("a.xz", MANY), 9000), "Corrupt"),
    "gzip with something behind": ("files", "a.jsonl.gz", gzip.compress(MANY) + b"behind", "zlib"),
    "text named gzip": ("oscar", "de.txt.gz", b"plain text\n" * 50, "zlib"),
    "text named zstd": ("oscar", "de.jsonl.zst", MANY, "ZSTD"),
    "gzip named zstd": ("webtext", "a.jsonl.zst", gzip.compress(MANY), "ZSTD"),
    "empty lines": ("webtext", "a.jsonl", b"", "empty"),
    "empty gzip": ("webtext", "a.jsonl.gz", b"", "empty"),
    "empty csv": ("files", "a.csv", b"", "empty"),
    "empty parquet": ("files", "a.parquet", b"", "empty"),
    "empty zip": ("github", "a.zip", b"", "empty"),
    "empty tar": ("github", "a.tar", b"", "empty"),
    "empty xml": ("wikipedia", "a.xml.bz2", b"", "empty"),
    "empty wet": ("common_crawl", "a.warc.wet.gz", b"", "empty"),
    "page for lines": ("webtext", "a.jsonl", HTML, "HTML page"),
    "page for gzip": ("webtext", "a.jsonl.gz", HTML, "HTML page"),
    "page in gzip": ("oscar", "a.jsonl.gz", gzip.compress(HTML), "HTML page"),
    "page for text": ("books", "a.txt", HTML, "HTML page"),
    "page for parquet": ("github", "a.parquet", HTML, "HTML page"),
    "page for zip": ("github", "a.zip", HTML, "HTML page"),
    "page for tar": ("github", "a.tgz", HTML, "HTML page"),
    "page for wet": ("common_crawl", "a.warc.wet.gz", HTML, "HTML page"),
    "page for xml": ("wikipedia", "a.xml.bz2", HTML, "HTML page"),
    "page for csv": ("files", "a.csv", HTML, "HTML page"),
    "parquet cut off": ("files", "a.parquet", PARQUET[:-50], "complete"),
    "parquet damaged": ("files", "a.parquet", PARQUET[:4] + bytes(40) + PARQUET[44:], "broken after row 0"),
    "parquet that is none": ("github", "a.parquet", b"PAR1 but not really", "complete"),
    "zip cut off": ("github", "a.zip", zipped(FILES)[:-30], "not a whole zip"),
    "tar cut off in a file": ("github", "a.tar", tar(FILES)[:2500], "no end of the archive"),
    "tar cut off after a file": ("github", "a.tar", tar_without(0), "no end of the archive"),
    "tar cut off in a header": ("github", "a.tar", tar(FILES)[:2200], "broken header"),
    "tar with a broken header": ("github", "a.tar", flipped(tar(FILES), 2048 + 150), "broken header"),
    "tar with a header of 5 GB": ("github", "a.tar", tar_with_header_of(5 * 2**30), "a header of 5,368,709,120"),
    "tar.gz cut off": ("github", "a.tar.gz", gzip.compress(tar(FILES))[:-900], "Truncated"),
    "tar that is none": ("github", "a.tar", b"no archive " * 100, "byte"),
    "wet cut off": ("common_crawl", "a.warc.wet.gz", WET[:-20], "cut off"),
    "wet that is none": ("common_crawl", "a.warc.wet.gz", gzip.compress(MANY), "WARC header"),
    "xml cut off in a page": ("wikipedia", "a.xml", export([page("one"), page("two")])[:-90], "without end"),
    "xml of something else": ("wikipedia", "a.xml", b'<?xml version="1.0"?>\n<rss></rss>\n', "no page"),
    "csv with an open quote": ("files", "a.csv", b'id,text\n1,one\n2,"two\n3,three\n', "never closed"),
    "csv of one gigantic line": ("files", "a.csv", b"id,text\n1," + b"x" * 2_000_000 + b"\n", "split it"),
}


@pytest.fixture
def small_records(monkeypatch):
    """The largest record has 1 MB."""
    monkeypatch.setattr(containers, "LARGEST_RECORD", 1_000_000)


@pytest.mark.usefixtures("small_records")
@pytest.mark.parametrize("case", BROKEN_FILES)
def test_a_broken_file_ends_with_its_name_the_place_and_the_cause(case, tmp_path):
    kind, name, content, cause = BROKEN_FILES[case]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(CorpusError) as error:
        found(kind, path)
    assert str(error.value).startswith(f"{path}: ")
    assert cause in str(error.value)
    assert "byte" in str(error.value) or "row" in str(error.value)


@pytest.mark.parametrize(
    ("kind", "name", "keys", "words"),
    [
        ("webtext", "a.pdf", {}, "reads .json, .jsonl, .ndjson, .parquet, .tar; found .pdf"),
        ("github", "a.zip", {"licences": ["mit"]}, "state no licences"),
        ("files", "a.csv", {"text": "body"}, r"no column 'body'; it has \['id', 'text'\]"),
    ],
)
def test_what_a_file_cannot_give_is_refused_with_what_it_can(kind, name, keys, words, tmp_path):
    (tmp_path / name).write_bytes(b"id,text\n1,one\n")
    with pytest.raises(CorpusError, match=words):
        found(kind, tmp_path / name, **keys)


GOOD = b'{"text": "good"}\n'
LINES = {
    # name: (a line between two good ones, reason)
    "cut off": (b'{"text": "cut\n', "broken_json"),
    "invalid UTF-8": (b'{"text": "\xff"}\n', "invalid_utf8"),
    "latin-1": ('{"text": "Größe"}\n'.encode("latin-1"), "invalid_utf8"),
    "UTF-16": ('{"text": "Größe"}'.encode("utf-16") + b"\n", "invalid_utf8"),
    "overlong NUL": (b'{"text": "\xc0\x80"}\n', "invalid_utf8"),
    "a list": (b'["text"]\n', "no_json_object"),
    "another key": (b'{"body": "x"}\n', "no_text_under_text"),
    "null": (b'{"text": null}\n', "no_text_under_text"),
    "a number": (b'{"text": 5}\n', "no_text_under_text"),
    "nested without end": (b"[" * 200_000 + b"\n", "broken_json"),
    "a number of 5,000 digits": (b'{"text": "x", "n": ' + b"9" * 5_000 + b"}\n", "broken_json"),
    "NUL bytes": (bytes(500) + b"\n", "broken_json"),
    "two megabytes": (b'{"text": "' + b"x" * 2_000_000 + b'"}\n', "too_large"),
}


@pytest.mark.usefixtures("small_records")
@pytest.mark.parametrize("case", LINES)
def test_a_broken_line_is_set_aside_and_its_neighbours_are_read(case, tmp_path):
    line, reason = LINES[case]
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(GOOD + line + GOOD))
    aside = Unreadable(reason, len(line), len(GOOD))
    assert documents("webtext", path) == [(f"{path}:1", "good"), (f"{path}:2", aside), (f"{path}:3", "good")]


def set_aside(kind: str, path: Path, **keys) -> list:
    """The reasons of what is set aside, the text of the rest."""
    return [value.reason if isinstance(value, Unreadable) else value for value in found(kind, path, **keys)]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"2\n", "wrong_number_of_columns"),
        (b"2,two,three\n", "wrong_number_of_columns"),
        (b'2,"two" or so\n', "broken_csv"),
        (b"2,Gr\xf6\xdfe\n", "invalid_utf8"),
    ],
)
def test_a_broken_csv_row_is_set_aside(row, reason, tmp_path):
    head = b"id,text\n1,one\n"
    (tmp_path / "a.csv").write_bytes(head + row + b"3,three\n")
    assert found("files", tmp_path / "a.csv") == ["one", Unreadable(reason, len(row), len(head)), "three"]


def test_null_and_invalid_utf8_in_parquet_are_set_aside(tmp_path):
    raw = pa.array([b"one", b"\xff\xfe", None, "vier: Grüße".encode()], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 4, raw.buffers())
    (tmp_path / "a.parquet").write_bytes(table({"text": text}))
    expected = ["one", Unreadable("invalid_utf8", 2, 2), Unreadable("no_text_under_text", 0, 3), "vier: Grüße"]
    assert found("files", tmp_path / "a.parquet") == expected


MEMBERS = wet_members([f"document {row} {os.urandom(300).hex()}" for row in range(3)])
PLAIN = gzip.decompress(MEMBERS[2])
BROKEN_RECORDS = {
    "damaged": flipped(MEMBERS[2], 300),
    "stating too great a length": gzip.compress(PLAIN.replace(b"Length: ", b"Length: 9")),
    "stating no length": gzip.compress(PLAIN.replace(b"Content-Length", b"X-Length")),
    "replaced by something else": b"garbage" * 50,
}


@pytest.mark.parametrize("case", BROKEN_RECORDS)
def test_a_broken_warc_record_is_set_aside_once_and_the_next_one_found(case, tmp_path):
    path = tmp_path / "a.warc.wet.gz"
    path.write_bytes(b"".join([*MEMBERS[:2], BROKEN_RECORDS[case], *MEMBERS[3:]]))
    first, broken, last = found("common_crawl", path)
    assert (first[:10], broken.reason, last[:10]) == ("document 0", "broken_record", "document 2")


@pytest.mark.usefixtures("small_records")
def test_a_warc_record_that_is_no_utf8_too_large_or_encoded_is_set_aside(tmp_path):
    records = [
        gzip.compress(warc_record(b"\xff\xfe", "conversion", "text/plain")),
        gzip.compress(warc_record(b"x" * 2_000_000, "conversion", "text/plain")),
        response(gzip.compress(b"<p>text</p>"), extra="Content-Encoding: gzip\r\n"),
    ]
    (tmp_path / "a.warc.gz").write_bytes(b"".join([*records, *wet_members(["good"])]))
    expected = ["invalid_utf8", "too_large", "encoded_http_body", "good"]
    assert set_aside("common_crawl", tmp_path / "a.warc.gz") == expected


CLIMBING = ["../out.py", "r/../../out.py", "/tmp/out.py", "r\\..\\..\\out.py"]


@pytest.mark.parametrize("name", CLIMBING)
@pytest.mark.parametrize("pack", [tar, zipped])
def test_a_path_that_climbs_out_of_its_archive_is_set_aside_and_nothing_written(pack, name, tmp_path):
    path = tmp_path / "inner" / ("repos.tar" if pack is tar else "repos.zip")
    path.parent.mkdir()
    path.write_bytes(pack({"a.py": b"good", name: b"evil", "b.py": b"good"}))
    assert set_aside("github", path) == ["good", "unsafe_path", "good"]
    assert sorted(tmp_path.rglob("*")) == [path.parent, path]


def test_links_and_devices_in_an_archive_are_no_documents(tmp_path):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
            entry = tarfile.TarInfo(f"{kind.decode()}.py")
            entry.type, entry.linkname = kind, "/etc/passwd"
            archive.addfile(entry)
    (tmp_path / "a.tar").write_bytes(packed.getvalue())
    assert found("github", tmp_path / "a.tar") == []


def encrypted(data: bytes) -> bytes:
    """A zip archive whose first member says that it needs a password, in both of its headers."""
    central = data.index(b"PK\x01\x02")
    for place in (6, central + 8):
        data = data[:place] + struct.pack("<H", 1) + data[place + 2 :]
    return data


@pytest.mark.parametrize(
    ("pack", "reason"),
    [
        (lambda data: flipped(data, 60), "damaged_member"),
        (encrypted, "encrypted_member"),
        (lambda data: data[:8] + b"\x63\0" + data[10:].replace(b"PK\x01\x02\x14\x03\x14\0\0\0\x08", b"PK\x01\x02\x14\x03\x14\0\0\0\x63", 1), "damaged_member"),
    ],
    ids=["checksum", "password", "unknown method"],
)  # fmt: skip
def test_a_broken_member_of_a_zip_archive_is_set_aside(pack, reason, tmp_path):
    (tmp_path / "a.zip").write_bytes(pack(zipped(FILES)))
    broken, *others = set_aside("github", tmp_path / "a.zip")
    assert broken.startswith(reason)
    assert [text.encode() for text in others] == list(FILES.values())[1:]


def test_names_that_are_no_utf8_become_ids(tmp_path):
    entry = tarfile.TarInfo("r/Gr\udcf6\udcdfe.py")
    entry.size = 300
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", errors="surrogateescape") as archive:
        archive.addfile(entry, io.BytesIO(b"x = 1\n" * 50))
    (tmp_path / "a.tar").write_bytes(packed.getvalue())
    kept = list(clean.clean(documents("github", tmp_path / "a.tar"), clean.Filters(frozenset()), Counts()))
    assert [(name, document.text) for name, document in kept] == [
        (f"{tmp_path}/a.tar/r/Gr\\udcf6\\udcdfe.py", "x = 1\n" * 50)
    ]


@pytest.mark.usefixtures("small_records")
@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (page("two").replace("</title>", "</titel>"), "broken_page"),
        (page("two").replace("  </page>\n", ""), "broken_page"),
        (page("two").replace("two", "&lol9;"), "broken_page"),
        (page("two").replace("  <page>\n", '  <page>\n<!DOCTYPE x [<!ENTITY a "aaaa">]>\n'), "broken_page"),
        (page("two").replace("two", "two\x01"), "broken_page"),
        (page("two").replace("<text", "<words").replace("</text", "</words"), "no_text_in_page"),
        (page("two\n" * 300_000), "too_large"),
        (page("x" * 2_000_000), "too_large"),
    ],
    ids=["tags", "no end", "entity", "document type", "control character", "no text", "lines", "one line"],
)
def test_a_broken_page_is_set_aside(broken, reason, tmp_path):
    data = export([page("one", 1), "@", page("three", 3)]).replace(b"  @", b"@")
    (tmp_path / "a.xml").write_bytes(data.replace(b"@", broken.encode()))
    first, aside, last = found("wikipedia", tmp_path / "a.xml")
    assert (first, aside.reason, last) == ("Title\none", reason, "Title\nthree")
    assert data[: aside.offset].endswith(b"</page>\n")


@pytest.mark.usefixtures("small_records")
def test_a_broken_document_of_oscar_2019_is_set_aside(tmp_path):
    large = "zu groß\n" * 200_000
    text = b"eins\n\nGr\xf6\xdfe\nzwei\n\n" + large.encode() + b"\n" + b"x" * 2_000_000 + b"\nnoch\n\nvier\n"
    (tmp_path / "de.txt").write_bytes(text)
    assert set_aside("oscar", tmp_path / "de.txt") == ["eins", "invalid_utf8", "too_large", "too_large", "vier"]


@pytest.mark.parametrize(
    ("kind", "name", "content"),
    [
        ("webtext", "a.jsonl", GOOD * 5_000),
        ("files", "a.parquet", table({"text": ["good"] * 500})),
        ("common_crawl", "a.warc.wet.gz", b"".join(wet_members(["good"] * 50))),
        ("github", "a.zip", zipped(FILES)),
        ("github", "a.tar", tar(FILES)),
        ("wikipedia", "a.xml", export([page("good")] * 50)),
    ],
)
def test_a_file_that_changes_while_it_is_read_is_refused(kind, name, content, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    reading = reader_of(source(kind), path)(path)
    next(reading)
    os.utime(path, ns=(1, 1))  # a change need not be seen in the size
    with pytest.raises(CorpusError, match=f"{name}: changed while it was read"):
        list(reading)


BOMB = bytes(20_000_000)


@pytest.mark.usefixtures("small_records")
@pytest.mark.parametrize(
    ("kind", "name", "pack"),
    [
        ("webtext", "a.jsonl.gz", bytes),
        ("webtext", "a.jsonl.zst", bytes),
        ("books", "a.txt.xz", bytes),
        ("oscar", "a.txt.bz2", bytes),
        ("github", "a.zip", lambda bomb: zipped({"a.py": bomb})),
        ("github", "a.tar.gz", lambda bomb: tar({"a.py": bomb})),
        ("common_crawl", "a.warc.wet.gz", lambda bomb: warc_record(bomb, "conversion", "text/plain")),
    ],
)
def test_a_bomb_of_twenty_megabytes_is_set_aside_in_little_memory(kind, name, pack, tmp_path):
    """The largest record is 1 MB here."""
    path = tmp_path / name
    path.write_bytes(compressed(name, pack(BOMB)))
    assert path.stat().st_size < 100_000
    tracemalloc.start()
    try:
        assert set_aside(kind, path) == ["too_large"]
        assert tracemalloc.get_traced_memory()[1] < 12_000_000
    finally:
        tracemalloc.stop()


def test_archives_in_archives_are_not_opened(tmp_path):
    (tmp_path / "a.zip").write_bytes(zipped({"inner.zip": zipped({"a.py": b"code"}), "b.py": b"code"}))
    assert documents("github", tmp_path / "a.zip") == [(f"{tmp_path}/a.zip/b.py", "code")]


class TestLimit:
    """Up to 0.1 % of the records of a source may be broken."""

    TEXT = "Ein Dokument, das lang genug ist. " * 10

    @pytest.fixture(autouse=True)
    def in_temporary_folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)

    def run(self, good: int, broken: int, **keys) -> dict:
        lines = [json_lines([{"text": f"{row} {self.TEXT}"}]) for row in range(good)]
        lines[len(lines) // 2 : len(lines) // 2] = [b'{"text": "\xff"}\n'] * broken
        Path("a.jsonl").write_bytes(b"".join(lines))
        configured = source("files", **keys).model_dump_json()
        arguments = ["--source", configured, "--corpus", "mine", "--name", "notes", "--input", "a.jsonl"]
        clean.main([*arguments, "--out", "notes.parquet", "--counts", "notes.json"])
        return json.loads(Path("notes.json").read_text())

    def test_as_many_as_allowed_are_set_aside_counted_and_listed(self):
        counts = self.run(999, 1)
        assert counts["set_aside"] == {"invalid_utf8": {"documents": 1, "bytes": 14}}
        (example,) = counts["set_aside_examples"]
        assert example["id"] == "a.jsonl:500"
        assert Path("a.jsonl").read_bytes()[example["offset"] :].startswith(b'{"text": "\xff"}')
        assert counts["read"]["documents"] == counts["kept"]["documents"] + 1 == 1000

    def test_one_more_ends_the_step_with_file_offset_and_cause(self):
        with pytest.raises(
            SystemExit, match=r"^mine/notes: a.jsonl:500: invalid_utf8 at byte .*; 2 of 1,000 .*set_aside"
        ):
            self.run(998, 2)
        assert not Path("notes.parquet").exists()

    def test_the_limit_is_the_sources(self):
        assert self.run(2, 1, set_aside=0.5)["kept"]["documents"] == 2
        with pytest.raises(SystemExit, match="more than 0.00%"):
            self.run(5000, 1, set_aside=0)

    def test_a_hopeless_source_is_given_up_early(self):
        read_so_far = []

        def broken():
            for row in range(1_000_000):
                read_so_far.append(row)
                yield f"a:{row}", Unreadable("broken_json", 1, row)

        with pytest.raises(CorpusError, match="10,000 of 10,000"):
            list(clean.clean(broken(), clean.Filters(frozenset()), Counts(0.001)))
        assert len(read_so_far) == EARLY_RECORDS


def test_a_folder_that_changes_between_hash_and_end_is_refused(tmp_path):
    (tmp_path / "a.py").write_text("one")
    given = Input.of(tmp_path)
    given.check()
    (tmp_path / "b.py").write_text("two")
    with pytest.raises(CorpusError, match="changed while it was read"):
        given.check()
    assert Input.of(tmp_path).sha256 != given.sha256


def test_overlapping_members_of_a_zip_bomb_are_set_aside(tmp_path):
    """Two names of one member: the trick of archives that unpack to petabytes."""
    data = zipped({"a.py": b"x" * 5000, "b.py": b"y" * 5000})
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        second = archive.infolist()[1].header_offset
    entry = data.rindex(b"PK\x01\x02")
    (tmp_path / "a.zip").write_bytes(data[: entry + 42] + struct.pack("<I", 0) + data[entry + 46 :])
    assert second > 0
    assert set_aside("github", tmp_path / "a.zip")[1].startswith("damaged_member")

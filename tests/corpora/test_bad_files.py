"""A file that is broken as a whole ends the step, with its name, the place and the cause."""

import gzip
import os
import tarfile

import pytest

from tests.corpora.bad_input import FILES, GOOD, MANY, flipped
from tests.corpora.dumps import (
    compressed,
    export,
    found,
    page,
    source,
    table,
    tar,
    wet_members,
    zipped,
)
from workflow_scripts.corpora.inputs import Input
from workflow_scripts.corpora.readers import reader_of
from workflow_scripts.errors import CorpusError

HTML = b"\n<!DOCTYPE html>\n<html><body>404: not here</body></html>\n" * 50


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
INNER = compressed("a.xz", tar({f"{row}.txt": os.urandom(3000).hex().encode() for row in range(20)}))
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
    "gzip of nothing": ("webtext", "a.jsonl.gz", gzip.compress(b""), "empty, decompressed"),
    "two archives in one": ("github", "a.tar", tar({"a.py": b"code"}) * 2, "something follows its end"),
    "two archives in one, compressed": (
        "github",
        "a.tgz",
        gzip.compress(tar({"a.py": b"code"})) * 2,
        "something follows",
    ),
    "two columns of one name": ("files", "a.csv", b"text,text\n1,2\n", "two columns are called 'text'"),
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
    "wet cut off at the head of a record": (
        "common_crawl",
        "a.warc.wet.gz",
        WET + wet_members(["third"])[1][:20],
        "cut off",
    ),
    "wet of nothing": ("common_crawl", "a.warc.wet.gz", gzip.compress(b""), "no conversion or response record"),
    "wet without pages": ("common_crawl", "a.warc.wet.gz", wet_members([])[0], "no conversion or response record"),
    "wet that is no gzip, cut off": (
        "common_crawl",
        "a.warc.wet",
        gzip.decompress(WET) + b"WARC/1.0\r\nWARC-Ty",
        "cut off",
    ),
    "last line cut off": ("webtext", "a.jsonl", MANY + b'{"text": "wor', "cut off"),
    "xml cut off between pages": (
        "wikipedia",
        "a.xml",
        export([page("one")]).split(b"</mediawiki>")[0],
        "no </mediawiki>",
    ),
    "csv of one column with a broken quote": ("files", "a.csv", b'text\n"a "b\nc\nd"\n', "never closed"),
    "tar cut off in a large file": ("github", "a.tar", tar({"a.py": b"x" * 200_000})[:150_000], "a.py"),
    "xz in a tar, damaged": ("webtext", "owt.tar", tar({"a.xz": flipped(INNER, len(INNER) // 2)}), "a.xz"),
    "xz in a tar, cut off": ("webtext", "owt.tar", tar({"a.xz": INNER[: len(INNER) // 2]}), "a.xz"),
    "no xz in a tar": ("webtext", "owt.tar", tar({"a.xz": b"something else"}), "a.xz"),
    "no path and no extension": ("github", "a.jsonl", b'{"content": "text"}\n', "without path and extension"),
    "wet that is none": ("common_crawl", "a.warc.wet.gz", gzip.compress(MANY), "WARC header"),
    "xml cut off in a page": ("wikipedia", "a.xml", export([page("one"), page("two")])[:-90], "without end"),
    "xml of something else": ("wikipedia", "a.xml", b'<?xml version="1.0"?>\n<rss></rss>\n', "no page"),
    "json array": (
        "files",
        "a.json",
        b' [{"text": "one"},\n {"text": "two"}]\n',
        "a JSON array; write one object a line (`jq -c '.[]'`)",
    ),
    "json array, indented": ("files", "a.json", b'[\n  {\n    "text": "one"\n  }\n]\n', "a JSON array; write one"),
    "json array of one long line": (
        "books",
        "a.json.gz",
        gzip.compress(b'\xef\xbb\xbf[ {"text": "' + b"x" * 2_000_000),
        "a JSON array",
    ),
    "csv with an open quote": ("files", "a.csv", b'id,text\n1,one\n2,"two\n3,three\n', "never closed"),
    "csv of one gigantic line": ("files", "a.csv", b"id,text\n1," + b"x" * 2_000_000 + b"\n", "split it"),
}


@pytest.mark.usefixtures("small_records")
@pytest.mark.parametrize("case", BROKEN_FILES)
def test_a_broken_file_ends_with_its_name_the_place_and_the_cause(case, tmp_path):
    kind, name, content, cause = BROKEN_FILES[case]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(CorpusError) as error:
        found(kind, path)
    assert str(error.value).startswith(f"{path}")
    assert cause in str(error.value)
    assert "byte" in str(error.value) or "row" in str(error.value)


@pytest.mark.parametrize(
    ("kind", "name", "keys", "words"),
    [
        ("webtext", "a.pdf", {}, "reads .json, .jsonl, .ndjson, .parquet, .tar; found .pdf"),
        ("files", "a.tar.gz", {}, "found .tar. Correct `path`"),
        ("github", "a.zip", {"licences": ["mit"]}, "state no licences"),
        ("files", "a.tsv", {}, r"found .tsv. Correct `path`, or write a table as CSV or JSON lines"),
        ("files", "a.csv", {"text": "body"}, r"no column 'body'; it has \['id', 'text'\]"),
    ],
)
def test_what_a_file_cannot_give_is_refused_with_what_it_can(kind, name, keys, words, tmp_path):
    (tmp_path / name).write_bytes(b"id,text\n1,one\n")
    with pytest.raises(CorpusError, match=words):
        found(kind, tmp_path / name, **keys)


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


def test_a_folder_that_changes_between_hash_and_end_is_refused(tmp_path):
    (tmp_path / "a.py").write_text("one")
    given = Input.of(tmp_path)
    given.check()
    (tmp_path / "b.py").write_text("two")
    with pytest.raises(CorpusError, match="changed while it was read"):
        given.check()
    assert Input.of(tmp_path).sha256 != given.sha256

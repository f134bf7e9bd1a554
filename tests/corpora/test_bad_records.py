"""A broken record is set aside with offset and cause, and its neighbours are read."""

import base64
import gzip
import hashlib
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.corpora.bad_input import GOOD, flipped, set_aside
from tests.corpora.dumps import (
    documents,
    export,
    found,
    json_lines,
    page,
    response,
    table,
    warc_record,
    wet_members,
)
from workflow_scripts.corpora.records import Unreadable

LINES = {
    # name: (a line between two good ones, reason)
    "cut off": (b'{"text": "cut\n', "broken_json"),
    "invalid UTF-8": (b'{"text": "\xff"}\n', "invalid_utf8"),
    "latin-1": ('{"text": "Größe"}\n'.encode("latin-1"), "invalid_utf8"),
    "UTF-16": ('{"text": "Größe"}'.encode("utf-16") + b"\n", "invalid_utf8"),
    "overlong NUL": (b'{"text": "\xc0\x80"}\n', "invalid_utf8"),
    "half of a character": (rb'{"text": "\ud83d"}' + b"\n", "invalid_unicode"),
    "a list": (b'["text"]\n', "no_json_object"),
    "another key": (b'{"body": "x"}\n', "no_text_under_text"),
    "null": (b'{"text": null}\n', "no_text_under_text"),
    "a number": (b'{"text": 5}\n', "no_text_under_text"),
    "nested without end": (b"[" * 200_000 + b"\n", "broken_json"),
    "a number of 5,000 digits": (b'{"text": "x", "n": ' + b"9" * 5_000 + b"}\n", "broken_json"),
    "NUL bytes": (bytes(500) + b"\n", "nul_bytes"),
    "two megabytes": (b'{"text": "' + b"x" * 2_000_000 + b'"}\n', "too_large"),
}


@pytest.mark.usefixtures("small_records")
@pytest.mark.parametrize("case", LINES)
def test_a_broken_line_is_set_aside_and_its_neighbours_are_read(case, tmp_path):
    line, reason = LINES[case]
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(GOOD + line + GOOD))
    cause = "it has [body]; set `text: body` (kind `files`)" if case == "another key" else ""
    aside = Unreadable(reason, len(line), len(GOOD), cause)
    assert documents("webtext", path) == [(f"{path}:1", "good"), (f"{path}:2", aside), (f"{path}:3", "good")]


def test_a_line_without_the_key_of_the_text_names_those_it_has(tmp_path):
    """As a table does.  The longest text is most likely the one that is meant."""
    record = {"id": "r1", "body": "a long recipe", "year": 1999}
    (tmp_path / "a.jsonl").write_bytes(
        json_lines([record, {"number": 1}, {"k" * 500: "x"}, {"half": "x"}]).replace(b"half", rb"\ud83d")
    )
    wrong, no_text, long, half = found("files", tmp_path / "a.jsonl")
    assert wrong.reason == no_text.reason == "no_text_under_text"
    assert wrong.cause == "it has [id, body, year]; set `text: body` (kind `files`)"
    assert no_text.cause == "it has [number]"
    assert len(long.cause) < 500
    assert half.cause == r"it has [\ud83d]; set `text: \ud83d` (kind `files`)"


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


def test_the_lines_of_a_broken_csv_row_are_no_rows(tmp_path):
    """What stood behind the break was read as rows, if it had a comma."""
    path = tmp_path / "a.csv"
    path.write_bytes(b'id,text\n1,one\n2,"a "row" of\nsome fragment\nof lines",x\n3,three\n4,"fo,ur"\n')
    one, broken, three, four = found("files", path)
    assert (one, three, four) == ("one", "three", "fo,ur")
    assert broken == Unreadable(
        "broken_csv", len(b'2,"a "row" of\nsome fragment\nof lines",x\n'), len(b"id,text\n1,one\n")
    )


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


def test_two_broken_records_of_a_file_lose_nothing_between_them(tmp_path):
    """Offsets were counted from the one before, twice: what lay between two breaks was passed over, and not counted."""
    members = wet_members([f"document {row} {os.urandom(300).hex()}" for row in range(12)])
    starts = [sum(map(len, members[:place])) for place in range(len(members))]
    broken = [4, 6]
    path = tmp_path / "a.warc.wet.gz"
    path.write_bytes(b"".join(flipped(one, 300) if place in broken else one for place, one in enumerate(members)))
    read = found("common_crawl", path)
    assert [one.offset for one in read if isinstance(one, Unreadable)] == [starts[place] for place in broken]
    assert len([one for one in read if isinstance(one, str)]) == 10


def test_damage_between_two_records_is_placed_and_measured(tmp_path):
    path = tmp_path / "a.warc.wet.gz"
    head = bytes(3) + MEMBERS[2][3:]
    path.write_bytes(b"".join([*MEMBERS[:2], head, *MEMBERS[3:]]))
    _, broken, _ = found("common_crawl", path)
    assert broken == Unreadable("broken_record", len(MEMBERS[2]), len(MEMBERS[0]) + len(MEMBERS[1]))


def test_damage_that_no_record_of_text_follows_is_counted(tmp_path):
    head = bytes(3) + MEMBERS[2][3:]
    (tmp_path / "a.warc.wet.gz").write_bytes(b"".join([*MEMBERS[:2], head, wet_members([])[0]]))
    assert set_aside("common_crawl", tmp_path / "a.warc.wet.gz")[1:] == ["broken_record"]


def test_the_last_record_may_be_the_broken_one(tmp_path):
    members = [*MEMBERS[:3], gzip.compress(PLAIN.replace(b"Length: ", b"Length: 9"))]
    (tmp_path / "a.warc.wet.gz").write_bytes(b"".join(members))
    assert set_aside("common_crawl", tmp_path / "a.warc.wet.gz")[2:] == ["broken_record"]


@pytest.mark.parametrize(
    ("header", "body", "encoded"),
    [
        ("Content-Encoding: gzip", b"<p>words</p>", False),
        ("Content-Encoding: identity", b"<p>words</p>", False),
        ("Content-Encoding: br", b"\x0b\x02\x80words\x03", True),
        ("Transfer-Encoding: chunked", b"<p>words</p>", False),
        ("Transfer-Encoding: chunked", b"c\r\n<p>words</p>\r\n0\r\n\r\n", True),
    ],
)
def test_older_crawls_keep_the_header_of_a_body_that_they_decoded(header, body, encoded, tmp_path):
    (tmp_path / "a.warc.gz").write_bytes(response(body, extra=f"{header}\r\n"))
    assert set_aside("common_crawl", tmp_path / "a.warc.gz") == ["encoded_http_body" if encoded else "words"]


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


@pytest.mark.parametrize("charset", ["foo", "base64", "utf-8, text/html", "none", "x-user-defined"])
def test_a_charset_that_no_browser_knows_is_guessed(charset, tmp_path):
    """Pages state anything; Python has codecs that make no text of them, and raised LookupError for the rest."""
    path = tmp_path / "a.warc.gz"
    path.write_bytes(response("<p>Grüße</p>".encode(), f"TEXT/HTML; charset={charset}"))
    assert found("common_crawl", path) == ["Grüße"]


def test_labels_of_browsers_are_known(tmp_path):
    path = tmp_path / "a.warc.gz"
    path.write_bytes(response("<p>日本語</p>".encode("shift_jis"), "text/html; charset=x-sjis"))
    assert found("common_crawl", path) == ["日本語"]


@pytest.mark.parametrize("change", [150, -150])
def test_a_wet_record_of_another_length_than_it_states_is_set_aside_by_its_digest(change, tmp_path):
    """A longer one took the next record's header and text in, a shorter one was cut."""
    texts = [f"document {row} {os.urandom(200).hex()}".encode() for row in range(3)]
    digests = [base64.b32encode(hashlib.sha1(text).digest()).decode() for text in texts]
    records = [
        warc_record(text, "conversion", "text/plain").replace(
            b"Content-Length: ", f"WARC-Block-Digest: sha1:{digest}\r\nContent-Length: ".encode()
        )
        for text, digest in zip(texts, digests, strict=True)
    ]
    length = len(texts[1])
    records[1] = records[1].replace(b"Length: %d" % length, b"Length: %d" % (length + change))
    path = tmp_path / "a.warc.wet.gz"
    path.write_bytes(b"".join(map(gzip.compress, records)))
    first, broken, last = found("common_crawl", path)
    assert (first, broken.reason, last) == (texts[0].decode(), "broken_record", texts[2].decode())


@pytest.mark.parametrize("before", ["", "}" * 10_000, "]" * 10_000], ids=["", "braces", "brackets"])
@pytest.mark.parametrize("opening", ["{{a|", "[[a|", "[http://a ", "{{a}}{{a|"])
def test_a_page_whose_brackets_are_never_closed_is_set_aside(before, opening, tmp_path):
    """The parser would take long: its time grows with the square of their number."""
    (tmp_path / "a.xml").write_bytes(export([page("one", 1), page(before + opening * 2_000), page("three", 3)]))
    first, aside, last = found("wikipedia", tmp_path / "a.xml")
    assert (first, aside.reason, last) == ("Title\none", "unclosed_markup", "Title\nthree")


LARGEST = 1_000_000
"""Bytes of the largest of `small_records`."""


@pytest.mark.usefixtures("small_records")
def test_a_parquet_file_that_is_a_bomb_takes_the_memory_of_a_few_records(tmp_path):
    """One value that a dictionary holds once: each of the rows that were decoded together was a copy of it."""
    near, over = "x" * (LARGEST - 10), "y" * (3 * LARGEST)
    (tmp_path / "a.parquet").write_bytes(table({"text": [near] * 16}))
    (tmp_path / "b.parquet").write_bytes(table({"text": ["good", *[over] * 16, "good"]}))
    pool = pa.proxy_memory_pool(pa.default_memory_pool())
    before = pa.default_memory_pool()
    pa.set_memory_pool(pool)
    try:
        assert found("files", tmp_path / "a.parquet") == [near] * 16
        assert pool.max_memory() < 4 * LARGEST
        values = found("files", tmp_path / "b.parquet")
        assert pool.max_memory() < 12 * LARGEST
    finally:
        pa.set_memory_pool(before)
    too_large = [Unreadable("too_large", len(over), row) for row in range(2, 18)]
    assert values == ["good", *too_large, "good"]


@pytest.mark.usefixtures("small_records")
@pytest.mark.parametrize("nested", [False, True])
def test_rows_that_are_too_large_on_average_are_not_decoded(tmp_path, nested):
    """A few thousand bytes of file may be gigabytes of text, also in a column that is not the text itself."""
    over = [letter * (3 * LARGEST) for letter in "abcd"]
    values = ["", "", *over, ""] if nested else ["good", "fine", *over, "last"]
    code = {
        "content": ["good", "fine", *"abcd", "last"],
        "path": ["a.py"] * 7,
        "license": [[value] for value in values],
    }
    data = pa.table(code if nested else {"text": values, "other": list(range(7))})
    with pq.ParquetWriter(tmp_path / "a.parquet", data.schema, compression="zstd") as writer:
        for start, end in ((0, 2), (2, 6), (6, 7)):
            writer.write_table(data.slice(start, end - start))
    pool, before = pa.proxy_memory_pool(pa.default_memory_pool()), pa.default_memory_pool()
    pa.set_memory_pool(pool)
    try:
        first, second, *aside, last = found("github" if nested else "files", tmp_path / "a.parquet")
    finally:
        pa.set_memory_pool(before)
    assert pool.max_memory() < LARGEST
    assert (first, second, last) == ("good", "fine", "last")
    assert [(row.reason, row.offset) for row in aside] == [("too_large", row) for row in range(3, 7)]


@pytest.mark.parametrize(
    ("stated", "believed"),
    [
        ("sha1:{}", True),
        ("sha1:" + "A" * 32, False),
        ("sha1:" + "=" * 31 + "A", False),
        ("md5:0123", True),
        ("sha1:0123456789abcdef0123456789abcdef01234567", True),
        ("", True),
    ],
)
def test_a_digest_is_checked_where_it_is_one_of_common_crawls(stated, believed, tmp_path):
    digest = base64.b32encode(hashlib.sha1(b"text").digest()).decode()
    record = warc_record(b"text", "conversion", "text/plain")
    header = f"WARC-Block-Digest: {stated.format(digest)}\r\nContent-Length: ".encode()
    path = tmp_path / "a.warc.wet.gz"
    path.write_bytes(b"".join([gzip.compress(record.replace(b"Content-Length: ", header)), *wet_members(["good"])]))
    first, last = found("common_crawl", path)
    assert (first == "text") == believed
    assert last == "good"

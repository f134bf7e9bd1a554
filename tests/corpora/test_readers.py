"""Every format of every kind gives the text that was put in, byte for byte."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.corpora.dumps import (
    FORMATS,
    Format,
    compressed,
    documents,
    export,
    found,
    json_lines,
    page,
    response,
    stack,
    table,
    tar,
    zipped,
)
from workflow_scripts.corpora.records import LeftOut
from workflow_scripts.corpora.wikimedia import plain_text

AWKWARD = {
    "german": "Grüße aus Köln – süß & groß",
    "chinese": "中文，第一条　为了保护专利权人的合法权益",
    "emoji": "👍🏽 👩‍👩‍👧 🇩🇪 🙂",
    "combining": "e\u0301 is not é; a\u0308; \u200d",
    "line_ends": "one\r\ntwo\rthree\nfour\u2028five\x85six",
    "nul": "before\0after",
    "marks": '\ufeffquoted "text", with, commas; \\ and \t tab',
    "empty": "",
}
BY_NAME = pytest.mark.parametrize("form", FORMATS, ids=lambda form: f"{form.kind}-{form.name}")


def holds(form: Format, text: str) -> bool:
    """Whether a format can hold an awkward text as it is: HTML, wikitext and empty lines change some."""
    if form.name == "dump.xml.bz2":
        return "\0" not in text and "\r" not in text
    if form.name == "a.warc.gz":
        return not set(text) & set("\0\r\n\t&\u2028\x85\ufeff\u3000") and text != ""
    return text != "" or (form.name != "de_dedup.txt.gz" and form.kind != "community_qa")


@pytest.mark.parametrize(
    ("form", "text"),
    [
        pytest.param(form, text, id=f"{form.kind}-{form.name}-{name}")
        for form in FORMATS
        for name, text in AWKWARD.items()
        if holds(form, text)
    ],
)
def test_awkward_text_survives_byte_for_byte(form, text, tmp_path):
    path = form.write(tmp_path, [text, "between", text])
    assert found(form.kind, path) == [form.before + value for value in (text, "between", text)]


@BY_NAME
def test_a_line_of_ten_megabytes_is_one_document(form, tmp_path):
    text = "Grüße中文🙂" * 600_000
    path = form.write(tmp_path, [text])
    assert len(text.encode()) > 10_000_000
    (value,) = found(form.kind, path)
    assert value == form.before + text


@BY_NAME
@settings(max_examples=20)
@given(data=st.data())
def test_whatever_is_written_is_read(form, data):
    texts = data.draw(st.lists(form.texts, min_size=1, max_size=4))
    with tempfile.TemporaryDirectory() as folder:
        path = form.write(Path(folder), texts)
        read = documents(form.kind, path)
    assert [text for _, text in read] == [form.before + text for text in texts]
    assert len({name for name, _ in read}) == len(texts)
    assert all(name.startswith(str(path)) for name, _ in read)


@pytest.mark.parametrize("kind", ["files", "books", "wikipedia"])
@pytest.mark.parametrize("suffix", ["txt", "txt.gz", "txt.zst", "txt.bz2", "txt.xz"])
@settings(max_examples=10)
@given(text=st.text(st.characters(codec="utf-8"), min_size=1))
def test_a_text_file_is_one_document(kind, suffix, text):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"book.{suffix}"
        path.write_bytes(compressed(path.name, text.encode()))
        assert documents(kind, path) == [(str(path), text)]


def test_a_file_with_a_byte_order_mark_is_read_without_it(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + json_lines([{"text": "\ufeffone"}]))
    (tmp_path / "a.csv").write_bytes("\ufefftext,id\none,1\n".encode())
    assert found("files", tmp_path / "a.jsonl") == ["\ufeffone"]
    assert found("files", tmp_path / "a.csv") == ["one"]
    (tmp_path / "a.txt").write_bytes("\ufeffone\ufeff".encode())
    assert found("books", tmp_path / "a.txt") == ["one\ufeff"]


def test_a_column_may_have_another_name(tmp_path):
    (tmp_path / "a.csv").write_bytes(b'id,body\r\n1,"two\r\nlines"\r\n\r\n2,next\r\n')
    assert documents("files", tmp_path / "a.csv", text="body") == [
        (f"{tmp_path}/a.csv:1", "two\r\nlines"),
        (f"{tmp_path}/a.csv:3", "next"),
    ]


def test_html_is_text_in_its_own_encoding_and_other_types_are_left_out(tmp_path):
    body = "<html><head><title>T</title><script>x()</script></head><body><p>Grüße &amp; mehr</p></body></html>"
    path = tmp_path / "a.warc.gz"
    path.write_bytes(
        response(body.encode("latin-1"), "text/html; charset=ISO-8859-1")
        + response(body.replace("<head>", '<head><meta charset="windows-1252">').encode("cp1252"), "text/html")
        + response(b"\x89PNG", "image/png")
        + response("<p>中文</p>".encode("gb18030"), "text/html; charset=gb2312")
    )
    assert found("common_crawl", path) == ["Grüße & mehr"] * 2 + [LeftOut("not_html", 4), "中文"]


def test_a_part_of_a_wikimedia_dump_is_read_by_the_name_that_it_is_published_under(tmp_path):
    path = tmp_path / "enwiki-20240101-pages-articles1.xml-p1p41242.bz2"
    path.write_bytes(compressed(path.name, export([page("text")])))
    assert found("wikipedia", path) == ["Title\ntext"]


def test_wikitext_becomes_prose(tmp_path):
    wikitext = (
        "{{Infobox|a=b}}'''Köln''' is a [[city|town]] in [[Germany]].<ref>note</ref> [[Datei:x.jpg|mini|caption]]"
        "[[Kategorie:Ort]][[Image:y.png]][[en:Cologne]]\n== History ==\nA film: [[Star Wars: Episode IV]] &ndash; 5 < 6"
        "\n{|\n| cell\n|}"
    )
    path = tmp_path / "dewiki.xml.bz2"
    path.write_bytes(compressed(path.name, export([page(wikitext)])))
    expected = "Title\nKöln is a town in Germany. \n History \nA film: Star Wars: Episode IV – 5 < 6\n"
    assert found("wikipedia", path) == [expected]


@pytest.mark.parametrize(
    ("wikitext", "prose"),
    [
        ("<blockquote>Quoted words<ref>{{cite}} Smith 2001</ref></blockquote>", "Quoted words"),
        ("''slanted<ref>Smith 2001 p. 4</ref> text''", "slanted text"),
        ("<center>[[File:a.jpg|thumb|300px|The caption]]</center>After", "After"),
        ("<div>\n{| class=x\n| one || two\n|}\n</div>After", "After"),
        ("<div>[[Category:Foo]][[de:Bar]]words</div>", "words"),
        ("<ref>note<ref>in a note</ref></ref>words", "words"),
    ],
)
def test_what_is_no_prose_goes_from_within_other_markup_too(wikitext, prose):
    assert plain_text(wikitext, {"file", "category"}).strip() == prose


def test_of_a_history_the_last_revision_counts(tmp_path):
    old = "<revision><text>old</text></revision>"
    (tmp_path / "a.xml").write_bytes(export([page("new").replace("<revision>", f"{old}<revision>", 1)]))
    ((_, text),) = documents("wikipedia", tmp_path / "a.xml")
    assert text.endswith("new")


def test_an_export_of_bigquery_names_paths_its_own_way_and_leaves_binaries_out(tmp_path):
    rows = [{"sample_path": "a.py", "content": "x = 1"}, {"sample_path": "b.png", "content": None}]
    (tmp_path / "a.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (name, text), (_, left) = documents("github", tmp_path / "a.json", extensions=["py"])
    assert (name.endswith("/a.py"), text, left.reason) == (True, "x = 1", "other_extension")


def test_a_file_of_known_extension_alone_is_named_by_it(tmp_path):
    """Filters of code judge by the name: Python was taken for a language of another comment."""
    (tmp_path / "a.jsonl").write_text(json.dumps({"ext": "py", "content": "x = 1"}) + "\n")
    assert documents("github", tmp_path / "a.jsonl", extensions=["py"]) == [(f"{tmp_path}/a.jsonl:1.py", "x = 1")]


def test_openwebtext2_is_read_from_the_tar_of_its_release(tmp_path):
    rows = "".join(json.dumps({"text": f"text {row}", "meta": {}}) + "\n" for row in range(3)).encode()
    path = tmp_path / "openwebtext2.jsonl.zst.tar"
    path.write_bytes(
        tar({"2005-12.jsonl.zst": compressed("a.zst", rows), "2006-01.jsonl.zst": compressed("a.zst", rows)})
    )
    read = documents("webtext", path)
    assert [text for _, text in read] == ["text 0", "text 1", "text 2"] * 2
    assert read[4][0] == f"{path}/2006-01.jsonl.zst:2"


def test_a_line_break_of_html_parts_words(tmp_path):
    path = tmp_path / "dewiki.xml"
    path.write_bytes(export([page("one<br>two<br />'''three<br/>four'''")]))
    assert found("wikipedia", path) == ["Title\none\ntwo\nthree\nfour"]


def test_redirects_and_other_namespaces_are_left_out_and_counted(tmp_path):
    path = tmp_path / "dewiki.xml"
    redirect = page("#REDIRECT [[x]]", 2, more='    <redirect title="x" />\n')
    path.write_bytes(export([page("text", 1), redirect, page("talk", 3, namespace=1)]))
    read = documents("books", path)
    assert [name.rpartition(":")[2] for name, _ in read] == ["1", "2", "3"]
    assert [value.reason for _, value in read[1:]] == ["redirect", "other_namespace"]


def test_the_stack_is_chosen_by_extension_and_licence(tmp_path):
    path = tmp_path / "stack.parquet"
    licences = [["MIT"], ["MIT", "GPL-3.0"], [], ["Apache-2.0", "mit"], ["MIT"]]
    extensions = ["py", "py", "py", "PY", "java"]
    path.write_bytes(table({"content": list("abcde"), "ext": extensions, "max_stars_repo_licenses": licences}))
    chosen = found("github", path, extensions=[".py"], licences=["mit", "apache-2.0"])
    licence = LeftOut("other_licence", 1)
    assert chosen == ["a", licence, licence, "d", LeftOut("other_extension", 1)]
    path.write_bytes(stack(["x"]))
    assert found("github", path, licences=["mit"]) == ["x"]


def test_an_export_is_chosen_by_the_path_of_each_file(tmp_path):
    records = [{"content": "a", "path": "x/y.C", "license": "MIT"}, {"content": "b", "path": "Makefile"}]
    records += [{"content": "c", "path": 5}, {"content": "d", "path": "z.c", "license": {"key": "mit"}}]
    (tmp_path / "bigquery.json").write_bytes(json_lines(records))
    extension, licence = LeftOut("other_extension", 1), LeftOut("other_licence", 1)
    chosen = found("github", tmp_path / "bigquery.json", extensions=["c"], licences=["mit"])
    assert chosen == ["a", extension, extension, licence]


def test_source_code_may_begin_as_an_html_page(tmp_path):
    (tmp_path / "page.php").write_bytes(b"<!DOCTYPE html>\n<?php echo 1 ?>")
    assert found("files", tmp_path / "page.php") == ["<!DOCTYPE html>\n<?php echo 1 ?>"]


@pytest.mark.parametrize("pack", [tar, zipped])
def test_only_chosen_files_of_an_archive_are_read(pack, tmp_path):
    path = tmp_path / ("repos.tar" if pack is tar else "repos.zip")
    path.write_bytes(pack({"r/a.py": b"code", "r/logo.png": b"\x89PNG", "r/b.pyc": b"\xff", "r/c.js": b"js"}))
    assert documents("github", path, extensions=["py", "js"]) == [(f"{path}/r/a.py", "code"), (f"{path}/r/c.js", "js")]


def test_a_folder_is_read_without_git_and_without_links(tmp_path):
    (tmp_path / "outside.py").write_text("secret")
    repository = tmp_path / "repos" / "one"
    (repository / ".git").mkdir(parents=True)
    (repository / ".git" / "hook.py").write_text("hook")
    (repository / "a.py").write_text("code")
    (repository / "link.py").symlink_to(tmp_path / "outside.py")
    (repository / "loop").symlink_to(tmp_path)
    assert documents("github", tmp_path / "repos") == [(f"{tmp_path}/repos/one/a.py", "code")]


def test_oscar_documents_are_chosen_by_language(tmp_path):
    labels = [{"identification": {"label": label}} for label in ("de", "en")] + [None]
    path = tmp_path / "de.jsonl.zst"
    path.write_bytes(compressed(path.name, json_lines([{"content": "x", "metadata": label} for label in labels])))
    other = LeftOut("other_language", 1)
    assert found("oscar", path, language="de") == ["x", other, "x"], "21.09 says of no document what it is"
    assert found("oscar", path) == ["x"] * 3


def test_oscar_2019_documents_end_at_empty_lines(tmp_path):
    path = tmp_path / "de.txt"
    path.write_bytes(b"\n\nerste\nZeile \n\n\r\nzweites\r\n")
    assert documents("oscar", path) == [(f"{path}:3", "erste\nZeile "), (f"{path}:7", "zweites")]


def test_an_answer_follows_its_question(tmp_path):
    record = {"qid": 1, "title": "问题", "desc": "描述", "topic": "t", "star": 3, "content": "回答", "answer_id": 2}
    (tmp_path / "qa.json").write_bytes(json_lines([record]))
    assert found("community_qa", tmp_path / "qa.json") == ["问题\n描述\n回答"]

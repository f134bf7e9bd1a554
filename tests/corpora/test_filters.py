"""Each filter drops, or cuts, what its source says and nothing else; each can be switched on and off, and is counted."""

import json
from collections import Counter
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.corpora.dumps import FORMATS, PROSE, source
from workflow_scripts.corpora import code_filters, text_filters
from workflow_scripts.corpora.clean import Filters, clean, make_shard
from workflow_scripts.corpora.counts import Counts
from workflow_scripts.corpora.filters import DEFAULTS, NAMES
from workflow_scripts.corpora.inputs import Input
from workflow_scripts.corpora.sources import PackageSource
from workflow_scripts.corpora.text import Text

CHINESE = "第一条　为了保护专利权人的合法权益，鼓励发明创造，推动其应用，提高创新能力，制定本法。\n第二条　本法所称的发明创造是指发明、实用新型和外观设计。\n"
CODE = "def add(first, second):\n    return first + second\n\n\n" * 10


def outcome(text: str, names, path: str = "", language: str | None = None) -> tuple[str | None, dict]:
    """What is kept, and the counts."""
    counts = Counts()
    kept = [
        document.text for _, document in clean([(path, text)], Filters(frozenset(names)), counts, language=language)
    ]
    return (kept[0] if kept else None), counts.summary()


def test_every_name_has_its_filter_and_every_kind_its_defaults():
    functions = [text_filters.CUTS, text_filters.DROPS, code_filters.CUTS, code_filters.DROPS]
    assert sorted(name for part in functions for name in part) == sorted(NAMES)
    assert {form.kind for form in FORMATS} | {
        "books",
        "hub",
        "packages",
        "packages of python",
        "packages of code",
    } == set(DEFAULTS)


@pytest.mark.parametrize("kind", ["webtext", "common_crawl", "oscar", "wikipedia"])
def test_ordinary_prose_passes_the_filters_of_web_text(kind):
    assert outcome(PROSE, DEFAULTS[kind], language="en")[0] == outcome(PROSE, ())[0].removesuffix(
        "\n" if kind == "common_crawl" else ""
    )


@pytest.mark.parametrize("kind", ["webtext", "oscar", "community_qa"])
def test_chinese_is_not_judged_by_words(kind):
    text = CHINESE[: len(CHINESE) // 4] + "".join(
        f"另有规定第{row}款，{chr(0x4E00 + 37 * row) * 3}适用。\n" for row in range(20)
    )
    assert outcome(text, DEFAULTS[kind], language="zh")[0] == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Too short.", "too_short"),
        ("One sentence without an end " * 20, "few_sentences"),
        (PROSE + "function f() { return 1 }", "curly_brackets"),
        (PROSE + "Lorem ipsum dolor sit amet.", "lorem_ipsum"),
        ("Incomprehensibilities " * 12, "word_count"),
        ("a b c d e f g h " * 30, "word_length"),
        ("#scaling #laws of words " * 40, "symbols"),
        ("".join(f"- entry {row} of the list that have many words\n" for row in range(40)), "bullets"),
        ("".join(f"entry {row} of the list and read more...\n" for row in range(40)), "ellipses"),
        ("1234 5678 of 91011 -- 12.5 " * 40, "words_without_letters"),
        ("Grüße aus Köln, wo der Dom steht und der Rhein seit langem an allen Häusern vorbei fließt. " * 4, "other_language"),
        ("Blue sky, green grass, red houses, yellow buses, brown dogs, white snow, black cats. " * 6, "few_stop_words"),
        (PROSE + PROSE, "repeated_lines"),
        (" ".join([PROSE.replace("\n", " ")] + ["buy the best shoes in town today"] * 20), "repeated_words"),
    ],
)  # fmt: skip
def test_a_text_that_breaks_a_rule_is_dropped_under_its_name_counted_and_shown(text, reason):
    kept, counts = outcome(text, [reason], "a:1", "en")
    assert kept is None
    assert counts["dropped"] == {reason: {"documents": 1, "characters": len(text)}}
    (example,) = counts["examples"]
    assert (example["reason"], example["id"], example["text"]) == (reason, "a:1", text[:300])
    assert outcome(text, [], "a:1", "en")[0] == text


def test_of_a_web_page_the_sentences_stay():
    page = (
        "Home | About | Contact\n"
        + PROSE
        + "We use cookies to make this site better for you.\nRead more...\nToo few words.\n"
    )
    kept, counts = outcome(page, ["unfinished_lines", "policy_lines"])
    assert kept == PROSE.removesuffix("\n")
    assert counts["cut"]["policy_lines"] == {"documents": 1, "characters": 49}
    assert [example["reason"] for example in counts["examples"]] == ["policy_lines", "unfinished_lines"]
    assert counts["examples"][1]["text"] == "Home | About | Contact\nRead more...\nToo few words.\n"
    assert counts["read"]["characters"] == len(kept) + sum(cut["characters"] for cut in counts["cut"].values())


def brute_force_covered(words: list[str], n: int) -> int:
    """Characters of words in n-grams that stood before."""
    seen, covered = set(), set()
    for start in range(len(words) - n + 1):
        ngram = tuple(words[start : start + n])
        if ngram in seen:
            covered.update(range(start, start + n))
        seen.add(ngram)
    return sum(len(words[place]) for place in covered)


def brute_force_top(words: list[str], n: int) -> int:
    """Characters in the occurrences of the most frequent n-gram that stands twice, the longest of them."""
    counts = Counter(zip(*(words[start:] for start in range(n)), strict=False))
    most = max(counts.values(), default=0)
    longest = max((len("".join(ngram)) for ngram, count in counts.items() if count == most), default=0)
    return most * longest if most > 1 else 0


def brute_force(words: list[str]) -> bool:
    characters = len("".join(words))
    covered = text_filters.DUPLICATE_NGRAM_CHARACTERS.items()
    top = text_filters.TOP_NGRAM_CHARACTERS.items()
    return any(brute_force_covered(words, n) > share * characters for n, share in covered) or any(
        brute_force_top(words, n) > share * characters for n, share in top
    )


@pytest.mark.parametrize("copies", range(12))
def test_duplicate_ngrams_are_judged_as_counted_one_by_one(copies):
    words = [*(f"w{row}" for row in range(120)), *(f"w{row}" for row in range(40, 40 + copies)), "end"]
    assert text_filters.repeated_words(Text("", " ".join(words))) == brute_force(words)


@settings(max_examples=300)
@given(st.data(), st.booleans())
def test_repeated_words_are_judged_as_counted_one_by_one(data, even):
    """A phrase among words that stand once; of even lengths, a limit is met exactly."""
    phrase = ["to", "be", "or", "un", "in", "it", "at", "on", "so", "no"][: data.draw(st.integers(2, 10))]
    others = (f"{row:02}" if even else f"{'long' * (row % 5)}{row}" for row in range(100))
    words = []
    for _ in range(data.draw(st.integers(1, 8))):
        words += [*phrase, *islice(others, data.draw(st.integers(0, 30)))]
    assert text_filters.repeated_words(Text("", " ".join(words))) == brute_force(words)


@given(st.lists(st.sampled_from(["word", "word,", "(a)", "12", "--", "3rd", "é1", "中"]), min_size=1))
def test_words_without_letters_are_counted_one_by_one(words):
    holding = sum(any(map(str.isalpha, word)) for word in words)
    document = Text("", " ".join(words))
    assert text_filters.words_without_letters(document) == (document.parts_words and holding < 0.8 * len(words))


PYTHON_NAMES = DEFAULTS["packages of python"]


@pytest.mark.parametrize(
    ("path", "text", "reason"),
    [
        ("pkg/core.py", CODE, None),
        ("pkg/contest.py", CODE, None),
        ("pkg/tests/helpers.py", CODE, "tests"),
        ("pkg/test_core.py", CODE, "tests"),
        ("pkg/conftest.py", CODE, "tests"),
        ("pkg/_vendor/six.py", CODE, "vendored"),
        ("web/node_modules/a.js", CODE, "dependencies"),
        ("jax/third_party/a.py", CODE, "dependencies"),
        ("pkg/message_pb2.py", CODE, "generated"),
        ("go/message.pb.go", CODE, "generated"),
        ("pkg/core.py", "# This file is auto-generated.\n" + CODE, "generated"),
        ("pkg/db/migrations/one.py", CODE, "migrations"),
        ("pkg/core.py", "x = 1\n", "short_file"),
        ("pkg/core.py", CODE * 400, "large_file"),
        ("pkg/core.py", CODE + "x" * 1001, "minified"),
        ("web/jquery.min.js", CODE, "minified"),
        ("pkg/core.py", "1, 2, 3, 4,\n" * 90, "digits"),
        ("pkg/core.py", '"重重重重重重重重"\n' * 90, "non_ascii"),
        ("art.c", "/*=====*/ +-+-+-+\n" * 40, "few_alphanumeric"),
    ],
)
def test_code_that_nobody_wrote_or_reads_is_dropped(path, text, reason):
    kept, counts = outcome(text, {*PYTHON_NAMES, *DEFAULTS["github"]}, path)
    assert list(counts["dropped"]) == ([reason] if reason else [])
    assert (kept == text) == (reason is None)


C_CODE = "template <typename T>\nT twice(T x) {\n  return x + x;  // as is\n}\n" * 12


@pytest.mark.parametrize(
    ("path", "text", "reason"),
    [
        ("app/a.js", C_CODE, None),
        ("include/contest.h", C_CODE, None),
        ("app/static/vendor/jquery.js", C_CODE, "vendored"),
        ("app/node_modules/x/a.js", C_CODE, "dependencies"),
        ("app/a.min.mjs", C_CODE, "minified"),
        ("app/dist/a.js", C_CODE, "generated"),
        ("app/models/a.d.ts", C_CODE, "generated"),
        ("app/a.spec.js", C_CODE, "tests"),
        ("core/a_test.cc", C_CODE, "tests"),
        ("include/tests/a.h", C_CODE, "tests"),
        ("moment/locale/fr.js", C_CODE, "migrations"),
        ("app/i18n/fr.ts", C_CODE, "migrations"),
        ("a.js", C_CODE + "x" * 1001, "minified"),
        ("a.h", "int x;\n", "short_file"),
        ("a.cu", f"// Automatically generated\n{C_CODE}", "generated"),
    ],
)
@pytest.mark.parametrize("reader", ["cpp", "cuda", "javascript", "typescript"])
def test_files_of_other_languages_that_nobody_wrote_or_reads_are_dropped(reader, path, text, reason):
    code = PackageSource(kind="packages", package="any", reader=reader)
    assert code.is_code
    kept, counts = outcome(text, code.filter_names, path)
    assert list(counts["dropped"]) == ([reason] if reason else [])
    assert (kept == text) == (reason is None)


@pytest.mark.parametrize("path", ["a/dist/core.py", "a/i18n/fr.py", "specs/core.py", "a/core.spec.py"])
def test_what_marks_files_of_other_languages_drops_no_python(path):
    assert outcome(CODE, PYTHON_NAMES, path)[0] == CODE


@pytest.mark.parametrize(
    ("path", "licence", "rest"),
    [
        ("a.py", "# Copyright 2020 The Authors\n#\n# Licensed under the Apache License\n\n", CODE),
        ("a.c", "/*\n * Copyright 2020 The Authors\n */\n\n", "/* Adds numbers. */\nint a;\n" + CODE),
        (
            "a.go",
            "// Copyright 2020 The Authors\n// Use is governed by a licence.\n\n",
            "// Package a adds.\npackage a\n",
        ),
        ("a.ts", "", "// Adds numbers.\nlet a = 1;\n"),
        ("a.py", "", "# Adds numbers.\n" + CODE),
    ],
)
def test_only_licence_headers_are_cut(path, licence, rest):
    assert outcome(licence + rest, ["licence_header"], path)[0] == rest


def test_what_stands_before_a_licence_stays():
    assert outcome("<?php\n/* Copyright me */\n$a = 1;\n", ["licence_header"], "a.php")[0] == "<?php\n$a = 1;\n"


def test_files_are_judged_by_their_path_inside_the_archive(tmp_path):
    """A folder of the user called `tests` or `vendor` drops nothing."""
    folder = tmp_path / "tests" / "vendor" / "repos"
    folder.mkdir(parents=True)
    (folder / "a.py").write_text(CODE)
    (folder / "vendor").mkdir()
    (folder / "vendor" / "b.py").write_text(CODE)
    make_shard(source("github", filters={"tests": True}), "code", [Input.of(folder)], tmp_path)
    counts = json.loads((tmp_path / "counts.json").read_text())
    assert counts["kept"]["documents"] == 1
    assert {reason: found["documents"] for reason, found in counts["dropped"].items()} == {"vendored": 1}


def test_filters_are_switched_on_and_off_by_name():
    assert "repeated_words" not in source("webtext", filters={"repeated_words": False}).filter_names
    assert "minified" in source("files", filters={"minified": True}).filter_names
    python = PackageSource(kind="packages", package="jax", reader="python")
    assert python.filter_names == frozenset(PYTHON_NAMES)
    assert "dependencies" not in PYTHON_NAMES  # jax has some, and the quickstart's documents are not to change

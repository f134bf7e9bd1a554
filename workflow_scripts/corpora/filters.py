"""The filters by name, and which of them are on for which kind of source.  What they do: `text_filters`, `code_filters`.

Names and nothing else, so that a configuration can be checked without importing what the filters need.
"""

from __future__ import annotations

from collections.abc import Mapping

C4_LINES = ("unfinished_lines", "policy_lines")
C4_PAGES = ("few_sentences", "curly_brackets", "lorem_ipsum")
GOPHER_QUALITY = (
    "word_count",
    "word_length",
    "symbols",
    "bullets",
    "ellipses",
    "words_without_letters",
    "few_stop_words",
)
GOPHER_REPETITION = ("repeated_lines", "repeated_words")
PAGES = (*GOPHER_QUALITY, *GOPHER_REPETITION, "lorem_ipsum")
TEXT = ("too_short", "other_language")
CODE = ("licence_header", "vendored", "generated", "short_file", "large_file", "minified")
REPOSITORIES = ("dependencies", "few_alphanumeric")
PYTHON = ("tests", "migrations", "digits", "non_ascii")

NAMES = (*TEXT, *C4_LINES, *C4_PAGES, *GOPHER_QUALITY, *GOPHER_REPETITION, *CODE, *REPOSITORIES, *PYTHON)
DEFAULTS: Mapping[str, tuple[str, ...]] = {
    "webtext": (*TEXT, *PAGES),
    "common_crawl": (*TEXT, *C4_LINES, *C4_PAGES, *PAGES),
    "oscar": (*TEXT, *PAGES),
    "community_qa": (*TEXT, "repeated_lines"),
    "wikipedia": TEXT,
    "books": TEXT,
    "files": TEXT,
    "hub": TEXT,
    "github": (*CODE, *REPOSITORIES),
    "packages": TEXT,
    "packages of python": (*CODE, *PYTHON),
    "packages of code": (*CODE, *REPOSITORIES, *PYTHON),
}


def filters_of(kind: str, choices: Mapping[str, bool]) -> frozenset[str]:
    """The filters that are on: the kind's own, but for those that `choices` switches on or off."""
    return frozenset(name for name in NAMES if choices.get(name, name in DEFAULTS[kind]))

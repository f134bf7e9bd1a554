"""Filters of natural language: C4's (Raffel et al. 2020, section 2.2) and Gopher's (Rae et al. 2021, appendix A.1).

A word is what stands between white space.  Filters that count words pass texts in scripts that do not part them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import filterfalse, islice

import numpy as np

from workflow_scripts.corpora.text import Text

MINIMAL_CHARACTERS = 200
LINE_WORDS = 5
SENTENCES = 3
POLICIES = (
    "javascript",
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
)
WORDS = (50, 100_000)
MEAN_WORD_CHARACTERS = (3, 10)
SYMBOLS_A_WORD = 0.1
BULLET_LINES = 0.9
ELLIPSIS_LINES = 0.3
WORDS_WITH_LETTERS = 0.8
STOP_WORDS = frozenset(("the", "be", "to", "of", "and", "that", "have", "with"))
STOP_WORDS_NEEDED = 2
DUPLICATE_LINES, DUPLICATE_LINE_CHARACTERS = 0.30, 0.20
TOP_NGRAM_CHARACTERS = {2: 0.20, 3: 0.18, 4: 0.16}
DUPLICATE_NGRAM_CHARACTERS = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}

_ENDS = ".?!\"'”’»›。？！」』…؟।"
_SENTENCE_END = re.compile(r"[.?!؟।][\"'”’»›)]*(?:\s|$)|[。？！]")
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


def unfinished_lines(document: Text) -> tuple[str, str]:
    """C4: only lines of five words or more that end as sentences do, not in an ellipsis, stay.

    C4 knows `. ? ! "`; here the marks of other languages end a line too.
    """
    return _parted(document, lambda line: not _is_finished(line.strip(), document.parts_words))


def _is_finished(line: str, parts_words: bool) -> bool:
    ends = line.endswith(tuple(_ENDS)) and not line.endswith(("...", "…"))
    return ends and (not parts_words or len(line.split()) >= LINE_WORDS)


def policy_lines(document: Text) -> tuple[str, str]:
    """C4: lines that ask for JavaScript, or speak of cookies, privacy and terms of use, go."""
    lowered = document.text.lower()
    if not any(words in lowered for words in POLICIES):
        return document.text, ""
    return _parted(document, lambda line: any(words in line.lower() for words in POLICIES))


def _parted(document: Text, goes: Callable[[str], bool]) -> tuple[str, str]:
    kept: list[str] = []
    cut: list[str] = []
    for line in document.lines:
        (cut if goes(line) else kept).append(line)
    return "\n".join(kept), "\n".join(cut)


def too_short(document: Text) -> bool:
    """Under 200 characters, surrounding space not counted.  Our choice."""
    return len(document.text.strip()) < MINIMAL_CHARACTERS


def other_language(document: Text) -> bool:
    """The source states a language, and another one is nearer (`languages`)."""
    stated = document.stated_language
    return stated is not None and document.language != stated


def few_sentences(document: Text) -> bool:
    """C4: fewer than three sentences."""
    return next(islice(_SENTENCE_END.finditer(document.text), SENTENCES - 1, None), None) is None


def curly_brackets(document: Text) -> bool:
    """C4: an opening curly bracket, since "it appears in many programming languages" and hardly in natural text."""
    return "{" in document.text


def lorem_ipsum(document: Text) -> bool:
    """C4: the words "lorem ipsum"."""
    return "lorem ipsum" in document.text.lower()


def word_count(document: Text) -> bool:
    """Gopher: fewer than 50 words or more than 100,000."""
    return document.parts_words and not WORDS[0] <= len(document.words) <= WORDS[1]


def word_length(document: Text) -> bool:
    """Gopher: a mean word of less than 3 characters or more than 10."""
    mean = sum(map(len, document.words)) / max(len(document.words), 1)
    return document.parts_words and not MEAN_WORD_CHARACTERS[0] <= mean <= MEAN_WORD_CHARACTERS[1]


def symbols(document: Text) -> bool:
    """Gopher: more than one `#`, or more than one ellipsis, for ten words."""
    text, limit = document.text, SYMBOLS_A_WORD * len(document.words)
    return document.parts_words and max(text.count("#"), text.count("...") + text.count("…")) > limit


def bullets(document: Text) -> bool:
    """Gopher: more than 90 % of the lines begin with a bullet."""
    return _share(document, lambda line: line.startswith(("•", "‣", "- ", "* "))) > BULLET_LINES


def ellipses(document: Text) -> bool:
    """Gopher: more than 30 % of the lines end in an ellipsis."""
    return _share(document, lambda line: line.endswith(("...", "…"))) > ELLIPSIS_LINES


def _share(document: Text, holds: Callable[[str], bool]) -> float:
    """Of the lines that are not empty."""
    lines = [line for line in map(str.strip, document.lines) if line]
    return sum(map(holds, lines)) / max(len(lines), 1)


def words_without_letters(document: Text) -> bool:
    """Gopher: fewer than 80 % of the words hold a letter."""
    needed = WORDS_WITH_LETTERS * len(document.words)
    if not document.parts_words or (plain := sum(map(str.isalpha, document.words))) >= needed:
        return False
    return plain + sum(any(map(str.isalpha, word)) for word in filterfalse(str.isalpha, document.words)) < needed


def few_stop_words(document: Text) -> bool:
    """Gopher: an English text with fewer than two of the words the, be, to, of, and, that, have, with."""
    if not document.parts_words or len(STOP_WORDS.intersection(document.words)) >= STOP_WORDS_NEEDED:
        return False
    found = STOP_WORDS.intersection(map(str.lower, document.words))
    return len(found) < STOP_WORDS_NEEDED and document.language == "en"


def repeated_lines(document: Text) -> bool:
    """Gopher: lines, or paragraphs, that stood before are over 30 % of them, or hold over 20 % of the characters."""
    return any(_repeats(parts) for parts in (document.lines, document.text.split("\n\n")))


def _repeats(parts: Iterable[str]) -> bool:
    counts = Counter(filter(None, map(str.strip, parts)))
    total, characters = counts.total(), sum(len(part) * count for part, count in counts.items())
    again = sum(len(part) * (count - 1) for part, count in counts.items())
    return total - len(counts) > DUPLICATE_LINES * total or again > DUPLICATE_LINE_CHARACTERS * characters


def repeated_words(document: Text) -> bool:
    """Gopher, table A1: too many characters in the most frequent 2- to 4-gram, or in 5- to 10-grams that stood before.

    Characters of words, without the space between them; those of several duplicates are counted once.
    """
    words = document.words
    if not document.parts_words or len(words) < 2:
        return False
    ngrams = ids = np.fromiter(map(hash, words), np.int64, len(words)).view(np.uint64)
    ends = np.concatenate([[0], np.cumsum(np.fromiter(map(len, words), np.int64, len(words)))])
    for n in range(2, min(len(words), 10) + 1):
        ngrams = (ngrams[:-1] ^ (ngrams[:-1] >> np.uint64(29))) * _FACTOR + ids[n - 1 :]
        ordered, longest = np.sort(ngrams), (ends[n:] - ends[:-n]).max()
        if not (again := np.count_nonzero(ordered[1:] == ordered[:-1])):
            return False  # no longer n-gram stands twice either
        if n in TOP_NGRAM_CHARACTERS:
            limit = TOP_NGRAM_CHARACTERS[n] * ends[-1]
            harmless = int(limit // longest)  # times that any may stand there
            more_often = (ordered[harmless:] == ordered[: len(ordered) - harmless]).any()
            if more_often and _top_characters(ngrams, ends, n) > limit:
                return True
        else:
            limit = DUPLICATE_NGRAM_CHARACTERS[n] * ends[-1]
            if again * longest > limit and _again_characters(ngrams, ends, n) > limit:
                return True
    return False


def _later(ngrams: np.ndarray) -> np.ndarray:
    """Where those stand that stood before, the same ones side by side."""
    order = np.argsort(ngrams, kind="stable")
    return order[1:][ngrams[order[1:]] == ngrams[order[:-1]]]


def _top_characters(ngrams: np.ndarray, ends: np.ndarray, n: int) -> int:
    """Characters in all occurrences of the most frequent n-gram, the longest of them if there are several."""
    later = _later(ngrams)
    _, first, counts = np.unique(ngrams[later], return_index=True, return_counts=True)
    top = later[first[counts == counts.max()]]
    return int((counts.max() + 1) * (ends[top + n] - ends[top]).max())


def _again_characters(ngrams: np.ndarray, ends: np.ndarray, n: int) -> int:
    """Characters of the words that lie in an n-gram that stood before."""
    starts, steps = _later(ngrams), np.zeros(len(ends), np.int64)
    np.add.at(steps, starts, 1)
    np.add.at(steps, starts + n, -1)
    return int(np.diff(ends)[np.cumsum(steps[:-1]) > 0].sum())


CUTS = {cut.__name__: cut for cut in (unfinished_lines, policy_lines)}
"""Each gives the text that stays and the text that goes."""
DROPS = {
    drop.__name__: drop
    for drop in (
        too_short,
        few_sentences,
        curly_brackets,
        lorem_ipsum,
        word_count,
        word_length,
        symbols,
        bullets,
        ellipses,
        words_without_letters,
        other_language,
        few_stop_words,
        repeated_lines,
        repeated_words,
    )
}
"""Each says whether a document goes; in the order in which they are asked."""

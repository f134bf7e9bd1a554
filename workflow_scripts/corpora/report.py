"""Step `report`: where every document of the experiment went, in one table that adds up.

    python -m workflow_scripts.corpora.report --counts english=news.json python=sympy.json --splits splits.json
        --out results/<experiment>/corpora/report.parquet --markdown results/<experiment>/corpora/report.md

A row is `corpus`, `source` (null in the step `split`), `step`, `outcome`, `reason`, `documents`, `characters`, `bytes`;
what is not counted is null.  Step `clean`: read = kept + dropped + set aside, in characters with `cut`.  Step `split`:
read, which is all that `clean` kept, = train + validation + test + dropped.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from workflow_scripts.corpora.documents import SPLITS
from workflow_scripts.errors import CorpusError, one_message
from workflow_scripts.files import read_json, write_text, written

COUNTED = ("documents", "characters", "bytes")
COLUMNS = ("corpus", "source", "step", "outcome", "reason", *COUNTED)
REASONED = ("dropped", "set_aside", "cut")
Manifests = Sequence[tuple[str, dict[str, Any]]]
"""(corpus, counts of a source)"""


def table_of(manifests: Manifests, splits: dict[str, Any]) -> pd.DataFrame:
    """All counts, a row each.  Raises CorpusError where they do not add up."""
    rows = []
    for corpus, counts in manifests:
        place = {"corpus": corpus, "source": counts["source"], "step": "clean"}
        rows += [{**place, "outcome": outcome, **counts[outcome]} for outcome in ("read", "kept")]
        for outcome in REASONED:
            rows += [{**place, "outcome": outcome, "reason": why, **some} for why, some in counts[outcome].items()]
    for corpus, counts in splits["corpora"].items():
        place = {"corpus": corpus, "step": "split"}
        rows += [{**place, "outcome": outcome, **counts[outcome]} for outcome in ("read", *SPLITS)]
        rows += [{**place, "outcome": "dropped", "reason": why, **some} for why, some in counts["dropped"].items()]
    table = pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict.fromkeys(COUNTED, "Int64"))
    _check(table)
    return table


def _check(table: pd.DataFrame) -> None:
    clean, split = table[table.step == "clean"], table[table.step == "split"]
    for (corpus, source), some in clean.groupby(["corpus", "source"]):
        parts = {"documents": ("kept", "dropped", "set_aside"), "characters": ("kept", "dropped", "cut")}
        for unit, outcomes in parts.items():
            _same(f"{corpus}/{source}", unit, _sum(some, unit, "read"), "read", _sum(some, unit, *outcomes), outcomes)
    for corpus, some in split.groupby("corpus"):
        for unit in COUNTED:
            read, outcomes = _sum(some, unit, "read"), (*SPLITS, "dropped")
            _same(str(corpus), unit, read, "read to be split", _sum(some, unit, *outcomes), outcomes)
            kept = _sum(clean[clean.corpus == corpus], unit, "kept")
            _same(str(corpus), unit, kept, "cleaned", read, ("read to be split",))


def _sum(table: pd.DataFrame, unit: str, *outcomes: str) -> int:
    return int(table.loc[table.outcome.isin(outcomes), unit].sum())


def _same(place: str, unit: str, whole: int, name: str, parts: int, outcomes: Sequence[str]) -> None:
    if whole != parts:
        raise CorpusError(
            f"{place}: {whole:,} {unit} {name}, but {' + '.join(outcomes)} are {parts:,}: the files are of different "
            "runs; delete this experiment's corpora folder and start again"
        )


def markdown(table: pd.DataFrame, manifests: Manifests, splits: dict[str, Any]) -> str:
    """The table for people, with what was measured of the kept documents and examples of what was dropped."""
    shown = table.assign(
        **{unit: [f"{n:,}" if pd.notna(n) else "" for n in table[unit]] for unit in COUNTED},
        **{name: table[name].fillna("").str.replace("_", " ") for name in ("outcome", "reason")},
        source=table.source.fillna("all"),
    )
    lines = ["# Where the documents went", "", *_rows(COLUMNS, shown.to_numpy().tolist())]
    measured = [
        [corpus, counts["source"], languages_of(counts), f"{found['documents']:,}", f"{found['characters']:,}"]
        for corpus, counts in manifests
        if (found := counts.get("python")) is not None
    ]
    if measured:
        head = ("corpus", "source", "languages (documents)", "documents with Python", "characters of Python lines")
        lines += ["", "## What the kept text is", "", *_rows(head, measured)]
    examples = [
        [corpus, _words(found["reason"]), _cell(found["id"]), _cell(found["text"])]
        for corpus, counts in manifests
        for found in counts["examples"]
        if found["text"]
    ]
    if examples:
        lines += ["", "## Some of what was dropped or cut", ""]
        lines += _rows(("corpus", "reason", "document", "its beginning"), examples)
    copies = [
        [found["corpus"], _words(found["reason"]), *(_cell(found[key] or "") for key in ("id", "copy_of", "text"))]
        for found in splits["examples"]
    ]
    if copies:
        lines += ["", "## Some of the copies that were dropped", ""]
        lines += _rows(("corpus", "reason", "document", "copy of", "its beginning"), copies)
    return "\n".join(lines) + "\n"


def languages_of(counts: dict[str, Any], most: int = 3) -> str:
    """`en 3,771, sv 2, et 1 and 2 more`: the commonest languages of the kept documents of a source."""
    found = sorted(counts["languages"].items(), key=lambda item: -item[1]["documents"])
    words = ", ".join(f"{language} {some['documents']:,}" for language, some in found[:most])
    return f"{words} and {len(found) - most} more" if len(found) > most else words


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(map(str, cells))} |" for cells in [head, ["---"] * len(head), *rows]]


def _words(name: str) -> str:
    return name.replace("_", " ")


def _cell(text: str, characters: int = 120) -> str:
    return " ".join(text[:characters].split()).replace("|", "\\|").replace("<", "&lt;")


def _corpus_and_path(argument: str) -> tuple[str, Path]:
    corpus, equals, path = argument.partition("=")
    if not (corpus and equals and path):
        raise argparse.ArgumentTypeError(f"expected CORPUS=PATH, found {argument!r}")
    return corpus, Path(path)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Tell where every document went.")
    parser.add_argument("--counts", required=True, nargs="+", type=_corpus_and_path, metavar="CORPUS=PATH")
    parser.add_argument("--splits", required=True, type=Path, help="counts of the step `split` (JSON)")
    parser.add_argument("--out", required=True, type=Path, help="the table (parquet)")
    parser.add_argument("--markdown", required=True, type=Path, help="the table and examples, to be read")
    arguments = parser.parse_args(argv)
    with one_message("corpora report"):
        manifests = [(corpus, read_json(path)) for corpus, path in arguments.counts]
        splits = read_json(arguments.splits)
        table = table_of(manifests, splits)
        with written(arguments.out) as temporary:
            table.to_parquet(temporary, index=False)
        write_text(arguments.markdown, markdown(table, manifests, splits))


if __name__ == "__main__":
    main()

"""What happened to the documents of a source: the manifest of the step `clean`."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from workflow_scripts.corpora.budget import key_of
from workflow_scripts.corpora.containers import LARGEST_RECORD
from workflow_scripts.corpora.languages import Measured
from workflow_scripts.corpora.records import LeftOut, Unreadable
from workflow_scripts.errors import CorpusError

EARLY_RECORDS = 10_000
"""From here on a source that breaks its limit is given up before it is read whole."""
HOLES = frozenset(("broken_record", "nul_bytes"))
"""Reasons of which one may hide many records: a part of a WARC file that is passed over (its bytes are
compressed ones, about a third of what was lost), a lost block of a disk."""
WAY_ON = {
    "too_large": f"A record has at most {LARGEST_RECORD // 2**20} MiB: split it",
    "invalid_utf8": "Text must be UTF-8 (`iconv -f latin1 -t utf8 OLD > NEW`, if it is Latin-1)",
}
"""What to do about the commonest reasons."""
BROKEN_EXAMPLES = 100
EXAMPLES = 3
EXAMPLE_CHARACTERS = 300


def sampled_examples(examples: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    """Of each reason the texts of largest `key`, a hash: a uniform sample, whatever the order of files and shards."""
    by_reason: dict[str, list[dict[str, str]]] = defaultdict(list)
    for example in examples:
        by_reason[example["reason"]].append(example)
    return [
        example
        for _, some in sorted(by_reason.items())
        for example in heapq.nlargest(EXAMPLES, some, key=lambda example: (example["key"], example["id"]))
    ]


class Counts:
    """What happened to the records of a source.

    Documents: read = kept + dropped + set aside.  Characters of those that are decoded: read = kept + dropped + cut;
    what is left out by the source's own choice (language, licence, ...) is dropped with 0 characters.
    """

    def __init__(self, set_aside_limit: float = 1.0) -> None:
        self.read = {"documents": 0, "characters": 0, "bytes": 0}
        self.kept = {"documents": 0, "characters": 0, "bytes": 0}
        self.dropped: dict[str, dict[str, int]] = defaultdict(lambda: {"documents": 0, "characters": 0})
        self.cut: dict[str, dict[str, int]] = defaultdict(lambda: {"documents": 0, "characters": 0})
        self.set_aside: dict[str, dict[str, int]] = defaultdict(lambda: {"documents": 0, "bytes": 0})
        self.set_aside_examples: list[dict[str, str | int]] = []
        self._examples: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
        self._measured: Measured | None = None
        self._limit = set_aside_limit

    def set_one_aside(self, name: str, found: Unreadable) -> None:
        """Raises CorpusError where too many are, once 10,000 records are read."""
        self.read["documents"] += 1
        self.read["bytes"] += found.bytes
        self.set_aside[found.reason]["documents"] += 1
        self.set_aside[found.reason]["bytes"] += found.bytes
        if len(self.set_aside_examples) < BROKEN_EXAMPLES:
            self.set_aside_examples.append({"id": name, **asdict(found)})
        if self.read["documents"] >= EARLY_RECORDS:
            self.check_limit()

    def check_limit(self) -> None:
        """Raises CorpusError with file, offset and cause of the first broken record if there are too many, or too many bytes
        of damage in which records may be lost."""
        broken, read = sum(reason["documents"] for reason in self.set_aside.values()), self.read["documents"]
        damaged, size = sum(self.set_aside[hole]["bytes"] for hole in HOLES & set(self.set_aside)), self.read["bytes"]
        if broken > self._limit * read:
            found, share = f"{broken:,} of {read:,} records are broken", broken / read
        elif damaged > self._limit * size:
            found, share = f"{damaged:,} of {size:,} bytes are damaged, with all records in them", damaged / size
        else:
            return
        first = self.set_aside_examples[0]
        cause = f" ({first['cause']})" if first["cause"] else ""
        raise CorpusError(
            f"{first['id']}: {first['reason']}{cause} at byte {first['offset']:,}; {found} ({share:.2%}), and this is the first."
            f" {WAY_ON.get(first['reason'], 'Correct the input')}, or let more than {self._limit:.2%} be set aside: `set_aside`"
        )

    def leave_out(self, found: LeftOut) -> None:
        self.read["documents"] += 1
        self.read["bytes"] += found.bytes
        self.dropped[found.reason]["documents"] += 1

    def decode(self, raw: str, raw_bytes: int) -> None:
        self.read["documents"] += 1
        self.read["characters"] += len(raw)
        self.read["bytes"] += raw_bytes

    def drop(self, reason: str, name: str, text: str) -> None:
        self.dropped[reason]["documents"] += 1
        self.dropped[reason]["characters"] += len(text)
        self._add_example(reason, name, text)

    def cut_out(self, reason: str, name: str, text: str, characters: int) -> None:
        """`characters` are gone from a document; `text` shows which."""
        self.cut[reason]["documents"] += 1
        self.cut[reason]["characters"] += characters
        self._add_example(reason, name, text)

    def keep(self, text: str, language: str | None) -> None:
        """`language` None: a file of code, whose language and Python are not counted."""
        self.kept["documents"] += 1
        self.kept["characters"] += len(text)
        self.kept["bytes"] += len(text.encode())
        if language is not None:
            self._measured = self._measured or Measured()
            self._measured.add(text, language)

    def _add_example(self, reason: str, name: str, text: str) -> None:
        held, entry = self._examples[reason], (f"{key_of(text, 0):016x}", name, text[:EXAMPLE_CHARACTERS])
        if len(held) < EXAMPLES:
            heapq.heappush(held, entry)
        else:
            heapq.heappushpop(held, entry)

    def summary(self) -> dict[str, Any]:
        """For JSON.  `count.added` makes the counts of a source of those of its shards."""
        examples = sampled_examples(
            {"reason": reason, "id": name, "key": key, "text": text}
            for reason, held in self._examples.items()
            for key, name, text in held
        )
        measured = (
            {} if self._measured is None else {"languages": self._measured.languages, "python": self._measured.python}
        )
        return {
            "read": self.read,
            "kept": self.kept,
            "dropped": dict(self.dropped),
            "cut": dict(self.cut),
            "set_aside": dict(self.set_aside),
            **measured,
            "examples": examples,
            "set_aside_examples": self.set_aside_examples,
        }

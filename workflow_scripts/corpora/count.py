"""Step `count`: the counts of all shards of a source -> those of the source.

python -m workflow_scripts.corpora.count --counts SHARD.json... --out results/<experiment>/corpora/english/news.json
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workflow_scripts.corpora.counts import BROKEN_EXAMPLES, sampled_examples
from workflow_scripts.corpora.filters import NAMES
from workflow_scripts.errors import CorpusError, one_message
from workflow_scripts.files import read_json, write_json

LIMITED = {"set_aside_examples": lambda entries: entries[:BROKEN_EXAMPLES], "examples": sampled_examples}
"""What stays of lists that would grow with the number of shards."""
GONE = ("dropped", "set_aside")
MANY = 0.1
"""Share of the documents from which on it is said how to switch a filter off."""


def added(counts: Sequence[Any], name: str = "") -> Any:
    """Numbers added, lists joined, mappings by key; what is the same in all stays.

    Raises ValueError for words that differ.
    """
    first = counts[0]
    if isinstance(first, dict):
        keys = dict.fromkeys(key for count in counts for key in count)
        return {key: added([count[key] for count in counts if key in count], key) for key in keys}
    if isinstance(first, list):
        return LIMITED.get(name, list)([entry for count in counts for entry in count])
    if isinstance(first, int | float):
        return sum(counts)
    if any(count != first for count in counts):
        raise ValueError(f"{name}: {first!r} in one shard, {next(c for c in counts if c != first)!r} in another")
    return first


def fate(counts: dict[str, Any]) -> str:
    """What became of the documents of a source, with the way to keep those of a filter that took many."""
    read = counts["read"]["documents"]
    gone = {reason: found["documents"] for kind in GONE for reason, found in counts[kind].items()}
    many = sorted(reason for reason in gone if reason in NAMES and gone[reason] >= MANY * read)
    reasons = f" ({', '.join(f'{reason} {number:,}' for reason, number in gone.items())})" if gone else ""
    way_on = f"; `filters: {{{', '.join(f'{reason}: false' for reason in many)}}}` keeps them" if many else ""
    return f"{read:,} documents{reasons}{way_on}"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Add up the counts of a source.", fromfile_prefix_chars="@")
    parser.add_argument("--counts", required=True, type=Path, nargs="+", help="of each shard (JSON), or @FILE of names")
    parser.add_argument("--out", required=True, type=Path, help="counts of the source (JSON)")
    arguments = parser.parse_args(argv)
    with one_message(str(arguments.out)):
        counts = added([read_json(path) for path in arguments.counts])
        if not counts["kept"]["documents"]:
            raise CorpusError(
                f"no document is left of {fate(counts)}; check the source, its `filters` and `characters`, or set"
                " `enabled: false`"
            )
        write_json(arguments.out, counts)
    name = f"{arguments.out.parent.name}/{arguments.out.stem}"
    print(f"[corpora] {name}: kept {counts['kept']['documents']:,} of {fate(counts)}")


if __name__ == "__main__":
    main()

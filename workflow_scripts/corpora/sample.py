"""Step `sample`: a cleaned shard -> its documents that are in the sample of the whole source, and their counts.

python -m workflow_scripts.corpora.sample --source '{"kind":"common_crawl",...}' --name c4 --cleaned SHARD.parquet
    --cleaned-counts SHARD.json --limit SOURCE.limit.json --out SHARD.parquet --counts SHARD.json
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from workflow_scripts.code_identity import code_hash
from workflow_scripts.corpora.clean import SOURCE, below, write_kept
from workflow_scripts.corpora.count import added
from workflow_scripts.corpora.counts import Counts
from workflow_scripts.corpora.sources import Source
from workflow_scripts.errors import one_message
from workflow_scripts.files import read_json, sha256, write_json
from workflow_scripts.store import produce

OF_KEPT = ("kept", "languages", "python")
"""Counts of the documents that stay."""


def make_sample(source: Source, name: str, cleaned: Path, before: dict[str, Any], limit: int, folder: Path) -> None:
    """Writes `documents.parquet` and `counts.json` into `folder`: those of `before`, less what is over the budget."""
    counts = Counts()
    write_kept(folder / "documents.parquet", name, below(limit, cleaned, source, counts), source, counts)
    found = counts.summary()
    rest = {key: value for key, value in before.items() if key not in OF_KEPT}
    gone = {key: found[key] for key in ("dropped", "examples")}
    write_json(folder / "counts.json", added([rest, gone]) | {key: found[key] for key in OF_KEPT if key in found})


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Cut one shard to the sample of its source.")
    parser.add_argument(
        "--source", required=True, type=SOURCE.validate_json, help="the source's entry in the configuration, JSON"
    )
    parser.add_argument("--name", required=True, help="the source's name")
    parser.add_argument("--cleaned", required=True, type=Path, help="shard of clean documents (parquet)")
    parser.add_argument("--cleaned-counts", required=True, type=Path, help="their counts (JSON)")
    parser.add_argument("--limit", required=True, type=Path, help="of the keys, by the step `limit` (JSON)")
    parser.add_argument("--out", required=True, type=Path, help="shard of documents (parquet)")
    parser.add_argument("--counts", required=True, type=Path, help="counts (JSON)")
    arguments = parser.parse_args(argv)
    with one_message(f"sample of {arguments.cleaned}"):
        limit = read_json(arguments.limit)["limit"]
        identity = {
            "source": {key: getattr(arguments.source, key, None) for key in ("seed", "is_code", "language")},
            "name": arguments.name,
            "cleaned": sha256(arguments.cleaned),
            "counts": sha256(arguments.cleaned_counts),
            "limit": limit,
            "code": code_hash("workflow_scripts.corpora.sample"),
        }
        before = read_json(arguments.cleaned_counts)
        make = partial(make_sample, arguments.source, arguments.name, arguments.cleaned, before, limit)
        produce("documents", identity, {"documents.parquet": arguments.out, "counts.json": arguments.counts}, make)


if __name__ == "__main__":
    main()

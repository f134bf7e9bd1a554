"""Step `split`: every document of an experiment -> train, validation, test, or dropped with a reason.

    python -m workflow_scripts.corpora.split --corpora results/<experiment>/corpora --shards english/news/a python/sympy/b
        --target python --validation 0.03 --test 0.03 --counts splits.json

reads `fingerprints/<shard>.arrow` and writes `splits/<shard>.parquet` below the folder of corpora, and the manifest
(counts, leaks, examples).  Documents are taken in the order of corpus and source, and within a source of shards and rows.

- Clusters of exact and near-duplicates are found over all corpora together (`clusters`).  Within a corpus the first
  document of a cluster is kept; the others are dropped: `duplicate` (the same but for white space) or `near_duplicate`.
- All of a cluster goes to one split.  It is decided by a hash of the cluster's smallest content hash and of nothing
  else, so a new source, corpus or order moves no document, unless it brings a near-copy with a smaller content hash.
- A document of another corpus than the target is dropped as `leak` if its cluster holds a validation or test document
  of the target, or if it shares a long passage with one that the target's training documents do not have (`passages`).

Memory: some 50 bytes a document, and the sampled shingles of the target's held-out text (a quarter of its bytes).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from workflow_scripts.corpora.clusters import rows_of
from workflow_scripts.corpora.counts import EXAMPLE_CHARACTERS, EXAMPLES
from workflow_scripts.corpora.documents import SPLITS, read_groups
from workflow_scripts.corpora.duplicates import PERMUTATIONS, SIMILARITY
from workflow_scripts.corpora.inputs import described
from workflow_scripts.corpora.outcomes import (
    DUPLICATE,
    LEAK_BY_CLUSTER,
    LEAK_BY_PASSAGE,
    NEAR_DUPLICATE,
    OUTCOMES,
    TEST,
    VALIDATION,
    Shard,
    Split,
    shards_in,
)
from workflow_scripts.corpora.passages import SHARED_SHINGLES
from workflow_scripts.corpora.shingles import WINDOW_BYTES
from workflow_scripts.errors import CorpusError, one_message
from workflow_scripts.files import write_json


def manifest_of(split: Split, folder: Path) -> dict[str, Any]:
    """Documents, characters and bytes by corpus and split, dropped ones by reason, the leak report, examples, and the
    fingerprints that all of it rests on, with their hashes.

    Raises CorpusError if a corpus has an empty split.
    """
    sums: dict[str, np.ndarray] = {}
    leaks: dict[str, np.ndarray] = {}
    for shard in split.shards:
        source = f"{shard.corpus}/{shard.source}"
        for batch in shard.batches:
            outcome = split.outcome[batch.start : batch.start + batch.rows]
            sizes = [batch.values(unit, np.int64)[:, 0] for unit in ("characters", "bytes")]
            found = np.stack(
                [np.bincount(outcome, weights, len(OUTCOMES)) for weights in (None, *sizes)], axis=1
            ).astype(np.int64)
            sums[shard.corpus] = sums.get(shard.corpus, 0) + found
            leaks[source] = leaks.get(source, 0) + found[[LEAK_BY_CLUSTER, LEAK_BY_PASSAGE], 0]
    return {
        "step": "split",
        "target": split.target,
        "corpora": {corpus: _counts_of(corpus, found) for corpus, found in sums.items()},
        "leak": _leak_report(split.target, leaks),
        "rule": {
            "shingle_bytes": WINDOW_BYTES,
            "permutations": PERMUTATIONS,
            "similarity": SIMILARITY,
            "shared_sampled_shingles": SHARED_SHINGLES,
        },
        "examples": list(examples_of(split, folder)),
        "inputs": [described(folder / "fingerprints" / f"{shard.name}.arrow", folder) for shard in split.shards],
    }


def _counts_of(corpus: str, sums: np.ndarray) -> dict[str, Any]:
    """`sums` is (outcomes, 3): documents, characters and bytes."""
    total, dropped = sums.sum(axis=0), sums[len(SPLITS) :, 0].sum()
    counts = {"read": _count(total)}
    for code, name in enumerate(SPLITS):
        if not sums[code, 0]:
            shares = "lower `splits.validation` and `splits.test`" if name == "train" else f"raise `splits.{name}`"
            raise CorpusError(
                f"corpus {corpus}: no document for {name} ({total[0]} documents, {dropped} of them dropped); add sources "
                f"or {shares}. A text file is one document: split it, or write JSON lines"
            )
        counts[name] = _count(sums[code])
    reasons = dict.fromkeys(reason for _, reason in OUTCOMES[len(SPLITS) :])
    by_reason = {
        reason: sum(sums[code] for code, outcome in enumerate(OUTCOMES) if outcome[1] == reason) for reason in reasons
    }
    return {**counts, "dropped": {reason: _count(found) for reason, found in by_reason.items() if found[0]}}


def _count(sums: np.ndarray) -> dict[str, int]:
    return dict(zip(("documents", "characters", "bytes"), sums.tolist(), strict=True))


def _leak_report(target: str, leaks: dict[str, np.ndarray]) -> dict[str, Any]:
    """`leaks`: documents by cluster and by passage, of each source."""
    by_source = {source: _leaks(found) for source, found in leaks.items() if found.any()}
    total = _leaks(sum(leaks.values()))
    return {"target": target, "documents_removed": sum(total.values()), **total, "sources": by_source}


def _leaks(found: np.ndarray) -> dict[str, int]:
    return {"by_cluster": int(found[0]), "by_passage": int(found[1])}


def examples_of(split: Split, folder: Path) -> Iterator[dict[str, str | None]]:
    """Of each corpus and reason the dropped texts of largest digest, a uniform sample, with how they begin, and with the
    document that each is a copy of (None where it only shares a passage)."""
    held_out = split.inside(split.target) & np.isin(split.outcome, (VALIDATION, TEST))
    for corpus in dict.fromkeys(shard.corpus for shard in split.shards):
        inside = split.inside(corpus)
        originals = {DUPLICATE: inside, NEAR_DUPLICATE: inside, LEAK_BY_CLUSTER: held_out, LEAK_BY_PASSAGE: None}
        for code, among in originals.items():
            dropped = np.flatnonzero(inside & (split.outcome == code))
            if not len(dropped):
                continue
            _, first = np.unique(rows_of(split.batches, "digest", np.uint64, dropped)[:, 0], return_index=True)
            for document in dropped[first[::-1][:EXAMPLES]]:
                yield {
                    "corpus": corpus,
                    "reason": str(OUTCOMES[code][1]),
                    "id": _id_of(split, document),
                    "copy_of": None if among is None else _original_of(split, document, among),
                    "text": _text_of(split, document, folder)[:EXAMPLE_CHARACTERS],
                }


def _original_of(split: Split, document: int, among: np.ndarray) -> str:
    """The id of the first of some documents (documents,) that is in the same cluster."""
    return _id_of(split, np.flatnonzero((split.root == split.root[document]) & among)[0])


def _shard_of(split: Split, document: int) -> Shard:
    return next(shard for shard in split.shards if shard.documents.start <= document < shard.documents.stop)


def _id_of(split: Split, document: int) -> str:
    batch = next(batch for batch in _shard_of(split, document).batches if document < batch.start + batch.rows)
    return batch.column("id")[int(document) - batch.start].as_py()


def _text_of(split: Split, document: int, folder: Path) -> str:
    shard = _shard_of(split, document)
    row = int(document) - shard.documents.start
    groups = read_groups(
        folder / "documents" / f"{shard.name}.parquet", ["text"], lambda first, end: first <= row < end
    )
    first, texts = next(groups)
    return texts.column("text")[row - first].as_py()


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description="Find duplicates and leaks, and split all documents.", fromfile_prefix_chars="@"
    )
    parser.add_argument("--corpora", required=True, type=Path, help="folder of the stage's results")
    parser.add_argument("--shards", required=True, nargs="+", metavar="CORPUS/SOURCE/SHARD", help="or @FILE of names")
    parser.add_argument("--target", required=True, help="the corpus whose held-out text must stay unseen")
    parser.add_argument("--validation", required=True, type=float, help="share of clusters")
    parser.add_argument("--test", required=True, type=float, help="share of clusters")
    parser.add_argument("--counts", required=True, type=Path, help="counts (JSON)")
    arguments = parser.parse_args(argv)
    with one_message("split"):
        shards = shards_in(arguments.corpora, arguments.shards)
        found = Split(shards, arguments.target, arguments.validation, arguments.test)
        manifest = manifest_of(found, arguments.corpora)
        for shard in shards:
            found.write(shard, arguments.corpora / "splits" / f"{shard.name}.parquet")
        write_json(arguments.counts, manifest)


if __name__ == "__main__":
    main()

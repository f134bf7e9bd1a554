"""Step `split`: every document of an experiment -> train, validation, test, or dropped with a reason.

    python -m workflow_scripts.corpora.split --corpora results/<experiment>/corpora --shards english/news/a python/sympy/b
        --target python --validation 0.03 --test 0.03 --counts splits.json

reads `fingerprints/<shard>.arrow` and writes `splits/<shard>.parquet` below the folder of corpora.  Documents are taken
in the order of corpus and source, and within a source of shards and rows.

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
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from workflow_scripts.corpora.clusters import clusters_of
from workflow_scripts.corpora.documents import SPLITS, SPLITS_SCHEMA
from workflow_scripts.corpora.duplicates import PERMUTATIONS, SIMILARITY
from workflow_scripts.corpora.errors import CorpusError, one_message
from workflow_scripts.corpora.fingerprint import Batch, batches_in
from workflow_scripts.corpora.passages import SHARED_SHINGLES, secret_of, shared_shingles
from workflow_scripts.corpora.shingles import DIGEST_BYTES, WINDOW_BYTES
from workflow_scripts.files import write_json, written

OUTCOMES = (
    *((split, None) for split in SPLITS),
    *(("dropped", reason) for reason in ("duplicate", "near_duplicate", "leak", "leak")),
)
"""Split and reason by the code of an outcome."""
TRAIN, VALIDATION, TEST, DUPLICATE, NEAR_DUPLICATE, LEAK_BY_CLUSTER, LEAK_BY_PASSAGE = range(len(OUTCOMES))
LEAK_EXAMPLES = 20


class Shard(NamedTuple):
    corpus: str
    source: str
    name: str
    """`corpus/source/shard`."""
    batches: list[Batch]

    @property
    def documents(self) -> slice:
        """Its documents among all."""
        rows = sum(batch.rows for batch in self.batches)
        start = self.batches[0].start if rows else 0
        return slice(start, start + rows)


def shards_in(folder: Path, names: Sequence[str]) -> list[Shard]:
    """The shards in the order of corpus and source.

    Raises CorpusError for a name that stands twice, and for a file that holds no fingerprints.
    """
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise CorpusError(f"{', '.join(twice)}: given twice; give each shard once")
    ordered = sorted(names, key=lambda name: name.split("/")[:2])
    found = batches_in([folder / "fingerprints" / f"{name}.arrow" for name in ordered])
    return [Shard(*name.split("/")[:2], name, batches) for name, batches in zip(ordered, found, strict=True)]


def split_of(content: bytes, validation: float, test: float) -> int:
    """The split that a content hash falls in, with shares `validation` and `test` held out.

    It is hashed again: the smallest of several hashes is not uniform.
    """
    place = int.from_bytes(hashlib.blake2b(content, digest_size=8, person=b"split").digest()) / 2**64
    return TEST if place < test else VALIDATION if place < test + validation else TRAIN


class Split:
    """What becomes of each document, by its number.

    `outcome` is a code of `OUTCOMES`; `content` the smallest digest of the cluster, as 16 bytes.  Raises CorpusError if
    the target is not among the corpora.
    """

    def __init__(self, shards: Sequence[Shard], target: str, validation: float, test: float) -> None:
        corpora = {shard.corpus for shard in shards}
        if target not in corpora:
            raise CorpusError(f"target {target!r} is not among the corpora {sorted(corpora)}")
        self.shards, self.target = shards, target
        self._batches = [batch for shard in shards for batch in shard.batches]
        documents = sum(batch.rows for batch in self._batches)
        self._root = clusters_of(self._batches).of(np.arange(documents))
        self.content = np.empty(documents, f"V{DIGEST_BYTES}")
        self.outcome = np.empty(documents, np.int8)
        for batch in self._batches:
            digests = batch.values("digest", np.uint8)
            self.content[batch.start : batch.start + batch.rows] = digests.view(self.content.dtype)[:, 0]
        reasons = self._settle_clusters()
        for document, content in enumerate(self.content):
            self.outcome[document] = split_of(content.tobytes(), validation, test)
        for reason, some in reasons.items():
            self.outcome[some] = reason
        self._drop_leaks()

    def _corpus_of(self, documents: np.ndarray) -> np.ndarray:
        """The number of the corpus of each document, in the order of their names."""
        sizes: dict[str, int] = {}
        for shard in self.shards:
            sizes[shard.corpus] = sizes.get(shard.corpus, 0) + sum(batch.rows for batch in shard.batches)
        return np.searchsorted(np.cumsum([*sizes.values()]), documents, side="right")

    def _settle_clusters(self) -> dict[int, np.ndarray]:
        """Gives all members of a cluster its content; returns the documents that are duplicates, by outcome."""
        several = np.bincount(self._root, minlength=len(self._root)) > 1
        first_of, members = np.flatnonzero(several), np.flatnonzero(several[self._root])
        roots, digests = self._root[members], self.content[members]
        words = np.ascontiguousarray(digests).view(">u8").reshape(-1, 2)
        order = np.lexsort((words[:, 1], words[:, 0], roots))
        smallest = order[np.searchsorted(roots[order], first_of)]
        self.content[members] = digests[smallest][np.searchsorted(first_of, roots)]

        order = np.lexsort((members, self._corpus_of(members), roots))
        place = np.stack([roots[order], self._corpus_of(members)[order]])
        begins = np.concatenate([[True], (place[:, 1:] != place[:, :-1]).any(axis=0)])[: len(order)]
        first = np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))
        same = (words[order] == words[order[first]]).all(axis=1)
        return {DUPLICATE: members[order[~begins & same]], NEAR_DUPLICATE: members[order[~begins & ~same]]}

    def _drop_leaks(self) -> None:
        in_target = np.zeros(len(self.outcome), bool)
        for shard in self.shards:
            in_target[shard.documents] = shard.corpus == self.target
        held_out = in_target & np.isin(self.outcome, (VALIDATION, TEST))
        others = ~in_target & (self.outcome <= TEST)
        self.outcome[others & np.isin(self._root, self._root[held_out])] = LEAK_BY_CLUSTER

        def sampled(chosen: np.ndarray) -> Iterator[tuple[pa.LargeListArray, np.ndarray]]:
            for batch in self._batches:
                there = chosen[batch.start : batch.start + batch.rows]
                if there.any():
                    yield batch.column("sampled"), there

        secret = secret_of(sampled(held_out), sampled(in_target & (self.outcome == TRAIN)))
        for batch in self._batches:
            outcome = self.outcome[batch.start : batch.start + batch.rows]
            if not in_target[batch.start]:
                shared = shared_shingles(batch.column("sampled"), secret)
                outcome[(outcome <= TEST) & (shared >= SHARED_SHINGLES)] = LEAK_BY_PASSAGE

    def write(self, shard: Shard, path: Path) -> None:
        """Writes the rows of a shard."""
        with written(path) as temporary, pq.ParquetWriter(temporary, SPLITS_SCHEMA, compression="zstd") as writer:
            for batch in shard.batches:
                writer.write_table(self._table(batch))

    def _table(self, batch: Batch) -> pa.Table:
        documents = slice(batch.start, batch.start + batch.rows)
        outcomes = [OUTCOMES[code] for code in self.outcome[documents].tolist()]
        return pa.table(
            {
                "id": batch.column("id"),
                "characters": batch.column("characters"),
                "cluster": [content.tobytes().hex() for content in self.content[documents]],
                "split": [split for split, _ in outcomes],
                "reason": [reason for _, reason in outcomes],
            },
            schema=SPLITS_SCHEMA,
        )


def counts_of(split: Split) -> dict[str, Any]:
    """Documents and characters by corpus and split, dropped ones by reason, and the leak report.

    Raises CorpusError if a corpus has an empty split.
    """
    sums: dict[str, np.ndarray] = {}
    leaks: dict[str, np.ndarray] = {}
    for shard in split.shards:
        source = f"{shard.corpus}/{shard.source}"
        for batch in shard.batches:
            outcome = split.outcome[batch.start : batch.start + batch.rows]
            characters = batch.values("characters", np.int64)[:, 0]
            found = np.stack(
                [np.bincount(outcome, minlength=len(OUTCOMES)), np.bincount(outcome, characters, len(OUTCOMES))], axis=1
            ).astype(np.int64)
            sums[shard.corpus] = sums.get(shard.corpus, 0) + found
            leaks[source] = leaks.get(source, 0) + found[[LEAK_BY_CLUSTER, LEAK_BY_PASSAGE], 0]
    return {
        "target": split.target,
        "corpora": {corpus: _counts_of_corpus(corpus, found) for corpus, found in sums.items()},
        "leak": _leak_report(split, leaks),
        "rule": {
            "shingle_bytes": WINDOW_BYTES,
            "permutations": PERMUTATIONS,
            "similarity": SIMILARITY,
            "shared_sampled_shingles": SHARED_SHINGLES,
        },
    }


def _counts_of_corpus(corpus: str, sums: np.ndarray) -> dict[str, Any]:
    """`sums` is (outcomes, 2): documents and characters."""
    total, dropped = sums.sum(axis=0), sums[len(SPLITS) :, 0].sum()
    counts = {"read": _count(total)}
    for code, name in enumerate(SPLITS):
        if not sums[code, 0]:
            raise CorpusError(
                f"corpus {corpus}: no document for {name} ({total[0]} documents, {dropped} of them dropped); add sources "
                f"or raise `splits.{name}`"
            )
        counts[name] = _count(sums[code])
    reasons = dict.fromkeys(reason for _, reason in OUTCOMES[len(SPLITS) :])
    by_reason = {
        reason: sum(sums[code] for code, outcome in enumerate(OUTCOMES) if outcome[1] == reason) for reason in reasons
    }
    return {**counts, "dropped": {reason: _count(found) for reason, found in by_reason.items() if found[0]}}


def _count(sums: np.ndarray) -> dict[str, int]:
    return {"documents": int(sums[0]), "characters": int(sums[1])}


def _leak_report(split: Split, leaks: dict[str, np.ndarray]) -> dict[str, Any]:
    """`leaks`: documents by cluster and by passage, of each source."""
    by_source = {source: _leaks(found) for source, found in leaks.items() if found.any()}
    total = _leaks(sum(leaks.values()))
    examples = np.flatnonzero(split.outcome >= LEAK_BY_CLUSTER)[:LEAK_EXAMPLES]
    return {"target": split.target, "documents_removed": sum(total.values()), **total} | {
        "sources": by_source,
        "examples": [
            {
                "shard": shard.name,
                "id": batch.column("id")[int(document) - batch.start].as_py(),
                "by": "cluster" if split.outcome[document] == LEAK_BY_CLUSTER else "passage",
            }
            for shard in split.shards
            for batch in shard.batches
            for document in examples[(examples >= batch.start) & (examples < batch.start + batch.rows)]
        ],
    }


def _leaks(found: np.ndarray) -> dict[str, int]:
    return {"by_cluster": int(found[0]), "by_passage": int(found[1])}


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
        counts = counts_of(found)
        for shard in shards:
            found.write(shard, arguments.corpora / "splits" / f"{shard.name}.parquet")
        write_json(arguments.counts, counts)


if __name__ == "__main__":
    main()

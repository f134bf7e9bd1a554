"""What becomes of each document of an experiment, decided from fingerprints: see the step `split`."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from workflow_scripts.corpora.clusters import clusters_of
from workflow_scripts.corpora.documents import SPLITS, SPLITS_SCHEMA
from workflow_scripts.corpora.fingerprint import Batch, batches_in
from workflow_scripts.corpora.passages import SHARED_SHINGLES, secret_of, shared_shingles
from workflow_scripts.corpora.shingles import DIGEST_BYTES
from workflow_scripts.errors import CorpusError
from workflow_scripts.files import written

OUTCOMES = (
    *((split, None) for split in SPLITS),
    *(("dropped", reason) for reason in ("duplicate", "near_duplicate", "leak", "leak")),
)
"""Split and reason by the code of an outcome."""
TRAIN, VALIDATION, TEST, DUPLICATE, NEAR_DUPLICATE, LEAK_BY_CLUSTER, LEAK_BY_PASSAGE = range(len(OUTCOMES))


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

    `outcome` is a code of `OUTCOMES`; `root` its cluster, `content` the cluster's smallest digest, as 16 bytes.  Raises CorpusError if
    the target is not among the corpora.
    """

    def __init__(self, shards: Sequence[Shard], target: str, validation: float, test: float) -> None:
        corpora = {shard.corpus for shard in shards}
        if target not in corpora:
            raise CorpusError(f"target {target!r} is not among the corpora {sorted(corpora)}")
        self.shards, self.target = shards, target
        self.batches = [batch for shard in shards for batch in shard.batches]
        documents = sum(batch.rows for batch in self.batches)
        self.root = clusters_of(self.batches).of(np.arange(documents))
        self.content = np.empty(documents, f"V{DIGEST_BYTES}")
        self.outcome = np.empty(documents, np.int8)
        for batch in self.batches:
            digests = batch.values("digest", np.uint8)
            self.content[batch.start : batch.start + batch.rows] = digests.view(self.content.dtype)[:, 0]
        reasons = self._settle_clusters()
        for document, content in enumerate(self.content):
            self.outcome[document] = split_of(content.tobytes(), validation, test)
        for reason, some in reasons.items():
            self.outcome[some] = reason
        self._drop_leaks()

    def inside(self, corpus: str) -> np.ndarray:
        """Which documents are of the corpus, (documents,) bool."""
        found = np.zeros(len(self.root), bool)
        for shard in self.shards:
            if shard.corpus == corpus:
                found[shard.documents] = True
        return found

    def _corpus_of(self, documents: np.ndarray) -> np.ndarray:
        """The number of the corpus of each document, in the order of their names."""
        sizes: dict[str, int] = {}
        for shard in self.shards:
            sizes[shard.corpus] = sizes.get(shard.corpus, 0) + sum(batch.rows for batch in shard.batches)
        return np.searchsorted(np.cumsum([*sizes.values()]), documents, side="right")

    def _settle_clusters(self) -> dict[int, np.ndarray]:
        """Gives all members of a cluster its content; returns the documents that are duplicates, by outcome."""
        several = np.bincount(self.root, minlength=len(self.root)) > 1
        first_of, members = np.flatnonzero(several), np.flatnonzero(several[self.root])
        roots, digests = self.root[members], self.content[members]
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
        in_target = self.inside(self.target)
        held_out = in_target & np.isin(self.outcome, (VALIDATION, TEST))
        others = ~in_target & (self.outcome <= TEST)
        self.outcome[others & np.isin(self.root, self.root[held_out])] = LEAK_BY_CLUSTER

        def sampled(chosen: np.ndarray) -> Iterator[tuple[pa.LargeListArray, np.ndarray]]:
            for batch in self.batches:
                there = chosen[batch.start : batch.start + batch.rows]
                if there.any():
                    yield batch.column("sampled"), there

        secret = secret_of(sampled(held_out), sampled(in_target & (self.outcome == TRAIN)))
        for batch in self.batches:
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

"""Step `split`: every document of an experiment -> train, validation, test, or dropped with a reason.

    python -m workflow_scripts.corpora.split --documents english=.../news.parquet python=.../sympy.parquet
        --target python --validation 0.03 --test 0.03 --out splits.parquet --counts splits.json

Documents are taken in the order of corpus, source and row, whatever the order of the arguments.

- Clusters of exact and near-duplicates are found over all corpora together (`duplicates`).  Within a corpus the first
  document of a cluster is kept; the others are dropped: `duplicate` (the same but for white space) or `near_duplicate`.
- All of a cluster goes to one split.  It is decided by a hash of the cluster's smallest content hash and of nothing
  else, so a new source, corpus or order moves no document, unless it brings a near-copy with a smaller content hash.
- A document of another corpus than the target is dropped as `leak` if its cluster holds a validation or test document
  of the target, or if it shares a long passage with one that the target's training documents do not have (`passages`).
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workflow_scripts.corpora.documents import SPLITS, read_shard, source_of
from workflow_scripts.corpora.duplicates import PERMUTATIONS, SIMILARITY, clusters_of, signatures_of
from workflow_scripts.corpora.errors import CorpusError, one_message
from workflow_scripts.corpora.passages import SHARED_SHINGLES, sampled, shared_shingles
from workflow_scripts.corpora.shingles import WINDOW_BYTES, shingles_of
from workflow_scripts.files import write_json, written

SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("corpus", "source", "id")]
    + [("characters", pa.int64())]
    + [(name, pa.string()) for name in ("cluster", "split", "reason")]
)


@dataclass(frozen=True)
class Fingerprints:
    """What is remembered of all documents: about 600 bytes each and a quarter of their text."""

    rows: pd.DataFrame
    """Columns corpus, source, id, characters."""
    digests: list[bytes]
    signatures: np.ndarray
    has_shingles: np.ndarray
    sampled: np.ndarray
    owners: np.ndarray
    """The document (row) of each sampled shingle."""


def fingerprints(shards: Sequence[tuple[str, Path]]) -> Fingerprints:
    """Reads (corpus, path) shards in the order of corpus and source, a row group at a time.

    Raises CorpusError for an empty shard, and for two of the same corpus and source.
    """
    named = sorted((corpus, source_of(path), path) for corpus, path in shards)
    for (corpus, source, path), (next_corpus, next_source, next_path) in pairwise(named):
        if (corpus, source) == (next_corpus, next_source):
            raise CorpusError(f"{path} and {next_path}: both are the source {source} of {corpus}; give each shard once")
    frames, digests, signatures, has_shingles, hashes, counts = [], [], [], [], [], []
    for corpus, source, path in named:
        for batch in read_shard(path, ["id", "text"]):
            texts = batch.column("text")
            frame = {"corpus": corpus, "source": source, "id": batch.column("id").to_pylist()}
            frames.append(pd.DataFrame(frame | {"characters": pc.utf8_length(texts).to_numpy()}))
            shingled = shingles_of(texts)
            digests.extend(shingled.digests)
            signatures.append(signatures_of(shingled))
            has_shingles.append(np.diff(shingled.offsets) > 0)
            chosen, chosen_counts = sampled(shingled.hashes, shingled.offsets)
            hashes.append(chosen)
            counts.append(chosen_counts)
    owners = np.repeat(np.arange(len(digests)), np.concatenate(counts))
    return Fingerprints(
        pd.concat(frames, ignore_index=True),
        digests,
        np.concatenate(signatures),
        np.concatenate(has_shingles),
        np.concatenate(hashes),
        owners,
    )


def split_of(content: bytes, validation: float, test: float) -> str:
    """The split that a content hash falls in, with shares `validation` and `test` held out.

    It is hashed again: the smallest of several hashes is not uniform.
    """
    place = int.from_bytes(hashlib.blake2b(content, digest_size=8, person=b"split").digest()) / 2**64
    return "test" if place < test else "validation" if place < test + validation else "train"


def split(prints: Fingerprints, target: str, validation: float, test: float) -> tuple[pd.DataFrame, dict[str, int]]:
    """The rows of `splits.parquet` and how many documents leak by cluster and by passage.

    Raises CorpusError if the target is not among the corpora.
    """
    rows = prints.rows.copy()
    if target not in set(rows.corpus):
        raise CorpusError(f"target {target!r} is not among the corpora {sorted(set(rows.corpus))}")
    clusters = clusters_of(prints.digests, prints.signatures, prints.has_shingles)
    content: dict[int, bytes] = {}
    for cluster, digest in zip(clusters.tolist(), prints.digests, strict=True):
        content[cluster] = min(digest, content.get(cluster, digest))
    rows["cluster"] = [content[cluster].hex() for cluster in clusters.tolist()]
    splits = {cluster: split_of(smallest, validation, test) for cluster, smallest in content.items()}
    rows["split"] = [splits[cluster] for cluster in clusters.tolist()]
    rows["reason"] = _duplicate_reasons(rows, prints.digests)

    kept = rows.reason.isna()
    in_target = rows.corpus == target
    held_out = kept & in_target & (rows.split != "train")
    by_cluster = kept & ~in_target & rows.cluster.isin(rows.cluster[held_out])
    known = kept & in_target & (rows.split == "train")
    shared = shared_shingles(prints.sampled, prints.owners, held_out.to_numpy(), known.to_numpy())
    by_passage = kept & ~in_target & ~by_cluster & (shared >= SHARED_SHINGLES)
    rows.loc[by_cluster | by_passage, "reason"] = "leak"
    rows.loc[rows.reason.notna(), "split"] = "dropped"
    return rows, {"by_cluster": int(by_cluster.sum()), "by_passage": int(by_passage.sum())}


def _duplicate_reasons(rows: pd.DataFrame, digests: list[bytes]) -> list[str | None]:
    first: dict[tuple[str, str], bytes] = {}
    reasons: list[str | None] = []
    for corpus, cluster, digest in zip(rows.corpus, rows.cluster, digests, strict=True):
        if (corpus, cluster) not in first:
            first[corpus, cluster] = digest
            reasons.append(None)
        else:
            reasons.append("duplicate" if digest == first[corpus, cluster] else "near_duplicate")
    return reasons


def counts_of(rows: pd.DataFrame, target: str, leaks: Mapping[str, int]) -> dict[str, Any]:
    """Documents and characters by corpus and split, dropped ones by reason, and the leak report.

    Raises CorpusError if a corpus has an empty split.
    """
    corpora: dict[str, Any] = {}
    for corpus, group in rows.groupby("corpus"):
        counts = {name: _sums(group[group.split == name]) for name in SPLITS}
        for name, sums in counts.items():
            if not sums["documents"]:
                raise CorpusError(
                    f"corpus {corpus}: no document for {name} ({len(group)} documents, "
                    f"{int(group.reason.notna().sum())} of them dropped); add sources or raise `splits.{name}`"
                )
        dropped = {reason: _sums(some) for reason, some in group.groupby("reason")}
        corpora[str(corpus)] = {"read": _sums(group), **counts, "dropped": dropped}
    return {
        "target": target,
        "corpora": corpora,
        "leak": {"target": target, "documents_removed": sum(leaks.values()), **leaks},
        "rule": {"shingle_bytes": WINDOW_BYTES, "permutations": PERMUTATIONS, "similarity": SIMILARITY},
    }


def _sums(rows: pd.DataFrame) -> dict[str, int]:
    return {"documents": len(rows), "characters": int(rows.characters.sum())}


def _corpus_and_path(argument: str) -> tuple[str, Path]:
    corpus, equals, path = argument.partition("=")
    if not (corpus and equals and path):
        raise argparse.ArgumentTypeError(f"expected CORPUS=PATH, found {argument!r}")
    return corpus, Path(path)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Find duplicates and leaks, and split all documents.")
    parser.add_argument(
        "--documents", required=True, action="extend", nargs="+", type=_corpus_and_path, metavar="CORPUS=PATH"
    )
    parser.add_argument("--target", required=True, help="the corpus whose held-out text must stay unseen")
    parser.add_argument("--validation", required=True, type=float, help="share of clusters")
    parser.add_argument("--test", required=True, type=float, help="share of clusters")
    parser.add_argument("--out", required=True, type=Path, help="one row a document (parquet)")
    parser.add_argument("--counts", required=True, type=Path, help="counts (JSON)")
    arguments = parser.parse_args(argv)
    with one_message("split"):
        prints = fingerprints(arguments.documents)
        rows, leaks = split(prints, arguments.target, arguments.validation, arguments.test)
        counts = counts_of(rows, arguments.target, leaks)
        with written(arguments.out) as temporary:
            pq.write_table(pa.Table.from_pandas(rows, SCHEMA, preserve_index=False), temporary, compression="zstd")
        write_json(arguments.counts, counts)


if __name__ == "__main__":
    main()

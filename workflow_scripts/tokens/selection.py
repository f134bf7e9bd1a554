"""The documents of a shard with the split of each, read side by side."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workflow_scripts.corpora.documents import SPLITS, read_groups
from workflow_scripts.errors import CorpusError


class Chosen(NamedTuple):
    """Documents of one split from one row group, in file order."""

    split: str
    ids: pa.StringArray
    texts: pa.LargeStringArray


def split_rows(splits: str | Path) -> pa.Table:
    """The rows of `splits/<shard>.parquet`: id, split, cluster."""
    return pq.read_table(splits, columns=["id", "split", "cluster"])


def content_hash(rows: pa.Table) -> str:
    """SHA-256 (first 16 digits) of ids and splits, whatever their layout in memory."""
    digest = hashlib.sha256()
    for values in zip(rows["id"].to_pylist(), rows["split"].to_pylist(), strict=True):
        digest.update("\t".join(values).encode() + b"\n")
    return digest.hexdigest()[:16]


def chosen(shard: str | Path, rows: pa.Table, splits: Sequence[str] = SPLITS) -> Iterator[Chosen]:
    """The documents of `splits`, a row group at a time; `rows` are id and split of all documents of the shard.

    Raises CorpusError if the shard is not the one that `rows` were made from.
    """
    if (documents := pq.read_metadata(shard).num_rows) != len(rows):
        raise CorpusError(f"{shard}: {documents} documents, the splits have {len(rows)}; make the splits again")
    asked_for = pc.is_in(rows["split"], pa.array(splits)).to_numpy()
    for first, batch in read_groups(shard, ["id", "text"], lambda first, end: asked_for[first:end].any()):
        there = rows.slice(first, len(batch))
        if there["id"].to_pylist() != batch.column("id").to_pylist():
            raise CorpusError(f"{shard}: its documents are not those of the splits; make the splits again")
        for split in splits:
            places = np.flatnonzero(pc.equal(there["split"], split).to_numpy())
            if len(places):
                some = batch.take(pa.array(places))
                yield Chosen(split, some.column("id"), some.column("text"))

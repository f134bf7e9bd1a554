"""The documents of one corpus with the split of each, read side by side."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workflow_scripts.corpora.documents import SPLITS, read_shard, source_of
from workflow_scripts.corpora.errors import CorpusError


class Chosen(NamedTuple):
    """Documents of one split from one row group, in file order."""

    split: str
    ids: pa.StringArray
    texts: pa.LargeStringArray


def split_rows(splits: str | Path, corpus: str) -> pa.Table:
    """The rows of `splits.parquet` that belong to `corpus`: source, id, split.

    Raises CorpusError if there are none.
    """
    rows = pq.read_table(splits, columns=["source", "id", "split"], filters=[("corpus", "==", corpus)])
    if not len(rows):
        raise CorpusError(f"{splits}: no document of the corpus {corpus!r}; was it made for another experiment?")
    return rows


def content_hash(rows: pa.Table) -> str:
    """SHA-256 (first 16 digits) of the rows, whatever their layout in memory."""
    digest = hashlib.sha256()
    for values in zip(*(column.to_pylist() for column in rows.columns), strict=True):
        digest.update("\t".join(values).encode() + b"\n")
    return digest.hexdigest()[:16]


def chosen(shards: Sequence[str | Path], rows: pa.Table, splits: Sequence[str] = SPLITS) -> Iterator[Chosen]:
    """The documents of `splits`, by source in alphabetical order, a row group at a time.

    Raises CorpusError if the shards are not those that `rows` were made from.
    """
    for source, shard in sorted((source_of(shard), shard) for shard in shards):
        of_source = rows.filter(pc.equal(rows["source"], source))
        start = 0
        for batch in read_shard(shard, ["id", "text"]):
            there = of_source.slice(start, len(batch))
            start += len(batch)
            if there["id"].to_pylist() != batch.column("id").to_pylist():
                raise CorpusError(f"{shard}: its documents are not those of the splits; make the splits again")
            for split in splits:
                places = np.flatnonzero(pc.equal(there["split"], split).to_numpy())
                if len(places):
                    some = batch.take(pa.array(places))
                    yield Chosen(split, some.column("id"), some.column("text"))
        if start != len(of_source):
            raise CorpusError(f"{shard}: {start} documents, the splits have {len(of_source)}; make the splits again")

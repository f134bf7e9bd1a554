"""The files that hold documents: zstd parquet of `id`, `text` and `source`, in row groups of bounded size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from workflow_scripts.errors import CorpusError

SPLITS = ("train", "validation", "test")
SCHEMA = pa.schema([("id", pa.string()), ("text", pa.large_string()), ("source", pa.string())])
SPLITS_SCHEMA = pa.schema(
    [("id", pa.string()), ("characters", pa.int64())] + [(name, pa.string()) for name in ("cluster", "split", "reason")]
)
"""A row a document of a shard, in its order.  `split` is one of SPLITS, or `dropped` for a `reason`; `cluster` is the
smallest digest among its duplicates."""
ROW_GROUP_CHARACTERS, ROW_GROUP_DOCUMENTS = 4_000_000, 2**16


def write_shard(path: str | Path, source: str, documents: Iterable[tuple[str, str]]) -> None:
    """Writes (id, text) pairs as one shard, holding one row group of about 4 M characters or 65,536 documents in memory.

    Ids get the source's name in front: "<source>/<id>".  The file is written in place: callers rename.
    """
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        ids: list[str] = []
        texts: list[str] = []
        characters = 0
        for name, text in documents:
            ids.append(f"{source}/{name}")
            texts.append(text)
            characters += len(text)
            if characters >= ROW_GROUP_CHARACTERS or len(ids) == ROW_GROUP_DOCUMENTS:
                writer.write_table(_table(ids, texts, source))
                ids, texts, characters = [], [], 0
        if ids:
            writer.write_table(_table(ids, texts, source))


def _table(ids: list[str], texts: list[str], source: str) -> pa.Table:
    return pa.table({"id": ids, "text": texts, "source": [source] * len(ids)}, schema=SCHEMA)


def read_shard(path: str | Path, columns: Sequence[str] = SCHEMA.names) -> Iterator[pa.RecordBatch]:
    """The documents of a shard, one row group at a time.

    Raises CorpusError if the file is not a shard of documents.
    """
    for _, batch in read_groups(path, columns):
        yield batch


def read_groups(
    path: str | Path, columns: Sequence[str], needed: Callable[[int, int], bool] = lambda first, end: True
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Row groups with the number of their first document; those of rows that are not `needed` are passed over."""
    try:
        with pq.ParquetFile(path) as file:
            first = 0
            for group in range(file.num_row_groups):
                end = first + file.metadata.row_group(group).num_rows
                if needed(first, end):
                    for batch in file.read_row_group(group, columns=list(columns)).combine_chunks().to_batches():
                        yield first, batch
                first = end
    except (pa.ArrowInvalid, KeyError) as error:
        raise CorpusError(f"{path}: not a shard of documents ({error}); delete it and run the step again") from error

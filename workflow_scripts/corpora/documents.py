"""The files that hold documents: zstd parquet of `id`, `text` and `source`, in row groups of bounded size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from workflow_scripts.corpora.errors import CorpusError

SPLITS = ("train", "validation", "test")
SCHEMA = pa.schema([("id", pa.string()), ("text", pa.large_string()), ("source", pa.string())])
ROW_GROUP_CHARACTERS = 4_000_000


def write_shard(path: str | Path, source: str, documents: Iterable[tuple[str, str]]) -> None:
    """Writes (id, text) pairs as one shard, holding one row group of about 4 M characters in memory.

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
            if characters >= ROW_GROUP_CHARACTERS:
                writer.write_table(_table(ids, texts, source))
                ids, texts, characters = [], [], 0
        if ids:
            writer.write_table(_table(ids, texts, source))


def _table(ids: list[str], texts: list[str], source: str) -> pa.Table:
    return pa.table({"id": ids, "text": texts, "source": [source] * len(ids)}, schema=SCHEMA)


def read_shard(path: str | Path, columns: Iterable[str] = SCHEMA.names) -> Iterator[pa.RecordBatch]:
    """The documents of a shard, one row group at a time.

    Raises CorpusError if the file is not a shard of documents.
    """
    try:
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                yield from file.read_row_group(group, columns=list(columns)).combine_chunks().to_batches()
    except (pa.ArrowInvalid, KeyError) as error:
        raise CorpusError(f"{path}: not a shard of documents ({error}); delete it and run the step again") from error


def source_of(path: str | Path) -> str:
    """The source of a shard, from its first row.  Raises CorpusError if the shard is empty."""
    for batch in read_shard(path, ["source"]):
        return batch.column("source")[0].as_py()
    raise CorpusError(f"{path}: the shard holds no document; switch its source off or check its input")

"""Step `fingerprint`: one shard of documents -> the small file that all later comparisons work from.

python -m workflow_scripts.corpora.fingerprint --documents SHARD.parquet --out SHARD.arrow

An Arrow file in batches of at most 65,536 documents, each read alone.  A row a document: `id`, `characters`, `bytes`, `digest`
(equal where documents are the same but for white space), `signature` (of each MinHash its lowest byte: Li and König 2010),
`sampled` (shingles for passages).
The schema's metadata names what the file was made of: hashes of documents and code.
The columns `key_00`, ... hold the keys of a band of the signature, the last one those of the digest, **in ascending
order**, and `row_00`, ... the rows that they belong to, so that a range of keys is a slice.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workflow_scripts.code_identity import code_hash
from workflow_scripts.corpora.documents import read_shard
from workflow_scripts.corpora.duplicates import PERMUTATIONS, TABLES, keys_of, lowest_bytes, signatures_of
from workflow_scripts.corpora.passages import sampled
from workflow_scripts.corpora.shingles import DIGEST_BYTES, shingles_of
from workflow_scripts.errors import CorpusError, one_message
from workflow_scripts.files import sha256
from workflow_scripts.store import produce

BATCH_DOCUMENTS = 2**16
"""Rows are told apart by 16 bits."""
BATCH_BYTES = 2**28
SCHEMA = pa.schema(
    [("id", pa.string()), ("characters", pa.int64()), ("bytes", pa.int64())]
    + [("digest", pa.binary(DIGEST_BYTES)), ("signature", pa.binary(PERMUTATIONS))]
    + [("sampled", pa.large_list(pa.uint64()))]
    + [(f"key_{table:02}", pa.uint64()) for table in range(TABLES)]
    + [(f"row_{table:02}", pa.uint16()) for table in range(TABLES)]
)


def batches_of(documents: Path) -> Iterator[pa.RecordBatch]:
    """The fingerprints of a shard, in batches.  Memory: one batch of them, and 4 M characters of text."""
    held: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in read_shard(documents, ["id", "text"]):
        for start in range(0, len(batch), BATCH_DOCUMENTS):
            some = batch.slice(start, BATCH_DOCUMENTS)
            if held and (rows + len(some) > BATCH_DOCUMENTS or size + some.nbytes > BATCH_BYTES):
                yield _sorted_batch(held)
                held, rows, size = [], 0, 0
            held.append(_printed(some))
            rows, size = rows + len(some), size + some.nbytes
    if held:
        yield _sorted_batch(held)


def _printed(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The columns that a document has to itself."""
    texts = batch.column("text")
    shingled = shingles_of(texts)
    signatures = signatures_of(shingled)
    signatures[np.diff(shingled.offsets) == 0] = 0
    chosen, counts = sampled(shingled.hashes, shingled.offsets)
    columns = [
        batch.column("id"),
        pc.utf8_length(texts),
        pc.binary_length(texts),
        pa.array(shingled.digests, pa.binary(DIGEST_BYTES)),
        pa.Array.from_buffers(pa.binary(PERMUTATIONS), len(batch), [None, pa.py_buffer(lowest_bytes(signatures))]),
        pa.LargeListArray.from_arrays(np.concatenate([[0], np.cumsum(counts)]), pa.array(chosen)),
        *map(
            pa.array, keys_of(signatures, np.frombuffer(b"".join(shingled.digests), np.uint8).reshape(-1, DIGEST_BYTES))
        ),
    ]
    return pa.record_batch(columns, names=SCHEMA.names[: len(columns)])


def _sorted_batch(parts: list[pa.RecordBatch]) -> pa.RecordBatch:
    """The parts as one batch, with the keys of each table in order beside the rows that they belong to."""
    joined = pa.Table.from_batches(parts).combine_chunks().to_batches()[0]
    keys = [_values(joined, f"key_{table:02}", np.uint64)[:, 0] for table in range(TABLES)]
    orders = [np.argsort(of_table, kind="stable").astype(np.uint16) for of_table in keys]
    ordered = [of_table[order] for of_table, order in zip(keys, orders, strict=True)]
    return pa.record_batch([*joined.columns[:-TABLES], *map(pa.array, ordered), *map(pa.array, orders)], schema=SCHEMA)


def _values(batch: pa.RecordBatch, column: str, dtype: type) -> np.ndarray:
    """A column of fixed width as (rows, values), without a copy; of a column of numbers (rows, 1)."""
    array = batch.column(column)
    width = array.type.bit_width // 8
    flat = np.frombuffer(array.buffers()[1], np.uint8)[array.offset * width : (array.offset + len(array)) * width]
    return flat.reshape(-1, width).view(dtype)


def make_fingerprints(documents: Path, identity: Mapping[str, str], folder: Path) -> None:
    """Writes `fingerprints.arrow` into `folder`."""
    schema = SCHEMA.with_metadata(dict(identity))
    with pa.OSFile(str(folder / "fingerprints.arrow"), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for batch in batches_of(documents):
            writer.write_batch(batch)


@dataclass(frozen=True)
class Batch:
    """A batch of a file of fingerprints and its place among all documents; it is opened for each use.

    An open map of a file would hold in memory all that was ever read of it.
    """

    path: Path
    index: int
    start: int
    """Number of its first document among all."""
    rows: int

    def column(self, name: str) -> pa.Array:
        return self._opened().column(name)

    def values(self, name: str, dtype: type) -> np.ndarray:
        """A column of fixed width as (rows, values)."""
        return _values(self._opened(), name, dtype)

    def _opened(self) -> pa.RecordBatch:
        return pa.ipc.open_file(pa.memory_map(str(self.path))).get_batch(self.index)


def batches_in(paths: list[Path]) -> list[list[Batch]]:
    """The batches of each file, numbered through.  Raises CorpusError if a file holds no fingerprints."""
    found, start = [], 0
    for path in paths:
        of_path = []
        try:
            file = pa.ipc.open_file(pa.memory_map(str(path)))
        except pa.ArrowInvalid as error:
            raise CorpusError(f"{path}: not fingerprints ({error}); delete it and run the step again") from error
        if file.schema != SCHEMA:
            raise CorpusError(f"{path}: fingerprints of another version; delete it and run the step again")
        for index in range(file.num_record_batches):
            of_path.append(Batch(path, index, start, file.get_batch(index).num_rows))
            start += of_path[-1].rows
        found.append(of_path)
    return found


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Fingerprint the documents of one shard.")
    parser.add_argument("--documents", required=True, type=Path, help="shard of documents (parquet)")
    parser.add_argument("--out", required=True, type=Path, help="fingerprints (Arrow)")
    arguments = parser.parse_args(argv)
    with one_message(f"fingerprints of {arguments.documents}"):
        identity = {
            "documents": sha256(arguments.documents),
            "code": code_hash("workflow_scripts.corpora.fingerprint"),
        }
        outputs = {"fingerprints.arrow": arguments.out}
        produce("fingerprints", identity, outputs, partial(make_fingerprints, arguments.documents, identity))


if __name__ == "__main__":
    main()

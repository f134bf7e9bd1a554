"""Step `encode`: one shard of documents -> its tokens, an Arrow file of a row a document.

python -m workflow_scripts.tokens.encode --documents SHARD.parquet --splits SPLITS.parquet --tokenizer tokenizer.json
    --out SHARD.arrow

Documents stand by row group of the shard, and within one by split; dropped ones are left out.  The schema's metadata
names what the file was made of: hashes of documents, splits, tokenizer and code.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import awkward
import gigatoken
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tokenizers import Tokenizer

from workflow_scripts.code_identity import code_hash
from workflow_scripts.errors import one_message
from workflow_scripts.files import sha256
from workflow_scripts.store import produce
from workflow_scripts.tokens.selection import Chosen, chosen, content_hash, split_rows
from workflow_scripts.tokens.vocabulary import for_plain_text, token_dtype, token_lengths


class Encoder:
    """Texts -> ids as `tokenizers` gives them, made by `gigatoken`; special tokens in a text are ordinary bytes."""

    def __init__(self, tokenizer_json: str) -> None:
        self._fast = gigatoken.Tokenizer.from_json(for_plain_text(tokenizer_json))

    def __call__(self, texts: pa.LargeStringArray) -> tuple[np.ndarray, np.ndarray]:
        """The ids of all texts (uint32, one after another) and how many each text has."""
        encoded = self._fast.encode_batch(awkward.from_arrow(texts))
        return awkward.to_numpy(awkward.flatten(encoded)), awkward.to_numpy(awkward.num(encoded))


def schema_of(dtype: np.dtype) -> pa.Schema:
    """The columns of a shard of tokens."""
    tokens = pa.large_list(pa.from_numpy_dtype(dtype))
    counts = [("characters", pa.int64()), ("bytes", pa.int64())]
    return pa.schema([("split", pa.string()), ("id", pa.string()), ("tokens", tokens), *counts])


def encode_shard(
    documents: Path, rows: pa.Table, tokenizer_path: Path, identity: Mapping[str, str], folder: Path
) -> None:
    """Writes `tokens.arrow` into `folder`, a row group at a time."""
    tokenizer_json = tokenizer_path.read_text(encoding="utf-8")
    tokenizer = Tokenizer.from_str(tokenizer_json)
    encode, lengths = Encoder(tokenizer_json), np.array(token_lengths(tokenizer)[0])
    schema = schema_of(token_dtype(tokenizer)).with_metadata(dict(identity))
    with pa.OSFile(str(folder / "tokens.arrow"), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for group in chosen(documents, rows):
            writer.write_batch(_encoded(group, encode, lengths, schema))


def _encoded(group: Chosen, encode: Encoder, token_bytes: np.ndarray, schema: pa.Schema) -> pa.RecordBatch:
    ids, counts = encode(group.texts)
    n_bytes = pc.binary_length(group.texts).to_numpy()
    ends = np.concatenate([[0], np.cumsum(token_bytes[ids])])[np.cumsum(counts)]
    if not np.array_equal(ends, np.cumsum(n_bytes)):
        raise RuntimeError(f"the tokens of {group.ids[0]} and following do not add up to the bytes of the texts")
    values = pa.array(ids.astype(schema.field("tokens").type.value_type.to_pandas_dtype()))
    columns = [
        pa.array([group.split] * len(counts)),
        group.ids,
        pa.LargeListArray.from_arrays(np.concatenate([[0], np.cumsum(counts)]), values),
        pc.utf8_length(group.texts),
        n_bytes.astype(np.int64),
    ]
    return pa.record_batch(columns, schema=schema)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Encode the documents of one shard.")
    parser.add_argument("--documents", required=True, type=Path, help="shard of documents (parquet)")
    parser.add_argument("--splits", required=True, type=Path, help="the splits of its documents (parquet)")
    parser.add_argument("--tokenizer", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path, help="shard of tokens (Arrow)")
    arguments = parser.parse_args(argv)
    with one_message(f"tokens of {arguments.documents}"):
        rows = split_rows(arguments.splits)
        identity = {
            "documents": sha256(arguments.documents),
            "splits": content_hash(rows),
            "tokenizer": sha256(arguments.tokenizer),
            "code": code_hash("workflow_scripts.tokens.encode"),
        }
        make = partial(encode_shard, arguments.documents, rows, arguments.tokenizer, identity)
        produce("encoded", identity, {"tokens.arrow": arguments.out}, make)


if __name__ == "__main__":
    main()

"""Step `encode`: the documents of one corpus -> flat token files by split, with an index of documents and a manifest.

    python -m workflow_scripts.tokens.encode --documents SHARD... --splits splits.parquet --corpus python
        --tokenizer tokenizer.json --out-dir results/<experiment>/tokens/python

A token file holds little-endian uint16 (uint32 if the vocabulary exceeds 65,536), one document after another, without
separators: readers put `<|endoftext|>` where they need it.
"""

from __future__ import annotations

import argparse
import hashlib
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import awkward
import gigatoken
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tokenizers import Tokenizer

from workflow_scripts.code_identity import code_hash
from workflow_scripts.corpora.documents import SPLITS, source_of
from workflow_scripts.corpora.errors import one_message
from workflow_scripts.files import sha256, write_json
from workflow_scripts.store import produce
from workflow_scripts.tokens.selection import Chosen, chosen, content_hash, split_rows
from workflow_scripts.tokens.tokenizer import END_OF_TEXT_ID, for_plain_text, token_lengths

DOCUMENTS_SCHEMA = pa.schema(
    [("split", pa.string()), ("id", pa.string())]
    + [(name, pa.int64()) for name in ("token_offset", "tokens", "characters", "bytes")]
)
FILES = (*(f"{split}.bin" for split in SPLITS), "documents.parquet", "manifest.json")
"""What a folder of tokens holds."""


class Encoder:
    """Texts -> ids as `tokenizers` gives them, made by `gigatoken`; special tokens in a text are ordinary bytes."""

    def __init__(self, tokenizer_json: str) -> None:
        self._fast = gigatoken.Tokenizer.from_json(for_plain_text(tokenizer_json))

    def __call__(self, texts: pa.LargeStringArray) -> tuple[np.ndarray, np.ndarray]:
        """The ids of all texts (uint32, one after another) and how many each text has."""
        encoded = self._fast.encode_batch(awkward.from_arrow(texts))
        return awkward.to_numpy(awkward.flatten(encoded)), awkward.to_numpy(awkward.num(encoded))


class SplitFile:
    """One `<split>.bin` in the making, with its counts and hash."""

    def __init__(self, file: BinaryIO, dtype: np.dtype) -> None:
        self._file, self._dtype, self._digest = file, dtype, hashlib.sha256()
        self.counts = {"documents": 0, "tokens": 0, "characters": 0, "bytes": 0}

    def append(self, ids: np.ndarray, tokens: np.ndarray, characters: np.ndarray, n_bytes: np.ndarray) -> np.ndarray:
        """Appends documents; the three counts have one entry a document.  Returns their offsets in tokens."""
        offsets = self.counts["tokens"] + np.cumsum(tokens) - tokens
        data = ids.astype(self._dtype).tobytes()
        self._file.write(data)
        self._digest.update(data)
        sums = {
            "documents": len(tokens),
            "tokens": tokens.sum(),
            "characters": characters.sum(),
            "bytes": n_bytes.sum(),
        }
        for name, value in sums.items():
            self.counts[name] += int(value)
        return offsets

    def summary(self) -> dict[str, Any]:
        return {**self.counts, "sha256": self._digest.hexdigest()}


def make_tokens(shards: list[Path], rows: pa.Table, tokenizer_path: Path, folder: Path) -> None:
    """Writes `{train,validation,test}.bin`, `documents.parquet` and `manifest.json` into `folder`, streaming."""
    tokenizer_json = tokenizer_path.read_text(encoding="utf-8")
    tokenizer = Tokenizer.from_str(tokenizer_json)
    vocab_size = tokenizer.get_vocab_size()
    dtype = np.dtype("<u2" if vocab_size <= 2**16 else "<u4")
    token_bytes, token_characters = token_lengths(tokenizer)
    encode, lengths = Encoder(tokenizer_json), np.array(token_bytes)
    with ExitStack() as stack:
        files = {split: SplitFile(stack.enter_context(open(folder / f"{split}.bin", "wb")), dtype) for split in SPLITS}
        index = stack.enter_context(
            pq.ParquetWriter(folder / "documents.parquet", DOCUMENTS_SCHEMA, compression="zstd")
        )
        for group in chosen(shards, rows):
            index.write_table(_append(group, encode, lengths, files[group.split]))
    manifest = {
        "dtype": dtype.name,
        "vocab_size": vocab_size,
        "end_of_text": END_OF_TEXT_ID,
        "tokenizer_sha256": sha256(tokenizer_path),
        "splits": {split: file.summary() for split, file in files.items()},
        "token_bytes": token_bytes,
        "token_characters": token_characters,
    }
    write_json(folder / "manifest.json", manifest)


def _append(group: Chosen, encode: Encoder, token_bytes: np.ndarray, file: SplitFile) -> pa.Table:
    """Appends the documents of `group` to `file`; returns their rows of the index."""
    ids, tokens = encode(group.texts)
    characters, n_bytes = pc.utf8_length(group.texts).to_numpy(), pc.binary_length(group.texts).to_numpy()
    ends = np.concatenate([[0], np.cumsum(token_bytes[ids])])[np.cumsum(tokens)]
    if not np.array_equal(ends, np.cumsum(n_bytes)):
        raise RuntimeError(f"the tokens of {group.ids[0]} and following do not add up to the bytes of the texts")
    columns = {
        "split": [group.split] * len(tokens),
        "id": group.ids,
        "token_offset": file.append(ids, tokens, characters, n_bytes),
        "tokens": tokens,
        "characters": characters,
        "bytes": n_bytes,
    }
    return pa.table(columns, schema=DOCUMENTS_SCHEMA)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Encode the documents of one corpus.")
    parser.add_argument("--documents", required=True, type=Path, nargs="+", help="all shards of the corpus")
    parser.add_argument("--splits", required=True, type=Path)
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--tokenizer", required=True, type=Path)
    parser.add_argument("--out-dir", required=True, type=Path)
    arguments = parser.parse_args(argv)
    with one_message(f"tokens of {arguments.corpus}"):
        rows = split_rows(arguments.splits, arguments.corpus)
        identity = {
            "documents": sorted([source_of(shard), sha256(shard)] for shard in arguments.documents),
            "splits": content_hash(rows),
            "tokenizer": sha256(arguments.tokenizer),
            "code": code_hash("workflow_scripts.tokens.encode"),
        }
        outputs = {name: arguments.out_dir / name for name in FILES}
        produce("tokens", identity, outputs, partial(make_tokens, arguments.documents, rows, arguments.tokenizer))


if __name__ == "__main__":
    main()

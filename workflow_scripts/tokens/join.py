"""Step `join`: the tokens of all shards of a corpus -> flat token files by split, an index of documents, a manifest.

    python -m workflow_scripts.tokens.join --shards SHARD.arrow... --tokenizer tokenizer.json
        --out-dir results/<experiment>/tokens/python

A token file holds little-endian uint16 (uint32 if the vocabulary exceeds 65,536), one document after another, without
separators: readers put `<|endoftext|>` where they need it.  The manifest says what the files hold and how to read them, and
runs rest on it; `inputs.json` says what they were made of, since the same tokens may come from shards cut otherwise.
"""

from __future__ import annotations

import argparse
import hashlib
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer

from workflow_scripts.code_identity import code_hash
from workflow_scripts.corpora.documents import SPLITS
from workflow_scripts.errors import one_message
from workflow_scripts.files import sha256, write_json
from workflow_scripts.store import produce
from workflow_scripts.tokens.vocabulary import end_of_text_of, token_dtype, token_lengths

DOCUMENTS_SCHEMA = pa.schema(
    [("split", pa.string()), ("id", pa.string())]
    + [(name, pa.int64()) for name in ("token_offset", "tokens", "characters", "bytes")]
)


def files_in(folder: Path) -> dict[str, Path]:
    """What a folder of tokens holds, by its name in the store."""
    same = (*(f"{split}.bin" for split in SPLITS), "documents.parquet", "manifest.json")
    return {name: folder / name for name in same} | {"identity.json": folder / "inputs.json"}


class SplitFile:
    """One `<split>.bin` in the making, with its counts and hash."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._digest = file, hashlib.sha256()
        self.counts = {"documents": 0, "tokens": 0, "characters": 0, "bytes": 0}

    def append(self, batch: pa.RecordBatch) -> pa.Table:
        """Appends documents of a shard of tokens; returns their rows of the index."""
        tokens = batch.column("tokens")
        lengths = np.diff(tokens.offsets.to_numpy())
        columns = {
            "split": batch.column("split"),
            "id": batch.column("id"),
            "token_offset": self.counts["tokens"] + np.cumsum(lengths) - lengths,
            "tokens": lengths,
            "characters": batch.column("characters").to_numpy(),
            "bytes": batch.column("bytes").to_numpy(),
        }
        data = tokens.flatten().to_numpy().tobytes()
        self._file.write(data)
        self._digest.update(data)
        self.counts["documents"] += len(batch)
        for name in ("tokens", "characters", "bytes"):
            self.counts[name] += int(columns[name].sum())
        return pa.table(columns, schema=DOCUMENTS_SCHEMA)

    def summary(self) -> dict[str, Any]:
        return {**self.counts, "sha256": self._digest.hexdigest()}


def join(shards: list[Path], tokenizer_path: Path, folder: Path) -> None:
    """Writes `{train,validation,test}.bin`, `documents.parquet` and `manifest.json` into `folder`, streaming."""
    tokenizer = Tokenizer.from_file(str(tokenizer_path))
    with ExitStack() as stack:
        files = {split: SplitFile(stack.enter_context(open(folder / f"{split}.bin", "wb"))) for split in SPLITS}
        index = stack.enter_context(
            pq.ParquetWriter(folder / "documents.parquet", DOCUMENTS_SCHEMA, compression="zstd")
        )
        for shard in shards:
            with pa.OSFile(str(shard)) as source, pa.ipc.open_file(source) as batches:
                for number in range(batches.num_record_batches):
                    batch = batches.get_batch(number)  # of one split
                    index.write_table(files[batch.column("split")[0].as_py()].append(batch))
    token_bytes, token_characters = token_lengths(tokenizer)
    manifest = {
        "dtype": token_dtype(tokenizer).name,
        "vocab_size": tokenizer.get_vocab_size(),
        "end_of_text": end_of_text_of(tokenizer),
        "tokenizer_sha256": sha256(tokenizer_path),
        "splits": {split: file.summary() for split, file in files.items()},
        "token_bytes": token_bytes,
        "token_characters": token_characters,
    }
    write_json(folder / "manifest.json", manifest)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Join the tokens of one corpus.", fromfile_prefix_chars="@")
    parser.add_argument("--shards", required=True, type=Path, nargs="+", help="in their order, or @FILE of names")
    parser.add_argument("--tokenizer", required=True, type=Path)
    parser.add_argument("--out-dir", required=True, type=Path)
    arguments = parser.parse_args(argv)
    with one_message(f"tokens of {arguments.out_dir.name}"):
        identity = {
            "shards": [["/".join([*shard.parts[-3:-1], shard.stem]), sha256(shard)] for shard in arguments.shards],
            "tokenizer": sha256(arguments.tokenizer),
            "code": code_hash("workflow_scripts.tokens.join"),
        }
        make = partial(join, arguments.shards, arguments.tokenizer)
        produce("tokens", identity, files_in(arguments.out_dir), make)


if __name__ == "__main__":
    main()

"""Step `mix`: the tokens of several corpora -> those of one that holds them in given shares, for one seed.

    python -m workflow_scripts.tokens.mix --tokens E/tokens --parts english=0.5 code=0.5 --train-tokens 3100000
        --seed 0 --out-dir E/tokens/text_and_code.seed0

The result has the files of any other corpus (`join.py`).  Its training split holds as many tokens as are asked for,
the end-of-text token of each document counted: of each part the documents that come first in the seed's shuffle, the
last one cut.  That is the shuffle in which training on the part alone visits it, so that what a model sees of a part is
the beginning of what one would see that is trained on nothing else.  The held-out splits are the same for all seeds, and
as large as the parts allow.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from workflow_scripts.code_identity import code_hash
from workflow_scripts.corpora.documents import SPLITS
from workflow_scripts.errors import CorpusError, one_message
from workflow_scripts.files import read_json, sha256, write_json
from workflow_scripts.store import produce
from workflow_scripts.tokens.encode import schema_of
from workflow_scripts.tokens.join import DOCUMENTS_SCHEMA, SplitFile, files_in

PREFIX_STREAM = 0
"""First word of the key of the random stream that shuffles documents, as in `training/data.py`."""
HELD_OUT_SEED = 0
BATCH = 1_000
"""Documents that are copied at a time."""
READING = ("dtype", "vocab_size", "end_of_text", "tokenizer_sha256", "token_bytes", "token_characters")
"""What a manifest says of how token files are read: parts of a mixture must agree."""


class Part:
    """One corpus of a mixture: a folder of the stage `tokens`, and its share of the mixture's tokens."""

    def __init__(self, name: str, folder: Path, share: float) -> None:
        self.name, self.folder, self.share = name, folder, share
        self.manifest = read_json(folder / "manifest.json")
        self.counts: dict[str, dict[str, int]] = {}

    def documents(self, split: str) -> pd.DataFrame:
        rows = pd.read_parquet(self.folder / "documents.parquet", filters=[("split", "==", split)])
        return rows[rows["tokens"] > 0].reset_index(drop=True)

    def size(self, split: str) -> int:
        """Tokens of a split, with an end-of-text token a document."""
        counts = self.manifest["splits"][split]
        return counts["tokens"] + counts["documents"]

    def write(self, split: str, quota: int, seed: int, file: SplitFile) -> pa.Table:
        """Appends `quota` tokens (with end-of-text tokens) to `file`; returns the index of their documents.

        Raises CorpusError if the split holds less.
        """
        rows = self.documents(split)
        order = np.random.default_rng([PREFIX_STREAM, seed]).permutation(len(rows))
        ends = np.cumsum(rows["tokens"].to_numpy()[order] + 1)
        if not len(ends) or ends[-1] < quota:
            raise CorpusError(
                f"the {split} split of {self.name} holds {self.size(split):,} tokens, the mixture asks for {quota:,}; "
                "add sources to it, or lower `pretrain.tokens` or its weight in `mixtures`"
            )
        last = int(np.searchsorted(ends, quota))
        beyond = int(ends[last]) - quota
        rows.loc[order[last], "tokens"] = max(1, rows["tokens"][order[last]] - beyond)
        before = dict(file.counts)
        stream = np.memmap(self.folder / f"{split}.bin", dtype=self.manifest["dtype"], mode="r")
        chosen = rows.loc[np.sort(order[: last + 1])]
        batches = (chosen[start : start + BATCH] for start in range(0, len(chosen), BATCH))
        index = pa.concat_tables([file.append(self._batch(rows, stream)) for rows in batches])
        self.counts[split] = {name: count - before[name] for name, count in file.counts.items()}
        return index

    def _batch(self, rows: pd.DataFrame, stream: np.ndarray) -> pa.RecordBatch:
        """The documents of `rows` as a shard of tokens has them."""
        ids = np.concatenate([stream[row.token_offset : row.token_offset + row.tokens] for row in rows.itertuples()])
        starts = np.concatenate([[0], np.cumsum(rows["tokens"])])
        characters, n_bytes = (
            np.add.reduceat(np.asarray(self.manifest[name])[ids], starts[:-1])
            for name in ("token_characters", "token_bytes")
        )
        columns = [
            pa.array(rows["split"]),
            pa.array(f"{self.name}/{id_}" for id_ in rows["id"]),
            pa.LargeListArray.from_arrays(starts, pa.array(ids)),
            characters,
            n_bytes,
        ]
        return pa.record_batch(columns, schema=schema_of(ids.dtype))


def quotas(total: int, shares: list[float]) -> list[int]:
    """Whole numbers in proportion to `shares`, `total` in all."""
    ends = np.rint(total * np.cumsum([0.0, *shares]) / sum(shares)).astype(int)
    return [int(end - start) for start, end in pairwise(ends)]


def make_mixture(parts: list[Part], train_tokens: int, seed: int, folder: Path) -> None:
    """Writes `{train,validation,test}.bin`, `documents.parquet` and `manifest.json` into `folder`.

    Raises CorpusError if the parts were encoded differently or hold too little.
    """
    first, shares = parts[0].manifest, [part.share for part in parts]
    for part in parts:
        if any(part.manifest[name] != first[name] for name in READING):
            raise CorpusError(f"{part.folder} was not made with the tokenizer of {parts[0].folder}; make both again")
    totals = {split: min(int((part.size(split) - 1) / part.share) for part in parts) for split in SPLITS}
    totals["train"] = train_tokens
    with ExitStack() as stack:
        index = stack.enter_context(
            pq.ParquetWriter(folder / "documents.parquet", DOCUMENTS_SCHEMA, compression="zstd")
        )
        splits = {}
        for split in SPLITS:
            file = SplitFile(stack.enter_context(open(folder / f"{split}.bin", "wb")))
            for part, quota in zip(parts, quotas(totals[split], shares), strict=True):
                index.write_table(part.write(split, quota, seed if split == "train" else HELD_OUT_SEED, file))
            splits[split] = file.summary()
    manifest = {name: first[name] for name in READING} | {"splits": splits, "seed": seed}
    manifest["parts"] = {part.name: {"share": part.share, "splits": part.counts} for part in parts}
    write_json(folder / "manifest.json", manifest)


def _name_and_share(argument: str) -> tuple[str, float]:
    name, _, share = argument.partition("=")
    return name, float(share)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Mix the tokens of several corpora.")
    parser.add_argument("--tokens", required=True, type=Path, help="folder of the token stage")
    parser.add_argument("--parts", required=True, type=_name_and_share, nargs="+", metavar="CORPUS=SHARE")
    parser.add_argument("--train-tokens", required=True, type=int, help="tokens of the training split")
    parser.add_argument("--seed", required=True, type=int)
    parser.add_argument("--out-dir", required=True, type=Path)
    arguments = parser.parse_args(argv)
    with one_message(f"mixture {arguments.out_dir.name}"):
        parts = [Part(name, arguments.tokens / name, share) for name, share in sorted(arguments.parts)]
        identity = {
            "parts": [[part.name, part.share, sha256(part.folder / "manifest.json")] for part in parts],
            "tokens": arguments.train_tokens,
            "seed": arguments.seed,
            "code": code_hash("workflow_scripts.tokens.mix"),
        }
        make = partial(make_mixture, parts, arguments.train_tokens, arguments.seed)
        produce("tokens", identity, files_in(arguments.out_dir), make)


if __name__ == "__main__":
    main()

"""Step `tokenizer`: byte-level BPE trained on the training split of one corpus (GPT-2's scheme, Radford et al. 2019).

python -m workflow_scripts.tokens.tokenizer --documents SHARD... --splits splits.parquet --corpus english
    --vocab-size 1024 --out tokenizer.json --manifest tokenizer.manifest.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import tokenizers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from workflow_scripts.code_identity import code_hash
from workflow_scripts.corpora.documents import source_of
from workflow_scripts.corpora.errors import CorpusError, one_message
from workflow_scripts.files import sha256, write_json, write_text
from workflow_scripts.store import produce
from workflow_scripts.tokens.selection import chosen, content_hash, split_rows

END_OF_TEXT = "<|endoftext|>"
END_OF_TEXT_ID = 0


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """A reversible byte-level BPE: GPT-2's pre-tokenization, no normaliser, no prefix space.

    The vocabulary is `<|endoftext|>` (id 0), the 256 bytes, then merges.  Raises CorpusError if the texts are too few
    for `vocab_size` entries.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() != vocab_size:
        raise CorpusError(
            f"the training text yields {tokenizer.get_vocab_size()} vocabulary entries, not {vocab_size}; "
            "lower `tokenizer.vocab_size` or add text"
        )
    return tokenizer


def for_plain_text(tokenizer_json: str) -> str:
    """The same tokenizer without special tokens: a literal `<|endoftext|>` in a text is encoded as its bytes."""
    return json.dumps(json.loads(tokenizer_json) | {"added_tokens": []}, ensure_ascii=False)


def token_lengths(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Of each id, its bytes and the characters that begin in it (its bytes that are not UTF-8 continuations).

    Summed over any prefix of the tokens of a text, they count the bytes in it and the characters begun in it.  A
    special token is no text: 0 and 0.
    """
    byte_of = _byte_of_character()
    special = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    n_bytes, n_characters = [], []
    for number in range(tokenizer.get_vocab_size()):
        token = tokenizer.id_to_token(number)
        content = [] if token in special else [byte_of[character] for character in token]
        n_bytes.append(len(content))
        n_characters.append(sum(byte & 0xC0 != 0x80 for byte in content))
    return n_bytes, n_characters


def _byte_of_character() -> dict[str, int]:
    """GPT-2's table of printable characters that stand for bytes (`bytes_to_unicode` in its encoder.py), inverted."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


def make_tokenizer(shards: list[Path], rows: pa.Table, vocab_size: int, folder: Path) -> None:
    """Writes `tokenizer.json` and `manifest.json` into `folder`."""
    trained_on = {"documents": 0, "characters": 0, "bytes": 0}
    tokenizer = train_tokenizer(_counted(shards, rows, trained_on), vocab_size)
    write_text(folder / "tokenizer.json", tokenizer.to_str(pretty=True))
    manifest: dict[str, Any] = {
        "vocab_size": vocab_size,
        "end_of_text": END_OF_TEXT_ID,
        "trained_on": trained_on,
        "sha256": sha256(folder / "tokenizer.json"),
        "made_with": f"tokenizers {tokenizers.__version__}",
    }
    write_json(folder / "manifest.json", manifest)


def _counted(shards: list[Path], rows: pa.Table, counts: dict[str, int]) -> Iterator[str]:
    """The training texts, which are counted as they pass."""
    for group in chosen(shards, rows, ["train"]):
        for text in group.texts.to_pylist():
            counts["documents"] += 1
            counts["characters"] += len(text)
            counts["bytes"] += len(text.encode())
            yield text


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train the tokenizer on the training split of one corpus.")
    parser.add_argument("--documents", required=True, type=Path, nargs="+", help="all shards of the corpus")
    parser.add_argument("--splits", required=True, type=Path)
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--vocab-size", required=True, type=int, help="entries, <|endoftext|> and 256 bytes included")
    parser.add_argument("--out", required=True, type=Path, help="tokenizer.json")
    parser.add_argument("--manifest", required=True, type=Path)
    arguments = parser.parse_args(argv)
    with one_message(f"tokenizer on {arguments.corpus}"):
        rows = split_rows(arguments.splits, arguments.corpus)
        identity = {
            "documents": sorted([source_of(shard), sha256(shard)] for shard in arguments.documents),
            "splits": content_hash(rows),
            "vocab_size": arguments.vocab_size,
            "code": code_hash("workflow_scripts.tokens.tokenizer"),
        }
        outputs = {"tokenizer.json": arguments.out, "manifest.json": arguments.manifest}
        produce(
            "tokenizers", identity, outputs, partial(make_tokenizer, arguments.documents, rows, arguments.vocab_size)
        )


if __name__ == "__main__":
    main()

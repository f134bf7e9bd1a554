"""Step `tokenizer`: the byte-level BPE of an experiment (GPT-2's scheme, Radford et al. 2019), in one of three ways.

    python -m workflow_scripts.tokens.tokenizer --vocab-size 1024 --corpora results/E/corpora --shards english/news/a...
        --out tokenizer.json --manifest tokenizer.manifest.json

trains it on the training split of the shards.  With `--files FOLDER` in their place it is GPT-2's own, or another that
is published as `vocab.json` and `merges.txt`; with neither, and `--vocab-size 257`, tokens are bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import tokenizers
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from workflow_scripts.code_identity import code_hash
from workflow_scripts.errors import CorpusError, one_message
from workflow_scripts.files import sha256, write_json, write_text
from workflow_scripts.store import produce
from workflow_scripts.tokens.selection import chosen, split_rows
from workflow_scripts.tokens.vocabulary import END_OF_TEXT, end_of_text_of

TRAINING_CHARACTERS = 100_000_000
"""About as many are learned from; of a larger corpus a uniform sample of documents is."""
UNSPACED_CHARACTERS = "[\u0e00-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]"
"""Scripts that are written without spaces: Thai to Myanmar, Khmer, kana, Chinese characters."""
UNSPACED = UNSPACED_CHARACTERS + "{1,4}"
"""While a vocabulary is learned, runs of them are cut into pieces of four characters.  GPT-2's pattern takes a whole
clause for a word, and then nearly every word of a corpus is another one, all of them held in memory (tokenizers #1395,
#1681).  Of 2.9 M characters of Chinese statutes, the whole clauses took 603 MB, these pieces 272 MB.  Text is encoded
without these cuts."""
UNSPACED_WEIGHT = 10
"""Characters that one of them counts for in TRAINING_CHARACTERS: a piece is seldom seen twice, where words are."""
LARGEST_COUNT = 2**31 - 1
"""`tokenizers` counts pairs in 32 bits, and a larger count becomes negative without a word (tokenizers #1170)."""
_UNSPACED_CHARACTERS = re.compile(UNSPACED_CHARACTERS)
PUBLISHED = ("vocab.json", "merges.txt")


def train_tokenizer(texts: Sequence[str], vocab_size: int) -> Tokenizer:
    """A reversible byte-level BPE: GPT-2's pre-tokenization, no normaliser, no prefix space.

    The vocabulary is `<|endoftext|>` (id 0), the 256 bytes, then merges; it depends on what the texts are, not on their
    order.  Raises CorpusError if the texts are too few for `vocab_size` entries, or so many that a count could overflow.
    """
    pairs = sum(len(text.encode()) for text in texts)
    if pairs > LARGEST_COUNT:
        raise CorpusError(f"{pairs:,} bytes to learn a vocabulary from, whose counts hold {LARGEST_COUNT:,} at most")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(UNSPACED), "isolated"), byte_level])
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[END_OF_TEXT], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() != vocab_size:
        raise CorpusError(
            f"the training text yields {tokenizer.get_vocab_size()} vocabulary entries, not {vocab_size}; "
            "lower `tokenizer.vocab_size` or add text"
        )
    return _byte_level(tokenizer)


def _byte_level(tokenizer: Tokenizer) -> Tokenizer:
    """`tokenizer` with GPT-2's pre-tokenization and decoding."""
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def published_tokenizer(folder: Path, vocab_size: int) -> Tokenizer:
    """The BPE of `vocab.json` and `merges.txt`, with the ids that they give.

    Raises CorpusError if a file is broken, the vocabulary has another size, or lacks `<|endoftext|>` or a byte.
    """
    vocabulary, merges = (folder / name for name in PUBLISHED)
    try:
        model = models.BPE.from_file(str(vocabulary), str(merges))
    except Exception as error:  # tokenizers raises no other
        raise CorpusError(f"{vocabulary}, {merges}: not a BPE vocabulary ({error}); fetch them again") from error
    tokenizer = _byte_level(Tokenizer(model))
    entries = tokenizer.get_vocab()
    if len(entries) != vocab_size:
        raise CorpusError(f"{vocabulary}: {len(entries):,} entries; set `tokenizer.vocab_size` to that")
    if missing := {END_OF_TEXT, *pre_tokenizers.ByteLevel.alphabet()} - set(entries):
        raise CorpusError(f"{vocabulary}: lacks {', '.join(sorted(missing))}; expected a byte-level BPE as GPT-2's")
    if sorted(entries.values()) != list(range(vocab_size)):
        raise CorpusError(f"{vocabulary}: its ids are not 0 to {vocab_size - 1}; fetch it again")
    tokenizer.add_special_tokens([END_OF_TEXT])
    return tokenizer


def sampled_texts(corpora: Path, shards: Sequence[str]) -> list[str]:
    """Texts of the training split, in order; if they are too many, each document with the same chance.

    Which ones is decided by the content of a document, whatever the shards.
    """
    files = [(corpora / "documents" / f"{name}.parquet", corpora / "splits" / f"{name}.parquet") for name in shards]
    share = TRAINING_CHARACTERS / max(sum(_training_characters(splits) for _, splits in files), 1)
    texts = list(_texts_of(files, share))
    weight = sum(len(text) + (UNSPACED_WEIGHT - 1) * _unspaced(text) for text in texts)
    if weight <= 2 * TRAINING_CHARACTERS:  # a sample of spaced text has about one time that
        return texts
    return list(_texts_of(files, min(share, 1) * TRAINING_CHARACTERS / weight))


def _texts_of(files: Sequence[tuple[Path, Path]], share: float) -> Iterator[str]:
    for documents, splits in files:
        rows = split_rows(splits)
        if share < 1:
            rows = _left_out_but(share, rows)
        for group in chosen(documents, rows, ["train"]):
            yield from group.texts.to_pylist()


def _unspaced(text: str) -> int:
    return 0 if text.isascii() else len(text) - len(_UNSPACED_CHARACTERS.sub("", text))


def _training_characters(splits: Path) -> int:
    rows = pq.read_table(splits, columns=["characters", "split"])
    return pc.sum(rows.filter(pc.equal(rows["split"], "train"))["characters"]).as_py() or 0


def _left_out_but(share: float, rows: pa.Table) -> pa.Table:
    """`rows` where a document outside of the sample is in no split."""
    splits = [
        split if _place(cluster) < share else "left_out"
        for split, cluster in zip(rows["split"].to_pylist(), rows["cluster"].to_pylist(), strict=True)
    ]
    return rows.set_column(rows.schema.get_field_index("split"), "split", pa.array(splits, pa.string()))


def _place(cluster: str) -> float:
    digest = hashlib.blake2b(bytes.fromhex(cluster), digest_size=8, person=b"tokenizer").digest()
    return int.from_bytes(digest) / 2**64


def sizes_of(texts: Sequence[str]) -> dict[str, int]:
    return {
        "documents": len(texts),
        "characters": sum(map(len, texts)),
        "bytes": sum(len(text.encode()) for text in texts),
    }


def write_tokenizer(tokenizer: Tokenizer, origin: Mapping[str, object], folder: Path) -> None:
    """Writes `tokenizer.json` and `manifest.json` into `folder`."""
    write_text(folder / "tokenizer.json", tokenizer.to_str(pretty=True))
    manifest = {
        "vocab_size": tokenizer.get_vocab_size(),
        "end_of_text": end_of_text_of(tokenizer),
        **origin,
        "sha256": sha256(folder / "tokenizer.json"),
        "made_with": f"tokenizers {tokenizers.__version__}",
    }
    write_json(folder / "manifest.json", manifest)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Make the tokenizer of an experiment.", fromfile_prefix_chars="@")
    parser.add_argument("--vocab-size", required=True, type=int, help="entries, <|endoftext|> and 256 bytes included")
    parser.add_argument("--corpora", type=Path, help="train it: folder of the corpora stage's results")
    parser.add_argument("--shards", nargs="*", default=[], metavar="CORPUS/SOURCE/SHARD", help="or @FILE of names")
    parser.add_argument("--files", type=Path, help="or take a published one: folder of vocab.json and merges.txt")
    parser.add_argument("--out", required=True, type=Path, help="tokenizer.json")
    parser.add_argument("--manifest", required=True, type=Path)
    given = parser.parse_args(argv)
    with one_message("tokenizer"):
        if given.files:
            make = partial(published_tokenizer, given.files, given.vocab_size)
            origin = {"files": {name: sha256(given.files / name) for name in PUBLISHED}}
        else:
            texts = sampled_texts(given.corpora, given.shards) if any(given.shards) else []
            make = partial(train_tokenizer, texts, given.vocab_size)
            origin = {"trained_on": sizes_of(texts), "text_sha256": hash_of(texts)}
        identity = {
            **origin,
            "vocab_size": given.vocab_size,
            "code": code_hash("workflow_scripts.tokens.tokenizer"),
        }
        outputs = {"tokenizer.json": given.out, "manifest.json": given.manifest}
        produce("tokenizers", identity, outputs, lambda folder: write_tokenizer(make(), origin, folder))


def hash_of(texts: Sequence[str]) -> str:
    """SHA-256 of the texts, one after another, with the length of each."""
    digest = hashlib.sha256()
    for text in texts:
        data = text.encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


if __name__ == "__main__":
    main()

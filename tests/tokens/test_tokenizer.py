"""The tokenizer loses nothing, knows every byte, and has seen the training split only."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from workflow_scripts.corpora.errors import CorpusError
from workflow_scripts.tokens.tokenizer import END_OF_TEXT, for_plain_text, token_lengths, train_tokenizer
from workflow_scripts.tokens.tokenizer import main as tokenizer_main

TEXTS = ["The quick brown fox jumps over the lazy dog. Grüße aus 中文!\n" * 3, "def f(x):\n    return x\n" * 3]
TOKENIZER = train_tokenizer(TEXTS, 300)
PLAIN = Tokenizer.from_str(for_plain_text(TOKENIZER.to_str()))


def any_text(test):
    """Runs `test` on arbitrary strings and on those that have broken tokenizers before."""
    for text in (
        "Grüße 中文 🙂👍🏽 e\u0301 é",
        "a\r\nb\0c\ufeff",
        f"a {END_OF_TEXT}{END_OF_TEXT} b",
        " \n  x  ",
        "don't I'LL",
        "",
    ):
        test = example(text)(test)
    return given(st.text())(test)


@any_text
def test_decoding_gives_back_every_string(text):
    assert PLAIN.decode(PLAIN.encode(text).ids) == text
    assert TOKENIZER.decode(TOKENIZER.encode(text).ids, skip_special_tokens=False) == text


@any_text
def test_token_lengths_count_bytes_and_characters_of_every_prefix(text):
    token_bytes, token_characters = token_lengths(TOKENIZER)
    n_bytes = n_characters = 0
    for token in PLAIN.encode(text).ids:
        n_bytes += token_bytes[token]
        n_characters += token_characters[token]
        begun = text.encode()[:n_bytes]
        assert n_characters == sum(byte & 0xC0 != 0x80 for byte in begun)
    assert (n_bytes, n_characters) == (len(text.encode()), len(text))


def test_end_of_text_is_id_0_and_all_bytes_follow():
    assert TOKENIZER.token_to_id(END_OF_TEXT) == 0
    assert token_lengths(TOKENIZER)[0][:257] == [0] + [1] * 256
    assert TOKENIZER.get_vocab_size() == 300


def test_a_literal_end_of_text_in_a_text_is_ordinary_bytes():
    assert TOKENIZER.encode(END_OF_TEXT).ids == [0]
    assert 0 not in PLAIN.encode(f"x{END_OF_TEXT}y").ids
    with_literal = train_tokenizer([*TEXTS, (END_OF_TEXT + "\n") * 50], 300)
    assert any("endof" in token for token in with_literal.get_vocab() if token != END_OF_TEXT)


def test_training_twice_gives_the_same_file():
    shuffled = random.Random(0).sample(TEXTS, len(TEXTS))
    assert train_tokenizer(TEXTS, 300).to_str() == TOKENIZER.to_str() == train_tokenizer(shuffled, 300).to_str()


def test_too_little_text_for_the_vocabulary_says_so():
    with pytest.raises(CorpusError, match=r"yields \d+ vocabulary entries, not 5000; lower `tokenizer.vocab_size`"):
        train_tokenizer(TEXTS, 5000)


def run(folder: Path, shards: list[Path], corpus: str = "english") -> tuple[str, dict]:
    out, manifest = folder / "tokenizer.json", folder / "tokenizer.manifest.json"
    arguments = ["--splits", str(folder / "splits.parquet"), "--corpus", corpus, "--vocab-size", "280"]
    tokenizer_main(["--documents", *map(str, shards), *arguments, "--out", str(out), "--manifest", str(manifest)])
    return out.read_text(), json.loads(manifest.read_text())


def test_only_the_training_split_is_seen(tmp_path, write_corpora):
    train = [("train", text) for text in TEXTS]
    others = [("test", "zzzzqqqq " * 50), ("validation", "qqqqzzzz " * 50), ("dropped", "zqzqzqzq " * 50)]
    shards = write_corpora({"english": {"a": [*others, *train]}})
    found, manifest = run(tmp_path, shards)
    assert Tokenizer.from_str(found).get_vocab() == train_tokenizer(TEXTS, 280).get_vocab()
    assert manifest["trained_on"] == {
        "documents": 2,
        "characters": sum(map(len, TEXTS)),
        "bytes": sum(len(text.encode()) for text in TEXTS),
    }


def test_a_corpus_that_the_splits_do_not_hold_is_named(tmp_path, write_corpora):
    shards = write_corpora({"english": {"a": [("train", TEXTS[0])]}})
    with pytest.raises(SystemExit, match="no document of the corpus 'german'"):
        run(tmp_path, shards, "german")

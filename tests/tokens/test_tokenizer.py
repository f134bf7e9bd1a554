"""The tokenizer loses nothing, knows every byte, and has seen the training split only."""

import json
import random
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from workflow_scripts.errors import CorpusError
from workflow_scripts.tokens import tokenizer as tokenizer_module
from workflow_scripts.tokens.encode import Encoder
from workflow_scripts.tokens.tokenizer import main as tokenizer_main
from workflow_scripts.tokens.tokenizer import train_tokenizer
from workflow_scripts.tokens.vocabulary import END_OF_TEXT, end_of_text_of, for_plain_text, token_dtype, token_lengths

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


def run(folder: Path, *origin: str, vocab_size: int = 280) -> tuple[str, dict]:
    out, manifest = folder / "tokenizer.json", folder / "tokenizer.manifest.json"
    sizes = ["--vocab-size", str(vocab_size)]
    tokenizer_main([*origin, *sizes, "--out", str(out), "--manifest", str(manifest)])
    return out.read_text(), json.loads(manifest.read_text())


def test_only_the_training_split_is_seen(tmp_path, write_corpora):
    train = [("train", text) for text in TEXTS]
    others = [("test", "zzzzqqqq " * 50), ("validation", "qqqqzzzz " * 50), ("dropped", "zqzqzqzq " * 50)]
    write_corpora({"english/a/x": [*others, train[0]], "english/a/y": [train[1]]})
    found, manifest = run(tmp_path, "--corpora", str(tmp_path), "--shards", "english/a/x", "english/a/y")
    assert Tokenizer.from_str(found).get_vocab() == train_tokenizer(TEXTS, 280).get_vocab()
    assert manifest["trained_on"] == {
        "documents": 2,
        "characters": sum(map(len, TEXTS)),
        "bytes": sum(len(text.encode()) for text in TEXTS),
    }


def test_of_a_large_corpus_a_sample_is_seen_that_does_not_depend_on_the_shards(tmp_path, write_corpora, monkeypatch):
    monkeypatch.setattr(tokenizer_module, "TRAINING_CHARACTERS", 20_000)
    draw = random.Random(1)
    documents = [("train", " ".join(draw.choices(TEXTS[0].split(), k=50))) for _ in range(300)]
    write_corpora({"one/s/all": documents, "two/s/a": documents[:40], "two/s/b": documents[40:]})
    _, together = run(tmp_path, "--corpora", str(tmp_path), "--shards", "one/s/all")
    _, apart = run(tmp_path, "--corpora", str(tmp_path), "--shards", "two/s/a", "two/s/b")
    assert together == apart
    assert 15_000 < together["trained_on"]["characters"] < 25_000


def test_of_unspaced_text_a_tenth_is_enough(tmp_path, write_corpora, monkeypatch):
    """Its pieces are held in memory, nearly each of them another one."""
    monkeypatch.setattr(tokenizer_module, "TRAINING_CHARACTERS", 20_000)
    write_corpora({"zh/s/a": [("train", chinese(100, seed)) for seed in range(150)]})
    texts = tokenizer_module.sampled_texts(tmp_path, ["zh/s/a"])
    assert 1_000 < sum(map(len, texts)) < 3_000


HAN = [chr(0x4E00 + number) for number in range(3000)]


def chinese(characters: int, seed: int = 0) -> str:
    """Clauses of five to fifteen characters without a space, hardly one twice."""
    draw = random.Random(seed)
    weights = [1 / (rank + 3) for rank in range(len(HAN))]
    return "，".join("".join(draw.choices(HAN, weights, k=draw.randint(5, 15))) for _ in range(characters // 11))


def test_unspaced_text_is_learned_from_in_pieces_and_encoded_whole():
    """A word that stands in many clauses becomes a token, and encoding knows no cuts."""
    texts = [chinese(3000, seed).replace("，", "专利权，") for seed in range(5)]
    tokenizer = train_tokenizer(texts, 900)
    assert "专利权" in {tokenizer.decode([number]) for number in range(900)}
    assert '"Split"' not in tokenizer.to_str()
    assert tokenizer.to_str() == train_tokenizer(texts[::-1], 900).to_str()
    plain = Tokenizer.from_str(for_plain_text(tokenizer.to_str()))
    assert plain.decode(plain.encode(texts[0]).ids) == texts[0]


def test_counts_that_could_overflow_are_refused(monkeypatch):
    monkeypatch.setattr(tokenizer_module, "LARGEST_COUNT", 100)
    with pytest.raises(CorpusError, match=r"264 bytes to learn a vocabulary from, whose counts hold 100 at most"):
        train_tokenizer(TEXTS, 300)


def test_without_corpus_and_files_tokens_are_bytes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found, manifest = run(tmp_path, vocab_size=257)
    assert (manifest["vocab_size"], manifest["end_of_text"]) == (257, 0)
    plain = Tokenizer.from_str(for_plain_text(found))
    lengths = token_lengths(Tokenizer.from_str(found))
    ids = plain.encode("Grüße").ids
    assert len(ids) == 7
    assert [lengths[0][token] for token in ids] == [1] * 7


@pytest.fixture
def published(tmp_path, monkeypatch) -> Path:
    """A vocabulary in GPT-2's files, with the end of text as its last entry."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "gpt2"
    folder.mkdir()
    TOKENIZER.model.save(str(folder))
    ordered = [TOKENIZER.id_to_token(number) for number in range(1, 300)] + [END_OF_TEXT]
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(ordered)}))
    return folder


def test_a_published_vocabulary_keeps_its_ids(tmp_path, published):
    found, manifest = run(tmp_path, "--files", str(published), vocab_size=300)
    tokenizer, plain = Tokenizer.from_str(found), Tokenizer.from_str(for_plain_text(found))
    assert manifest["end_of_text"] == end_of_text_of(tokenizer) == 299
    assert token_lengths(tokenizer)[0][299] == 0
    assert token_dtype(tokenizer) == "uint16"
    text = f"{TEXTS[0]}{END_OF_TEXT} 中文"
    assert plain.encode(text).ids == [token - 1 for token in PLAIN.encode(text).ids]
    ids, _ = Encoder(found)(pa.array([text], pa.large_string()))
    assert ids.tolist() == plain.encode(text).ids


def test_a_published_vocabulary_that_does_not_fit_is_refused(tmp_path, published):
    with pytest.raises(SystemExit, match=r"vocab.json: 300 entries; set `tokenizer.vocab_size` to that"):
        run(tmp_path, "--files", str(published), vocab_size=50257)
    entries = json.loads((published / "vocab.json").read_text())
    (published / "vocab.json").write_text(json.dumps({"<s>" if k == END_OF_TEXT else k: v for k, v in entries.items()}))
    with pytest.raises(SystemExit, match=r"vocab.json: lacks <\|endoftext\|>; expected a byte-level BPE"):
        run(tmp_path, "--files", str(published), vocab_size=300)
    (published / "vocab.json").write_text("{")
    with pytest.raises(SystemExit, match=r"merges.txt: not a BPE vocabulary"):
        run(tmp_path, "--files", str(published), vocab_size=300)
    (published / "merges.txt").unlink()
    with pytest.raises(SystemExit, match=r"tokenizer: .*No such file or directory: .*merges.txt"):
        run(tmp_path, "--files", str(published), vocab_size=300)

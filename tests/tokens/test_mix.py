"""A mixture holds its parts in the shares asked for, each as training on the part alone would see it."""

import json
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts.tokens.encode import main as encode_main
from workflow_scripts.tokens.join import main as join_main
from workflow_scripts.tokens.mix import main as mix_main
from workflow_scripts.tokens.mix import quotas
from workflow_scripts.tokens.tokenizer import train_tokenizer
from workflow_scripts.training.data import Corpus

WORDS = {"english": ["the", "quick", "brown", "fox", "naïve"], "code": ["x = 1;", "for (;;)", "{\n", "}\n", "// Grüße"]}


@pytest.fixture
def tokens(tmp_path, write_corpora) -> Path:
    """Two encoded corpora of documents of very different lengths."""
    source = random.Random(0)
    splits = [*["train"] * 200, *["validation"] * 20, *["test"] * 20]
    texts = {
        f"{corpus}/a/a": [(split, " ".join(source.choices(words, k=source.randint(3, 120)))) for split in splits]
        for corpus, words in WORDS.items()
    }
    write_corpora(texts)
    tokenizer = train_tokenizer([text for _, text in texts["english/a/a"]], 264)
    (tmp_path / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    tokenizer = ["--tokenizer", "tokenizer.json"]
    for corpus in WORDS:
        shard = [f"--{folder}={folder}/{corpus}/a/a.parquet" for folder in ("documents", "splits")]
        encode_main([*shard, *tokenizer, "--out", f"{corpus}.arrow"])
        join_main(["--shards", f"{corpus}.arrow", *tokenizer, "--out-dir", f"tokens/{corpus}"])
    return tmp_path / "tokens"


def mixed(tokens: Path, seed: int = 0, train_tokens: int = 9_001, shares: tuple = (0.25, 0.75)) -> Path:
    out = tokens / f"both.seed{seed}"
    parts = [f"{name}={share}" for name, share in zip(("english", "code"), shares, strict=True)]
    arguments = ["--tokens", str(tokens), "--parts", *parts, "--train-tokens", str(train_tokens)]
    mix_main([*arguments, "--seed", str(seed), "--out-dir", str(out)])
    return out


def documents(folder: Path, split: str) -> dict[str, list[int]]:
    rows = pd.read_parquet(folder / "documents.parquet").query("split == @split")
    stream = np.fromfile(folder / f"{split}.bin", "uint16").tolist()
    assert rows["tokens"].sum() == len(stream)
    return {row.id: stream[row.token_offset : row.token_offset + row.tokens] for row in rows.itertuples()}


def test_the_training_split_is_one_pass_over_exactly_the_tokens_and_shares_asked_for(tokens):
    folder = mixed(tokens)
    found = Corpus(folder).prefix("train", None, 0, tokens=9_001)
    assert len(found.tokens) == 9_001
    held = {name: sum(len(ids) + 1 for name_, ids in documents(folder, "train").items() if name_.startswith(name))
            for name in WORDS}  # fmt: skip
    assert held == {"english": 2_250, "code": 6_751}
    with pytest.raises(Exception, match="Ask for less"):
        Corpus(folder).prefix("train", None, 0, tokens=9_002)


def test_a_model_sees_of_a_part_what_one_trained_on_the_part_alone_sees_first(tokens):
    """The two sources of an experiment differ in what is mixed in, not in the luck of the draw."""
    folder = mixed(tokens, seed=3)
    alone = (
        Corpus(tokens / "english").prefix("train", None, 3, tokens=2_249).tokens
    )  # the mixture ends its last document
    text = documents(folder, "train")
    own = [ids for name, ids in text.items() if name.startswith("english/")]
    assert sorted(map(tuple, own)) == sorted(map(tuple, _split(alone.tolist())))


def _split(tokens: list[int]) -> list[list[int]]:
    """Documents between end-of-text tokens (0)."""
    found, document = [], []
    for token in tokens:
        if token:
            document.append(token)
        else:
            found.append(document)
            document = []
    return [*found, *([document] if document else [])]


def test_counts_by_part_stand_in_the_manifest_and_add_up(tokens):
    folder = mixed(tokens)
    manifest = json.loads((folder / "manifest.json").read_text())
    index = pd.read_parquet(folder / "documents.parquet")
    for split, summary in manifest["splits"].items():
        for unit in ("documents", "tokens", "characters", "bytes"):
            by_part = {name: part["splits"][split][unit] for name, part in manifest["parts"].items()}
            assert sum(by_part.values()) == summary[unit]
            for name, count in by_part.items():
                rows = index[(index.split == split) & index.id.str.startswith(f"{name}/")]
                assert count == (len(rows) if unit == "documents" else rows[unit].sum())
    assert {name: part["share"] for name, part in manifest["parts"].items()} == {"english": 0.25, "code": 0.75}


def test_every_document_is_one_of_its_part_whole_but_for_the_last(tokens):
    for split in ("train", "validation", "test"):
        originals = {f"{name}/{key}": ids for name in WORDS for key, ids in documents(tokens / name, split).items()}
        cut = [name for name, ids in documents(mixed(tokens), split).items() if originals[name] != ids]
        assert len(cut) <= 2
        assert all(originals[name][: len(ids)] == ids for name, ids in documents(mixed(tokens), split).items())


def test_seeds_draw_other_training_text_and_the_same_held_out_text(tokens):
    first, second = mixed(tokens, seed=0), mixed(tokens, seed=1)
    assert (first / "train.bin").read_bytes() != (second / "train.bin").read_bytes()
    for split in ("validation", "test"):
        assert (first / f"{split}.bin").read_bytes() == (second / f"{split}.bin").read_bytes()


def test_the_same_mixture_is_made_once(tokens):
    mixed(tokens)
    mixed(tokens)
    mixtures = [path for path in Path("results/store/tokens").glob("*/manifest.json") if '"parts"' in path.read_text()]
    assert len(mixtures) == 1


def test_a_part_that_is_too_small_is_named_with_what_it_holds(tokens):
    with pytest.raises(SystemExit, match=r"train split of code holds [\d,]+ tokens, the mixture asks for 150,000"):
        mixed(tokens, train_tokens=200_000)


def test_parts_of_two_tokenizers_do_not_mix(tokens):
    path = tokens / "code" / "manifest.json"
    text = path.read_text()
    path.unlink()
    path.write_text(text.replace('"vocab_size": 264', '"vocab_size": 265'))
    with pytest.raises(SystemExit, match="was not made with the tokenizer of"):
        mixed(tokens)


@given(st.integers(0, 10**12), st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=6))
def test_quotas_are_whole_and_add_up(total, shares):
    found = quotas(total, shares)
    assert sum(found) == total
    assert all(abs(quota - total * share / sum(shares)) <= 1 for quota, share in zip(found, shares, strict=True))

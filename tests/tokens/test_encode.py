"""Token files hold exactly the documents of their split, as `tokenizers` encodes them, and their index finds each."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from workflow_scripts.corpora import documents as documents_module
from workflow_scripts.tokens.encode import Encoder
from workflow_scripts.tokens.encode import main as encode_main
from workflow_scripts.tokens.join import main as join_main
from workflow_scripts.tokens.tokenizer import train_tokenizer
from workflow_scripts.tokens.vocabulary import END_OF_TEXT, for_plain_text

MIXED = [
    "Grüße aus Köln, „süß“\r\n\ttab\n",
    "第一条 为了保护专利权人的合法权益。",
    "¿Qué pasó, señor?  Dos  espacios ",
    f"before {END_OF_TEXT}{END_OF_TEXT}after <|end",
    "e\u0301 🙂👍🏽 \u200d\u2028\u3000\0 don't I'LL ½ ٣",
    "def f(x):\n    return x + 1  # ok\n" * 20,
]
TOKENIZER_JSON = train_tokenizer(MIXED * 3, 320).to_str()
PLAIN = Tokenizer.from_str(for_plain_text(TOKENIZER_JSON))
ENCODER = Encoder(TOKENIZER_JSON)


@given(st.lists(st.lists(st.sampled_from([*MIXED, " ", "\n", "'s", "1"]) | st.text()).map("".join), min_size=1))
def test_the_fast_encoder_agrees_with_tokenizers(texts):
    ids, tokens = ENCODER(pa.array(texts, pa.large_string()))
    expected = [encoding.ids for encoding in PLAIN.encode_batch(texts)]
    assert tokens.tolist() == list(map(len, expected))
    assert ids.tolist() == [token for document in expected for token in document]


def test_the_fast_encoder_agrees_with_tokenizers_on_every_character():
    """The two carry their own tables of which characters are letters, digits and spaces."""
    texts = [
        f"a {character}{character}1 {character}'s"
        for character in map(chr, range(0x20000))
        if not "\ud800" <= character <= "\udfff"
    ]
    ids, tokens = ENCODER(pa.array(texts, pa.large_string()))
    expected = [encoding.ids for encoding in PLAIN.encode_batch(texts)]
    assert ids.tolist() == [token for document in expected for token in document]
    assert tokens.tolist() == list(map(len, expected))


@pytest.fixture
def folder(tmp_path, monkeypatch, write_corpora) -> Path:
    """Two shards of mixed text, several row groups each, all splits interleaved."""
    monkeypatch.setattr(documents_module, "ROW_GROUP_CHARACTERS", 60)
    splits = ["train", "test", "train", "validation", "dropped"]
    pairs = [(splits[row % 5], text + str(row)) for row, text in enumerate(MIXED * 4)]
    write_corpora({"mixed/s/b": pairs[:13], "mixed/s/a": pairs[13:], "mixed/s/empty": []})
    (tmp_path / "tokenizer.json").write_text(TOKENIZER_JSON, encoding="utf-8")
    return tmp_path


def run(folder: Path, *names: str) -> dict:
    tokenizer = ["--tokenizer", str(folder / "tokenizer.json")]
    encoded = []
    for name in names:
        shard, encoded = f"mixed/s/{name}", [*encoded, str(folder / f"{name}.arrow")]
        files = ["--documents", f"{folder}/documents/{shard}.parquet", "--splits", f"{folder}/splits/{shard}.parquet"]
        encode_main([*files, *tokenizer, "--out", encoded[-1]])
    join_main(["--shards", *encoded, *tokenizer, "--out-dir", str(folder / "tokens")])
    return json.loads((folder / "tokens" / "manifest.json").read_text())


def test_every_document_stands_where_the_index_says(folder):
    manifest = run(folder, "a", "empty", "b")
    index = pd.read_parquet(folder / "tokens" / "documents.parquet")
    splits = pd.concat([pd.read_parquet(folder / f"splits/mixed/s/{name}.parquet") for name in "ab"])
    texts = {}
    for name in "ab":
        shard = pd.read_parquet(folder / f"documents/mixed/s/{name}.parquet")
        texts |= dict(zip(shard.id, shard.text, strict=True))
    lengths = np.array(manifest["token_bytes"]), np.array(manifest["token_characters"])
    for split in ("train", "validation", "test"):
        rows = index[index.split == split]
        assert rows.id.tolist() == splits[splits.split == split].id.tolist()
        tokens = np.fromfile(folder / "tokens" / f"{split}.bin", manifest["dtype"])
        end = 0
        for row in rows.itertuples():
            assert row.token_offset == end
            end += row.tokens
            document = tokens[row.token_offset : end]
            text = texts[row.id]
            assert document.tolist() == PLAIN.encode(text).ids
            assert lengths[0][document].sum() == row.bytes == len(text.encode())
            assert lengths[1][document].sum() == row.characters == len(text)
        assert end == len(tokens)
        expected = {
            "documents": len(rows),
            "tokens": end,
            "characters": rows.characters.sum(),
            "bytes": rows.bytes.sum(),
        }
        data = (folder / "tokens" / f"{split}.bin").read_bytes()
        assert manifest["splits"][split] == {**expected, "sha256": hashlib.sha256(data).hexdigest()}


def test_the_manifest_says_how_to_read_the_files(folder):
    manifest = run(folder, "a", "b")
    assert (manifest["dtype"], manifest["vocab_size"], manifest["end_of_text"]) == ("uint16", 320, 0)
    assert len(manifest["token_bytes"]) == len(manifest["token_characters"]) == 320


def test_what_the_files_were_made_of_is_told_and_changes_no_manifest(folder):
    """Runs rest on the manifest: other shards of the same text must not train them again."""
    manifest = run(folder, "a", "b")
    made_of = json.loads((folder / "tokens" / "inputs.json").read_text())["shards"]
    assert [digest for _, digest in made_of] == [
        hashlib.sha256((folder / f"{name}.arrow").read_bytes()).hexdigest() for name in "ab"
    ]
    with pa.ipc.open_file(folder / "a.arrow") as shard:
        told = shard.schema.metadata[b"documents"].decode()
    documents = (folder / "documents/mixed/s/a.parquet").read_bytes()
    assert told == hashlib.sha256(documents).hexdigest()
    assert run(folder, "a", "empty", "b") == manifest
    assert json.loads((folder / "tokens" / "inputs.json").read_text())["shards"][::2] == made_of


def test_another_order_of_shards_makes_other_tokens(folder):
    there = run(folder, "a", "b")["splits"]["train"]
    back = run(folder, "b", "a")["splits"]["train"]
    assert there["sha256"] != back["sha256"]
    assert {**there, "sha256": ""} == {**back, "sha256": ""}


def test_a_shard_that_is_added_leaves_the_others_as_they_are(folder):
    """They are found in the store, under whatever name."""
    run(folder, "a")
    (made,) = Path("results/store/encoded").glob("*/tokens.arrow")
    before = made.stat()
    run(folder, "a", "b")
    assert made.stat().st_mtime_ns == before.st_mtime_ns
    assert len(list(Path("results/store/encoded").glob("*/tokens.arrow"))) == 2


def test_a_shard_that_changed_after_the_splits_is_refused(folder):
    shard = folder / "documents/mixed/s/a.parquet"
    documents_module.write_shard(shard, "a", [("0", "one document only")])
    with pytest.raises(SystemExit, match=r"a.parquet: 1 documents, the splits have 11; make the splits again"):
        run(folder, "a", "b")
    documents_module.write_shard(shard, "a", [(f"new{row}", "another id") for row in range(11)])
    with pytest.raises(SystemExit, match=r"a.parquet: its documents are not those of the splits"):
        run(folder, "a", "b")
    assert not (folder / "tokens").exists()

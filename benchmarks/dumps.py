"""Dumps of any size to measure with, made of the sentences of real documents: OpenWebText2's and Common Crawl's form.

Every sentence is real.  One document in twenty is a copy of an earlier one of its file, and one in twenty a copy with one
sentence changed, so that removing duplicates has something to find.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from workflow_scripts.corpora.documents import read_shard

SENTENCES_A_DOCUMENT = (8, 60)
"""From the first to below the second; some 3,900 characters in the mean."""
SENTENCES_A_PARAGRAPH = 5
COPIES = 0.05
"""Share of exact copies, and share of copies with one sentence changed."""
REMEMBERED = 1_000
"""Documents, of which one is copied."""
_SENTENCE_END = re.compile(r"(?<=[.?!])\s+")


def sentences_of(documents: Path) -> list[str]:
    """The distinct sentences, of 40 to 400 characters, of all shards of documents below a folder."""
    found: dict[str, None] = {}
    for shard in sorted(documents.rglob("*.parquet")):
        for batch in read_shard(shard, ["text"]):
            for text in batch.column("text").to_pylist():
                found.update(dict.fromkeys(filter(lambda part: 40 <= len(part) <= 400, _SENTENCE_END.split(text))))
    if not found:
        raise SystemExit(f"{documents}: no sentence in it; expected the folder of a corpus, with `*/*.parquet` below")
    return list(found)


def texts(sentences: list[str], seed: int) -> Iterator[str]:
    """Documents without end."""
    random = np.random.default_rng(seed)
    earlier: list[list[str]] = []
    while True:
        kind = random.random()
        if earlier and kind < 2 * COPIES:
            document = list(earlier[random.integers(len(earlier))])
            if kind < COPIES:
                document[random.integers(len(document))] = sentences[random.integers(len(sentences))]
        else:
            document = [
                sentences[i] for i in random.integers(len(sentences), size=random.integers(*SENTENCES_A_DOCUMENT))
            ]
            if len(earlier) < REMEMBERED:
                earlier.append(document)
            else:
                earlier[random.integers(REMEMBERED)] = document
        paragraphs = (document[i : i + SENTENCES_A_PARAGRAPH] for i in range(0, len(document), SENTENCES_A_PARAGRAPH))
        yield "\n\n".join(map(" ".join, paragraphs))


def up_to(documents: Iterator[str], n_bytes: int) -> Iterator[str]:
    """The first documents that hold `n_bytes` bytes of UTF-8."""
    for text in documents:
        yield text
        n_bytes -= len(text.encode())
        if n_bytes <= 0:
            return


def write_json_lines(path: Path, documents: Iterator[str], n_bytes: int) -> None:
    """OpenWebText2: `.jsonl.zst`."""
    with pa.CompressedOutputStream(str(path), "zstd") as file:
        for number, text in enumerate(up_to(documents, n_bytes)):
            record = {"text": text, "meta": {"title": "made up", "url": f"https://example.org/{path.stem}/{number}"}}
            file.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")


def write_wet(path: Path, documents: Iterator[str], n_bytes: int) -> None:
    """Common Crawl: `.warc.wet.gz`, a gzip member a record."""
    with open(path, "wb") as file:
        for number, text in enumerate(up_to(documents, n_bytes)):
            body = text.encode()
            digest = base64.b32encode(hashlib.sha1(body).digest()).decode()
            head = (
                f"WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Target-URI: https://example.org/{number}\r\n"
                "WARC-Date: 2024-01-01T00:00:00Z\r\n"
                f"WARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-{number:012}>\r\n"
                f"WARC-Block-Digest: sha1:{digest}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            file.write(gzip.compress(head.encode() + body + b"\r\n\r\n", compresslevel=6))


def write_source(folder: Path, sentences: list[str], n_bytes: int, n_files: int, seed: int) -> None:
    """A source of `.jsonl.zst` files of the same size."""
    folder.mkdir(parents=True)
    for number in range(n_files):
        write_json_lines(folder / f"{number:03}.jsonl.zst", texts(sentences, seed + number), n_bytes // n_files)

"""OpenWebText2 (JSON lines: `text`, `meta`, also in the tar of its release) and OpenWebText (tar of text files, as published
in tars of .xz tars)."""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from workflow_scripts.corpora.archives import members, tar_members
from workflow_scripts.corpora.containers import checked
from workflow_scripts.corpora.records import Document, decoded
from workflow_scripts.corpora.rows import json_lines, texts_of

FIELDS = {"text": ("text",)}


def read_text_archive(path: Path) -> Iterator[Document]:
    """The text files of a tar archive, and those of the .xz tars and the rows of the .jsonl.zst files that it holds; ids are
    `<path>/<member>`.  Raises CorpusError where one of these is damaged or cut off: what it held cannot be counted.
    """
    for member in members(path):
        place = path / member.name
        if member.name.endswith(".xz") and not member.climbs_out:
            with member.open() as packed, lzma.open(packed) as stream:
                for inner in tar_members(checked(place, stream), place):
                    yield f"{path}/{member.name}/{inner.name}", decoded(inner.read(), inner.offset)
        elif member.name.endswith(".jsonl.zst") and not member.climbs_out:
            with member.open() as packed, pa.input_stream(packed, compression="zstd") as stream:
                yield from texts_of(json_lines(checked(place, stream), place), FIELDS)
        else:
            yield f"{path}/{member.name}", decoded(member.read(), member.offset)

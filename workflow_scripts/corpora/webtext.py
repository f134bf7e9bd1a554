"""OpenWebText2 (JSON lines: `text`, `meta`) and OpenWebText (tar of text files, as published in tars of .xz tars)."""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from pathlib import Path

from workflow_scripts.corpora.archives import members, tar_members
from workflow_scripts.corpora.records import Document, decoded


def read_text_archive(path: Path) -> Iterator[Document]:
    """The text files of a tar archive, or of the .xz tars that it holds; ids are `<path>/<member>`."""
    for member in members(path):
        if member.name.endswith(".xz"):
            with member.open() as packed, lzma.open(packed) as stream:
                for inner in tar_members(stream, path / member.name):
                    yield f"{path}/{member.name}/{inner.name}", decoded(inner.read(), inner.offset)
        else:
            yield f"{path}/{member.name}", decoded(member.read(), member.offset)

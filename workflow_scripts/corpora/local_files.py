"""A user's own files: text, JSON lines, CSV and parquet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from workflow_scripts.corpora.containers import BYTE_ORDER_MARK, bounded, opened
from workflow_scripts.corpora.records import Document, decoded


def read_text(path: Path) -> Iterator[Document]:
    """The file as one document, its path as id; an empty one is an empty document."""
    if not path.stat().st_size:
        yield str(path), ""
        return
    with opened(path) as stream:
        if stream.peek(len(BYTE_ORDER_MARK)).startswith(BYTE_ORDER_MARK):
            stream.read(len(BYTE_ORDER_MARK))
        yield str(path), decoded(bounded(stream))

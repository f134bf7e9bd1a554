"""OSCAR: documents apart by an empty line (2019), or JSON lines with metadata (21.09, 22.01, 23.01)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workflow_scripts.corpora.containers import Gathered, lines, opened
from workflow_scripts.corpora.records import Document, LeftOut, decoded
from workflow_scripts.corpora.rows import read_rows

FIELDS = {"text": ("content", "text"), "metadata": ("metadata",)}


def read_text(path: Path) -> Iterator[Document]:
    """Documents between empty lines, without their last line end; ids are `<path>:<line>` of the first line."""
    held: Gathered | None = None
    first = 0
    with opened(path) as stream:
        for number, (offset, line) in enumerate(lines(stream), 1):
            if isinstance(line, bytes) and line in (b"\n", b"\r\n"):
                if held is not None:
                    yield f"{path}:{first}", _text_of(held)
                held = None
                continue
            if held is None:
                held, first = Gathered(offset), number
            held.add(line)
        if held is not None:
            yield f"{path}:{first}", _text_of(held)


def _text_of(held: Gathered) -> Any:
    text = decoded(held.record(), held.offset)
    return text.removesuffix("\n").removesuffix("\r") if isinstance(text, str) else text


def read_json_lines(path: Path, language: str | None) -> Iterator[Document]:
    """Documents of JSON lines; those that are identified as another language are left out.

    21.09 identifies none, and later editions not every one: these are for the filter `other_language`.
    """

    def text_of(row: dict[str, Any]) -> str | LeftOut:
        if language is None or identified(row["metadata"]) in (None, language):
            return row["text"]
        return LeftOut("other_language", len(row["text"].encode("utf-8", "surrogatepass")))

    return read_rows(path, FIELDS, text_of)


def identified(metadata: Any) -> str | None:
    """`metadata.identification.label` (22.01 and later): the language of the document."""
    identification = metadata.get("identification") if isinstance(metadata, dict) else None
    return identification.get("label") if isinstance(identification, dict) else None

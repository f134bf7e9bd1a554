"""Source code: the Stack, CodeParrot and BigQuery exports, archives of repositories, folders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from workflow_scripts.corpora.archives import members
from workflow_scripts.corpora.errors import CorpusError
from workflow_scripts.corpora.records import Document, LeftOut, decoded
from workflow_scripts.corpora.rows import read_rows
from workflow_scripts.corpora.sources import GithubSource

FIELDS = {
    "text": ("content", "code"),
    "path": ("path", "max_stars_repo_path"),
    "extension": ("ext",),
    "licence": ("license", "licenses", "max_stars_repo_licenses"),
}


def read_exports(path: Path, source: GithubSource) -> Iterator[Document]:
    """Files of an export with the chosen extensions and licences; a row that states several licences needs them all."""
    extensions, licences = _normalised(source.extensions), _normalised(source.licences)

    def text_of(row: dict[str, Any]) -> str | LeftOut:
        extension = row["extension"] or PurePosixPath(str(row["path"] or "")).suffix
        stated = _normalised(row["licence"] if isinstance(row["licence"], list) else filter(None, [row["licence"]]))
        if not _normalised([extension]) <= extensions:
            return LeftOut("other_extension", len(row["text"].encode("utf-8", "surrogatepass")))
        if source.licences and not (stated and stated <= licences):
            return LeftOut("other_licence", len(row["text"].encode("utf-8", "surrogatepass")))
        return row["text"]

    return read_rows(path, FIELDS, text_of)


def read_files(path: Path, source: GithubSource) -> Iterator[Document]:
    """Files of an archive or folder with the chosen extensions; ids are `<path>/<member>`.

    Raises CorpusError if licences are asked for: these state none.
    """
    if source.licences:
        raise CorpusError(f"{path}: archives and folders state no licences; leave `licences` out or use an export")
    extensions = _normalised(source.extensions)
    for member in members(path):
        if _normalised([PurePosixPath(member.name).suffix]) <= extensions:
            yield f"{path}/{member.name}", decoded(member.read(), member.offset)


def _normalised(words: Any) -> set[str]:
    return {str(word).lower().removeprefix(".") for word in words or ()}

"""Source code: the Stack, CodeParrot and BigQuery exports, archives of repositories, folders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from workflow_scripts.corpora.archives import members
from workflow_scripts.corpora.records import Document, decoded
from workflow_scripts.corpora.rows import Values, read_rows
from workflow_scripts.corpora.sources import GithubSource
from workflow_scripts.errors import CorpusError

FIELDS = {
    "text": ("content", "code"),
    "path": ("path", "max_stars_repo_path", "sample_path"),
    "extension": ("ext",),
    "licence": ("license", "licenses", "max_stars_repo_licenses"),
}


def read_exports(path: Path, source: GithubSource) -> Iterator[Document]:
    """Files of an export with the chosen extensions and licences; a row that states several licences needs them all.

    Raises CorpusError for a row that has neither a path nor an extension.
    """
    extensions, licences = _normalised(source.extensions), _normalised(source.licences)

    def refused(row: Values) -> str | None:
        if row["extension"] is None and row["path"] is None:
            known = ", ".join((*FIELDS["path"], *FIELDS["extension"]))
            raise CorpusError(
                f"{path}: a row without path and extension, so no language is known; expected one of {known}"
            )
        extension = row["extension"] or PurePosixPath(str(row["path"])).suffix
        stated = _normalised(row["licence"] if isinstance(row["licence"], list) else filter(None, [row["licence"]]))
        if not _normalised([extension]) <= extensions:
            return "other_extension"
        return "other_licence" if source.licences and not (stated and stated <= licences) else None

    return read_rows(path, FIELDS, refused=refused)


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

"""The sources of a corpus, as the configuration names them: one class for kinds that take the same keys."""

from __future__ import annotations

import os
from glob import glob
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator
from resiliparse.parse.lang import supported_langs

from workflow_scripts.corpora.filters import NAMES, filters_of
from workflow_scripts.strict import Strict
from workflow_scripts.whole import Count

CODE_READERS = ("python", "cpp", "cuda", "javascript", "typescript")
"""Readers of packages (`packages.py`) whose documents are files of code."""
Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]


class AnySource(Strict):
    """What every source may say of its documents."""

    filters: dict[str, bool] = Field(default_factory=dict)
    """Filters to switch on or off, beside those that are on for the kind (`filters.DEFAULTS`)."""
    characters: Count | None = None
    """A uniform sample of whole documents, as many as fit in so many clean characters (`sample`)."""
    seed: int = Field(0, ge=0, lt=2**64)
    """Of the sample."""
    enabled: bool = True

    @field_validator("filters")
    @classmethod
    def _filters_exist(cls, filters: dict[str, bool]) -> dict[str, bool]:
        if unknown := sorted(set(filters) - set(NAMES)):
            raise ValueError(f"no filter {', '.join(unknown)}; there are {', '.join(NAMES)}")
        return filters

    @property
    def filter_names(self) -> frozenset[str]:
        return filters_of(self.kind, self.filters)

    @property
    def is_code(self) -> bool:
        """Whether its documents are files of code, in which no language is looked for."""
        return False


class PackageSource(AnySource):
    """Documents inside a wheel of the package index, pinned with its sha256 in `config/packages.txt`."""

    kind: Literal["packages"]
    package: str
    reader: str
    """Name of the function in `workflow_scripts/corpora/packages.py` that reads this wheel."""

    @property
    def filter_names(self) -> frozenset[str]:
        kind = "packages of python" if self.reader == "python" else "packages of code" if self.is_code else self.kind
        return filters_of(kind, self.filters)

    @property
    def is_code(self) -> bool:
        return self.reader in CODE_READERS


class ReadSource(AnySource):
    """A source whose records may be broken."""

    set_aside: float = Field(0.001, ge=0, le=1)
    """Largest share of the records that may be broken; the step stops beyond it."""
    language: Language | None = None
    """ISO 639-1: documents in another language are dropped (`other_language`): `de`, `zh`, ..."""

    @model_validator(mode="after")
    def _language_is_told_apart(self) -> ReadSource:
        known = supported_langs()
        if self.language is not None and "other_language" in self.filter_names and self.language not in known:
            raise ValueError(
                f"language {self.language!r}: texts are told apart in {', '.join(sorted(known))}; take one of these, or "
                "switch the filter off: `filters: {other_language: false}`"
            )
        return self


class HubSource(ReadSource):
    """A data set of the Hugging Face hub, streamed."""

    kind: Literal["hub"]
    name: str
    """`owner/name`, or a folder that `datasets` can load."""
    revision: str | None = Field(None, validate_default=True, pattern=r"^[0-9a-f]{40}$")
    """The commit: a branch or tag may move, and a run would be another one without knowing it."""
    config: str | None = None
    """Of the data set, if it has several: `20231101.de`, `sample-10BT`, ..."""
    split: str = "train"
    text: str = "text"
    """Column that holds the text."""

    @field_validator("revision")
    @classmethod
    def _revision_of_hub(cls, revision: str | None, info: Any) -> str | None:
        name = info.data.get("name", "")
        if revision is None and not Path(name).is_dir():
            raise ValueError(
                f"the commit of {name!r} is needed, 40 hexadecimal digits: see `Files and versions` of its page"
            )
        return revision

    def inputs(self) -> list[str]:
        """The folder, or nothing: the revision says what is on the hub."""
        return [self.name] if self.revision is None else []


class PathSource(ReadSource):
    """Files as their makers publish them: which formats a kind reads is in docs/corpora.md."""

    path: str
    """A path or glob, relative to the repository's root, below `~`, or absolute."""

    @property
    def pattern(self) -> str:
        return os.path.expanduser(self.path)

    def inputs(self) -> list[str]:
        """The files that `path` matches, by name."""
        return [found for found in sorted(glob(self.pattern, recursive=True)) if not Path(found).is_dir()]

    @property
    def why_no_files(self) -> str:
        """What to say where there are no inputs."""
        if not glob(self.pattern, recursive=True):
            return f"no file matches {self.path!r}"
        folder = self.path.rstrip("/")
        return f"no file, but a folder matches {self.path!r}; write {folder}/* or {folder}/**/*.txt"


class DumpSource(PathSource):
    """Dumps that hold one kind of text and leave nothing to choose."""

    kind: Literal["webtext", "common_crawl", "wikipedia", "books", "community_qa"]


class OscarSource(PathSource):
    """OSCAR, in one language a file; what it identified as another language (22.01 and later) is left out."""

    kind: Literal["oscar"]


class GithubSource(PathSource):
    """Source code of many repositories."""

    kind: Literal["github"]
    extensions: tuple[Annotated[str, Field(pattern=r"^\.?[A-Za-z0-9_+-]+$")], ...] = Field(min_length=1)
    """Files with another extension are left out: `[py]`, `[c, java, js, cpp, ...]`."""
    licences: tuple[str, ...] | None = Field(None, min_length=1)
    """Files that state no licence, or one that is not among these, are left out: `[mit, apache-2.0]`."""

    @property
    def is_code(self) -> bool:
        return True

    def inputs(self) -> list[str]:
        """The files and folders that `path` matches, without what lies in a folder that it matches too."""
        found = sorted(glob(self.pattern, recursive=True))
        folders = {Path(path) for path in found if Path(path).is_dir()}
        return [path for path in found if folders.isdisjoint(Path(path).parents)]


class FilesSource(PathSource):
    """A user's own files: text, JSON lines, CSV or parquet."""

    kind: Literal["files"]
    text: str = "text"
    """Column or key that holds the text, in JSON lines, CSV and parquet."""


Source = Annotated[
    PackageSource | HubSource | DumpSource | OscarSource | GithubSource | FilesSource,
    Field(discriminator="kind"),
]

"""The sources of a corpus, as the configuration names them: one class for kinds that take the same keys."""

from __future__ import annotations

from glob import glob
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from workflow_scripts.strict import Strict


class PackageSource(Strict):
    """Documents inside a wheel of the package index, pinned with its sha256 in `config/packages.txt`."""

    kind: Literal["packages"]
    package: str
    reader: str
    """Name of the function in `workflow_scripts/corpora/packages.py` that reads this wheel."""
    enabled: bool = True


class PathSource(Strict):
    """Files as their makers publish them: which formats a kind reads is in docs/corpora.md."""

    path: str
    """A path or glob, relative to the repository's root or absolute."""
    set_aside: float = Field(0.001, ge=0, le=1)
    """Largest share of the records that may be broken; the step stops beyond it."""
    enabled: bool = True

    def inputs(self) -> list[str]:
        """The files that `path` matches, by name."""
        return [found for found in sorted(glob(self.path, recursive=True)) if not Path(found).is_dir()]


class DumpSource(PathSource):
    """Dumps that hold one kind of text and leave nothing to choose."""

    kind: Literal["webtext", "common_crawl", "wikipedia", "books", "community_qa"]


class OscarSource(PathSource):
    """OSCAR, in one language a file."""

    kind: Literal["oscar"]
    language: str | None = None
    """Documents that OSCAR identified as another language (22.01 and later) are left out: `de`, `zh`, ..."""


class GithubSource(PathSource):
    """Source code of many repositories."""

    kind: Literal["github"]
    extensions: tuple[Annotated[str, Field(pattern=r"^\.?[A-Za-z0-9_+-]+$")], ...] = Field(min_length=1)
    """Files with another extension are left out: `[py]`, `[c, java, js, cpp, ...]`."""
    licences: tuple[str, ...] | None = Field(None, min_length=1)
    """Files that state no licence, or one that is not among these, are left out: `[mit, apache-2.0]`."""

    def inputs(self) -> list[str]:
        """The files and folders that `path` matches, without what lies in a folder that it matches too."""
        found = sorted(glob(self.path, recursive=True))
        folders = {Path(path) for path in found if Path(path).is_dir()}
        return [path for path in found if folders.isdisjoint(Path(path).parents)]


class FilesSource(PathSource):
    """A user's own files: text, JSON lines, CSV or parquet."""

    kind: Literal["files"]
    text: str = "text"
    """Column or key that holds the text, in JSON lines, CSV and parquet."""


Source = Annotated[
    PackageSource | DumpSource | OscarSource | GithubSource | FilesSource,
    Field(discriminator="kind"),
]

"""Corpora whose splits are given, not made."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
import pytest

from workflow_scripts.corpora.documents import write_shard

Corpora = Mapping[str, Mapping[str, list[tuple[str, str]]]]
"""(split, text) pairs by corpus and source."""


@pytest.fixture
def write_corpora(tmp_path, monkeypatch) -> Callable[[Corpora], list[Path]]:
    """Writes shards and `splits.parquet` into the temporary folder, which becomes the current one."""
    monkeypatch.chdir(tmp_path)

    def write(corpora: Corpora) -> list[Path]:
        shards, rows = [], []
        for corpus, sources in sorted(corpora.items()):
            for source, documents in sorted(sources.items()):
                shards.append(tmp_path / f"{corpus}_{source}.parquet")
                write_shard(shards[-1], source, ((str(row), text) for row, (_, text) in enumerate(documents)))
                rows += [(corpus, source, f"{source}/{row}", split) for row, (split, _) in enumerate(documents)]
        pd.DataFrame(rows, columns=["corpus", "source", "id", "split"]).to_parquet(tmp_path / "splits.parquet")
        return shards

    return write

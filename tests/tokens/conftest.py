"""Corpora whose splits are given, not made."""

import hashlib
from collections.abc import Callable, Mapping

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workflow_scripts.corpora.documents import SPLITS_SCHEMA, write_shard

Corpora = Mapping[str, list[tuple[str, str]]]
"""(split, text) pairs by `corpus/source/shard`."""


@pytest.fixture
def write_corpora(tmp_path, monkeypatch) -> Callable[[Corpora], None]:
    """Writes documents and splits into the temporary folder, which becomes the current one."""
    monkeypatch.chdir(tmp_path)

    def write(corpora: Corpora) -> None:
        for name, documents in corpora.items():
            source = name.split("/")[1]
            for folder in ("documents", "splits"):
                (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
            named = [(f"{name}/{row}", text) for row, (_, text) in enumerate(documents)]
            write_shard(tmp_path / "documents" / f"{name}.parquet", source, named)
            columns = {
                "id": [f"{source}/{row}" for row, _ in named],
                "characters": [len(text) for _, text in named],
                "cluster": [hashlib.md5(text.encode()).hexdigest() for _, text in named],
                "split": [split for split, _ in documents],
                "reason": pa.nulls(len(named), pa.string()),
            }
            pq.write_table(pa.table(columns, schema=SPLITS_SCHEMA), tmp_path / "splits" / f"{name}.parquet")

    return write

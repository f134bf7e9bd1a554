"""Where every document went: from dumps in their makers' formats to the splits, in a table that adds up."""

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.corpora.dumps import FORMATS, passing_text, source
from workflow_scripts.corpora import clean, count, fingerprint, report, split

SHARES = ["--validation", "0.2", "--test", "0.2"]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Cleans, splits and reports a corpus of every kind; the target is the code."""
    monkeypatch.chdir(tmp_path)
    shards, counts, number = [], [], 0
    for row, form in enumerate(FORMATS):
        folder = tmp_path / f"raw{row}"
        folder.mkdir()
        texts = [passing_text(number + place, form.kind) for place in range(12)]
        number += 10  # two documents are in the next source too, unless that is of the other corpus
        path = form.write(folder, [*texts, texts[0], "short"])
        corpus, name = ("code" if form.kind == "github" else "text"), f"s{row}"
        given = source(form.kind, characters=4_000 if row == 0 else None).model_dump_json()
        shards.append(f"{corpus}/{name}/all")
        cleaned = f"documents/{shards[-1]}"
        places = ["--out", f"{cleaned}.parquet", "--counts", f"{cleaned}.json"]
        clean.main(["--source", given, "--corpus", corpus, "--name", name, "--input", str(path), *places])
        count.main(["--counts", f"{cleaned}.json", "--out", f"{corpus}/{name}.json"])
        fingerprint.main(["--documents", f"{cleaned}.parquet", "--out", f"fingerprints/{shards[-1]}.arrow"])
        counts.append(f"{corpus}={corpus}/{name}.json")
    split.main(["--corpora", ".", "--shards", *shards, "--target", "code", *SHARES, "--counts", "splits.json"])
    arguments = ["--counts", *counts, "--splits", "splits.json", "--out", "report.parquet", "--markdown", "report.md"]
    report.main(arguments)
    return arguments


def test_every_document_of_every_kind_is_accounted_for(run):
    table = pd.read_parquet("report.parquet")
    assert list(table.columns) == list(report.COLUMNS)
    assert table[table.step == "clean"].source.nunique() == len(FORMATS)
    read = table[(table.step == "clean") & (table.outcome == "read")].documents.sum()
    assert read == 14 * len(FORMATS)
    gone = table[table.outcome.isin(["dropped", "set_aside"])].documents.sum()
    assert read == gone + table[table.outcome.isin(["train", "validation", "test"])].documents.sum()
    reasons = set(table.reason.dropna())
    assert {"too_short", "short_file", "over_budget", "duplicate"} <= reasons
    text = Path("report.md").read_text()
    assert "| text | s0 | clean | read |  | 14 |" in text
    assert "| short file | " in text
    assert "## What the kept text is" in text
    assert table[table.outcome.isin(["kept", "train"])].bytes.notna().all()
    assert "## Some of the copies that were dropped" in text
    assert "| text | duplicate | s" in text


def test_files_of_different_runs_are_refused(run):
    counts = json.loads(Path("text/s1.json").read_text())
    counts["kept"]["documents"] += 1
    Path("text/s1.json").write_text(json.dumps(counts))
    with pytest.raises(
        SystemExit, match=r"^corpora report: text/s1: 14 documents read, but kept \+ dropped \+ set_aside are 15"
    ):
        report.main(run)

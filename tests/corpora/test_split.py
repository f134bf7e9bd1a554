"""Near-copies never straddle splits, held-out text never leaks, and what is split once stays split that way."""

import json
import random
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts.corpora.documents import write_shard
from workflow_scripts.corpora.shingles import WINDOW_BYTES, shingles_of
from workflow_scripts.corpora.split import main as split_main
from workflow_scripts.corpora.split import split_of

Corpora = Mapping[str, Mapping[str, list[str]]]
"""Texts by corpus and source."""


def essay(seed: object, words: int = 300) -> str:
    """Text that shares no passage with that of another seed."""
    draw = random.Random(str(seed))
    return " ".join("".join(draw.choices("abcdefghijklmnopäé中", k=draw.randint(2, 9))) for _ in range(words))


def edited(text: str, seed: object, share: float = 0.01) -> str:
    """A near-copy: the first word and a few others replaced."""
    draw = random.Random(str(seed))
    return " ".join(["edit", *("edit" if draw.random() < share else word for word in text.split(" ")[1:])])


def write(corpora: Corpora, folder: Path) -> list[str]:
    arguments = []
    for corpus, sources in corpora.items():
        for source, texts in sources.items():
            path = folder / corpus / f"{source}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_shard(path, source, ((f"{row:04d}", text) for row, text in enumerate(texts)))
            arguments.append(f"{corpus}={path}")
    return arguments


def run(documents: list[str], out: Path, target: str = "python", share: float = 0.2) -> tuple[pd.DataFrame, dict]:
    shares = ["--validation", str(share), "--test", str(share)]
    files = ["--out", str(out), "--counts", str(out.with_suffix(".json"))]
    split_main(["--documents", *documents, "--target", target, *shares, *files])
    return pd.read_parquet(out), json.loads(out.with_suffix(".json").read_text())


def by_id(rows: pd.DataFrame, column: str) -> dict[tuple[str, str], object]:
    """The values of a column by (corpus, id); null is None."""
    values = rows[column].astype(object).where(rows[column].notna(), None)
    return dict(zip(zip(rows.corpus, rows.id, strict=True), values, strict=True))


ORIGINALS = [essay(number) for number in range(60)]
CORPORA: Corpora = {
    "python": {
        "first": ORIGINALS,
        "second": [edited(text, ("second", text)) for text in ORIGINALS[:40]]
        + [essay(("other", n)) for n in range(20)],
    },
    "english": {
        "books": [edited(text, ("books", text)) for text in ORIGINALS[:30]] + [essay(("book", n)) for n in range(60)],
        "copies": [" " + text.replace(" ", "\n") for text in ORIGINALS[30:40]],
    },
}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory) -> tuple[pd.DataFrame, dict]:
    folder = tmp_path_factory.mktemp("split")
    return run(write(CORPORA, folder), folder / "splits.parquet")


def test_near_copies_share_a_cluster_and_strangers_do_not(outcome):
    cluster = by_id(outcome[0], "cluster")
    originals = [cluster["python", f"first/{row:04d}"] for row in range(60)]
    assert len(set(originals)) == 60
    assert [cluster["python", f"second/{row:04d}"] for row in range(40)] == originals[:40]
    assert [cluster["english", f"books/{row:04d}"] for row in range(30)] == originals[:30]
    assert [cluster["english", f"copies/{row:04d}"] for row in range(10)] == originals[30:40]
    assert outcome[0].cluster.nunique() == 60 + 20 + 60


def test_no_cluster_straddles_splits_and_each_corpus_keeps_one_of_it(outcome):
    kept = outcome[0][outcome[0].split != "dropped"]
    assert (kept.groupby("cluster").split.nunique() == 1).all()
    assert not kept.duplicated(["corpus", "cluster"]).any()


def test_the_first_of_a_cluster_is_kept_and_the_reason_is_right(outcome):
    reason = by_id(outcome[0], "reason")
    assert all(reason["python", f"first/{row:04d}"] is None for row in range(60))
    assert all(reason["python", f"second/{row:04d}"] == "near_duplicate" for row in range(40))


def test_copies_of_held_out_target_text_leave_the_other_corpora(outcome):
    rows, counts = outcome
    split, reason = by_id(rows, "split"), by_id(rows, "reason")
    leaks = 0
    for row in range(40):
        held_out = split["python", f"first/{row:04d}"] in ("validation", "test")
        copy = ("english", f"books/{row:04d}") if row < 30 else ("english", f"copies/{row - 30:04d}")
        assert reason[copy] == ("leak" if held_out else None)
        leaks += held_out
    assert counts["leak"] == {"target": "python", "documents_removed": leaks, "by_cluster": leaks, "by_passage": 0}
    assert leaks > 5


def test_counts_add_up_in_documents_and_characters(outcome):
    rows, counts = outcome
    for corpus, numbers in counts["corpora"].items():
        parts = [numbers[name] for name in ("train", "validation", "test")] + list(numbers["dropped"].values())
        for unit in ("documents", "characters"):
            assert numbers["read"][unit] == sum(part[unit] for part in parts)
        texts = [text for source in CORPORA[corpus].values() for text in source]
        assert numbers["read"] == {"documents": len(texts), "characters": sum(map(len, texts))}


def test_a_passage_of_held_out_text_inside_a_long_document_is_a_leak(outcome, tmp_path):
    """A quotation is too small a part of the document for the two to be near-duplicates."""
    split = by_id(outcome[0], "split")
    place = next(row for row in range(60) if split["python", f"first/{row:04d}"] == "test")
    known = next(row for row in range(60) if split["python", f"first/{row:04d}"] == "train")
    quoting = essay("long", 3000) + ORIGINALS[place][100:800] + essay("longer", 3000)
    harmless = essay("a", 3000) + ORIGINALS[known][100:800] + essay("b", 3000)
    corpora = {**CORPORA, "english": {**CORPORA["english"], "essays": [quoting, harmless]}}
    rows, counts = run(write(corpora, tmp_path), tmp_path / "splits.parquet")
    reason = by_id(rows, "reason")
    assert reason["english", "essays/0000"] == "leak"
    assert reason["english", "essays/0001"] is None
    assert counts["leak"]["by_passage"] == 1


def test_text_that_the_target_trains_on_too_is_no_leak(tmp_path):
    """A licence that stands in every file says nothing about the held-out ones."""
    licence = essay("licence", 60)
    python = [licence + "\n" + essay(("code", number), 600) for number in range(40)]
    english = [licence + "\n" + essay(("prose", number), 600) for number in range(40)]
    _, counts = run(write({"python": {"a": python}, "english": {"b": english}}, tmp_path), tmp_path / "splits.parquet")
    assert counts["leak"]["documents_removed"] == 0


def test_the_order_of_the_shards_changes_nothing(outcome, tmp_path):
    documents = write(CORPORA, tmp_path)
    rows, _ = run(documents[::-1], tmp_path / "reversed.parquet")
    pd.testing.assert_frame_equal(rows, outcome[0])


def test_a_new_source_moves_no_document(outcome, tmp_path):
    more = {
        **CORPORA,
        "english": {**CORPORA["english"], "aaa": [essay(("new", number)) for number in range(50)]},
        "german": {"zeitung": [essay(("deutsch", number)) for number in range(50)]},
    }
    rows, _ = run(write(more, tmp_path), tmp_path / "splits.parquet")
    before, after = by_id(outcome[0], "split"), by_id(rows, "split")
    assert {key: after[key] for key in before} == before


def test_an_empty_split_ends_with_what_to_do(tmp_path):
    documents = write({"python": {"tiny": [essay(1), essay(2)]}}, tmp_path)
    with pytest.raises(
        SystemExit, match=r"split: corpus python: no document for .* \(2 documents, 0 of them dropped\)"
    ):
        run(documents, tmp_path / "splits.parquet")
    assert not (tmp_path / "splits.parquet").exists()


def test_an_empty_shard_is_named(tmp_path):
    documents = write({"python": {"full": ORIGINALS, "hollow": []}}, tmp_path)
    with pytest.raises(SystemExit, match=r"hollow.parquet: the shard holds no document"):
        run(documents, tmp_path / "splits.parquet")


def test_a_file_that_is_no_shard_is_named(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"something else")
    with pytest.raises(SystemExit, match=r"x.parquet: not a shard of documents"):
        run([f"python={tmp_path}/x.parquet"], tmp_path / "splits.parquet")


def test_an_unknown_target_is_answered_with_the_corpora(tmp_path):
    with pytest.raises(SystemExit, match=r"target 'haskell' is not among the corpora \['english', 'python'\]"):
        run(write(CORPORA, tmp_path), tmp_path / "splits.parquet", target="haskell")


def test_the_shares_are_those_asked_for():
    splits = pd.Series([split_of(number.to_bytes(16), 0.1, 0.05) for number in range(20_000)])
    shares = splits.value_counts(normalize=True)
    assert shares["validation"] == pytest.approx(0.1, abs=0.01)
    assert shares["test"] == pytest.approx(0.05, abs=0.01)


@given(st.lists(st.text(), min_size=1, max_size=5), st.data())
def test_shingles_depend_on_the_document_alone(texts, data):
    """Not on its neighbours in the batch, and not on white space."""
    together = shingles_of(pa.array(texts, pa.large_string()))
    row = data.draw(st.integers(0, len(texts) - 1))
    spaced = "".join(character + data.draw(st.sampled_from(["", " ", "\n\t"])) for character in texts[row])
    alone = shingles_of(pa.array([spaced], pa.large_string()))
    start, end = together.offsets[row : row + 2]
    assert np.array_equal(together.hashes[start:end], alone.hashes)
    assert together.digests[row] == alone.digests[0]
    size = sum(byte not in b" \t\n\v\f\r" for byte in texts[row].encode())
    assert end - start == max(size - WINDOW_BYTES + 1, 0)


def test_shingles_are_the_same_on_every_machine_and_tell_windows_apart():
    shingled = shingles_of(pa.array([essay("fixed", 2000)], pa.large_string()))
    assert len(np.unique(shingled.hashes)) == len(shingled.hashes)
    assert int(shingled.hashes[0]) == 12036110187858016593

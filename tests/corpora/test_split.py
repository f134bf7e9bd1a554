"""Near-copies never straddle splits, held-out text never leaks, and what is split once stays split that way."""

import hashlib
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

from workflow_scripts.corpora import clusters, fingerprint
from workflow_scripts.corpora.documents import write_shard
from workflow_scripts.corpora.fingerprint import make_fingerprints
from workflow_scripts.corpora.outcomes import TEST, VALIDATION, split_of
from workflow_scripts.corpora.shingles import WINDOW_BYTES, shingles_of
from workflow_scripts.corpora.split import main as split_main

HELD_OUT = ("validation", "test")
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


def write(corpora: Corpora, folder: Path, shard_documents: int = 1000) -> list[str]:
    """Documents and fingerprints below `folder`, so many documents a shard; the names of the shards."""
    names = []
    for corpus, sources in corpora.items():
        for source, texts in sources.items():
            documents = [(f"{row:04d}", text) for row, text in enumerate(texts)]
            for start in range(0, max(len(documents), 1), shard_documents):
                names.append(f"{corpus}/{source}/from{start}")
                path = folder / "documents" / f"{names[-1]}.parquet"
                printed = folder / "fingerprints" / f"{names[-1]}.arrow"
                for parent in (path.parent, printed.parent):
                    parent.mkdir(parents=True, exist_ok=True)
                write_shard(path, source, documents[start : start + shard_documents])
                make_fingerprints(path, {}, printed.parent)
                (printed.parent / "fingerprints.arrow").rename(printed)
    return names


def run(shards: list[str], folder: Path, target: str = "python", share: float = 0.2) -> tuple[pd.DataFrame, dict]:
    """The splits of all shards in the order of corpus and source, and the counts."""
    shares = ["--validation", str(share), "--test", str(share)]
    counts = folder / "splits.json"
    split_main(["--corpora", str(folder), "--shards", *shards, "--target", target, *shares, "--counts", str(counts)])
    frames = []
    for name in sorted(shards, key=lambda name: name.split("/")[:2]):
        corpus, source, _ = name.split("/")
        frame = pd.read_parquet(folder / "splits" / f"{name}.parquet")
        frames.append(frame.assign(corpus=corpus, source=source))
    return pd.concat(frames, ignore_index=True), json.loads(counts.read_text())


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
    return run(write(CORPORA, folder), folder)


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
        held_out = split["python", f"first/{row:04d}"] in HELD_OUT
        copy = ("english", f"books/{row:04d}") if row < 30 else ("english", f"copies/{row - 30:04d}")
        assert reason[copy] == ("leak" if held_out else None)
        leaks += held_out
    report = counts["leak"]
    assert {key: report[key] for key in ("documents_removed", "by_cluster", "by_passage")} == {
        "documents_removed": leaks,
        "by_cluster": leaks,
        "by_passage": 0,
    }
    assert sum(found["by_cluster"] for found in report["sources"].values()) == leaks > 5


def test_some_of_what_is_dropped_is_shown_with_what_it_is_a_copy_of(outcome):
    rows, counts = outcome
    shown = pd.DataFrame(counts["examples"])
    assert shown.groupby(["corpus", "reason"]).size().to_dict() == {
        ("english", "leak"): 3,
        ("python", "near_duplicate"): 3,
    }
    reason, split, cluster = (by_id(rows, column) for column in ("reason", "split", "cluster"))
    for example in counts["examples"]:
        source, row = example["id"].split("/")
        place = example["corpus"], example["id"]
        assert reason[place] == example["reason"]
        assert example["text"] == CORPORA[example["corpus"]][source][int(row)][:300]
        original = "python", example["copy_of"]
        assert cluster[original] == cluster[place]
        assert split[original] != "dropped" if example["reason"] == "near_duplicate" else split[original] in HELD_OUT


def test_the_manifest_names_what_it_rests_on_with_its_hashes(tmp_path):
    shards = write(CORPORA, tmp_path, shard_documents=25)
    _, counts = run(shards, tmp_path)
    files = {f"fingerprints/{name}.arrow" for name in shards}
    assert {entry["path"] for entry in counts["inputs"]} == files
    for entry in counts["inputs"]:
        content = (tmp_path / entry["path"]).read_bytes()
        assert entry["bytes"] == len(content)
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()


def test_counts_add_up_in_documents_characters_and_bytes(outcome):
    rows, counts = outcome
    for corpus, numbers in counts["corpora"].items():
        parts = [numbers[name] for name in ("train", "validation", "test")] + list(numbers["dropped"].values())
        for unit in ("documents", "characters", "bytes"):
            assert numbers["read"][unit] == sum(part[unit] for part in parts)
        texts = [text for source in CORPORA[corpus].values() for text in source]
        size = {"characters": sum(map(len, texts)), "bytes": sum(len(text.encode()) for text in texts)}
        assert numbers["read"] == {"documents": len(texts), **size}


def test_a_passage_of_held_out_text_inside_a_long_document_is_a_leak(outcome, tmp_path):
    """A quotation is too small a part of the document for the two to be near-duplicates."""
    split = by_id(outcome[0], "split")
    place = next(row for row in range(60) if split["python", f"first/{row:04d}"] == "test")
    known = next(row for row in range(60) if split["python", f"first/{row:04d}"] == "train")
    quoting = essay("long", 3000) + ORIGINALS[place][100:800] + essay("longer", 3000)
    harmless = essay("a", 3000) + ORIGINALS[known][100:800] + essay("b", 3000)
    corpora = {**CORPORA, "english": {**CORPORA["english"], "essays": [quoting, harmless]}}
    rows, counts = run(write(corpora, tmp_path), tmp_path)
    reason = by_id(rows, "reason")
    assert reason["english", "essays/0000"] == "leak"
    assert reason["english", "essays/0001"] is None
    assert counts["leak"]["by_passage"] == counts["leak"]["sources"]["english/essays"]["by_passage"] == 1
    assert {"reason": "leak", "id": "essays/0000", "copy_of": None} in [
        {key: example[key] for key in ("reason", "id", "copy_of")} for example in counts["examples"]
    ]


def test_text_that_the_target_trains_on_too_is_no_leak(tmp_path):
    """A licence that stands in every file says nothing about the held-out ones."""
    licence = essay("licence", 60)
    python = [licence + "\n" + essay(("code", number), 600) for number in range(40)]
    english = [licence + "\n" + essay(("prose", number), 600) for number in range(40)]
    _, counts = run(write({"python": {"a": python}, "english": {"b": english}}, tmp_path), tmp_path)
    assert counts["leak"]["documents_removed"] == 0


def test_the_order_of_corpora_and_sources_changes_nothing(outcome, tmp_path):
    rows, _ = run(write(CORPORA, tmp_path)[::-1], tmp_path)
    pd.testing.assert_frame_equal(rows, outcome[0])


def test_shards_batches_and_ranges_change_nothing(outcome, tmp_path, monkeypatch):
    """However the documents are cut, and however little is looked at together."""
    monkeypatch.setattr(fingerprint, "BATCH_DOCUMENTS", 7)
    monkeypatch.setattr(clusters, "RANGE_KEYS", 11)
    monkeypatch.setattr(clusters, "COMPARED_PAIRS", 3)
    rows, counts = run(write(CORPORA, tmp_path, shard_documents=25), tmp_path)
    pd.testing.assert_frame_equal(rows, outcome[0])
    assert counts["corpora"] == outcome[1]["corpora"]
    assert counts["leak"]["sources"] == outcome[1]["leak"]["sources"]


def test_a_new_source_moves_no_document(outcome, tmp_path):
    more = {
        **CORPORA,
        "english": {**CORPORA["english"], "aaa": [essay(("new", number)) for number in range(50)]},
        "german": {"zeitung": [essay(("deutsch", number)) for number in range(50)]},
    }
    rows, _ = run(write(more, tmp_path), tmp_path)
    before, after = by_id(outcome[0], "split"), by_id(rows, "split")
    assert {key: after[key] for key in before} == before


def test_an_empty_split_ends_with_what_to_do(tmp_path):
    shards = write({"python": {"tiny": [essay(1), essay(2)]}}, tmp_path)
    with pytest.raises(
        SystemExit, match=r"split: corpus python: no document for .* \(2 documents, 0 of them dropped\)"
    ):
        run(shards, tmp_path)
    assert not (tmp_path / "splits").exists()


def test_an_empty_split_says_which_shares_to_change(tmp_path):
    """`splits.train` is no key, and one large text file is one document."""
    shards = write({"python": {"tiny": [essay(1)]}}, tmp_path)
    with pytest.raises(SystemExit) as error:
        run(shards, tmp_path, share=0.001)
    assert "no document for validation" in str(error.value)
    assert "A text file is one document: split it, or write JSON lines" in str(error.value)
    assert "raise `splits.validation`" in str(error.value)
    with pytest.raises(SystemExit, match=r"no document for train .* lower `splits.validation` and `splits.test`"):
        run(shards, tmp_path, share=0.4999)


def test_a_shard_may_be_empty(outcome, tmp_path):
    """All its documents may have been dropped, while those of the next file are kept."""
    rows, counts = run(write({**CORPORA, "german": {"hollow": []}}, tmp_path), tmp_path)
    assert counts["corpora"] == outcome[1]["corpora"]
    assert not (rows.corpus == "german").any()


def test_files_that_are_no_fingerprints_and_shards_given_twice_are_named(tmp_path):
    shards = write({"python": {"x": ORIGINALS}}, tmp_path)
    with pytest.raises(SystemExit, match=r"split: python/x/from0: given twice"):
        run(shards * 2, tmp_path)
    (tmp_path / "fingerprints" / f"{shards[0]}.arrow").write_bytes(b"something else")
    with pytest.raises(SystemExit, match=r"from0.arrow: not fingerprints"):
        run(shards, tmp_path)


def test_an_unknown_target_is_answered_with_the_corpora(tmp_path):
    with pytest.raises(SystemExit, match=r"target 'haskell' is not among the corpora \['english', 'python'\]"):
        run(write(CORPORA, tmp_path), tmp_path, target="haskell")


def test_the_shares_are_those_asked_for():
    splits = pd.Series([split_of(number.to_bytes(16), 0.1, 0.05) for number in range(20_000)])
    shares = splits.value_counts(normalize=True)
    assert shares[VALIDATION] == pytest.approx(0.1, abs=0.01)
    assert shares[TEST] == pytest.approx(0.05, abs=0.01)


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

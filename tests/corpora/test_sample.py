"""A budget takes a uniform sample: the same one however the source is cut and ordered, and never more than it says."""

import json
import tempfile
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.corpora.dumps import json_lines, source
from workflow_scripts.corpora.budget import Budget, key_of, sample_of, write_keys
from workflow_scripts.corpora.clean import main as clean_main
from workflow_scripts.corpora.clean import make_shard
from workflow_scripts.corpora.count import main as count_main
from workflow_scripts.corpora.inputs import Input
from workflow_scripts.corpora.limit import main as limit_main
from workflow_scripts.corpora.sample import main as sample_main

TEXTS = [f"{row} " + "words of a text that is long enough to be kept " * (5 + row % 7) for row in range(300)]


def chosen(texts: list[str], characters: int, seed: int = 0) -> list[str]:
    budget = Budget(characters)
    offered = [text for text in texts if budget.offer(key_of(text, seed), len(text))]
    sample = [text for text in offered if key_of(text, seed) < budget.limit]
    assert sorted(budget.held) == sorted((key_of(text, seed), len(text)) for text in sample)
    return sample


@given(st.lists(st.text(max_size=30)), st.integers(1, 300), st.randoms(use_true_random=False))
def test_the_sample_is_the_start_of_one_shuffle_whatever_the_order(texts, characters, random):
    sample = chosen(texts, characters)
    assert sum(map(len, sample)) <= characters
    total, expected = 0, []
    for key in sorted({key_of(text, 0) for text in texts}):
        some = [text for text in texts if key_of(text, 0) == key]
        total += sum(map(len, some))
        if total > characters:
            break
        expected += some
    assert Counter(sample) == Counter(expected)
    shuffled = random.sample(texts, len(texts))
    assert Counter(chosen(shuffled, characters)) == Counter(sample)
    assert not Counter(sample) - Counter(chosen(texts, characters + 50))


def test_every_text_is_as_likely_as_another():
    """Over 2,000 seeds each of 10 texts of one length is in a sample of 3 with p = 0.3: within 5 standard errors."""
    texts, seeds = [f"text {row}" for row in range(10)], 2_000
    hits = Counter(text for seed in range(seeds) for text in chosen(texts, 18, seed))
    assert all(abs(hits[text] - 0.3 * seeds) < 5 * (seeds * 0.3 * 0.7) ** 0.5 for text in texts)


def make(folder, texts: list[str], files: int, **keys) -> tuple[set[str], dict]:
    """The texts of a source of several files, and its counts."""
    folder.mkdir()
    size = -(-len(texts) // files)
    paths = [folder / f"{row}.jsonl" for row in range(files)]
    for row, path in enumerate(paths):
        path.write_bytes(json_lines([{"text": text} for text in texts[row * size : (row + 1) * size]]))
    make_shard(source("files", **keys), "notes", [Input.of(path) for path in paths], folder)
    assert not (folder / "candidates.parquet").exists()
    table = pq.read_table(folder / "documents.parquet")
    assert all(name.startswith(f"notes/{folder}/") for name in table["id"].to_pylist())
    return set(table["text"].to_pylist()), json.loads((folder / "counts.json").read_text())


def test_a_source_with_a_budget_is_cut_to_it_and_the_rest_counted(tmp_path):
    texts, counts = make(tmp_path / "one", TEXTS, 1, characters="2e4")
    again, _ = make(tmp_path / "three", TEXTS[::-1], 3, characters=20_000)
    assert texts == again == set(chosen(TEXTS, 20_000))
    assert 19_000 < counts["kept"]["characters"] <= 20_000
    assert counts["kept"]["documents"] + counts["dropped"]["over_budget"]["documents"] == 300
    lost = counts["dropped"]["over_budget"]["characters"]
    assert counts["read"]["characters"] == counts["kept"]["characters"] + lost
    assert make(tmp_path / "other", TEXTS, 1, characters=20_000, seed=1)[0] != texts


def cut_in_shards(folder, texts: list[str], shards: int, **keys) -> tuple[set[str], dict]:
    """The same by the steps `clean`, `limit` and `sample` of every shard, and `count`."""
    folder.mkdir()
    given, size = source("files", **keys).model_dump_json(), -(-len(texts) // shards)
    names = [str(folder / str(row)) for row in range(shards)]
    for row, name in enumerate(names):
        (folder / f"{row}.jsonl").write_bytes(
            json_lines([{"text": text} for text in texts[row * size : (row + 1) * size]])
        )
        made = ["--out", f"{name}.cleaned", "--counts", f"{name}.cleaned.json", "--keys", f"{name}.arrow"]
        clean_main(["--source", given, "--corpus", "c", "--name", "notes", "--input", f"{name}.jsonl", *made])
    limit = str(folder / "limit.json")
    budget = ["--characters", str(source("files", **keys).characters)]
    limit_main(["--keys", *(f"{name}.arrow" for name in names), *budget, "--out", limit])
    for name in names:
        before = ["--cleaned", f"{name}.cleaned", "--cleaned-counts", f"{name}.cleaned.json", "--limit", limit]
        made = ["--out", f"{name}.parquet", "--counts", f"{name}.json"]
        sample_main(["--source", given, "--name", "notes", *before, *made])
    count_main(["--counts", *(f"{name}.json" for name in names), "--out", str(folder / "counts.json")])
    rows = [row for name in names for row in pq.read_table(f"{name}.parquet").to_pylist()]
    assert all(row["id"].startswith(f"notes/{folder}/") for row in rows)
    return {row["text"] for row in rows}, json.loads((folder / "counts.json").read_text())


@given(st.lists(st.lists(st.text(max_size=30)), min_size=1, max_size=4), st.integers(1, 100))
def test_shards_of_any_size_give_the_sample_of_the_whole(shards, characters):
    """Also where the first document that does not fit in the whole does not fit in its shard either."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, str(row)) for row in range(len(shards))]
        for path, texts in zip(paths, shards, strict=True):
            budget = Budget(characters)
            for text in texts:
                budget.offer(key_of(text, 0), len(text))
            write_keys(path, budget)
        found = sample_of(paths, characters)
    expected = chosen([text for texts in shards for text in texts], characters)
    assert sorted(found.held) == sorted((key_of(text, 0), len(text)) for text in expected)


def test_what_holds_no_keys_is_named(tmp_path):
    (tmp_path / "a.arrow").write_bytes(b"something else")
    with pytest.raises(SystemExit, match=r"a.arrow: not the keys of a sample"):
        limit_main(["--keys", str(tmp_path / "a.arrow"), "--characters", "5", "--out", str(tmp_path / "limit.json")])


@pytest.mark.parametrize("characters", [20_000, 3_000, 10**9])
def test_a_budget_that_shards_share_takes_what_it_takes_of_the_whole(tmp_path, monkeypatch, characters):
    """The counts are those of one shard too: also the languages, which are counted of what stays."""
    monkeypatch.chdir(tmp_path)
    whole, counts = make(tmp_path / "whole", TEXTS, 1, characters=characters, language="en")
    texts, added = cut_in_shards(tmp_path / "cut", TEXTS, 4, characters=characters, language="en")
    assert texts == whole
    for key in ("read", "kept", "dropped", "languages", "python"):
        assert added[key] == counts[key]
    assert [example["text"] for example in added["examples"]] == [example["text"] for example in counts["examples"]]


def test_a_budget_beyond_the_source_takes_all_of_it(tmp_path):
    texts, counts = make(tmp_path / "all", TEXTS, 2, characters=10**9)
    assert texts == set(TEXTS)
    assert counts["dropped"] == {}


def test_a_budget_that_holds_no_document_is_refused(tmp_path):
    make(tmp_path / "none", TEXTS, 1, characters=5)
    with pytest.raises(SystemExit, match=r"no document is left of 300 .*over_budget.*`characters`"):
        count_main(["--counts", str(tmp_path / "none" / "counts.json"), "--out", str(tmp_path / "none.json")])

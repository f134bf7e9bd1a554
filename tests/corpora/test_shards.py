"""A shard is a run of files in order; a file that is added changes the shard that it falls in and few others."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts.corpora.documents import ROW_GROUP_DOCUMENTS, read_shard, write_shard
from workflow_scripts.corpora.shards import SHARD_BYTES, SHARD_FILES, check_names, runs, shards_of
from workflow_scripts.errors import CorpusError

SIZES = st.lists(st.integers(0, 2 * SHARD_BYTES), max_size=60)


@given(SIZES)
def test_every_file_is_in_one_shard_in_its_order_and_none_is_too_full(sizes):
    files = [(f"part{number:04}.jsonl", size) for number, size in enumerate(sizes)]
    found = runs(files)
    assert [path for run in found for path in run] == [path for path, _ in files]
    size_of = dict(files)
    for run in found:
        assert len(run) == 1 or sum(map(size_of.get, run)) <= SHARD_BYTES
        assert 0 < len(run) <= SHARD_FILES


def test_a_file_that_is_added_remakes_one_shard_or_two_of_many():
    files = [(f"dumps/part{number:05}.txt", SHARD_BYTES // 20) for number in range(2000)]
    before = set(map(tuple, runs(files)))
    assert len(before) > 100
    changed = []
    for place in range(0, 2000, 50):
        more = [*files[:place], (f"dumps/part{place:05}.added.txt", SHARD_BYTES // 20), *files[place:]]
        changed.append(len(set(map(tuple, runs(more))) - before))
    assert sum(changed) / len(changed) < 3
    assert max(changed) < 15


def test_shards_are_called_after_their_first_file(tmp_path):
    names = ["a-b.txt", "a/b.txt", "crawl.warc.wet.gz", "Größe 1.jsonl.zst"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        with open(tmp_path / name, "wb") as file:
            file.truncate(SHARD_BYTES)
    paths = [f"{tmp_path}/{name}" for name in names]
    shards = shards_of(paths, f"{tmp_path}/**")
    assert list(shards.values()) == [[path] for path in paths]
    first, second, third, fourth = shards
    assert (first, third, fourth) == ("a-b", "crawl", "Gr__e_1")
    assert second.startswith("a-b-")


def test_a_shard_of_a_file_with_a_long_name_fits_a_file_system(tmp_path):
    for name in ("a" * 240, "ü" * 120, "b" * 100):
        (tmp_path / f"{name}.txt").touch()
    paths = sorted(map(str, tmp_path.iterdir()))
    names = [name for path in paths for name in shards_of([path], f"{tmp_path}/*.txt")]
    assert max(len(name.encode()) for name in names) <= 120
    assert len(set(names)) == 3
    assert "b" * 100 in names


def test_a_link_to_nothing_and_a_name_that_is_no_text_are_told(tmp_path):
    (tmp_path / "a.txt").symlink_to("nowhere")
    with pytest.raises(CorpusError, match=r"a\.txt: a link to what is not there"):
        check_names([str(tmp_path / "a.txt")])
    strange = os.fsencode(tmp_path) + b"/Gr\xf6\xdfe.txt"
    open(strange, "w").close()
    with pytest.raises(CorpusError, match=r"xf6.*the name is no UTF-8; rename it"):
        check_names([os.fsdecode(strange)])


def test_a_shard_of_many_short_texts_is_written_in_parts(tmp_path):
    """A million texts of two characters were held in memory at once: bounds were of characters alone."""
    number = 2 * ROW_GROUP_DOCUMENTS + 1
    write_shard(tmp_path / "a.parquet", "a", ((str(row), "ab") for row in range(number)))
    assert [len(batch) for batch in read_shard(tmp_path / "a.parquet", ["id"])] == [ROW_GROUP_DOCUMENTS] * 2 + [1]

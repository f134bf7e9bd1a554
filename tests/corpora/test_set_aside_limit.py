"""How many records may be broken before the step ends."""

import json
from pathlib import Path

import pytest

from tests.corpora.dumps import (
    json_lines,
    source,
)
from workflow_scripts.corpora import clean
from workflow_scripts.corpora.counts import EARLY_RECORDS, HOLES, Counts
from workflow_scripts.corpora.records import Unreadable
from workflow_scripts.errors import CorpusError


class TestLimit:
    """Up to 0.1 % of the records of a source may be broken."""

    TEXT = "Ein Dokument, das lang genug ist. " * 10

    @pytest.fixture(autouse=True)
    def in_temporary_folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)

    def run(self, good: int, broken: int, **keys) -> dict:
        lines = [json_lines([{"text": f"{row} {self.TEXT}"}]) for row in range(good)]
        lines[len(lines) // 2 : len(lines) // 2] = [b'{"text": "\xff"}\n'] * broken
        Path("a.jsonl").write_bytes(b"".join(lines))
        configured = source("files", **keys).model_dump_json()
        arguments = ["--source", configured, "--corpus", "mine", "--name", "notes", "--input", "a.jsonl"]
        clean.main([*arguments, "--out", "notes.parquet", "--counts", "notes.json"])
        return json.loads(Path("notes.json").read_text())

    def test_as_many_as_allowed_are_set_aside_counted_and_listed(self):
        counts = self.run(999, 1)
        assert counts["set_aside"] == {"invalid_utf8": {"documents": 1, "bytes": 14}}
        (example,) = counts["set_aside_examples"]
        assert example["id"] == "a.jsonl:500"
        assert Path("a.jsonl").read_bytes()[example["offset"] :].startswith(b'{"text": "\xff"}')
        assert counts["read"]["documents"] == counts["kept"]["documents"] + 1 == 1000

    def test_one_more_ends_the_step_with_file_offset_and_cause(self):
        with pytest.raises(
            SystemExit, match=r"^mine/notes: a.jsonl:500: invalid_utf8 at byte .*; 2 of 1,000 .*set_aside"
        ):
            self.run(998, 2)
        assert not Path("notes.parquet").exists()

    def test_the_limit_is_the_sources(self):
        assert self.run(2, 1, set_aside=0.5)["kept"]["documents"] == 2
        with pytest.raises(SystemExit, match="more than 0.00%"):
            self.run(5000, 1, set_aside=0)

    @pytest.mark.parametrize("reason", sorted(HOLES))
    def test_a_hole_counts_by_its_bytes(self, reason):
        """A lost block of a WET file took 200 of 2,000 documents, and counted as one broken record of no bytes."""
        counts = Counts(0.001)
        for _ in range(1800):
            counts.decode("x" * 100, 100)
        counts.set_one_aside("a.warc.wet.gz:500", Unreadable(reason, 20_000, 9_000))
        with pytest.raises(
            CorpusError, match=r"20,000 of 200,000 bytes are damaged, with all records in them \(10.00%\)"
        ):
            counts.check_limit()

    @pytest.mark.parametrize(
        ("reason", "way_on"),
        [
            ("too_large", "A record has at most 64 MiB: split it, or let more than 0.10%"),
            ("invalid_utf8", "Text must be UTF-8 (`iconv -f latin1 -t utf8 OLD > NEW`, if it is Latin-1), or let more"),
            ("broken_json", "Correct the input, or let more than 0.10% be set aside: `set_aside`"),
        ],
    )
    def test_the_commonest_mistakes_are_answered_with_the_way_on(self, reason, way_on):
        counts = Counts(0.001)
        counts.set_one_aside("novels/a.txt", Unreadable(reason, 70_000_000))
        with pytest.raises(CorpusError) as error:
            counts.check_limit()
        assert way_on in str(error.value)

    def test_a_hopeless_source_is_given_up_early(self):
        read_so_far = []

        def broken():
            for row in range(1_000_000):
                read_so_far.append(row)
                yield f"a:{row}", Unreadable("broken_json", 1, row)

        with pytest.raises(CorpusError, match="10,000 of 10,000"):
            list(clean.clean(broken(), clean.Filters(frozenset()), Counts(0.001)))
        assert len(read_so_far) == EARLY_RECORDS

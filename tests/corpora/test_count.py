"""What a terminal tells of a source: how many documents are kept, what took the others, and how to keep them."""

import json
from pathlib import Path
from typing import Any

import pytest

from workflow_scripts.corpora import count


@pytest.fixture
def told(tmp_path, capsys):
    """What is printed of a source of two shards."""

    def counted(kept: int, read: int, dropped: dict[str, int], set_aside: dict[str, int] | None = None) -> str:
        def summary() -> dict[str, Any]:
            reasons = {reason: {"documents": number // 2, "characters": 0} for reason, number in dropped.items()}
            broken = {reason: {"documents": number // 2, "bytes": 0} for reason, number in (set_aside or {}).items()}
            whole = {"read": {"documents": read // 2}, "kept": {"documents": kept // 2}}
            return {**whole, "dropped": reasons, "set_aside": broken}

        shards = [tmp_path / f"{share}.json" for share in range(2)]
        for path in shards:
            path.write_text(json.dumps(summary()))
        out = tmp_path / "recipes" / "mine.json"
        count.main(["--counts", *map(str, shards), "--out", str(out)])
        assert json.loads(Path(out).read_text())["read"]["documents"] == read
        return capsys.readouterr().out

    return counted


def test_documents_that_a_filter_took_are_told_with_the_way_to_keep_them(told):
    """2,700 of 3,000 short recipes were gone without a word."""
    assert told(300, 3_000, {"too_short": 2_700}) == (
        "[corpora] recipes/mine: kept 300 of 3,000 documents (too_short 2,700);"
        " `filters: {too_short: false}` keeps them\n"
    )


def test_what_is_small_or_no_filter_gets_no_advice(told):
    assert told(300, 300, {}) == "[corpora] recipes/mine: kept 300 of 300 documents\n"
    assert told(960, 1_000, {"too_short": 38}, {"invalid_utf8": 2}) == (
        "[corpora] recipes/mine: kept 960 of 1,000 documents (too_short 38, invalid_utf8 2)\n"
    )
    assert told(100, 1_000, {"over_budget": 900}) == (
        "[corpora] recipes/mine: kept 100 of 1,000 documents (over_budget 900)\n"
    )
    assert "`filters: {few_stop_words: false, too_short: false}` keeps them" in told(
        600, 1_000, {"too_short": 200, "few_stop_words": 200, "symbols": 2}
    )


def test_a_source_of_which_nothing_is_left_is_refused_with_what_took_it(told):
    with pytest.raises(
        SystemExit,
        match=r"no document is left of 3,000 documents \(too_short 3,000\); `filters: {too_short: false}` keeps them; check",
    ):
        told(0, 3_000, {"too_short": 3_000})

"""Cleaning keeps text byte for byte, and accounts for every document that it does not keep."""

import bz2
import errno
import gzip
import json
import os
import re
import sys
from ast import literal_eval
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from snakemake.shell import shell

from workflow_scripts.corpora.clean import Filters, clean, names_in
from workflow_scripts.corpora.clean import main as clean_main
from workflow_scripts.corpora.count import added
from workflow_scripts.corpora.count import main as count_main
from workflow_scripts.corpora.counts import Counts
from workflow_scripts.corpora.filters import NAMES
from workflow_scripts.corpora.records import LeftOut, Unreadable
from workflow_scripts.errors import one_message

ROOT = Path(__file__).parents[2]
LANGUAGES = {
    "german": "Grüße aus Köln: „Fünf Äpfel“ – süß & groß.\n\tDas weiß jedes Mädchen.\n" * 4,
    "spanish": "¿Qué pasó en España? ¡El niño comió piñas!  Dos espacios quedan.\n" * 4,
    "chinese": "第一条　为了保护专利权人的合法权益，鼓励发明创造。\n第二条　“发明”是指新的技术方案。\n" * 6,
    "marks": "e\u0301 is not é; 🙂👍🏽 \u200d \ufeff \u2028 stay\n" * 10,
}


@pytest.fixture(autouse=True)
def in_temporary_folder(tmp_path, monkeypatch):
    """The store lies below the current folder."""
    monkeypatch.chdir(tmp_path)


def run(inputs: list[Path], source: dict | None = None) -> tuple[dict[str, str], dict]:
    """Text by id, and the counts."""
    source = source or {"kind": "files", "path": "*", "text": "text", "enabled": True}
    arguments = ["--source", json.dumps(source), "--corpus", "mine", "--name", "notes", "--input", *map(str, inputs)]
    clean_main([*arguments, "--out", "mine/notes.parquet", "--counts", "mine/notes.json"])
    table = pq.read_table("mine/notes.parquet")
    assert table.column_names == ["id", "text", "source"]
    assert set(table["source"].to_pylist()) <= {"notes"}
    return dict(zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True)), json.loads(
        Path("mine/notes.json").read_text()
    )


def adds_up(counts: dict) -> bool:
    def total(part: str, unit: str) -> int:
        return sum(reason[unit] for reason in counts[part].values())

    read, kept = counts["read"], counts["kept"]
    return read["documents"] == kept["documents"] + total("dropped", "documents") + total(
        "set_aside", "documents"
    ) and read["characters"] == kept["characters"] + total("dropped", "characters") + total("cut", "characters")


def json_lines(texts) -> bytes:
    return "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts).encode()


@pytest.mark.parametrize("form", ["txt", "txt.gz", "jsonl", "jsonl.gz", "jsonl.zst", "jsonl.bz2", "parquet"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_text_of_any_language_survives_byte_for_byte(form, language, tmp_path):
    text, path = LANGUAGES[language], tmp_path / f"notes.{form}"
    if form == "parquet":
        pq.write_table(pa.table({"text": [text]}), path)
    else:
        plain = text.encode() if form.startswith("txt") else json_lines([text])
        squeeze = {
            "gz": gzip.compress,
            "bz2": bz2.compress,
            "zst": lambda data: pa.compress(data, codec="zstd", asbytes=True),
        }.get(form.partition(".")[2], bytes)
        path.write_bytes(squeeze(plain))
    texts, counts = run([path])
    assert list(texts.values()) == [text]
    assert counts["kept"] == {"documents": 1, "characters": len(text), "bytes": len(text.encode())}


def test_line_ends_are_normalised_and_nul_is_dropped(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_bytes(b"one\r\ntwo\rthree\0\n" * 40)
    texts, counts = run([path])
    assert texts == {f"notes/{path}": "one\ntwo\nthree\n" * 40}
    assert counts["cut"] == {"line_ends_and_nul": {"documents": 1, "characters": 80}}
    assert adds_up(counts)


def test_what_cannot_be_read_is_set_aside_and_counted(tmp_path):
    """Neither invalid UTF-8 nor broken JSON is repaired, and neither stops the rest."""
    good = LANGUAGES["german"]
    lines = json_lines([good]) + b'{"text": "cut off\n' + b'{"text": "\xff\xfe"}\n' + b'{"body": "x"}\n[1]\n\n'
    lines += b'{"text": "\\ud800"}\n' + json_lines(["short"]) + json_lines([good + "!"])
    (tmp_path / "a.jsonl").write_bytes(lines)
    (tmp_path / "b.txt").write_bytes("Größe".encode("latin-1") * 100)
    source = {"kind": "files", "path": "*", "set_aside": 0.7}
    texts, counts = run([tmp_path / "a.jsonl", tmp_path / "b.txt"], source)
    assert list(texts) == [f"notes/{tmp_path}/a.jsonl:{line}" for line in (1, 9)]
    found = {reason: number["documents"] for reason, number in counts["set_aside"].items()}
    assert found == {
        "broken_json": 1,
        "invalid_utf8": 2,
        "no_text_under_text": 1,
        "no_json_object": 1,
        "invalid_unicode": 1,
    }
    assert counts["dropped"] == {"too_short": {"documents": 1, "characters": 5}}
    assert [entry["path"] for entry in counts["inputs"]] == [f"{tmp_path}/a.jsonl", f"{tmp_path}/b.txt"]
    assert adds_up(counts)


ASIDE = st.builds(Unreadable, st.just("cut"), st.integers(0, 9))
LEFT = st.builds(LeftOut, st.just("other_language"), st.integers(0, 9))


@given(st.lists(st.one_of(st.text(), st.text(min_size=200), ASIDE, LEFT)), st.frozensets(st.sampled_from(NAMES)))
def test_counts_always_add_up(raw, names):
    counts, kept = Counts(), []
    for _, document in clean(((str(row), text) for row, text in enumerate(raw)), Filters(names), counts):
        counts.keep(document.text, None)
        kept.append(document.text)
    assert adds_up(counts.summary())
    assert counts.read["documents"] == len(raw)
    assert counts.kept["characters"] == sum(map(len, kept))
    assert counts.kept["bytes"] == sum(len(text.encode()) for text in kept)


def test_a_source_of_which_nothing_is_left_ends_with_the_reasons(tmp_path):
    """Of one shard nothing may be left."""
    (tmp_path / "notes.txt").write_text("short")
    texts, _ = run([tmp_path / "notes.txt"])
    assert texts == {}
    with pytest.raises(SystemExit, match=r"mine.json: no document is left of 1 .*too_short.*enabled: false"):
        count_main(["--counts", "mine/notes.json", "--out", "mine.json"])


def test_the_counts_of_a_source_are_the_sums_of_its_shards(tmp_path):
    good = LANGUAGES["german"]
    (tmp_path / "a.txt").write_text(good)
    (tmp_path / "b.jsonl").write_bytes(json_lines([good, "short"]) + b"{\n")
    shards = []
    for name in ("a.txt", "b.jsonl"):
        run([tmp_path / name], {"kind": "files", "path": "*", "set_aside": 1})
        shards.append(f"{name}.json")
        Path("mine/notes.json").rename(shards[-1])
    (tmp_path / "list").write_text("\n".join(shards) + "\n")
    count_main(["--counts", f"@{tmp_path}/list", "--out", "mine.json"])
    counts = json.loads(Path("mine.json").read_text())
    assert adds_up(counts)
    assert counts["read"]["documents"] == 4
    assert counts["kept"] == {"documents": 2, "characters": 2 * len(good), "bytes": 2 * len(good.encode())}
    assert counts["set_aside"]["broken_json"]["documents"] == len(counts["set_aside_examples"]) == 1
    assert [entry["path"] for entry in counts["inputs"]] == [f"{tmp_path}/a.txt", f"{tmp_path}/b.jsonl"]


@given(st.lists(st.tuples(st.sampled_from(["short", "cut"]), st.text(max_size=3)), max_size=30), st.data())
def test_counts_do_not_depend_on_the_shards(dropped, data):
    """Neither sums nor examples, also of the same text under several names."""

    def counted(rows) -> dict:
        counts = Counts()
        for row in rows:
            reason, text = dropped[row]
            counts.decode(text, len(text.encode()))
            counts.drop(reason, f"{row}", text)
        return counts.summary()

    rows = range(len(dropped))
    shard_of = [data.draw(st.integers(0, 3)) for _ in rows]
    shards = [counted(row for row in rows if shard_of[row] == shard) for shard in range(4)]
    assert added(shards) == counted(rows)


def test_a_full_disk_says_what_to_do():
    with pytest.raises(SystemExit, match=r"mine/notes: .*No space left.*; free some space"), one_message("mine/notes"):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("name", ["notes.jsonl.gz", "notes.parquet"])
def test_a_broken_file_is_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"PAR1 but not really, nor gzip")
    with pytest.raises(SystemExit, match=f"{name}: broken after"):
        run([tmp_path / name])


def test_a_parquet_column_that_is_missing_is_answered_with_those_that_are_there(tmp_path):
    pq.write_table(pa.table({"content": ["x"]}), tmp_path / "notes.parquet")
    with pytest.raises(SystemExit, match=r"no column 'text'; it has \['content'\]"):
        run([tmp_path / "notes.parquet"])


def run_rule(inputs: list[Path], source: dict) -> dict:
    """The counts of the rule's own command, started as Snakemake starts it."""
    rule = re.search(r"^rule clean:.*?shell:\n(.*?)\n\n", (ROOT / "rules/corpora.smk").read_text(), re.M | re.S)
    shell(
        literal_eval(f"({rule[1]})"),
        input=[str(path) for path in inputs],
        output=SimpleNamespace(documents="shard.parquet", counts="shard.json"),
        params=SimpleNamespace(source=json.dumps(source), sample_keys=""),
        wildcards=SimpleNamespace(corpus="mine", source="notes"),
        log="shard.log",
    )
    return json.loads(Path("shard.json").read_text())


def test_a_shard_may_have_more_files_than_a_command_line_holds(monkeypatch):
    """3 MB of names: a shard has at most 1,000 files, but their paths may be long."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    file = Path(f"{'a' * 96}.txt")
    file.write_text("One line.\n")
    counts = run_rule([file] * 30_000, {"kind": "files", "path": "*", "text": "text"})
    assert counts["read"]["documents"] == 30_000


def test_names_of_inputs_may_hold_anything(tmp_path):
    names = ["with space", "two\nlines", "\u2028", "@at", os.fsdecode(b"\xff")]
    (tmp_path / "names").write_bytes(b"".join(os.fsencode(name) + b"\0" for name in names))
    assert names_in("names") == list(map(Path, names))
    (tmp_path / "names").write_bytes(b"\0")  # what `printf '%s\\0'` says of no file: data sets of the hub have none
    assert names_in("names") == []

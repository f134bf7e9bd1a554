"""Data sets as `datasets` loads them, streamed; the real library on local folders, since tests have no network."""

import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.corpora.dumps import ANY, json_lines, table
from workflow_scripts.corpora import hub
from workflow_scripts.corpora.records import Unreadable
from workflow_scripts.corpora.sources import HubSource
from workflow_scripts.errors import CorpusError

TEXTS = ["Grüße aus Köln", "中文\r\n🙂", "e\u0301 and \0", "short"]


def source(name, **keys) -> HubSource:
    return HubSource(kind="hub", name=str(name), **keys)


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_a_data_set_is_streamed_byte_for_byte(form, tmp_path):
    if form == "parquet":
        (tmp_path / "train-00000-of-00001.parquet").write_bytes(table({"body": TEXTS, "id": [1, 2, 3, 4]}))
    else:
        (tmp_path / "train.jsonl").write_bytes(json_lines([{"body": text, "id": 1} for text in TEXTS]))
    found = list(hub.read(source(tmp_path, text="body")))
    assert found == [(f"{tmp_path}:train:{row}", text) for row, text in enumerate(TEXTS, 1)]


@settings(max_examples=8)
@given(st.lists(ANY, min_size=1, max_size=4))
def test_whatever_a_data_set_holds_is_streamed(texts):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "train.parquet").write_bytes(table({"text": pa.array(texts, pa.string())}))
        assert [text for _, text in hub.read(source(folder))] == texts


def test_a_split_is_chosen_and_a_row_without_text_set_aside(tmp_path):
    (tmp_path / "train.parquet").write_bytes(table({"text": ["no"]}))
    (tmp_path / "validation.parquet").write_bytes(table({"text": pa.array(["yes", None], pa.string())}))
    found = [value for _, value in hub.read(source(tmp_path, split="validation"))]
    assert found == ["yes", Unreadable("no_text_under_text", 0, 2)]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"text": "body"}, r"no column 'body'; it has \['id', 'text'\]"),
        ({"split": "test"}, r"ValueError: .*test.*Check `config`, `split` and `revision`"),
        ({"config": "de"}, r"Check `config`, `split` and `revision`"),
    ],
)
def test_what_a_data_set_does_not_have_is_said(keys, message, tmp_path):
    (tmp_path / "train.parquet").write_bytes(table({"text": ["one"], "id": [1]}))
    with pytest.raises(CorpusError, match=message):
        list(hub.read(source(tmp_path, **keys)))


def test_a_data_set_that_breaks_off_ends_the_step(tmp_path):
    (tmp_path / "train.jsonl").write_bytes(json_lines([{"text": "one"}]) + b'{"text": "cut')
    with pytest.raises(CorpusError, match=f"{tmp_path}:train: after row"):
        list(hub.read(source(tmp_path)))


def test_a_hub_that_cannot_be_reached_is_named(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(CorpusError, match=r"^owner/name:train: after row 0: .*The hub cannot be reached: check"):
        list(hub.read(source("owner/name", revision="0" * 40)))


def test_inputs_are_the_folder_or_what_the_revision_says(tmp_path):
    assert source(tmp_path).inputs() == [str(tmp_path)]
    assert source("owner/name", revision="0" * 40).inputs() == []

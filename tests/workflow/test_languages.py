"""English to a language with letters of its own, in raw bytes, and beside another pair."""

import random

import pandas as pd
import pytest
import yaml

from tests.workflow.conftest import NAMES, write_corpus

pytestmark = pytest.mark.workflow

PAIR = {
    "base": "tiny.yaml",
    "experiment": "to_german",
    "title": "How much German is English worth, in raw bytes?",
    "target": "german",
    "corpora": {"german": {"words": {"kind": "files", "path": "german.jsonl"}}},
    "tokenizer": {"corpus": None, "vocab_size": 257},
    "grids": [{"unit": "excerpt", "finetune": [1_000, 4_000], "scratch": [1_000, 4_000, 16_000]}],
    "seeds": [0],
}


def german(source):
    while True:
        phrases = ["für {} grüßt {} über {}".format(*source.choices(NAMES, k=3)) for _ in range(40)]
        yield "; ".join(phrases) + "!\n"


@pytest.fixture(scope="module")
def project(finished, tmp_path_factory):
    project = finished.copy(tmp_path_factory.mktemp("languages") / "project")
    write_corpus(project.folder / "german.jsonl", german(random.Random(4)), 150_000)
    project.config = project.folder / "german.yaml"
    project.config.write_text(yaml.safe_dump(PAIR))
    code, output = project.launch()
    assert code == 0, output
    return project


def test_a_byte_is_a_token_and_a_letter_may_be_two(project):
    runs = pd.read_parquet(project.results("laws", "runs.parquet"))
    assert (runs["status"] == "ok").all()
    raw = runs.query("arm == 'scratch'")
    assert (raw["test_loss"] / raw["test_bits_per_byte"]).between(0.65, 0.72).all(), "ln 2, but for ends of documents"
    assert (raw["d_bytes"] > raw["d_chars"]).all(), "ü and ß have two"
    assert raw["d_tokens"].between(raw["d_bytes"], 1.1 * raw["d_bytes"]).all()


def test_pairs_stand_beside_each_other_in_bytes(project):
    code, output = project.run("workflow_scripts.laws", "pairs", "results/tiny", "results/to_german", "--out", "pairs")
    assert code == 0, output
    assert "english -> python (tiny): at N = " in output
    assert "english -> german (to_german): at N = " in output
    assert output.endswith((project.folder / "pairs/report.md").read_text())

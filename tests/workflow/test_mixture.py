"""A second experiment that stands on the first and adds a source that is a mixture."""

import json
import random

import pandas as pd
import pytest
import yaml

from tests.workflow.conftest import NAMES, write_corpus

pytestmark = pytest.mark.workflow

BOTH = {
    "base": "tiny.yaml",
    "experiment": "both",
    "title": "What does code add?",
    "corpora": {"code": {"lines": {"kind": "files", "path": "code.jsonl"}}},
    "mixtures": {"text_and_code": {"english": 1, "code": 1}},
    "pretrain": {"sources": ["english", "text_and_code"]},
}


def code(source):
    while True:
        yield "".join("for ({0} = {1}; {0}; {2}++) ".format(*source.choices(NAMES, k=3)) + "{}\n" for _ in range(30))


@pytest.fixture(scope="module")
def project(finished, tmp_path_factory):
    project = finished.copy(tmp_path_factory.mktemp("both") / "project")
    write_corpus(project.folder / "code.jsonl", code(random.Random(3)), 200_000)
    project.config = project.folder / "both.yaml"
    project.config.write_text(yaml.safe_dump(BOTH))
    project.before = {path.name for path in (project.folder / "results/store/runs").iterdir()}
    exit_code, project.output = project.launch()
    assert exit_code == 0, project.output
    return project


def test_only_the_mixture_is_trained_and_all_else_comes_from_the_store(project):
    """4 pre-trainings, each judged on the target as it is, and 14 fine-tuned cells."""
    after = {path.name for path in (project.folder / "results/store/runs").iterdir() if path.is_dir()}
    assert len(after - project.before) == 4 + 4 + 14
    runs = pd.read_parquet(project.results("laws", "runs.parquet"))
    assert runs.groupby("init").size().to_dict() == {"english": 18, "scratch": 26 + 8, "text_and_code": 18}
    assert set(runs.loc[runs["arm"] == "pretrain", "corpus"]) == {"english", "text_and_code"}
    assert (runs["status"] == "ok").all()


def test_both_sources_are_trained_on_as_many_tokens(project):
    for path in project.results("training", "pretrain").glob("*/*/seed*/run.json"):
        record = json.loads(path.read_text())
        assert record["data"]["tokens"] == 60_000
        assert 0.9 < record["outcome"]["best_tokens"] / 60_000 <= 1


def test_the_record_of_a_mixture_counts_its_parts(project):
    for seed in (0, 1):
        manifest = json.loads(project.results("tokens", f"text_and_code.seed{seed}", "manifest.json").read_text())
        train = {part: some["splits"]["train"] for part, some in manifest["parts"].items()}
        assert {part: some["tokens"] + some["documents"] for part, some in train.items()} == {
            "english": 30_000,
            "code": 30_000,
        }


def test_the_terminal_and_the_report_set_both_laws_beside_each_other(project):
    assert "english: D_T = " in project.output
    assert "text_and_code: D_T = " in project.output
    report = project.results("report.html").read_text()
    assert "Text and code beside English: what the mixture changes" in report
    assert "smaller α, larger k” is " in report
    assert report.count("<td>50%</td>") == 4


def test_other_weights_mix_again_and_tokenize_nothing(project):
    """Jobs that only wait for the new count of what is needed are planned too: they find their runs in the store."""
    config = yaml.safe_load(project.config.read_text())
    project.config.write_text(yaml.safe_dump(config | {"mixtures": {"text_and_code": {"english": 3, "code": 1}}}))
    planned = project.planned()
    assert planned["mix"] == 2
    assert planned["pretrain"] >= 4
    assert "encode" not in planned

"""A mistake ends before anything runs, with one message that names the key, the value and what is allowed."""

import pytest
import yaml

pytestmark = pytest.mark.workflow


@pytest.fixture
def project(pristine, tmp_path):
    return pristine.copy(tmp_path / "project")


def config(project):
    return yaml.safe_load(project.config.read_text())


MISTAKES = {
    "unknown key": ({"sedes": [0, 1]}, ["unknown key 'sedes'", "seeds"]),
    "nothing to fit": ({"fit": {"d_f": [5, 6]}}, ["fit.d_f", "[5, 6]"]),
    "wrong type": ({"seeds": "many"}, ["seeds", "'many'"]),
    "heads": (
        {"model": {"n_ctx": 32, "sizes": [{"n_layer": 1, "d_model": 9, "n_head": 2}]}},
        ["model.sizes.0", "d_model 9", "n_head 2"],
    ),
    "target": ({"target": "cobol"}, ["target", "'cobol'", "english", "python"]),
    "no such file": (
        {"corpora": {"english": {"words": {"kind": "files", "path": "nowhere/*.jsonl"}},
                     "python": {"functions": {"kind": "files", "path": "python.jsonl"}}}},
        ["corpora.english.words.path", "nowhere/*.jsonl"],
    ),
    "no such package": (
        {"corpora": {"english": {"words": {"kind": "packages", "package": "nltk2", "reader": "python"}},
                     "python": {"functions": {"kind": "files", "path": "python.jsonl"}}}},
        ["corpora.english.words.package", "nltk2", "sympy"],
    ),
    "no such reader": (
        {"corpora": {"english": {"words": {"kind": "packages", "package": "nltk", "reader": "prose"}},
                     "python": {"functions": {"kind": "files", "path": "python.jsonl"}}}},
        ["corpora.english.words.reader", "prose", "gcide"],
    ),
    "more runs in a job than a command can name": (
        {"grids": [{"unit": "excerpt", "finetune": [1_000, 4_000], "scratch": [*range(1_000, 8_000, 20)]}]},
        ["scratch/excerpt/1k/seed0/small: 350 runs share this job", "lower share_process_below"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_wrong_configuration_ends_at_once_with_one_message(project, name):
    changes, expected = MISTAKES[name]
    project.change(**changes)
    code, output = project.launch()
    assert code != 0
    for words in expected:
        assert words in output
    assert "Traceback" not in output
    assert not project.results("corpora").exists()


def test_more_data_than_the_corpus_holds_ends_before_training(project):
    grids = config(project)["grids"]
    grids[0]["scratch"].append(50_000_000)
    project.change(grids=grids)
    code, output = project.launch()
    assert code != 0
    assert "the train split of python holds" in output
    assert "asks for 50,000,000" in output
    assert not any(project.results("training").rglob("run.json"))


def test_an_empty_corpus_says_so(project):
    (project.folder / "english.jsonl").write_text("")
    code, output = project.launch()
    assert code != 0
    assert "english" in output
    assert "no document" in output


def test_the_launcher_asked_for_a_part_tells_of_what_there_is(project):
    """Here of nothing: `make run` with `-n` ended in a traceback for want of a law."""
    code, output = project.launch("-n")
    assert code == 0, output
    assert "Report:" not in output

"""Sources in the configuration: every kind is named by a path, and a mistake is answered with what is known."""

import pytest
import yaml

from tests.corpora.dumps import FORMATS, source
from workflow_scripts.corpora.readers import FORMATS as KINDS
from workflow_scripts.corpora.shards import shards_of
from workflow_scripts.experiment import ConfigurationError, Experiment


def parse(given: dict) -> Experiment:
    with open("config/config.yaml") as file:
        config = yaml.safe_load(file)
    config["corpora"]["english"] = {"books": given}
    return Experiment.parse(config, "mine.yaml")


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_is_named_by_a_path_and_may_set_a_limit(kind):
    given = {"kind": kind, "path": "dumps/*"} | ({"extensions": ["py"]} if kind == "github" else {})
    assert parse(given).corpora["english"]["books"].set_aside == 0.001
    assert parse(given | {"set_aside": 0.01}).corpora["english"]["books"].set_aside == 0.01
    assert kind in {form.kind for form in FORMATS} | {"books"}, "no test writes this kind"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kind": "webtexts", "path": "x"}, "'webtext', 'common_crawl', 'wikipedia', 'books', 'community_qa'"),
        (
            {"kind": "webtext", "path": "x", "text": "body"},
            "unknown key 'text'; known are filters, characters, seed, enabled, set_aside, language",
        ),
        ({"kind": "books"}, "corpora.english.books.path: Field required"),
        ({"kind": "github", "path": "x"}, "corpora.english.books.extensions: Field required"),
        ({"kind": "github", "path": "x", "extensions": []}, "corpora.english.books.extensions: "),
        ({"kind": "github", "path": "x", "extensions": ["*.py"]}, "corpora.english.books.extensions.0: "),
        (
            {"kind": "webtext", "path": "x", "filters": {"shouting": True}},
            "filters: no filter shouting; there are too_short, ",
        ),
        ({"kind": "webtext", "path": "x", "characters": "many"}, "corpora.english.books.characters: "),
        ({"kind": "webtext", "path": "x", "characters": 0.5}, "corpora.english.books.characters: "),
        ({"kind": "hub", "name": "allenai/c4"}, "corpora.english.books.revision: the commit of 'allenai/c4' is needed"),
        ({"kind": "hub", "name": "allenai/c4", "revision": "main"}, "corpora.english.books.revision: "),
        ({"kind": "oscar", "path": "x", "set_aside": 1.5}, "corpora.english.books.set_aside: "),
        ({"kind": "oscar", "path": "x", "language": "nb"}, "language 'nb': texts are told apart in af, ar, as, "),
        ({"kind": "oscar", "path": "x", "language": "German"}, "corpora.english.books.language: "),
    ],
)
def test_a_mistake_is_answered_with_the_key_and_what_is_allowed(given, message):
    with pytest.raises(ConfigurationError) as error:
        parse(given)
    assert message in str(error.value)


def test_a_language_that_no_filter_needs_to_know_may_be_stated():
    """OSCAR's own word for it is enough: `ceb` is one of its 151."""
    oscar = {"kind": "oscar", "path": "x", "language": "ceb", "filters": {"other_language": False}}
    assert parse(oscar).corpora["english"]["books"].language == "ceb"


@pytest.mark.parametrize("budget", ["2e9", "2.0e9", "2000000000", "2_000_000_000"])
def test_a_budget_is_a_number_however_it_is_written(budget):
    given = yaml.safe_load(f"{{kind: webtext, path: x, characters: {budget}}}")
    assert parse(given).corpora["english"]["books"].characters == 2_000_000_000


def test_a_glob_finds_files_and_for_code_folders(tmp_path):
    for name in ("a/x.py", "a/b/y.py", "c.zip"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert source("files", path=f"{tmp_path}/**").inputs() == [
        f"{tmp_path}/{n}" for n in ("a/b/y.py", "a/x.py", "c.zip")
    ]
    assert source("github", path=f"{tmp_path}/*").inputs() == [f"{tmp_path}/a", f"{tmp_path}/c.zip"]
    assert source("github", path=f"{tmp_path}/**").inputs() == [f"{tmp_path}/"]


def test_a_path_may_begin_at_home(tmp_path, monkeypatch):
    """It exists, and no file matched it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own").mkdir()
    for name in ("a.txt", "b.py"):
        (tmp_path / "own" / name).write_bytes(b"")
    files = source("files", path="~/own/*.txt")
    assert files.inputs() == [f"{tmp_path}/own/a.txt"]
    assert list(shards_of(files.inputs(), files.pattern)) == ["a"]
    assert source("github", path="~/own").inputs() == [f"{tmp_path}/own"]


def test_a_path_without_files_says_whether_it_is_a_folder(tmp_path):
    (tmp_path / "txt" / "more").mkdir(parents=True)
    folder = f"{tmp_path}/txt"
    assert (
        source("files", path=folder).why_no_files
        == f"no file, but a folder matches {folder!r}; write {folder}/* or {folder}/**/*.txt"
    )
    assert source("files", path=f"{folder}/").why_no_files.endswith(f"write {folder}/* or {folder}/**/*.txt")
    assert source("files", path=f"{folder}/*.md").why_no_files == f"no file matches '{folder}/*.md'"
    only_folders = source("files", path=f"{folder}/*").why_no_files
    assert only_folders.endswith(f"write {folder}/*/* or {folder}/*/**/*.txt")

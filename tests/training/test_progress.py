"""The progress line, with a clock of its own."""

import json

import pytest

from workflow_scripts.training.progress import outdated, report, write_plan


@pytest.fixture
def plan(tmp_path):
    for name in ("a", "b", "c", "d"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "run.json").write_text("{}")
    write_plan(tmp_path / "plan.json", {"a": 100.0, "b": 1.0, "c": 2.0, "d": 3.0}, {})
    return tmp_path / "plan.json"


def started(plan):
    return json.loads(plan.read_text())["started"]


def test_what_is_done_left_and_when_it_ends(plan):
    """The rate is that of the work done since the start; what was there before does not count."""
    (plan.parent / "b" / "run.json").write_text("{}")
    line = report(plan, started(plan) + 600)
    assert "2 of 4 runs done, 2 left, about 50 min to go" in line


def test_no_promise_before_anything_is_done(plan):
    assert report(plan, started(plan) + 60) == "[training] 1 of 4 runs done, 3 left"


def test_nothing_left(plan):
    for name in ("b", "c", "d"):
        (plan.parent / name / "run.json").write_text("{}")
    assert report(plan, started(plan) + 60) == "[training] 4 of 4 runs done, 0 left"


def test_a_run_that_the_configuration_left_behind_counts_when_it_is_made_again(tmp_path):
    """And stays where it is: who stops the work and takes the change back has lost nothing."""
    for name, rate in (("a", 1.0), ("b", 2.0)):
        (tmp_path / name).mkdir()
        record = {"identity": {"specification": {"rate": rate}, "code": "c"}}
        (tmp_path / name / "run.json").write_text(json.dumps(record))
    specifications = {name: {"rate": 1.0} for name in "abc"}
    left_behind = outdated(tmp_path, specifications, "c")
    assert list(left_behind) == ["b"]
    assert list(outdated(tmp_path, specifications, "another")) == ["a", "b"]
    write_plan(tmp_path / "plan.json", dict.fromkeys("abc", 1.0), left_behind)
    assert report(tmp_path / "plan.json", 0).startswith("[training] 1 of 3 runs done")
    assert (tmp_path / "b" / "run.json").exists()
    (tmp_path / "new").write_text("{}")
    (tmp_path / "new").replace(tmp_path / "b" / "run.json")
    assert report(tmp_path / "plan.json", 0).startswith("[training] 2 of 3 runs done")

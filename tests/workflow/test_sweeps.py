"""Sweeps of the recipe come before the law, or beside it: they train what they name, and the report has what is there."""

import pytest

from workflow_scripts.files import read_json

pytestmark = pytest.mark.workflow

KEYS = {
    "simulated": {"laws": {"english": {}}},
    "share_process_below": None,
    "sweeps": [{"constant": "weight_decay", "values": [0.02, 0.5], "sizes": ["1k"], "characters": [1_000, 4_000]}],
}


def laws(project, name):
    return project.folder / "results" / "tiny.simulated" / "laws" / name


def report(project):
    return (project.folder / "results" / "tiny.simulated" / "report.html").read_text()


def make(project, *targets):
    code, output = project.snakemake("--cores", "2", *targets)
    assert code == 0, output


@pytest.fixture(scope="module")
def simulated(pristine, tmp_path_factory):
    """The project with a sweep of one constant at one size; runs are drawn, not trained."""
    project = pristine.copy(tmp_path_factory.mktemp("simulated") / "project")
    project.change(**KEYS)
    return project


@pytest.fixture(scope="module")
def sweeps_first(simulated, tmp_path_factory):
    """After `snakemake sweeps` alone."""
    project = simulated.copy(tmp_path_factory.mktemp("sweeps_first") / "project")
    make(project, "sweeps")
    return project


@pytest.fixture(scope="module")
def finished(sweeps_first, tmp_path_factory):
    """The same, after the law that came later."""
    project = sweeps_first.copy(tmp_path_factory.mktemp("finished") / "project")
    make(project)
    return project


def test_a_recipe_is_judged_before_the_grid_is_trained(simulated, sweeps_first):
    """It cost the whole grid, thousands of GPU hours at the papers' scale, to learn that its weight decay was wrong."""
    planned = simulated.planned("sweeps")
    assert planned["pretrain"] == 2
    assert not planned.keys() & {"scratch", "finetune", "collect", "fit"}
    cells = read_json(laws(sweeps_first, "sweeps.json"))["cells"]
    assert {(cell["arm"], cell["d_chars"]) for cell in cells} == {
        (arm, d) for arm in ("scratch", "finetune") for d in (1_000, 4_000)
    }
    assert not laws(sweeps_first, "transfer_law.json").exists()


def test_a_law_that_comes_later_says_what_the_optima_do_to_transfer(finished):
    at_optima = read_json(laws(finished, "transfer_at_optima.json"))
    assert at_optima["simulated"]
    assert at_optima["same_runs"]
    assert "Not measured" not in report(finished)
    assert finished.planned() == {}


def test_asked_for_in_one_command_they_tell_the_same(simulated, finished, tmp_path):
    project = simulated.copy(tmp_path / "project")
    make(project, "sweeps", "all")
    for name in ("sweeps.json", "transfer_at_optima.json"):
        assert read_json(laws(project, name)) == read_json(laws(finished, name))
    assert report(project) == report(finished)
    assert project.planned("sweeps", "all") == {}


def test_what_is_not_asked_for_is_not_swept_and_old_verdicts_are_called_so(finished, tmp_path):
    project = finished.copy(tmp_path / "project")
    project.change(simulated={"laws": {"english": {"k": 80}}})
    planned = project.planned()
    assert planned["finetune"] == 6
    assert not planned.keys() & {"swept_scratch", "swept_finetune", "judge_sweeps"}
    make(project)
    assert "of other runs than the law" in report(project)
    assert project.planned("sweeps")["swept_finetune"] == 6


@pytest.mark.parametrize("target", ["sweeps", "results/tiny.simulated/figures/sweeps.svg"])
def test_an_experiment_that_sweeps_nothing_is_told_before_anything_is_trained(simulated, target, tmp_path):
    """It trained the whole grid, and ended with `KeyError: 'constant'`."""
    project = simulated.copy(tmp_path / "project")
    project.change(sweeps=[])
    code, output = project.snakemake("--cores", "2", target)
    assert code != 0
    assert "tiny sweeps nothing" in output
    assert "`sweeps:`" in output
    assert "Traceback" not in output
    assert not (project.folder / "results" / "tiny.simulated" / "training").exists()

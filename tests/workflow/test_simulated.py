"""A simulated experiment goes through all rules without data, in well under a minute, and finds what was planted."""

import csv
import shutil

import pandas as pd
import pytest
import yaml

from workflow_scripts.experiment import Experiment
from workflow_scripts.files import read_json
from workflow_scripts.laws.runs import SIMULATED

pytestmark = pytest.mark.workflow

PLANTED = {"k": 40, "alpha": 0.3, "beta": 0.3}
SIMULATION = {
    "base": "config/config.yaml",
    "experiment": "pretend",
    "title": "What would the quickstart find?",
    "share_process_below": None,
    "simulated": {"laws": {"english": PLANTED}},
}


@pytest.fixture(scope="module")
def simulated(pristine, tmp_path_factory):
    """The quickstart with one key more, after `make run`; nothing of the corpora was fetched."""
    project = pristine.copy(tmp_path_factory.mktemp("simulated") / "project")
    project.config.write_text(yaml.safe_dump(SIMULATION))
    code, output = project.launch("--resources", "gpu=8")
    assert code == 0, output
    project.output = output
    return project


def results(project, *parts):
    return project.folder.joinpath("results", "pretend.simulated", *parts)


def test_it_ends_with_a_marked_law_and_report_and_needs_no_corpus(simulated):
    assert SIMULATED in simulated.output
    assert simulated.output.rstrip().endswith("results/pretend.simulated/report.html")
    assert "<h1>SIMULATED: What would" in results(simulated, "report.html").read_text()
    assert sorted(path.name for path in (simulated.folder / "results").iterdir() if path.is_dir()) == ["pretend.simulated", "store"]  # fmt: skip
    assert [path.name for path in (simulated.folder / "results" / "store").iterdir()] == ["simulated"]
    assert not results(simulated, "corpora").exists()


def test_the_planted_law_is_found(simulated):
    """Within one and a half times the 95 % interval: a change of anything in a run's identity draws other noise."""
    law = read_json(results(simulated, "laws", "transfer_law.json"))["sources"]["english"]
    for name in ("alpha", "beta"):
        away = law[name]["estimate"] - PLANTED[name]
        assert abs(away) < 1.5 * (law[name]["high"] - law[name]["low"]) / 2


def test_every_table_says_that_it_is_simulated(simulated):
    tables = list(results(simulated, "laws").iterdir())
    assert len(tables) >= 7
    for path in tables:
        told = pd.read_parquet(path).simulated if path.suffix == ".parquet" else [read_json(path)["simulated"]]
        assert {bool(value) for value in told} == {True}, path
    with open(results(simulated, "figures", "coefficients.csv")) as file:
        assert {row["simulated"] for row in csv.DictReader(file)} == {"True", "False"}, "the paper's are not"


def test_cells_that_take_no_time_share_a_process(simulated):
    manifests = list(results(simulated, "training").rglob("seed*.json")) + list(
        results(simulated, "training").rglob("small.json")
    )
    experiment = Experiment.load(simulated.folder / "config/config.yaml")
    assert len(manifests) == len(experiment.shapes) * len(experiment.seeds) * 3 + 2 * len(experiment.seeds)


def test_nothing_is_left_to_do_and_the_measured_experiment_is_another(simulated):
    assert simulated.planned() == {}
    simulated.config.write_text(yaml.safe_dump({key: value for key, value in SIMULATION.items() if key != "simulated"}))
    planned = simulated.planned()
    simulated.config.write_text(yaml.safe_dump(SIMULATION))
    assert planned["pretrain"] == 10
    assert planned["fetch"] > 0


def test_a_simulated_run_under_a_measured_ones_name_is_refused(simulated, tmp_path):
    project = simulated.copy(tmp_path / "project")
    shutil.copytree(results(project, "training"), project.folder / "results" / "pretend" / "training")
    code, output = project.run(
        "workflow_scripts.laws.collect",
        *("--experiment", Experiment.parse({**SIMULATION, "simulated": None}, "here").model_dump_json()),
        *("--training", "results/pretend/training", "--out", "runs.parquet", "--curves", "curves.parquet"),
    )
    assert code != 0
    assert "the run is simulated, and those of pretend are measured; the two are never mixed" in output


@pytest.mark.parametrize("name", ["text-to-python", "languages", "languages-spanish", "languages-chinese"])
def test_a_paper_scale_experiment_is_planned_without_its_dumps(pristine, name):
    code, output = pristine.run(
        "snakemake", "-n", "--quiet", "rules", "--configfile", f"config/experiments/{name}.yaml"
    )
    assert code == 0, output
    assert "no file matches 'dumps/" in output
    assert "pretrain" in output


def test_but_not_started(pristine, tmp_path):
    project = pristine.copy(tmp_path / "project")
    code, output = project.run("snakemake", "--configfile", "config/experiments/languages.yaml")
    assert code != 0
    assert "corpora.german.oscar.path: no file matches 'dumps/oscar/de/*.jsonl.zst'" in output
    assert "Traceback" not in output
    assert not (project.folder / "results" / "languages").exists()

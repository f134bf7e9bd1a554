"""A simulated experiment goes through all rules without data, and finds what was planted."""

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
    made = simulated.folder / "results"
    assert {path.name for path in made.iterdir() if path.is_dir()} == {"pretend.simulated", "store"}
    assert [path.name for path in (made / "store").iterdir()] == ["simulated"]
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


def test_simulated_jobs_need_no_gpu(simulated):
    assert simulated.planned("--resources", "gpu=0") == {}


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


def test_a_paper_scale_experiment_is_planned_without_its_dumps(pristine):
    """The one with most formats of dumps and a mixture; that it is not started without them is tested with mistakes."""
    config = "config/experiments/text-to-python.yaml"
    code, output = pristine.run("snakemake", "-n", "--quiet", "rules", "--configfile", config)
    assert code == 0, output
    for corpus, source in [("text", "wikipedia"), ("code", "others"), ("python", "python")]:
        assert f"corpora.{corpus}.{source}.path: no file matches 'dumps/" in output
    assert "pretrain" in output

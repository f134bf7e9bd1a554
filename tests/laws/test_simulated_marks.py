"""Simulated results say so in every table and sentence, and are never mixed with measured ones."""

import json

import pandas as pd
import pytest
import yaml

from workflow_scripts.experiment import Experiment
from workflow_scripts.files import read_json, write_json
from workflow_scripts.laws import collect, pairs
from workflow_scripts.laws.bootstrap import fit_runs
from workflow_scripts.laws.fit import sentences, write_results
from workflow_scripts.laws.plan import main as plan
from workflow_scripts.laws.runs import SIMULATED, RunsError, check_runs
from workflow_scripts.laws.scaling import command
from workflow_scripts.laws.simulate import simulate_runs
from workflow_scripts.sections import Fit
from workflow_scripts.training.simulated import simulate

RUNS = simulate_runs(document_size=None)
FILES = {"effective_data.parquet", "scratch_curves.parquet", "draws.parquet", "transfer_law.json", "sanity.json"}


def laws_of(runs, folder):
    checked = check_runs(runs)
    runs.to_parquet(folder / "runs.parquet")
    return write_results(checked, fit_runs(checked, Fit(d_f=(6_000, 60_000), draws=100)), folder)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """`results/` with a simulated and a measured experiment."""
    results = tmp_path_factory.mktemp("results")
    for name, simulated in (("drawn.simulated", True), ("measured", False)):
        (results / name / "laws").mkdir(parents=True)
        laws_of(RUNS.assign(simulated=simulated), results / name / "laws")
    return results


@pytest.mark.parametrize(("name", "simulated"), [("drawn.simulated", True), ("measured", False)])
def test_every_file_of_the_laws_says_what_it_rests_on(folders, name, simulated):
    found = {path for path in (folders / name / "laws").iterdir() if path.name != "runs.parquet"}
    assert {path.name for path in found} == FILES
    for path in found:
        told = pd.read_parquet(path).simulated if path.suffix == ".parquet" else [read_json(path)["simulated"]]
        assert {bool(value) for value in told} == {simulated}


def test_so_do_the_words(folders, capsys):
    for name, simulated in (("drawn.simulated", True), ("measured", False)):
        laws = folders / name / "laws"
        assert sentences(read_json(laws / "transfer_law.json")).startswith(SIMULATED) is simulated
        plan([str(laws), "--characters", "20000"])
        assert capsys.readouterr().out.startswith(SIMULATED) is simulated
        command.main([str(laws / "runs.parquet"), "--draws", "100", "--out", str(folders / "scaling.json")])
        assert capsys.readouterr().out.startswith(SIMULATED) is simulated
        assert read_json(folders / "scaling.json")["simulated"] is simulated
        pairs.main([str(folders / name), "--out", str(folders / "pairs")])
        assert capsys.readouterr().out.startswith(SIMULATED) is simulated
        assert set(pd.read_csv(folders / "pairs" / "cells.csv").simulated) == {simulated}


def test_a_table_of_both_kinds_is_refused_with_the_rows():
    mixed = RUNS.assign(simulated=[False] * (len(RUNS) - 1) + [True])
    with pytest.raises(RunsError, match=rf"row {len(RUNS)} is simulated .* row 1 is measured .*never mixed"):
        check_runs(mixed)


def test_experiments_of_both_kinds_are_not_compared(folders, tmp_path):
    with pytest.raises(SystemExit, match=r"drawn.simulated: simulated; measured: measured; the two are never mixed"):
        pairs.main([str(folders / "drawn.simulated"), str(folders / "measured"), "--out", str(tmp_path)])


@pytest.mark.parametrize("asked", [("--characters", "20000", "--budget", "1e13"), ("--documents", "20")])
@pytest.mark.parametrize(("name", "other"), [("measured", "drawn.simulated"), ("drawn.simulated", "measured")])
def test_a_plan_takes_no_runs_of_the_other_kind(folders, name, other, asked):
    laws, runs = folders / name / "laws", folders / other / "laws" / "runs.parquet"
    kinds = [str(folder).split(".")[-1] for folder in (other, name)]
    found = (
        rf"{runs}: its runs are {kinds[0]}, and the law of {laws} is {kinds[1]}: the two are never mixed; expected the"
    )
    with pytest.raises(SystemExit, match=found):
        plan([str(laws), *asked, "--runs", str(runs)])


@pytest.fixture
def config():
    with open("tests/workflow/tiny.yaml") as file:
        return yaml.safe_load(file)


def test_a_run_of_the_other_kind_is_not_collected(config, tmp_path):
    """In both directions: whatever was left behind in the folder of an experiment."""
    measured = Experiment.parse(config, "here")
    drawn = Experiment.parse(config | {"simulated": {"laws": {"english": {}}}}, "here")
    for run in drawn.runs:
        specification = drawn.specification(run)
        write_json(tmp_path / run.folder / "run.json", {"identity": {"specification": specification}, **simulate(specification)})  # fmt: skip
    first = drawn.runs[0].folder
    assert collect.read_record(tmp_path, first, drawn)["status"] == "ok"
    with pytest.raises(SystemExit, match=rf"{first}/run.json: the run is simulated, and those of tiny are measured"):
        collect.read_record(tmp_path, first, measured)
    write_json(tmp_path / first / "run.json", {"identity": {"specification": measured.specification(measured.runs[0])}})
    out = ["--out", str(tmp_path / "runs.parquet"), "--curves", str(tmp_path / "curves.parquet")]
    with pytest.raises(SystemExit, match="the run is measured, and those of tiny are simulated"):
        collect.main(["--experiment", json.dumps(drawn.model_dump()), "--training", str(tmp_path), *out])

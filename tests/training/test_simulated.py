"""Simulated runs: the planted law, noise with the structure of the experiment, the files of a trained run."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors.numpy import load_file

from tests.training.test_run import SPECIFICATION
from workflow_scripts.experiment import Experiment
from workflow_scripts.files import read_json
from workflow_scripts.grid import FILES
from workflow_scripts.training import run, simulated
from workflow_scripts.training.data import DataError
from workflow_scripts.training.export import export
from workflow_scripts.training.planted import Planted

LAW = {"k": 40.0, "alpha": 0.3, "beta": 0.25}
QUIET = {"pretrain": 0.0, "prefix": 0.0, "run": 0.0}


def experiment(noise):
    with open("config/config.yaml") as file:
        config = yaml.safe_load(file)
    return Experiment.parse(config | {"simulated": {"laws": {"english": LAW}, "noise": noise}}, "here")


def losses(noise):
    """(arm, size, D, seed) -> loss, of the runs on excerpts."""
    here = experiment(noise)
    return {
        (r.arm, r.size, r.characters, r.seed): simulated.simulate(here.specification(r))["outcome"]["test_loss"]
        for r in here.runs
        if r.unit == "excerpt" or r.arm == "zero_shot"
    }


def test_without_noise_losses_are_those_of_the_planted_law():
    found, planted = losses(QUIET), Planted(**LAW)
    assert found["scratch", "25k", 44_000, 0] == pytest.approx(planted.scratch_loss(24_576, 44_000))
    effective = 10_000 + 40 * 10_000**0.3 * 24_576**0.25
    assert found["finetune", "25k", 10_000, 1] == pytest.approx(planted.scratch_loss(24_576, effective))
    assert found["zero_shot", "25k", 0, 0] == pytest.approx(planted.scratch_loss(24_576, 1 + 40 * 24_576**0.25))


def test_runs_from_one_pre_trained_model_share_its_luck():
    noisy, quiet = losses(QUIET | {"pretrain": 0.1}), losses(QUIET)
    luck = {key: noisy[key] - quiet[key] for key in quiet}
    of_model = [
        value for (arm, size, _, seed), value in luck.items() if (size, seed) == ("25k", 0) and arm != "scratch"
    ]
    assert np.ptp(of_model) == pytest.approx(0, abs=1e-12)
    assert abs(of_model[0]) > 1e-3
    assert luck["finetune", "25k", 10_000, 1] != pytest.approx(of_model[0])
    assert luck["scratch", "25k", 10_000, 0] == 0


def test_all_runs_on_one_prefix_share_its_luck_whatever_their_size_and_arm():
    noisy, quiet = losses(QUIET | {"prefix": 0.1}), losses(QUIET)
    luck = [noisy[arm, size, 44_000, 0] - quiet[arm, size, 44_000, 0] for arm in ("scratch", "finetune") for size in ("10k", "55k")]  # fmt: skip
    assert np.ptp(luck) == pytest.approx(0, abs=1e-12)
    assert abs(luck[0]) > 1e-3


def test_nested_prefixes_correlate_with_the_square_root_of_their_ratio():
    at = [round(np.log(d) / simulated.PREFIX_STEP) for d in (10_000, 44_000, 1_000_000)]
    values = np.array([simulated.prefix_path(None, seed)[at] for seed in range(1500)])
    assert np.corrcoef(values.T)[0, 1:] == pytest.approx([0.5, 0.1], abs=0.08)
    assert values.std(axis=0) == pytest.approx(1, abs=0.06)


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A run's folder, and the manifest of its job."""
    monkeypatch.chdir(tmp_path)
    truth = {"law": None, "loss": {}, "noise": {}}
    specification = SPECIFICATION | {"simulated": truth}
    simulated.main(["--runs", json.dumps({"runs/cell": specification}), "--out", "cell.json"])
    return tmp_path / "runs" / "cell", read_json("cell.json")


def test_a_simulated_run_has_the_files_of_a_trained_one_and_says_what_it_is(job):
    folder, manifest = job
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert manifest["runs/cell"]["simulated"]
    assert "simulated" in read_json(folder / "run.json")["identity"]["specification"]
    assert pd.read_parquet(folder / "curve.parquet").simulated.all()
    assert load_file(folder / "model.safetensors") == {}


def test_its_record_has_every_key_of_a_trained_ones(job, monkeypatch, tmp_path):
    from tests.training.conftest import write_tokens

    monkeypatch.chdir(tmp_path)
    write_tokens(tmp_path / "tokens" / "corpus")
    run.main(["--runs", json.dumps({"runs/true": SPECIFICATION}), "--tokens", "tokens", "--out", "true.json"])
    drawn, trained = (read_json(f"runs/{name}/run.json") for name in ("cell", "true"))
    assert set(drawn) == set(trained)
    for part in ("parameters", "data", "outcome"):
        assert set(drawn[part]) == set(trained[part])
    rows = [pd.read_parquet(f"runs/{name}/curve.parquet") for name in ("cell", "true")]
    assert set(rows[0]) - set(rows[1]) == {"simulated"}


def test_a_simulated_run_gives_no_weights_to_train_or_to_export(job):
    folder, _ = job
    with pytest.raises(DataError, match=r"runs/cell: the run is simulated"):
        run._weights_of(folder.with_suffix(".json"))
    with pytest.raises(ValueError, match=r"runs/cell: this run is simulated"):
        export(folder, folder / "tokenizer.json", folder / "out")

"""Designs compared by simulation: more seeds and more D must be worth what they are worth."""

import numpy as np
import pandas as pd
import pytest
import yaml

from workflow_scripts.experiment import Experiment
from workflow_scripts.laws import design

SIMULATED = {"laws": {"english": {"k": 40, "alpha": 0.3, "beta": 0.3}}}
DRAWS = {"d_f": [6_000, 60_000], "draws": 100}


@pytest.fixture(scope="module")
def config():
    with open("config/config.yaml") as file:
        return yaml.safe_load(file) | {"fit": DRAWS}


@pytest.fixture(scope="module")
def experiment(config):
    return Experiment.parse(config | {"simulated": SIMULATED}, "here")


def test_grids_are_thinned_and_doubled_between_their_ends():
    assert design.thinned([1, 2, 4, 8]) == (1, 4, 8)
    assert design.doubled([100, 400, 900]) == (100, 200, 400, 600, 900)


def test_designs_keep_to_the_range_of_the_fit(experiment):
    compared = design.designs(experiment, [4, 2, 2])
    assert len(compared) == 6
    own = next(d for d in compared if d.grid == design.AS_CONFIGURED)
    assert own.finetune == (6_000, 10_000, 16_000, 25_000, 44_000, 60_000), "200,000 lies outside"
    assert own.scratch == experiment.grids[0].scratch


def test_many_seeds_narrow_the_interval_and_cost_more(experiment):
    table = design.compare(experiment, [2, 6], within=0.02, experiments=2, workers=1)
    own = table[table.grid == design.AS_CONFIGURED].set_index("seeds")
    assert own.alpha_half_width[6] < 0.8 * own.alpha_half_width[2]
    assert own.compute[2] == 1.0
    assert own.compute[6] == pytest.approx(3.0)
    assert table.simulated.all()


def test_a_grid_that_leaves_no_curve_is_left_out_and_said(tmp_path, config, capsys):
    """Every other of three from-scratch D is two, which make no curve: a traceback."""
    grid = {"unit": "excerpt", "finetune": [6_000, 10_000, 25_000], "scratch": [6_000, 25_000, 245_000]}
    path, out = tmp_path / "here.yaml", tmp_path / "design.csv"
    path.write_text(yaml.safe_dump(config | {"simulated": SIMULATED, "grids": [grid], "sweeps": []}))
    design.main(["--configfile", str(path), "--out", str(out), "--seeds", "2", "--experiments", "1"])
    assert set(pd.read_csv(out).grid) == {design.AS_CONFIGURED, "twice as many D"}
    assert (
        "The grid with every other D is left out: fewer than 3 from-scratch D make no curve." in capsys.readouterr().out
    )


@pytest.mark.parametrize("option", ["--seeds", "--experiments", "--workers"])
@pytest.mark.parametrize("value", ["0", "-1", "2.5"])
def test_numbers_of_seeds_and_experiments_are_positive(option, value, tmp_path, capsys):
    with pytest.raises(SystemExit):
        design.main(["--configfile", "config/config.yaml", "--out", str(tmp_path / "design.csv"), option, value])
    assert f"argument {option}: found {value}, expected a whole number, 1 or more" in capsys.readouterr().err


def test_the_answer_is_the_cheapest_design_that_is_good_enough():
    rows = {"source": "english", "grid": "g", "alpha_half_width": [0.03, 0.019, 0.01], "compute": [1.0, 2.0, 4.0]}
    table = pd.DataFrame(rows | {"seeds": [2, 4, 8]}).assign(flops=lambda t: t.compute)
    asked = design.sentence(table.assign(reached=table.alpha_half_width <= 0.02), "english", 0.02)
    assert asked == "english: alpha to +- 0.02 takes at least g, 4 seeds: +- 0.019 with 2 times the compute."
    none = design.sentence(table.assign(reached=False), "english", 0.001)
    assert "none of these gives alpha to +- 0.001; the best is g, 8 seeds: +- 0.010" in none


def test_the_command_writes_a_marked_table_and_says_so(tmp_path, config, capsys):
    path = tmp_path / "here.yaml"
    path.write_text(yaml.safe_dump(config | {"simulated": SIMULATED}))
    design.main(
        ["--configfile", str(path), "--out", str(tmp_path / "design.csv"), "--seeds", "2", "--experiments", "1"]
    )
    told = capsys.readouterr().out
    assert told.startswith("SIMULATED")
    assert np.all(pd.read_csv(tmp_path / "design.csv").simulated)
    assert "left out" not in told


def test_without_a_planted_truth_it_says_what_to_add(tmp_path, config):
    path = tmp_path / "here.yaml"
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(SystemExit, match="no key `simulated`.*english: {k: 40"):
        design.main(["--configfile", str(path), "--out", str(tmp_path / "design.csv")])


def test_a_design_without_a_law_or_an_interval_is_not_good_enough(config):
    """All cells lie beyond the curve: no law is fitted, which was an error, and unknown ends were left out of the median."""
    beyond = {"laws": {"english": {"k": 1e6, "alpha": 0.3, "beta": 0.3}}}
    table = design.compare(Experiment.parse(config | {"simulated": beyond}, "here"), [2], 0.02, 1, workers=1)
    assert (table.censored == 1).all()
    assert np.isinf(table.alpha_half_width).all()
    assert not table.reached.any()

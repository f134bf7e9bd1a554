"""Pilots: a part of the cells predicts the others, and says so when it does not."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from workflow_scripts.laws import fit, likelihood
from workflow_scripts.laws.planning.answers import pilot
from workflow_scripts.laws.planning.forecast import Forecast, read_forecast
from workflow_scripts.laws.planning.pilot import _nearest, pilots
from workflow_scripts.laws.simulate import Noise, Planted, simulate_runs

SIZES = {"6k": 6_144, "14k": 13_824, "35k": 34_656, "86k": 86_400}
D_F = (1_000, 3_000, 10_000, 30_000, 100_000)
SCRATCH_D = tuple(int(d) for d in np.geomspace(1_000, 900_000, 28))


def _forecast(folder, **more) -> Forecast:
    runs = simulate_runs(sizes=SIZES, finetune=D_F, scratch=SCRATCH_D, document_size=None, **more)
    runs.to_parquet(folder / "runs.parquet")
    fit.main([str(folder / "runs.parquet"), "--out", str(folder), "--fit", '{"d_f": [1000, 100000], "draws": 100}'])
    return read_forecast(folder)


def test_without_noise_a_pilot_predicts_the_rest(tmp_path):
    found = pilots(_forecast(tmp_path, noise=Noise(0, 0, 0)), "english")
    assert [len(one["n_params"]) for one in found] == [4, 3]
    for one in found:
        assert one["d_f"] == [1_000, 10_000]
        assert one["largest_d_f"] == 100_000
        assert one["missed"]["the rest"]["d_e_factor"] < 1.03
        assert one["missed"]["the largest set"]["n_cells"] == 4
        assert abs(one["missed"]["the rest"]["loss_error_mean"]) < 0.005


def test_a_pilot_that_does_not_see_ossification_promises_too_much(tmp_path):
    """Where larger sets turn transfer negative, a pilot on small ones misses, and its interval does not hold them."""
    planted = Planted(ossification=1.5)
    all_sizes = pilots(_forecast(tmp_path, planted=planted, noise=Noise(0.001, 0.001, 0.001)), "english")[0]
    largest = all_sizes["missed"]["the largest set"]
    assert largest["loss_error_mean"] > 0
    assert largest["inside"] < largest["n_cells"]


def test_a_pilot_that_does_not_converge_says_so_and_how_many_starts_agree(tmp_path, monkeypatch):
    forecast = _forecast(tmp_path)
    monkeypatch.setattr(likelihood, "STEPS", 0)
    told = pilot(forecast).sentences
    assert any(
        re.match(
            r"The fit of a pilot of english at 4 sizes is not converged \(\d+ of 36 starts agree\): it predicts",
            sentence,
        )
        for sentence in told
    )


def test_a_grid_without_a_hundredth_of_the_data_takes_its_two_smallest_sizes():
    assert _nearest(np.array([6e3, 1e4, 2e4]), 6e4) == [6e3, 1e4]
    assert _nearest(np.array([1e3, 1e4, 2e4]), 1e5) == [1e3, 1e4]


def test_a_pilot_of_limits_predicts_nothing(tmp_path):
    """Its fit was `ok`, and its law where the search began."""
    forecast = _forecast(tmp_path)
    small = forecast.cells.d_f <= 10_000
    limits = replace(forecast, cells=forecast.cells.assign(lower_bound=forecast.cells.lower_bound | small))
    assert {one["status"] for one in pilots(limits, "english")} == {"too few cells"}
    told = pilot(limits).sentences
    assert told[0] == "The fit of a pilot of english at 4 sizes has too few cells: it predicts nothing."


def test_a_cell_that_tells_nothing_is_no_part_of_a_pilot(tmp_path):
    """A fine-tuned run at its budget above its whole curve was read as more data than the curve begins with."""
    forecast = _forecast(tmp_path)
    nothing = forecast.cells.d_f == 1_000
    censored = forecast.cells.censored.mask(nothing, "below")
    cells = forecast.cells.assign(lower_bound=forecast.cells.lower_bound | nothing, censored=censored)
    (found, *_), (without, *_) = (pilots(replace(forecast, cells=some), "english") for some in (cells, cells[~nothing]))
    assert found["d_f"] == [3_000, 10_000]
    assert found == without

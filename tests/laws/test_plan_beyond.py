"""What a plan says where it cannot name a number: losses below the from-scratch curves, steps that are worth nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from workflow_scripts.laws import fit
from workflow_scripts.laws.plan import interval_sentences
from workflow_scripts.laws.planning.answers import Question, _step
from workflow_scripts.laws.planning.forecast import Forecast, read_forecast
from workflow_scripts.laws.simulate import simulate_runs

SIZES = {"6k": 6_144, "14k": 13_824, "35k": 34_656, "86k": 86_400, "194k": 194_400}
D_F = (1_000, 3_000, 6_000, 10_000, 20_000, 35_000, 60_000, 100_000)
ENDS_EARLY = tuple(int(d) for d in np.geomspace(1_000, 88_000, 16))
"""From-scratch D, of which the largest is less than many D_E."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("early")
    simulate_runs(sizes=SIZES, finetune=D_F, scratch=ENDS_EARLY, document_size=None).to_parquet(folder / "runs.parquet")
    rule = json.dumps({"d_f": [1_000, 100_000], "draws": 200})
    fit.main([str(folder / "runs.parquet"), "--out", str(folder), "--fit", rule])
    return folder


@pytest.fixture(scope="module")
def forecast(folder: Path) -> Forecast:
    return read_forecast(folder)


def _question(**more) -> Question:
    return Question(**{"characters": 60_000.0, "sizes": tuple(map(float, SIZES.values()))} | more)


@pytest.mark.parametrize(
    ("worth", "told"),
    [
        ((-4e3, -6e3, -1e3), "(-6,000 to -1,000) characters beside the 20,000. It makes the loss higher"),
        ((-4e3, -6e3, 1e3), "is not expected to lower the loss: it is worth -4,000 (-6,000 to 1,000) characters"),
        ((-4e3, -6e3, None), "It may lower it: the upper end of the interval is unknown."),
        (
            (4e3, -1e3, 6e3),
            "the better buy if it costs less than they do. It may be worth nothing: the interval holds 0.",
        ),
        ((4e3, 1e3, 6e3), "the better buy if it costs less than they do."),
    ],
)
def test_a_larger_model_that_is_worth_nothing_is_no_buy(worth, told):
    """It was the better buy at -3,790 (-5,740 to -1,420) characters, and that interval held 0."""
    found = dict(zip(("estimate", "low", "high"), worth, strict=True))
    row = {"source": "english", "n_params": 6_144, "larger": 13_824, "more_characters": found}
    step = _step(row, Question(20_000.0, (6_144.0, 13_824.0)))
    assert told in step
    assert ("better buy" in step, "holds 0" in step) == (worth[0] > 0, worth[1] < 0 < (worth[2] or 0))


def test_cells_beyond_the_curves_are_counted_among_those_that_a_plan_is_held_against(forecast):
    """`Held against the 33 cells of the fit: 33 lie inside`, of 40."""
    held = interval_sentences(forecast)["holds"][-1]
    assert held.startswith(
        "Held against 33 of the 40 cells of the fit: 33 lie inside; their losses are missed by 0.014 nats"
    )
    assert held.endswith("; the other 7 lie beyond the from-scratch curves.")

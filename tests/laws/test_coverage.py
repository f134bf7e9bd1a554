"""A small version of `make coverage`."""

import numpy as np
import pytest

from benchmarks.coverage import SETTINGS, experiment


@pytest.mark.parametrize("name", SETTINGS)
def test_intervals_hold_what_was_planted(name):
    """Eight experiments with fixed seeds, three coefficients: 24 intervals of 95 %."""
    rows = [row for seed in range(8) for row in experiment(name, seed, draws=200)["rows"][:3]]
    held = [row["low"] <= row["truth"] <= row["high"] for row in rows]
    assert np.sum(held) >= 18

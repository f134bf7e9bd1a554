"""A small version of `make coverage`, and the table that it keeps."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.coverage import SETTINGS, TABLE, experiment


@pytest.mark.parametrize("name", SETTINGS)
def test_intervals_hold_what_was_planted(name):
    """Eight experiments with fixed seeds, three coefficients: 24 intervals of 95 %."""
    rows = [row for seed in range(8) for row in experiment(name, seed, draws=200)["rows"][:3]]
    low, high = (
        np.array([unknown if row[end] is None else row[end] for row in rows], dtype=float)
        for end, unknown in (("low", -np.inf), ("high", np.inf))
    )
    truth = np.array([row["truth"] for row in rows])
    known = np.isfinite(low) | np.isfinite(high)
    assert known.mean() > 0.8
    assert ((low <= truth) & (truth <= high))[known].mean() >= 20 / 24


def test_the_kept_table_holds_for_every_setting():
    """200 experiments a setting or more: 90 to 99 % of the intervals hold what was planted."""
    table = pd.read_csv(TABLE)
    assert set(table.setting) == set(SETTINGS)
    assert (table.experiments >= 200).all()
    of_cells = table.coefficient.str.startswith("ln D_E")
    assert table.covered[~of_cells].between(0.90, 0.99).all()
    assert table.covered[of_cells].between(0.93, 0.99).all(), "of the smallest sets too, whatever the noise does with D"

"""Learning curves of pre-training stand beside the table of runs in the same units."""

import pandas as pd
import pytest

from workflow_scripts.laws.collect import curve_of


def test_a_curve_ends_with_the_compute_of_its_run():
    run = {"corpus": "english", "size": "25k", "n_params": 24_576, "n_params_total": 61_000, "seed": 1}
    run |= {"best_tokens": 4_000, "flops": 6e8, "flops_with_head": 9e8}
    curve = curve_of(run, pd.DataFrame({"tokens": [1_000, 4_000], "validation_loss": [5.0, 4.5]}))
    assert curve["d_tokens"].tolist() == [1_000, 4_000]
    assert curve["flops"].tolist() == pytest.approx([1.5e8, 6e8])
    assert curve["flops_with_head"].tolist() == pytest.approx([2.25e8, 9e8])
    assert curve["val_loss"].tolist() == [5.0, 4.5]
    assert set(curve["corpus"]) == {"english"}
    assert set(curve["n_params"]) == {24_576}

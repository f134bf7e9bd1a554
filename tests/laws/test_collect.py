"""Learning curves as they are collected: after the warm-up, up to the best point, with the counts of their run."""

import numpy as np
import pandas as pd
import pytest

from workflow_scripts.laws.collect import OF_A_CURVE, beside_their_runs, learning_curve, row

LABELS = {"arm": "scratch", "init": "scratch", "corpus": "python", "unit": "excerpt", "size": "5k"}
STEPS = [8, 30, 100, 130, 200, 300, 400]


def record(best_step: int) -> dict:
    recipe = {"warmup_steps": 30}
    specification = {"data": {"characters": 6_000}, "initial": None, "seed": 1, "trainable": "all", "recipe": recipe}
    return {
        "identity": {"specification": specification | {"model": {"n_ctx": 128}}},
        "data": {"characters": 5_990, "bytes": 6_010, "tokens": 2_500, "units": 10},
        "parameters": {"body": 4_704, "total": 20_000},
        "outcome": {"best_tokens": best_step * 512},
        "learning_rate": 0.004,
        "batch_tokens": 512,
        "status": "ok",
        "failure": None,
    }


@pytest.mark.parametrize(("best", "kept"), [(300, [130, 200, 300]), (100, [100])])
def test_points_lie_between_the_warm_up_and_the_best(best, kept):
    """Four warm-ups of 30 steps; the best point stays, even where it comes sooner."""
    steps = np.array(STEPS)
    curve = {"step": steps, "tokens": 512 * steps, "validation_loss": np.full(len(steps), 5.0)}
    points = learning_curve(record(best), curve)
    assert points["tokens"].tolist() == [512 * step for step in kept]
    assert points["loss"].tolist() == [5.0] * len(kept)


def test_every_point_has_the_counts_of_its_run():
    runs = pd.DataFrame([row(LABELS | {"size": size}, record(300)) for size in ("5k", "9k", "14k")])
    curves = {2: {"tokens": [512, 1024], "loss": [4.0, 3.9]}, 0: {"tokens": [512], "loss": [5.0]}}
    points = beside_their_runs(curves, runs)
    assert list(points.columns) == ["tokens", "loss", *OF_A_CURVE]
    assert points[["size", "loss"]].to_numpy().tolist() == [["14k", 4.0], ["14k", 3.9], ["5k", 5.0]]
    assert (points.d_tokens == 2_500).all()
    assert (points.batch_tokens == 512).all()
    assert list(beside_their_runs({}, runs).columns) == list(points.columns)

"""From run folders of a sweep to its verdict and its figure: both arms, and an optimum that is not inside."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from workflow_scripts.experiment import Experiment
from workflow_scripts.figures.sweeps import draw
from workflow_scripts.files import read_json, write_json
from workflow_scripts.laws import transfer_at_optima
from workflow_scripts.laws.sweeps import effect_on_transfer, judge, main

FACTORS = [0.25, 0.5, 1, 2, 4]
OWN = 0.004
"""The recipe's own learning rate."""
SWEEP = {
    "constant": "learning_rate",
    "values": [OWN * factor for factor in FACTORS],
    "sizes": ["25k"],
    "characters": [6_000, 44_000],
}
INSIDE, BEYOND = 1.2, 0.02
"""Multiples of the recipe's learning rate with the lowest loss: within the sweep, and below its smallest."""


@pytest.fixture
def judged(tmp_path: Path) -> Callable[[float, float], dict]:
    """The verdict on sweeps whose losses have their minimum at a planted factor in either arm, and the effect on D_T."""

    def make(scratch: float, finetune: float, *sweeps: dict) -> dict:
        config = yaml.safe_load(Path("config/config.yaml").read_text(encoding="utf-8"))
        config |= {"sweeps": sweeps or [SWEEP]}
        config["recipe"]["learning_rate"] = OWN
        for run in Experiment.parse(config, "here").sweep_runs:
            optimum = scratch if run.arm == "scratch" else finetune
            loss = 3.0 + 0.05 * np.log(run.value / OWN / optimum) ** 2 + 0.01 * run.seed
            record = {"identity": {"specification": {}}, "outcome": {"test_loss": loss}}
            write_json(tmp_path / "training" / run.folder / "run.json", record)
        d = np.geomspace(7_000, 245_000, 8)
        curve = pd.DataFrame({"unit": "excerpt", "n_params": 24_576, "d": d, "loss": 5 - 0.3 * np.log(d)})
        cells = [{"d_f": 6_000, "d_e": 12_000.0}, {"d_f": 44_000, "d_e": 60_000.0}]
        place = {"source": "english", "unit": "excerpt", "size": "25k", "n_params": 24_576}
        place["test_loss"] = 3.0 + 0.05 * np.log(finetune) ** 2 + 0.005  # of the same runs: the mean of both seeds
        curve.to_parquet(tmp_path / "scratch_curves.parquet")
        pd.DataFrame([place | cell for cell in cells]).to_parquet(tmp_path / "effective_data.parquet")
        sweeps, at_optima = str(tmp_path / "sweeps.json"), str(tmp_path / "transfer_at_optima.json")
        main(["--experiment", json.dumps(config), "--training", str(tmp_path / "training"), "--out", sweeps])
        law = ["--laws", str(tmp_path), "--unit", "excerpt"]
        transfer_at_optima.main(["--sweeps", sweeps, *law, "--out", at_optima])
        return read_json(sweeps) | read_json(at_optima)

    return make


def test_an_optimum_at_the_edge_of_one_arms_sweep_is_not_called_inside(judged: Callable[[float, float], dict]) -> None:
    """A learning rate whose best lies beyond the sweep of one arm biases D_T by an unknown amount: peers' users ask."""
    cells = judged(INSIDE, BEYOND)["cells"]
    assert {(cell["arm"], cell["optimum_inside"]) for cell in cells} == {("scratch", True), ("finetune", False)}
    for cell in cells:
        expected = 1.0 if cell["arm"] == "scratch" else 0.25  # of the values that were swept
        assert cell["best_value"] == pytest.approx(OWN * expected)
        assert cell["verdict"] == ("negligible" if cell["arm"] == "scratch" else "not negligible")


def test_losing_alike_in_both_arms_leaves_transfer_and_in_one_arm_alone_moves_it(
    judged: Callable[[float, float], dict],
) -> None:
    """The from-scratch curve has the slope 0.3: 0.05 ln(2)² nats more in the tuned arm are a factor e^0.08 of D_E."""
    assert [one["d_t_ratio"] for one in judged(2.0, 2.0)["transfer"]] == pytest.approx([1, 1])
    moved = np.exp(0.05 * np.log(2) ** 2 / 0.3)
    expected = [(12_000 * moved - 6_000) / 6_000, (60_000 * moved - 44_000) / 16_000]
    assert [one["d_t_ratio"] for one in judged(1.0, 2.0)["transfer"]] == pytest.approx(expected)


def test_the_from_scratch_curve_moves_by_what_is_left_where_it_is_read() -> None:
    """D_E is read at D_E characters: what from-scratch training leaves at D_F, in a set an eighth as large, says nothing."""
    same = {"constant": "learning_rate", "size": "25k", "optimum_inside": True}
    cells = [
        {**same, "arm": "scratch", "source": None, "d_chars": d, "left": left}
        for d, left in ((6_000, 0.06), (44_000, 0.0))
    ]
    cells.append({**same, "arm": "finetune", "source": "english", "d_chars": 6_000, "left": 0.0})
    d = np.geomspace(6_000, 245_000, 8)
    curves = pd.DataFrame({"unit": "excerpt", "n_params": 24_576, "d": d, "loss": 5 - 0.3 * np.log(d)})
    row = {"unit": "excerpt", "source": "english", "size": "25k", "n_params": 24_576, "d_f": 6_000}

    def ratio(d_e: float) -> float:
        (found,) = effect_on_transfer(cells, pd.DataFrame([row | {"d_e": d_e}]), curves, "excerpt")
        return found["d_t_ratio"]

    assert ratio(44_000.0) == pytest.approx(1)
    assert ratio(90_000.0) == pytest.approx(1), "beyond the largest set swept, what is left there"
    middle = np.sqrt(6_000 * 44_000.0)
    assert ratio(middle) == pytest.approx((middle * np.exp(-0.03 / 0.3) - 6_000) / (middle - 6_000))
    cells[1]["optimum_inside"] = False
    assert effect_on_transfer(cells, pd.DataFrame([row | {"d_e": middle}]), curves, "excerpt") == []


def test_sweeps_that_share_cells_are_judged_once(judged: Callable[[float, float], dict]) -> None:
    """A finer sweep at one size shares the recipe's own value with the wide one: that ended in a traceback."""
    alone = judged(INSIDE, 2.0)
    finer = SWEEP | {"values": [OWN * factor for factor in (0.5, 0.7, 1.4)]}
    both = judged(INSIDE, 2.0, SWEEP, finer)
    assert [len(cell["losses"]) for cell in both["cells"]] == [len(cell["losses"]) + 2 for cell in alone["cells"]]


def test_two_sources_are_told_apart() -> None:
    place = {"constant": "dropout", "own": 0.0, "size": "25k", "n_params": 24_576, "d_chars": 6_000}
    cells = [place | {"arm": "scratch", "source": None, "losses": {"0": 3.0, "0.1": 3.1}}]
    cells += [
        place | {"arm": "finetune", "source": name, "losses": {"0": 3.0, "0.1": 3.1}} for name in ("english", "code")
    ]
    scratch, tuned = draw({"cells": cells, "simulated": False}).axes
    assert {text.get_text() for text in tuned.texts} >= {"25k, 6k english", "25k, 6k code"}
    assert "25k, 6k" in {text.get_text() for text in scratch.texts}


def test_a_seed_that_fails_at_every_value_is_not_passed_over() -> None:
    place = {
        "constant": "learning_rate",
        "own": 0.1,
        "arm": "scratch",
        "source": None,
        "size": "25k",
        "n_params": 24_576,
    }
    runs = [
        place | {"d_chars": 6_000, "value": value, "seed": seed, "test_loss": 3.0 if seed == 0 else np.nan}
        for value in (0.05, 0.1, 0.2)
        for seed in (0, 1)
    ]
    with pytest.raises(SystemExit, match="a run failed at every value"):
        judge(pd.DataFrame(runs))


def test_the_figure_shows_both_arms_over_the_recipes_own_value(judged: Callable[[float, float], dict]) -> None:
    scratch, tuned = draw(judged(INSIDE, 2.0)).axes
    assert (scratch.get_title(), tuned.get_title()) == ("From scratch", "Fine-tuned")
    for axes, optimum in ((scratch, INSIDE), (tuned, 2.0)):
        lines = [line for line in axes.lines if len(line.get_xdata()) == len(FACTORS)]
        assert len(lines) == 2
        for line in lines:
            expected = 0.05 * (np.log(np.array(FACTORS) / optimum) ** 2 - np.log(optimum) ** 2)
            np.testing.assert_allclose(line.get_ydata(), np.minimum(expected, 0.3), atol=1e-12)


def test_constants_that_matter_more_than_the_first_are_drawn_whole() -> None:
    """Dropout's valley once fixed the limits for all: the gain by more weight decay lay below the panel."""
    place = {"source": None, "size": "25k", "n_params": 24_576, "d_chars": 6_000}
    small = {**place, "constant": "dropout", "own": 0.0, "losses": {"0": 3.0, "0.1": 3.01}}
    large = {**place, "constant": "weight_decay", "own": 0.1, "losses": {"0.1": 3.0, "1": 2.8, "0.01": 3.2}}
    cells = [{**cell, "arm": arm} for cell in (small, large) for arm in ("scratch", "finetune")]
    for axes in draw({"cells": cells}).axes:
        low, high = axes.get_ylim()
        assert low < -0.2
        assert high > 0.2


def test_values_that_hold_0_are_drawn_without_logarithms() -> None:
    losses = {"0": 3.0, "0.1": 2.9, "0.2": 3.1}
    place = {
        "constant": "dropout",
        "source": None,
        "own": 0.0,
        "losses": losses,
        "size": "25k",
        "n_params": 24_576,
        "d_chars": 6_000,
    }
    for axes in draw({"cells": [{**place, "arm": arm} for arm in ("scratch", "finetune")]}).axes:
        assert axes.get_xscale() == "linear"
        (line,) = [line for line in axes.lines if line.get_marker() != "None"]
        np.testing.assert_allclose(line.get_xydata(), [[0, 0], [0.1, -0.1], [0.2, 0.1]], atol=1e-12)


def test_a_size_looks_alike_in_every_panel() -> None:
    """Constants are swept at sizes of their own: the colour of one size must not be that of another one below."""
    cells = [
        {"constant": constant, "arm": arm, "size": f"{n}k", "n_params": 1000 * n, "d_chars": d, "own": 0.1}
        | {"source": None, "losses": {"0.05": 3.0, "0.1": 3.1}}
        for constant, sizes, characters in (
            ("dropout", (25, 124), (44_000,)),
            ("learning_rate", (3, 25), (6_000, 44_000)),
        )
        for arm in ("scratch", "finetune")
        for n in sizes
        for d in characters
    ]
    looks: dict[str, set[tuple]] = {}
    for axes in draw({"cells": cells, "simulated": False}).axes:
        names = [text.get_text() for text in axes.texts if "k, " in text.get_text()]
        drawn = [line for line in axes.lines if line.get_marker() != "None"]
        colours = {(text.get_color(), text.get_text()) for text in axes.texts if text.get_text() in names}
        assert len(colours) == len(drawn)
        for line in drawn:
            name = next(name for colour, name in colours if colour == line.get_color())
            looks.setdefault(name.split(",")[0], set()).add((line.get_color(), line.get_marker()))
    assert set(looks) == {"3k", "25k", "124k"}
    assert all(len(look) == 1 for look in looks.values())

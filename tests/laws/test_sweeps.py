"""A sweep says which value is best, what the recipe loses against it, and what D_T would be without that."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts.laws.sweeps import effect_on_transfer, judge
from workflow_scripts.laws.transfer_at_optima import of_the_same_runs

RATES = [0.001, 0.002, 0.004, 0.008, 0.016]
OWN = 0.004


def swept(optimum, arm="scratch", size="25k", noise=0.0, curvature=0.05, level=3.0):
    """Losses on a parabola in the logarithm of the rate with its minimum at `optimum` times the recipe's own, two seeds,
    seed noise shared by all rates."""
    random = np.random.default_rng(0)
    rows = []
    for seed in (0, 1):
        of_seed = random.normal(0, 0.05)
        for rate in RATES:
            loss = level + curvature * np.log(rate / (OWN * optimum)) ** 2 + of_seed + random.normal(0, noise)
            rows.append(
                {"constant": "learning_rate", "value": rate, "own": OWN, "arm": arm}
                | {"source": None if arm == "scratch" else "e"}
                | {"size": size, "n_params": 24_576, "d_chars": 6_000, "seed": seed, "test_loss": loss}
            )
    return pd.DataFrame(rows)


@given(st.floats(0.36, 2.8))
def test_the_best_swept_value_is_the_one_beside_a_planted_optimum(optimum):
    """And what the recipe loses was measured: at a wall, a parabola through points a factor 3 apart told 0.068 where no
    value between them brings more than 0.019."""
    (cell,) = judge(swept(optimum))
    lost = {rate: 0.05 * np.log(rate / (OWN * optimum)) ** 2 for rate in RATES}
    assert lost[cell["best_value"]] == min(lost.values())
    assert cell["left"] == pytest.approx(lost[OWN] - min(lost.values()), abs=1e-9)
    assert cell["optimum_inside"]


@pytest.mark.parametrize("optimum", [0.05, 20.0])
def test_an_optimum_beyond_the_sweep_is_not_called_one(optimum):
    (cell,) = judge(swept(optimum))
    assert not cell["optimum_inside"]
    assert cell["verdict"] == "not negligible"


def test_a_flat_valley_is_negligible_and_a_steep_one_is_not():
    flat, steep = judge(pd.concat([swept(1.4, size="25k"), swept(2.0, size="55k", curvature=0.2)]))
    assert (flat["verdict"], steep["verdict"]) == ("negligible", "not negligible")


def test_the_error_is_known_where_the_rule_is_the_best_value_too():
    """It came from cells where it is not: of weight decay that was one of twelve, and said 0.0004 where seeds differ by 0.01."""
    noise, cells = 0.01, 40
    runs = [swept(1.0, size=f"{number}k", noise=0.0, curvature=0.2) for number in range(cells)]
    random = np.random.default_rng(1)
    found = judge(pd.concat(runs).assign(test_loss=lambda all: all.test_loss + random.normal(0, noise, len(all))))
    assert {cell["best_value"] for cell in found} == {OWN}
    assert found[0]["left_error"] == pytest.approx(noise, rel=0.2), "two seeds of a difference of two losses"


def test_a_failed_run_is_named_and_costs_its_value_only():
    runs = swept(1.0)
    runs.loc[(runs.value == 0.016) & (runs.seed == 1), "test_loss"] = np.nan
    (cell,) = judge(runs)
    assert cell["failed"] == [0.016]
    assert cell["best_value"] == pytest.approx(OWN)


def test_d_t_moves_by_the_difference_of_what_the_arms_lose():
    """From-scratch curve L = 5 - 0.3 ln D: a fine-tuned loss lower by 0.03 is worth a factor e^0.1 of D_E."""
    d = np.array([6_000, 20_000, 60_000])
    curves = pd.DataFrame({"unit": "excerpt", "n_params": 24_576, "d": d, "loss": 5 - 0.3 * np.log(d)})
    effective = pd.DataFrame(
        [
            {"source": "e", "unit": unit, "size": "25k", "n_params": 24_576, "d_f": 6_000, "d_e": d_e}
            for unit, d_e in (("document", 60_000.0), ("excerpt", 12_000.0))
        ]
    )
    place = {"constant": "learning_rate", "size": "25k", "d_chars": 6_000, "optimum_inside": True}
    cells = [
        {**place, "arm": "finetune", "source": "e", "left": 0.04},
        {**place, "arm": "scratch", "source": None, "left": 0.01},
    ]
    (found,) = effect_on_transfer(cells, effective, curves, "excerpt")
    assert found["d_t_ratio"] == pytest.approx((12_000 * np.exp(0.1) - 6_000) / 6_000)
    assert effect_on_transfer(cells[:1], effective, curves, "excerpt") == []
    for d_e in (6_000.0, 4_000.0):
        (hurt,) = effect_on_transfer(cells, effective.assign(d_e=d_e), curves, "excerpt")
        assert hurt["d_t_ratio"] is None, (
            "a better fine-tuned run would make a negative D_T smaller, and its ratio below 1"
        )
    at_an_edge = [cells[0] | {"optimum_inside": False}, cells[1]]
    assert effect_on_transfer(at_an_edge, effective, curves, "excerpt") == []


def test_an_edge_is_never_negligible():
    """Losses that fall to the last value leave an unknown amount behind it, however little to the edge."""
    runs = swept(1.0, curvature=0.0)
    runs["test_loss"] = 3.012 - 0.003 * np.log2(runs.value * 1000)
    (cell,) = judge(runs)
    assert not cell["optimum_inside"]
    assert cell["verdict"] == "undecided"


def shares(losses, own=0.0):
    """A sweep of dropout from scratch, one loss a share."""
    rows = [{"value": share, "test_loss": loss} for share, loss in losses.items()]
    place = {"constant": "dropout", "own": own, "arm": "scratch", "source": None}
    return pd.DataFrame(rows).assign(**place, size="25k", n_params=24_576, d_chars=6_000, seed=0)


def test_none_of_a_constant_is_an_end_of_what_is_possible_and_not_of_the_sweep():
    (cell,) = judge(shares({0.0: 3.0, 0.1: 3.1, 0.2: 3.3}))
    assert (cell["best_value"], cell["optimum_inside"], cell["verdict"]) == (0.0, True, "negligible")


def test_a_cell_without_a_run_that_ended_well_is_named():
    with pytest.raises(
        SystemExit, match="sweep of constant learning_rate, arm scratch, size 25k, .* a run failed at every"
    ):
        judge(swept(1.0).assign(test_loss=np.nan))


def test_a_law_of_other_runs_than_the_sweeps_is_told_by_its_losses():
    """They are made apart, the law perhaps after a change of the recipe."""
    cells = judge(pd.concat([swept(1.0), swept(1.0, arm="finetune", level=2.9)]))
    own = {cell["arm"]: cell["losses"][f"{OWN:g}"] for cell in cells}
    place = {"unit": "excerpt", "size": "25k", "n_params": 24_576}
    curves = pd.DataFrame([place | {"d": d, "loss": loss} for d, loss in ((6_000, own["scratch"]), (9_000, 2.0))])
    effective = pd.DataFrame([place | {"source": "e", "d_f": 6_000, "test_loss": own["finetune"]}])
    assert of_the_same_runs(cells, effective, curves, "excerpt")
    assert not of_the_same_runs(cells, effective.assign(test_loss=2.8), curves, "excerpt")
    assert not of_the_same_runs(cells, effective, curves.assign(loss=2.8), "excerpt")
    apart = of_the_same_runs(cells, effective.assign(d_f=7_000), curves.assign(unit="document"), "excerpt")
    assert apart is None, "without a cell in common it cannot be told"

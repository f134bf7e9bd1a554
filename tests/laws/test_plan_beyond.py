"""What a plan says where it cannot name a number: losses below the from-scratch curves, steps that are worth nothing."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workflow_scripts.laws import fit, plan
from workflow_scripts.laws.plan import interval_sentences
from workflow_scripts.laws.planning.answers import Question, _step, share_lowest
from workflow_scripts.laws.planning.compute import measure_compute
from workflow_scripts.laws.planning.forecast import Forecast, of_the_law, read_forecast
from workflow_scripts.laws.planning.spending import budget
from workflow_scripts.laws.runs import read_runs
from workflow_scripts.laws.simulate import Noise, Planted, simulate_runs

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


def test_a_loss_below_the_curve_is_a_bound_and_no_other_is_named_the_lowest(forecast):
    """From scratch was said to be lower in 100 % of the draws, because the better models were not ranked."""
    answer = plan.reach(forecast, _question())
    ends = forecast.curves.lowest_loss(194_400)
    (row,) = (row for row in answer.rows if (row["source"], row["n_params"]) == ("english", 194_400))
    assert (row["refused"], row["loss"]["estimate"], row["loss"]["low"]) == (None, None, None)
    assert row["lower_than"] == pytest.approx(ends[0])
    assert ends[0] < row["loss"]["high"] < ends[0] + 0.05
    assert row["bits_per_byte"]["high"] == pytest.approx(row["loss"]["high"] * forecast.bits_per_byte_of_a_nat)
    lowest, also_below, from_scratch = answer.sentences
    assert lowest.startswith(
        "With 60,000 characters the lowest loss lies below the from-scratch runs, by how much is not known: after english at"
        f" N = 194,400 it is lower than {ends[0]:.2f} (at most {row['loss']['high']:.2f}) nats per token"
    )
    assert (
        "runs after english at N = 86,400 (lower than 3.66) too: which of them is the lowest is not known" in also_below
    )
    assert "after english at N = 194,400 it is lower in 100 % of the draws" in from_scratch
    assert [text[2] for text in answer.table()][4].startswith(f"lower than {ends[0]:.2f} (at most ")


def test_a_loss_below_the_curve_reaches_every_target_above_it(forecast):
    """3.75 was `outside the from-scratch runs of every size: not answered`, beside a table of costs that answered it."""
    answers = plan.plan(forecast, _question(target=3.75))
    told = " ".join(answers[0].sentences)
    assert (
        "After english, the smallest size expected to reach 3.75 nats per token is N = 86,400 (in 100 % of the" in told
    )
    assert "not answered" not in told
    rows = {row["n_params"]: row for row in answers[0].rows if row["source"] == "english"}
    assert [rows[n]["probability_of_target"] for n in (34_656, 86_400, 194_400)] == [None, 1, 1]
    assert {row["n_params"] for row in answers[2].rows if row["source"] == "english" and not row["refused"]} == {
        86_400,
        194_400,
    }


def test_a_size_whose_runs_end_above_the_target_may_reach_it(forecast):
    told = plan.reach(forecast, _question(target=3.62)).sentences
    assert any(s.startswith("After english, whether N = 86,400 reaches it is not known") for s in told)


def test_a_loss_below_the_curve_may_be_lower_than_the_lowest_that_is_known(forecast):
    """Also where its curve ends above that."""
    curves = forecast.curves
    short = replace(
        curves,
        log_d=[d[:12] if n == 34_656 else d for n, d in zip(curves.n_params, curves.log_d, strict=True)],
        log_loss=[x[:, :12] if n == 34_656 else x for n, x in zip(curves.n_params, curves.log_loss, strict=True)],
    )
    told = plan.reach(replace(forecast, curves=short), _question(characters=30_000.0)).sentences
    assert "the lowest loss within the from-scratch runs is expected after english at N = 194,400" in told[0]
    assert "the from-scratch runs after english at N = 34,656 (lower than " in told[1]
    assert told[1].endswith(": by how much is not known, so it may be the lowest.")


def test_a_budget_ranks_losses_below_the_curve_by_where_it_ends(folder, forecast):
    compute = measure_compute(read_runs(folder / "runs.parquet"), "excerpt", ["english"])
    answer = budget(forecast, _question(budget=1e14), compute)
    told = " ".join(answer.sentences)
    assert "lies below the from-scratch runs, by how much is not known: after english at N = 194,400 with" in told
    assert "(lower than 3.66) too: which of them is the lowest is not known." in told
    assert "It is the lowest in" not in told
    bounds = {row["n_params"]: row["lower_than"] for row in answer.rows if row["source"] == "english"}
    assert [bounds[n] is None for n in SIZES.values()] == [True, True, True, False, False]
    json.dumps(answer.rows)


def test_a_length_of_pretraining_beyond_the_curve_is_a_lower_bound(tmp_path):
    """The best of 1 to 32 million tokens was said to be 13.5 million, where the from-scratch curve ends."""
    common = {"sizes": SIZES, "noise": Noise(0.001, 0.001, 0.001), "document_size": None}
    scratch = tuple(int(d) for d in np.geomspace(1_000, 60_000, 16))
    lengths = {p: Planted(k=40 * (p / 4e6) ** 0.4) for p in (1_000_000, 4_000_000, 16_000_000)}
    tables = [simulate_runs(planted=law, scratch=scratch, pretrain_tokens=p, **common) for p, law in lengths.items()]
    runs = pd.concat([tables[0], *(table[table.arm != "scratch"] for table in tables[1:])], ignore_index=True)
    runs.to_parquet(tmp_path / "runs.parquet")
    rule = json.dumps({"d_f": [6_000, 35_000], "draws": 100})
    fit.main([str(tmp_path / "runs.parquet"), "--out", str(tmp_path), "--fit", rule])
    compute = measure_compute(read_runs(tmp_path / "runs.parquet"), "excerpt", ["english"])
    question = _question(characters=20_000.0, sizes=(86_400.0,), budget=1e15)
    answer = budget(read_forecast(tmp_path), question, compute)
    tokens = answer.rows[0]["pretrain_tokens"]
    assert (tokens["estimate"], tokens["high"]) == (None, None)
    assert 10e6 < tokens["low"] < 18e6
    told = " ".join(answer.sentences)
    assert "after english at N = 86,400 with 20,000 characters it is lower than 3.78" in told
    assert "There pre-training takes at least 99 % of the compute" in told
    assert re.search(
        r"on at least 1\d,\d00,000 tokens, because longer lies beyond the from-scratch runs; 1,000,000 to", told
    )


def test_draws_below_the_curve_count_as_lower_than_its_end():
    """They counted as not known: 66 % for a model that is lower in all draws."""
    below, loss = np.array([2.8, 2.8, -np.inf, -np.inf]), np.array([3.0, 3.0, 3.0, 2.6])
    at_most = np.stack([np.maximum(below, 2.7), loss])
    assert share_lowest(np.stack([below, loss]), at_most, 0) == pytest.approx(2 / 3)
    both = np.full((2, 4), -np.inf)
    assert share_lowest(both, np.full((2, 4), 2.7), 0) is None


def test_plans_stand_for_the_pre_training_of_the_law():
    """Chosen again over other rows than those of the fit, it may be another one, and pre-training cost a sixteenth."""
    cells = pd.DataFrame(
        [("e", n, p, d) for n in (1, 2) for p in (1e6, 16e6) for d in (6_000, 200_000)] + [("e", 3, 1e6, 6_000)],
        columns=["source", "n_params", "pretrain_tokens", "d_f"],
    )
    in_fit = cells[(cells.pretrain_tokens == 16e6) & (cells.d_f == 6_000)]
    kept = of_the_law(cells, in_fit)
    assert set(kept.pretrain_tokens) == {16e6}
    assert set(kept.n_params) == {1, 2}
    assert set(kept.d_f) == {6_000, 200_000}
    unknown = cells.assign(pretrain_tokens=pd.array([pd.NA] * len(cells), dtype="Int64"))
    assert len(of_the_law(unknown, unknown[unknown.n_params == 1])) == 4

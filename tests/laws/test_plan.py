"""The planner: answers that follow from a planted law, limits that it keeps, and the command."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts.files import read_json
from workflow_scripts.laws import fit, plan
from workflow_scripts.laws.planning.answers import Prices, Question, _step, said, share_lowest
from workflow_scripts.laws.planning.compute import measure_compute
from workflow_scripts.laws.planning.forecast import SCRATCH, Forecast, PlanError, interval, read_forecast
from workflow_scripts.laws.planning.spending import budget, costs
from workflow_scripts.laws.runs import read_runs
from workflow_scripts.laws.simulate import Noise, Planted, simulate_runs

SIZES = {"6k": 6_144, "14k": 13_824, "35k": 34_656, "86k": 86_400, "194k": 194_400}
D_F = (1_000, 3_000, 6_000, 10_000, 20_000, 35_000, 60_000, 100_000)
SCRATCH_D = tuple(int(d) for d in np.geomspace(1_000, 900_000, 28))
BETTER = Planted(k=90.0)
NOISELESS = Noise(0.0, 0.0, 0.0)


def _write(folder: Path, noise: Noise, scratch: tuple[int, ...]) -> Path:
    """Two sources, of which german is worth more, fitted into `folder`; from scratch they share all runs."""
    common = {"noise": noise, "sizes": SIZES, "finetune": D_F, "scratch": scratch, "document_size": None}
    english, german = simulate_runs(**common), simulate_runs(planted=BETTER, source="german", **common)
    runs = pd.concat([english, german[german.arm.isin(["finetune", "zero_shot"])]], ignore_index=True)
    folder.mkdir(exist_ok=True)
    runs.to_parquet(folder / "runs.parquet")
    rule = json.dumps({"d_f": [1_000, 100_000], "draws": 200})
    fit.main([str(folder / "runs.parquet"), "--out", str(folder), "--fit", rule])
    return folder


@pytest.fixture(scope="module")
def laws(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write(tmp_path_factory.mktemp("laws"), Noise(), tuple(SCRATCH_D[::2]))


@pytest.fixture(scope="module")
def forecast(laws: Path) -> Forecast:
    return read_forecast(laws)


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Forecast:
    return read_forecast(_write(tmp_path_factory.mktemp("exact"), NOISELESS, SCRATCH_D))


def _question(**more) -> Question:
    return Question(**{"characters": 20_000.0, "sizes": tuple(map(float, SIZES.values()))} | more)


def _compute(laws: Path):
    return measure_compute(read_runs(laws / "runs.parquet"), "excerpt", ["english", "german"])


@pytest.mark.parametrize(("source", "planted"), [("english", Planted()), ("german", BETTER)])
@pytest.mark.parametrize("n_params", [6_144, 34_656, 54_000, 194_400])
@pytest.mark.parametrize("d_f", [4_500, 20_000, 80_000])
def test_without_noise_a_forecast_is_the_planted_loss(exact, source, planted, n_params, d_f):
    """Also at data sizes that were not run, and at a size between two that were."""
    truth = planted.scratch_loss(n_params, planted.effective_data(n_params, d_f))
    assert exact.loss(source, n_params, d_f)[0] == pytest.approx(truth, abs=0.004)
    assert exact.data_needed(source, n_params, exact.loss(source, n_params, d_f))[0] == pytest.approx(d_f, rel=0.002)


def test_without_noise_a_step_beyond_the_largest_size_is_close(exact):
    truth = Planted().scratch_loss(380_000, Planted().effective_data(380_000, 20_000))
    assert exact.loss("english", 380_000, 20_000)[0] == pytest.approx(truth, abs=0.02)


@given(source=st.sampled_from(["english", "german", SCRATCH]), n=st.floats(6_144, 194_400), d=st.floats(1_500, 90_000))
def test_more_data_is_never_worse_and_the_data_needed_undoes_the_loss(forecast, source, n, d):
    loss, more = forecast.loss(source, n, d), forecast.loss(source, n, 1.1 * d)
    assert (more <= loss + 1e-12).all()
    assert (forecast.data_needed(source, n, loss) <= d * 1.01).all()
    assert (forecast.data_needed(source, n, more) >= forecast.data_needed(source, n, loss) - 1e-6).all()


def test_intervals_hold_their_estimate_and_leave_out_what_was_not_measured(forecast):
    found = interval(forecast.loss("english", 34_656, 20_000))
    assert found["low"] < found["estimate"] < found["high"]
    assert interval(np.array([3.0, -np.inf, 3.1, 3.1])) == {"estimate": 3.0, "low": None, "high": 3.1}
    assert said({"estimate": 3.0, "low": None, "high": 3.1}) == "3 (at most 3.1)"


def test_an_interval_that_is_not_known_does_not_read_as_an_exact_value():
    unknown = {"low": None, "high": None}
    assert said({"estimate": 4.21} | unknown) == "4.21 (interval unknown)"
    assert said({"estimate": None} | unknown) == "beyond the limits"
    assert said({"estimate": 3.0, "low": 3.0, "high": 3.0}) == "3"
    step = {"source": "english", "n_params": 6_144, "larger": 13_824, "more_characters": {"estimate": 9e3} | unknown}
    told = _step(step, _question())
    assert "9,000 (interval unknown) more characters" in told
    assert "holds 0" not in told
    assert told.endswith("It may be worth nothing: the lower end of the interval is unknown.")


def test_losses_beyond_the_from_scratch_runs_are_not_extrapolated(forecast):
    largest = forecast.curves.reach(34_656)[1]
    beyond = np.full((201, 1), np.log(1.5 * largest))
    assert (forecast.curves.loss(34_656, beyond) == -np.inf).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"characters": 500_000.0}, "D = 500,000 lies outside 500 to 200,000"),
        ({"sizes": (1e6,)}, "N = 1,000,000 lies outside"),
        ({"target": 1.0}, "1 nats per token lies below"),
        ({"prices": Prices(character=1.0)}, "--target-loss"),
        ({"target": 3.2, "prices": Prices(flop=1.0)}, "--runs"),
        ({"budget": 1e12}, "--runs"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_what_is_needed(forecast, change, message):
    with pytest.raises(PlanError, match=message):
        plan.plan(forecast, _question(**change))


def test_the_better_source_and_the_smallest_size_that_reaches_the_target_are_named(exact):
    at = {n: exact.loss("german", n, 20_000)[0] for n in (34_656, 86_400)}
    answer = plan.plan(exact, _question(target=sum(at.values()) / 2))[0]
    assert "lowest loss is expected after german at N = 194,400" in answer.sentences[0]
    assert any("After german, the smallest size expected" in s and "N = 86,400" in s for s in answer.sentences)
    scratch = next(row for row in answer.rows if row["source"] == SCRATCH and row["n_params"] == 34_656)
    assert scratch["counts_as"]["estimate"] == pytest.approx(20_000)


def test_the_step_to_the_next_size_is_worth_the_data_that_closes_the_gap(exact):
    """Of the loss: `10x model ~ 100x data` equates D_T, and forgets that more D_F adds itself to D_E."""
    row = plan.exchange(exact, _question(sizes=(34_656.0, 86_400.0))).rows[0]
    assert (row["n_params"], row["larger"]) == (34_656, 86_400)
    with_more = exact.loss("english", 34_656, 20_000 + row["more_characters"]["estimate"])[0]
    assert with_more == pytest.approx(exact.loss("english", 86_400, 20_000)[0], abs=1e-3)


def test_the_parts_of_a_price_add_up_and_data_in_hand_is_free(laws, forecast):
    prices = Prices(character=0.01, flop=1e-11, token=1e-6, served_tokens=1e6)
    for row in costs(forecast, _question(target=3.5, prices=prices), _compute(laws)).rows:
        if row["refused"] or row["total"]["estimate"] is None:
            continue
        parts = [row[name]["estimate"] for name in ("data", "training", "use")]
        assert sum(parts) == pytest.approx(row["total"]["estimate"])
        assert row["collect"]["estimate"] == pytest.approx(max(0.0, row["needed"]["estimate"] - 20_000), abs=1e-6)
        assert parts[2] == pytest.approx(row["n_params"] / 194_400)


def test_dear_data_speaks_for_a_larger_model_and_dear_compute_for_collecting(laws, forecast):
    target = forecast.loss("german", 86_400, 20_000)[0]
    dear_data, dear_compute = (
        costs(forecast, _question(target=float(target), prices=prices), _compute(laws)).sentences
        for prices in (Prices(character=10.0, flop=1e-12), Prices(character=1e-6, flop=1e-6))
    )
    assert any("The data in hand is cheaper" in sentence for sentence in dear_data)
    assert any("Collecting is cheaper" in sentence for sentence in dear_compute)


def test_a_budget_is_kept_and_weights_that_exist_are_free(laws, forecast):
    whole = budget(forecast, _question(budget=2e12), _compute(laws))
    free = budget(forecast, _question(budget=2e12, pretraining_share=0.0), _compute(laws))
    assert whole.rows
    assert all(row["flops"] <= 2e12 and row["d_f"] <= 20_000 * 1.001 for row in whole.rows)
    assert all(row["pretraining_share_of_flops"]["estimate"] == 0 for row in free.rows)
    largest = [max(r["n_params"] for r in answer.rows if r["source"] == "german") for answer in (whole, free)]
    assert largest[0] < largest[1]


@pytest.fixture(scope="module")
def lengths(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pre-training on 1, 4 and 16 million tokens, without noise: D_T grows as P^0.4."""
    folder = tmp_path_factory.mktemp("lengths")
    tables = [
        simulate_runs(
            planted=Planted(k=40 * (tokens / 4e6) ** 0.4),
            noise=NOISELESS,
            sizes=SIZES,
            scratch=SCRATCH_D,
            pretrain_tokens=tokens,
            document_size=None,
        )
        for tokens in (1_000_000, 4_000_000, 16_000_000)
    ]
    runs = pd.concat([tables[0], *(table[table.arm != "scratch"] for table in tables[1:])], ignore_index=True)
    runs.to_parquet(folder / "runs.parquet")
    rule = json.dumps({"d_f": [6_000, 60_000], "draws": 100})
    fit.main([str(folder / "runs.parquet"), "--out", str(folder), "--fit", rule])
    return folder


def test_a_budget_weighs_the_length_of_pretraining_where_several_were_measured(lengths):
    """The best of all lengths that a brute search over the planted law finds, within the step of the planner's grid."""
    forecast = read_forecast(lengths)
    compute = measure_compute(read_runs(lengths / "runs.parquet"), "excerpt", ["english"])
    size, question = 34_656.0, _question(sizes=(34_656.0,), budget=2e12)
    answer = budget(forecast, question, compute)
    (found,) = (row for row in answer.rows if row["source"] == "english")

    def planted_loss(tokens: float) -> float:
        left = question.budget - 6 * size * tokens
        d_f = np.geomspace(3_000, 20_000, 400)
        paid = d_f[compute.training("english", size, d_f) <= left]
        if not len(paid):
            return np.inf
        law = Planted(k=40 * (tokens / 4e6) ** 0.4)
        return law.scratch_loss(size, law.effective_data(size, paid[-1]))

    best = min(np.geomspace(1e6, 32e6, 200), key=planted_loss)
    assert found["pretrain_tokens"]["estimate"] == pytest.approx(best, rel=0.2)
    assert found["pretrain_tokens"]["low"] <= best * 1.2
    assert found["pretrain_tokens"]["high"] >= best / 1.2
    assert 0 < found["pretraining_share_of_flops"]["low"] <= found["pretraining_share_of_flops"]["high"] < 1
    assert "of the draws. There pre-training takes" in " ".join(answer.sentences)
    assert found["loss"]["estimate"] == pytest.approx(planted_loss(best), abs=0.01)
    assert "1,000,000 to 32,000,000 were weighed" in " ".join(answer.sentences)


def test_the_best_way_is_unknown_in_a_draw_where_a_loss_is():
    """Unknown draws counted for the shortest pre-training, and for training from scratch."""
    loss = np.array([[3.0, 3.0, np.nan, np.inf, 2.7], [2.8, 2.9, 2.8, 2.9, 2.8]])
    assert [share_lowest(loss, loss, way) for way in (0, 1)] == [0.25, 0.25]
    unknown = np.full((2, 5), np.nan)
    assert share_lowest(unknown, unknown, 0) is None


def test_weights_that_exist_are_as_long_pretrained_as_they_are(lengths):
    forecast = read_forecast(lengths)
    compute = measure_compute(read_runs(lengths / "runs.parquet"), "excerpt", ["english"])
    rows = budget(forecast, _question(budget=2e12, pretraining_share=0.0), compute).rows
    assert {row["pretrain_tokens"]["estimate"] for row in rows if row["source"] == "english"} == {16_000_000}


def test_a_folder_without_a_law_names_what_is_missing(laws, tmp_path):
    with pytest.raises(PlanError, match="transfer_law.json: no such file"):
        read_forecast(tmp_path)
    for table in laws.glob("*.parquet"):
        (tmp_path / table.name).write_bytes(table.read_bytes())
    law = read_json(laws / "transfer_law.json")
    for found in law["sources"].values():
        found |= {"k": {"estimate": None, "low": None, "high": None}, "status": "too few cells"}
    (tmp_path / "transfer_law.json").write_text(json.dumps(law))
    with pytest.raises(PlanError, match="english: too few cells"):
        read_forecast(tmp_path)


def test_the_command_prints_sentences_and_writes_them_as_json(laws, tmp_path, capsys):
    out = tmp_path / "plan.json"
    prices = ["--price-character", "0.01", "--price-gpu-hour", "2", "--flops-per-second", "1e9"]
    plan.main(
        [str(laws), "--characters", "2e4", "--target-loss", "3.5", *prices, "--budget", "1e13", "--out", str(out)]
    )
    written, printed = read_json(out), capsys.readouterr().out
    assert len(written["answers"]) == 5
    assert all(sentence in printed for answer in written["answers"] for sentence in answer["sentences"])
    assert written["question"]["prices"]["flop"] == pytest.approx(2 / 3600 / 1e9)
    assert written["limits"]["sources"]["english"]["d_f"] == [500, 200_000]
    assert {"Limits", "Not in them"} <= set(printed.splitlines())


def test_documents_are_counted_in_characters(laws, tmp_path, capsys):
    """Their length is the user's, or that of the runs' whole documents."""
    out = tmp_path / "plan.json"
    plan.main([str(laws), "--documents", "20", "--document-characters", "1000", "--out", str(out)])
    asked = read_json(out)["question"]
    assert (asked["documents"], asked["characters"]) == (20, 20_000)
    assert "With 20 documents (20,000 characters) the lowest loss" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="--documents: no table of runs on whole documents"):
        plan.main([str(laws), "--documents", "20"])
    runs = read_runs(laws / "runs.parquet")
    whole = runs[runs.arm == "scratch"].assign(unit="document", n_units=lambda rows: rows.d_chars_used / 800)
    assert plan.document_characters(pd.concat([runs, whole])) == pytest.approx(800)


def test_runs_that_did_not_finish_are_left_out_of_the_compute_and_counted(laws, tmp_path, capsys):
    runs = pd.read_parquet(laws / "runs.parquet")
    failed = runs[runs.arm == "scratch"].tail(1).assign(status="failed", test_loss=None, seed=99)
    pd.concat([runs, failed], ignore_index=True).to_parquet(tmp_path / "runs.parquet")
    question = [str(laws), "--characters", "2e4", "--budget", "1e13"]
    plan.main(question)
    before = capsys.readouterr()
    plan.main([*question, "--runs", str(tmp_path / "runs.parquet")])
    after = capsys.readouterr()
    assert (before.err, after.err.strip()) == ("", "Runs set aside because their status is not ok: 1 failed.")
    assert after.out == before.out


def test_a_refusal_ends_the_command_with_one_message(laws, tmp_path):
    """Also with the file that is at fault."""
    runs = read_runs(laws / "runs.parquet")
    table = tmp_path / "other.parquet"
    runs.assign(unit="document").to_parquet(table)
    question = [str(laws), "--characters", "2e4", "--budget", "1e13"]
    with pytest.raises(SystemExit, match=f"^{table}: column unit: .* found document"):
        plan.main([*question, "--runs", str(table)])
    with pytest.raises(SystemExit, match="refused: D = 1e9 lies outside"):
        plan.main([str(laws), "--characters", "1e9"])
    with pytest.raises(SystemExit, match="go together"):
        plan.main([str(laws), "--characters", "2e4", "--target-loss", "3.5", "--price-gpu-hour", "2"])


def test_the_limits_that_are_named_are_those_that_are_kept(laws, capsys):
    """To three figures 3,070 lay outside 3,070 to 389,000."""
    with pytest.raises(SystemExit, match=r"refused: N = 3,070 lies outside 3,072 to 388,800, a factor 2 beyond"):
        plan.main([str(laws), "--characters", "2e4", "--n-params", "3070"])
    with pytest.raises(SystemExit, match=r"refused: D = 200,100 lies outside 500 to 200,000, a factor 2 beyond"):
        plan.main([str(laws), "--characters", "200100"])
    plan.main([str(laws), "--characters", "2e4", "--n-params", "3072"])
    assert "english: N 3,072 to 388,800, D_F 500 to 200,000" in capsys.readouterr().out


def test_the_lowest_loss_that_is_named_can_be_asked_for(laws, forecast):
    lowest = min(forecast.curves.lowest_loss(n)[0] for n in forecast.sizes)
    with pytest.raises(PlanError, match="lies below") as refused:
        plan.plan(forecast, _question(target=lowest - 1e-7))
    named = float(str(refused.value).split("lies below ")[1].split(",")[0])
    assert lowest <= named < lowest + 0.001
    plan.plan(forecast, _question(target=named))


@pytest.mark.parametrize(("out", "message"), [("", "is a folder"), ("runs.parquet/plan.json", "is a file, expected a")])
def test_an_out_that_is_no_file_is_refused_before_anything_is_computed(laws, out, message, capsys):
    """A folder was a traceback after all the work."""
    with pytest.raises(SystemExit):
        plan.main([str(laws), "--characters", "2e4", "--out", str(laws / out)])
    told = capsys.readouterr()
    assert (message in told.err, told.out) == (True, "")


def test_the_section_of_the_report_is_a_table_with_sentences(laws):
    section = plan.report_section(laws)
    assert len(section["rows"]) == 3 * len(SIZES)
    assert {len(row) for row in section["rows"]} == {len(section["columns"])}
    assert section["sentences"][0].startswith("With 20,000 characters the lowest loss")


def test_the_section_splits_the_compute_of_the_largest_model_or_says_why_not(laws, tmp_path):
    """The ratio of pre-training to fine-tuning was asked of the command alone; without FLOPs the rest must stay."""
    told = " ".join(plan.report_section(laws)["sentences"])
    assert "Pre-training and fine-tuning the largest size takes " in told
    assert "There pre-training takes " in told
    shutil.copytree(laws, tmp_path / "laws")
    read_runs(laws / "runs.parquet").drop(columns="flops").to_parquet(tmp_path / "laws/runs.parquet")
    section = plan.report_section(tmp_path / "laws")
    said_why = "cannot be said: the table of runs has no column flops"
    assert any(said_why in sentence for sentence in section["sentences"])
    assert len(section["rows"]) == len(SIZES) * 3


def test_a_source_without_a_law_does_not_take_the_plan_of_the_others(laws, tmp_path):
    """Too few of its cells ended the plan, and the report after all the training, with a KeyError."""
    runs = pd.read_parquet(laws / "runs.parquet")
    runs = runs[(runs.init != "german") | runs.d_chars.isin([0, 6_000])]
    runs.to_parquet(tmp_path / "runs.parquet")
    rule = json.dumps({"d_f": [1_000, 100_000], "draws": 100})
    fit.main([str(tmp_path / "runs.parquet"), "--out", str(tmp_path), "--fit", rule, "--allow-no-law"])
    section = plan.report_section(tmp_path)
    assert {row[0] for row in section["rows"]} == {"english", SCRATCH}
    beyond = plan.plan(read_forecast(tmp_path), _question(characters=150_000.0))
    assert "is beyond the largest fine-tuned after english" in " ".join(beyond[0].sentences)


def test_planning_needs_no_torch():
    code = "import sys; from workflow_scripts.laws.__main__ import COMMANDS; COMMANDS['plan']; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_reader_that_goes_away_ends_a_command_without_a_traceback():
    """As in `... plan ... | head`."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "workflow_scripts.laws", "plan", "--help"]
    ended = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert ended.stderr == ""
    assert ended.returncode == -signal.SIGPIPE

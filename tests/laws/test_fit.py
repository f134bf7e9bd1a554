"""From a table of runs to the files: the planted law inside its intervals, the same for the same seed, honest words."""

import json

import numpy as np
import pandas as pd
import pytest

from workflow_scripts.laws import likelihood
from workflow_scripts.laws.bootstrap import fit_runs
from workflow_scripts.laws.fit import main
from workflow_scripts.laws.likelihood import EXPONENT_BOUND
from workflow_scripts.laws.runs import NEEDED, check_runs
from workflow_scripts.laws.simulate import Noise, Planted, simulate_runs
from workflow_scripts.laws.summary import summarise
from workflow_scripts.sections import Fit

RULE = Fit(d_f=(6000, 60000), draws=200)


def law_of(runs: pd.DataFrame, rule: Fit = RULE, unit: str = "excerpt") -> dict:
    return summarise(fit_runs(check_runs(runs), rule, unit))["sources"]["english"]


@pytest.fixture(scope="module")
def quick() -> pd.DataFrame:
    return simulate_runs()


def test_without_noise_the_law_is_exact_and_the_intervals_vanish():
    planted = Planted(floor=0.0, size_scale=0.0)
    law = law_of(simulate_runs(planted=planted, noise=Noise(0, 0, 0), document_size=None))
    assert law["k"]["estimate"] == pytest.approx(40.0, rel=1e-6)
    assert law["beta"]["high"] - law["beta"]["low"] < 1e-4
    assert law["r_squared"] == pytest.approx(1.0)
    assert law["largest_size_error_factor"] == pytest.approx(1.0, abs=1e-6)
    assert law["starts"]["agreed"] == law["starts"]["tried"]
    endless = "The from-scratch curve of N = 6,144, 13,824, 24,576, 55,296, 98,304, 196,608 needs no floor"
    about_rivals = "L = [ (N_c / N)"  # without size, Kaplan's surface ends on a bound
    told = [sentence.split(":")[0] for sentence in law["warnings"] if not sentence.startswith(about_rivals)]
    assert told == [endless, "A token is 2.2 bytes"]


def test_rows_in_any_order_give_the_same_law(quick):
    assert law_of(quick) == law_of(quick.sample(frac=1, random_state=1))


def test_the_seed_of_the_draws_decides_them(quick):
    assert law_of(quick) == law_of(quick)
    assert law_of(quick)["beta"]["low"] != law_of(quick, Fit(d_f=(6000, 60000), draws=200, seed=1))["beta"]["low"]


def test_two_sources_get_a_law_each(quick):
    code = simulate_runs(planted=Planted(k=100.0), source="code", random_seed=1)
    both = pd.concat([quick, code[code["init"] == "code"]])
    laws = summarise(fit_runs(check_runs(both), RULE, "excerpt"))["sources"]
    assert set(laws) == {"english", "code"}


def test_the_needed_columns_and_arms_are_enough(quick):
    bare = quick[quick.arm.isin(["finetune", "scratch"]) & (quick.unit == "excerpt")][list(NEEDED)]
    assert law_of(bare, unit="document")["n_cells"] == 30


def test_a_short_scratch_grid_censors_cells_and_the_law_survives():
    """The largest models' D_E lie beyond the grid: kept as limits by the default, dropped by the paper's estimator."""
    law = law_of(simulate_runs(scratch=(6_000, 10_000, 20_000, 35_000, 60_000), document_size=None))
    assert law["n_cells"] == 30
    assert law["n_censored"] == law["estimators"]["plane"]["dropped"]["censored"] >= 5
    assert law["beta"]["low"] <= 0.3 <= law["beta"]["high"]
    assert any("outside the from-scratch curves" in sentence for sentence in law["warnings"])


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        (simulate_runs(seeds=(0,)), "One pre-training seed"),
        (simulate_runs(planted=Planted(k=400.0, beta=0.0)), "The interval of beta holds 0"),
        (simulate_runs(sizes={"14k": 13_824, "25k": 24_576, "55k": 55_296}), "The fit rests on 15 cells"),
        (simulate_runs(sizes={"14k": 13_824, "25k": 24_576, "55k": 55_296}), "0.60 decades of N"),
        (simulate_runs(planted=Planted(ossification=4.0)), "beyond what seeds explain"),
        (
            simulate_runs(scratch=(6_000, 10_000, 20_000, 35_000, 60_000, 100_000)),
            "not known to be in the low-data regime, where the paper fits its law (low ",
        ),
        (simulate_runs().assign(hit_budget=lambda runs: runs.arm == "finetune"), "stopped at their budget"),
    ],
)
def test_what_the_data_does_not_support_is_said_in_words(runs, words):
    assert any(words in sentence for sentence in law_of(runs)["warnings"])


def test_proportionality_shows_how_little_a_high_r_squared_says():
    """D_E contains D_F: with transfer of the same share in every cell, D_E = c D_F explains it all."""
    law = law_of(simulate_runs(planted=Planted(k=2.0, alpha=1.0, beta=0.0, floor=0.0, size_scale=0.0)))
    assert 0.9 < law["r_squared_of_proportionality"] <= law["r_squared"] + 0.02
    grown = law_of(simulate_runs())
    assert grown["r_squared_of_proportionality"] < grown["r_squared"]
    assert grown["n_uncensored"] == grown["n_cells"] - grown["n_censored"]


def test_bounds_of_the_search_and_undefined_draws_are_not_ends_of_intervals():
    """Two sizes and D_F side by side say nothing about exponents: the bounds +-4 stood as 95 % intervals."""
    runs = simulate_runs(
        planted=Planted(k=10.0),
        sizes={"25k": 24_576, "27k": 27_000},
        finetune=(20_000, 21_000),
        noise=Noise(0.05, 0.05, 0.05),
        document_size=None,
    )
    law = law_of(runs, Fit(d_f=(20_000, 21_000), draws=200))
    assert law["draws"]["on_a_bound"] > 50
    ends = [law[name][end] for name in ("alpha", "beta") for end in ("low", "high")]
    assert None in ends
    assert all(end is None or abs(end) < EXPONENT_BOUND for end in ends)
    undefined = law["estimators"]["plane"]["draws"]["undefined"]
    assert undefined > 5
    assert law["estimators"]["plane"]["alpha"]["low"] is law["estimators"]["plane"]["alpha"]["high"] is None
    assert f"The estimator plane is undefined in {undefined} of 200 draws." in law["warnings"]


@pytest.mark.parametrize(
    ("keep", "lacking"),
    [
        (lambda runs: runs.n_params == 24576, "5 may enter the fit, over 1 and 5"),
        (lambda runs: (runs.arm != "finetune") | (runs.d_chars == 6000), "6 may enter the fit, over 6 and 1"),
        (lambda runs: (runs.arm != "finetune") | (runs.d_chars == 200_000), "0 may enter the fit, over 0 and 0"),
    ],
)
def test_too_few_cells_for_a_law_still_give_every_table(keep, lacking, tmp_path, capsys):
    """After hours of training the tables, figures and the report must not fail on a law that cannot be fitted."""
    runs = simulate_runs(document_size=None)
    runs[keep(runs)].to_parquet(tmp_path / "runs.parquet")
    arguments = ["--fit", RULE.model_dump_json(), "--unit", "excerpt", "--allow-no-law"]
    main([str(tmp_path / "runs.parquet"), "--out", str(tmp_path), *arguments])
    law = json.loads((tmp_path / "transfer_law.json").read_text())["sources"]["english"]
    assert law["status"] == "too few cells"
    assert law["k"] == law["alpha"] == law["beta"] == {"estimate": None, "low": None, "high": None}
    assert lacking in law["warnings"][0]
    assert lacking in capsys.readouterr().out
    assert len(pd.read_parquet(tmp_path / "effective_data.parquet"))
    assert len(pd.read_parquet(tmp_path / "scratch_curves.parquet"))
    draws = pd.read_parquet(tmp_path / "draws.parquet")
    assert draws.empty
    assert list(draws.columns) == ["source", "draw", "ln_k", "alpha", "beta", "gamma", "simulated"]


def test_outside_use_ends_with_the_message_where_no_law_can_be_fitted(quick, tmp_path):
    quick[quick.n_params == 24576].to_csv(tmp_path / "runs.csv", index=False)
    with pytest.raises(SystemExit, match=r"at least 4 cells over 2 sizes \(n_params\) and 2 fine-tuning sizes"):
        main([str(tmp_path / "runs.csv"), "--out", str(tmp_path), "--unit", "excerpt"])
    assert (tmp_path / "effective_data.parquet").exists()


def test_a_source_with_too_few_cells_does_not_take_the_others_law(quick):
    code = simulate_runs(source="code", random_seed=1)
    code = code[(code["init"] == "code") & code.d_chars.isin([0, 6000])]
    fitted = fit_runs(check_runs(pd.concat([quick, code])), RULE, "excerpt")
    laws = summarise(fitted)["sources"]
    assert laws["code"]["status"] == "too few cells"
    assert laws["english"]["status"] == "ok"


def test_a_fit_that_did_not_converge_is_an_error_with_advice(quick, tmp_path, monkeypatch):
    """Its coefficients mean nothing, so they stand nowhere: not in the JSON, the draws, or what a plan rests on."""
    monkeypatch.setattr(likelihood, "STEPS", 0)
    quick.to_csv(tmp_path / "runs.csv", index=False)
    with pytest.raises(SystemExit, match="english did not converge from any start"):
        main([str(tmp_path / "runs.csv"), "--out", str(tmp_path), "--fit", RULE.model_dump_json()])
    law = json.loads((tmp_path / "transfer_law.json").read_text())["sources"]["english"]
    assert (law["status"], law["k"]["estimate"]) == ("not converged", None)
    assert "look for cells that contradict each other" in law["warnings"][0]
    assert pd.read_parquet(tmp_path / "draws.parquet").empty


def test_held_out_fits_that_do_not_converge_predict_nothing(quick, monkeypatch):
    fitted = fit_runs(check_runs(quick), RULE, "excerpt")
    monkeypatch.setattr(likelihood, "STEPS", 0)
    law = summarise(fitted)["sources"]["english"]
    assert law["predictions"]["largest_size"]["status"] == "not converged"
    assert law["largest_size_error_factor"] is None
    said = "The largest size could not be predicted from the smaller ones: the fit to those is not converged."
    assert said in law["warnings"]
    assert any(sentence.startswith("The estimator robust did not converge") for sentence in law["warnings"])


def test_losses_that_are_all_equal_end_with_one_message(quick, tmp_path):
    """Nothing falls, so nothing can be read: it was `status ok` with unknown intervals."""
    quick.assign(test_loss=3.2).to_csv(tmp_path / "runs.csv", index=False)
    with pytest.raises(SystemExit, match="from-scratch test_loss falls with d_chars at no n_params"):
        main([str(tmp_path / "runs.csv"), "--out", str(tmp_path), "--unit", "excerpt"])
    law = json.loads((tmp_path / "transfer_law.json").read_text())["sources"]["english"]
    assert law["status"] == "flat curves"


def test_runs_that_are_set_aside_are_counted_and_said(quick, tmp_path, capsys):
    """A status other than ok took rows out of the laws without a word."""
    quick.loc[quick.index[[40, 50]], "status"] = "failed"
    quick.loc[quick.index[60], "status"] = "running"
    quick.to_csv(tmp_path / "runs.csv", index=False)
    main([str(tmp_path / "runs.csv"), "--out", str(tmp_path), "--fit", RULE.model_dump_json(), "--unit", "excerpt"])
    assert json.loads((tmp_path / "transfer_law.json").read_text())["set_aside"] == {"failed": 2, "running": 1}
    assert "Runs set aside because their status is not ok: 2 failed, 1 running." in capsys.readouterr().out


def test_the_number_of_draws_is_an_option(quick, tmp_path):
    quick.to_csv(tmp_path / "runs.csv", index=False)
    out = ["--out", str(tmp_path), "--fit", RULE.model_dump_json(), "--unit", "excerpt"]
    main([str(tmp_path / "runs.csv"), *out, "--draws", "120"])
    assert len(pd.read_parquet(tmp_path / "draws.parquet")) == 120
    with pytest.raises(
        SystemExit, match=r"--draws 7 cannot be used:\n  draws: .*greater than or equal to 100 \(found 7\)"
    ):
        main([str(tmp_path / "runs.csv"), *out, "--draws", "7"])


def test_no_draws_are_too_few_and_the_option_is_named(quick, tmp_path):
    quick.to_csv(tmp_path / "runs.csv", index=False)
    with pytest.raises(SystemExit, match=r"^--draws 0 cannot be used:"):
        main([str(tmp_path / "runs.csv"), "--out", str(tmp_path), "--draws", "0"])


@pytest.mark.parametrize("status", ["finished", "OK"])
def test_runs_that_are_all_set_aside_are_said_to_be(quick, tmp_path, status):
    """The arms were fine, and "no run of the arm finetune" was all that was said."""
    quick.assign(status=status).to_csv(tmp_path / "runs.csv", index=False)
    with pytest.raises(SystemExit, match=f"status is not ok: {len(quick)} {status}") as found:
        main([str(tmp_path / "runs.csv"), "--out", str(tmp_path)])
    assert "no run of the arm finetune" in str(found.value)


@pytest.mark.parametrize("below", ["", "laws/quickstart"])
def test_results_that_cannot_be_a_folder_are_refused_before_the_fit(quick, tmp_path, capsys, below):
    """A traceback, after the law was computed."""
    quick.to_csv(tmp_path / "runs.csv", index=False)
    with pytest.raises(SystemExit):
        main([str(tmp_path / "runs.csv"), "--out", str(tmp_path / "runs.csv" / below)])
    said = f"argument --out: {tmp_path / 'runs.csv'} is a file, expected a folder or a new name"
    assert said in capsys.readouterr().err


def test_a_from_scratch_curve_on_a_bound_is_told(quick, tmp_path, capsys):
    """Flat losses have no power law; D(N) would rest on its absence."""
    flat = (quick.arm == "scratch") & (quick.n_params == 6144)
    quick.loc[flat, "test_loss"] = quick.test_loss[flat].mean()
    quick.to_csv(tmp_path / "runs.csv", index=False)
    main([str(tmp_path / "runs.csv"), "--out", str(tmp_path), "--fit", RULE.model_dump_json()])
    law = json.loads((tmp_path / "transfer_law.json").read_text())
    statuses = {curve["n_params"]: curve["status"] for curve in law["curves"]}
    assert statuses.pop(6144) == "on a bound"
    assert set(statuses.values()) == {"ok"}
    assert "from-scratch curve of N = 6,144 ends on a bound" in capsys.readouterr().out


def test_outside_use_writes_every_file_without_nan(quick, tmp_path, capsys):
    quick.to_csv(tmp_path / "runs.csv", index=False)
    main([str(tmp_path / "runs.csv"), "--out", str(tmp_path / "laws"), "--fit", RULE.model_dump_json()])
    names = {path.name for path in (tmp_path / "laws").iterdir()}
    assert names == {
        "effective_data.parquet",
        "scratch_curves.parquet",
        "transfer_law.json",
        "draws.parquet",
        "sanity.json",
    }
    for name in ("transfer_law.json", "sanity.json"):
        json.loads((tmp_path / "laws" / name).read_text(), parse_constant=pytest.fail)
    law = json.loads((tmp_path / "laws" / "transfer_law.json").read_text())["sources"]["english"]
    cells = pd.read_parquet(tmp_path / "laws" / "effective_data.parquet")
    assert law["n_cells"] == cells.in_fit.sum() == 30
    draws = pd.read_parquet(tmp_path / "laws" / "draws.parquet")
    assert list(draws.columns) == ["source", "draw", "ln_k", "alpha", "beta", "gamma", "simulated"]
    assert np.quantile(draws.beta, 0.975) == pytest.approx(law["beta"]["high"])
    assert "english: D_T = " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fit", '{"d_f": [60000, 6000]}'], "the first must not exceed the second"),
        (["--rename", "n_params"], "expected NAME_HERE=NAME_IN_THE_TABLE"),
        (["--unit", "page"], "no fine-tuned run has 'page'"),
    ],
)
def test_bad_use_ends_with_one_message(quick, tmp_path, arguments, message):
    quick.to_csv(tmp_path / "runs.csv", index=False)
    with pytest.raises(SystemExit, match=message):
        main([str(tmp_path / "runs.csv"), "--out", str(tmp_path), *arguments])

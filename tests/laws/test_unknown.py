"""What a table does not tell is said to be unknown: draws on a bound, noise of one seed, noise beyond its search, bits."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workflow_scripts.laws.bootstrap import Fitted, fit_runs
from workflow_scripts.laws.claims import claims, overall
from workflow_scripts.laws.fit import main, write_results
from workflow_scripts.laws.pairs import ratios
from workflow_scripts.laws.percentiles import ends, in_words, interval
from workflow_scripts.laws.plan import interval_sentences, plan
from workflow_scripts.laws.planning.answers import Question, pilot
from workflow_scripts.laws.planning.forecast import interval as forecast_interval
from workflow_scripts.laws.planning.forecast import read_forecast
from workflow_scripts.laws.runs import check_runs
from workflow_scripts.laws.simulate import Noise, Planted, simulate_runs
from workflow_scripts.laws.sources import across_sources, sentences
from workflow_scripts.laws.summary import summarise
from workflow_scripts.sections import Fit

RULE = Fit(d_f=(6000, 60000), draws=200)
SIDE_BY_SIDE = {
    "planted": Planted(k=10.0),
    "sizes": {"25k": 24_576, "27k": 27_000},
    "finetune": (20_000, 21_000),
    "noise": Noise(0.05, 0.05, 0.05),
    "document_size": None,
}
"""Two sizes and two D_F side by side say nothing about exponents: many draws end on a bound of the search."""


@pytest.fixture(scope="module")
def unsure() -> Fitted:
    """Two such sources."""
    english, code = simulate_runs(**SIDE_BY_SIDE), simulate_runs(**SIDE_BY_SIDE, source="code", random_seed=1)
    both = pd.concat([english, code[code["init"] == "code"]])
    fitted = fit_runs(check_runs(both), Fit(d_f=(20_000, 21_000), draws=200))
    assert all((~law.draws.known).sum() > 50 for law in fitted.laws)
    return fitted


@pytest.fixture(scope="module")
def folder(unsure, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("unsure") / "laws"
    folder.mkdir()
    runs = check_runs(simulate_runs(**SIDE_BY_SIDE))
    write_results(runs, unsure, folder)
    return folder


def test_an_end_that_unknown_draws_decide_is_unknown():
    draws = np.arange(200.0)
    few, many = draws.copy(), draws.copy()
    few[:2], many[:8] = np.nan, np.nan
    low, high = ends(few)
    assert low == pytest.approx(np.quantile(draws, 0.025))
    assert high > np.quantile(draws, 0.975)
    assert interval(100.0, many) == {"estimate": 100.0, "low": None, "high": None}
    one_sided = interval(100.0, draws, below=draws < 8)
    assert one_sided["low"] is None
    assert one_sided["high"] == pytest.approx(np.quantile(draws, 0.975))
    assert in_words(one_sided, ".1f") == "at most 194.0"


def test_what_follows_from_draws_on_a_bound_is_unknown(unsure):
    """The covariance, the reach and the multiplier took the bounds of the search for measurements."""
    law = summarise(unsure)["sources"]["english"]
    assert law["covariance"]["matrix"] is None
    assert law["covariance"]["n_draws"] == 200 - law["draws"]["on_a_bound"]
    for found in law["data_multiplier"]:
        assert found["estimate"] > 1
        assert found["low"] is found["high"] is None
    assert law["reach"]["d_f"]["interval_factor_at_10x"] is None


def test_sources_are_not_compared_by_draws_on_a_bound(unsure):
    found = across_sources(unsure)
    for tested in found["differences"].values():
        (pair,) = tested["pairs"]
        assert pair["difference"]["low"] is pair["difference"]["high"] is pair["smallest_seen"] is None
        assert tested["p_value_of_shared"] is tested["chi_squared"] is None
    assert "whether they share it is unknown" in sentences(found)[0]
    told = claims(found, "code", "english")
    assert overall(told) == "undecided"
    assert {claim.low for claim in told} == {-np.inf}


def test_draws_on_a_bound_are_null_in_the_table_and_unknown_to_the_planner(folder):
    draws = pd.read_parquet(folder / "draws.parquet")
    assert draws.alpha.isna().sum() > 100
    assert (draws.alpha.isna() == draws.ln_k.isna()).all()
    forecast = read_forecast(folder)
    found = forecast_interval(forecast.loss("english", 25_000, 20_500))
    assert found["estimate"] > 0
    assert found["low"] is found["high"] is None
    needed = forecast.data_needed("english", 25_000, forecast.loss("english", 25_000, 20_500)[0])
    assert np.isnan(needed).sum() > 50
    told = plan(forecast, Question(20_500.0, (25_000.0, 27_000.0)))
    assert all("nan" not in sentence for answer in told for sentence in answer.sentences)
    assert pilot(forecast).title


def test_ratios_of_laws_with_unknown_draws_have_no_interval(folder, tmp_path):
    other = tmp_path / "other"
    (other / "laws").mkdir(parents=True)
    for file in folder.iterdir():
        (other / "laws" / file.name).write_bytes(file.read_bytes())
    cells = pd.read_parquet(folder / "effective_data.parquet").query("d_f > 0").assign(target="python")
    both = pd.concat([cells.assign(experiment=name) for name in (folder.parent.name, "other")])
    for ratio in ratios([folder.parent, other], both):
        assert ratio["estimate"] == pytest.approx(1.0)
        assert ratio["low"] is ratio["high"] is None
    law = json.loads((other / "laws" / "transfer_law.json").read_text())
    for source in law["sources"].values():
        source["ln_k"] = {"estimate": None, "low": None, "high": None}
    (other / "laws" / "transfer_law.json").write_text(json.dumps(law))
    assert ratios([folder.parent, other], both) == []


def test_one_zero_shot_seed_leaves_its_noise_unknown():
    """D_E(0) then had the interval of a loss without noise."""
    runs = simulate_runs(planted=Planted(k=900.0), document_size=None)
    both = fit_runs(check_runs(runs), RULE)
    one = fit_runs(check_runs(runs[(runs.arm != "zero_shot") | (runs.seed == 0)]), RULE)
    tables = [fitted.table[fitted.table.d_f == 0] for fitted in (both, one)]
    assert tables[0].d_e_low.notna().any()
    assert tables[1][["d_e_low", "d_e_high", "probability_of_help"]].isna().all(axis=None)
    assert set(tables[1].verdict) == {"unknown"}
    assert one.table[one.table.d_f > 0].d_e_low.notna().any()
    assert summarise(both)["noise"]["nats_per_token"]["zero_shot"] > 0
    assert summarise(one)["noise"]["nats_per_token"]["zero_shot"] is None


UNPAIRED = (
    "No pretrain or zero_shot rows say which pre-trained model a seed starts from: each is taken to have its own."
)
ONE_MODEL = "One pre-training seed: every interval is conditional on the pre-trained weights."


@pytest.mark.parametrize(
    ("pretrained", "tuned", "number", "told"),
    [
        ((0, 1, 2), (0, 1, 2), 3, ""),
        ((0,), (0, 1, 2), 1, ONE_MODEL),
        ((), (0, 1, 2), None, UNPAIRED),
        ((), (0,), 1, ONE_MODEL),
    ],
)
def test_intervals_say_which_pretrained_models_they_rest_on(pretrained, tuned, number, told, tmp_path):
    """Three seeds of one public checkpoint passed for three pre-trained models."""
    runs = simulate_runs(seeds=(0, 1, 2), document_size=None)
    before = runs.arm.isin(["pretrain", "zero_shot"])
    runs = check_runs(runs[runs.seed.isin(pretrained).where(before, runs.seed.isin(tuned))])
    fitted = fit_runs(runs, RULE)
    write_results(runs, fitted, tmp_path)
    summary = summarise(fitted)
    assert summary["noise"]["pretrain_seeds"] == number
    about = [words for words in summary["sources"]["english"]["warnings"] if "pre-train" in words]
    assert [words[: len(told)] for words in about] == ([told] if told else [])
    assert ("conditional on" in " ".join(about)) == bool(told)
    held = interval_sentences(read_forecast(tmp_path))["holds"][0]
    assert held.startswith("Seeds and pre-training, through") == (number == 3)


def test_a_source_without_pretrained_models_is_told_beside_one_that_has_them():
    """A public checkpoint beside a source of one's own passed for a model a seed."""
    runs = simulate_runs(document_size=None).assign(corpus="english")
    public = runs[runs.arm == "finetune"].assign(init="public")
    laws = summarise(fit_runs(check_runs(pd.concat([runs, public], ignore_index=True)), RULE))["sources"]
    told = {name: any(words.startswith(UNPAIRED) for words in law["warnings"]) for name, law in laws.items()}
    assert told == {"english": False, "public": True}


def test_noise_at_the_end_of_its_search_is_told():
    """From-scratch runs twenty times as noisy as fine-tuned ones were taken to be 2.5 times."""
    runs = simulate_runs(noise=Noise(0.0, 0.0, 0.001), document_size=None)
    scratch = runs.arm == "scratch"
    runs.loc[scratch, "test_loss"] += np.random.default_rng(0).normal(0, 0.02, scratch.sum())
    warnings = summarise(fit_runs(check_runs(runs), RULE))["sources"]["english"]["warnings"]
    assert any("of one from-scratch run lies at the end of its search, 5 times" in warning for warning in warnings)
    alike = summarise(fit_runs(check_runs(simulate_runs(document_size=None)), RULE))["sources"]["english"]["warnings"]
    assert not any("end of its search" in warning for warning in alike)


def test_runs_without_bits_are_counted():
    """One such run blanked every D_E in bits without a word."""
    runs = simulate_runs(document_size=None)
    runs.loc[runs.index[runs.arm == "scratch"][:3], "test_bits_per_byte"] = None
    fitted = fit_runs(check_runs(runs), RULE)
    assert fitted.table.d_e_in_bits.isna().all()
    warnings = summarise(fitted)["sources"]["english"]["warnings"]
    assert any("3 of 192 runs have no test_bits_per_byte" in warning for warning in warnings)
    without = summarise(fit_runs(check_runs(runs.drop(columns="test_bits_per_byte")), RULE))["sources"]["english"]
    assert not any("test_bits_per_byte" in warning for warning in without["warnings"])


def test_a_renamed_count_is_said_under_its_own_name(tmp_path, capsys):
    """Only the user knows whether it has embeddings."""
    runs = simulate_runs(document_size=None).rename(columns={"n_params": "params", "d_chars": "tokens"})
    runs.to_csv(tmp_path / "runs.csv", index=False)
    rule = ["--fit", RULE.model_dump_json(), "--rename", "n_params=params", "d_chars=tokens"]
    main([str(tmp_path / "runs.csv"), "--out", str(tmp_path), *rule])
    told = capsys.readouterr().out
    assert told.splitlines()[1] == "N counts the column params, D the column tokens, losses are nats per token."
    assert "characters" not in told
    for words in (
        "by the estimator fit_of_fits: alpha",
        "D_E(0): ",
        "D(N), as good as infinite data: at least 600,000",
    ):
        assert words in told

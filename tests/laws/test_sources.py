"""Whether alpha and beta are shared by the sources is tested with a number, and by held-out cells."""

from dataclasses import replace

import pandas as pd
import pytest

from benchmarks.shared_exponents import RICHER, SETTING
from benchmarks.shared_exponents import two_sources as simulated_pair
from workflow_scripts.laws.bootstrap import fit_runs
from workflow_scripts.laws.claims import ALIKE, PAPER, Claim, claims, overall
from workflow_scripts.laws.runs import check_runs
from workflow_scripts.laws.simulate import Noise, Planted, simulate_runs
from workflow_scripts.laws.sources import across_sources
from workflow_scripts.sections import Fit

RULE = Fit(d_f=(6000, 60000), draws=300)


def two_sources(other: Planted) -> dict:
    english = simulate_runs(document_size=None)
    code = simulate_runs(planted=other, source="code", document_size=None, random_seed=1)
    runs = pd.concat([english, code[code["init"] == "code"]])
    return across_sources(fit_runs(check_runs(runs), RULE))


@pytest.fixture(scope="module")
def alike() -> dict:
    return two_sources(Planted(k=160.0, alpha=0.2))


def test_one_source_has_nothing_to_compare():
    assert across_sources(fit_runs(check_runs(simulate_runs(document_size=None)), RULE)) is None


def test_a_shared_beta_is_not_rejected_and_different_alphas_are_seen(alike):
    (pair,) = alike["differences"]["beta"]["pairs"]
    assert pair["sources"] == ["code", "english"]
    assert pair["difference"]["low"] < 0 < pair["difference"]["high"]
    assert alike["differences"]["beta"]["p_value_of_shared"] > 0.05


def test_different_betas_are_rejected():
    found = two_sources(Planted(k=4.0, beta=0.5))
    assert found["differences"]["beta"]["p_value_of_shared"] < 0.001
    errors = {name: model["held_out"]["largest_n"]["rms_nats"] for name, model in found["models"].items()}
    assert errors["shared_beta"] > 1.3 * errors["separate"]


def test_shared_exponents_are_fitted_once(alike):
    assert set(alike["models"]["separate"]["exponents"]) == {"alpha:code", "alpha:english", "beta:code", "beta:english"}
    assert set(alike["models"]["shared_beta"]["exponents"]) == {"alpha:code", "alpha:english", "beta"}
    shared = alike["models"]["shared_beta"]["exponents"]["beta"]
    assert shared["low"] < 0.3 < shared["high"]
    assert all(model["status"] == "ok" for model in alike["models"].values())


def test_the_benchmark_gives_both_sources_the_same_prefixes():
    """What the calibration of the p-value is measured on: only the noise of prefixes is shared."""
    quiet = replace(SETTING, noise=Noise(pretrain=0.0, prefix=0.02, run=0.0))
    runs = simulated_pair(3, quiet)
    runs = runs[runs.arm.isin(["finetune", "scratch"])]
    planted = {"english": quiet.planted, "code": quiet.planted.model_copy(update={"k": RICHER * quiet.planted.k})}
    noise = {}
    for run in runs.itertuples():
        law = planted.get(run.init, quiet.planted)
        d_e = law.effective_data(run.n_params, run.d_chars) if run.arm == "finetune" else run.d_chars
        away = run.test_loss - law.scratch_loss(run.n_params, d_e)
        assert noise.setdefault((run.d_chars, run.seed), away) == pytest.approx(away, abs=1e-12)
    assert len(set(noise.values())) == len(noise)


def test_the_claim_of_the_paper_is_supported_where_it_is_planted():
    """Same beta, smaller alpha, larger k (Hernandez et al. 2021, Table 1), seen with the signs the right way round."""
    found = claims(two_sources(Planted(k=900.0, alpha=0.02)), "code", "english")
    assert {claim.name: claim.verdict for claim in found} | {"beta": ""} == {
        "beta": "",
        "alpha": "supported",
        "ln_k": "supported",
    }
    assert all(claim.low <= claim.estimate <= claim.high for claim in found)
    swapped = claims(two_sources(Planted(k=900.0, alpha=0.02)), "english", "code")
    assert [claim.estimate for claim in swapped] == [-claim.estimate for claim in found]
    assert {claim.verdict for claim in swapped if claim.name != "beta"} == {"contradicted"}


@pytest.mark.parametrize(
    ("name", "low", "high", "verdict"),
    [
        ("beta", -0.02, 0.03, "supported"),
        ("beta", 0.01, 0.03, "contradicted"),
        ("beta", -0.02, ALIKE + 0.01, "undecided"),
        ("alpha", -0.2, -0.01, "supported"),
        ("alpha", -0.2, 0.01, "undecided"),
        ("alpha", 0.01, 0.2, "contradicted"),
        ("ln_k", 0.1, 3.0, "supported"),
        ("ln_k", -0.1, 3.0, "undecided"),
        ("ln_k", -3.0, -0.1, "contradicted"),
    ],
)
def test_a_verdict_follows_from_the_interval(name, low, high, verdict):
    assert Claim(name, (low + high) / 2, low, high, 0.1).verdict == verdict


def test_one_contradiction_is_enough_and_support_takes_all():
    same, smaller, larger = (
        Claim("beta", 0, -0.01, 0.01, 0),
        Claim("alpha", -1, -2, -0.5, 0),
        Claim("ln_k", 1, 0.5, 2, 0),
    )
    assert overall([same, smaller, larger]) == "supported"
    assert overall([same, smaller, Claim("ln_k", 1, -1, 3, 0)]) == "undecided"
    assert overall([same, Claim("alpha", 1, 0.5, 2, 0), Claim("ln_k", 1, -1, 3, 0)]) == "contradicted"


def test_the_papers_own_table_supports_it():
    own = [Claim(name, value, value - 0.01, value + 0.01, 0) for name, value in PAPER.items()]
    assert overall(own) == "supported"


def test_the_smallest_difference_seen_is_seen_four_times_in_five(alike):
    """2.8 standard errors: half the width of the interval is 1.96 of them."""
    for tested in alike["differences"].values():
        (pair,) = tested["pairs"]
        width = pair["difference"]["high"] - pair["difference"]["low"]
        assert pair["smallest_seen"] == pytest.approx(width / 3.92 * 2.802, rel=1e-3)

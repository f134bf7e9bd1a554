"""Rival laws: each is recovered from points on it, and the law that was planted predicts held-out cells best."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from workflow_scripts.laws import likelihood
from workflow_scripts.laws.alternatives import compare
from workflow_scripts.laws.bootstrap import fit_runs
from workflow_scripts.laws.loss_laws import Losses, fit_losses
from workflow_scripts.laws.runs import check_runs
from workflow_scripts.laws.simulate import Noise, Planted, simulate_runs
from workflow_scripts.laws.summary import summarise
from workflow_scripts.sections import Fit

RULE = Fit(d_f=(6000, 60000), draws=100)
SIZES, D_F, P, D = [6e3, 3e4, 2e5], [6e3, 1e4, 2e4, 6e4], [1e6, 4e6, 1.6e7], np.geomspace(6e3, 6e5, 9)
QUIET = Noise(0.001, 0.001, 0.001)


def losses(tuned, scratch=lambda n, d: 1 + 20 * d**-0.2, p=None) -> Losses:
    """On a grid of N, D_F and, where `p` is given, P; `tuned` and `scratch` are functions of them."""
    n, d_f, p_axis = (axis.ravel() for axis in np.meshgrid(SIZES, D_F, p or [1.0]))
    n_scratch, d = (axis.ravel() for axis in np.meshgrid(SIZES, D))
    return Losses(
        tuned=tuned(n, d_f, p_axis),
        at_budget=np.zeros(len(n), dtype=bool),
        d_f=d_f,
        n_params=n,
        pretrain_tokens=p_axis if p else None,
        scratch=scratch(n_scratch, d),
        scratch_at_budget=np.zeros(len(d), dtype=bool),
        d=d,
        scratch_n_params=n_scratch,
    )


def refit(name: str, data: Losses) -> dict:
    found = fit_losses(data.laws()[name], data, np.ones(len(data.tuned), dtype=bool))
    assert found.status == "ok"
    assert found.starts["agreed"] > 1
    return found.coefficients()


def test_zhangs_multiplicative_law_is_recovered():
    found = refit("zhang", losses(lambda n, f, p: 1.2 + 30 * n**-0.15 * f**-0.1))
    assert found == pytest.approx({"E": 1.2, "A": 30, "alpha": 0.15, "beta": 0.1}, rel=1e-4)


def kaplan(n, d):
    return ((1e6 / n) ** (0.1 / 0.3) + 5e5 / d) ** 0.3


@pytest.mark.parametrize("form", ["unified_d_e", "unified_d_t"])
def test_the_unified_law_is_recovered_in_both_forms(form):
    """Section 6.1: Kaplan's surface, at k D_F^alpha N^beta for fine-tuned runs, D_F beside it or not; the law says which."""
    given = {"unified_d_e": 1, "unified_d_t": 0}[form]
    data = losses(lambda n, f, p: kaplan(n, given * f + 50 * f**0.3 * n**0.25), kaplan)
    found = refit(form, data)
    assert {"unified_d_e": "D_c / D_E", "unified_d_t": "D_c / D_T"}[form] in data.laws()[form].equation
    truth = {"alpha_N": 0.1, "alpha_D": 0.3, "A": 100, "N_c": 1e6, "D_c": 5e5, "k": 50, "alpha": 0.3, "beta": 0.25}
    assert found == pytest.approx(truth, rel=1e-4)


def test_losses_at_their_budget_are_left_out():
    """They were exact to laws of the loss: a run that was stopped early pulled every law up."""
    data = losses(lambda n, f, p: kaplan(n, f + 50 * f**0.3 * n**0.25), kaplan)
    late, late_scratch = np.arange(len(data.tuned)) % 5 == 0, np.arange(len(data.scratch)) % 4 == 0
    stopped = replace(
        data,
        tuned=data.tuned * np.where(late, 1.2, 1.0),
        at_budget=late,
        scratch=data.scratch * np.where(late_scratch, 1.2, 1.0),
        scratch_at_budget=late_scratch,
    )
    assert refit("unified_d_e", stopped) == pytest.approx(refit("unified_d_e", data), rel=1e-4)


def test_a_law_that_cannot_be_fitted_says_why_and_predicts_nothing():
    data = losses(lambda n, f, p: 1.2 + 30 * n**-0.15 * f**-0.1)
    kept = np.arange(len(data.tuned)) < 4
    found = fit_losses(data.laws()["zhang"], data, kept)
    assert (found.status, found.coefficients(), np.isnan(found.predicted).all()) == ("failed", {}, True)
    assert found.problems == ("Zhang's L(N, D_F): 4 points for 4 parameters; it needs at least 5",)


def test_a_refit_from_the_whole_ends_where_the_grid_does():
    random = np.random.default_rng(0)
    data = losses(lambda n, f, p: (1.2 + 30 * n**-0.15 * f**-0.1) * np.exp(0.01 * random.standard_normal(len(n))))
    law, everything = data.laws()["zhang"], np.ones(len(data.tuned), dtype=bool)
    kept = np.arange(len(data.tuned)) != 5
    near = fit_losses(law, data, kept, fit_losses(law, data, everything))
    assert near.coefficients() == pytest.approx(fit_losses(law, data, kept).coefficients(), rel=1e-4)


def test_mikamis_and_barnetts_laws_are_recovered_at_each_size():
    mikami = refit("mikami", losses(lambda n, f, p: 20 * (0.5 + p**-0.1) * f**-0.15, p=P))
    barnett = refit("barnett", losses(lambda n, f, p: (40 * p**-0.2 + 3) * f**-0.15 + 1.5, p=[*P, 6.4e7, 2.56e8]))
    assert set(mikami) == set(barnett) == {"6000", "30000", "200000"}
    for one, other in zip(mikami.values(), barnett.values(), strict=True):
        assert one == pytest.approx({"alpha": 0.1, "beta": 0.15, "delta": 20, "G": 10, "gamma": 0.5}, rel=1e-3)
        truth = {"alpha": 0.2, "beta": 0.15, "A": 40, "G": 3, "E": 1.5}
        assert other == pytest.approx(truth, rel=1e-2)


def alternatives_of(runs: pd.DataFrame) -> dict:
    return summarise(fit_runs(check_runs(runs), RULE))["sources"]["english"]


def test_the_planted_law_predicts_held_out_cells_best():
    found = alternatives_of(simulate_runs(noise=QUIET, document_size=None))["alternatives"]["laws"]
    assert set(found) == {"transfer_law", "without_n", "without_d_f", "zhang", "unified_d_e", "unified_d_t"}
    for scheme in ("largest_n", "largest_d_f", "each_cell"):
        errors = {name: law["held_out"][scheme]["rms_nats"] for name, law in found.items()}
        own = errors.pop("transfer_law")
        assert own < 0.01
        assert all(other > own for other in errors.values())


def test_a_law_without_d_f_is_as_good_where_transfer_does_not_depend_on_it():
    runs = simulate_runs(planted=Planted(alpha=0.0, k=3000.0), document_size=None)
    found = alternatives_of(runs)["alternatives"]["laws"]
    own, without = (found[name]["held_out"]["largest_d_f"]["rms_nats"] for name in ("transfer_law", "without_d_f"))
    assert without < 1.5 * own
    assert found["without_n"]["held_out"]["largest_n"]["rms_nats"] > 2 * own


def test_a_refit_that_does_not_converge_judges_nothing(monkeypatch):
    """Held-out errors of fits that had not ended stood beside the others as if they were as good."""
    fitted = fit_runs(check_runs(simulate_runs(document_size=None)), RULE)
    monkeypatch.setattr(likelihood, "STEPS", 0)
    found = compare(fitted, fitted.laws[0])["laws"]["without_n"]
    assert found["status"] == "not converged"
    assert found["held_out"]["each_cell"] == {
        "n_cells": 30,
        "n_failed": 30,
        "n_on_a_bound": 0,
        "rms_nats": None,
    }


def test_a_rival_that_ends_on_a_bound_is_warned_of():
    """Its errors stood beside the others' as if they were as good."""
    runs = simulate_runs(noise=QUIET, document_size=None)
    tuned = runs.arm == "finetune"
    runs.loc[tuned, "test_loss"] = 3.3 + 0.4 * (runs.n_params / 6144) ** -2.5
    law = alternatives_of(runs)
    zhang = law["alternatives"]["laws"]["zhang"]
    assert zhang["status"] == "on a bound"
    assert zhang["held_out"]["each_cell"]["n_on_a_bound"] == zhang["held_out"]["each_cell"]["n_cells"]
    assert any(s.startswith(f"{zhang['equation']} ends on a bound of its search on ") for s in law["warnings"])


def test_a_rival_that_predicts_better_is_named():
    runs = simulate_runs(noise=QUIET, document_size=None)
    tuned = runs.arm == "finetune"
    runs.loc[tuned, "test_loss"] = 1.2 + 30 * runs.n_params**-0.15 * runs.d_chars.clip(lower=1) ** -0.1
    warnings = alternatives_of(runs)["warnings"]
    assert any("predicted better by L = A N^-alpha D_F^-beta + E (Zhang et al. 2024" in words for words in warnings)


def runs_over_p(gamma: float, noise: Noise = QUIET) -> pd.DataFrame:
    """One set of from-scratch runs, and fine-tuned runs from models that were pre-trained on each P."""
    tables = [
        simulate_runs(
            planted=Planted(k=40 * (p / 4e6) ** gamma), noise=noise, pretrain_tokens=round(p), document_size=None
        )
        for p in P
    ]
    return pd.concat([tables[0], *(table[table.arm.isin(["finetune", "zero_shot"])] for table in tables[1:])])


def test_the_axis_of_p_is_fitted_where_the_table_has_it():
    runs = runs_over_p(0.35)
    law = alternatives_of(runs)
    axis = law["axis_of_p"]
    assert axis["pretrain_tokens"] == [1_000_000, 4_000_000, 16_000_000]
    assert axis["gamma"]["low"] <= 0.35 <= axis["gamma"]["high"]
    assert axis["gamma"]["estimate"] == pytest.approx(0.35, abs=0.02)
    laws = axis["alternatives"]["laws"]
    assert set(laws) == {
        *("transfer_law", "without_n", "without_d_f", "with_p"),
        *("zhang", "unified_d_e", "unified_d_t", "zhang_p", "mikami", "barnett"),
    }
    errors = {name: one["held_out"]["largest_p"]["rms_nats"] for name, one in laws.items()}
    assert min(errors, key=lambda name: np.inf if errors[name] is None else errors[name]) == "with_p"
    assert laws["mikami"]["held_out"]["largest_n"]["rms_nats"] is None


def test_the_law_without_p_is_that_of_the_largest():
    """Cells of different P are never pooled into one cell."""
    runs = runs_over_p(0.35)
    fitted = fit_runs(check_runs(runs), RULE)
    assert set(fitted.in_fit("english").pretrain_tokens) == {16_000_000}
    assert len(fitted.in_fit("english")) == 30
    alone = fit_runs(check_runs(runs[runs.pretrain_tokens.isna() | (runs.pretrain_tokens == 16_000_000)]), RULE)
    assert fitted.laws[0].best.law.beta[0] == pytest.approx(alone.laws[0].best.law.beta[0], abs=0.01)
    assert alone.with_p == {}


def test_a_law_over_p_that_cells_do_not_decide_is_not_fitted():
    """Where each N has its own P, the exponents of N and P are one: 36 starts agreed, each where it began."""
    runs = simulate_runs(document_size=None, pretrain_tokens=P[0])
    runs.loc[runs.pretrain_tokens.notna(), "pretrain_tokens"] = 100 * runs.n_params
    fitted = fit_runs(check_runs(runs), RULE)
    assert fitted.with_p == {}
    (law,) = summarise(fitted)["sources"].values()
    assert law["status"] == "ok"
    assert any(s.startswith("No law with an exponent of P was fitted: its 4 coefficients") for s in law["warnings"])

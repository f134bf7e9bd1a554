"""The command fits what a table supports, and says in words what it does not."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from workflow_scripts.laws.__main__ import main
from workflow_scripts.laws.runs import NEEDED
from workflow_scripts.laws.scaling.catalogue import CHINCHILLA, PUBLISHED
from workflow_scripts.laws.simulate import simulate_runs

PRETRAINING = {"E": 1.5, "A": 20.0, "B": 900.0, "alpha": 0.3, "beta": 0.4}


@pytest.fixture(scope="module")
def runs() -> pd.DataFrame:
    return simulate_runs().assign(corpus=lambda runs: np.where(runs.arm == "pretrain", "english", "python"))


@pytest.fixture
def command(tmp_path, capsys):
    def run(table: pd.DataFrame, *arguments: str) -> tuple[dict, str]:
        table.to_parquet(tmp_path / "runs.parquet")
        out = tmp_path / "scaling.json"
        main(["scaling", str(tmp_path / "runs.parquet"), "--out", str(out), "--draws", "60", *arguments])
        return json.loads(out.read_text()), capsys.readouterr().out

    return run


def entry(result: dict, law: str, of: str) -> dict:
    return next(one for one in result["laws"] if one["law"] == law and of in one["of"])


def test_every_law_of_the_quickstart(runs, command):
    result, words = command(runs)
    surface = entry(result, "Chinchilla's L(N, D)", "scratch")
    assert surface["n_points"] == 108
    for name, value in {"alpha": 0.25, "beta": 0.15, "E": 1.2}.items():
        assert surface["parameters"][name]["low"] < value < surface["parameters"][name]["high"]
    assert entry(result, "L(N)", "pre-training on english")["status"] == "ok"
    assert "C grows with N alone" in entry(result, "L(C)", "english")["note"]
    assert len([one for one in result["laws"] if one["law"] == "rectified L(D)"]) == 6
    epochs = entry(result, "best epoch", "from scratch")["parameters"]
    assert epochs["d"]["estimate"] < 0
    assert {one["law"] for one in result["absent"]} >= {"Kaplan's L(N, S_min)", "compute-optimal N and D"}
    assert "no Kaplan's L(N, S_min) of any arm: it takes the steps to a loss" in words


def test_laws_of_fine_tuning_are_those_of_the_longest_pretraining(runs, command):
    """They were pooled over all lengths: one curve through cells of models that are not the same."""
    shorter = runs[runs.arm != "scratch"].assign(
        pretrain_tokens=runs.pretrain_tokens // 4, d_tokens=runs.d_tokens // 4, test_loss=runs.test_loss + 0.3
    )
    both, alone = command(pd.concat([runs, shorter]))[0], command(runs)[0]
    for found in (both, alone):
        found["laws"] = [one for one in found["laws"] if "tuned" in one["of"]]
    assert both["laws"] == alone["laws"]
    assert both["frontiers"] == alone["frontiers"]


def test_a_table_with_other_names_is_renamed(runs, command):
    named, _ = command(runs.rename(columns={"n_params": "parameters"}), "--rename", "n_params=parameters")
    assert named == command(runs)[0]


def test_frontiers_with_and_without_pretraining(runs, command):
    result, words = command(runs)
    races = {(race["d_chars"], race["with_pretraining"]): race for race in result["frontiers"]}
    assert {d for d, _ in races} == {6_000, 10_000, 20_000, 35_000, 60_000, 200_000}
    free, paid = (races[20_000, counted] for counted in (False, True))
    assert free["crossover"]["ahead"] == "tuned"
    assert min(paid["tuned"]["flops"]) > min(free["tuned"]["flops"]) + 6 * 6_144 * 4_000_000 * 0.99
    assert free["scratch"] == paid["scratch"]
    assert "D = 20,000 characters, with the cost of pre-training: fine-tuning is ahead from" in words


def test_pretraining_at_several_lengths_gives_the_best_use_of_compute(runs, command):
    random = np.random.default_rng(0)
    pretrain = runs[runs.arm == "pretrain"]
    longer = []
    for tokens in (1e6, 4e6, 16e6, 64e6):
        loss = CHINCHILLA.predict(PRETRAINING, N=pretrain.n_params, D=tokens) * np.exp(
            0.002 * random.standard_normal(12)
        )
        counts = {"d_tokens": int(tokens), "d_chars": int(4 * tokens), "flops": 6 * pretrain.n_params * tokens}
        longer.append(pretrain.assign(test_loss=loss, **counts))
    result, words = command(pd.concat([*longer, runs[runs.arm != "pretrain"]]))
    surface = entry(result, "Chinchilla's L(N, D)", "english")["parameters"]
    assert surface["alpha"]["low"] < 0.3 < surface["alpha"]["high"]
    first, second = result["allocations"]
    assert second["flops"] == pytest.approx(10 * first["flops"])
    assert first["n"]["low"] < first["n"]["estimate"] < first["n"]["high"]
    assert "FLOPs (6 N D) are best spent on N =" in words


@pytest.fixture
def curves(runs) -> pd.DataFrame:
    """Learning curves on a planted surface, a curve a pre-training run, with luck that a curve keeps."""
    random, parts = np.random.default_rng(1), []
    for row in runs[runs.arm == "pretrain"].itertuples():
        tokens = np.geomspace(4e4, 4e6, 24)
        loss = CHINCHILLA.predict(PRETRAINING, N=np.full(24, row.n_params), D=tokens)
        loss = loss * np.exp(0.002 * random.standard_normal() + 0.0005 * random.standard_normal(24))
        own = {"corpus": "english", "n_params": row.n_params, "n_params_total": row.n_params_total, "seed": row.seed}
        flops = 6.0 * row.n_params * tokens
        parts.append(pd.DataFrame(own | {"d_tokens": tokens, "flops": flops, "flops_with_head": 2 * flops}))
        parts[-1]["val_loss"] = loss
    return pd.concat(parts)


def test_learning_curves_give_the_laws_of_the_source_itself(runs, curves, command, tmp_path):
    """L(N), L(D), L(C) and the best use of compute, at no cost beyond the pre-training of the experiment."""
    curves.to_parquet(tmp_path / "curves.parquet")
    result, words = command(runs, "--curves", str(tmp_path / "curves.parquet"))
    surface = entry(result, "Chinchilla's L(N, D)", "learning curves on english")
    assert surface["n_points"] == 12 * 12  # from a tenth of the longest on
    for name, value in PRETRAINING.items():
        if name in ("alpha", "beta", "E"):
            assert surface["parameters"][name]["low"] < value < surface["parameters"][name]["high"]
    assert entry(result, "L(D) with a floor", "learning curves on english, N = 196,608")["status"] == "ok"
    assert entry(result, "L(C)", "compute-efficient")["parameters"]["alpha"]["estimate"] > 0
    best = next(one for one in result["allocations"] if "learning curves" in one["of"])
    assert best["exponent"]["low"] < 0.4 / 0.7 < best["exponent"]["high"]
    assert "N_opt grows as C^0.5" in words


def test_the_noise_scale_at_the_end_of_pre_training_gives_the_critical_batch(runs, command):
    critical = entry(command(runs)[0], "B_crit(L)", "pre-training on english")
    assert critical["parameters"]["alpha_B"]["estimate"] > 0
    assert "gradient noise scale" in critical["note"]


def test_published_exponents_stand_beside_the_fitted_ones(runs, command):
    result, words = command(runs)
    assert entry(result, "L(N)", "english")["published"] == [
        {"parameter": "alpha", "value": 0.076, "by": "Kaplan"},
        {"parameter": "alpha", "value": 0.07, "by": "Henighan"},
    ]
    assert "published: alpha 0.076 (Kaplan), alpha 0.07 (Henighan)" in words
    named = {one["law"]: one for one in result["laws"] if one["published"]}
    for name, exponents in PUBLISHED.items():
        for parameter, _, _ in exponents if name in named else ():
            assert parameter in named[name]["parameters"]


def test_runs_at_their_budget_stay_out(runs, command):
    cut = runs.copy()
    cut.loc[(cut.arm == "scratch") & (cut.d_chars == 600_000), "hit_budget"] = True
    surface = entry(command(cut)[0], "Chinchilla's L(N, D)", "scratch")
    assert (surface["n_points"], surface["n_at_budget_left_out"]) == (96, 12)


def test_a_bare_table_gets_what_it_supports(runs, command):
    """Only the needed columns, only from-scratch runs: no compute, no epochs, no pre-training, and each is said."""
    bare = runs[(runs.arm == "scratch") & (runs.unit == "excerpt")][list(NEEDED)]
    result, words = command(bare)
    assert {law["law"] for law in result["laws"]} == {
        "Chinchilla's L(N, D)",
        "Kaplan's L(N, D)",
        "L(D)",
        "L(D) with a floor",
    }
    assert "no compute frontier of any arm: no column flops" in words
    assert "no column best_epoch" in words
    assert "the table has no run of the arm pretrain" in words


def test_two_sources_without_names_are_not_mixed(runs, command):
    pretrain = runs[runs.arm == "pretrain"]
    both = pd.concat([runs, pretrain]).drop(columns="corpus")
    _, words = command(both)
    assert "no column corpus tells their sources apart" in words


def test_counts_are_chosen_and_said(runs, command):
    result, words = command(runs, "--n", "n_params_total", "--flops", "flops_with_head")
    assert result["conventions"] == {"N": "n_params_total", "C": "flops_with_head", "unit": "excerpt"}
    assert words.startswith("N is n_params_total, C is flops_with_head")
    with pytest.raises(SystemExit, match="no column n_params_total"):
        command(runs.drop(columns="n_params_total"), "--n", "n_params_total")
    with pytest.raises(SystemExit, match="no run has 'page'; expected one of document, excerpt"):
        command(runs, "--unit", "page")


def test_the_command_does_not_import_torch():
    code = "import sys, workflow_scripts.laws.__main__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

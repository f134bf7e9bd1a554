"""The command fits what a table supports, and says in words what it does not."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from tests.simulated_curves import simulate_learning_curves
from workflow_scripts.laws.__main__ import main
from workflow_scripts.laws.runs import NEEDED
from workflow_scripts.laws.scaling.catalogue import CHINCHILLA, PUBLISHED
from workflow_scripts.laws.scaling.command import sentences
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
        main(["scaling", str(tmp_path / "runs.parquet"), "--out", str(out), "--draws", "100", *arguments])
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
    assert entry(result, "B_crit(L)", "pre-training on english, by noise scale")["n_points"] == 12
    missing = {one["law"] for one in result["absent"]}
    assert "compute-optimal N and D, Kaplan's L(N, S_min)" in missing
    assert "L(N, D) with repeated data, data-constrained L(N, D)" in missing
    assert "it takes learning curves (--curves)" in words


def test_learning_curves_add_the_laws_of_training_in_progress(runs, command, tmp_path):
    """One pass: a surface, its allocations and three approaches to them, steps, the frontier; and sets seen again."""
    simulate_learning_curves(runs).to_parquet(tmp_path / "curves.parquet")
    result, words = command(runs, "--curves", str(tmp_path / "curves.parquet"))
    surface = entry(result, "Chinchilla's L(N, D)", "pre-training on english")
    for name, value in {"alpha": 0.25, "beta": 0.15}.items():
        assert surface["parameters"][name]["low"] < value < surface["parameters"][name]["high"]
    assert entry(result, "Kaplan's L(N, S_min)", "english")["variables"] == {"N": "n_params", "S_min": "s_min"}
    assert entry(result, "L(C)", "english, frontier of compute")["status"] == "ok"
    assert entry(result, "L(N, D) with repeated data", "from scratch (excerpt)")["variables"]["U_D"] == "d_tokens"
    assert entry(result, "data-constrained L(N, D)", "from scratch")["note"].startswith("U_N from the surface")
    assert len(result["allocations"]) == 2
    told = {one["law"] for one in result["absent"]} | {f"approach {one['approach']}" for one in result["approaches"]}
    assert all(any(name.startswith(f"approach {number}") for name in told) for number in (1, 2))
    assert "the compute-optimal N grows with C to the power" in words


def test_runs_set_aside_and_lost_draws_are_said(runs, command):
    failed = runs.copy()
    failed.loc[failed.index[failed.arm == "scratch"][:3], "status"] = "failed"
    result, words = command(failed)
    assert result["set_aside"] == {"failed": 3}
    assert "Runs set aside because their status is not ok: 3 failed." in words
    lost = json.loads(json.dumps(result))
    lost["laws"][0]["draws"]["not_converged"] = 7
    assert "7 of 100 draws did not converge" in sentences(lost)


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


def test_zero_shot_runs_of_a_longer_pretraining_leave_the_fine_tuned_runs_where_they_are(runs, command):
    """The longest was taken over both arms together: every law of fine-tuning was gone, as if there were no such run."""
    longer = runs[runs.arm.isin(["pretrain", "zero_shot"])].assign(
        pretrain_tokens=runs.pretrain_tokens * 4,
        d_tokens=runs.d_tokens * 4,
        d_chars=runs.d_chars * 4,
        flops=runs.flops * 4,
        test_loss=runs.test_loss - 0.1,
    )
    both, alone = command(pd.concat([runs, longer]))[0], command(runs)[0]
    for found in (both, alone):
        found["laws"] = [one for one in found["laws"] if "tuned" in one["of"]]
    assert len(alone["laws"]) == 7
    assert both["laws"] == alone["laws"]
    assert both["frontiers"] == alone["frontiers"], "with the FLOPs of the pre-training that they start from"


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
    assert "no column corpus tells them apart" in words


def test_two_sources_of_as_many_tokens_are_not_one(runs, command, tmp_path):
    """Their characters differ, so no two rows are alike: two laws were pooled into one without a word."""
    other = runs[runs.arm != "scratch"].assign(init=lambda rows: rows.init.replace("english", "code"))
    other.loc[other.arm == "pretrain", "d_chars"] *= 2
    both = pd.concat([runs, other])
    result, _ = command(both.drop(columns="corpus"))
    assert "L(N), L(C)" in {one["law"] for one in result["absent"]}
    assert not [one for one in result["laws"] if "pre-training" in one["of"]]
    named = both.assign(corpus=both.corpus.where(both.init != "code", "code"))
    named.loc[
        (named.arm == "pretrain").to_numpy() & np.r_[np.zeros(len(runs), bool), np.ones(len(other), bool)], "corpus"
    ] = "code"
    simulate_learning_curves(runs).drop(columns="corpus").to_parquet(tmp_path / "curves.parquet")
    result, _ = command(named, "--curves", str(tmp_path / "curves.parquet"))
    assert "compute-optimal N and D" in {one["law"] for one in result["absent"]}


def test_curves_may_name_their_runs(runs, command, tmp_path):
    """A name, a number, and one name for several seeds and sizes: `run` tells apart what the other columns do not."""
    curves = simulate_learning_curves(runs)
    expected, _ = command(runs, "--curves", _written(curves, tmp_path))
    for run in (
        curves.groupby(["arm", "n_params", "seed", "d_tokens", "unit"], dropna=False).ngroup(),
        "a",
        curves.seed.map("seed {}".format),
    ):
        found, _ = command(runs, "--curves", _written(curves.assign(run=run), tmp_path))
        assert [(one["law"], one["n_points"]) for one in found["laws"]] == [
            (one["law"], one["n_points"]) for one in expected["laws"]
        ]


def _written(curves, folder):
    curves.to_parquet(folder / "curves.parquet")
    return str(folder / "curves.parquet")


def test_pretraining_is_found_whatever_its_init_says(runs, command):
    """A table that names the source there has P of 0 beside that of the models fine-tuned from it."""
    named = runs.assign(init=runs.init.where(runs.arm != "pretrain", "english"))
    one, other = command(named)[0], command(runs)[0]
    assert one["laws"] == other["laws"]
    assert one["frontiers"] == other["frontiers"]


def test_each_source_has_the_frontier_of_its_own_longest_pretraining(runs, command):
    """A source of half the tokens had none: the longest was taken over all sources."""
    other = runs[runs.arm != "scratch"].assign(init=lambda rows: rows.init.replace("english", "code"))
    shorter = other.arm == "pretrain"
    other.loc[shorter, ["d_tokens", "d_chars"]] //= 2
    other.loc[shorter, "corpus"] = "code"
    result, words = command(pd.concat([runs, other]))
    paid = [race for race in result["frontiers"] if race["with_pretraining"]]
    assert {race["source"] for race in paid} == {"english", "code"}
    assert "not every size has the FLOPs" not in words


def test_counts_are_chosen_and_said(runs, command):
    result, words = command(runs, "--n", "n_params_total", "--flops", "flops_with_head")
    conventions = {
        "N": "n_params_total",
        "C": "flops_with_head",
        "C of training in progress": "6 N D",
        "unit": "excerpt",
    }
    assert result["conventions"] == conventions
    assert "\nN is n_params_total, C is flops_with_head" in words
    with pytest.raises(SystemExit, match="no column n_params_total"):
        command(runs.drop(columns="n_params_total"), "--n", "n_params_total")
    with pytest.raises(SystemExit, match="no run has 'page'; expected one of document, excerpt"):
        command(runs, "--unit", "page")


@pytest.mark.parametrize("arm", ["scratch", "finetune"])
def test_an_arm_without_compute_has_no_frontier(runs, command, arm):
    """From scratch: NaN in the JSON, a traceback.  Fine-tuned: it was said to lack the FLOPs of its pre-training."""
    result, words = command(runs.assign(flops=runs.flops.where(runs.arm != arm)))
    assert not result["frontiers"]
    assert "no compute frontier of english, D = 20,000: column flops is null for all runs of N = 6,144," in words


@pytest.mark.parametrize("draws", [-1, 0, 1, 99])
def test_too_few_draws_for_an_interval_are_refused(runs, command, draws):
    with pytest.raises(SystemExit, match=f"--draws {draws}: expected 100 draws or more"):
        command(runs, "--draws", str(draws))


def test_a_folder_is_no_file_for_the_results(runs, command, tmp_path, capsys):
    with pytest.raises(SystemExit):
        command(runs, "--out", str(tmp_path))
    assert f"argument --out: {tmp_path} is a folder, expected the name of a file" in capsys.readouterr().err


def test_pre_training_whose_corpus_is_null_is_that_of_the_source(runs, command):
    words = command(runs.assign(corpus=runs.corpus.where(runs.arm != "pretrain")))[1]
    assert "pre-training on the source:" in words
    assert "pre-training on nan" not in words


def test_another_count_is_renamed_in_both_tables(runs, command, tmp_path):
    """The learning curves had two columns of one name: a traceback."""
    curves = simulate_learning_curves(runs)
    for name, table in (("both", curves), ("one", curves.assign(n_params=curves.n_params_total))):
        table.to_parquet(tmp_path / f"{name}.parquet")
    rename = ["--rename", "n_params=n_params_total"]
    both, alone = (command(runs, *rename, "--curves", str(tmp_path / f"{name}.parquet"))[0] for name in ("both", "one"))
    assert both == alone
    assert both["allocations"]


def test_the_command_does_not_import_torch():
    code = "import sys, workflow_scripts.laws.__main__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

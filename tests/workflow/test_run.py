"""The workflow as its user meets it: one command, files that stay, nothing done twice."""

import json
import re
import zipfile

import pandas as pd
import pytest

from workflow_scripts.figures import FIGURES

pytestmark = pytest.mark.workflow


def test_one_command_ends_with_the_law_and_the_report(finished):
    assert "english: D_T = " in finished.output
    assert "95 %" in finished.output
    assert finished.output.rstrip().endswith("results/tiny/report.html")
    for figure in FIGURES:
        assert finished.results("figures", f"{figure}.svg").stat().st_size > 1000
        assert finished.results("figures", f"{figure}.png").stat().st_size > 1000
    assert "<html" in finished.results("report.html").read_text()


def test_the_terminal_shows_what_is_done_and_left(finished):
    runs = len(pd.read_parquet(finished.results("laws", "runs.parquet")))
    assert f"[training] {runs} of {runs} runs done, 0 left" in finished.output


def test_every_cell_of_the_grid_is_a_row_with_its_counts(finished):
    runs = pd.read_parquet(finished.results("laws", "runs.parquet"))
    assert runs.groupby("arm").size().to_dict() == {"pretrain": 4, "zero_shot": 4, "finetune": 14, "scratch": 26}
    assert (runs["status"] == "ok").all()
    assert runs["test_loss"].between(0.1, 12).all()
    cells = runs[runs["arm"].isin(["finetune", "scratch"])]
    assert (cells["d_chars_used"] <= cells["d_chars"]).all()
    assert (cells["d_chars_used"] > cells["d_chars"] - 20).all()
    assert set(runs.loc[runs["arm"] == "zero_shot", "d_chars"]) == {0}
    assert set(runs["init"]) == {"scratch", "english"}
    assert (runs.loc[runs["arm"] == "pretrain", "d_tokens"] == 60_000).all()


def test_both_arms_and_all_sizes_of_a_seed_see_the_same_data(finished):
    runs = pd.read_parquet(finished.results("laws", "runs.parquet"))
    cells = runs[runs["arm"].isin(["finetune", "scratch"])]
    seen = cells.groupby(["unit", "d_chars", "seed"])[["d_chars_used", "d_bytes", "d_tokens", "n_units"]].nunique()
    assert (seen == 1).all(axis=None)


def test_a_fine_tuned_run_starts_from_the_pre_trained_weights_of_its_seed(finished):
    training = finished.results("training")
    for path in training.glob("finetune/english/*/*/seed*/d*/run.json"):
        size, seed = path.parts[-4], path.parts[-3]
        manifest = json.loads((training / f"pretrain/english/{size}/{seed}.json").read_text())
        (pretrained,) = manifest.values()
        assert json.loads(path.read_text())["identity"]["initial_weights"] == pretrained["weights"]


def test_the_law_has_every_number_or_null(finished):
    text = finished.results("laws", "transfer_law.json").read_text()
    law = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))["sources"]["english"]
    for name in ("k", "alpha", "beta"):
        assert set(law[name]) >= {"estimate", "low", "high"}
    assert {
        "n_cells",
        "r_squared",
        "largest_size_error_factor",
        "estimator",
        "estimators",
        "status",
        "warnings",
    } <= set(law)
    assert law["n_cells"] == 6


def test_a_second_run_does_nothing_and_says_so(finished):
    code, output = finished.launch()
    assert code == 0
    assert "Nothing to be done" in output
    assert "english: D_T = " in output


def test_one_figure_is_made_alone(finished, tmp_path):
    project = finished.copy(tmp_path / "project")
    figure = project.results("figures", "transfer_law.svg")
    before = figure.read_bytes()
    figure.unlink()
    target = "results/tiny/figures/transfer_law.svg"
    assert project.planned(target) == {"figure": 1}
    code, output = project.snakemake(target)
    assert code == 0, output
    assert figure.read_bytes() == before


def test_lint_is_clean(finished):
    code, output = finished.snakemake("--lint")
    assert code == 0, output


def test_snakemakes_own_report_shows_the_figures(finished, tmp_path):
    project = finished.copy(tmp_path / "project")
    code, output = project.snakemake("--report", "report.zip")
    assert code == 0, output
    with zipfile.ZipFile(project.folder / "report.zip") as archive:
        page = archive.read("report/report.html").decode()
    for figure in FIGURES:
        assert f"{figure}.svg" in page


def test_longer_jobs_start_first_so_that_none_is_left_alone_at_the_end(pristine):
    """A pre-training counts with the longest job that waits for it."""
    code, output = pristine.snakemake("-n")
    assert code == 0, output
    jobs = re.findall(r"output: results/tiny/training/(\S+)\.json\n(?:    .*\n)*?    priority: (\d+)", output)
    urgency = {job: int(seconds) for job, seconds in jobs}
    for seed in ("seed0", "seed1"):
        alone = [urgency[f"scratch/excerpt/6k/{seed}/d{characters}"] for characters in (8_000, 16_000)]
        assert alone[0] < alone[1]
        assert urgency[f"scratch/excerpt/6k/{seed}/small"] > alone[0], "three runs, not one"
        assert urgency[f"pretrain/english/6k/{seed}"] > urgency[f"finetune/english/excerpt/6k/{seed}/small"] > 0

"""Mistakes of earlier figures and wrong statements on the papers: not here."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from workflow_scripts.experiment import Experiment
from workflow_scripts.figures import best_epoch, coefficients, data_limited, report_tables
from workflow_scripts.figures.tables import Laws


def points(axes: Axes) -> set[tuple[float, float]]:
    """Where the markers stand, to nine digits."""
    marked = [line for line in axes.lines if line.get_marker() not in ("None", "", None)]
    pairs = (pair for line in marked for pair in zip(line.get_xdata(), line.get_ydata(), strict=True))
    return {(float(f"{x:.9g}"), float(f"{y:.9g}")) for x, y in pairs}


def expected(values: pd.Series) -> set[tuple[float, float]]:
    return {(float(f"{x:.9g}"), float(f"{y:.9g}")) for (_, x), y in values.items()}


def test_losses_stand_at_the_models_own_n(laws_folder: Path) -> None:
    """Kim's Figure 3 spread six models evenly from 3.4M to 124M (np.linspace) instead of at their sizes."""
    laws = Laws(laws_folder)
    left, right = data_limited.draw(laws, "python").axes
    for axes, arm, init in ((left, "scratch", "scratch"), (right, "finetune", "english")):
        means = laws.arm(arm, init).groupby(["d_chars", "n_params"])["test_loss"].mean()
        assert expected(means) <= points(axes)
        assert {x for x, _ in points(axes)} == set(laws.sizes["n_params"])


def test_the_best_epoch_is_drawn_for_both_arms(laws_folder: Path) -> None:
    """Paper A, Figure 15: passes up to the best loss against D; small sets take many, large ones few."""
    laws = Laws(laws_folder)
    axes = best_epoch.draw(laws, "python").axes
    for panel, arm, init in zip(axes, ("scratch", "finetune"), ("scratch", "english"), strict=True):
        runs = laws.arm(arm, init)
        epochs = runs.groupby(["n_params", "d_chars"])["best_epoch"].median()
        assert points(panel) == expected(epochs)
        assert panel.get_yscale() == panel.get_xscale() == "log"
        shown = epochs.loc[runs["n_params"].iloc[0]]
        assert shown.iloc[0] > 3 * shown.iloc[-1], "24 passes over 6,000 characters, 6 over 200,000"


def test_runs_without_a_best_epoch_of_their_own_are_told_apart(laws_folder: Path, tmp_path: Path) -> None:
    """A budget ends a run too early, and weights that only got worse have their best before the first step."""
    shutil.copytree(laws_folder, tmp_path, dirs_exist_ok=True)
    runs = pd.read_parquet(tmp_path / "runs.parquet")
    smallest = runs["n_params"] == runs["n_params"].min()
    runs.loc[smallest & (runs["arm"] == "finetune") & (runs["d_chars"] == 6_000), "best_epoch"] = 0.0
    runs.loc[smallest & (runs["arm"] == "scratch") & (runs["d_chars"] == 600_000), "hit_budget"] = True
    runs.to_parquet(tmp_path / "runs.parquet")
    figure = best_epoch.draw(Laws(tmp_path), "python")
    scratch, tuned = figure.axes
    assert (6_000, best_epoch.LEAST) in points(tuned)
    hollow = [line for line in scratch.lines if line.get_markerfacecolor() == "white" and len(line.get_xdata()) == 1]
    assert [line.get_xdata()[0] for line in hollow] == [600_000]
    words = " ".join(text.get_text().replace("\n", " ") for text in figure.texts)
    assert "Hollow: a run ended at its budget" in words
    assert "perhaps before the first step" in words


def test_the_paper_stands_beside_with_what_it_says(
    laws_folder: Path, experiment: dict, text_counts: tuple[Path, Path]
) -> None:
    """A note in circulation has k = 1.9e-4 and sizes of 124K to 1.5B, another D_F in tokens: none of that is in it."""
    laws = Laws(laws_folder)
    text, half_code = coefficients.rows_of(laws, "python")[-2:]
    assert [text[name] for name in ("k", "alpha", "beta")] == [1.9e4, 0.18, 0.38]
    assert [half_code[name] for name in ("k", "alpha", "beta")] == [2.1e5, 0.096, 0.38]
    assert "characters" in coefficients.NOTE
    rows = {row[0]: row[2] for row in report_tables.scale(laws, text_counts[1], Experiment.parse(experiment, "here"))}
    assert rows["N (non-embedding)"] == "four decades; 1M and 40M are named"
    assert rows["D_F"].endswith("from 300k characters")
    assert rows["pre-training"].startswith("24G characters of text")
    assert rows["target text to train on"] == "22G characters of Python"

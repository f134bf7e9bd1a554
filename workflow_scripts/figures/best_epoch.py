"""Paper A, Figure 15: how often a set is seen until the loss is best, from scratch and fine-tuned."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workflow_scripts.figures import style
from workflow_scripts.figures.style import End
from workflow_scripts.figures.tables import Laws, read_table
from workflow_scripts.figures.words import title_of

LEAST = 0.1
"""Epochs: the lower edge of the axis, where runs stand whose first weights were the best."""


def draw(laws: Laws, target: str) -> Figure:
    """Passes over the set up to the best validation loss against D, a line a size: from scratch at the left, fine-tuned
    beside it."""
    read_table(laws.folder / "runs.parquet", ("best_epoch",))
    figure, rows = style.panels(len(laws.sources), columns=2, height=2.9)
    scratch = laws.arm("scratch", "scratch")
    ends = {}
    for (left, right), source in zip(rows, laws.sources, strict=True):
        for axes, runs in ((left, scratch), (right, laws.arm("finetune", source))):
            style.axis_of_characters(axes, laws.data_sizes, f"{title_of(target)} given (characters)")
            axes.set_yscale("log")
            for which in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
                which("{x:g}")
            ends[axes] = _lines(axes, runs, laws.sizes)
        left.set_title("From scratch")
        right.set_title(f"Fine-tuned from {title_of(source)}")
        left.set_ylabel("passes over the set up to the best loss")
    for axes, labels in ends.items():  # the shared limits stand only now
        style.label_ends(axes, labels, head="$N$")
    style.footnote(figure, _notes(laws.runs))
    return figure


def _lines(axes: Axes, runs: pd.DataFrame, sizes: pd.DataFrame) -> list[End]:
    """Draws a line a size; returns where each ends, its name and its colour."""
    styles = style.data_styles([int(n_params) for n_params in sizes["n_params"]])
    ends = []
    for (n_params, size), of_size in runs.groupby(["n_params", "size"]):
        look = styles[int(n_params)]
        cells = of_size.groupby("d_chars").agg(epochs=("best_epoch", "median"), bounded=("hit_budget", "any"))
        epochs = cells["epochs"].clip(lower=LEAST)
        axes.plot(cells.index, epochs, color=look.colour, linestyle=look.dashes)
        for d, passes, bounded in zip(cells.index, epochs, cells["bounded"], strict=True):
            face = "white" if bounded else look.colour
            axes.plot(d, passes, marker=look.marker, color=look.colour, markerfacecolor=face)
        ends.append(End(cells.index[-1], float(epochs.iloc[-1]), size, look.colour))
    return ends


def _notes(runs: pd.DataFrame) -> list[str]:
    trained = runs[runs["arm"].isin(["finetune", "scratch"])]
    notes = ["Lines: medians over seeds."]
    if trained["hit_budget"].any():
        notes.append("Hollow: a run ended at its budget, so the best may come later.")
    if (trained["best_epoch"] < LEAST).any():
        notes.append(f"At {LEAST:g}: the best came there or before, perhaps before the first step.")
    return notes


def main(argv: Sequence[str] | None = None) -> None:
    style.command(draw, argv)


if __name__ == "__main__":
    main()

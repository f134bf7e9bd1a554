"""Paper A, Figure 3: from scratch, loss is limited by data; fine-tuned, a larger model still helps."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workflow_scripts.figures import style
from workflow_scripts.figures.style import End
from workflow_scripts.figures.tables import Laws
from workflow_scripts.figures.words import count, title_of


def draw(laws: Laws, target: str) -> Figure:
    """Test loss against N, a line a data size: from scratch at the left, fine-tuned beside it."""
    figure, rows = style.panels(len(laws.sources), columns=2, height=3.3)
    scratch = laws.arm("scratch", "scratch")
    ends = {}
    for (left, right), source in zip(rows, laws.sources, strict=True):
        finetuned, zero_shot = laws.arm("finetune", source), laws.arm("zero_shot", source)
        for axes in (left, right):
            style.axis_of_sizes(axes, laws.sizes["n_params"], laws.sizes["size"])
        ends[left] = _lines(left, scratch, laws.data_sizes)
        ends[right] = _lines(right, finetuned, laws.data_sizes) + _zero_shot(right, zero_shot)
        left.set_title("From scratch")
        right.set_title(f"Fine-tuned from {title_of(source)}")
        left.set_ylabel(f"{title_of(target)} test loss (nats per token)")
    for axes, labels in ends.items():  # the shared limits stand only now
        style.label_ends(axes, labels, head="$D$")
    notes = [f"$D$: characters of {title_of(target)}; lines: means over seeds."]
    if laws.runs["hit_budget"][laws.runs["arm"] != "pretrain"].any():
        notes.append("Hollow: a run ended at its budget, so the loss is an upper bound.")
    style.footnote(figure, notes)
    return figure


def _lines(axes: Axes, runs: pd.DataFrame, data_sizes: Sequence[int]) -> list[End]:
    """Draws a line a data size; returns where each ends, its name and its colour."""
    styles = style.data_styles(data_sizes)
    ends = []
    for d, of_size in runs.groupby("d_chars"):
        look = styles[int(d)]
        cells = of_size.groupby("n_params").agg(loss=("test_loss", "mean"), bounded=("hit_budget", "any"))
        axes.plot(cells.index, cells["loss"], color=look.colour, linestyle=look.dashes)
        for n_params, loss, bounded in cells.itertuples():
            face = "white" if bounded else look.colour
            axes.plot(n_params, loss, marker=look.marker, color=look.colour, markerfacecolor=face)
        ends.append(End(cells.index[-1], cells["loss"].iloc[-1], count(d), look.colour))
    return ends


def _zero_shot(axes: Axes, runs: pd.DataFrame) -> list[End]:
    if runs.empty:
        return []
    mean = runs.groupby("n_params")["test_loss"].mean()
    axes.plot(mean.index, mean, "-", marker="x", color=style.MUTED, linewidth=0.9)
    return [End(mean.index[-1], mean.iloc[-1], "zero-shot", style.MUTED)]


def main(argv: Sequence[str] | None = None) -> None:
    style.command(draw, argv)


if __name__ == "__main__":
    main()

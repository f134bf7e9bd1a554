"""The gradient noise scale of each run beside the batch: was the batch too large for compute to be well spent?"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workflow_scripts.figures import style
from workflow_scripts.figures.style import End
from workflow_scripts.figures.tables import Laws, read_table
from workflow_scripts.figures.words import title_of

NOISE = ("noise_scale_tokens", "batch_tokens")


def draw(laws: Laws, target: str) -> Figure:
    """B_simple (tokens) around the best point against D, a line a size: from scratch at the left, fine-tuned beside it.

    McCandlish et al. 2018 (1812.06162); runs too short to be measured are left out, and batches of one sequence.
    """
    read_table(laws.folder / "runs.parquet", NOISE)
    figure, rows = style.panels(len(laws.sources), columns=2, height=2.9)
    scratch = laws.arm("scratch", "scratch")
    ends = {}
    for (left, right), source in zip(rows, laws.sources, strict=True):
        for axes, runs in ((left, scratch), (right, laws.arm("finetune", source))):
            style.axis_of_characters(axes, laws.data_sizes, f"{title_of(target)} given (characters)")
            axes.set_yscale("log")
            ends[axes] = [*_lines(axes, runs, laws.sizes), _batch(axes, runs)]
        left.set_title("From scratch")
        right.set_title(f"Fine-tuned from {title_of(source)}")
        left.set_ylabel("gradient noise scale (tokens)")
    for axes, labels in ends.items():  # the shared limits stand only now
        style.label_ends(axes, labels, head="$N$")
    style.footnote(figure, ["Lines: medians over seeds.  A batch far above the noise scale spends compute on little."])
    return figure


def _lines(axes: Axes, runs: pd.DataFrame, sizes: pd.DataFrame) -> list[End]:
    """Draws a line a size; returns where each ends, its name and its colour."""
    styles = style.data_styles([int(n_params) for n_params in sizes["n_params"]])
    ends = []
    for (n_params, size), of_size in runs.dropna(subset="noise_scale_tokens").groupby(["n_params", "size"]):
        look = styles[int(n_params)]
        middle = of_size.groupby("d_chars")["noise_scale_tokens"].median()
        axes.plot(middle.index, middle, color=look.colour, linestyle=look.dashes, marker=look.marker)
        ends.append(End(middle.index[-1], middle.iloc[-1], size, look.colour))
    return ends


def _batch(axes: Axes, runs: pd.DataFrame) -> End:
    batch = runs.groupby("d_chars")["batch_tokens"].median()
    axes.plot(batch.index, batch, color=style.MUTED, linewidth=0.9, marker="_")
    return End(batch.index[-1], batch.iloc[-1], "batch", style.MUTED)


def main(argv: Sequence[str] | None = None) -> None:
    style.command(draw, argv)


if __name__ == "__main__":
    main()

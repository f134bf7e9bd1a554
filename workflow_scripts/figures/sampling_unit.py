"""What the sampling unit does: effective data with excerpts and with whole documents, at the size that has both."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workflow_scripts.figures import style
from workflow_scripts.figures.style import End
from workflow_scripts.figures.tables import Laws
from workflow_scripts.figures.words import title_of

LOOKS = {"excerpt": (style.SCRATCH, "o", "-"), "document": (style.FINETUNED, "s", "--")}
RATIO_TICKS = (0.2, 0.5, 1, 1.5, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)


def compared_size(cells: pd.DataFrame) -> str:
    """The largest size that was measured with every unit (all sizes, if there is one unit only)."""
    units = cells.groupby(["n_params", "size"])["unit"].nunique().reset_index()
    both = units[units["unit"] == units["unit"].max()]
    return str(both.sort_values("n_params")["size"].iloc[-1])


def draw(laws: Laws, target: str) -> Figure:
    """D_E / D_F against D_F with 95 % intervals, a line a sampling unit."""
    size = compared_size(laws.fine_tuned)
    cells = laws.fine_tuned[laws.fine_tuned["size"] == size]
    figure, rows = style.panels(len(laws.sources), right=0.85)
    _ratio_axis(rows[0][0], cells)
    for (axes,), source in zip(rows, laws.sources, strict=True):
        style.axis_of_characters(axes, list(cells["d_f"]), f"{title_of(target)} given, $D_F$ (characters)")
        axes.set_title(f"{title_of(source)} → {title_of(target)} at N = {size}")
        axes.set_ylabel("effective data over data given, $D_E / D_F$")
        _panel(axes, cells[cells["source"] == source])
    notes = ["Bars: 95 % intervals.  Arrow: at least (down: at most) this much."]
    if cells["unit"].nunique() == 1:
        notes.append("Only one sampling unit was measured.")
    style.footnote(figure, notes)
    return figure


def _ratio_axis(axes: Axes, cells: pd.DataFrame) -> None:
    ratios = pd.concat([cells[column] / cells["d_f"] for column in ("bar_low", "bar_high", "d_e_known")]).dropna()
    low, high = min(0.9, ratios.min() / 1.15), max(2.0, ratios.max() * 1.3)
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    ticks = [tick for tick in RATIO_TICKS if low <= tick <= high]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_yticks([], minor=True)


def _panel(axes: Axes, cells: pd.DataFrame) -> None:
    axes.axhline(1, color=style.MUTED, linewidth=0.8)
    ends = [End(axes.get_xlim()[1], 1.0, "no transfer", style.MUTED)]
    for unit, of_unit in cells.sort_values("d_f").groupby("unit", sort=False):
        colour, marker, dashes = LOOKS[unit]
        ratio = of_unit["d_e"] / of_unit["d_f"]
        axes.plot(of_unit["d_f"], ratio, marker=marker, color=colour, linestyle=dashes)
        axes.vlines(
            of_unit["d_f"],
            of_unit["bar_low"] / of_unit["d_f"],
            of_unit["bar_high"] / of_unit["d_f"],
            color=colour,
            linewidth=0.9,
        )
        for cell in of_unit[of_unit["limit"] != "none"].itertuples():
            ratio = cell.d_e_known / cell.d_f
            axes.plot(cell.d_f, ratio, marker=marker, color=colour, markerfacecolor="white")
            style.limit_arrows(axes, cell.d_f, ratio, cell.limit, colour)
        last = of_unit.iloc[-1]
        ends.append(End(last["d_f"], last["d_e_known"] / last["d_f"], f"{unit}s", colour))
    style.label_ends(axes, ends)


def main(argv: Sequence[str] | None = None) -> None:
    style.command(draw, argv)


if __name__ == "__main__":
    main()

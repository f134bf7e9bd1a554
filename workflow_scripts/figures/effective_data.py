"""Paper A, Figure 1: what effective data is, at one model size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workflow_scripts.figures import style
from workflow_scripts.figures.style import End
from workflow_scripts.figures.tables import Laws
from workflow_scripts.figures.words import count, interval, title_of

NOTE = (
    "Points: one seed each.  Solid line: means over seeds, made to fall, from which $D_E$ is read; dashed line: means "
    "over seeds.  Grey bar: 95 % interval of $D_E$."
)
RELATIONS = {"none": "=", "at least": "≥", "at most": "≤", "unknown": "?"}


def marked_cell(cells: pd.DataFrame) -> pd.Series | None:
    """The cell whose D_T a reader is shown: the smallest D_F in the fit that has a D_E (else the smallest that has)."""
    cells = cells[cells["d_e"].notna()].sort_values("d_f")
    if cells.empty:
        return None
    fitted = cells[cells["in_fit"]]
    return (cells if fitted.empty else fitted).iloc[0]


def draw(laws: Laws, target: str) -> Figure:
    """Test loss against data, from scratch and fine-tuned, at the middle size of the ladder; the gap is D_T."""
    size = laws.middle_size
    figure, rows = style.panels(len(laws.sources), right=0.95)
    ends = {}
    for (axes,), source in zip(rows, laws.sources, strict=True):
        ends[axes] = _panel(axes, laws, source, target, size)
        axes.set_ylabel(f"{title_of(target)} test loss (nats per token)")
    for axes, labels in ends.items():  # the shared limits stand only now
        style.label_ends(axes, labels)
    style.footnote(figure, [NOTE])
    return figure


def _panel(axes: Axes, laws: Laws, source: str, target: str, size: str) -> list[End]:
    """Draws one source; returns the names of its lines."""
    scratch = _of_size(laws.arm("scratch", "scratch"), size)
    finetuned = _of_size(laws.arm("finetune", source), size)
    n_params = finetuned["n_params"].iloc[0]
    curve = laws.scratch_curves
    curve = curve[(curve["unit"] == laws.main_unit) & (curve["n_params"] == n_params)].sort_values("d")
    mean = finetuned.groupby("d_chars")["test_loss"].mean()
    cell = marked_cell(_of_size(laws.cells(source), size))

    style.axis_of_characters(
        axes,
        [*scratch["d_chars"], *finetuned["d_chars"]],
        f"{title_of(target)} given to the model (characters)",
    )
    axes.plot(curve["d"], curve["isotonic_loss"], "-", color=style.SCRATCH)
    axes.plot(mean.index, mean, "--", color=style.FINETUNED)
    axes.plot(scratch["d_chars"], scratch["test_loss"], "o", color=style.SCRATCH, markerfacecolor="none")
    axes.plot(finetuned["d_chars"], finetuned["test_loss"], "s", color=style.FINETUNED, markerfacecolor="none")
    ends = [
        End(curve["d"].iloc[-1], curve["isotonic_loss"].iloc[-1], "from scratch", style.SCRATCH),
        End(mean.index[-1], mean.iloc[-1], "fine-tuned", style.FINETUNED),
    ]
    zero_shot = _of_size(laws.arm("zero_shot", source), size)["test_loss"]
    if len(zero_shot):
        axes.axhline(zero_shot.mean(), color=style.MUTED, linewidth=0.8, dashes=(6, 3))
        ends.append(End(axes.get_xlim()[1], zero_shot.mean(), "zero-shot", style.MUTED))
    title = f"{title_of(source)} → {title_of(target)} at N = {size}"
    axes.set_title(f"{title}\n{_mark_gap(axes, cell, mean, float(scratch['test_loss'].max()))}")
    return ends


def _of_size(table: pd.DataFrame, size: str) -> pd.DataFrame:
    return table[table["size"] == size]


def _mark_gap(axes: Axes, cell: pd.Series | None, mean: pd.Series, top: float) -> str:
    """Draws the gap D_T of `cell` between the two curves, named above the `top` of both; returns it in words."""
    if cell is None:
        return "D_E lies outside the from-scratch curve in every cell of this size"
    d_f, d_e = float(cell["d_f"]), float(cell["d_e"])
    loss, relation = float(mean.loc[cell["d_f"]]), RELATIONS[cell["limit"]]
    if np.isfinite(cell["bar_low"]):
        axes.plot([cell["bar_low"], cell["bar_high"]], [loss, loss], color="black", linewidth=3.5, alpha=0.25)
    axes.annotate("", (d_e, loss), (d_f, loss), arrowprops={"arrowstyle": "<->", "color": "black", "linewidth": 1.1,
                                                           "shrinkA": 0, "shrinkB": 0})  # fmt: skip
    for x in (d_f, d_e):
        axes.plot([x, x], [axes.get_ylim()[0], loss], ":", color="black", linewidth=0.7, scaley=False)
    axes.annotate(
        f"$D_T$ {relation} {count(cell['d_t'])}",
        (min(d_f, d_e), max(top, loss)),
        (8, 4),
        textcoords="offset points",
        va="bottom",
    )
    sign = "+" if cell["d_t"] >= 0 else "−"
    return (
        f"$D_E$ = $D_F$ + $D_T$ {relation} {count(d_f)} {sign} {count(abs(cell['d_t']))} = {count(d_e)}"
        f"  ({interval(cell['d_e_low'], cell['d_e_high'], count)})"
    )


def main(argv: Sequence[str] | None = None) -> None:
    style.command(draw, argv)


if __name__ == "__main__":
    main()

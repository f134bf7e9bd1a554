"""Paper A, Figure 2: the fraction of effective data that comes from transfer, with the fitted law."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.markers import CARETDOWN

from workflow_scripts.figures import style
from workflow_scripts.figures.style import End
from workflow_scripts.figures.tables import COEFFICIENTS, Laws, has_law
from workflow_scripts.figures.words import count, interval, number, title_of

LOGIT_TICKS = (0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999, 0.9999)
FRACTION_FLOOR = 0.01
"""The axis goes no lower: smaller fractions (and D_T <= 0) stand at its lower edge."""
LIMIT_NOTE = "Arrow: at least (down: at most) this much, beyond the from-scratch runs or from a run at its budget."


def fraction_of(d_f: np.ndarray, d_e: np.ndarray) -> np.ndarray:
    """D_T / (D_F + D_T) from D_F and D_E, in characters; zero or below where nothing was transferred."""
    return 1 - np.asarray(d_f, float) / np.asarray(d_e, float)


def law_fraction(law: dict[str, Any], d_f: float, n_params: np.ndarray) -> np.ndarray:
    """Paper A, eq. B.2: x / (1 + x) with x = k D_F^(alpha - 1) N^beta."""
    k, alpha, beta = (law[name]["estimate"] for name in COEFFICIENTS)
    x = np.exp(np.log(k) + (alpha - 1) * np.log(d_f) + beta * np.log(n_params))
    return x / (1 + x)


def draw(laws: Laws, target: str) -> Figure:
    """The fraction from transfer (logit axis) against N, a line a D_F, with the fitted law and its intervals."""
    sources = laws.sources
    figure, rows = style.panels(len(sources), height=3.2, right=0.6)
    limits = _limits(laws)
    notes: dict[str, None] = {}
    for (axes,), source in zip(rows, sources, strict=True):
        style.axis_of_sizes(axes, laws.sizes["n_params"], laws.sizes["size"])
        _logit_axis(axes, limits)
        notes |= dict.fromkeys(_panel(axes, laws, source))
        axes.set_ylabel("fraction from transfer, $D_T / (D_F + D_T)$")
        axes.set_title(_title(laws.transfer_law[source], source, target))
    style.footnote(figure, notes)
    return figure


def _limits(laws: Laws) -> tuple[float, float]:
    """Limits of the logit axis that hold every point and line above the floor."""
    seen = [0.5]
    for source in laws.sources:
        cells = laws.cells(source)
        seen.extend(fraction_of(cells["d_f"], cells["d_e_known"]))
        law = laws.transfer_law[source]
        if has_law(law):
            for d_f in cells["d_f"].unique():
                seen.extend(law_fraction(law, d_f, laws.sizes["n_params"].to_numpy(float)))
    seen = [fraction for fraction in seen if FRACTION_FLOOR <= fraction < 1]
    odds = [fraction / (1 - fraction) for fraction in seen]
    low, high = max(min(odds) / 1.6, FRACTION_FLOOR), max(odds) * 1.6
    return low / (1 + low), high / (1 + high)


def _logit_axis(axes: Axes, limits: tuple[float, float]) -> None:
    axes.set_yscale("logit")
    axes.set_ylim(*limits)
    ticks = [tick for tick in LOGIT_TICKS if limits[0] <= tick <= limits[1]]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_yticks([], minor=True)


def _title(law: dict[str, Any], source: str, target: str) -> str:
    heading = f"{title_of(source)} → {title_of(target)}: $D_T = k\\,D_F^{{\\alpha}}\\,N^{{\\beta}}$"
    if not has_law(law):
        status = law["status"]
        return f"{heading}\nno law: {'the fit is on a bound of its search' if status == 'on a bound' else status}"
    symbols = (("k", "k"), ("alpha", "α"), ("beta", "β"))
    terms = (
        f"{symbol} = {number(law[name]['estimate'])} ({interval(law[name]['low'], law[name]['high'])})"
        for name, symbol in symbols
    )
    return f"{heading}\n{', '.join(terms)}"


def _panel(axes: Axes, laws: Laws, source: str) -> list[str]:
    """Draws one source; returns the notes that its markers need."""
    cells, law = laws.cells(source), laws.transfer_law[source]
    styles = style.data_styles(laws.data_sizes)
    d_fs = sorted(cells["d_f"].unique())
    grid = np.geomspace(*axes.get_xlim(), 60)
    notes: dict[str, None] = {}
    ends: list[End] = []
    for i, d_f in enumerate(d_fs):
        row, look = cells[cells["d_f"] == d_f], styles[int(d_f)]
        if has_law(law):
            line = law_fraction(law, d_f, grid)
            fitted = bool(row["in_fit"].any())
            axes.plot(grid, line, color=look.colour, linestyle="-" if fitted else ":", linewidth=1.4 if fitted else 1)
            notes["Lines: the law" + ("" if cells["in_fit"].all() else " (dotted outside the fit)") + "."] = None
            ends.append(End(grid[-1], line[-1], count(d_f), look.colour))
        shift = 1.025 ** (i - (len(d_fs) - 1) / 2)
        notes |= dict.fromkeys(_points(axes, row, look, shift))
        if not has_law(law):
            height = fraction_of(row["d_f"], row["d_e_known"])[-1]
            height = float(np.clip(height, *axes.get_ylim()))
            ends.append(End(row["n_params"].iloc[-1] * shift, height, count(d_f), look.colour))
    style.label_ends(axes, ends, head="$D_F$")
    return list(notes)


def _points(axes: Axes, row: pd.DataFrame, look: style.DataStyle, shift: float) -> list[str]:
    """Draws the cells of one D_F with their intervals; returns the notes that they need."""
    bottom = axes.get_ylim()[0]
    notes = {"Points: cells; bars: 95 % intervals.": None}
    for cell in row.itertuples():
        x = cell.n_params * shift
        low, high = (float(fraction_of(cell.d_f, end)) for end in (cell.bar_low, cell.bar_high))
        if high > bottom:
            axes.plot([x, x], [max(low, bottom), high], color=look.colour, linewidth=0.8, zorder=2)
        if not cell.in_fit:
            notes["Hollow: outside the fit."] = None
        height = float(fraction_of(cell.d_f, cell.d_e_known))
        _point(axes, x, height, look, hollow=not cell.in_fit)
        if height <= bottom:
            notes[f"Triangles on the lower edge: $D_T$ ≤ 0, or a fraction below {bottom:.2g}."] = None
        if height > bottom or cell.limit == "at least":
            style.limit_arrows(axes, x, max(height, bottom), cell.limit, look.colour)
            if cell.limit != "none":
                notes[LIMIT_NOTE] = None
    return list(notes)


def _point(axes: Axes, x: float, height: float, look: style.DataStyle, hollow: bool) -> None:
    """A marker at `height`, or a triangle on the lower edge where the axis does not reach it."""
    bottom = axes.get_ylim()[0]
    beneath = height <= bottom
    axes.plot(
        x,
        max(height, bottom),
        marker=CARETDOWN if beneath else look.marker,
        markersize=6 if beneath else None,
        color=look.colour,
        markerfacecolor="white" if hollow else look.colour,
        markeredgewidth=1.0,
        clip_on=False,
        zorder=3,
    )


def main(argv: Sequence[str] | None = None) -> None:
    style.command(draw, argv)


if __name__ == "__main__":
    main()

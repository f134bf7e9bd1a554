"""How every figure looks and is written, and the command line that all of them share."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workflow_scripts.figures.tables import Laws, TableError, parse
from workflow_scripts.figures.words import count
from workflow_scripts.files import written

DPI = 160
PAGE_WIDTH = 7.0
"""Inches: the text width of a page."""

# Okabe and Ito's palette: told apart with any colour vision, and in grey.
SCRATCH = "#0072B2"
FINETUNED = "#D55E00"
THIRD = "#009E73"
MUTED = "#595959"

MARKERS = "os^DvPX<>*hp"
DASHES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.2, 1.2, 1.2)))

SETTINGS = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "svg.fonttype": "path",
    "svg.hashsalt": "scaling-laws-for-transfer",
}


Colour = str | tuple[float, ...]


@dataclass(frozen=True)
class DataStyle:
    """How one data size D is drawn, in every figure alike."""

    colour: Colour
    marker: str
    dashes: str | tuple[float, tuple[float, ...]]


def data_styles(data_sizes: Sequence[int]) -> dict[int, DataStyle]:
    """A style for each D: colour by log D on an ordered map, and a marker and dashes that survive grey print."""
    logs = np.log(np.array(data_sizes, float))
    span = max(float(np.ptp(logs)), 1e-9)
    colours = mpl.colormaps["viridis"](0.80 * (logs - logs.min()) / span)
    return {
        d: DataStyle(tuple(colour), MARKERS[i % len(MARKERS)], DASHES[i % len(DASHES)])
        for i, (d, colour) in enumerate(zip(data_sizes, colours, strict=True))
    }


def axis_of_sizes(axes: Axes, n_params: Iterable[float], names: Iterable[str]) -> None:
    """A logarithmic axis of N with a tick at each size of the ladder."""
    n_params, names = list(n_params), list(names)
    axes.set_xscale("log")
    axes.set_xticks(n_params, names)
    axes.set_xticks([], minor=True)
    axes.set_xlim(min(n_params) / 1.18, max(n_params) * 1.18)
    axes.set_xlabel("model size N (non-embedding parameters)")


def axis_of_characters(axes: Axes, values: Sequence[float], label: str) -> None:
    """A logarithmic axis of D with round ticks in words (6k, 1M)."""
    low, high = min(values) / 1.25, max(values) * 1.25
    steps = (1, 2, 5) if high / low < 1e3 else (1,)
    ticks = [step * 10.0**power for power in range(16) for step in steps if low <= step * 10.0**power <= high]
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.set_xticks(ticks, [count(tick) for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel(label)


def spread(centres: Sequence[float], heights: Sequence[float]) -> np.ndarray:
    """Centres of boxes of the given `heights` that keep their order and do not overlap, moved as little as possible
    (least squares) from `centres`."""
    order = np.argsort(centres, kind="stable")
    centres, heights = np.asarray(centres, float)[order], np.asarray(heights, float)[order]
    steps = np.cumsum(heights) - heights / 2
    blocks: list[tuple[float, int]] = []
    for value in centres - steps:
        blocks.append((float(value), 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (first, n), (second, m) = blocks[-2:]
            blocks[-2:] = [((n * first + m * second) / (n + m), n + m)]
    result = np.empty(len(centres))
    result[order] = np.repeat([mean for mean, _ in blocks], [size for _, size in blocks]) + steps
    return result


@dataclass(frozen=True)
class End:
    """The last point of a line (in data coordinates), its name and its colour."""

    x: float
    y: float
    text: str
    colour: Colour


def label_ends(axes: Axes, ends: Sequence[End], head: str = "") -> None:
    """Names lines at the right of `axes`, at the heights of their ends and without overlap; `head` stands on top.

    Call it once the limits stand.
    """
    if not ends:
        return
    axes.set_ylim(axes.get_ylim())
    transform = axes.transData + axes.transAxes.inverted()
    line = 10.5 / 72 / (axes.get_position().height * axes.figure.get_figheight())
    wanted = [float(np.clip(transform.transform((end.x, end.y))[1], 0, 1)) for end in ends]
    heights = [line * (end.text.count("\n") + 1) for end in ends]
    placed = spread(wanted, heights)
    for end, y, y_line in zip(ends, placed, wanted, strict=True):
        x_line = min(float(transform.transform((end.x, end.y))[0]) + 0.012, 1.0)
        axes.plot([x_line, 1.0, 1.03], [y_line, y_line, y], color=end.colour, linewidth=0.5, transform=axes.transAxes,
                  clip_on=False, zorder=1)  # fmt: skip
        axes.text(1.038, y, end.text, transform=axes.transAxes, color=end.colour, fontsize=8, va="center")
    if head:
        top = max(y + height / 2 for y, height in zip(placed, heights, strict=True))
        axes.text(1.038, top + line / 2, head, transform=axes.transAxes, fontsize=8, va="center")


def limit_arrows(axes: Axes, x: float, y: float, limit: str, colour: Colour) -> None:
    """An arrow from a limit (`at least`, `at most`) towards where the value lies; both ways where that is unknown."""
    for height in {"none": (), "at least": (16,), "at most": (-16,), "unknown": (16, -16)}[limit]:
        axes.annotate(
            "",
            (x, y),
            (0, height),
            textcoords="offset points",
            annotation_clip=False,
            arrowprops={"arrowstyle": "<-", "color": colour, "shrinkA": 0, "shrinkB": 0},
        )


def panels(rows: int, columns: int = 1, height: float = 2.9, right: float = 0.75) -> tuple[Figure, list[list[Axes]]]:
    """A figure as wide as a page: rows of panels of one `height`, `right` of each room for labels (inches)."""
    left, top, bottom, between = 0.6, 0.45, 0.8, 0.95
    total = top + bottom + rows * height + (rows - 1) * between
    width = (PAGE_WIDTH - left - columns * right) / columns
    figure = Figure(figsize=(PAGE_WIDTH, total))
    layout = {
        "left": left / PAGE_WIDTH,
        "right": 1 - right / PAGE_WIDTH,
        "bottom": bottom / total,
        "top": 1 - top / total,
        "hspace": between / height,
        "wspace": right / width,
    }
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True, gridspec_kw=layout)
    return figure, [list(row) for row in axes]


def footnote(figure: Figure, notes: Iterable[str]) -> None:
    """Notes on what lines and markers mean, hanging below the axes' labels however many lines they take."""
    text = textwrap.fill("  ".join(notes), 122)
    figure.text(0.012, 0.36 / figure.get_figheight(), text, fontsize=7.2, color=MUTED, va="top", linespacing=1.3)


def watermark(figure: Figure) -> None:
    """Writes across every panel that its numbers are simulated."""
    for axes in figure.axes:
        axes.text(0.5, 0.5, "SIMULATED", transform=axes.transAxes, fontsize=34, rotation=20, ha="center", va="center",
                  color=MUTED, alpha=0.25, zorder=5)  # fmt: skip


def save(figure: Figure, prefix: Path, *, simulated: bool) -> None:
    """Writes `prefix`.svg and `prefix`.png; the same figure gives the same bytes.  Simulated numbers are marked."""
    if simulated:
        watermark(figure)
    for suffix, options in ((".svg", {"metadata": {"Date": None}}), (".png", {"dpi": DPI})):
        with written(prefix.with_name(prefix.name + suffix)) as temporary:
            figure.savefig(temporary, format=suffix[1:], bbox_inches="tight", pad_inches=0.08, **options)


def command(draw: Callable[[Laws, str], Figure], argv: Sequence[str] | None) -> None:
    """The command line of a figure: `--laws DIR --target NAME --out PREFIX`, writes PREFIX.svg and PREFIX.png."""
    arguments = parse(draw.__doc__ or "", argv)
    try:
        with mpl.rc_context(SETTINGS):
            laws = Laws(arguments.laws)
            save(draw(laws, arguments.target), arguments.out, simulated=laws.simulated)
    except TableError as error:
        raise SystemExit(str(error)) from error

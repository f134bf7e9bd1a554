"""Several experiments beside each other: how many times the target's data counts, a line a pair of source and target.

    python -m workflow_scripts.figures.pairs --cells pairs/cells.csv --out pairs/pairs

reads the cells that `python -m workflow_scripts.laws pairs` wrote, and writes pairs.svg and pairs.png.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from workflow_scripts.figures import style
from workflow_scripts.figures.style import End
from workflow_scripts.figures.tables import TableError
from workflow_scripts.figures.words import count, title_of

COLUMNS = ("experiment", "simulated", "source", "target", "unit", "size", "n_params", "d_f_bytes", "censored")
MULTIPLIER = ("multiplier", "multiplier_low", "multiplier_high")


def draw(cells: pd.DataFrame) -> Figure:
    """D_E / D_F against D_F in bytes, at the middle size of each experiment and source, with 95 % intervals."""
    figure, ((axes,),) = style.panels(1, right=1.45)
    drawn = {key: _middle(rows) for key, rows in cells.groupby(["experiment", "source"], sort=False)}
    known = pd.concat(drawn.values()).dropna(subset="multiplier")
    style.axis_of_characters(axes, known["d_f_bytes"].tolist(), "target data D$_F$ (bytes)")
    axes.axhline(1, color=style.MUTED, linewidth=0.7)
    colours, ends, censored = mpl.colormaps["tab10"], [], 0
    names = pd.Series({key: f"{title_of(key[1])} → {title_of(rows['target'].iloc[0])}" for key, rows in drawn.items()})
    for i, (key, rows) in enumerate(drawn.items()):
        colour, own = colours(i % 10), rows[rows["multiplier"].notna()]
        censored += len(rows) - len(own)
        if own.empty:
            continue
        low, high = (own["multiplier"] - own[MULTIPLIER[1]], own[MULTIPLIER[2]] - own["multiplier"])
        bars = np.clip(np.nan_to_num(np.stack([low, high])), 0, None)
        axes.errorbar(
            own["d_f_bytes"],
            own["multiplier"],
            bars,
            color=colour,
            marker=style.MARKERS[i % len(style.MARKERS)],
            elinewidth=0.8,
        )
        last, twice = own.iloc[-1], names.duplicated(keep=False)[key]
        name = f"{names[key]}\n({key[0]})" if twice else names[key]
        ends.append(End(last["d_f_bytes"], last["multiplier"], name, colour))
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:.0e}"[0] in "235" else "")
    axes.set_ylabel("times that the data counts, D$_E$ / D$_F$")
    style.label_ends(axes, ends)
    sizes = ", ".join(dict.fromkeys(rows["size"].iloc[0] for rows in drawn.values()))
    lost = f"  {count(censored)} cells beyond the from-scratch curve are not drawn." if censored else ""
    style.footnote(figure, [f"N = {sizes}; bars: 95 % intervals, without an end where that is not known.{lost}"])
    return figure


def _middle(rows: pd.DataFrame) -> pd.DataFrame:
    """The cells of the middle size, on the sampling unit with most sizes."""
    unit = rows.groupby("unit")["n_params"].nunique().idxmax()
    rows = rows[rows["unit"] == unit]
    sizes = sorted(rows["n_params"].unique())
    return rows[rows["n_params"] == sizes[len(sizes) // 2]].sort_values("d_f_bytes")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--cells", type=Path, required=True, help="cells.csv of `python -m workflow_scripts.laws pairs`"
    )
    parser.add_argument("--out", type=Path, required=True, help="path of the outputs without their suffix")
    arguments = parser.parse_args(argv)
    try:
        cells = read_cells(arguments.cells)
    except TableError as error:
        raise SystemExit(str(error)) from error
    with mpl.rc_context(style.SETTINGS):
        style.save(draw(cells), arguments.out, simulated=bool(cells["simulated"].any()))


def read_cells(path: Path) -> pd.DataFrame:
    """Raises TableError if the file is missing or lacks a column."""
    if not path.is_file():
        raise TableError(f"{path}: no such file; write it with python -m workflow_scripts.laws pairs")
    cells = pd.read_csv(path)
    if missing := [name for name in (*COLUMNS, *MULTIPLIER) if name not in cells]:
        raise TableError(f"{path}: no column {missing}; found {list(cells)}; write it again with laws pairs")
    return cells


if __name__ == "__main__":
    main()

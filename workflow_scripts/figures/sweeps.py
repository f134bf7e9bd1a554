"""What another value of a constant of the recipe would have changed, in both arms side by side.

python -m workflow_scripts.figures.sweeps --sweeps E/laws/sweeps.json --out E/figures/sweeps
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workflow_scripts.figures import style
from workflow_scripts.figures.style import DataStyle, End
from workflow_scripts.figures.words import count, title_of
from workflow_scripts.files import read_json
from workflow_scripts.sections import LINEAR

ARMS = {"scratch": "From scratch", "finetune": "Fine-tuned"}
CEILING = 0.3
"""Nats: differences above it are cut off, so that the valley can be seen."""


def draw(sweeps: Mapping[str, Any]) -> Figure:
    """Loss against the value, as the difference to that at the recipe's own; a row a constant, a column an arm."""
    constants = sorted({cell["constant"] for cell in sweeps["cells"]})
    figure, rows = style.panels(len(constants), columns=2, height=2.6, right=0.95)
    sizes = style.data_styles(sorted({cell["n_params"] for cell in sweeps["cells"]}))
    data = style.data_styles(sorted({cell["d_chars"] for cell in sweeps["cells"]}))
    ends = {}
    for pair, constant in zip(rows, constants, strict=True):
        for axes, (arm, name) in zip(pair, ARMS.items(), strict=True):
            cells = [cell for cell in sweeps["cells"] if (cell["constant"], cell["arm"]) == (constant, arm)]
            ends[axes] = _lines(axes, cells, sizes, data)
            axes.set_title(name)
            axes.set_xlabel(title_of(constant).lower())
        pair[0].set_ylabel("test loss over the recipe's\n(nats per token)")
    for axes, labels in ends.items():  # the shared limits stand only now
        style.label_ends(axes, labels, head="N, $D$")
    style.footnote(
        figure,
        [
            f"Means over seeds, paired.  Upright line: the recipe's own value.  Differences above {CEILING} nats are cut off."
        ],
    )
    return figure


def _lines(
    axes: Axes, cells: Sequence[Mapping[str, Any]], sizes: Mapping[int, DataStyle], data: Mapping[int, DataStyle]
) -> list[End]:
    """`sizes` and `data` are those of all panels, so that a size looks alike in each."""
    ticks = sorted({float(value) for cell in cells for value in cell["losses"]})
    if cells[0]["constant"] not in LINEAR:
        axes.set_xscale("log", base=2)
    axes.axhline(0, color=style.MUTED, linewidth=0.8)
    axes.axvline(cells[0]["own"], color=style.MUTED, linewidth=0.8)
    several = len({cell["source"] for cell in cells}) > 1
    ends = []
    for cell in cells:
        values = np.array([float(value) for value in cell["losses"]])
        loss = np.array(list(cell["losses"].values())) - cell["losses"].get(f"{cell['own']:g}", np.nan)
        look, shown = sizes[cell["n_params"]], np.minimum(loss, CEILING)
        axes.plot(values, shown, color=look.colour, linestyle=data[cell["d_chars"]].dashes, marker=look.marker)
        name = f"{cell['size']}, {count(cell['d_chars'])}" + (f" {cell['source']}" if several else "")
        ends.append(End(values[-1], float(shown[-1]), name, look.colour))
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks], rotation=30, fontsize=6.5)
    axes.set_xticks([], minor=True)
    return ends


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path, help="prefix: .svg and .png are added")
    arguments = parser.parse_args(argv)
    with mpl.rc_context(style.SETTINGS):
        sweeps = read_json(arguments.sweeps)
        style.save(draw(sweeps), arguments.out, simulated=sweeps["simulated"])


if __name__ == "__main__":
    main()

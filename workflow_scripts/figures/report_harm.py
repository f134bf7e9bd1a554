"""Where pre-training helped and where it hurt (ossification): the verdict of every cell, sizes by D_F."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from workflow_scripts.figures.tables import Laws
from workflow_scripts.figures.words import count, title_of
from workflow_scripts.laws.intervals import SURE

NOTE = (
    f"Pre-training helps where D_E lies above D_F in at least {100 * SURE:g} % of the draws of the noise, and hurts where "
    "it lies below in as many: the weights that it leaves are then worse than fresh ones, which the paper calls "
    "ossification. In brackets: the share of draws. What a limit leaves open counts as neither, so shares of help and "
    "harm need not add up to 100 %."
)


def section(laws: Laws) -> dict[str, Any]:
    """A map a source (and P, where it has several), on the sampling unit of the law: a sentence and a table."""
    maps = [
        {"sentence": _counts(title, cells), **_table(cells)}
        for source in laws.sources
        for title, cells in _by_p(title_of(source), laws.cells(source))
    ]
    return {"maps": maps, "note": NOTE}


def _by_p(source: str, cells: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    groups = list(cells.groupby(cells["pretrain_tokens"].fillna(0)))
    for p, group in groups:
        yield (f"{source}, P = {count(p)} tokens" if len(groups) > 1 else source), group


def _counts(title: str, cells: pd.DataFrame) -> str:
    helps, hurts, undecided, unknown = (
        int((cells["verdict"] == name).sum()) for name in ("helps", "hurts", "undecided", "unknown")
    )
    without = f" In {unknown} it is unknown, since nothing tells the noise." if unknown else ""
    return (
        f"{title}: pre-training helps in {helps} of {len(cells)} cells, hurts in {hurts} and is undecided in {undecided}."
        f"{without}"
    )


def _table(cells: pd.DataFrame) -> dict[str, Any]:
    given = sorted(cells["d_f"].unique())
    told = {(cell.size, cell.d_f): _verdict(cell) for cell in cells.itertuples()}
    return {
        "head": ["N", *(f"D_F = {count(d_f)}" for d_f in given)],
        "rows": [[size, *(told.get((size, d_f), "–") for d_f in given)] for size in cells["size"].unique()],
    }


def _verdict(cell: Any) -> str:
    """`helps (100 %)`, `undecided (62 % help, 31 % harm)`."""
    good, bad = (f"{100 * share:.3g} %" for share in (cell.probability_of_help, cell.probability_of_harm))
    told = {"helps": f"helps ({good})", "hurts": f"hurts ({bad})", "undecided": f"undecided ({good} help, {bad} harm)"}
    return told.get(cell.verdict, "unknown")

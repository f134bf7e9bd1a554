"""What the laws found stands in the report: help and harm by cell, noise, searches, sweeps."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from tests.figures.test_report import text_of
from workflow_scripts.figures import report_harm
from workflow_scripts.figures.tables import Laws
from workflow_scripts.figures.words import count, interval

FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)


def copied(laws: Path, folder: Path, **documents: Callable[[dict], object]) -> Path:
    """A copy of a laws folder in which JSON files, named without their suffix, are changed in place."""
    shutil.copytree(laws, folder, dirs_exist_ok=True)
    for name, change in documents.items():
        path = folder / f"{name}.json"
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))
    return folder


def rows_of(html: str) -> list[list[str]]:
    return [
        [text_of(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)] for row in re.findall("<tr>.*?</tr>", html)
    ]


def test_every_cell_of_the_law_has_its_verdict_and_probability(html: str, laws_folder: Path) -> None:
    """The map of ossification: a row a size, a column a D_F."""
    cells = Laws(laws_folder).cells("english")
    shown = rows_of(html)
    for size, of_size in cells.groupby("size"):
        told = []
        for cell in of_size.itertuples():
            good, bad = (f"{100 * share:.3g} %" for share in (cell.probability_of_help, cell.probability_of_harm))
            told.append({"helps": f"helps ({good})", "hurts": f"hurts ({bad})"}.get(cell.verdict))
            told[-1] = told[-1] or f"undecided ({good} help, {bad} harm)"
        assert [size, *told] in shown
    head = "".join(f"<th>D<sub>F</sub> = {count(d_f)}</th>" for d_f in sorted(cells["d_f"].unique()))
    assert f"<th>N</th>{head}" in html
    helped = (cells["verdict"] == "helps").sum()
    assert f"English: pre-training helps in {helped} of {len(cells)} cells" in text_of(html)


def verdicts(cells: pd.DataFrame) -> pd.DataFrame:
    """One D_F hurts, one is undecided, at one nothing is known; of the other sampling unit, nothing."""
    here = cells["unit"] == "excerpt"
    at = [here & (cells["d_f"] == d_f) for d_f in (6_000, 10_000, 20_000)]
    columns = ["verdict", "probability_of_help", "probability_of_harm"]
    for row, values in zip(
        at, [("hurts", 0.004, 0.981), ("undecided", 0.62, 0.31), ("unknown", np.nan, np.nan)], strict=True
    ):
        cells.loc[row, columns] = values
    return cells.assign(verdict=cells["verdict"].where(here, "of documents"))


def test_harm_doubt_and_ignorance_are_told_apart(make_laws: Callable[..., Path]) -> None:
    (found,) = report_harm.section(Laws(make_laws(change=verdicts)))["maps"]
    for _, *told in found["rows"]:
        by_d_f = dict(zip(found["head"][1:], told, strict=True))
        assert by_d_f["D_F = 6k"] == "hurts (98.1 %)"
        assert by_d_f["D_F = 10k"] == "undecided (62 % help, 31 % harm)"
        assert by_d_f["D_F = 20k"] == "unknown"
    n = len(found["rows"])
    assert f"hurts in {n} and is undecided in {n}. In {n} it is unknown" in found["sentence"]


def test_lengths_of_pretraining_have_maps_of_their_own(make_laws: Callable[..., Path]) -> None:
    """Cells of several P share N and D_F: one must not stand for the other."""

    def longer(cells: pd.DataFrame) -> pd.DataFrame:
        more = cells.assign(pretrain_tokens=2 * cells["pretrain_tokens"], verdict="hurts", probability_of_harm=1.0)
        return pd.concat([cells, more], ignore_index=True)

    maps = report_harm.section(Laws(make_laws(change=longer)))["maps"]
    assert [found["sentence"].split(":")[0] for found in maps] == ["English, P = 4M tokens", "English, P = 8M tokens"]
    assert {cell for row in maps[1]["rows"] for cell in row[1:]} == {"hurts (100 %)"}


def test_d_of_n_says_how_often_it_lies_beyond_the_runs(html: str, laws_folder: Path) -> None:
    cells = Laws(laws_folder).cells("english").drop_duplicates("size")
    shown = {row[1]: row[2:5] for row in rows_of(html) if len(row) == 6 and row[0] == "English"}
    for cell in cells.itertuples():
        d_n, span, beyond = shown[cell.size]
        assert beyond == f"{100 * cell.d_n_beyond:.3g} % of draws"
        if np.isfinite(cell.d_n):
            assert (d_n, span) == (count(cell.d_n), interval(cell.d_n_low, cell.d_n_high, count))
        else:
            assert (d_n, span) == (f"≥ {count(cell.d_n_low)}", "beyond the runs")

"""Simulated results are marked where people look: in every panel, every row of coefficients, on top of the report."""

from __future__ import annotations

import csv
import importlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from workflow_scripts.figures import FIGURES, coefficients, report, style
from workflow_scripts.figures.tables import Laws, TableError
from workflow_scripts.laws.runs import SIMULATED

CAPTIONS = Path(__file__).parents[2] / "config" / "report"


@pytest.fixture(scope="module")
def simulated_laws(make_laws: Callable[..., Path]) -> Path:
    return make_laws(simulated=True)


@pytest.mark.parametrize("name", FIGURES)
def test_every_panel_of_every_figure_is_marked(
    name: str, simulated_laws: Path, laws_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marked: list[Figure] = []
    write = style.watermark
    monkeypatch.setattr(style, "watermark", lambda figure: (write(figure), marked.append(figure)))
    module = importlib.import_module(f"workflow_scripts.figures.{name}")
    for folder in (laws_folder, simulated_laws):
        module.main(["--laws", str(folder), "--target", "python", "--out", str(tmp_path / name)])
    (figure,) = marked
    for axes in figure.axes:
        assert [text.get_text() for text in axes.texts].count("SIMULATED") == 1


def test_coefficients_say_it_in_a_column_and_in_words(simulated_laws: Path) -> None:
    rows = coefficients.rows_of(Laws(simulated_laws), "python")
    table = list(csv.DictReader(io.StringIO(coefficients.as_csv(rows))))
    assert {row["simulated"] for row in table if row["where"].startswith("this")} == {"True"}
    assert {row["simulated"] for row in table if row["where"].startswith("Hernandez")} == {"False"}
    assert coefficients.as_html(rows).count("this experiment, SIMULATED") == len(table) - 2


@pytest.fixture
def arguments(simulated_laws: Path, tmp_path: Path) -> list[str]:
    for name in FIGURES:
        (tmp_path / f"{name}.svg").write_text("<svg/>")
    paths = {"laws": simulated_laws, "figures": tmp_path, "captions": CAPTIONS, "out": tmp_path / "report.html"}
    absent = {"corpora": tmp_path / "none", "tokens": tmp_path / "none"}
    return [text for name, path in (paths | absent).items() for text in (f"--{name}", str(path))]


def test_the_report_says_it_on_top_and_needs_no_corpora(experiment: dict, arguments: list[str], tmp_path: Path) -> None:
    simulated = {"simulated": {"laws": {"english": {}}}}
    report.main([*arguments, "--experiment", json.dumps(experiment | simulated)])
    html = (tmp_path / "report.html").read_text()
    assert "<title>SIMULATED: " in html
    assert "<h1>SIMULATED: " in html
    assert SIMULATED in html
    assert "Where the data came from" not in html


def test_the_report_of_a_measured_experiment_takes_no_simulated_tables(experiment: dict, arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="the tables are simulated, the experiment is measured; the two are never"):
        report.main([*arguments, "--experiment", json.dumps(experiment)])


def test_tables_of_both_kinds_are_not_drawn_together(make_laws: Callable[..., Path]) -> None:
    folder = make_laws(change=lambda cells: cells.assign(simulated=True))
    with pytest.raises(TableError, match=r"runs.parquet is measured, .*effective_data.parquet is simulated"):
        assert Laws(folder).simulated
    pd.read_parquet(folder / "runs.parquet").drop(columns="simulated").to_parquet(folder / "runs.parquet")
    with pytest.raises(TableError, match=r"no column \['simulated'\]"):
        assert Laws(folder).simulated

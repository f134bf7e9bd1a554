"""The coefficients and the report: offline, complete, and honest in words."""

from __future__ import annotations

import copy
import csv
import importlib
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from workflow_scripts.figures import coefficients, report
from workflow_scripts.figures.report import typeset
from workflow_scripts.figures.tables import COEFFICIENTS, Laws
from workflow_scripts.figures.words import count, interval, number
from workflow_scripts.laws import fit
from workflow_scripts.laws.simulate import simulate_runs

CAPTIONS = Path(__file__).parents[2] / "config" / "report"
VOID = {"meta", "img", "br", "link", "hr"}

Report = Callable[[Path], str]


@pytest.fixture(scope="module")
def figures(laws_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("figures")
    for name in report.FIGURES:
        module = importlib.import_module(f"workflow_scripts.figures.{name}")
        module.main(["--laws", str(laws_folder), "--target", "python", "--out", str(folder / name)])
    return folder


@pytest.fixture(scope="module")
def make_report(
    experiment: dict, figures: Path, text_counts: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Report:
    """The report of a laws folder (with the figures of the normal case, whatever the folder holds)."""

    def make(laws: Path) -> str:
        corpora, tokens = text_counts
        paths = {"laws": laws, "figures": figures, "captions": CAPTIONS, "corpora": corpora, "tokens": tokens}
        arguments = [text for name, path in paths.items() for text in (f"--{name}", str(path))]
        out = tmp_path_factory.mktemp("report") / "report.html"
        report.main([*arguments, "--experiment", json.dumps(experiment), "--out", str(out)])
        return out.read_text()

    return make


@pytest.fixture(scope="module")
def html(make_report: Report, laws_folder: Path) -> str:
    return make_report(laws_folder)


class Reader(HTMLParser):
    """Checks that tags nest; collects what would be loaded, and the words."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.loaded += [value or "" for name, value in attributes if name in ("src", "srcset", "data")]
        if tag in ("link", "script", "iframe"):
            self.loaded.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    assert not reader.open
    return reader


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", "".join(read(html).words))


def changed(laws: Path, folder: Path, change: Callable[[dict], None]) -> Path:
    """A copy of a laws folder with another transfer law for english."""
    for path in laws.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    law = json.loads((laws / "transfer_law.json").read_text())
    change(law["sources"]["english"])
    (folder / "transfer_law.json").write_text(json.dumps(law))
    return folder


def test_the_report_loads_nothing(html: str) -> None:
    """One offline file: every picture is inside, no script, no style sheet, no font from elsewhere."""
    reader = read(html)
    assert len(reader.loaded) == len(report.FIGURES)
    assert all(source.startswith("data:image/svg+xml;base64,") for source in reader.loaded)
    assert "url(" not in html
    assert "@import" not in html


def test_the_headline_stands_in_the_report(html: str, laws_folder: Path) -> None:
    text = text_of(html)
    laws = Laws(laws_folder)
    cells = laws.cells("english")
    cell = cells[(cells["size"] == laws.middle_size) & (cells["d_f"] == 6_000)].iloc[0]
    assert f"worth as much as {count(cell['d_t'])} more characters" in text
    assert f"95 % interval {count(cell['d_t_low'])} to {count(cell['d_t_high'])}" in text
    assert "DT = 100 · DF0.21 · N0.29" in text
    assert "β = 0.29 (0.21 to 0.37): a model ten times as large multiplies DT by 1.9" in text
    assert "above 0: larger models gain more" in text


def test_every_cell_stands_in_the_report(html: str, laws_folder: Path) -> None:
    text = text_of(html)
    for cell in Laws(laws_folder).effective_data.itertuples():
        assert count(cell.d_e) in text
        assert count(cell.d_t) in text


def test_warnings_and_checks_are_words_in_the_report(html: str) -> None:
    text = text_of(html)
    for sentence in (
        "The sizes span 1.5 decades of N, the DF in the fit 1.0 decades.",
        "1 of 234 runs lies more than 3 pooled deviations from its cell. (fine-tuning, N = 24.6k, D = 6k, seed 1)",
        "55% of English is the source gcide: a dictionary",
        "17 documents of other corpora were removed",
        "holds 12 excerpts or more",
    ):
        assert sentence in text


def test_an_interval_of_beta_that_holds_zero_is_said(make_report: Report, laws_folder: Path, tmp_path: Path) -> None:
    def straddle(law: dict) -> None:
        law["beta"] = {"estimate": 0.1, "low": -0.05, "high": 0.25}

    text = text_of(make_report(changed(laws_folder, tmp_path, straddle)))
    assert "The interval of β holds 0: these runs do not show that larger models gain more from English." in text
    assert "larger models gain more from English. The" not in text.replace("do not show that larger models", "")


def test_a_report_without_a_law_says_why(make_report: Report, make_laws: Callable[..., Path]) -> None:
    text = text_of(make_report(make_laws(fitted=False)))
    assert "No law was fitted for English: too few cells." in text


@pytest.mark.parametrize(
    "case", [{"gain": -0.2}, {"gain": 40.0}, {"seeds": 1, "spread": None}, {"sources": ("english", "german")}]
)
def test_awkward_experiments_are_reported(case: dict, make_report: Report, make_laws: Callable[..., Path]) -> None:
    text = text_of(make_report(make_laws(**case)))
    assert "nan" not in text.lower().replace("hernandez", "")
    assert "None" not in text


def test_the_tables_of_the_laws_stage_are_drawn_and_reported(make_report: Report, tmp_path: Path) -> None:
    """The contract between the stages, on a planted law: runs -> laws -> every figure and the report."""
    simulate_runs(document_size="25k").to_parquet(tmp_path / "runs.parquet")
    rule = json.dumps({"d_f": [6_000, 60_000], "draws": 100})
    fit.main([str(tmp_path / "runs.parquet"), "--out", str(tmp_path), "--fit", rule])
    for name in report.FIGURES:
        module = importlib.import_module(f"workflow_scripts.figures.{name}")
        module.main(["--laws", str(tmp_path), "--target", "python", "--out", str(tmp_path / name)])
    text = text_of(make_report(tmp_path))
    beta = Laws(tmp_path).transfer_law["english"]["beta"]
    assert f"β = {number(beta['estimate'])} ({interval(beta['low'], beta['high'])})" in text


def test_the_same_inputs_give_the_same_report(html: str, make_report: Report, laws_folder: Path) -> None:
    assert make_report(laws_folder) == html


def test_a_missing_figure_is_named(laws_folder: Path, experiment: dict, text_counts: tuple, tmp_path: Path) -> None:
    arguments = ["--laws", laws_folder, "--figures", tmp_path, "--captions", CAPTIONS, "--corpora", text_counts[0]]
    arguments += ["--tokens", text_counts[1], "--experiment", json.dumps(experiment), "--out", tmp_path / "r.html"]
    with pytest.raises(SystemExit, match=r"effective_data\.svg: no such file"):
        report.main([str(argument) for argument in arguments])
    assert not (tmp_path / "r.html").exists()


def test_text_is_escaped_and_symbols_are_set() -> None:
    assert typeset("D_T < k & D_F^α") == "D<sub>T</sub> &lt; k &amp; D<sub>F</sub><sup>α</sup>"


def test_captions_exist_for_every_figure() -> None:
    for name in (*report.FIGURES, "coefficients", "report", "workflow"):
        assert len((CAPTIONS / f"{name}.rst").read_text().strip().splitlines()) == 1


def test_the_table_of_coefficients_keeps_full_precision(laws_folder: Path, tmp_path: Path) -> None:
    """CSV: what transfer_law.json holds, to the last digit, and the paper's Table 1 beside it."""
    coefficients.main(["--laws", str(laws_folder), "--target", "python", "--out", str(tmp_path / "coefficients")])
    rows = list(csv.DictReader(io.StringIO((tmp_path / "coefficients.csv").read_text())))
    law = Laws(laws_folder).transfer_law["english"]
    assert rows[0]["headline"] == "True"
    for name in COEFFICIENTS:
        assert float(rows[0][name]) == law[name]["estimate"]
        assert float(rows[0][f"{name}_low"]) == law[name]["low"]
    assert [row["estimator"] for row in rows[:3]] == ["nonlinear_least_squares", "plane_in_logs", "fit_of_fits"]
    assert [(row["k"], row["alpha"], row["beta"]) for row in rows[3:]] == [
        ("19000.0", "0.18", "0.38"),
        ("210000.0", "0.096", "0.38"),
    ]
    read((tmp_path / "coefficients.html").read_text())


def test_estimators_without_a_result_have_empty_fields(laws_folder: Path, tmp_path: Path) -> None:
    def fail(law: dict) -> None:
        law["estimators"] = copy.deepcopy(law["estimators"])
        law["estimators"]["fit_of_fits"] = {"k": None, "alpha": None, "beta": None, "status": "too few cells"}

    rows = coefficients.rows_of(Laws(changed(laws_folder, tmp_path, fail)), "python")
    failed = next(row for row in rows if row["estimator"] == "fit_of_fits")
    assert failed["k"] is None
    assert failed["status"] == "too few cells"
    assert "–" in coefficients.as_html([failed])

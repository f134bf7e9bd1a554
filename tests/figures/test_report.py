"""The coefficients and the report: offline, complete, and honest in words."""

from __future__ import annotations

import copy
import csv
import io
import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from tests.figures.conftest import CAPTIONS, Report
from tests.figures.test_figures import AWKWARD
from workflow_scripts.experiment import Experiment
from workflow_scripts.figures import FIGURES, coefficients, report, report_laws, report_tables, sentences
from workflow_scripts.figures.report import typeset
from workflow_scripts.figures.tables import COEFFICIENTS, Laws
from workflow_scripts.figures.words import count, interval, number
from workflow_scripts.laws.plan import report_section
from workflow_scripts.laws.simulate import Planted, simulate_runs

VOID = {"meta", "img", "br", "link", "hr"}


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
    return re.sub(r"\s+", " ", "".join(read(f"<div>{html}</div>").words))


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
    assert len(reader.loaded) == len(FIGURES)
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
    k, alpha, beta = (laws.transfer_law["english"][name] for name in COEFFICIENTS)
    assert f"DT = {number(k['estimate'])} · DF{number(alpha['estimate'])} · N{number(beta['estimate'])}" in text
    ends = interval(beta["low"], beta["high"])
    tenfold = number(10 ** beta["estimate"])
    assert f"β = {number(beta['estimate'])} ({ends}): a model ten times as large multiplies DT by {tenfold}" in text


def test_every_cell_is_a_row_of_the_report(html: str, laws_folder: Path) -> None:
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", html)]
    shown = [row[1:8] for row in rows if len(row) == 14]
    cells = Laws(laws_folder).effective_data
    assert (cells["limit"] == "none").any()
    wanted = []
    for cell in cells[cells["limit"] == "none"].itertuples():
        ends = [
            interval(low, high, count) for low, high in [(cell.d_e_low, cell.d_e_high), (cell.d_t_low, cell.d_t_high)]
        ]
        ends = [end.replace("no interval", "–") for end in ends]
        wanted.append([cell.unit, cell.size, count(cell.d_f), count(cell.d_e), ends[0], count(cell.d_t), ends[1]])
    assert {row[13] for row in rows if len(row) == 14} == {number(loss, 4) for loss in cells["test_bits_per_byte"]}
    assert len(shown) == len(cells)
    assert [row for row in wanted if row not in shown] == []


def test_warnings_and_checks_are_words_in_the_report(html: str, laws_folder: Path) -> None:
    laws = Laws(laws_folder)
    sentences_shown = [
        *laws.transfer_law["english"]["warnings"],
        *(found["sentence"] for found in laws.sanity["checks"]),
    ]
    text = text_of(html)
    for sentence in (
        *sentences_shown,
        "55% of English is the source gcide: a dictionary",
        "17 documents of other corpora were removed",
        "too short 12 (900 characters)",
        "en 997, de 3",
        "0.10%",
        "holds 10 excerpts or more",
    ):
        assert text_of(typeset(sentence)) in text


def test_a_check_names_the_first_runs_behind_it() -> None:
    runs = [{"arm": "finetune", "n_params": 24_576, "d_chars": 6_000, "seed": seed} for seed in range(3)]
    found = {"verdict": "warn", "sentence": "3 runs are odd.", "runs": runs}
    run = "fine-tuning, N = 24.6k, D = 6k, seed"
    assert sentences.check(found, most=2)["sentence"] == f"3 runs are odd. ({run} 0, {run} 1 and 1 more)"


def test_an_interval_of_beta_that_holds_zero_is_said(make_report: Report, laws_folder: Path, tmp_path: Path) -> None:
    def straddle(law: dict) -> None:
        law["beta"] = {"estimate": 0.1, "low": -0.05, "high": 0.25}

    text = text_of(make_report(changed(laws_folder, tmp_path, straddle)))
    assert "The interval of β holds 0: these runs do not show that larger models gain more from English." in text
    assert "larger models gain more from English. The" not in text.replace("do not show that larger models", "")


def test_limits_are_marked_in_the_table_of_cells(make_laws: Callable[..., Path]) -> None:
    laws = Laws(make_laws(change=lambda cells: cells.assign(lower_bound=cells["d_f"] == 6_000)))
    marked = {row[3]: (row[4][0], row[6][0], row[8][0]) for row in report_tables.effective_data(laws)}
    assert marked["6k"] == ("≥", "≥", "≥")
    assert "≥" not in marked["10k"]


def test_the_sampling_units_are_compared_in_words(html: str, laws_folder: Path) -> None:
    cells = Laws(laws_folder).fine_tuned
    cells = cells[(cells["size"] == "25k") & (cells["d_f"] == 6_000)].set_index("unit")
    shown = []
    for unit, name in {"excerpt": "excerpts", "document": "whole documents"}.items():
        cell = cells.loc[unit]
        ends = interval(cell["d_e_low"] / 6_000, cell["d_e_high"] / 6_000)
        shown.append(f"{number(cell['d_e'] / 6_000)} times with {name} ({ends})")
    assert f"At N = 25k with 6k characters of Python, after English, the data counts {' and '.join(shown)}." in text_of(
        html
    )


def test_the_fit_is_measured_against_proportionality(laws_folder: Path) -> None:
    """R² of ln D_E alone advertises what D_F explains."""
    law = Laws(laws_folder).transfer_law["english"] | {"r_squared": 0.9961, "r_squared_of_proportionality": 0.925}
    text = " ".join(sentences.quality(law | {"n_uncensored": 29}))
    assert "over the 29 cells whose D_E is known is 0.996" in text
    assert "D_E = c · D_F alone has 0.925" in text


def test_flops_are_said_with_and_without_the_head(html: str, laws_folder: Path) -> None:
    runs, text = Laws(laws_folder).all_runs, text_of(html)
    without, with_head = number(runs["flops"].sum()), number(runs["flops_with_head"].sum())
    assert f"up to the best points they came to {without} FLOPs, {with_head} with the head" in text


def test_the_data_of_pretraining_is_told_in_tokens(laws_folder: Path) -> None:
    """Characters differ a little from seed to seed, tokens are what was asked for."""
    rows = {row[0]: row for row in report_tables.arms(Laws(laws_folder))}
    assert rows["pre-training"][3] == "4M tokens"


def test_the_report_says_why_estimators_differ_and_which_rival_predicts_better(html: str, laws_folder: Path) -> None:
    law, text = Laws(laws_folder).transfer_law["english"], text_of(html)
    for other in law["estimators"].values():
        assert text_of(typeset(report_laws.greek(other["why"]))) in text
    errors = {name: rival["held_out"]["each_cell"]["rms_nats"] for name, rival in law["alternatives"]["laws"].items()}
    for name, error in errors.items():
        equation = typeset(report_laws.greek(law["alternatives"]["laws"][name]["equation"]))
        row = html[re.search(rf"<td[^>]*>{re.escape(equation)}</td>", html).start() :]
        assert number(error) in row[: row.index("</tr>")]


def test_whether_two_sources_share_exponents_is_said(make_report: Report, make_laws: Callable[..., Path]) -> None:
    folder = make_laws(**AWKWARD["two sources"])
    text = text_of(make_report(folder))
    found = Laws(folder).across_sources["differences"]["beta"]
    assert "β by source: english minus german" in text
    assert f"(p = {found['p_value_of_shared']:.2g})" in text


def test_a_mixture_is_judged_beside_its_part_and_counted_by_part(
    make_laws: Callable[..., Path], text_counts: tuple[Path, Path], experiment: dict, figures: Path, tmp_path: Path
) -> None:
    mixture = simulate_runs(source="text_and_code", planted=Planted(k=900.0, alpha=0.02), random_seed=1)
    laws = make_laws(pd.concat([simulate_runs(), mixture[mixture["init"] == "text_and_code"]]))
    config = copy.deepcopy(experiment)
    config["corpora"]["code"] = config["corpora"]["english"]
    config["mixtures"] = {"text_and_code": {"english": 1, "code": 1}}
    config["pretrain"]["sources"] = ["english", "text_and_code"]
    folders = {name: tmp_path / name for name in ("corpora", "tokens")}
    for folder, counts in zip(folders.values(), text_counts, strict=True):
        shutil.copytree(counts, folder)
        shutil.copytree(counts / "english", folder / "code")
    parts = json.loads((folders["corpora"] / "splits.json").read_text())
    parts["corpora"]["code"] = parts["corpora"]["english"]
    (folders["corpora"] / "splits.json").write_text(json.dumps(parts))
    part = {"share": 0.5, "splits": {"train": {"documents": 9, "characters": 4_000, "bytes": 5_000, "tokens": 2_000}}}
    for seed in (0, 1):
        folder = folders["tokens"] / f"text_and_code.seed{seed}"
        folder.mkdir()
        (folder / "manifest.json").write_text(json.dumps({"parts": {"english": part, "code": part}}))
    paths = {"laws": laws, "figures": figures, "captions": CAPTIONS, **folders, "out": tmp_path / "report.html"}
    arguments = [text for name, path in paths.items() for text in (f"--{name}", str(path))]
    report.main([*arguments, "--experiment", json.dumps(config)])
    html = (tmp_path / "report.html").read_text()
    text = text_of(html)
    assert "Text and code beside English: what the mixture changes" in text
    assert "smaller α: supported" in text
    assert "larger k: supported" in text
    assert "“same β, smaller α, larger k” is" in text
    row = ["Text and code", "1", "Code", "50%", "9", "4k", "5k", "2k"]
    assert "".join(f"<td>{cell}</td>" for cell in row) in html


def test_the_laws_around_stand_in_the_report(html: str, laws_folder: Path) -> None:
    scaling, text = Laws(laws_folder).scaling, text_of(html)
    assert len(scaling["laws"]) > 10
    for law in scaling["laws"]:
        first = next(iter(law["parameters"].values()))
        assert f"{number(first['estimate'], 3)} ({interval(first['low'], first['high'])})" in text
    for one in scaling["absent"]:
        assert one["why"] in text
    assert "The best size and length of one pass for a budget of C = 6 N D" in text
    for one in scaling["allocations"]:
        assert interval(one["n"]["low"], one["n"]["high"]) in text
    assert html.count("<td>fine-tuning") >= len(scaling["frontiers"]) / 2


def test_what_the_search_found_and_how_data_was_read_otherwise_is_said(html: str, laws_folder: Path) -> None:
    text = text_of(html)
    assert "36 of 36 starts agreed; 100 draws, of which 0 did not converge" in text
    assert "where noise alone would give" in text
    found = report_laws.readings(Laws(laws_folder))
    assert len(found) == 3
    for sentence, about in zip(found, ("from power laws", "from bits per byte", "without fine-tuning"), strict=True):
        assert about in sentence
        assert text_of(typeset(sentence)) in text


def test_the_plan_stands_in_the_report(html: str, laws_folder: Path) -> None:
    for sentence in report_section(laws_folder)["sentences"]:
        assert text_of(typeset(sentence)) in text_of(html)


def test_what_fine_tuning_left_frozen_is_said(experiment: dict) -> None:
    parsed = Experiment.parse(experiment | {"trainable": "last_blocks:1"}, "here")
    assert "the last block and the final norm only" in report.frozen(parsed)
    assert report.frozen(Experiment.parse(experiment, "here")) == ""


def test_a_report_without_a_law_says_why(make_report: Report, make_laws: Callable[..., Path]) -> None:
    """Too few cells for a law leave tables, figures and report."""
    text = text_of(make_report(make_laws(d_f=(6_000, 6_000))))
    assert "No law was fitted for English: too few cells." in text
    assert "nothing can be planned" in text


@pytest.mark.parametrize("case", ["two sources", "pre-training hurts", "large transfer", "no intervals, one seed"])
def test_awkward_experiments_are_reported(case: str, make_report: Report, make_laws: Callable[..., Path]) -> None:
    text = text_of(make_report(make_laws(**AWKWARD[case])))
    assert "nan" not in text.lower().replace("hernandez", "")
    assert "None" not in text


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
    assert typeset("[D_c / D]^a_D A N^-β") == "[D<sub>c</sub> / D]<sup>a<sub>D</sub></sup> A N<sup>−β</sup>"


def test_captions_exist_for_every_figure() -> None:
    for name in (*FIGURES, "coefficients", "report", "workflow"):
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
    assert [row["estimator"] for row in rows[:-2]] == [law["estimator"], *law["estimators"]]
    assert [(row["k"], row["alpha"], row["beta"]) for row in rows[-2:]] == [
        ("19000.0", "0.18", "0.38"),
        ("210000.0", "0.096", "0.38"),
    ]
    read((tmp_path / "coefficients.html").read_text())


def test_undefined_draws_of_an_estimator_are_said(laws_folder: Path, tmp_path: Path) -> None:
    """A blank interval has a reason."""

    def undefine(law: dict) -> None:
        law["estimators"]["plane"]["draws"] = {"number": 100, "undefined": 7}

    rows = coefficients.rows_of(Laws(changed(laws_folder, tmp_path, undefine)), "python")
    assert "plane (undefined in 7 of 100 draws)" in coefficients.as_html(rows)
    assert "undefined" not in coefficients.as_html(rows[:1])
    assert rows[0]["estimator"] in coefficients.as_html(rows[:1])


def test_estimators_without_a_result_have_empty_fields(laws_folder: Path, tmp_path: Path) -> None:
    def fail(law: dict) -> None:
        law["estimators"] = copy.deepcopy(law["estimators"])
        law["estimators"]["fit_of_fits"] = {"k": None, "alpha": None, "beta": None, "status": "too few cells"}

    rows = coefficients.rows_of(Laws(changed(laws_folder, tmp_path, fail)), "python")
    failed = next(row for row in rows if row["estimator"] == "fit_of_fits")
    assert failed["k"] is None
    assert failed["status"] == "too few cells"
    assert "–" in coefficients.as_html([failed])

"""Folders of the laws stage, made by it from runs with a planted law, for the normal case and for awkward ones, and
reports of them."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from workflow_scripts.figures import FIGURES, report
from workflow_scripts.files import write_json
from workflow_scripts.laws.bootstrap import fit_runs
from workflow_scripts.laws.fit import write_results
from workflow_scripts.laws.runs import check_runs
from workflow_scripts.laws.scaling.command import fit_table
from workflow_scripts.laws.scaling.learning_curves import read_points
from workflow_scripts.laws.scaling.table import choose
from workflow_scripts.laws.simulate import simulate_learning_curves, simulate_runs
from workflow_scripts.sections import Fit


@pytest.fixture(scope="session")
def make_laws(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes the laws folder of some runs, which stand for measured ones unless `simulated`, and returns it; `change` and
    `change_law` alter the cells and, in place, the laws of the sources after the fit."""

    def make(
        runs: pd.DataFrame | None = None,
        d_f: tuple[int, int] = (6_000, 60_000),
        change: Callable[[pd.DataFrame], pd.DataFrame] = lambda cells: cells,
        change_law: Callable[[dict[str, Any]], None] = lambda law: None,
        simulated: bool = False,
    ) -> Path:
        folder = tmp_path_factory.mktemp("laws")
        runs = (simulate_runs() if runs is None else runs).assign(simulated=simulated)
        runs.to_parquet(folder / "runs.parquet")
        checked = check_runs(runs)
        laws = write_results(checked, fit_runs(checked, Fit(d_f=d_f, draws=100), "excerpt"), folder)
        cells = folder / "effective_data.parquet"
        change(pd.read_parquet(cells)).to_parquet(cells)
        for law in laws["sources"].values():
            change_law(law)
        (folder / "transfer_law.json").write_text(json.dumps(laws))
        simulate_learning_curves(runs).to_parquet(folder / "learning_curves.parquet")
        points = read_points(folder / "learning_curves.parquet", {})
        choice = choose(checked, "n_params", "flops", "excerpt")
        write_json(folder / "scaling.json", fit_table(checked, choice, draws=20, points=points))
        return folder

    return make


@pytest.fixture(scope="session")
def laws_folder(make_laws: Callable[..., Path]) -> Path:
    """The normal case: one source, six sizes, two seeds."""
    return make_laws()


SOURCES = {"english": {"gcide": 16_900_000, "news": 14_100_000}, "python": {"sympy": 15_400_000}}
"""Characters kept."""
CONFIG = Path(__file__).parents[2] / "config" / "config.yaml"
CAPTIONS = CONFIG.with_name("report")

Report = Callable[[Path], str]


@pytest.fixture(scope="session")
def experiment() -> dict:
    """The configuration of the quickstart, with fewer sources."""
    config = yaml.safe_load(CONFIG.read_text())
    corpora = {corpus: {name: config["corpora"][corpus][name] for name in some} for corpus, some in SOURCES.items()}
    return config | {"corpora": corpora}


@pytest.fixture(scope="session")
def text_counts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folders `corpora` and `tokens` with their counts."""
    folder = tmp_path_factory.mktemp("counts")
    parts = {}
    for corpus, some in SOURCES.items():
        for name, characters in some.items():
            kept = {"documents": characters // 1000, "characters": characters, "bytes": characters}
            dropped = {
                "too_short": {"documents": 12, "characters": 900},
                "tests": {"documents": 340, "characters": 9000},
            }
            counts = {"source": name, "read": kept, "kept": kept, "dropped": dropped, "set_aside": {}, "inputs": []}
            if corpus != "python":
                languages = {"en": {"documents": 997, "characters": 9}, "de": {"documents": 3, "characters": 1}}
                counts |= {"languages": languages, "python": {"documents": 2, "characters": characters // 1000}}
            _write(folder / "corpora" / corpus / f"{name}.json", counts)
        split = {"documents": 120, "characters": 330_000}
        parts[corpus] = {"read": split, "train": split, "validation": split, "test": split}
        parts[corpus] |= {"dropped": {"duplicate": {"documents": 3, "characters": 40}}}
        encoded = {"documents": 120, "tokens": 150_000, "characters": 330_000, "bytes": 331_000, "sha256": "0" * 64}
        manifest = {
            "dtype": "uint16",
            "vocab_size": 1024,
            "splits": dict.fromkeys(("train", "validation", "test"), encoded),
        }
        _write(folder / "tokens" / corpus / "manifest.json", manifest)
    leak = {"target": "python", "documents_removed": 17, "by_cluster": 15, "by_passage": 2}
    _write(folder / "corpora" / "splits.json", {"target": "python", "corpora": parts, "leak": leak})
    return folder / "corpora", folder / "tokens"


def _write(path: Path, value: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


@pytest.fixture(scope="session")
def figures(laws_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("figures")
    for name in FIGURES:
        module = importlib.import_module(f"workflow_scripts.figures.{name}")
        module.main(["--laws", str(laws_folder), "--target", "python", "--out", str(folder / name)])
    return folder


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def html(make_report: Report, laws_folder: Path) -> str:
    return make_report(laws_folder)

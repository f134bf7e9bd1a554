"""Tables of the laws stage with a planted law, for the normal case and for awkward ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

SIZES = {"6k": 6144, "14k": 13824, "25k": 24576, "55k": 55296, "98k": 98304, "197k": 196608}
FINETUNE = [6_000, 10_000, 19_000, 34_000, 60_000, 200_000]
SCRATCH = [6_000, 10_000, 19_000, 34_000, 60_000, 110_000, 190_000, 340_000, 600_000]
LAW = {"k": 100.0, "alpha": 0.21, "beta": 0.29}
NOISE = 0.012
"""Nats per token: the spread of seeds."""


SANITY = {
    "checks": [
        {"check": "losses fall", "verdict": "ok", "sentence": "The pretrain loss falls in 5 of 5 steps.", "runs": []},
        {
            "check": "seeds agree",
            "verdict": "warn",
            "sentence": "1 of 234 runs lies more than 3 pooled deviations from its cell.",
            "runs": [{"arm": "finetune", "n_params": 24_576, "d_chars": 6_000, "seed": 1}],
        },
    ]
}


def scratch_loss(n_params: float, d: np.ndarray | float) -> np.ndarray:
    """A planted L_N(D), nats per token."""
    return 0.9 + 1.1 * (n_params / 6144) ** -0.04 + 3.0 * (np.asarray(d, float) / 1000) ** -0.2


def make_runs(sources: list[str], sizes: dict[str, int], seeds: int, gain: float) -> pd.DataFrame:
    """A runs table: every arm, with D_T = gain k D_F^alpha N^beta; documents at the middle size."""
    random = np.random.default_rng(0)
    middle = list(sizes)[len(sizes) // 2]
    rows = []

    def add(arm: str, init: str, unit: str | None, size: str, d: int, seed: int, loss: float) -> None:
        rows.append(
            {"arm": arm, "init": init, "unit": unit, "size": size, "n_params": sizes[size], "d_chars": d, "seed": seed,
             "n_params_total": sizes[size] + 40_000, "d_chars_used": d, "d_bytes": d, "d_tokens": d // 2,
             "n_units": d // 500,
             "pretrain_tokens": None if init == "scratch" else 4_000_000, "val_loss": loss, "test_loss": loss,
             "test_bits_per_byte": loss / np.log(2) / 2, "best_tokens": 300_000, "best_epoch": 12.0,
             "hit_budget": arm == "scratch" and d >= 600_000, "unstable": False, "learning_rate": 2e-3, "flops": 6e12,
             "flops_with_head": 9e12, "train_seconds": 20.0, "status": "ok", "failure": None}
        )  # fmt: skip

    for size, n_params in sizes.items():
        for seed in range(seeds):
            for source in sources:
                add("pretrain", "scratch", None, size, 10_000_000, seed, float(scratch_loss(n_params, 4e5)))
                add("zero_shot", source, None, size, 0, seed, 4.9 - 0.05 * np.log(n_params / 6144))
            for unit in ("excerpt", "document")[: 2 if size == middle else 1]:
                worse = 0.0 if unit == "excerpt" else 0.5
                for d in SCRATCH:
                    loss = worse * (d / 6000) ** -0.8 + float(scratch_loss(n_params, d))
                    add("scratch", "scratch", unit, size, d, seed, loss + random.normal(0, NOISE))
                for i, source in enumerate(sources):
                    for d_f in FINETUNE:
                        d_t = (gain - 0.4 * i) * LAW["k"] * d_f ** LAW["alpha"] * n_params ** LAW["beta"]
                        loss = float(scratch_loss(n_params, max(d_f + d_t, 1000.0)))
                        add("finetune", source, unit, size, d_f, seed, loss + random.normal(0, NOISE))
    integers = dict.fromkeys(["n_params", "d_chars", "seed", "n_units", "pretrain_tokens"], "Int64")
    return pd.DataFrame(rows).astype(integers | {"hit_budget": "boolean"})


def make_scratch_curves(runs: pd.DataFrame) -> pd.DataFrame:
    scratch = runs[runs["arm"] == "scratch"]
    curves = scratch.groupby(["unit", "size", "n_params", "d_chars"], as_index=False).agg(
        loss=("test_loss", "mean"), hit_budget=("hit_budget", "any")
    )
    curves["isotonic_loss"] = curves.groupby(["unit", "n_params"])["loss"].cummin()
    return curves.rename(columns={"d_chars": "d"}).assign(standard_error=NOISE)


def _read_off(curve: pd.DataFrame, loss: float) -> tuple[float, str]:
    """D at which `curve` has `loss`, and how it is censored."""
    losses, d = curve["isotonic_loss"].to_numpy()[::-1], curve["d"].to_numpy()[::-1]
    if loss < losses[0]:
        return np.nan, "above"
    if loss > losses[-1]:
        return np.nan, "below"
    return float(np.exp(np.interp(loss, losses, np.log(d)))), "none"


def make_effective_data(runs: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    keys = ["init", "unit", "size", "n_params", "d_chars"]
    zero_shot = runs[runs["arm"] == "zero_shot"].assign(unit="excerpt")
    rows = []
    for (source, unit, size, n_params, d_f), cell in pd.concat([runs[runs["arm"] == "finetune"], zero_shot]).groupby(
        keys
    ):
        curve = curves[(curves["unit"] == unit) & (curves["n_params"] == n_params)]
        loss, error = cell["test_loss"].mean(), 2 * NOISE / np.sqrt(len(cell))
        d_e, censored = _read_off(curve, loss)
        low, high = _read_off(curve, loss + error)[0], _read_off(curve, loss - error)[0]
        rows.append(
            {"source": source, "unit": unit, "size": size, "n_params": n_params, "d_f": d_f, "d_e": d_e,
             "d_e_low": low, "d_e_high": high, "d_t": d_e - d_f, "d_t_low": low - d_f, "d_t_high": high - d_f, "d_e_gap": 1.8,
             "censored": censored, "regime": "low", "in_fit": unit == "excerpt" and 0 < d_f <= 60_000,
             "test_loss": loss, "n_seeds": len(cell)}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _coefficients(law: dict[str, float], spread: float | None) -> dict:
    ends = {"alpha": 0.12, "beta": 0.08}
    result = {}
    for name, value in law.items():
        if spread is None:
            result[name] = {"estimate": value, "low": None, "high": None}
        elif name == "k":
            result[name] = {"estimate": value, "low": value / 6**spread, "high": value * 6**spread}
        else:
            result[name] = {"estimate": value, "low": value - spread * ends[name], "high": value + spread * ends[name]}
    return result


def make_transfer_law(sources: list[str], cells: pd.DataFrame, spread: float | None, fitted: bool) -> dict:
    laws = {}
    for i, source in enumerate(sources):
        law = _coefficients({**LAW, "k": LAW["k"] * (1 - 0.4 * i)}, spread)
        if not fitted:
            law = {name: {"estimate": None, "low": None, "high": None} for name in law}
        warnings = ["The sizes span 1.5 decades of N, the D_F in the fit 1.0 decades."]
        laws[source] = law | {
            "n_cells": int((cells["in_fit"] & (cells["source"] == source)).sum()),
            "r_squared": 0.97 if fitted else None, "largest_size_error_factor": 1.12 if fitted else None, "estimator": "nonlinear_least_squares",
            "estimators": {"nonlinear_least_squares": law, "plane_in_logs": law, "fit_of_fits": law},
            "status": "ok" if fitted else "too few cells", "warnings": warnings,
        }  # fmt: skip
    return {"sources": laws}


@pytest.fixture(scope="session")
def make_laws(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes a laws folder and returns it."""

    def make(
        sources: tuple[str, ...] = ("english",),
        sizes: tuple[str, ...] = tuple(SIZES),
        seeds: int = 2,
        gain: float = 1.0,
        spread: float | None = 1.0,
        fitted: bool = True,
        change: Callable[[pd.DataFrame], pd.DataFrame] = lambda cells: cells,
    ) -> Path:
        folder = tmp_path_factory.mktemp("laws")
        runs = make_runs(list(sources), {name: SIZES[name] for name in sizes}, seeds, gain)
        curves = make_scratch_curves(runs)
        cells = change(make_effective_data(runs, curves))
        runs.to_parquet(folder / "runs.parquet")
        curves.to_parquet(folder / "scratch_curves.parquet")
        cells.to_parquet(folder / "effective_data.parquet")
        law = make_transfer_law(list(sources), cells, spread, fitted)
        (folder / "transfer_law.json").write_text(json.dumps(law))
        (folder / "sanity.json").write_text(json.dumps(SANITY))
        return folder

    return make


@pytest.fixture(scope="session")
def laws_folder(make_laws: Callable[..., Path]) -> Path:
    """The normal case: one source, six sizes, two seeds."""
    return make_laws()


SOURCES = {"english": {"gcide": 16_900_000, "news": 14_100_000}, "python": {"sympy": 15_400_000}}
"""Characters kept."""
CONFIG = Path(__file__).parents[2] / "config" / "config.yaml"


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

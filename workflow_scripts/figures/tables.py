"""What the figures read: the tables of the laws stage, checked for the columns of the contract."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workflow_scripts.files import read_json

RUNS = ("arm", "init", "unit", "size", "n_params", "d_chars", "seed", "test_loss", "hit_budget", "status", "simulated")
EFFECTIVE_DATA = (
    *("source", "pretrain_tokens", "unit", "size", "n_params", "d_f", "d_e", "d_e_low", "d_e_high"),
    *("d_t", "d_t_low", "d_t_high", "probability_of_harm", "probability_of_help", "verdict"),
    *("censored", "lower_bound", "upper_bound", "d_n", "d_n_low", "d_n_high", "d_n_beyond", "regime", "in_fit"),
    "simulated",
)
COEFFICIENTS = ("k", "alpha", "beta")
SCRATCH_CURVES = ("unit", "n_params", "d", "isotonic_loss")


class TableError(ValueError):
    """A table lacks what a figure needs; the message names the file, what was found and what was expected."""


def read_table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """A parquet file that has at least `columns`.  Raises TableError otherwise."""
    if not path.is_file():
        raise TableError(f"{path}: no such table; make it with the laws stage (snakemake {path})")
    table = pd.read_parquet(path)
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise TableError(f"{path}: no column {missing}; found {list(table.columns)}; make it again with the laws stage")
    return table


def read_document(path: Path) -> Any:
    """A JSON file.  Raises TableError if there is none."""
    if not path.is_file():
        raise TableError(f"{path}: no such file; make it with the workflow (snakemake {path})")
    return read_json(path)


@dataclass(frozen=True)
class Laws:
    """What one experiment measured and fitted: the folder `results/<experiment>/laws`."""

    folder: Path

    @cached_property
    def all_runs(self) -> pd.DataFrame:
        """A row a run, failed ones included."""
        runs = read_table(self.folder / "runs.parquet", RUNS)
        return runs.astype({"n_params": int, "d_chars": int, "seed": int, "hit_budget": bool})

    @cached_property
    def runs(self) -> pd.DataFrame:
        """A row a run that ended well; losses in nats per token, D in characters."""
        return self.all_runs[self.all_runs["status"] == "ok"]

    @cached_property
    def effective_data(self) -> pd.DataFrame:
        """A row a cell (zero-shot ones have D_F = 0), seeds together; D_F, D_E, D_T in characters.

        Ends of intervals beyond the from-scratch curve are null.  Added are `d_e_known`, which is D_E or the end of the
        curve beyond which it lies; `limit`, what `d_e_known` is of D_E (none: its estimate; at least, at most: a limit,
        since D_E is beyond the curve or a run stopped at its budget; unknown: both); and `bar_low` and `bar_high`, the
        interval of D_E as it is drawn: where one of its ends is null to `d_e_known`, if that is the limit, or else to
        the end of the curve; nowhere (null) where both are.
        """
        path = self.folder / "effective_data.parquet"
        table = read_table(path, EFFECTIVE_DATA)
        if table.empty:
            raise TableError(f"{path}: no cell; expected at least one row")
        open_below = ~(table["d_e_low"] > 0)
        table = table.assign(**{name: table[name].mask(open_below) for name in ("d_e_low", "d_t_low")})
        curves = self.scratch_curves.groupby(["unit", "n_params"])["d"].agg(first="min", last="max")
        curve = table[["unit", "n_params"]].join(curves, on=["unit", "n_params"])
        above = table["censored"] == "above"
        at_least, at_most = above | table["lower_bound"], (table["censored"] == "below") | table["upper_bound"]
        known = table["d_e_low"].notna() | table["d_e_high"].notna()
        d_e_known = table["d_e"].fillna(curve["last"].where(above, curve["first"]))
        return table.assign(
            d_e_known=d_e_known,
            limit=np.select([at_least & at_most, at_least, at_most], ["unknown", "at least", "at most"], "none"),
            bar_low=table["d_e_low"].fillna(d_e_known.where(at_most, curve["first"])).where(known),
            bar_high=table["d_e_high"].fillna(d_e_known.where(at_least, curve["last"])).where(known),
        )

    @cached_property
    def simulated(self) -> bool:
        """Whether the runs were drawn from a planted law.  Raises TableError where tables of both kinds stand together."""
        kinds = {
            "runs.parquet": bool(self.all_runs["simulated"].any()),
            "transfer_law.json": read_document(self.folder / "transfer_law.json")["simulated"],
            "effective_data.parquet": bool(self.effective_data["simulated"].any()),
        }
        if self.sweeps is not None:
            kinds["sweeps.json"] = self.sweeps["simulated"]
        if len(set(kinds.values())) > 1:
            told = ", ".join(f"{file} is {'simulated' if kind else 'measured'}" for file, kind in kinds.items())
            raise TableError(f"{self.folder}: {told}; the two are never mixed: make the folder again")
        return kinds["runs.parquet"]

    @property
    def fine_tuned(self) -> pd.DataFrame:
        """The cells of the effective data that figures show: those with D_F > 0."""
        return self.effective_data[self.effective_data["d_f"] > 0]

    @cached_property
    def scratch_curves(self) -> pd.DataFrame:
        """The points of L_N(D) between which D_E was read, in nats per token."""
        return read_table(self.folder / "scratch_curves.parquet", SCRATCH_CURVES).astype({"d": float})

    @cached_property
    def transfer_law(self) -> dict[str, Any]:
        """The law of each source, fitted or not: {source: {"k", "alpha", "beta", "unit", "status", ...}}."""
        return read_document(self.folder / "transfer_law.json")["sources"]

    @cached_property
    def across_sources(self) -> dict[str, Any] | None:
        """Whether sources share exponents; None for fewer than two laws."""
        return read_document(self.folder / "transfer_law.json")["across_sources"]

    @cached_property
    def noise(self) -> dict[str, Any]:
        """The noise of the losses that the intervals come from, and what it was seen by (`laws.summary`)."""
        return read_document(self.folder / "transfer_law.json")["noise"]

    @cached_property
    def scaling(self) -> dict[str, Any]:
        """The scaling laws around the transfer law (`laws.scaling.command`)."""
        return read_document(self.folder / "scaling.json")

    @cached_property
    def sweeps(self) -> dict[str, Any] | None:
        """What other values of the recipe's constants would have changed (`laws.sweeps`); None if that was not asked for."""
        path = self.folder / "sweeps.json"
        return read_document(path) if path.is_file() else None

    @cached_property
    def at_optima(self) -> dict[str, Any] | None:
        """What D_T would be at the optima that the sweeps found (`laws.transfer_at_optima`); None where there is none."""
        path = self.folder / "transfer_at_optima.json"
        return read_document(path) if path.is_file() else None

    @cached_property
    def sanity(self) -> dict[str, Any]:
        return read_document(self.folder / "sanity.json")

    @property
    def sources(self) -> list[str]:
        """Pre-training sources, in the order of the table."""
        return list(dict.fromkeys(self.fine_tuned["source"]))

    @property
    def main_unit(self) -> str:
        """The sampling unit that the law is fitted to, the same for all sources."""
        return next(law["unit"] for law in self.transfer_law.values())

    @property
    def sizes(self) -> pd.DataFrame:
        """The ladder of the main grid, smallest first: columns `size` and `n_params`."""
        cells = self.fine_tuned
        cells = cells[cells["unit"] == self.main_unit]
        return cells[["size", "n_params"]].drop_duplicates().sort_values("n_params", ignore_index=True)

    @property
    def middle_size(self) -> str:
        """The size whose curves and cells stand for the ladder: the upper one of two middle ones."""
        return str(self.sizes["size"].iloc[len(self.sizes) // 2])

    @property
    def data_sizes(self) -> list[int]:
        """Every D (characters) of the main grid, in either arm: the scale that colours and markers follow."""
        runs = self.all_runs
        runs = runs[runs["arm"].isin(["finetune", "scratch"]) & (runs["unit"] == self.main_unit)]
        return sorted(int(d) for d in runs["d_chars"].unique())

    def cells(self, source: str) -> pd.DataFrame:
        """The fine-tuned cells of a source in the main grid, by N and D_F."""
        table = self.fine_tuned
        table = table[(table["source"] == source) & (table["unit"] == self.main_unit)]
        return table.sort_values(["n_params", "d_f"], ignore_index=True)

    def arm(self, arm: str, init: str) -> pd.DataFrame:
        """The runs of an arm of the main grid from one initialisation (zero-shot runs belong to every grid)."""
        table = self.runs[(self.runs["arm"] == arm) & (self.runs["init"] == init)]
        if arm != "zero_shot":
            table = table[table["unit"] == self.main_unit]
        return table.sort_values(["n_params", "d_chars", "seed"], ignore_index=True)


def has_law(law: dict[str, Any]) -> bool:
    """Whether there is one to tell of: on a bound of the search the coefficients are the search's, not the cells'."""
    return law["status"] != "on a bound" and all(
        (law.get(name) or {}).get("estimate") is not None for name in COEFFICIENTS
    )


def parse(description: str, argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments that every figure takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--laws", type=Path, required=True, help="folder of the laws stage, results/<experiment>/laws")
    parser.add_argument("--target", required=True, help="name of the target corpus, for the labels")
    parser.add_argument("--out", type=Path, required=True, help="path of the outputs without their suffix")
    return parser.parse_args(argv)

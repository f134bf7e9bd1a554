"""Several experiments beside each other: what each pair of source and target gains, in units that they share.

    python -m workflow_scripts.laws pairs results/english_to_german results/english_to_french ... --out DIR

Losses per token and characters compare within one experiment.  Across languages and tokenizers stand losses in bits per
byte, D in bytes beside characters, and the multiplier D_E / D_F, which has no unit.  Writes DIR/cells.csv (a row a
fine-tuned cell), DIR/laws.csv (a row a law) and DIR/report.md, which it prints.  Two experiments with one source and one
target, that differ in their tokenizer for instance, are compared by their D_T, also in DIR/ratios.json.
"""

from __future__ import annotations

import argparse
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workflow_scripts.files import folder_to_write, read_json, write_json, write_text, written
from workflow_scripts.laws.cautions import WIDE_GAP
from workflow_scripts.laws.percentiles import interval
from workflow_scripts.laws.runs import SIMULATED, RunsError

KEYS = ["unit", "n_params"]
COEFFICIENTS = ("k", "alpha", "beta")


def cells_of(experiment: Path) -> pd.DataFrame:
    """The fine-tuned cells of `results/<experiment>`, a row each: `experiment`, `source`, `target`, the cell with D_F
    in characters and bytes, D_E and the multiplier D_E / D_F with 95 % intervals, and losses in bits per byte, of the
    fine-tuned models and of from-scratch ones on as much data (null where there are none).

    Raises RunsError if the laws of the experiment are not there.
    """
    runs, cells = (_table(experiment / "laws" / f"{name}.parquet") for name in ("runs", "effective_data"))
    trained = runs[(runs["status"] == "ok") & runs["arm"].isin(["finetune", "scratch"])]
    target = trained["corpus"].iloc[0] if "corpus" in trained else "target"
    means = trained.groupby(["arm", *KEYS, "d_chars"])[["d_bytes", "test_bits_per_byte"]].mean()
    tuned, scratch = (means.loc[arm].rename_axis([*KEYS, "d_f"]) for arm in ("finetune", "scratch"))
    cells = cells[cells["d_f"] > 0].join(tuned["d_bytes"].rename("d_f_bytes"), on=[*KEYS, "d_f"])
    cells = cells.join(scratch["test_bits_per_byte"].rename("scratch_bits_per_byte"), on=[*KEYS, "d_f"])
    multipliers = {f"multiplier{end}": cells[f"d_e{end}"] / cells["d_f"] for end in ("", "_low", "_high")}
    columns = ["experiment", "simulated", "source", "target", *KEYS[:1], "size", "n_params", "d_f", "d_f_bytes"]
    columns += ["d_e", "d_e_low", "d_e_high", "d_e_gap", *multipliers, "censored", "in_fit"]
    columns += ["test_bits_per_byte", "scratch_bits_per_byte"]
    return cells.assign(experiment=experiment.name, target=target, **multipliers)[columns]


def require_own_names(experiments: list[Path]) -> None:
    """Raises RunsError if two folders have one name, which is what tells experiments apart from here on."""
    for one, other in combinations(experiments, 2):
        if one.name == other.name:
            raise RunsError(
                f"{one} and {other}: both folders are called {one.name}, and experiments are told apart by that; name each"
                " experiment once, and rename one of them or give a link to it that has another name"
            )


def require_one_kind(cells: pd.DataFrame) -> None:
    """Raises RunsError if some of the experiments are simulated and others measured."""
    kinds = cells.groupby("simulated")["experiment"].unique()
    if len(kinds) > 1:
        drawn, measured = (", ".join(kinds[kind]) for kind in (True, False))
        raise RunsError(f"{drawn}: simulated; {measured}: measured; the two are never mixed: compare either alone")


def laws_of(experiment: Path, target: str) -> list[dict[str, Any]]:
    """The law of each source, a row each; null coefficients where there are too few cells."""
    document = read_json(experiment / "laws" / "transfer_law.json")
    return [
        {"experiment": experiment.name, "simulated": document["simulated"], "source": source, "target": target}
        | {
            f"{name}{end}": law[name][key]
            for name in COEFFICIENTS
            for end, key in (("", "estimate"), ("_low", "low"), ("_high", "high"))
        }
        | {"n_cells": law["n_cells"], "status": law["status"]}
        for source, law in document["sources"].items()
    ]


def ratios(experiments: list[Path], cells: pd.DataFrame) -> list[dict[str, Any]]:
    """D_T of one experiment over that of another with the same source and target, by their laws, in the middle of the
    cells that both were fitted to; 95 % intervals from the draws of both laws, taken as independent."""
    found = []
    fitted = cells[cells["in_fit"]]
    for (source, target), group in fitted.groupby(["source", "target"]):
        for one, other in combinations([path for path in experiments if path.name in set(group["experiment"])], 2):
            shared = group[group["experiment"] == one.name].merge(
                group[group["experiment"] == other.name], on=[*KEYS, "d_f"]
            )
            if shared.empty:
                continue
            d_f, n_params = (float(np.exp(np.log(shared[name]).mean())) for name in ("d_f", "n_params"))
            logs = [_log_d_t(path, source, d_f, n_params) for path in (one, other)]
            if None in logs:
                continue
            (estimate, draws), (estimate_other, draws_other) = logs
            pairs = np.exp((draws[:, None] - draws_other[None, :]).ravel())
            found.append(
                {"source": source, "target": target, "experiments": [one.name, other.name], "d_f": d_f}
                | {"n_params": n_params}
                | interval(np.exp(estimate - estimate_other), pairs)
            )
    return found


def _log_d_t(experiment: Path, source: str, d_f: float, n_params: float) -> tuple[float, np.ndarray] | None:
    """ln D_T by the law of `source`: the estimate and the draws; None if there is none to be read."""
    law = read_json(experiment / "laws" / "transfer_law.json")["sources"][source]
    if law["ln_k"]["estimate"] is None or law["status"] == "on a bound":
        return None
    draws = _table(experiment / "laws" / "draws.parquet").query("source == @source")
    at = np.array([1.0, np.log(d_f), np.log(n_params)])
    names = ["ln_k", "alpha", "beta"]
    return float(at @ [law[name]["estimate"] for name in names]), draws[names].to_numpy() @ at


def sentences(cells: pd.DataFrame, laws: pd.DataFrame, compared: list[dict[str, Any]]) -> list[str]:
    """What the tables say, in words: the smallest set of the law at the middle size, the law, and ratios of D_T."""
    told = [SIMULATED] if cells["simulated"].any() else []
    for law in laws.to_dict("records"):
        own = cells[(cells["experiment"] == law["experiment"]) & (cells["source"] == law["source"])]
        own = own[own["in_fit"]] if own["in_fit"].any() else own
        sizes = sorted(own["n_params"].unique())
        cell = own[own["n_params"] == sizes[len(sizes) // 2]].sort_values("d_f").iloc[0]
        told.append(
            f"{law['source']} -> {law['target']} ({law['experiment']}): at N = {cell['size']}, {cell['d_f']:,} characters"
            f" ({cell['d_f_bytes']:,.0f} bytes) count {_range(cell, 'multiplier', '.2f')} times{_gap(cell)},"
            f" {cell['test_bits_per_byte']:.3f} bits per byte against {cell['scratch_bits_per_byte']:.3f} from scratch;"
            f" {_law(law)}"
        )
    for ratio in compared:
        one, other = ratio["experiments"]
        share = 1 - min(ratio["estimate"], 1 / ratio["estimate"])
        told.append(
            f"{ratio['source']} -> {ratio['target']}: D_T of {one} is {_range(ratio, '', '.2f')} times that of {other}"
            f" at D_F = {ratio['d_f']:,.0f} characters and N = {ratio['n_params']:,.0f}: what differs between them is"
            f" {share:.0%} of the larger"
        )
    return told


def _law(law: Any) -> str:
    if law["status"] == "on a bound":
        return "no law can be read: the fit is on a bound of its search"
    return f"alpha {_range(law, 'alpha', '.2f')}, beta {_range(law, 'beta', '.2f')}, k {_range(law, 'k', '.3g')}"


def _gap(cell: Any) -> str:
    """A wide interval hides in a grid that is too coarse: D_E lies somewhere between two of its points."""
    wide = cell["d_e_gap"] > WIDE_GAP
    return f" (read between from-scratch D that differ by a factor {cell['d_e_gap']:.2g})" if wide else ""


def _range(values: Any, name: str, form: str) -> str:
    keys = (name or "estimate", f"{name}_low".strip("_"), f"{name}_high".strip("_"))
    estimate, low, high = ("unknown" if pd.isna(values[key]) else f"{values[key]:{form}}" for key in keys)
    return f"{estimate} ({low} to {high})"


def _table(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise RunsError(f"{path}: no such file; run that experiment first, or name another folder of results")
    return pd.read_parquet(path)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m workflow_scripts.laws pairs", description=__doc__.split("\n")[0])
    parser.add_argument("experiments", type=Path, nargs="+", help="results/<experiment>, of two experiments or more")
    parser.add_argument("--out", type=folder_to_write, required=True, help="folder for the tables")
    arguments = parser.parse_args(argv)
    try:
        require_own_names(arguments.experiments)
        cells = pd.concat([cells_of(path) for path in arguments.experiments], ignore_index=True)
        require_one_kind(cells)
        targets = cells.groupby("experiment")["target"].first()
        laws = pd.DataFrame([row for path in arguments.experiments for row in laws_of(path, targets[path.name])])
    except RunsError as error:
        raise SystemExit(str(error)) from error
    for name, table in (("cells", cells), ("laws", laws)):
        with written(arguments.out / f"{name}.csv") as temporary:
            table.to_csv(temporary, index=False)
    compared = ratios(arguments.experiments, cells)
    told = "\n".join(sentences(cells, laws, compared))
    write_json(arguments.out / "ratios.json", {"simulated": bool(cells["simulated"].any()), "ratios": compared})
    write_text(arguments.out / "report.md", told + "\n")
    print(told)


if __name__ == "__main__":
    main()

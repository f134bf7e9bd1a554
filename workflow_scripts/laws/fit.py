"""Fits effective data and the transfer law to a table of runs.

    python -m workflow_scripts.laws fit RUNS --out DIR [--fit JSON] [--unit UNIT] [--rename NAME=COLUMN ...]
        [--draws M] [--allow-no-law]

RUNS is CSV or parquet (`runs.py` says which columns).  Writes into DIR: `effective_data.parquet` (a row a tuned cell),
`scratch_curves.parquet` (the from-scratch points as used), `transfer_law.json`, `draws.parquet` (what its intervals
come from), `sanity.json`; and prints the law.  A source with too few cells for a law has null coefficients, and why; if
no source has a law, or a fit did not converge, that ends as an error, with the files written (`--allow-no-law`: it does
not).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from workflow_scripts.experiment import explain
from workflow_scripts.files import folder_to_write, write_json, written
from workflow_scripts.laws.bootstrap import Fitted, fit_runs
from workflow_scripts.laws.effective_data import Cells
from workflow_scripts.laws.percentiles import in_words
from workflow_scripts.laws.runs import (
    SIMULATED,
    RunsError,
    add_rename,
    is_simulated,
    read_runs,
    renaming,
    set_aside_sentence,
)
from workflow_scripts.laws.sanity import check_sanity
from workflow_scripts.laws.sources import EXPONENTS
from workflow_scripts.laws.sources import sentences as across_sources
from workflow_scripts.laws.summary import draws_table, summarise
from workflow_scripts.sections import Fit


def write_results(
    runs: pd.DataFrame, fitted: Fitted, out: Path, renamed: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Writes the five files into `out`; returns what `transfer_law.json` holds.  `renamed`: name here -> in the table."""
    simulated = is_simulated(runs)
    law = {"simulated": simulated, **summarise(fitted, renamed)}
    tables = {
        "effective_data": fitted.table,
        "scratch_curves": scratch_curves(fitted),
        "draws": draws_table(fitted),
    }
    for name, table in tables.items():
        with written(out / f"{name}.parquet") as path:
            table.assign(simulated=simulated).to_parquet(path, index=False)
    write_json(out / "sanity.json", {"simulated": simulated, **check_sanity(runs)})
    write_json(out / "transfer_law.json", law)
    return law


def scratch_curves(fitted: Fitted) -> pd.DataFrame:
    """Points of the from-scratch curves: `loss` (mean over seeds), `isotonic_loss` (as D_E is read from it),
    `power_law_loss` (E + B D^-b at that N), `standard_error` (null where nothing tells the noise), in nats per token; `d`
    in characters."""
    return pd.concat([_points(cells) for cells in fitted.cells.values()], ignore_index=True)


def _points(cells: Cells) -> pd.DataFrame:
    points = cells.scratch.rename(columns={"test_loss": "loss"})
    loss = points.loss.to_numpy()
    isotonic, power_law = np.full(len(points), np.nan), np.full(len(points), np.nan)
    for curve in cells.curves:
        isotonic[curve.points] = curve.clean(loss[curve.points])
        if law := curve.power_law(loss[curve.points]):
            power_law[curve.points] = law.loss(np.exp(curve.log_d))
    error = np.sqrt(np.diag(cells.noise.covariance())[: len(points)])
    return points.assign(
        isotonic_loss=isotonic, power_law_loss=power_law, standard_error=error if cells.noise.known else np.nan
    )


def sentences(law: dict[str, Any]) -> str:
    """The laws as a person would read them: a few lines a source and the warnings below."""
    lines = [set_aside_sentence(law["set_aside"])] if law["set_aside"] else []
    for source, fit in law["sources"].items():
        lines += [f"{source}: {fit['status']}"] if fit["k"]["estimate"] is None else _law_lines(source, fit)
        lines += [f"  ! {warning}" for warning in fit["warnings"]]
    lines += across_sources(law["across_sources"])
    counted = law["conventions"]
    counts = f"N counts {counted['N']}, D {counted['D']}, losses are {counted['losses']}."
    return "\n".join([*([SIMULATED] if law["simulated"] else []), counts, *lines])


def _law_lines(source: str, fit: dict[str, Any]) -> list[str]:
    k, alpha, beta = (fit[name] for name in ("k", "alpha", "beta"))
    proportionality = _rounded(fit["r_squared_of_proportionality"], ".3f")
    return [
        f"{source}: D_T = {k['estimate']:.3g} * D_F^{alpha['estimate']:.3f} * N^{beta['estimate']:.3f}"
        f"  ({fit['n_cells']} cells, {fit['n_uncensored']} of them uncensored, status {fit['status']})",
        f"  95 %: k {in_words(k, '.3g')}, alpha {in_words(alpha, '.3f')}, beta {in_words(beta, '.3f')}",
        f"  data counts (D_E / D_F) {_multipliers(fit['data_multiplier'])}",
        f"  R2 of ln D_E {_rounded(fit['r_squared'], '.3f')}; of D_E = c D_F alone {proportionality}",
        "  D_T of the largest size, predicted from the smaller ones: missed by a factor"
        f" {_rounded(fit['largest_size_error_factor'], '.2f')}; of the largest D_F:"
        f" {_rounded(fit['largest_d_f_error_factor'], '.2f')}",
        f"  losses of held-out cells are missed by: {_held_out(fit['alternatives'])}",
        *[f"  by the estimator {name}: {_exponents(other)}" for name, other in fit["estimators"].items()],
        f"  no fine-tuning data count as D_E(0): {_by_size(fit['effective_data']['zero_shot'], _zero_shot)}",
        f"  D(N), as good as infinite data: {_by_size(fit['effective_data']['sufficient_data'], _sufficient)}",
        *_axis_of_p(fit.get("axis_of_p")),
    ]


def _exponents(other: dict[str, Any]) -> str:
    told = [f"{name} {_rounded(other[name]['estimate'], '.3f')} ({in_words(other[name], '.3f')})" for name in EXPONENTS]
    return f"{', '.join(told)}, from {other['n_cells']} cells, {other['status']}"


def _by_size(rows: list[dict[str, Any]], told: Callable[[dict[str, Any]], str]) -> str:
    return "; ".join(f"{told(row)} at N = {row['n_params']:,}" for row in rows) or "not measured"


def _zero_shot(row: dict[str, Any]) -> str:
    if row["d_e"] is None:
        return f"{row['censored']} {row['d_e_limit']:,.0f}"
    return f"{row['d_e']:,.0f} ({in_words({'low': row['d_e_low'], 'high': row['d_e_high']}, ',.0f')})"


def _sufficient(row: dict[str, Any]) -> str:
    """D(N) with its interval, or on which side of the from-scratch runs it lies."""
    ends = {"low": row["d_n_low"], "high": row["d_n_high"]}
    return in_words(ends, ",.0f") if row["d_n"] is None else f"{row['d_n']:,.0f} ({in_words(ends, ',.0f')})"


def _axis_of_p(axis: dict[str, Any] | None) -> list[str]:
    """The law over all lengths of pre-training, where several were measured."""
    if axis is None:
        return []
    alpha, beta, gamma = (f"{axis[name]['estimate']:.3f}" for name in ("alpha", "beta", "gamma"))
    return [
        f"  over P, {len(axis['pretrain_tokens'])} lengths of pre-training: D_T = {axis['k']['estimate']:.3g} * D_F^{alpha}"
        f" * N^{beta} * P^{gamma}, gamma {in_words(axis['gamma'], '.3f')}, status {axis['status']}",
        f"  losses of held-out cells of all P are missed by: {_held_out(axis['alternatives'])}",
    ]


def _multipliers(found: list[dict[str, Any]]) -> str:
    times = [
        f"{_rounded(one['estimate'], '.3g')} times ({in_words(one, '.3g')}) at N = {one['n_params']:,.0f}"
        for one in found
    ]
    return f"{', '.join(times)}, with D_F = {found[0]['d_f']:,.0f}"


def _held_out(alternatives: dict[str, Any]) -> str:
    errors = {name: law["held_out"]["each_cell"]["rms_nats"] for name, law in alternatives["laws"].items()}
    return ", ".join(f"{name} {_rounded(error, '.4f')}" for name, error in errors.items())


def _rounded(value: float | None, form: str) -> str:
    return "unknown" if value is None else f"{value:{form}}"


def _fit_of(text: str | None, draws: int | None, runs: pd.DataFrame) -> Fit:
    """The rule of the fit; without one, every fine-tuning size in the table.  `draws` has the last word on theirs."""
    given = {} if draws is None else {"draws": draws}
    if text is not None:
        return Fit.model_validate(Fit.model_validate_json(text).model_dump() | given)
    d_f = runs.d_chars[runs.arm == "finetune"]
    if d_f.empty:
        raise RunsError("column arm: no run of the arm finetune; the law needs fine-tuned and from-scratch runs")
    return Fit(d_f=(int(d_f.min()), int(d_f.max())), **given)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m workflow_scripts.laws fit", description=__doc__.split("\n")[0])
    parser.add_argument("runs", type=Path, help="CSV or parquet, a row a run")
    parser.add_argument("--out", type=folder_to_write, required=True, help="folder for the results")
    parser.add_argument("--fit", help="the section `fit` of a configuration as JSON; default: all fine-tuning sizes")
    parser.add_argument("--unit", help="sampling unit the law is fitted on; default: that with most sizes")
    parser.add_argument("--draws", type=int, metavar="M", help="of the bootstrap; default: those of --fit, or 1000")
    add_rename(parser)
    parser.add_argument("--allow-no-law", action="store_true", help="the tables are enough where no law can be fitted")
    arguments = parser.parse_args(argv)
    try:
        names = renaming(arguments.rename)
        runs = read_runs(arguments.runs, names)
        fitted = fit_runs(runs, _fit_of(arguments.fit, arguments.draws, runs), arguments.unit)
    except ValidationError as error:
        given = " ".join(
            f"--{name} {value}" for name in ("fit", "draws") if (value := getattr(arguments, name)) is not None
        )
        raise SystemExit(explain(error, given)) from error
    except RunsError as error:
        raise SystemExit(str(error)) from error
    law = write_results(runs, fitted, arguments.out, {here: there for there, here in names.items()})
    words = sentences(law)
    lost = [source for source, found in law["sources"].items() if found["status"] == "not converged"]
    if lost and not arguments.allow_no_law:
        raise SystemExit(
            f"{words}\nThe fit of {', '.join(lost)} did not converge from any start, so it has no law: look at"
            f" {arguments.out / 'effective_data.parquet'} for cells that contradict each other, or give it more cells."
        )
    if not fitted.laws and not arguments.allow_no_law:
        raise SystemExit(words)
    print(words)


if __name__ == "__main__":
    main()

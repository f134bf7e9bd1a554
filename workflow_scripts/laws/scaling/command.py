"""Fits every scaling law that a table of runs supports, and says why not where it does not.

    python -m workflow_scripts.laws scaling RUNS --out FILE [--curves CURVES] [--n COLUMN] [--flops COLUMN]
        [--unit UNIT] [--draws M] [--rename NAME=COLUMN ...]

RUNS is CSV or parquet (`runs.py` says which columns), CURVES a table of learning curves (`scaling/learning_curves.py`
says which).  Writes FILE (JSON): `laws` with parameters, 95 % intervals and published exponents, `allocations` of compute,
the `approaches` to them that are biased, `frontiers` with the cross-over, and `absent`; and prints them as sentences.
"""

from __future__ import annotations

import argparse
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

from workflow_scripts.files import file_to_write, write_json
from workflow_scripts.laws.runs import (
    SIMULATED,
    RunsError,
    add_rename,
    finished,
    is_simulated,
    read_runs,
    renaming,
    set_aside_sentence,
)
from workflow_scripts.laws.scaling import allocation
from workflow_scripts.laws.scaling.catalogue import CHINCHILLA, published, published_in_words
from workflow_scripts.laws.scaling.fit import Draws, bootstrap, fit
from workflow_scripts.laws.scaling.law import LawError
from workflow_scripts.laws.scaling.learning_curves import SIX_N_D, laws_in_progress, read_points
from workflow_scripts.laws.scaling.table import Absent, Case, Choice, Race, cases, choose, races
from workflow_scripts.sections import FEWEST_DRAWS

Result = dict[str, Any]


def fit_table(
    runs: pd.DataFrame, choice: Choice, draws: int = 1000, seed: int = 0, points: pd.DataFrame | None = None
) -> Result:
    """The content of the JSON, for a table from `check_runs` and the points of its learning curves, if there are any.

    Full precision; null where a number is not finite.
    """
    runs, set_aside = finished(runs)
    laws, allocations, approaches, absent = [], [], [], []
    for case in chain(cases(runs, choice), laws_in_progress(points, runs, choice)):
        try:
            if isinstance(case, Absent):
                absent.append(case)
                continue
            drawn = _draw(case, draws, seed)
        except LawError as error:
            absent.append(Absent(case.law.name, case.of, str(error)))
            continue
        laws.append(_law(case, drawn))
        if case.law is CHINCHILLA and case.columns["D"] == "tokens":
            allocations += allocation.allocations(case, drawn)
            approaches += allocation.envelopes(case, drawn.fit)
    raced = list(races(runs, choice))
    absent += [one for one in (*raced, *approaches) if isinstance(one, Absent)]
    return {
        "simulated": is_simulated(runs),
        "conventions": {"N": choice.n, "C": choice.flops, "C of training in progress": SIX_N_D, "unit": choice.unit},
        "set_aside": set_aside,
        "laws": laws,
        "allocations": allocations,
        "approaches": [one for one in approaches if not isinstance(one, Absent)],
        "frontiers": [_race(race) for race in raced if isinstance(race, Race)],
        "absent": [vars(one) for one in absent],
    }


def _draw(case: Case, draws: int, seed: int) -> Draws:
    fitted = fit(case.law, case.rows[case.response].to_numpy(dtype=float), case.points())
    groups = None if case.groups is None else case.rows[list(case.groups)].to_numpy()
    return bootstrap(fitted, draws, seed, groups)


def _law(case: Case, drawn: Draws) -> Result:
    fitted = drawn.fit
    return {
        "law": case.law.name,
        "of": case.of,
        "equation": case.law.equation,
        "source": case.law.source,
        "variables": case.columns,
        "parameters": {name: drawn.known(name) for name in fitted.parameters},
        "status": fitted.status,
        "on_bound": list(fitted.on_bound),
        "starts": {"tried": fitted.starts, "agreed": fitted.agreed},
        "draws": {
            "number": len(next(iter(drawn.parameters.values()))),
            "not_converged": drawn.not_converged,
            "on_a_bound": drawn.on_bound,
        },
        "n_points": fitted.n_points,
        "n_at_budget_left_out": case.at_budget,
        "note": case.note,
        "deviation_of_log": fitted.deviation,
        "published": published(case.law.name),
    }


def _race(race: Race) -> Result:
    frontiers = {
        arm: {"flops": frontier.flops.tolist(), "loss": frontier.loss.tolist()}
        for arm, frontier in (("scratch", race.scratch), ("tuned", race.tuned))
    }
    head = {"source": race.source, "d_chars": race.d_chars, "with_pretraining": race.with_pretraining}
    return head | frontiers | {"crossover": vars(race.crossover)}


def sentences(result: Result) -> str:
    """What the JSON says, a line a law."""
    conventions = result["conventions"]
    lines = [SIMULATED] if result["simulated"] else []
    lines += [
        f"N is {conventions['N']}, C is {conventions['C']} (of training in progress and of compute-optimal sizes {SIX_N_D}),"
        f" the sampling unit is {conventions['unit']}."
    ]
    if result["set_aside"]:
        lines.append(set_aside_sentence(result["set_aside"]))
    lines += [_law_line(law) for law in result["laws"]]
    lines += allocation.sentences(result["allocations"], _words) + allocation.approach_sentences(result["approaches"])
    lines += [_race_line(race) for race in result["frontiers"]]
    return "\n".join(lines + [f"no {one['law']} of {one['of']}: {one['why']}" for one in result["absent"]])


def _law_line(law: Result) -> str:
    parameters = ", ".join(f"{name} {_words(value)}" for name, value in law["parameters"].items())
    starts = f"{law['starts']['agreed']} of {law['starts']['tried']} starts"
    status = law["status"] + (f" ({', '.join(law['on_bound'])})" if law["on_bound"] else "")
    left_out = f", {law['n_at_budget_left_out']} at their budget left out" if law["n_at_budget_left_out"] else ""
    note = f"; {law['note']}" if law["note"] else ""
    draws = law["draws"]
    if draws["not_converged"]:
        note += f"; {draws['not_converged']} of {draws['number']} draws did not converge"
    if draws["on_a_bound"]:
        note += f"; {draws['on_a_bound']} of {draws['number']} draws have a parameter on a bound"
    fitted = f"{status}; {starts}; {law['n_points']} points{left_out}{note}"
    return f"{law['of']}: {law['equation']}\n  {parameters}{published_in_words(law['published'])}\n  {fitted}"


def _words(value: Result) -> str:
    low, high = ("unbounded" if value[end] is None else f"{value[end]:.4g}" for end in ("low", "high"))
    return ("unknown" if value["estimate"] is None else f"{value['estimate']:.4g}") + f" ({low} to {high})"


def _race_line(race: Result) -> str:
    cross = race["crossover"]
    arm = {"scratch": "training from scratch is", "tuned": "fine-tuning is", "level": "both arms are"}[cross["ahead"]]
    since = "throughout" if cross["above"] is None else f"from {cross['above']:.3g} to {cross['by']:.3g} FLOPs on"
    cost = "with" if race["with_pretraining"] else "without"
    return (
        f"{race['source']}, D = {race['d_chars']:,} characters, {cost} the cost of pre-training: {arm}"
        f" {'level' if cross['ahead'] == 'level' else 'ahead'} {since} (runs end at {cross['up_to']:.3g})"
    )


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m workflow_scripts.laws scaling", description=__doc__.split("\n")[0])
    parser.add_argument("runs", type=Path, help="CSV or parquet, a row a run")
    parser.add_argument("--out", type=file_to_write, required=True, help="JSON file for the results")
    parser.add_argument("--curves", type=Path, help="learning curves, CSV or parquet, for laws of training in progress")
    parser.add_argument("--n", default="n_params", choices=["n_params", "n_params_total"], help="the count N is")
    parser.add_argument("--flops", default="flops", choices=["flops", "flops_with_head"], help="the count C is")
    parser.add_argument("--unit", help="sampling unit; default: that with most sizes")
    parser.add_argument("--draws", type=int, default=1000, help="of the bootstrap")
    add_rename(parser)
    arguments = parser.parse_args(argv)
    try:
        if arguments.draws < FEWEST_DRAWS:
            raise RunsError(
                f"--draws {arguments.draws}: expected {FEWEST_DRAWS} draws or more, which intervals are read from"
            )
        names = renaming(arguments.rename)
        runs = read_runs(arguments.runs, names)
        points = None if arguments.curves is None else read_points(arguments.curves, names)
        choice = choose(runs, arguments.n, arguments.flops, arguments.unit)
        result = fit_table(runs, choice, arguments.draws, points=points)
    except RunsError as error:
        raise SystemExit(str(error)) from error
    write_json(arguments.out, result)
    print(sentences(result))

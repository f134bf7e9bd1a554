"""Plans with the fitted law: which source and size, more data or a larger model, how to spend compute.

    python -m workflow_scripts.laws plan LAWS --characters 20000 | --documents 30 [--document-characters 900]
        [--target-loss 3.2] [--n-params 50000 100000]
        [--price-character P] [--price-flop P | --price-gpu-hour P --flops-per-second F]
        [--price-token P --served-tokens T] [--pretraining-share 1] [--budget FLOPS] [--runs RUNS]
        [--rename NAME=COLUMN ...] [--out plan.json]

LAWS is the folder that `fit` wrote.  Prices of training and budgets need the table of runs too (`LAWS/runs.parquet` or
`--runs`).  `docs/planner.md` says what the answers rest on.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workflow_scripts.files import file_to_write, write_json
from workflow_scripts.laws.planning.answers import Answer, Prices, Question, exchange, percent, pilot, reach
from workflow_scripts.laws.planning.compute import Compute, measure_compute
from workflow_scripts.laws.planning.forecast import (
    D_F_REACH,
    N_REACH,
    SCRATCH,
    Forecast,
    PlanError,
    exactly,
    noise_known,
    of_the_law,
    outside,
    people,
    read_forecast,
)
from workflow_scripts.laws.planning.spending import budget, costs
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


def plan(forecast: Forecast, question: Question, compute: Compute | None = None) -> list[Answer]:
    """All answers to a question.  Raises PlanError where it lies beyond the limits or lacks what it needs."""
    _check(forecast, question, compute)
    answers = [reach(forecast, question), exchange(forecast, question)]
    if question.target is not None:
        answers.append(costs(forecast, question, compute))
    if question.budget is not None:
        answers.append(budget(forecast, question, compute))
    return [*answers, pilot(forecast)]


def _check(forecast: Forecast, question: Question, compute: Compute | None) -> None:
    if compute is None and (question.prices.flop or question.budget is not None):
        raise PlanError("prices of training and budgets need the table of runs: --runs names it")
    if question.target is None and question.prices != Prices():
        raise PlanError("prices are given, but nothing to pay for: --target-loss says what is to be reached")
    for n in question.sizes:
        if beyond := outside("N", n, forecast.sources[SCRATCH].n_params):
            raise PlanError(f"refused: {beyond}, a factor {N_REACH:g} beyond the measured sizes")
    lowest = min(forecast.curves.lowest_loss(n)[0] for n in question.sizes)
    if question.target is not None and question.target < lowest:
        raise PlanError(
            f"refused: {question.target:.10g} nats per token lies below {math.ceil(1000 * lowest) / 1000:g}, where the"
            " from-scratch runs of these sizes end; from-scratch runs on more data would be needed"
        )


def limits(forecast: Forecast) -> dict[str, Any]:
    """How far answers go: N and D_F of each source, and the from-scratch curves that losses are read from."""
    return {
        "n_params_factor": N_REACH,
        "d_f_factor": D_F_REACH,
        "sources": {name: {"n_params": s.n_params, "d_f": s.d_f} for name, s in forecast.sources.items()},
        "from_scratch": {
            "sentence": "Losses outside the from-scratch curves are never extrapolated.",
            "d": {f"{n:.0f}": forecast.curves.reach(n) for n in forecast.sizes},
            "lowest_loss": {f"{n:.0f}": float(forecast.curves.lowest_loss(n)[0]) for n in forecast.sizes},
        },
    }


def interval_sentences(forecast: Forecast) -> dict[str, list[str]]:
    """What the 95 % intervals hold, and what they lack."""
    scatter = max(
        found["lack_of_fit"]["extra_deviation_of_ln_d_e"]
        for name, found in forecast.law["sources"].items()
        if name in forecast.sources
    )
    n_cells, n_known, missed, inside = forecast.hindcast()
    beyond = n_cells - n_known
    noise = forecast.law["noise"]
    run, held = "an unknown amount, so no interval is known", "whether they lie inside is unknown"
    if noise_known(forecast.law):
        own = [noise["nats_per_token"][name] for name in ("pretrain", "prefix", "finetune_run")]
        run, held = f"about {math.hypot(*own):.3f} nats", f"{inside} lie inside"
        if noise.get("at_characters"):
            run += f" at {noise['at_characters']:,.0f} characters"
    lacks = [
        f"One trained model differs from these means by {run} (seed, set and pre-training).",
        "Whether the law and the curves keep their form beyond the measured sizes and data sizes.",
        "Noise that neighbouring from-scratch points share with each other and with the law: each is drawn alone.",
        "Compute, which is taken as the runs count it (their column flops, in this workflow without the head), and prices.",
        "Another length of pre-training, tokenizer, recipe or domain: all are those of the runs.",
    ]
    if forecast.curves.at_budget:
        lacks.append(
            f"{forecast.curves.at_budget} from-scratch points stopped at their budget: losses read there are upper bounds."
        )
    return {
        "holds": [
            f"{_seeds(noise['pretrain_seeds'])}, through the joint draws of k, alpha and beta.",
            f"Scatter of D_E about the law beyond seeds (up to {percent(math.expm1(scatter))}), drawn for each size.",
            "The standard errors of the from-scratch points.",
            f"Held against {f'{n_known} of ' if beyond else ''}the {n_cells} cells of the fit: {held}; their losses are missed"
            f" by {missed:.3f} nats (root mean square)"
            f"{f'; the other {beyond} lie beyond the from-scratch curves' if beyond else ''}.",
        ],
        "lacks": lacks,
    }


def _seeds(pretrain_seeds: int | None) -> str:
    if pretrain_seeds is None:
        return "Seeds, and pre-training if each of them has its own pre-trained model"
    return "Seeds and pre-training" if pretrain_seeds > 1 else "Seeds, with the pre-trained weights as they are"


def report_section(folder: Path) -> dict[str, Any]:
    """For the report: `title`, `question`, `sentences`, and a table as `columns` and `rows` (of strings).

    Asks what no prices are needed for, with a measured D_F in the middle of the fit, and how to split the compute that
    pre-training and fine-tuning the largest model there takes.  Raises PlanError.
    """
    forecast = read_forecast(folder)
    d_f = np.sort(forecast.cells.d_f[forecast.cells.in_fit].unique())
    question = Question(float(d_f[len(d_f) // 2]), tuple(forecast.sizes))
    losses, steps, carried = plan(forecast, question)
    spent = _split_of_compute(forecast, question, folder / "runs.parquet")
    next_size = dict(pairwise(question.sizes))
    worth = {
        (row["source"], row["n_params"]): text[-1]
        for row, text in zip(steps.rows, steps.table(), strict=True)
        if next_size[row["n_params"]] == row["larger"]
    }
    held = interval_sentences(forecast)["holds"][-1]
    return {
        "title": "Which corpus, how big a model, or more data?",
        "question": f"With {people(question.characters)} characters of the domain.",
        "sentences": [
            *losses.sentences,
            *steps.sentences,
            *spent,
            *carried.sentences,
            held,
            *_limit_sentences(forecast),
        ],
        "columns": [*losses.columns, "the step to the next N is worth, characters"],
        "rows": [
            [*text, worth.get((row["source"], row["n_params"]), "")]
            for row, text in zip(losses.rows, losses.table(), strict=True)
        ],
    }


def _split_of_compute(forecast: Forecast, question: Question, runs: Path) -> list[str]:
    """What share of the compute of the largest model is best spent on pre-training, or why that cannot be said."""
    largest = max(question.sizes)
    d_f = np.array([question.characters])
    try:
        compute = _compute(finished(read_runs(runs))[0], forecast)
        flops = max(
            compute.pretraining(source, largest) + float(compute.training(source, largest, d_f)[0])
            for source in forecast.sources
            if source != SCRATCH
        )
        found = budget(forecast, replace(question, budget=flops), compute)
        return [f"Pre-training and fine-tuning the largest size takes {people(flops)} FLOPs.", *found.sentences]
    except (PlanError, RunsError) as error:
        return [f"How to split compute between pre-training and fine-tuning cannot be said: {error}."]


def _limit_sentences(forecast: Forecast) -> list[str]:
    sources = [
        f"{name}: N {' to '.join(map(exactly, s.n_params))}, D_F {' to '.join(map(exactly, s.d_f))}"
        for name, s in forecast.sources.items()
        if name != SCRATCH
    ]
    return [
        f"The plan answers up to a factor {N_REACH:g} beyond the sizes and {D_F_REACH:g} beyond the data of the fit"
        f" ({'; '.join(sources)}), and never beyond the losses of the from-scratch runs."
    ]


def as_text(forecast: Forecast, answers: list[Answer]) -> str:
    """The answers for a terminal."""
    blocks = [SIMULATED] if forecast.law.get("simulated") else []
    for answer in answers:
        rows = [list(answer.columns), *answer.table()] if answer.rows else []
        blocks.append("\n".join([answer.title, *(f"  {line}" for line in answer.sentences), *_aligned(rows)]))
    found = interval_sentences(forecast)
    for title, lines in (
        ("Limits", _limit_sentences(forecast)),
        ("In the 95 % intervals", found["holds"]),
        ("Not in them", found["lacks"]),
        ("Warnings of the fit", [f"{name}: {text}" for name, s in forecast.sources.items() for text in s.warnings]),
    ):
        if lines:
            blocks.append("\n".join([title, *(f"  {text}" for text in lines)]))
    return "\n\n".join(blocks)


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["    " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def as_json(forecast: Forecast, question: Question, answers: list[Answer]) -> dict[str, Any]:
    """The answers as data: the same sentences, and rows with intervals as `{estimate, low, high}`."""
    return {
        "simulated": bool(forecast.law.get("simulated")),
        "question": {
            "characters": question.characters,
            "documents": question.documents,
            "n_params": question.sizes,
            "target_loss": question.target,
            "prices": vars(question.prices),
            "pretraining_share": question.pretraining_share,
            "budget_flops": question.budget,
        },
        "answers": [{"title": answer.title, "sentences": answer.sentences, "rows": answer.rows} for answer in answers],
        "limits": limits(forecast),
        "intervals": interval_sentences(forecast),
        "warnings": {name: source.warnings for name, source in forecast.sources.items() if source.warnings},
    }


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"found {text}, expected a positive number")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"found {text}, expected a share from 0 to 1")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workflow_scripts.laws plan", description=__doc__.split("\n")[0])
    parser.add_argument("laws", type=Path, help="folder that fit wrote")
    in_hand = parser.add_mutually_exclusive_group(required=True)
    in_hand.add_argument("--characters", type=_positive, help="of your domain, in hand")
    in_hand.add_argument("--documents", type=_positive, help="of your domain, in hand, instead of their characters")
    parser.add_argument(
        "--document-characters", type=_positive, help="of one; default: the mean of the runs' documents"
    )
    parser.add_argument("--target-loss", type=_positive, help="nats per token on the test text of the runs")
    parser.add_argument("--n-params", type=_positive, nargs="+", help="sizes to choose from; default: the measured")
    parser.add_argument("--price-character", type=_positive, default=0.0, help="of collecting one more")
    parser.add_argument("--price-flop", type=_positive, default=0.0, help="of training")
    parser.add_argument("--price-gpu-hour", type=_positive, help="instead, with --flops-per-second")
    parser.add_argument("--flops-per-second", type=_positive, help="that one GPU reaches on these models")
    parser.add_argument("--price-token", type=_positive, default=0.0, help="served by the largest measured size")
    parser.add_argument("--served-tokens", type=_positive, default=0.0, help="over the life of the model")
    parser.add_argument("--pretraining-share", type=_share, default=1.0, help="charged here; 0: the weights exist")
    parser.add_argument("--budget", type=_positive, metavar="FLOPS", help="of pre-training and fine-tuning")
    parser.add_argument("--runs", type=Path, help="table of runs; default: LAWS/runs.parquet if it is there")
    parser.add_argument("--out", type=file_to_write, help="the answers as JSON")
    add_rename(parser)
    return parser


def _prices(given: argparse.Namespace) -> Prices:
    if (given.price_gpu_hour is None) != (given.flops_per_second is None):
        raise PlanError("--price-gpu-hour and --flops-per-second go together")
    if given.price_gpu_hour and given.price_flop:
        raise PlanError("--price-flop and --price-gpu-hour are two prices of one thing: give one")
    if bool(given.price_token) != bool(given.served_tokens):
        raise PlanError("--price-token and --served-tokens go together")
    flop = given.price_gpu_hour / 3600 / given.flops_per_second if given.price_gpu_hour else given.price_flop
    return Prices(given.price_character, flop, given.price_token, given.served_tokens)


def _table(given: argparse.Namespace) -> Path:
    return given.runs or given.laws / "runs.parquet"


def _runs(given: argparse.Namespace, forecast: Forecast) -> pd.DataFrame | None:
    if given.runs is None and not _table(given).is_file():
        return None
    runs, set_aside = finished(read_runs(_table(given), renaming(given.rename)))
    if is_simulated(runs) != bool(forecast.law.get("simulated")):
        kinds = ("simulated", "measured") if is_simulated(runs) else ("measured", "simulated")
        raise PlanError(
            f"{_table(given)}: its runs are {kinds[0]}, and the law of {given.laws} is {kinds[1]}: the two are never mixed;"
            " expected the table that the law was fitted to (--runs names it)"
        )
    if set_aside:
        print(set_aside_sentence(set_aside), file=sys.stderr)
    return runs


def _compute(runs: pd.DataFrame | None, forecast: Forecast) -> Compute | None:
    if runs is None:
        return None
    sources = [source for source in forecast.sources if source != SCRATCH]
    named = runs.assign(source=runs.init)
    priced = runs.index.isin(of_the_law(named[runs.arm == "finetune"], forecast.cells).index)
    return measure_compute(runs[priced | (runs.arm != "finetune")], forecast.cells.unit.iloc[0], sources)


def _priced(given: argparse.Namespace, runs: pd.DataFrame | None, forecast: Forecast) -> Compute | None:
    """`_compute`, with the name of the table in front of what is wrong with it."""
    try:
        return _compute(runs, forecast)
    except PlanError as error:
        raise PlanError(f"{_table(given)}: {error}") from error


def document_characters(runs: pd.DataFrame | None) -> float:
    """Mean characters of a document, over the sets of runs on whole documents.  Raises PlanError without any."""
    known = runs is not None and {"n_units", "d_chars_used"} <= set(runs.columns)
    whole = runs[(runs.unit == "document") & runs.arm.isin(["finetune", "scratch"])] if known else pd.DataFrame()
    if whole.empty:
        raise PlanError(
            "--documents: no table of runs on whole documents (unit document, with n_units and d_chars_used) tells how long"
            " one is; --document-characters says it"
        )
    return float(whole.d_chars_used.sum() / whole.n_units.sum())


def main(argv: list[str] | None = None) -> None:
    given = _parser().parse_args(argv)
    try:
        prices = _prices(given)
        forecast = read_forecast(given.laws)
        sizes = tuple(sorted(set(given.n_params or forecast.sizes)))
        asks_for_length = given.documents and not given.document_characters
        runs = _runs(given, forecast) if prices.flop or given.budget or asks_for_length else None
        characters = given.characters
        if given.documents:
            characters = given.documents * (given.document_characters or document_characters(runs))
        question = Question(
            characters, sizes, given.target_loss, prices, given.pretraining_share, given.budget, given.documents
        )
        compute = _priced(given, runs, forecast) if prices.flop or given.budget else None
        answers = plan(forecast, question, compute)
    except (PlanError, RunsError) as error:
        raise SystemExit(str(error)) from error
    print(as_text(forecast, answers))
    if given.out:
        write_json(given.out, as_json(forecast, question, answers))


if __name__ == "__main__":
    main()

"""What the data of a transfer law does not support, in sentences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from workflow_scripts.laws.bootstrap import ADVICE, Fitted, SourceFit
from workflow_scripts.laws.effective_data import Cells
from workflow_scripts.laws.loss_laws import FAILED

ENOUGH_CELLS = 20
ENOUGH_DECADES = {"D_F": 1.0, "N": 1.5}
LARGE_MISS = 2.0
LARGE_MISFIT = 2.0
WIDE_GAP = 10 ** (1 / 3) * 1.05
"""The from-scratch grid should have three points a decade or more."""
PARTS = {
    "pretrain": "of pre-trained models",
    "prefix": "of sets (shared by all runs on one)",
    "scratch_run": "of one from-scratch run",
}
TINY_TOKENS = 2.5
"""Bytes a token: GPT-2's has 3 and more on Python."""
CLEARLY, CLEARLY_NATS = 0.8, 0.001
"""A rival law is better where its error on held-out cells is this share of the transfer law's, and this much less."""
UNFITTED = ("not converged", FAILED)
WIDE_REACH = 3.0
"""A factor that D_T may be off by ten times beyond the cells."""


def cautions(fitted: Fitted, fit: SourceFit, cells: pd.DataFrame, summary: dict[str, Any]) -> Iterator[str]:
    """Sentences on a fitted law, whose entry in `transfer_law.json` is `summary` and whose cells are `cells`."""
    known = fitted.cells[fitted.unit].noise.known
    if known and _holds_zero(summary["beta"]):
        yield "The interval of beta holds 0: these cells do not show that transfer grows with model size."
    if known and _holds_zero(summary["alpha"]):
        yield "The interval of alpha holds 0: these cells do not show how transfer changes with D_F."
    if len(cells) < ENOUGH_CELLS:
        yield f"The fit rests on {len(cells)} cells, fewer than {ENOUGH_CELLS}."
    for name, values in {"D_F": cells.d_f, "N": cells.n_params}.items():
        decades = float(np.log10(values.max() / values.min()))
        if decades < ENOUGH_DECADES[name] - 1e-9:
            yield f"The fit spans {decades:.2f} decades of {name}, fewer than {ENOUGH_DECADES[name]:g}."
    yield from limits(fitted, fit.source, cells)
    if fit.source in fitted.without_p:
        yield fitted.without_p[fit.source].words
    if fit.best.status != "ok":
        yield f"The optimum is {fit.best.status}: the coefficients are not to be trusted; more cells or sizes are needed."
    if known and fit.squares > LARGE_MISFIT * fit.expected_squares and fit.extra_deviation > 0:
        yield (
            f"Cells scatter about the law by {np.expm1(fit.extra_deviation):.0%} of D_E beyond what seeds explain:"
            " the law is not the whole story here."
        )
    yield from _unsure_estimators(summary)
    if known:
        yield from _unsure_draws(summary)
    yield from _prediction(summary)
    if known:
        yield from _reach(summary)


def _unsure_draws(summary: dict[str, Any]) -> Iterator[str]:
    number, unfinished, undefined, on_a_bound = summary["draws"].values()
    if unfinished > number // 100:
        yield f"{unfinished} of {number} draws did not converge."
    if undefined > number // 40:
        yield (
            f"In {undefined} of {number} draws too few cells lie inside the from-scratch curves for a law: ends of intervals"
            " may be unknown."
        )
    if on_a_bound > number // 40:
        yield f"{on_a_bound} of {number} draws end on a bound of the search: ends of intervals there are unknown."
    for name, other in summary["estimators"].items():
        if (undefined := other["draws"]["undefined"]) and other["status"] != "not converged":
            yield f"The estimator {name} is undefined in {undefined} of {number} draws."


def _unsure_estimators(summary: dict[str, Any]) -> Iterator[str]:
    for name, other in summary["estimators"].items():
        if other["status"] == "not converged":
            yield f"The estimator {name} did not converge, so it has no coefficients: {ADVICE}."
        if other["status"] == "on a bound":
            yield f"The estimator {name} ends on a bound of its search: its coefficients rest on little."


def _prediction(summary: dict[str, Any]) -> Iterator[str]:
    for axis, name in {"size": "largest_size", "D_F": "largest_d_f"}.items():
        found = summary["predictions"][name]
        miss, status = found["error_factor"], found["status"]
        if miss is None:
            unmeasured = ": all its D_E are limits" if found["d_e_error_factor"] is None else ""
            why = unmeasured if status == "ok" else f": the fit to those {status_in_words(status)}"
            yield f"The largest {axis} could not be predicted from the smaller ones{why}."
            continue
        if miss > LARGE_MISS:
            yield f"Fitted to the smaller {axis}s, the law misses D_T of the largest by a factor {miss:.2f}."
        if status == "on a bound":
            yield f"Fitted to the smaller {axis}s, the law ends on a bound of its search: what it predicts rests on little."
    axis_of_p = summary.get("axis_of_p")
    if axis_of_p and axis_of_p["status"] == "on a bound":
        yield "The law over all P ends on a bound of its search: its exponents rest on little."
    yield from _lost_refits(summary["alternatives"]["laws"], "")
    yield from _lost_refits(axis_of_p["alternatives"]["laws"] if axis_of_p else {}, "Over all P: ")
    judged = {
        name: law
        for name, law in summary["alternatives"]["laws"].items()
        if law["status"] not in UNFITTED and not law["held_out"]["each_cell"]["n_on_a_bound"]
    }
    errors = {name: law["held_out"]["each_cell"]["rms_nats"] for name, law in judged.items()}
    known = {name: error for name, error in errors.items() if error is not None}
    best = min(known, key=known.__getitem__, default="transfer_law")
    own = known.get("transfer_law")
    if own is not None and known[best] < min(CLEARLY * own, own - CLEARLY_NATS):
        yield (
            f"Cells that are left out one at a time are predicted better by {summary['alternatives']['laws'][best]['equation']}:"
            f" {known[best]:.3f} nats off, where the transfer law is {own:.3f} off."
        )


def _reach(summary: dict[str, Any]) -> Iterator[str]:
    for axis, name in {"N": "n_params", "D_F": "d_f"}.items():
        factor = summary["reach"][name]["interval_factor_at_10x"]
        if factor is None or factor > WIDE_REACH:
            spans = "without limit" if factor is None or factor > 1e6 else f"a factor {factor:.2g}"
            yield f"Ten times beyond the largest {axis} of the fit, the 95 % interval of D_T spans {spans}."


def status_in_words(status: str) -> str:
    return f"has {status}" if status == "too few cells" else f"is {status}"


def _lost_refits(laws: dict[str, Any], where: str) -> Iterator[str]:
    """Rival laws without a verdict, because a fit could not be made, or with one that rests on little."""
    for law in laws.values():
        lost, bound = (sum(error[n] for error in law["held_out"].values()) for n in ("n_failed", "n_on_a_bound"))
        if law["status"] in UNFITTED:
            yield f"{where}{law['equation']} could not be fitted to the cells. {' '.join(law['problems'])}".rstrip()
            continue
        if lost:
            yield f"{where}{law['equation']} could not be fitted to {lost} parts of the cells: it is not judged there."
        if bound:
            yield (
                f"{where}{law['equation']} ends on a bound of its search on {bound} parts of the cells: its errors there mean"
                " little."
            )


def _holds_zero(interval: dict[str, float | None]) -> bool:
    """Whether 0 cannot be excluded; an unknown end excludes nothing, and without either there is no interval."""
    low, high = interval["low"], interval["high"]
    if low is None and high is None:
        return False
    return not (low is not None and low > 0) and not (high is not None and high < 0)


def limits(fitted: Fitted, source: str, cells: pd.DataFrame) -> Iterator[str]:
    """Sentences on what the cells of the fit are, whether or not they are enough for a law."""
    regimes = {name: int((cells.regime == name).sum()) for name in ("low", "medium", "high", "unknown")}
    if elsewhere := len(cells) - regimes["low"]:
        counts = ", ".join(f"{name} {n}" for name, n in regimes.items() if n)
        yield (
            f"{elsewhere} of {len(cells)} cells of the fit are not known to be in the low-data regime, where the paper"
            f" fits its law ({counts})."
        )
    if outside := int((cells.censored != "none").sum()):
        yield f"{outside} of {len(cells)} cells of the fit are outside the from-scratch curves and count as limits."
    if at_budget := int(cells.lower_bound.sum()):
        yield f"{at_budget} of {len(cells)} cells of the fit stopped at their budget: their D_E count as lower limits."
    if bounds := int(cells.upper_bound.sum()):
        yield (
            f"{bounds} of {len(cells)} cells of the fit are read from a from-scratch run at its budget: their D_E count as"
            " upper limits."
        )
    lost = fitted.without_curve[fitted.without_curve.init == source]
    if len(lost):
        places = ", ".join(f"{len(of)} of N = {n:,} on {unit}" for (unit, n), of in lost.groupby(["unit", "n_params"]))
        yield (
            f"{len(lost)} fine-tuned cells were left out: with fewer than 3 from-scratch d_chars there is no curve to read"
            f" them against ({places})."
        )
    yield from _power_laws(fitted)
    if wide := int((cells.d_e_gap > WIDE_GAP).sum()):
        yield (
            f"{wide} of {len(cells)} cells of the fit are read between from-scratch D that differ by up to a factor"
            f" {cells.d_e_gap.max():.2g}; three points a decade or more are needed there."
        )
    yield from _pretraining_lengths(fitted, source, cells)
    if hurt := int((cells.verdict == "hurts").sum()):
        yield f"In {hurt} of {len(cells)} cells of the fit pre-training hurts (ossification), which no such law describes."
    own = fitted.cells[fitted.unit]
    noise = own.noise
    yield from _pretrained_models(own, source)
    if not noise.known:
        yield (
            "One seed a cell, and no from-scratch curve of more than 3 points: nothing tells the noise, so no interval is"
            " known; a second seed or a fourth from-scratch d_chars is needed."
        )
    elif not noise.from_seeds:
        yield (
            "One seed a cell: the noise is taken from the scatter of from-scratch losses about smooth curves, as if it were"
            " each run's own. What all sizes share on one data set cannot be seen then, and 95 % intervals of k and alpha"
            " may hold the truth in no more than two of three experiments; a second seed tells."
        )
    lacking, number = fitted.without_bits
    if lacking:
        yield f"{lacking} of {number} runs have no test_bits_per_byte: D_E was not read in bits per byte."
    for component, ratio in noise.beyond_search.items():
        yield (
            f"The noise {PARTS[component]} lies at the end of its search, {ratio:g} times that of one fine-tuned run: it may"
            " be beyond, and intervals then are wrong."
        )
    yield from _small_vocabulary(fitted.bytes_per_token)


def _pretraining_lengths(fitted: Fitted, source: str, cells: pd.DataFrame) -> Iterator[str]:
    """Where P differs between the sizes of a law, or between the sources that are compared."""
    lengths = cells.groupby("pretrain_tokens").n_params.unique()
    if len(lengths) > 1:
        sizes = "; ".join(f"{p:,} at N = {', '.join(f'{n:,}' for n in sorted(ns))}" for p, ns in lengths.items())
        yield (
            f"The tokens of pre-training, P, differ between sizes ({sizes}), so beta holds its effect beside that of N;"
            " one P that all sizes were pre-trained on tells N alone."
        )
    compared = [law.source for law in fitted.laws]
    of_source = {other: sorted(set(fitted.in_fit(other).pretrain_tokens.dropna())) for other in compared}
    if source in compared and len({tuple(ps) for ps in of_source.values() if ps}) > 1:
        told = ", ".join(f"{' and '.join(f'{p:,}' for p in ps)} for {other}" for other, ps in of_source.items() if ps)
        yield (
            f"The tokens of pre-training, P, differ between sources ({told}), so the differences of k hold its effect beside"
            " that of the source."
        )


def _pretrained_models(cells: Cells, source: str) -> Iterator[str]:
    """How many models the seeds of a source start from, and what its intervals then are conditional on."""
    number = cells.models.get(source, 2)
    if number is None:
        yield (
            "No pretrain or zero_shot rows say which pre-trained model a seed starts from: each is taken to have its own."
            " With one checkpoint for all, every interval is conditional on its weights; its zero_shot loss under one seed"
            " would say so."
        )
    elif number < 2 and cells.noise.known:
        if cells.noise.deviations()["pretrain"] > 0:
            yield (
                "One pre-training seed: what another would have given is not seen; how much pre-trained models scatter is"
                " taken from the other sources."
            )
        else:
            yield "One pre-training seed: every interval is conditional on the pre-trained weights."


def _power_laws(fitted: Fitted) -> Iterator[str]:
    laws = [(f"{n_params:,}", law) for n_params, law in fitted.cells[fitted.unit].power_laws() if law is not None]
    if bound := [n_params for n_params, law in laws if law.on_bound]:
        yield (
            f"The power law through the from-scratch curve of N = {', '.join(bound)} ends on a bound of its search: D(N) and"
            " the parametric D_E there rest on little."
        )
    if endless := [n_params for n_params, law in laws if law.without_floor and not law.on_bound]:
        yield f"The from-scratch curve of N = {', '.join(endless)} needs no floor: its D(N) lies beyond any data."


def _small_vocabulary(bytes_per_token: float | None) -> Iterator[str]:
    if bytes_per_token is not None and bytes_per_token < TINY_TOKENS:
        yield (
            f"A token is {bytes_per_token:.1f} bytes: a tiny vocabulary, so losses in nats per token, k and N without"
            " embeddings are not those of models with a usual one."
        )

"""The planner's answers: each a title, the sentences a person would say, and the rows behind them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from workflow_scripts.laws.cautions import status_in_words
from workflow_scripts.laws.planning.forecast import SCRATCH, Forecast, PlanError, interval, people
from workflow_scripts.laws.planning.pilot import pilots

SURE = 0.975
"""The share of draws from which on the planner says `sure`."""
TRUSTED = 0.8
"""The share of held-out cells inside a pilot's 95 % interval below which the planner warns of it."""


@dataclass(frozen=True)
class Prices:
    """In one currency, whichever it is."""

    character: float = 0.0
    """Of a further character of the domain."""
    flop: float = 0.0
    """Of training."""
    token: float = 0.0
    """Of one token served by the largest measured size; other sizes cost in proportion to N."""
    served_tokens: float = 0.0
    """Over the life of the model."""


@dataclass(frozen=True)
class Question:
    """What a user has and wants."""

    characters: float
    """Of the domain, in hand."""
    sizes: tuple[float, ...]
    """N of the models to choose from."""
    target: float | None = None
    """Loss in nats per token."""
    prices: Prices = Prices()
    pretraining_share: float = 1.0
    """Of the compute of pre-training that is charged here: 0 if the weights exist."""
    budget: float | None = None
    """FLOPs of pre-training (its share) and fine-tuning together."""
    documents: float | None = None
    """How many documents the characters are, where they were asked about so."""

    @property
    def data(self) -> str:
        """`20,000 characters`, or `50 documents (20,000 characters)`."""
        characters = f"{people(self.characters)} characters"
        return characters if self.documents is None else f"{people(self.documents)} documents ({characters})"


@dataclass(frozen=True)
class Answer:
    title: str
    sentences: list[str]
    rows: list[dict[str, Any]]
    """As in the JSON: intervals are `{estimate, low, high}`, null where unknown; `lower_than` as in `Forecast.loss_found`."""
    columns: dict[str, Callable[[dict[str, Any]], str]] = field(default_factory=dict)
    """Heading -> text of a row, for tables."""

    def table(self) -> list[list[str]]:
        return [[text(row) for text in self.columns.values()] for row in self.rows]


def said(found: dict[str, float | None], text: Callable[[float], str] = people) -> str:
    """`3.34 (3.24 to 3.42)`; words where an end is not known, no interval where nothing is uncertain."""
    low, high = (None if found[end] is None else text(found[end]) for end in ("low", "high"))
    middle = "beyond the limits" if found["estimate"] is None else text(found["estimate"])
    if low == high:
        return middle if low or found["estimate"] is None else f"{middle} (interval unknown)"
    return (
        f"{middle} ({f'at most {high}' if low is None else f'at least {low}' if high is None else f'{low} to {high}'})"
    )


def nats(value: float) -> str:
    return f"{value:.2f}"


def size(n_params: float) -> str:
    return f"N = {n_params:,.0f}"


def initial(row: dict[str, Any]) -> str:
    """`english at N = 24,600` or `from scratch at N = 24,600`."""
    start = "from scratch" if row["source"] == SCRATCH else row["source"]
    return f"{start} at {size(row['n_params'])}"


def percent(value: float | None) -> str:
    return "not answered" if value is None else f"{100 * value:.0f} %"


def share_of(draws: np.ndarray, known: np.ndarray) -> float | None:
    """Of draws, (draws,), those in which it is so: an unknown draw counts against it, and None is known of none."""
    return float((draws & known).mean()) if known.any() else None


def in_draws(share: float | None) -> str:
    return f"in {'an unknown share' if share is None else percent(share)} of the draws"


def share_lowest(loss: np.ndarray, at_most: np.ndarray, way: int) -> float | None:
    """Share of the draws in which one of the ways, (ways, 1 + draws), has the lowest loss; `at_most` are upper bounds where
    a loss lies below its from-scratch curve.  A draw is known if the lowest bound lies below every other loss."""
    best = np.where(np.isnan(at_most), np.inf, at_most).argmin(axis=0)
    others = np.where(np.arange(len(loss))[:, None] == best, np.inf, loss)
    known = (loss < np.inf).all(axis=0) & (at_most.min(axis=0) <= others.min(axis=0))
    return share_of((best == way)[1:], known[1:])


def bound(row: dict[str, Any]) -> float | None:
    """What the loss of a row is, or what it is lower than, in nats per token; None if it has neither."""
    return row["loss"]["estimate"] if row["lower_than"] is None else row["lower_than"]


def loss_said(row: dict[str, Any]) -> str:
    """`3.34 (3.24 to 3.42)`, or `lower than 3.34 (at most 3.36)`."""
    if row["lower_than"] is None:
        return said(row["loss"], nats)
    return f"lower than {said(row['loss'] | {'estimate': row['lower_than']}, nats)}"


def also_below(rows: list[dict[str, Any]], best: dict[str, Any]) -> list[str]:
    """Of rows beside the best, those whose loss lies below their from-scratch runs: they are not ranked."""
    below = [
        f"{of(row)} (lower than {nats(row['lower_than'])})" for row in rows if row["lower_than"] and row is not best
    ]
    if not below:
        return []
    unknown = ": by how much is not known, so it may be the lowest."
    if best["lower_than"]:
        unknown = " too: which of them is the lowest is not known."
    return [f"The loss lies below the from-scratch runs {', '.join(below)}{unknown}"]


MODEL: dict[str, Callable[[dict[str, Any]], str]] = {
    "initial weights": lambda row: row["source"],
    "N": lambda row: f"{row['n_params']:,.0f}",
}


def reach(forecast: Forecast, question: Question) -> Answer:
    """Losses with the characters in hand, and how likely each size and source reaches the target.

    Raises PlanError if no source may be asked about so many characters.
    """
    rows = [_reached(forecast, question, source, n) for source in forecast.sources for n in question.sizes]
    if all(row["refused"] for row in rows if row["source"] != SCRATCH):
        raise PlanError(f"refused: {rows[0]['refused']}")
    columns = MODEL | {
        "loss, nats per token": lambda row: row["refused"] or loss_said(row),
        "bits per byte": lambda row: "" if row["bits_per_byte"] is None else said(row["bits_per_byte"], nats),
        "counts as characters": lambda row: "" if row["refused"] else said(row["counts_as"]),
    }
    if question.target is not None:
        columns |= {"reaches the target": lambda row: percent(row["probability_of_target"])}
    sentences = _best(forecast, question, [row for row in rows if not row["refused"]])
    if question.target is not None:
        sentences += _sizes_for(forecast, question, rows)
    sentences += _beyond(forecast, question)
    return Answer(f"With {question.data}", sentences, rows, columns)


def _reached(forecast: Forecast, question: Question, source: str, n_params: float) -> dict[str, Any]:
    nothing: dict[str, float | None] = dict.fromkeys(("estimate", "low", "high"))
    row = {"source": source, "n_params": n_params, "loss": nothing, "lower_than": None, "counts_as": nothing}
    row |= {"bits_per_byte": None, "probability_of_target": None}
    if refusal := forecast.refusal(source, n_params, question.characters):
        return row | {"refused": refusal}
    loss = forecast.loss(source, n_params, question.characters)
    row |= {"counts_as": interval(forecast.effective(source, n_params, question.characters))}
    if loss[0] == np.inf:
        low, high = forecast.curves.reach(n_params)
        return row | {"refused": f"D_E lies beyond the from-scratch runs of D = {people(low)} to {people(high)}"}
    row |= forecast.loss_found(n_params, loss) | {"refused": None}
    at_most = forecast.at_most(n_params, loss)
    if question.target is not None and question.target >= forecast.curves.lowest_loss(n_params)[0]:
        row["probability_of_target"] = share_of(at_most[1:] <= question.target, ~np.isnan(at_most[1:]))
    if (bits := forecast.bits_per_byte_of_a_nat) is not None:
        row["bits_per_byte"] = {end: None if value is None else bits * value for end, value in row["loss"].items()}
    return row


def _best(forecast: Forecast, question: Question, known: list[dict[str, Any]]) -> list[str]:
    """The lowest loss, and what stands next to it: from scratch, and other sources."""
    if not known:
        return ["Every forecast lies outside the from-scratch runs: nothing can be said."]
    best = min(known, key=bound)
    worth = f"as if there were {said(best['counts_as'])} characters"
    below = also_below(known, best)
    if best["lower_than"] is None:
        within = " within the from-scratch runs" if below else ""
        lowest = f"loss{within} is expected {of(best)}: {loss_said(best)} nats per token, {worth}."
    else:
        lowest = (
            f"loss lies below the from-scratch runs, by how much is not known: {of(best)} it is {loss_said(best)} nats per"
            f" token, {worth}."
        )
    sentences = [f"With {question.data} the lowest {lowest}", *below]
    for source in forecast.sources:
        others = [row for row in known if row["source"] == source and row["lower_than"] is None]
        if source == best["source"] or not others:
            continue
        other = min(others, key=bound)
        losses = np.stack([forecast.loss(row["source"], row["n_params"], question.characters) for row in (best, other)])
        at_most = np.stack(
            [forecast.at_most(row["n_params"], loss) for row, loss in zip((best, other), losses, strict=True)]
        )
        sentences.append(
            f"The lowest {of(other)} is {loss_said(other)}; {of(best)} it is lower"
            f" {in_draws(share_lowest(losses, at_most, 0))}."
        )
    return sentences


def of(row: dict[str, Any]) -> str:
    return initial(row) if row["source"] == SCRATCH else f"after {initial(row)}"


def _sizes_for(forecast: Forecast, question: Question, rows: list[dict[str, Any]]) -> list[str]:
    """The smallest size that reaches the target with each source: more likely than not, and surely."""
    sentences = []
    for source in dict.fromkeys(row["source"] for row in rows):
        answered = [row for row in rows if row["source"] == source and not row["refused"]]
        decided = [row for row in answered if question.target >= forecast.curves.lowest_loss(row["n_params"])[0]]
        likely = [row for row in decided if bound(row) <= question.target]
        sure = [row for row in likely if (row["probability_of_target"] or 0) >= SURE]
        start = "From scratch" if source == SCRATCH else f"After {source}"
        goal = f"{nats(question.target)} nats per token"
        if not decided:
            sentences.append(f"{start}, {goal} lies outside the from-scratch runs of every size: not answered.")
        elif not likely:
            sentences.append(f"{start}, no size here is expected to reach {goal} with the data in hand.")
        else:
            first = likely[0]
            sentences.append(
                f"{start}, the smallest size expected to reach {goal} is {size(first['n_params'])}"
                f" ({in_draws(first['probability_of_target'])}); "
                + (f"{size(sure[0]['n_params'])} is" if sure else "none here is")
                + f" sure to ({100 * SURE:g} %)."
            )
        smaller = answered[: answered.index(likely[0])] if likely else answered
        unknown = [
            size(row["n_params"]) for row in smaller if row["lower_than"] and row["lower_than"] > question.target
        ]
        if unknown:
            sentences.append(
                f"{start}, whether {' or '.join(unknown)} reaches it is not known: the loss lies below the from-scratch runs,"
                " and those end above the target."
            )
    return sentences


def _beyond(forecast: Forecast, question: Question) -> list[str]:
    """Where the question goes beyond the cells of a fit: how far off the fit was there when it had to predict."""
    sentences = []
    for source, cells in forecast.cells[forecast.cells.in_fit].groupby("source"):
        for name, asked, largest, left_out in (
            ("D_F", question.characters, cells.d_f.max(), "largest_d_f"),
            ("N", max(question.sizes), cells.n_params.max(), "largest_size"),
        ):
            missed = forecast.law["sources"][source]["predictions"][left_out]["d_e_error_factor"]
            if asked > largest and missed is not None:
                sentences.append(
                    f"{name} = {asked:,.0f} is beyond the largest fine-tuned after {source}, {largest:,.0f}: fitted without"
                    f" that {name}, the law misses D_E there by a factor {missed:.2f}."
                )
    return sentences


def exchange(forecast: Forecast, question: Question) -> Answer:
    """What a larger model is worth in characters: where the smaller one has the loss of the larger."""
    sizes = question.sizes
    steps = dict.fromkeys([*pairwise(sizes), (sizes[len(sizes) // 2], sizes[-1])])
    rows = []
    for source in forecast.sources:
        for small, large in steps:
            if small == large or any(forecast.refusal(source, n, question.characters) for n in (small, large)):
                continue
            loss = forecast.loss(source, large, question.characters)
            if np.isfinite(loss[0]):
                more = forecast.data_needed(source, small, loss) - question.characters
                rows.append({"source": source, "n_params": small, "larger": large, "more_characters": interval(more)})
    columns = MODEL | {
        "larger N": lambda row: f"{row['larger']:,.0f}",
        "worth more characters": lambda row: said(row["more_characters"]),
    }
    last = {row["source"]: row for row in rows if row["source"] != SCRATCH}
    sentences = [_step(row, question) for row in last.values()]
    sentences = sentences or ["No two sizes can be compared within the limits."]
    return Answer("More data or a larger model", sentences, rows, columns)


def _step(row: dict[str, Any], question: Question) -> str:
    worth = row["more_characters"]
    opening = f"After {initial(row)}, going to {size(row['larger'])}"
    if worth["estimate"] is None:
        return f"{opening} is worth more characters than the limits of this plan allow to say."
    beside = f"beside the {people(question.characters)}"
    if worth["estimate"] <= 0:
        buy = f"is not expected to lower the loss: it is worth {said(worth)} characters {beside}."
    else:
        buy = (
            f"lowers the loss as much as {said(worth)} more characters {beside}:"
            " the larger model is the better buy if it costs less than they do."
        )
    return f"{opening} {buy}{_doubt(worth)}"


def _doubt(worth: dict[str, float | None]) -> str:
    """What the interval says of the sign of the estimate."""
    low = -np.inf if worth["low"] is None else worth["low"]
    high = np.inf if worth["high"] is None else worth["high"]
    may, end, name = ("lower it", high, "upper") if worth["estimate"] <= 0 else ("be worth nothing", low, "lower")
    if high < 0:
        return " It makes the loss higher: the whole interval lies below 0."
    if np.isinf(end):
        return f" It may {may}: the {name} end of the interval is unknown."
    return f" It may {may}: the interval holds 0." if low <= 0 <= high else ""


def pilot(forecast: Forecast) -> Answer:
    """How far the law of a small part of the measured cells is off at the others."""
    tried = [(source, found) for source in forecast.sources if source != SCRATCH for found in pilots(forecast, source)]
    told = ("d_f", "largest_d_f", "n_params", "status", "starts", "draws_unknown")
    rows = [
        {"source": source, "sizes": len(found["n_params"]), "predicts": what}
        | {name: found[name] for name in told}
        | score
        for source, found in tried
        for what, score in found["missed"].items()
    ]
    columns = {
        "pilot": lambda row: f"{row['source']}, D_F {' and '.join(map(people, row['d_f']))}, {row['sizes']} sizes",
        "predicts": lambda row: f"{row['predicts']} ({row['n_cells']} cells)",
        "D_E missed by a factor": lambda row: f"{row['d_e_factor']:.2f}",
        "loss missed by, nats": lambda row: "unknown" if row["loss_error"] is None else f"{row['loss_error']:.3f}",
        "inside its interval": lambda row: (
            "unknown" if row["inside"] is None else f"{row['inside']} of {row['n_cells']}"
        ),
    }
    sentences = [_pilot_sentence(row) for row in rows if row["predicts"] == "the largest set"]
    sentences += [
        f"The fit of a pilot of {source} at {len(found['n_params'])} sizes"
        f" {status_in_words(found['status'])}{_agreed(found['starts'])}: "
        + ("it predicts nothing." if not found["missed"] else "its cells are too few or too alike.")
        for source, found in tried
        if found["status"] != "ok"
    ]
    return Answer("How far a pilot carries", sentences or ["Too few data sizes to set a pilot apart."], rows, columns)


def _agreed(starts: dict[str, int] | None) -> str:
    return "" if starts is None else f" ({starts['agreed']} of {starts['tried']} starts agree)"


def _pilot_sentence(row: dict[str, Any]) -> str:
    shares = " and ".join(percent(d_f / row["largest_d_f"]) for d_f in row["d_f"])
    loss = "" if row["loss_error"] is None else f" and its loss to {nats(row['loss_error'])} nats"
    held = "its 95 % interval is unknown"
    if row["inside"] is not None:
        too_narrow = row["inside"] < TRUSTED * row["n_cells"]
        held = f"{row['inside']} of {row['n_cells']} cells lie in its 95 % interval"
        held += ", which is too narrow to plan with" if too_narrow else ""
    return (
        f"A pilot of {row['source']} on {shares} of {people(row['largest_d_f'])} characters at {row['sizes']} sizes predicts"
        f" D_E of the whole to a factor {row['d_e_factor']:.2f}{loss}; {held}."
    )

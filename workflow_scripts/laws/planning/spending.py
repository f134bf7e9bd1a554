"""What a target loss costs, and what a compute budget buys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from workflow_scripts.laws import percentiles
from workflow_scripts.laws.planning.answers import (
    MODEL,
    Answer,
    Prices,
    Question,
    also_below,
    bound,
    in_draws,
    initial,
    loss_said,
    nats,
    of,
    percent,
    said,
    share_lowest,
    share_of,
    size,
)
from workflow_scripts.laws.planning.compute import Compute
from workflow_scripts.laws.planning.forecast import P_REACH, SCRATCH, Forecast, interval, people

DRAWN = ("pretrain_tokens", "pretraining_share_of_flops")
LENGTHS = 25
"""Lengths of pre-training that a budget weighs, evenly in logarithms over what was measured and a little beyond."""


def costs(forecast: Forecast, question: Question, compute: Compute | None) -> Answer:
    """The data that the target takes at each size, and with prices what the whole costs."""
    drawn = {
        (source, n): _cost(forecast, question, compute, source, n)
        for source in forecast.sources
        for n in question.sizes
    }
    rows = [
        {"source": source, "n_params": n}
        | ({"refused": parts} if isinstance(parts, str) else _intervals(parts) | {"refused": None})
        for (source, n), parts in drawn.items()
    ]
    columns = MODEL | {
        "characters in all": lambda row: row["refused"] or said(row["needed"]),
        "to be collected": lambda row: "" if row["refused"] else said(row["collect"]),
    }
    answered = [row for row in rows if not row["refused"]]
    if question.prices != Prices():
        for name in ("data", "training", "use", "total"):
            columns[name] = lambda row, name=name: "" if row["refused"] else said(row[name])
        sentences = _cheapest(question, answered, drawn)
    else:
        sentences = _least_data(question, answered)
    if question.prices.flop:
        sentences += compute.cautions()
    return Answer(f"To reach {nats(question.target)} nats per token", sentences, rows, columns)


def _cost(
    forecast: Forecast, question: Question, compute: Compute | None, source: str, n_params: float
) -> dict[str, np.ndarray] | str:
    """Draws (1 + draws,) of the characters needed and of each part of the price, or why there are none."""
    if refusal := forecast.refusal(source, n_params, question.characters):
        return refusal
    if question.target < (lowest := forecast.curves.lowest_loss(n_params)[0]):
        return f"the from-scratch runs of this size end at {nats(lowest)} nats"
    needed = forecast.data_needed(source, n_params, question.target)
    collect = np.maximum(needed - question.characters, 0.0)
    prices, nothing = question.prices, np.zeros(len(needed))
    training = nothing
    if compute is not None and prices.flop:
        used = np.minimum(np.maximum(needed, question.characters), forecast.sources[source].d_f[1])
        flops = question.pretraining_share * compute.pretraining(source, n_params)
        training = prices.flop * (flops + compute.training(source, n_params, used))
    share = n_params / max(forecast.sizes)
    parts = {
        "data": prices.character * collect if prices.character else nothing,
        "training": np.where(np.isinf(collect), np.inf, training),
        "use": nothing + prices.token * prices.served_tokens * share,
    }
    return {"needed": needed, "collect": collect} | parts | {"total": sum(parts.values())}


def _intervals(parts: dict[str, np.ndarray]) -> dict[str, Any]:
    return {name: interval(values) for name, values in parts.items()}


def _cheapest(question: Question, rows: list[dict[str, Any]], drawn: dict[Any, Any]) -> list[str]:
    """The cheapest way; the data in hand against collecting more; and the cheapest way of every other source."""
    priced = [row for row in rows if row["total"]["estimate"] is not None]
    if not priced:
        return ["No size reaches the target with any amount of data within the limits."]

    def total(row: dict[str, Any]) -> float:
        return row["total"]["estimate"]

    def cheaper(first: dict[str, Any], second: dict[str, Any]) -> str:
        a, b = (drawn[row["source"], row["n_params"]]["total"][1:] for row in (first, second))
        return in_draws(share_of(a < b, ~(np.isnan(a) | np.isnan(b))))

    best = min(priced, key=total)
    parts = ", ".join(f"{people(best[name]['estimate'])} {name}" for name in ("data", "training", "use"))
    sentences = [
        f"The cheapest way is {initial(best)} with {said(best['collect'])} more characters:"
        f" {said(best['total'])} in all ({parts})."
    ]
    in_hand = [row for row in priced if row["collect"]["estimate"] == 0]
    more = [row for row in priced if row["collect"]["estimate"] > 0]
    if in_hand and more:
        kept, collected = min(in_hand, key=total), min(more, key=total)
        first, second = sorted((kept, collected), key=total)
        sentences.append(
            f"More data or a larger model? With the data in hand the cheapest is {initial(kept)}, {said(kept['total'])}"
            f" in all; with {said(collected['collect'])} more characters it is {initial(collected)},"
            f" {said(collected['total'])}. {'Collecting' if first is collected else 'The data in hand'} is cheaper"
            f" {cheaper(first, second)}."
        )
    elif more:
        sentences.append("No size here is expected to reach it with the data in hand: more must be collected.")
    else:
        sentences.append("No more data is needed at any size here.")
    for source in dict.fromkeys(row["source"] for row in priced):
        if source != best["source"]:
            other = min((row for row in priced if row["source"] == source), key=total)
            sentences.append(
                f"The cheapest way {of(other)} costs {said(other['total'])}; {of(best)} it is cheaper {cheaper(best, other)}."
            )
    return sentences


def _least_data(question: Question, rows: list[dict[str, Any]]) -> list[str]:
    sentences = []
    for source in dict.fromkeys(row["source"] for row in rows):
        known = [row for row in rows if row["source"] == source and row["needed"]["estimate"] is not None]
        if known:
            row = min(known, key=lambda row: row["needed"]["estimate"])
            sentences.append(
                f"The least data {of(row)}: {said(row['needed'])} characters, of which"
                f" {said(row['collect'])} are to be collected."
            )
    return sentences or ["No size reaches the target with an amount of data that can be named within the limits."]


def budget(forecast: Forecast, question: Question, compute: Compute) -> Answer:
    """The best use of a number of FLOPs on pre-training and fine-tuning with at most the characters in hand."""
    drawn = [
        way
        for source in forecast.sources
        for n in question.sizes
        if (way := _within_budget(forecast, question, compute, source, n))
    ]
    rows = [_row(forecast, way) for way in drawn]
    columns = MODEL | {
        "tokens of pre-training": lambda row: said(row["pretrain_tokens"]),
        "characters used": lambda row: people(row["d_f"]),
        "pre-training, share of FLOPs": lambda row: said(row["pretraining_share_of_flops"], percent),
        "FLOPs": lambda row: people(row["flops"]),
        "loss, nats per token": loss_said,
    }
    known = [row for row in rows if bound(row) is not None]
    title = f"Within {people(question.budget)} FLOPs"
    if not known:
        return Answer(title, ["No size and source fit into the budget within the limits of this plan."], rows, columns)
    best = min(known, key=bound)
    losses = np.stack([way["loss"] for way, row in zip(drawn, rows, strict=True) if bound(row) is not None])
    at_most = np.stack([forecast.at_most(row["n_params"], loss) for row, loss in zip(known, losses, strict=True)])
    below = also_below(known, best)
    sentences = [_lowest(question, best, bool(below))]
    if not below:
        share = share_lowest(losses, at_most, known.index(best))
        sentences = [f"{sentences[0]} It is the lowest {in_draws(share)}."]
    if best["source"] != SCRATCH:
        share = _or_more(best["pretraining_share_of_flops"], percent) or "an unknown share"
        sentences.append(
            f"There pre-training takes {share} of the compute, and fine-tuning the rest. {_length(forecast, best)}"
        )
    sentences += [
        f"The best from scratch has {loss_said(row)}, at {size(row['n_params'])}."
        for row in sorted(known, key=bound)
        if row["source"] == SCRATCH != best["source"]
    ][:1]
    sentences += below + compute.cautions()
    return Answer(title, sentences, rows, columns)


def _lowest(question: Question, best: dict[str, Any], others_below: bool) -> str:
    flops, way = f"for {people(question.budget)} FLOPs", f"{of(best)} with {people(best['d_f'])} characters"
    if best["lower_than"] is None:
        within = " within the from-scratch runs" if others_below else ""
        return f"The lowest loss{within} {flops} is expected {way}: {loss_said(best)} nats per token."
    return (
        f"The lowest loss {flops} lies below the from-scratch runs, by how much is not known: {way} it is"
        f" {loss_said(best)} nats per token."
    )


def _row(forecast: Forecast, way: dict[str, Any]) -> dict[str, Any]:
    """Intervals instead of draws; where only a lower bound of the best length is known, they end below alone."""
    row = way | forecast.loss_found(way["n_params"], way["loss"])
    beyond = row.pop("beyond")
    for name in DRAWN:
        found = percentiles.interval(way[name][0], way[name][1:], above=beyond[1:])
        row[name] = found | {"estimate": None, "high": None} if beyond[0] else found
    return row


def _or_more(found: dict[str, float | None], text: Callable[[float], str] = people) -> str | None:
    """As `said`; `at least 12,100,000` where the lower end alone is known, and None without."""
    if found["estimate"] is not None:
        return said(found, text)
    return None if found["low"] is None else f"at least {text(found['low'])}"


def _length(forecast: Forecast, best: dict[str, Any]) -> str:
    limits = forecast.sources[best["source"]].pretrain_tokens
    if limits is None:
        return "All runs were pre-trained equally long: whether another length would be better, they cannot tell."
    low, high = limits
    tokens = best["pretrain_tokens"]
    edge, beyond = "", ""
    if tokens["estimate"] is None:
        beyond = ", because longer lies beyond the from-scratch runs"
    elif np.isclose(tokens["estimate"], limits).any():
        edge = " That is an end of what was weighed."
    return (
        f"It is pre-trained on {_or_more(tokens) or 'an unknown number of'} tokens{beyond}; {people(low)} to {people(high)}"
        f" were weighed, up to a factor {P_REACH:g} beyond the longest that was measured.{edge}"
    )


def _within_budget(
    forecast: Forecast, question: Question, compute: Compute, source: str, n_params: float
) -> dict[str, Any] | None:
    """The length of pre-training with the lowest loss, expected and in every draw, and the largest data set that the
    budget pays for beside the expected one; None if that lies outside the limits.  What is `DRAWN`, the loss and `beyond`
    are (1 + draws,).  Where several lengths lie below the from-scratch curve, which of them is best is not known: the
    shortest is named, and `beyond` says so.  Weights that exist are as long pre-trained as they are."""
    limits = forecast.sources[source].pretrain_tokens
    if limits is None or not question.pretraining_share:
        lengths = np.ones(1)
    else:
        lengths = np.geomspace(*limits, LENGTHS) / compute.pretrain_tokens[source]
    ways = [way for longer in lengths if (way := _spent(forecast, question, compute, source, n_params, longer))]
    if not ways:
        return None
    losses = np.stack([way["loss"] for way in ways])
    best = np.where(np.isnan(losses), np.inf, losses).argmin(axis=0)
    loss = np.take_along_axis(losses, best[None], axis=0)[0]
    chosen = {name: np.array([way[name] for way in ways])[best] for name in DRAWN}
    if len(ways) > 1:
        chosen = {name: np.where(loss < np.inf, values, np.nan) for name, values in chosen.items()}
    return ways[best[0]] | chosen | {"loss": loss, "beyond": (loss == -np.inf) & (len(ways) > 1)}


def _spent(
    forecast: Forecast, question: Question, compute: Compute, source: str, n_params: float, longer: float
) -> dict[str, Any] | None:
    """What the budget pays for beside `longer` times the pre-training of the law."""
    before = question.pretraining_share * compute.pretraining(source, n_params, longer)
    d_f = np.geomspace(forecast.sources[source].d_f[0], question.characters, 200)
    affordable = d_f[before + compute.training(source, n_params, d_f) <= question.budget]
    if not len(affordable) or forecast.refusal(source, n_params, affordable[-1]):
        return None
    used = float(affordable[-1])
    flops = before + float(compute.training(source, n_params, np.array([used]))[0])
    return {
        "source": source,
        "n_params": n_params,
        "pretrain_tokens": longer * compute.pretrain_tokens.get(source, 0.0),
        "d_f": used,
        "flops": flops,
        "pretraining_share_of_flops": before / flops,
        "loss": forecast.loss(source, n_params, used, longer),
    }

"""What a target loss costs, and what a compute budget buys."""

from __future__ import annotations

from typing import Any

import numpy as np

from workflow_scripts.laws.planning.answers import (
    MODEL,
    Answer,
    Prices,
    Question,
    in_draws,
    initial,
    nats,
    of,
    percent,
    said,
    share_of,
    size,
)
from workflow_scripts.laws.planning.compute import Compute
from workflow_scripts.laws.planning.forecast import P_REACH, SCRATCH, Forecast, interval, people

DRAWN = ("loss", "pretrain_tokens", "pretraining_share_of_flops")
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
    rows = [way | {name: interval(way[name]) for name in DRAWN} for way in drawn]
    columns = MODEL | {
        "tokens of pre-training": lambda row: said(row["pretrain_tokens"]),
        "characters used": lambda row: people(row["d_f"]),
        "pre-training, share of FLOPs": lambda row: said(row["pretraining_share_of_flops"], percent),
        "FLOPs": lambda row: people(row["flops"]),
        "loss, nats per token": lambda row: said(row["loss"], nats),
    }
    known = [row for row in rows if row["loss"]["estimate"] is not None]
    losses = [way["loss"] for way in drawn if np.isfinite(way["loss"][0])]
    title = f"Within {people(question.budget)} FLOPs"
    if not known:
        return Answer(title, ["No size and source fit into the budget within the limits of this plan."], rows, columns)
    best = min(known, key=lambda row: row["loss"]["estimate"])
    sentences = [
        f"The lowest loss for {people(question.budget)} FLOPs is expected {of(best)} with {people(best['d_f'])}"
        f" characters: {said(best['loss'], nats)} nats per token. It is the lowest"
        f" {in_draws(_lowest(np.stack(losses), known.index(best)))}."
    ]
    if best["source"] != SCRATCH:
        share = said(best["pretraining_share_of_flops"], percent)
        sentences.append(
            f"There pre-training takes {share} of the compute, and fine-tuning the rest. {_length(forecast, best)}"
        )
    sentences += [
        f"The best from scratch has {said(row['loss'], nats)}, at {size(row['n_params'])}."
        for row in sorted(known, key=lambda row: row["loss"]["estimate"])
        if row["source"] == SCRATCH != best["source"]
    ][:1]
    sentences += compute.cautions()
    return Answer(title, sentences, rows, columns)


def _best(loss: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which of the ways, (ways, 1 + draws), has the lowest measured loss, and whether that is known: in a draw, only if
    every way's loss lies within what was measured."""
    measured = np.isfinite(loss)
    known = measured.all(axis=0)
    known[0] = measured[:, 0].any()
    return np.where(measured, loss, np.inf).argmin(axis=0), known


def _lowest(loss: np.ndarray, way: int) -> float | None:
    """Share of the draws in which one of the ways, (ways, 1 + draws), is the best."""
    best, known = _best(loss)
    return share_of((best == way)[1:], known[1:])


def _length(forecast: Forecast, best: dict[str, Any]) -> str:
    limits = forecast.sources[best["source"]].pretrain_tokens
    if limits is None:
        return "All runs were pre-trained equally long: whether another length would be better, they cannot tell."
    low, high = limits
    tokens = best["pretrain_tokens"]
    edge = " That is an end of what was weighed." if np.isclose(tokens["estimate"], limits).any() else ""
    return (
        f"It is pre-trained on {said(tokens)} tokens; {people(low)} to {people(high)} were weighed,"
        f" up to a factor {P_REACH:g} beyond the longest that was measured.{edge}"
    )


def _within_budget(
    forecast: Forecast, question: Question, compute: Compute, source: str, n_params: float
) -> dict[str, Any] | None:
    """The length of pre-training with the lowest loss, expected and in every draw, and the largest data set that the
    budget pays for beside the expected one; None if that lies outside the limits.  What is `DRAWN` is (1 + draws,).
    Weights that exist are as long pre-trained as they are."""
    limits = forecast.sources[source].pretrain_tokens
    if limits is None or not question.pretraining_share:
        lengths = np.ones(1)
    else:
        lengths = np.geomspace(*limits, LENGTHS) / compute.pretrain_tokens[source]
    ways = [way for longer in lengths if (way := _spent(forecast, question, compute, source, n_params, longer))]
    if not ways:
        return None
    loss = np.stack([way["loss"] for way in ways])
    best, known = _best(loss)
    chosen = {name: np.array([way[name] for way in ways])[best] for name in DRAWN if name != "loss"}
    if len(ways) > 1:
        chosen = {name: np.where(known, values, np.nan) for name, values in chosen.items()}
    return ways[best[0]] | chosen | {"loss": np.take_along_axis(loss, best[None], axis=0)[0]}


def _spent(
    forecast: Forecast, question: Question, compute: Compute, source: str, n_params: float, longer: float
) -> dict[str, Any] | None:
    """What the budget pays for beside `longer` times the longest measured pre-training."""
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

"""What was found, in whole sentences: the words of the report that depend on the numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from workflow_scripts.figures.words import ARMS, count, interval, number, title_of

SURE = 0.975
"""The share of draws in which D_E is below D_F from which on pre-training is said to have hurt."""


def answer(cell: pd.Series, source: str, target: str) -> str:
    """What pre-training was worth in one cell of the effective data, with its interval (characters)."""
    given = f"{count(cell['d_f'])} characters of {title_of(target)}"
    opening = f"At N = {cell['size']}, with {given}, pre-training on {title_of(source)}"
    limit, worth = cell["limit"], cell["d_e_known"] - cell["d_f"]
    because = f": {_why_limited(cell)}" if limit != "none" else ""
    if limit == "unknown" or (limit == "at least" and worth <= 0):
        return f"{opening} is worth an unknown amount{because}."
    known = np.isfinite(cell["d_t_low"]) or np.isfinite(cell["d_t_high"])
    ends = f"95 % interval {interval(cell['d_t_low'], cell['d_t_high'], count)}" if known else "no interval"
    amount = count(worth) if limit == "none" else f"{limit} {count(worth)}"
    if worth <= 0:
        return f"{opening} is worth nothing: D_T is {amount} characters ({ends}){because}."
    doubt = " The interval holds 0." if known and limit != "at most" and not cell["d_t_low"] > 0 else ""
    if limit != "none":
        return f"{opening} is worth {amount} more characters ({ends}){because}.{doubt}"
    factor = number(cell["d_e"] / cell["d_f"])
    return f"{opening} is worth as much as {amount} more characters ({ends}): the data counts {factor} times.{doubt}"


def _why_limited(cell: pd.Series) -> str:
    reasons = {
        "no from-scratch run reaches the fine-tuned loss": cell["censored"] == "above",
        "every from-scratch run, even on the smallest set, has a lower loss": cell["censored"] == "below",
        "a fine-tuned run stopped at its budget": cell["lower_bound"],
        "a from-scratch run beside it stopped at its budget": cell["upper_bound"],
    }
    return " and ".join(reason for reason, holds_here in reasons.items() if holds_here)


def meaning(law: dict[str, Any], source: str, target: str) -> list[str]:
    """What alpha and beta say, as factors on D_T, and whether their intervals decide it."""
    domain, goal = title_of(source), title_of(target)
    k, alpha, beta = law["k"], law["alpha"], law["beta"]
    fades = alpha["high"] is not None and alpha["high"] < 1
    fading = f" So the fraction D_T / D_E that comes from {domain} shrinks as the data grows." if fades else ""
    data = f"α = {_with_interval(alpha)}: ten times the {goal} data multiplies D_T by {_tenfold(alpha)}.{fading}"
    size = f"β = {_with_interval(beta)}: a model ten times as large multiplies D_T by {_tenfold(beta)}."
    scale = f"k = {_with_interval(k)} sets the scale; it has the unit characters^(1 − α) and does not carry over."
    sentences = [scale, data, f"{size} {_sign_of_beta(beta, domain)}"]
    if holds(alpha, 1):
        sentences.append("The interval of α holds 1: these runs do not show that transfer fades as the data grows.")
    return sentences


def without_law(law: dict[str, Any], source: str) -> str:
    """Why there is no law to tell of."""
    if law["status"] != "on a bound":
        return f"No law was fitted for {title_of(source)}: {law['status']}."
    return (
        f"No law can be read for {title_of(source)}: the best coefficients lie on a bound of the search, so they are not"
        " those of the cells. Cells that gain nothing, or whose gain drowns in noise, have none."
    )


def multiplier(law: dict[str, Any], target: str) -> str:
    """How many times fine-tuning data counts by the law, at the smallest and the largest N of the fit."""
    ends = law["data_multiplier"]
    told = " and ".join(f"{_with_interval(one)} times at N = {count(one['n_params'])}" for one in ends)
    return f"By the law, {count(ends[0]['d_f'])} characters of {title_of(target)}, the middle of the fit, count {told}."


def _with_interval(value: dict[str, float | None]) -> str:
    estimate = "unknown" if value["estimate"] is None else number(value["estimate"])
    return f"{estimate} ({interval(value['low'], value['high'])})"


def _tenfold(exponent: dict[str, float | None]) -> str:
    """10^exponent with its interval."""
    low, high = (None if exponent[end] is None else 10 ** exponent[end] for end in ("low", "high"))
    return f"{number(10 ** exponent['estimate'])} ({interval(low, high)})"


def holds(coefficient: dict[str, float | None], value: float) -> bool:
    """Whether there is an interval that holds `value`; a null end is open."""
    low, high = coefficient["low"], coefficient["high"]
    if low is None and high is None:
        return False
    return (low is None or low <= value) and (high is None or value <= high)


def _sign_of_beta(beta: dict[str, float | None], domain: str) -> str:
    if beta["low"] is None and beta["high"] is None:
        return "Without an interval, nothing follows for other seeds."
    if holds(beta, 0):
        return f"The interval of β holds 0: these runs do not show that larger models gain more from {domain}."
    above = beta["low"] is not None and beta["low"] > 0
    where, more = ("above", "more") if above else ("below", "less")
    return f"The interval lies {where} 0: larger models gain {more} from {domain}."


def quality(law: dict[str, Any]) -> list[str]:
    """How the fit was made and judged."""
    sentences = [
        f"The fit ({law['estimator']}) rests on {law['n_cells']} cells; status: {law['status']}{_search(law)}."
    ]
    if law["r_squared"] is not None:
        sentences.append(
            f"R² of ln D_E over the {law['n_uncensored']} cells whose D_E is known is {law['r_squared']:.3f}; "
            f"D_E = c · D_F alone has {number(law['r_squared_of_proportionality'], 3)}."
        )
    if law["largest_size_error_factor"] is not None:
        factor = number(law["largest_size_error_factor"], 3)
        sentences.append(f"Fitted without the largest size, it misses D_T of that size by a factor of {factor}.")
    if law["largest_d_f_error_factor"] is not None:
        factor = number(law["largest_d_f_error_factor"], 3)
        sentences.append(f"Fitted without the largest D_F, it misses D_T there by a factor of {factor}.")
    if law.get("lack_of_fit", {}).get("expected_from_seed_noise") is not None:
        found, expected = (law["lack_of_fit"][name] for name in ("weighted_squares", "expected_from_seed_noise"))
        beyond = f"{100 * np.expm1(law['lack_of_fit']['extra_deviation_of_ln_d_e']):.0f} %"
        sentences.append(
            f"Its weighted squared residuals are {number(found, 3)}, where noise alone would give"
            f" {number(expected, 3)}: cells scatter about it by {beyond} of D_E beyond that."
        )
    return sentences


def _search(law: dict[str, Any]) -> str:
    """`; 36 of 36 starts agreed; 1,000 draws, of which 0 did not converge`, for a law that was fitted."""
    if "starts" not in law:
        return ""
    starts, draws = law["starts"], law["draws"]
    return (
        f"; {starts['agreed']} of {starts['tried']} starts agreed; {draws['number']:,} draws, of which"
        f" {draws['not_converged']:,} did not converge"
    )


def unit_contrast(cells: pd.DataFrame, target: str) -> list[str]:
    """What each fine-tuning set of one size N was worth with either sampling unit: a sentence a source and D_F.

    None where one unit only was measured.
    """
    result = []
    for (source, size, d_f), pair in cells.sort_values("n_params").groupby(["source", "size", "d_f"]):
        if len(pair) > 1:
            counts = " and ".join(_times(cell) for _, cell in pair.sort_values("unit", ascending=False).iterrows())
            given = f"{count(d_f)} characters of {title_of(target)}"
            result.append(f"At N = {size} with {given}, after {title_of(source)}, the data counts {counts}.")
    return result


def _times(cell: pd.Series) -> str:
    """`3.6 times with excerpts (2.1 to 4.5)`: D_E / D_F."""
    what = {"excerpt": "excerpts", "document": "whole documents"}[cell["unit"]]
    ends = interval(cell["d_e_low"] / cell["d_f"], cell["d_e_high"] / cell["d_f"])
    factor = number(cell["d_e_known"] / cell["d_f"])
    some = {"none": factor, "unknown": "an unknown number of"}.get(cell["limit"], f"{cell['limit']} {factor}")
    return f"{some} times with {what} ({ends})"


def reservations(cells: pd.DataFrame, seeds: int) -> list[str]:
    """What the tables themselves say against reading too much into the law (any source)."""
    sentences = []
    nothing = cells[(cells["d_e_known"] <= cells["d_f"]) & cells["limit"].isin(["none", "at most"])]
    beyond = cells[cells["censored"] == "above"]
    if len(nothing):
        sure = int((nothing["probability_of_harm"] >= SURE).sum())
        sentences.append(
            f"In {len(nothing)} of {len(cells)} cells D_T is at or below 0 as measured, "
            f"in {sure} of them in at least {100 * SURE:g} % of the draws."
        )
    if len(beyond):
        sentences.append(
            f"In {len(beyond)} of {len(cells)} cells D_E lies beyond the from-scratch runs: only a bound is known."
        )
    if seeds == 2:
        sentences.append("There are two seeds: the noise is pooled over cells.")
    if cells["source"].nunique() == 1:
        sentences.append("There is one source of pre-training: whether sources share α or β was not asked.")
    if cells["pretrain_tokens"].nunique() == 1:
        sentences.append("All models were pre-trained equally long: how D_T grows with that length was not asked.")
    decades = np.log10(cells["n_params"].max() / cells["n_params"].min())
    sentences.append(f"The sizes span {decades:.1f} decades of N. Beyond them the law is an extrapolation.")
    return sentences


def check(found: dict[str, Any], most: int = 6) -> dict[str, str]:
    """A sanity check for a reader: its verdict, and its sentence with the first few runs behind it."""
    names = [_name(run) for run in found["runs"]]
    listed = ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
    return {"verdict": found["verdict"], "sentence": found["sentence"] + (f" ({listed})" if listed else "")}


def _name(run: dict[str, Any]) -> str:
    seed = f", seed {run['seed']}" if "seed" in run else ""
    return f"{ARMS[run['arm']]}, N = {count(run['n_params'])}, D = {count(run['d_chars'])}{seed}"

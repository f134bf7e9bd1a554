"""What was found, in whole sentences: the words of the report that depend on the numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from workflow_scripts.figures.words import ARMS, count, interval, number, title_of


def answer(cell: pd.Series, source: str, target: str) -> str:
    """What pre-training was worth in one cell of the effective data, with its interval (characters)."""
    given = f"{count(cell['d_f'])} characters of {title_of(target)}"
    opening = f"At N = {cell['size']}, with {given}, pre-training on {title_of(source)}"
    if cell["censored"] == "above":
        more = count(cell["d_e_bound"] - cell["d_f"])
        return f"{opening} is worth at least {more} more characters: no from-scratch run reaches the fine-tuned loss."
    if cell["censored"] == "below":
        return f"{opening} is worth nothing: every from-scratch run, even on the smallest set, has a lower loss."
    ends = f"95 % interval {interval(cell['d_t_low'], cell['d_t_high'], count)}"
    if not (np.isfinite(cell["d_t_low"]) or np.isfinite(cell["d_t_high"])):
        ends = "without an interval"
    if cell["d_t"] <= 0:
        return f"{opening} is worth nothing: D_T is {count(cell['d_t'])} characters ({ends})."
    doubt = " The interval holds 0." if cell["d_t_low"] <= 0 else ""
    factor = number(cell["d_e"] / cell["d_f"])
    return (
        f"{opening} is worth as much as {count(cell['d_t'])} more characters ({ends}): "
        f"the data counts {factor} times.{doubt}"
    )


def meaning(law: dict[str, Any], source: str, target: str) -> list[str]:
    """What alpha and beta say, as factors on D_T, and whether their intervals decide it."""
    domain, goal = title_of(source), title_of(target)
    k, alpha, beta = law["k"], law["alpha"], law["beta"]
    fading = f" So the part that comes from {domain} shrinks as the data grows." if alpha["estimate"] < 1 else ""
    data = f"α = {_with_interval(alpha)}: ten times the {goal} data multiplies D_T by {_tenfold(alpha)}.{fading}"
    size = f"β = {_with_interval(beta)}: a model ten times as large multiplies D_T by {_tenfold(beta)}."
    scale = f"k = {_with_interval(k)} sets the scale; it has the unit characters^(1 − α) and does not carry over."
    sentences = [scale, data, f"{size} {_sign_of_beta(beta, domain)}"]
    if holds(alpha, 0):
        sentences.append("The interval of α holds 0: these runs do not show that D_T depends on D_F.")
    if holds(alpha, 1):
        sentences.append("The interval of α holds 1: these runs do not show that transfer fades as the data grows.")
    return sentences


def _with_interval(coefficient: dict[str, float | None]) -> str:
    return f"{number(coefficient['estimate'])} ({interval(coefficient['low'], coefficient['high'])})"


def _tenfold(exponent: dict[str, float | None]) -> str:
    """10^exponent with its interval."""
    low, high = (None if exponent[end] is None else 10 ** exponent[end] for end in ("low", "high"))
    return f"{number(10 ** exponent['estimate'])} ({interval(low, high)})"


def holds(coefficient: dict[str, float | None], value: float) -> bool:
    """Whether the interval is known and holds `value`."""
    low, high = coefficient["low"], coefficient["high"]
    return low is not None and high is not None and low <= value <= high


def _sign_of_beta(beta: dict[str, float | None], domain: str) -> str:
    if beta["low"] is None or beta["high"] is None:
        return "Without an interval, nothing follows for other seeds."
    if holds(beta, 0):
        return f"The interval of β holds 0: these runs do not show that larger models gain more from {domain}."
    more = "more" if beta["low"] > 0 else "less"
    return f"The interval lies {'above' if beta['low'] > 0 else 'below'} 0: larger models gain {more} from {domain}."


def quality(law: dict[str, Any]) -> list[str]:
    """How the fit was made and judged."""
    sentences = [
        f"The fit ({law['estimator'].replace('_', ' ')}) rests on {law['n_cells']} cells; status: {law['status']}."
    ]
    if law.get("r_squared") is not None:
        sentences.append(f"It explains {law['r_squared']:.1%} of the variance of ln D_E in these cells.")
    if law.get("largest_size_error_factor") is not None:
        factor = number(law["largest_size_error_factor"], 3)
        sentences.append(f"Fitted without the largest size, it misses D_T of that size by a factor of {factor}.")
    return sentences


def reservations(cells: pd.DataFrame, seeds: int) -> list[str]:
    """What the tables themselves say against reading too much into the law (any source)."""
    sentences = []
    nothing = cells[(cells["d_t"] <= 0) | (cells["censored"] == "below")]
    beyond = cells[cells["censored"] == "above"]
    if len(nothing):
        sentences.append(f"In {len(nothing)} of {len(cells)} cells pre-training did not help (D_T at or below 0).")
    if len(beyond):
        sentences.append(
            f"In {len(beyond)} of {len(cells)} cells D_E lies beyond the from-scratch runs: only a bound is known."
        )
    if seeds < 3:
        sentences.append(f"There {'is one seed' if seeds == 1 else 'are two seeds'}: the noise is pooled over cells.")
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

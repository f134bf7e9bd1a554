"""Numbers and names as people read them, in figures and in the report."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def count(value: float) -> str:
    """A count to three figures as people say it: 6000 -> `6k`, 13082 -> `13.1k`, 1.2e6 -> `1.2M`."""
    for scale, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(float(f"{value:.3g}")) >= scale:
            value, suffix = value / scale, letter
            break
    else:
        suffix = ""
    return f"{float(f'{value:.3g}'):g}{suffix}".replace("-", "−")


def number(value: float | None, figures: int = 2) -> str:
    """A coefficient to so many significant figures, `1.9e4` from 10,000 on; an en dash where there is none."""
    if value is None or not np.isfinite(value):
        return "–"
    rounded = float(f"{value:.{figures}g}")
    if rounded and not 1e-3 <= abs(rounded) < 1e4:
        mantissa, exponent = f"{rounded:.{figures - 1}e}".split("e")
        return f"{mantissa}e{int(exponent)}".replace("-", "−")
    decimals = max(0, figures - 1 - int(np.floor(np.log10(abs(rounded))))) if rounded else 0
    return f"{rounded:.{decimals}f}".replace("-", "−")


def interval(low: float | None, high: float | None, text: Callable[[float], str] = number) -> str:
    """`low to high`, or words where an end is not known."""
    known_low, known_high = (value is not None and np.isfinite(value) for value in (low, high))
    if known_low and known_high:
        return f"{text(low)} to {text(high)}"
    if known_low:
        return f"at least {text(low)}"
    return f"at most {text(high)}" if known_high else "no interval"


LIMITS = {"none": "", "at least": "≥ ", "at most": "≤ ", "unknown": "? "}
"""What stands before a number that is a limit (column `limit` of `Laws.effective_data`)."""
ARMS = {"pretrain": "pre-training", "zero_shot": "zero-shot", "finetune": "fine-tuning", "scratch": "from scratch"}


def title_of(name: str) -> str:
    """The name of a corpus as a title: `english` -> `English`."""
    return name.replace("_", " ").capitalize()

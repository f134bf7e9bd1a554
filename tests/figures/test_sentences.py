"""The sentences of the report: what a number means, and what its interval does not decide."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from workflow_scripts.figures import sentences

ANSWERED = {"size": "25k", "d_f": 6_000, "d_e": 20_000, "d_e_known": 20_000, "d_t": 14_000, "limit": "none"}
ANSWERED |= {"d_t_low": 9_000.0, "d_t_high": 20_000.0, "censored": "none", "lower_bound": False, "upper_bound": False}
ANSWERS = {
    "worth as much as 14k more characters (95 % interval 9k to 20k): the data counts 3.3 times.": {},
    "14k more characters (95 % interval at most 20k): the data counts 3.3 times. The interval holds 0.": {
        "d_t_low": np.nan
    },
    "14k more characters (no interval): the data counts 3.3 times.": {"d_t_low": np.nan, "d_t_high": np.nan},
    "worth at least 14k more characters (95 % interval at least 9k): a fine-tuned run stopped at its budget.": {
        "limit": "at least", "lower_bound": True, "d_t_high": np.nan
    },
    "worth at most 14k more characters (95 % interval at most 20k): a from-scratch run beside it stopped": {
        "limit": "at most", "upper_bound": True, "d_t_low": np.nan
    },
    "worth an unknown amount: a fine-tuned run stopped at its budget and a from-scratch run": {
        "limit": "unknown", "lower_bound": True, "upper_bound": True
    },
    "worth nothing: D_T is at most −1k characters (no interval): every from-scratch run": {
        "limit": "at most", "censored": "below", "d_e_known": 5_000, "d_t_low": np.nan, "d_t_high": np.nan
    },
    "worth at most 4k more characters (no interval): every from-scratch run": {
        "limit": "at most", "censored": "below", "d_e_known": 10_000, "d_t_low": np.nan, "d_t_high": np.nan
    },
}  # fmt: skip


@pytest.mark.parametrize("words", ANSWERS)
def test_the_answer_says_what_is_a_limit_and_what_its_interval_holds(words: str) -> None:
    """A limit is not an estimate, and an interval that leaves the from-scratch curve below holds 0."""
    sentence = sentences.answer(pd.Series(ANSWERED | ANSWERS[words]), "english", "python")
    assert words in sentence
    assert sentence.endswith("holds 0.") == words.endswith("holds 0.")


@pytest.mark.parametrize(("high", "said"), [(0.9, True), (1.1, False), (None, False)])
def test_that_transfer_fades_follows_from_the_interval_alone(high: float | None, said: bool) -> None:
    half = {"estimate": 0.5, "low": 0.2, "high": high}
    law = {"k": half, "alpha": half, "beta": half}
    text = " ".join(sentences.meaning(law, "english", "python"))
    assert ("shrinks as the data grows" in text) == said
    assert ("holds 1" in text) != said


def test_an_open_interval_still_decides_the_sign_of_beta() -> None:
    known = {"estimate": 0.5, "low": 0.2, "high": None}
    law = {"k": known, "alpha": known, "beta": known}
    assert "lies above 0: larger models gain more" in sentences.meaning(law, "english", "python")[2]


def test_harm_is_counted_as_measured_and_as_drawn() -> None:
    """A point below 0 is no fact; beyond the smallest from-scratch set a cell may gain and still be `below`."""
    cells = pd.DataFrame(
        {
            "source": ["english"] * 4,
            "pretrain_tokens": [1_000_000] * 4,
            "n_params": [6_000, 6_000, 60_000, 60_000],
            "d_f": [10_000] * 4,
            "d_e_known": [9_000, 5_000, 20_000, 8_000],
            "limit": ["none", "at most", "at most", "at least"],
            "censored": ["none", "below", "below", "none"],
            "probability_of_harm": [0.6, 1.0, 0.1, 0.7],
        }
    )
    first, *others = sentences.reservations(cells, 3)
    assert first == "In 2 of 4 cells D_T is at or below 0 as measured, in 1 of them in at least 97.5 % of the draws."
    assert sum("was not asked" in sentence for sentence in others) == 2
    two = cells.assign(source=["english", "code"] * 2, pretrain_tokens=[1_000_000, 2_000_000] * 2)
    assert not any("was not asked" in sentence for sentence in sentences.reservations(two, 3))

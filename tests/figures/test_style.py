"""Numbers in words, and labels that do not overlap."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts.figures.style import data_styles, spread
from workflow_scripts.figures.words import count, interval, number

BOXES = st.lists(st.tuples(st.floats(-10, 10), st.floats(0.01, 2)), min_size=1, max_size=15)


@given(BOXES)
def test_labels_keep_their_order_and_do_not_overlap(boxes: list[tuple[float, float]]) -> None:
    centres, heights = map(np.array, zip(*boxes, strict=True))
    placed = spread(centres, heights)
    order = np.argsort(centres, kind="stable")
    gaps = np.diff(placed[order])
    assert (gaps >= (heights[order][1:] + heights[order][:-1]) / 2 - 1e-9).all()
    assert placed.sum() == pytest.approx(centres.sum(), abs=1e-6), "labels move evenly to both sides"


def test_labels_with_room_stay() -> None:
    assert spread([3.0, 1.0, 2.0], [0.5, 0.5, 0.5]).tolist() == [3.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (999, "999"), (6000, "6k"), (13_082, "13.1k"), (999_999, "1M"), (1.2e6, "1.2M"), (-3090, "−3.09k")],
)
def test_counts_as_people_say_them(value: float, text: str) -> None:
    assert count(value) == text


@given(st.floats(1, 1e14))
def test_counts_keep_three_figures(value: float) -> None:
    text = count(value)
    scale = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}.get(text[-1], 1)
    assert float(text.rstrip("kMGT")) * scale == pytest.approx(value, rel=0.006)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.3812, "0.38"),
        (0.0964, "0.096"),
        (98.3, "98"),
        (1.9e4, "1.9e4"),
        (0.0, "0"),
        (-0.972, "−0.97"),
        (-1e-4, "−1.0e−4"),
        (None, "–"),
    ],
)
def test_coefficients_to_two_figures(value: float | None, text: str) -> None:
    assert number(value) == text


def test_an_interval_says_which_end_is_missing() -> None:
    assert interval(1.0, 2.0) == "1.0 to 2.0"
    assert interval(1.0, None) == "at least 1.0"
    assert interval(float("nan"), 2.0) == "at most 2.0"
    assert interval(None, None) == "no interval"


def test_neighbouring_data_sizes_differ_without_colour() -> None:
    """In grey print, markers and dashes tell the lines apart."""
    looks = list(data_styles([6_000, 10_000, 19_000, 34_000, 60_000]).values())
    assert all(a.marker != b.marker and a.dashes != b.dashes for a, b in pairwise(looks))

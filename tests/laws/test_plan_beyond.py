"""What a plan says where it cannot name a number: losses below the from-scratch curves, steps that are worth nothing."""

from __future__ import annotations

import pytest

from workflow_scripts.laws.planning.answers import Question, _step


@pytest.mark.parametrize(
    ("worth", "told"),
    [
        ((-4e3, -6e3, -1e3), "(-6,000 to -1,000) characters beside the 20,000. It makes the loss higher"),
        ((-4e3, -6e3, 1e3), "is not expected to lower the loss: it is worth -4,000 (-6,000 to 1,000) characters"),
        ((-4e3, -6e3, None), "It may lower it: the upper end of the interval is unknown."),
        (
            (4e3, -1e3, 6e3),
            "the better buy if it costs less than they do. It may be worth nothing: the interval holds 0.",
        ),
        ((4e3, 1e3, 6e3), "the better buy if it costs less than they do."),
    ],
)
def test_a_larger_model_that_is_worth_nothing_is_no_buy(worth, told):
    """It was the better buy at -3,790 (-5,740 to -1,420) characters, and that interval held 0."""
    found = dict(zip(("estimate", "low", "high"), worth, strict=True))
    row = {"source": "english", "n_params": 6_144, "larger": 13_824, "more_characters": found}
    step = _step(row, Question(20_000.0, (6_144.0, 13_824.0)))
    assert told in step
    assert ("better buy" in step, "holds 0" in step) == (worth[0] > 0, worth[1] < 0 < (worth[2] or 0))

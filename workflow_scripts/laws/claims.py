"""What the paper found when half of the text was code, put to the sources of an experiment.

Hernandez et al. 2021, Table 1: beside text alone, text and code has the same beta, a smaller alpha and a larger k.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log
from typing import Any, Literal

Verdict = Literal["supported", "contradicted", "undecided"]

PAPER = {"ln_k": log(2.1e5 / 1.9e4), "alpha": 0.096 - 0.18, "beta": 0.0}
"""The coefficients of text and code less those of text."""
CLAIMS = {"beta": "same β", "alpha": "smaller α", "ln_k": "larger k"}
ALIKE = abs(PAPER["alpha"])
"""Two betas are the same if they are known to differ by less than the paper's two alphas do."""


@dataclass(frozen=True)
class Claim:
    """One coefficient of the mixture less that of the plain source; ln k for k."""

    name: str
    estimate: float
    low: float
    high: float
    """Infinite where unknown."""
    smallest_seen: float | None
    """The smallest difference that the runs had a chance of 80 % to tell from 0."""

    @property
    def verdict(self) -> Verdict:
        """By the 95 % interval: of a sign if it lies on one side of 0; of equality, `ALIKE`."""
        if self.name == "beta":
            if self.low > 0 or self.high < 0:
                return "contradicted"
            return "supported" if self.low > -ALIKE and self.high < ALIKE else "undecided"
        as_claimed, against = (self.high < 0, self.low > 0) if self.name == "alpha" else (self.low > 0, self.high < 0)
        return "supported" if as_claimed else "contradicted" if against else "undecided"


def claims(across_sources: dict[str, Any] | None, mixture: str, plain: str) -> list[Claim]:
    """The three claims, from what `sources.across_sources` found; none if it lacks one of the two sources' laws."""
    found = []
    for name in CLAIMS:
        for pair in across_sources["differences"][name]["pairs"] if across_sources else ():
            if set(pair["sources"]) == {mixture, plain}:
                estimate, low, high = (pair["difference"][end] for end in ("estimate", "low", "high"))
                low, high = -inf if low is None else low, inf if high is None else high
                if pair["sources"][0] == plain:
                    estimate, low, high = -estimate, -high, -low
                found.append(Claim(name, estimate, low, high, pair["smallest_seen"]))
    return found


def overall(found: list[Claim]) -> Verdict:
    """Contradicted if one claim is, supported if all are."""
    verdicts = {claim.verdict for claim in found}
    return "contradicted" if "contradicted" in verdicts else "supported" if verdicts == {"supported"} else "undecided"

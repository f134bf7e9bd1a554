"""Step `capacity`: does every corpus hold the data that the experiment asks of it, and is the smallest set enough to train
on?  Asked before anything is trained.

python -m workflow_scripts.tokens.capacity --needs JSON --smallest JSON --tokens E/tokens --out E/tokens/capacity.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workflow_scripts.files import read_json, write_json

KEYS = {
    ("train", "characters"): "grids.*.scratch, grids.*.finetune or sweeps.*.characters",
    ("train", "tokens"): "pretrain.tokens",
    ("validation", "tokens"): "evaluation.validation_tokens or evaluation.stop_tokens",
    ("test", "tokens"): "evaluation.test_tokens",
}
"""What of the configuration asks for how much of a split."""


def shortages(needs: Mapping[str, Mapping[str, Mapping[str, int]]], tokens: Path) -> list[str]:
    """One sentence for each need that a corpus does not meet; `needs` is corpus -> split -> unit -> count, where the
    unit is `characters` or `tokens`."""
    found = []
    for corpus, splits in needs.items():
        held = read_json(tokens / corpus / "manifest.json")["splits"]
        for split, counts in splits.items():
            for unit, count in counts.items():
                if held[split][unit] < count:
                    found.append(
                        f"the {split} split of {corpus} holds {held[split][unit]:,} {unit}; "
                        f"the configuration asks for {count:,} ({KEYS[split, unit]})"
                    )
    return found


def unfilled(smallest: Mapping[str, Any], tokens: Path) -> list[str]:
    """One sentence if a set of `characters` of `corpus` does not fill a context of `n_ctx` tokens, by the corpus's mean, or
    holds fewer than `least_tokens`, whose budget ends inside the warm-up."""
    held = read_json(tokens / smallest["corpus"] / "manifest.json")["splits"]["train"]
    expected = smallest["characters"] * held["tokens"] / max(held["characters"], 1)
    told = (
        f"the smallest set of grids and sweeps, {smallest['characters']:,} characters of {smallest['corpus']}, is about"
        f" {expected:,.0f} tokens"
    )
    if expected <= smallest["n_ctx"]:
        return [f"{told} and does not fill a context of {smallest['n_ctx']:,}; ask for more (D counts characters)"]
    if expected // smallest["n_ctx"] * smallest["n_ctx"] < smallest["least_tokens"]:
        return [
            f"{told}, and below {smallest['least_tokens']:,} in whole contexts the budget ends inside the warm-up; ask for more,"
            " lower recipe.warmup_steps, or raise recipe.budget_epochs"
        ]
    return []


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Check that the corpora hold enough.")
    parser.add_argument("--needs", required=True, type=json.loads, help="corpus -> split -> characters|tokens -> count")
    parser.add_argument(
        "--smallest", required=True, type=json.loads, help="JSON object: corpus, characters, n_ctx, least_tokens"
    )
    parser.add_argument("--tokens", required=True, type=Path, help="folder of the token stage")
    parser.add_argument("--out", required=True, type=Path)
    arguments = parser.parse_args(argv)
    found = shortages(arguments.needs, arguments.tokens)
    if found:
        found.append(
            "Add sources to the corpus, or ask for less by these keys; `splits` says how much of it is held out."
        )
    found += unfilled(arguments.smallest, arguments.tokens)
    if found:
        raise SystemExit("\n".join(found))
    write_json(arguments.out, {"enough": True})


if __name__ == "__main__":
    main()

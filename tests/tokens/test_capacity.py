"""Before anything is trained: does every corpus hold what is asked of it, and can the smallest set be trained on?"""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts.experiment import Experiment
from workflow_scripts.files import read_json, write_json
from workflow_scripts.tokens.capacity import main, shortages
from workflow_scripts.training.data import Batches
from workflow_scripts.training.loop import Task

HELD = {"train": {"tokens": 40_000, "characters": 60_000}, "test": {"tokens": 500, "characters": 750}}


@pytest.fixture
def asked(tmp_path):
    write_json(tmp_path / "python" / "manifest.json", {"splits": HELD})

    def ask(needs, characters, n_ctx=128, least_tokens=10):
        smallest = {"corpus": "python", "characters": characters, "n_ctx": n_ctx, "least_tokens": least_tokens}
        arguments = ["--needs", json.dumps({"python": needs}), "--smallest", json.dumps(smallest)]
        main([*arguments, "--tokens", str(tmp_path), "--out", str(tmp_path / "capacity.json")])
        return read_json(tmp_path / "capacity.json")

    return ask


def test_a_corpus_that_holds_what_is_asked_of_it_is_enough(asked):
    assert asked({"train": {"characters": 60_000}, "test": {"tokens": 500}}, 600) == {"enough": True}


def test_every_shortage_is_named_with_what_to_do(asked):
    with pytest.raises(SystemExit) as refused:
        asked({"train": {"characters": 60_001}, "test": {"tokens": 501}}, 600)
    assert "the train split of python holds 60,000 characters; the configuration asks for 60,001" in str(refused.value)
    assert "the test split of python holds 500 tokens; the configuration asks for 501" in str(refused.value)
    assert "Add sources to the corpus, or ask for less" in str(refused.value)


@pytest.mark.parametrize(
    ("corpus", "split", "needs", "keys"),
    [
        ("python", "train", {"characters": 60_001}, "grids.*.scratch, grids.*.finetune or sweeps.*.characters"),
        ("python", "validation", {"tokens": 501}, "evaluation.validation_tokens or evaluation.stop_tokens"),
        ("english", "train", {"tokens": 40_001}, "pretrain.tokens"),
        ("english", "test", {"tokens": 501}, "evaluation.test_tokens"),
    ],
)
def test_each_shortage_names_the_key_that_asks_for_it(tmp_path, corpus, split, needs, keys):
    """Four keys at the end of all lines left a newcomer to guess which of them belongs to which line."""
    write_json(tmp_path / corpus / "manifest.json", {"splits": HELD | {"validation": HELD["test"]}})
    (line,) = shortages({corpus: {split: needs}}, tmp_path)
    assert line.endswith(f"({keys})")


@pytest.mark.parametrize("characters", [1, 6, 192])
def test_a_set_too_small_for_a_context_is_refused_before_anything_is_trained(asked, characters):
    """`finetune: [6, 10, 16]`, meant in thousands: from-scratch jobs failed one by one while pre-training went on."""
    with pytest.raises(
        SystemExit, match=rf"{characters} characters of python, is about .* does not fill a context of 128"
    ):
        asked({"train": {"characters": 60_000}}, characters)


def test_the_smallest_set_is_that_of_all_grids_and_sweeps():
    assert Experiment.load("config/config.yaml").smallest_set() == {
        "corpus": "python",
        "characters": 6_000,
        "n_ctx": 128,
        "least_tokens": 3,
    }


def test_a_set_whose_budget_ends_in_the_warm_up_is_refused(asked):
    """Its loss would be that of a rate that no other run has."""
    needs = {"train": {"characters": 60_000}}
    with pytest.raises(
        SystemExit, match=r"6,000 characters .* about 4,000 tokens, and below 3,969 .* the warm-up; ask"
    ):
        asked(needs, 6_000, least_tokens=3_969)
    assert asked(needs, 6_000, least_tokens=3_968) == {"enough": True}  # 31 contexts of 128


@given(st.integers(1, 3_000), st.floats(1, 700), st.integers(1, 30), st.integers(0, 9_000))
def test_a_set_that_is_large_enough_does_not_end_in_its_warm_up(warmup_steps, budget_epochs, steps_an_epoch, more):
    experiment = Experiment.load("config/config.yaml")
    changed = {"warmup_steps": warmup_steps, "budget_epochs": budget_epochs, "steps_an_epoch": steps_an_epoch}
    recipe = experiment.recipe.model_copy(update=changed)
    least, n_ctx = (
        experiment.model_copy(update={"recipe": recipe}).smallest_set()["least_tokens"],
        experiment.model.n_ctx,
    )
    tokens = max(math.ceil(least / n_ctx) * n_ctx, n_ctx) + more
    batches = Batches(np.zeros(tokens + 1, np.int64), n_ctx, recipe.sequences_of(tokens + 1, n_ctx), 0)
    shape = experiment.shapes["3k"]
    assert Task(shape, recipe, 0, batches, np.zeros((1, n_ctx + 1))).planned_steps > warmup_steps


@pytest.mark.parametrize("path", sorted(Path("config/experiments").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_smallest_sets_of_shipped_experiments_are_large_enough(path):
    """Asked only when the corpora are tokens, which for dumps is after days."""
    smallest = Experiment.load(path).smallest_set()
    characters_per_token = 0.5 if "chinese" in path.stem else 3
    assert smallest["characters"] / characters_per_token > max(smallest["n_ctx"], smallest["least_tokens"])

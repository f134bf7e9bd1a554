"""Before anything is trained: does every corpus hold what is asked of it, and can the smallest set be trained on?"""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts.experiment import Experiment
from workflow_scripts.files import read_json, write_json
from workflow_scripts.tokens.capacity import main

HELD = {"train": {"tokens": 40_000, "characters": 60_000}, "test": {"tokens": 500, "characters": 750}}


@pytest.fixture
def asked(tmp_path):
    write_json(tmp_path / "python" / "manifest.json", {"splits": HELD})

    def ask(needs, characters, n_ctx=128, warm_up_tokens=213):
        smallest = {"corpus": "python", "characters": characters, "n_ctx": n_ctx, "warm_up_tokens": warm_up_tokens}
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
        "warm_up_tokens": 214,
    }


def test_a_set_on_which_a_run_may_end_in_its_warm_up_is_refused(asked):
    """Its loss would be that of a rate that no other run has."""
    needs = {"train": {"characters": 60_000}}
    with pytest.raises(
        SystemExit, match=r"6,000 characters .* about 4,000 tokens, and up to 4,000 .* its warm-up; ask"
    ):
        asked(needs, 6_000, warm_up_tokens=4_000)
    assert asked(needs, 6_000, warm_up_tokens=3_999) == {"enough": True}


@given(st.integers(1, 3_000), st.floats(1.1, 3), st.floats(1, 40), st.floats(1, 40))
def test_a_larger_set_never_lets_a_run_end_in_its_warm_up(warmup_steps, patience, minimum_epochs, budget_epochs):
    experiment = Experiment.load("config/config.yaml")
    changed = {"warmup_steps": warmup_steps, "patience": patience, "minimum_epochs": minimum_epochs}
    recipe = experiment.recipe.model_copy(update=changed | {"budget_epochs": budget_epochs, "minimum_steps": None})
    tokens = experiment.model_copy(update={"recipe": recipe}).smallest_set()["warm_up_tokens"] + 1
    epoch_steps = tokens / (recipe.batch_sequences * experiment.model.n_ctx)
    assert not recipe.out_of_patience(warmup_steps, 0, epoch_steps)
    assert recipe.budget_epochs * epoch_steps > warmup_steps

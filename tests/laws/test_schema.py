"""What must be known of every run to judge it later stands in `runs.parquet`, or in the run's own `run.json`."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.training.conftest import RECIPE, write_tokens
from tests.training.test_run import SPECIFICATION
from workflow_scripts.files import read_json
from workflow_scripts.laws.collect import row
from workflow_scripts.laws.simulate import simulate_runs
from workflow_scripts.training.data import Corpus, windows
from workflow_scripts.training.recipe import Recipe
from workflow_scripts.training.run import main

README = Path(__file__).parents[2] / "results" / "README.md"
PRETRAIN = SPECIFICATION | {"data": {"corpus": "corpus", "unit_tokens": None, "tokens": 1000}}
TUNED = SPECIFICATION | {"initial": PRETRAIN}
ARMS = {
    "pretrain": PRETRAIN,
    "scratch": SPECIFICATION,
    "finetune": TUNED,
    "zero_shot": TUNED | {"data": SPECIFICATION["data"] | {"characters": 0}},
}
N, BATCH_TOKENS = 12 * 2 * 8**2, 2 * 16
FLOPS, HEAD = 6 * N + 6 * 2 * 16 * 8, 6 * 37 * 8
"""A token: 6 N and attention (Kaplan et al. 2020, table 1), and the output layer of 37 entries."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    return Corpus(write_tokens(tmp_path_factory.mktemp("runs") / "tokens" / "corpus"))


@pytest.fixture(scope="module")
def records(corpus) -> dict[str, dict]:
    """The `run.json` of a trained run of each arm."""
    folder, patch = corpus.folder.parents[1], pytest.MonkeyPatch()
    patch.chdir(folder)
    for arm, specification in ARMS.items():
        initial = ["--initial", "pretrain.json"] if specification["initial"] else []
        main(["--runs", json.dumps({arm: specification}), "--tokens", "tokens", *initial, "--out", f"{arm}.json"])
    patch.undo()
    return {arm: read_json(folder / arm / "run.json") for arm in ARMS}


@pytest.fixture(scope="module")
def rows(records) -> dict[str, dict]:
    labels = {
        arm: {
            "arm": arm,
            "init": "english" if specification["initial"] else "scratch",
            "corpus": "english" if arm == "pretrain" else "python",
            "unit": "excerpt",
            "size": "2k",
        }
        for arm, specification in ARMS.items()
    }
    return {arm: row(labels[arm], record) for arm, record in records.items()}


def test_the_table_has_the_columns_that_are_documented_and_no_others(rows):
    section = re.search(r"### `laws/runs.parquet`.*?(?=\n### )", README.read_text(encoding="utf-8"), re.DOTALL)[0]
    first_cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    documented = [name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)]
    assert len(documented) == len(set(documented))
    assert all(set(one) == set(documented) for one in rows.values())
    assert set(simulate_runs().columns) <= set(documented), "a simulated table has no column of its own"


def test_n_is_stored_without_embeddings_and_every_other_group_beside_it(rows, records):
    """(2 layers, width 8): 1,536 without embeddings, norms and biases, 2,184 in all."""
    for arm, one in rows.items():
        assert (one["n_params"], one["n_params_total"]) == (N, 2_184)
        groups = dict(records[arm]["parameters"])
        assert groups.pop("total") == sum(groups.values())
        assert groups == {"body": N, "norms_and_biases": 2 * 13 * 8 + 16, "embedding": 37 * 8, "position": 16 * 8}


def test_data_is_stored_in_characters_bytes_and_tokens_unique_and_presented(rows):
    """A character is two bytes here, a token up to three characters."""
    for arm in ("scratch", "finetune"):
        one = rows[arm]
        assert one["d_chars"] == 900
        assert 897 < one["d_chars_used"] <= 900
        assert one["d_bytes"] == 2 * one["d_chars_used"]
        assert one["d_chars_used"] / 3 <= one["d_tokens"] - one["n_units"] < one["d_chars_used"]
        assert one["best_tokens"] > one["d_tokens"], "presented more than once"
        assert one["best_epoch"] == one["best_tokens"] / one["d_tokens"]
    counts = ("d_chars", "d_chars_used", "d_bytes", "d_tokens", "n_units")
    assert [rows["scratch"][name] for name in counts] == [rows["finetune"][name] for name in counts]
    assert [rows["zero_shot"][name] for name in counts] == [0] * 5


def test_the_length_of_pretraining_stands_with_what_starts_from_it(rows):
    assert rows["pretrain"]["d_tokens"] == 1000
    assert rows["finetune"]["pretrain_tokens"] == rows["zero_shot"]["pretrain_tokens"] == 1000
    assert rows["scratch"]["pretrain_tokens"] is rows["pretrain"]["pretrain_tokens"] is None


def test_compute_is_stored_without_and_with_the_output_layer_that_of_pretraining_too(rows):
    for arm, one in rows.items():
        assert one["flops"] == one["best_tokens"] * FLOPS
        assert one["flops_with_head"] == one["best_tokens"] * (FLOPS + HEAD)
        assert (one["best_tokens"] == 0) == (arm == "zero_shot")


def test_losses_are_stored_in_nats_a_token_and_bits_a_byte(rows, corpus):
    evaluation = SPECIFICATION["evaluation"]
    text = corpus.prefix("test", evaluation["unit_tokens"], 0, tokens=evaluation["test_tokens"])
    targets = windows(text.tokens, 16)[:, 1:]
    nats_a_bit_of_text = np.log(2) * corpus.bytes_of[targets].sum() / targets.size
    for one in rows.values():
        assert 0 < one["val_loss"] != one["test_loss"] > 0
        assert one["test_bits_per_byte"] == pytest.approx(one["test_loss"] / nats_a_bit_of_text)


def test_how_a_run_was_trained_can_be_told_from_its_record(rows, records):
    """Batch, steps, schedule, warm-up reached or not, and the learning rate at the end."""
    for arm in ("pretrain", "scratch", "finetune"):
        one, record = rows[arm], records[arm]
        specification, outcome = record["identity"]["specification"], record["outcome"]
        assert specification["model"] == {"n_layer": 2, "d_model": 8, "n_head": 2, "n_ctx": 16, "vocab_size": 37}
        assert one["batch_tokens"] == BATCH_TOKENS
        assert one["best_tokens"] == outcome["best_step"] * BATCH_TOKENS
        assert one["hit_budget"] == (outcome["stopped_by"] == "budget")
        recipe = Recipe(**specification["recipe"])
        assert recipe == RECIPE
        assert outcome["steps"] > recipe.warmup_steps, "warm-up was reached"
        windows_of_set = record["data"]["tokens"] // specification["model"]["n_ctx"]
        epochs = 1 if arm == "pretrain" else recipe.budget_epochs
        planned = int(epochs * windows_of_set / recipe.batch_sequences)
        assert recipe.share_of_peak(outcome["steps"] - 1, planned) == 1
        assert one["learning_rate"] == recipe.peak_learning_rate(one["n_params"], record["data"]["tokens"])
        assert record["weight_decay"] == recipe.weight_decay_of(one["n_params"], record["data"]["tokens"])
        assert (one["seed"], one["trainable"], one["status"]) == (0, "all", "ok")

"""A tiny token folder, and tasks on it that take a fraction of a second."""

import hashlib
import json

import numpy as np
import pandas as pd
import pytest

from workflow_scripts.training.data import Batches, Corpus, windows
from workflow_scripts.training.loop import Task
from workflow_scripts.training.recipe import Recipe
from workflow_scripts.training.shape import ModelShape

VOCABULARY = 37
SHAPE = ModelShape(n_layer=2, d_model=8, n_head=2, n_ctx=16, vocab_size=VOCABULARY)
RECIPE = Recipe(
    batch_sequences=2,
    learning_rate=3e-2,
    reference_n_params=1536,
    learning_rate_n_exponent=-0.2,
    beta_1=0.9,
    beta_2=0.95,
    weight_decay=0.1,
    warmup_steps=5,
    averaging_power=8,
    first_evaluation=4,
    evaluation_growth=1.3,
    patience=1.4,
    tolerance=0.002,
    minimum_epochs=4,
    budget_epochs=200,
)


def write_tokens(folder, documents_per_split=30, seed=0):
    """A folder as the stage `tokens` writes it: random documents whose tokens stand for 1 to 3 characters each."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    characters_of = np.array([0, *random.integers(1, 4, VOCABULARY - 1)])
    bytes_of = characters_of * 2
    rows, splits = [], {}
    for split in ("train", "validation", "test"):
        offset, parts = 0, []
        for number in range(documents_per_split):
            # A skewed walk over the vocabulary: something to learn.
            tokens = 1 + np.cumsum(random.integers(1, 9, size=random.integers(5, 90))) % 36
            sizes = characters_of[tokens].sum()
            rows.append((split, f"{split}/{number}", offset, len(tokens), sizes, 2 * sizes))
            parts.append(tokens.astype("<u2"))
            offset += len(tokens)
        flat = np.concatenate(parts)
        flat.tofile(folder / f"{split}.bin")
        splits[split] = {
            "documents": documents_per_split,
            "tokens": len(flat),
            "characters": int(characters_of[flat].sum()),
            "bytes": int(bytes_of[flat].sum()),
            "sha256": hashlib.sha256(flat.tobytes()).hexdigest(),
        }
    columns = ["split", "id", "token_offset", "tokens", "characters", "bytes"]
    pd.DataFrame(rows, columns=columns).to_parquet(folder / "documents.parquet")
    manifest = {
        "dtype": "uint16",
        "vocab_size": VOCABULARY,
        "end_of_text": 0,
        "splits": splits,
        "token_bytes": bytes_of.tolist(),
        "token_characters": characters_of.tolist(),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture(scope="session")
def tokens_folder(tmp_path_factory):
    return write_tokens(tmp_path_factory.mktemp("tokens") / "corpus")


@pytest.fixture(scope="session")
def corpus(tokens_folder):
    return Corpus(tokens_folder)


@pytest.fixture
def make_task(corpus):
    def make(seed=0, characters=900, **changes):
        recipe = RECIPE.model_copy(update=changes.pop("recipe", {}))
        data = corpus.prefix("train", 32, seed, characters=characters)
        held_out = windows(corpus.prefix("validation", 32, 0, tokens=321).tokens, SHAPE.n_ctx)
        batches = Batches(data.tokens, SHAPE.n_ctx, recipe.sequences_of(len(data.tokens), SHAPE.n_ctx), seed)
        return Task(shape=SHAPE, recipe=recipe, seed=seed, batches=batches, stop_windows=held_out, **changes)

    return make

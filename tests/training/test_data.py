"""D is exact, smaller sets nest in larger ones, and a batch is a pure function of (seed, step)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts.training.data import Batches, DataError, windows


@given(st.integers(20, 1500), st.integers(20, 1500), st.sampled_from([None, 8, 32]), st.integers(0, 3))
@settings(max_examples=60)
def test_smaller_sets_are_prefixes_of_larger_ones(corpus, first, second, unit_tokens, seed):
    small, large = sorted((first, second))
    a = corpus.prefix("train", unit_tokens, seed, characters=small)
    b = corpus.prefix("train", unit_tokens, seed, characters=large)
    assert np.array_equal(a.tokens, b.tokens[: len(a.tokens)])


@given(st.integers(10, 1500), st.sampled_from([None, 8, 32]), st.integers(0, 3))
@settings(max_examples=60)
def test_a_set_holds_d_characters_to_the_token(corpus, characters, unit_tokens, seed):
    data = corpus.prefix("train", unit_tokens, seed, characters=characters)
    largest = corpus.characters_of.max()
    assert characters - largest < data.characters <= characters
    assert data.characters == corpus.characters_of[data.tokens].sum()
    assert data.bytes == corpus.bytes_of[data.tokens].sum()


def test_tokens_take_no_more_memory_than_their_file(corpus):
    """As int64, three times at its peak, a set of 5e9 tokens needed 120 GB."""
    data = corpus.prefix("train", 32, 0, characters=900)
    assert data.tokens.dtype == np.uint16
    batches = Batches(data.tokens, 16, 2, 0)
    assert batches.ring is data.tokens
    assert batches[0].dtype == windows(data.tokens, 16).dtype == np.int64


def test_a_set_in_tokens_is_exact(corpus):
    assert len(corpus.prefix("train", None, 0, tokens=777).tokens) == 777


def test_excerpts_cover_every_document_and_are_no_longer_than_asked(corpus):
    units = corpus.units("train", 32)
    assert units[:, 1].max() <= 32
    assert units[:, 1].sum() == corpus.manifest["splits"]["train"]["tokens"]
    assert len(corpus.units("train", None)) == 30


def test_seeds_draw_different_prefixes(corpus):
    first, second = (corpus.prefix("train", 32, seed, characters=500).tokens for seed in (0, 1))
    assert not np.array_equal(first, second)


def test_more_than_the_corpus_holds_is_refused_with_both_numbers(corpus):
    held = corpus.manifest["splits"]["train"]["characters"]
    with pytest.raises(DataError, match=rf"{held + 1:,} characters.*holds {held:,} characters"):
        corpus.prefix("train", None, 0, characters=held + 1)
    corpus.prefix("train", None, 0, characters=held)


@given(st.integers(17, 400), st.integers(1, 5), st.integers(0, 99), st.integers(0, 60))
@settings(max_examples=60)
def test_a_batch_depends_on_seed_and_step_alone(n_tokens, sequences, seed, step):
    """The heart of exact resuming: no loader state."""
    tokens = np.arange(n_tokens)
    walked = Batches(tokens, 16, sequences, seed)
    for earlier in range(step):
        walked[earlier]
    assert np.array_equal(walked[step], Batches(tokens, 16, sequences, seed)[step])


@given(st.integers(17, 400), st.integers(0, 99))
@settings(max_examples=60)
def test_an_epoch_presents_no_token_twice_and_leaves_out_less_than_a_window(n_tokens, seed):
    batches = Batches(np.arange(n_tokens), 16, 1, seed)
    epoch = np.concatenate([batches[step][:, :-1].ravel() for step in range(batches.windows)])
    assert len(set(epoch.tolist())) == len(epoch) == n_tokens // 16 * 16
    for step in range(batches.windows):
        row = batches[step][0]
        assert np.array_equal(np.diff(row) % n_tokens, np.ones(16))


def test_too_few_tokens_for_a_context_are_refused():
    with pytest.raises(DataError, match="16 tokens does not fill"):
        Batches(np.arange(16), 16, 1, 0)


def test_held_out_windows_hold_every_target_once():
    rows = windows(np.arange(50), 16)
    assert np.array_equal(rows[:, 1:].ravel(), np.arange(1, 49))

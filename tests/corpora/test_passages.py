"""Sampled shingles of held-out text: which are secret, and how many of them a document has."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts.corpora.passages import secret_of, shared_shingles

DOCUMENTS = st.lists(st.lists(st.integers(0, 30)), min_size=1, max_size=8)
BATCHES = st.lists(DOCUMENTS, max_size=4)


def sampled(documents: list[list[int]]) -> pa.LargeListArray:
    return pa.array(documents, pa.large_list(pa.uint64()))


def all_of(batches: list[list[list[int]]]) -> list[tuple[pa.LargeListArray, np.ndarray]]:
    return [(sampled(documents), np.ones(len(documents), bool)) for documents in batches]


def hashes(batches: list[list[list[int]]]) -> set[int]:
    return {number for documents in batches for document in documents for number in document}


@given(BATCHES, BATCHES, DOCUMENTS)
def test_what_is_secret_is_held_out_and_not_known_and_documents_are_judged_by_it(held_out, known, others):
    secret = secret_of(all_of(held_out), all_of(known))
    expected = hashes(held_out) - hashes(known)
    assert secret.tolist() == sorted(expected)
    assert shared_shingles(sampled(others), secret).tolist() == [len(expected & set(document)) for document in others]

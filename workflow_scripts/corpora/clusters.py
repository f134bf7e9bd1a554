"""Duplicates among all documents of an experiment, found from their fingerprints; the text is not read again.

Memory: 8 bytes a document, and a range of keys or a few signatures at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from workflow_scripts.corpora.duplicates import BANDS, NO_KEY, SIMILARITY, TABLES, Clusters, pairs_of, similarities
from workflow_scripts.corpora.fingerprint import Batch

RANGE_KEYS = 2**23
"""Keys of a table that are looked at together, about."""
COMPARED_PAIRS = 2**17


def clusters_of(batches: Sequence[Batch]) -> Clusters:
    """Near and exact duplicates, linked.

    Two documents of similarity 0.5 meet in one of the 32 bands with probability 0.87, of 0.7 with 0.9998; those without
    shingles (under 32 bytes) only have exact duplicates.
    """
    documents = sum(batch.rows for batch in batches)
    clusters = Clusters(documents)

    def similar(pairs: np.ndarray) -> np.ndarray:
        return similarities(*(rows_of(batches, "signature", np.uint8, side) for side in pairs)) >= SIMILARITY

    def same(pairs: np.ndarray) -> np.ndarray:
        left, right = (rows_of(batches, "digest", np.uint64, side) for side in pairs)
        return (left == right).all(axis=1)

    for table in range(TABLES):
        for keys, owners in _ranges(batches, table, -(-documents // RANGE_KEYS)):
            pairs = pairs_of(keys, owners)
            for start in range(0, pairs.shape[1], COMPARED_PAIRS):
                compare = similar if table < BANDS else same
                clusters.join_similar(pairs[:, start : start + COMPARED_PAIRS], compare)
    return clusters


def _ranges(batches: Sequence[Batch], table: int, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The keys of a table with their documents, in `count` ranges; documents rise where keys are equal."""
    edges = [place * NO_KEY // count for place in range(count)] + [NO_KEY]
    for low, high in pairwise(edges):
        keys, owners = [], []
        for batch in batches:
            of_batch = batch.values(f"key_{table:02}", np.uint64)[:, 0]
            first, last = np.searchsorted(of_batch, np.array([low, high], np.uint64))
            keys.append(of_batch[first:last].copy())
            owners.append(batch.start + batch.values(f"row_{table:02}", np.uint16)[first:last, 0].astype(np.int64))
        yield np.concatenate(keys), np.concatenate(owners)


def rows_of(batches: Sequence[Batch], column: str, dtype: type, documents: np.ndarray) -> np.ndarray:
    """A column of fixed width of chosen documents, by number, as (documents, values)."""
    wanted, places = np.unique(documents, return_inverse=True)
    edges = np.searchsorted(wanted, [batch.start for batch in batches] + [np.iinfo(np.int64).max])
    parts = [
        batch.values(column, dtype)[wanted[first:last] - batch.start]
        for batch, (first, last) in zip(batches, pairwise(edges), strict=True)
        if last > first
    ]
    return np.concatenate(parts)[places]

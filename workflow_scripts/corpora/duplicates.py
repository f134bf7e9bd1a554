"""Clusters of exact and near-duplicates: MinHash in bands (Broder 1997; Leskovec et al., ch. 3), then components.

Two documents are linked if they are the same but for white space, or if they meet in a band and the Jaccard
similarity of their shingles is estimated at 0.5 or more.  A cluster is a connected component of links.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from rensa import RMinHash
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from workflow_scripts.corpora.shingles import Shingled

SIMILARITY = 0.5
PERMUTATIONS = 128
ROWS_A_BAND = 4
SEED = 1
BANDS = PERMUTATIONS // ROWS_A_BAND
TABLES = BANDS + 1
"""One a band, and a last one for digests: documents that share a key in a table may be duplicates."""
NO_KEY = 2**64 - 1
"""The key of a document without shingles in the tables of bands."""
_FACTORS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0xD6E8FEB86659FD93], np.uint64)


def signatures_of(batch: Shingled) -> np.ndarray:
    """MinHash signatures (documents, 128), uint32."""
    offsets = batch.offsets.astype(np.uint64)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(batch.hashes, offsets, PERMUTATIONS, SEED)
    return np.array(matrix.to_rows(), np.uint32).reshape(len(offsets) - 1, PERMUTATIONS)


def keys_of(signatures: np.ndarray, digests: np.ndarray) -> Iterator[np.ndarray]:
    """For each table the keys (documents,), uint64; `digests` is (documents, 16), uint8.

    A signature of zeros is none.  Keys are hashes: documents that share one are still to be compared.
    """
    none = ~signatures.any(axis=1)
    for band in range(BANDS):
        first, second = signatures[:, band * ROWS_A_BAND : (band + 1) * ROWS_A_BAND].copy().view(np.uint64).T
        keys = first * _FACTORS[0] + second * _FACTORS[1]
        keys ^= keys >> np.uint64(32)
        keys *= _FACTORS[2]
        keys[keys == NO_KEY] -= np.uint64(1)
        keys[none] = NO_KEY
        yield keys
    yield np.minimum(digests[:, :8].copy().view(np.uint64)[:, 0], np.uint64(NO_KEY - 1))


def lowest_bytes(signatures: np.ndarray) -> np.ndarray:
    """Of each value of signatures (documents, 128): enough to estimate similarities, in a quarter of the room."""
    return signatures.astype(np.uint8)


def similarities(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Jaccard similarities (pairs,), estimated from the lowest bytes of signatures (pairs, 128).

    Of values that differ one byte in 256 agrees by chance (Li and König 2010, theorem 1, for sets that are small beside
    all shingles).
    """
    chance = 1 / 256
    return ((left == right).mean(axis=1) - chance) / (1 - chance)


def pairs_of(keys: np.ndarray, documents: np.ndarray) -> np.ndarray:
    """Pairs (2, pairs): each document with the first of those that share its key; `documents` rise where keys are equal.

    Comparing with the first only keeps the cost linear where many share a key; two that are similar to each other but
    not to it meet again in other bands.
    """
    order = np.argsort(keys, kind="stable")
    keys, documents = keys[order], documents[order]
    begins = np.concatenate([[True], keys[1:] != keys[:-1]])[: len(keys)]
    first = np.maximum.accumulate(np.where(begins, np.arange(len(keys)), 0))
    others = np.flatnonzero(~begins)
    return np.stack([documents[first[others]], documents[others]])


class Clusters:
    """Connected components that grow link by link; 8 bytes a document."""

    def __init__(self, documents: int) -> None:
        self._parent = np.arange(documents)

    def of(self, documents: np.ndarray) -> np.ndarray:
        """The first document of each one's cluster."""
        roots = self._parent[documents]
        while not np.array_equal(above := self._parent[roots], roots):
            roots = above
        self._parent[documents] = roots
        return roots

    def join(self, pairs: np.ndarray) -> None:
        """Links the documents of each pair (2, pairs)."""
        ends, places = np.unique(self.of(pairs), return_inverse=True)
        links = coo_array((np.ones(pairs.shape[1], np.int8), places.reshape(2, -1)), shape=(len(ends), len(ends)))
        _, labels = connected_components(links, directed=False)
        _, first, member = np.unique(labels, return_index=True, return_inverse=True)
        self._parent[ends] = ends[first[member]]

    def join_similar(self, pairs: np.ndarray, similar: Callable[[np.ndarray], np.ndarray]) -> None:
        """Links the pairs that are similar; those that are linked already are not compared again."""
        pairs = pairs[:, self.of(pairs[0]) != self.of(pairs[1])]
        if pairs.size:
            self.join(pairs[:, similar(pairs)])

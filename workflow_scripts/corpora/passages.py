"""Long passages shared with held-out text: copies that are too small a part of a document to make it a near-duplicate.

Shingles (32 bytes) are sampled by their hash, one in 32, the same ones in every document.
"""

from __future__ import annotations

import numpy as np

SAMPLED_ONE_IN = 32
SHARED_SHINGLES = 5
"""Distinct sampled shingles that make a leak: about 160 consecutive ones, that is 190 bytes without white space."""


def sampled(hashes: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sampled hashes of a batch, and how many each document has."""
    chosen = hashes % np.uint64(SAMPLED_ONE_IN) == 0
    return hashes[chosen], np.diff(np.concatenate([[0], np.cumsum(chosen)])[offsets])


def shared_shingles(hashes: np.ndarray, owners: np.ndarray, held_out: np.ndarray, known: np.ndarray) -> np.ndarray:
    """How many distinct shingles each document shares with the held-out text and not with the known text.

    `owners[i]` is the document of `hashes[i]`; `held_out` and `known` mark documents, by number.  What also stands in
    known (training) text, licences and idioms for instance, tells nothing about the held-out text.
    """
    secret = np.setdiff1d(hashes[held_out[owners]], hashes[known[owners]])
    hits = np.flatnonzero(np.isin(hashes, secret))
    distinct = np.unique(np.stack([owners[hits].astype(np.uint64), hashes[hits]]), axis=1)
    return np.bincount(distinct[0].astype(np.int64), minlength=len(held_out))

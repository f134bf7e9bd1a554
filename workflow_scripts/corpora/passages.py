"""Long passages shared with held-out text: copies that are too small a part of a document to make it a near-duplicate.

Shingles (32 bytes without white space, about six English words) are sampled by their hash, one in 32, the same ones in
every document.  A leak is a document with five of them in common with the held-out text: some 190 bytes, as much as the
50 tokens from which Lee et al. 2022 (section 4.1) count a repeated passage, and more than the 13 words of Brown et al.
2020 (appendix C).  Sampling makes that soft: of a copied passage of 190 bytes, white space not
counted, 55 % are found, of 300 bytes 92 %, of 400 bytes 99 % (the tail of a Poisson distribution).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

SAMPLED_ONE_IN = 32
SHARED_SHINGLES = 5
"""Distinct sampled shingles that make a leak."""


def sampled(hashes: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sampled hashes of a batch, and how many each document has."""
    chosen = np.flatnonzero(hashes % np.uint64(SAMPLED_ONE_IN) == 0)
    return hashes[chosen], np.diff(np.searchsorted(chosen, offsets))


def hashes_of(sampled: pa.LargeListArray, documents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sampled hashes of the documents that are marked, and the document (row) of each."""
    counts = np.diff(sampled.offsets.to_numpy())
    owners = np.repeat(np.arange(len(sampled)), counts)
    chosen = documents[owners]
    return sampled.flatten().to_numpy()[chosen], owners[chosen]


def secret_of(
    batches: Iterable[tuple[pa.LargeListArray, np.ndarray]], known: Iterable[tuple[pa.LargeListArray, np.ndarray]]
) -> np.ndarray:
    """The sampled hashes, in order, that the held-out documents have and the known ones have not.

    Both are batches of (sampled hashes, which documents are meant).  What also stands in known (training) text, licences
    and idioms for instance, tells nothing about the held-out text.  Memory: the held-out hashes, and a batch.
    """
    secret = np.unique(np.concatenate([np.empty(0, np.uint64), *(hashes_of(*batch)[0] for batch in batches)]))
    is_known = np.zeros(len(secret), bool)
    for batch in known:
        is_known[_places(hashes_of(*batch)[0], secret)[1]] = True
    return secret[~is_known]


def _places(hashes: np.ndarray, secret: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which of the hashes are among the secret ones (which are in order), and where there."""
    if not len(secret):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    places = np.minimum(np.searchsorted(secret, hashes), len(secret) - 1)
    hits = np.flatnonzero(secret[places] == hashes)
    return hits, places[hits]


def shared_shingles(sampled: pa.LargeListArray, secret: np.ndarray) -> np.ndarray:
    """How many distinct secret hashes each document of a batch has."""
    hashes, owners = hashes_of(sampled, np.ones(len(sampled), bool))
    hits, _ = _places(hashes, secret)
    distinct = np.unique(np.stack([owners[hits].astype(np.uint64), hashes[hits]]), axis=1)
    return np.bincount(distinct[0].astype(np.int64), minlength=len(sampled))

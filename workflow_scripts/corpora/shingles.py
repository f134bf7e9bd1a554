"""Shingles: every window of 32 bytes of UTF-8 of a document, its white space left out, as a 64-bit hash.

Bytes serve every language and programming language alike: 32 of them are six English words, a line of code or eleven
Chinese characters.  The hash is a polynomial of the bytes' random numbers modulo 2^64, made for all windows of a batch
at once by doubling: a window of 2w is the window of w at its start times a constant plus the window of w that follows.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa

WINDOW_BYTES = 32
DIGEST_BYTES = 16
_BLOCK = 2**15
"""Windows that are hashed together: what fits into a processor's cache."""
_DOUBLINGS = 5
assert 2**_DOUBLINGS == WINDOW_BYTES

_IS_SPACE = np.isin(np.arange(256), list(b" \t\n\v\f\r"))
# PCG64's raw output is fixed by NumPy's compatibility policy; a generator's methods are not.
_RANDOM = np.random.PCG64(20210202).random_raw(256 + _DOUBLINGS + 1).astype(np.uint64)
_BYTE_NUMBERS, _FACTORS = _RANDOM[:256], _RANDOM[256:] | np.uint64(1)


@dataclass(frozen=True)
class Shingled:
    """A batch of documents: document i has the hashes `hashes[offsets[i]:offsets[i + 1]]` (none under 32 bytes)."""

    hashes: np.ndarray
    offsets: np.ndarray
    digests: list[bytes]
    """16 bytes a document, equal where the documents are the same but for white space."""


def shingles_of(texts: pa.LargeStringArray) -> Shingled:
    """The shingles of a column of texts without nulls."""
    _, offset_buffer, data_buffer = texts.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    raw = np.frombuffer(data_buffer, np.uint8)[offsets[0] : offsets[-1]]
    spaces = _IS_SPACE[raw]
    ends = offsets - offsets[0] - np.searchsorted(np.flatnonzero(spaces), offsets - offsets[0])
    data = raw[~spaces]
    digests = [hashlib.blake2b(data[start:end], digest_size=DIGEST_BYTES).digest() for start, end in pairwise(ends)]
    hashes = np.empty(max(len(data) - WINDOW_BYTES + 1, 0), np.uint64)
    for start in range(0, len(hashes), _BLOCK):
        hashes[start : start + _BLOCK] = _window_hashes(data[start : start + _BLOCK + WINDOW_BYTES - 1])
    inside = _inside_one_document(len(data), ends)
    counts = np.maximum(np.diff(ends) - WINDOW_BYTES + 1, 0)
    return Shingled(hashes[inside], np.concatenate([[0], np.cumsum(counts)]), digests)


def _window_hashes(data: np.ndarray) -> np.ndarray:
    """One hash a window of `data`, in order: `max(len(data) - 31, 0)` of them."""
    hashes, width = _BYTE_NUMBERS[data], 1
    for factor in _FACTORS[:-1]:
        hashes = hashes[:-width] * factor + hashes[width:]
        width *= 2
    hashes ^= hashes >> np.uint64(32)
    hashes *= _FACTORS[-1]
    hashes ^= hashes >> np.uint64(29)
    return hashes


def _inside_one_document(length: int, ends: np.ndarray) -> np.ndarray:
    """Which of the windows of a text of `length` bytes do not cross one of the document ends."""
    inside = np.ones(max(length - WINDOW_BYTES + 1, 0), bool)
    for end in ends[1:]:
        inside[max(end - WINDOW_BYTES + 1, 0) : end] = False
    return inside

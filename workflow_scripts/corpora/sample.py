"""A budget of characters: a uniform sample of the documents of a source, in one pass over it.

Every text has a place in one fixed shuffle: a hash of the text and the seed (its `key`).  The sample are the texts with
the smallest keys, as many as fit in the budget.  Which they are does not depend on the order of the documents or files,
a larger budget takes all that a smaller one takes, and every text is as likely as any other to be among them, but for
the first one that does not fit: long ones are that one more often.  The same texts share a key, and their lot.

While the source is read the limit of the keys only falls, so what is written meanwhile is the sample and some more:
budget x (1 + ln(source / budget)) characters are to be expected, were the documents equally long.
"""

from __future__ import annotations

import hashlib
import heapq


def key_of(text: str, seed: int) -> int:
    """64 bits, uniform."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8, salt=seed.to_bytes(8)).digest())


class Budget:
    """The limit of the keys, as documents are offered.  Memory: two numbers a document of the sample."""

    def __init__(self, characters: int, seed: int) -> None:
        self._characters = characters
        self._seed = seed
        self._held: list[tuple[int, int]] = []
        """(-key, characters), the largest key first."""
        self._total = 0
        self._limit = 2**64

    def offer(self, text: str) -> bool:
        """Whether `text` belongs to the sample of all that was offered so far, itself included."""
        key = key_of(text, self._seed)
        if key >= self._limit:
            return False
        heapq.heappush(self._held, (-key, len(text)))
        self._total += len(text)
        while self._total > self._characters or (self._held and -self._held[0][0] >= self._limit):
            largest, characters = heapq.heappop(self._held)
            self._limit = -largest
            self._total -= characters
        return key < self._limit

    def holds(self, text: str) -> bool:
        """Whether `text`, offered before, is in the sample when all have been offered."""
        return key_of(text, self._seed) < self._limit

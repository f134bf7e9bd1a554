"""A budget of characters: a uniform sample of documents, in one pass over them.

Every text has a place in one fixed shuffle: a hash of the text and the seed (its `key`).  The sample are the texts with
the smallest keys, as many as fit in the budget.  Which they are does not depend on the order of the documents or files,
a larger budget takes all that a smaller one takes, and every text is as likely as any other to be among them, but for
the first one that does not fit: long ones are that one more often.  The same texts share a key, and their lot.

While the source is read the limit of the keys only falls, so what is written meanwhile is the sample and some more:
budget x (1 + ln(source / budget)) characters are to be expected, were the documents equally long.

The sample of a source is that of the samples of its shards, up to the lowest of their limits: no document that is too late in
the shuffle of its shard is early enough in that of the source.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa

from workflow_scripts.errors import CorpusError

OVER_BUDGET = "over_budget"
"""The reason for which documents out of the sample are dropped."""
_KEYS = pa.schema([("key", pa.uint64()), ("characters", pa.int64())])
_LIMIT = "limit"


def key_of(text: str, seed: int) -> int:
    """64 bits, uniform."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8, salt=seed.to_bytes(8)).digest())


class Budget:
    """The limit of the keys, as documents are offered.  Memory: some 120 bytes a document of the sample."""

    def __init__(self, characters: int) -> None:
        self._characters = characters
        self._held: list[tuple[int, int]] = []
        """(-key, characters), the largest key first."""
        self._total = 0
        self.limit = 2**64
        """The keys of the sample of all that was offered so far are below it."""

    def offer(self, key: int, characters: int) -> bool:
        """Whether a text belongs to the sample of all that was offered so far, itself included."""
        if key >= self.limit:
            return False
        heapq.heappush(self._held, (-key, characters))
        self._total += characters
        while self._total > self._characters or (self._held and -self._held[0][0] >= self.limit):
            largest, its_characters = heapq.heappop(self._held)
            self.limit = -largest
            self._total -= its_characters
        return key < self.limit

    @property
    def held(self) -> Iterator[tuple[int, int]]:
        """(key, characters) of the sample, in no order."""
        return ((-key, characters) for key, characters in self._held)


def write_keys(path: Path, budget: Budget) -> None:
    """An Arrow file of a row a document of the sample: `key`, `characters`; the limit is in the schema's metadata.

    A document at the limit is in no file, but no sample of a larger whole may go beyond it.
    """
    held = np.fromiter(budget.held, [("key", np.uint64), ("characters", np.int64)])
    schema = _KEYS.with_metadata({_LIMIT: str(budget.limit)})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        writer.write_table(pa.table([held["key"], held["characters"]], schema=schema), max_chunksize=2**16)


def sample_of(paths: Sequence[Path], characters: int) -> Budget:
    """The sample of all the documents whose keys are in the files, each file the sample of a part.

    Raises CorpusError for a file that holds no keys.
    """
    budget = Budget(characters)
    for path in paths:
        with _batches(path) as batches:
            budget.limit = min(budget.limit, int(batches.schema.metadata[_LIMIT.encode()]))
    for path in paths:
        with _batches(path) as batches:
            for number in range(batches.num_record_batches):
                for key, size in zip(
                    *(column.to_pylist() for column in batches.get_batch(number).columns), strict=True
                ):
                    budget.offer(key, size)
    return budget


@contextmanager
def _batches(path: Path) -> Iterator[pa.RecordBatchFileReader]:
    try:
        with pa.OSFile(str(path)) as file, pa.ipc.open_file(file) as batches:
            yield batches
    except pa.ArrowInvalid as error:
        raise CorpusError(f"{path}: not the keys of a sample ({error}); delete it and run the step again") from error

"""Data sets of an exact size, and batches that are a pure function of (seed, step).

A data set of D characters is a prefix of one shuffle of sampling units drawn from all documents of the training split,
so a smaller set is contained in a larger one of the same seed, and both arms and all model sizes see the same text.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from workflow_scripts.files import read_json

PREFIX_STREAM, EPOCH_STREAM = 0, 1
"""First words of the random streams' keys: one for the shuffle of units, one for the order of windows in an epoch."""


PIECE = 1_000_000
"""Tokens whose sizes are summed at once."""


class DataError(ValueError):
    """The corpus cannot give the data that was asked for."""


@dataclass(frozen=True)
class TokenSet:
    """Tokens to train or evaluate on, and what they stand for."""

    tokens: np.ndarray
    """(n,), in the corpus's integer type: units one after another, each followed by the end-of-text token."""
    units: int
    characters: int
    bytes: int


class Corpus:
    """A folder of the stage `tokens`: `<split>.bin`, `documents.parquet`, `manifest.json`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = read_json(folder / "manifest.json")
        self.characters_of = np.asarray(self.manifest["token_characters"])
        self.bytes_of = np.asarray(self.manifest["token_bytes"])
        self.units = cache(self._units)

    def _units(self, split: str, unit_tokens: int | None) -> np.ndarray:
        """Sampling units of a split as rows (offset, length) in tokens: whole documents, or excerpts of at most
        `unit_tokens` tokens cut from every document."""
        columns, chosen = ["token_offset", "tokens"], [("split", "==", split)]
        documents = pq.read_table(self.folder / "documents.parquet", columns=columns, filters=chosen)
        offsets, lengths = (documents[column].to_numpy() for column in columns)
        if unit_tokens is not None:
            pieces = -(-lengths // unit_tokens)
            within = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
            ends = np.repeat(offsets + lengths, pieces)
            offsets = np.repeat(offsets, pieces) + within * unit_tokens
            lengths = np.minimum(ends - offsets, unit_tokens)
        return np.stack([offsets, lengths], axis=1)[lengths > 0]

    def prefix(
        self,
        split: str,
        unit_tokens: int | None,
        seed: int,
        *,
        characters: int | None = None,
        tokens: int | None = None,
    ) -> TokenSet:
        """The first `characters` (or `tokens`) of the shuffle of `seed`, to the token.

        The last unit is cut; the result holds at most that many characters, and one token more would exceed them.
        End-of-text tokens count as tokens but hold no characters.  Raises DataError if the split holds less.
        """
        stream = np.memmap(self.folder / f"{split}.bin", dtype=self.manifest["dtype"], mode="r")
        units = self.units(split, unit_tokens)
        end_of_text = stream.dtype.type(self.manifest["end_of_text"])
        order = np.random.default_rng([PREFIX_STREAM, seed]).permutation(len(units))
        parts: list[np.ndarray] = []
        left = characters if characters is not None else tokens
        for offset, length in units[order]:
            part = np.append(stream[offset : offset + length], end_of_text)
            sizes = self.characters_of[part] if characters is not None else np.ones(len(part), dtype=np.int64)
            total = int(sizes.sum())
            if total > left:
                part = part[: int(np.searchsorted(np.cumsum(sizes), left, side="right"))]
            if len(part):
                parts.append(part)
            if total >= left:
                break
            left -= total
        else:
            asked = f"{characters:,} characters" if characters is not None else f"{tokens:,} tokens"
            held = self.manifest["splits"][split]
            raise DataError(
                f"{self.folder}: {asked} of the {split} split were asked for; it holds {held['characters']:,} characters "
                f"in {held['tokens']:,} tokens. Ask for less, or add sources to this corpus."
            )
        flat = np.concatenate(parts)
        return TokenSet(flat, len(parts), _sum_of(self.characters_of, flat), _sum_of(self.bytes_of, flat))


def _sum_of(sizes: np.ndarray, tokens: np.ndarray) -> int:
    """Of the tokens' sizes, in pieces: all at once they would take four times the memory of the tokens."""
    return sum(int(sizes[tokens[start : start + PIECE]].sum()) for start in range(0, len(tokens), PIECE))


class Batches:
    """Batches of windows over a ring of tokens (its end goes on at its beginning): `batches[step]` depends on (tokens, sizes,
    seed, step) and nothing else.

    An epoch cuts the ring into len(tokens) // n_ctx windows from a random phase and visits them in random order, so no
    token is presented twice in an epoch, and the few left over differ from epoch to epoch.
    """

    def __init__(self, tokens: np.ndarray, n_ctx: int, sequences: int, seed: int) -> None:
        if len(tokens) <= n_ctx:
            raise DataError(f"a data set of {len(tokens)} tokens does not fill one context of {n_ctx} tokens")
        self.ring, self.length = tokens, len(tokens)
        self.n_ctx, self.sequences, self.seed = n_ctx, sequences, seed
        self.windows = self.length // n_ctx
        self._epoch, self._starts = -1, np.empty(0, dtype=np.int64)

    def _epoch_starts(self, epoch: int) -> np.ndarray:
        if epoch != self._epoch:
            random = np.random.default_rng([EPOCH_STREAM, self.seed, epoch])
            phase = random.integers(self.length)
            self._starts = (phase + self.n_ctx * random.permutation(self.windows)) % self.length
            self._epoch = epoch
        return self._starts

    def __getitem__(self, step: int) -> np.ndarray:
        """Tokens (sequences, n_ctx + 1) of a step, int64: inputs are [:, :-1], targets [:, 1:]."""
        indices = np.arange(step * self.sequences, (step + 1) * self.sequences)
        starts = [self._epoch_starts(int(index // self.windows))[index % self.windows] for index in indices]
        return self.ring[(np.asarray(starts)[:, None] + np.arange(self.n_ctx + 1)) % self.length].astype(np.int64)


def windows(tokens: np.ndarray, n_ctx: int) -> np.ndarray:
    """Held-out tokens as rows (n, n_ctx + 1), int64, in fixed order.  Each is a target once, but for the first, which is none, and
    what is left over at the end and fills no row."""
    count = (len(tokens) - 1) // n_ctx
    return tokens[np.arange(count)[:, None] * n_ctx + np.arange(n_ctx + 1)].astype(np.int64)

"""What a reader yields: (id, text), or (id, why there is none)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Unreadable:
    """A broken record, to be set aside: `reason`, by which it is counted, its length in bytes, where it begins, and what
    else was found.

    The offset is in bytes of its file after decompression, unless the reader says otherwise.
    """

    reason: str
    bytes: int
    offset: int = 0
    cause: str = ""


@dataclass(frozen=True)
class LeftOut:
    """A sound record that the source does not ask for: `reason`, and its length in bytes."""

    reason: str
    bytes: int


Document = tuple[str, str | Unreadable | LeftOut]


def decoded(data: bytes | Unreadable, offset: int = 0) -> str | Unreadable:
    """Strict UTF-8: bytes that are not are set aside, never replaced."""
    if isinstance(data, Unreadable):
        return data
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return Unreadable("invalid_utf8", len(data), offset)


def has_lone_surrogate(text: str) -> bool:
    """Whether it is no Unicode text: JSON's escapes can spell half of a character."""
    try:
        return not text.isascii() and not text.encode("utf-8")
    except UnicodeEncodeError:
        return True

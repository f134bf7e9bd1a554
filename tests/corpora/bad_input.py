"""What the tests of bad input share."""

import os
from pathlib import Path

from tests.corpora.dumps import found, json_lines
from workflow_scripts.corpora.records import Unreadable

MANY = json_lines([{"text": f"{row} {os.urandom(40).hex()}"} for row in range(400)])
FILES = {f"r/{row}.py": os.urandom(700).hex().encode() for row in range(4)}
GOOD = b'{"text": "good"}\n'


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]


def set_aside(kind: str, path: Path, **keys) -> list:
    """The reasons of what is set aside, the text of the rest."""
    return [value.reason if isinstance(value, Unreadable) else value for value in found(kind, path, **keys)]

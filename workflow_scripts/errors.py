"""What a user can put right, said in one message at the command line."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager


class CorpusError(ValueError):
    """Input that cannot be used; the message names the file, what was found and what to do."""


@contextmanager
def one_message(subject: str) -> Iterator[None]:
    """Ends the program with one message about `subject` on a CorpusError or an error of the file system."""
    try:
        yield
    except CorpusError as error:
        raise SystemExit(f"{subject}: {error}") from None
    except OSError as error:
        advice = "; free some space and start again" if error.errno == errno.ENOSPC else ""
        raise SystemExit(f"{subject}: {error}{advice}") from None

"""Which language a text is in, and how much Python stands in it: counts for the manifest, with errors that are known.

The language is the one whose profile is nearest (resiliparse, 101 languages).  Neighbours are easily taken for one
another in short texts, so a document of a source that states its language counts as that language unless another one is
nearer by more than 5 %.  How often both are wrong is measured in docs/corpora.md.
"""

from __future__ import annotations

import re
from collections import defaultdict

from resiliparse.parse.lang import detect_fast

NEARER = 1.05
ANY_DISTANCE = 2**31
PYTHON_LINES = 3
"""Recognised lines from which on a document holds Python."""

_NAME = r"[A-Za-z_]\w*"
_DOTTED = rf"{_NAME}(?:\.{_NAME})*"
_REST = r"[ \t]*(?:\#.*)?"
_PYTHON = re.compile(
    rf"""^(?=.{{4,400}}$)(?!.*[;{{][ \t]*$)[ \t]*(?:>>>[ ]|\.\.\.[ ])?(?:
    (?:async[ ]+)?def[ ]+{_NAME}\(.*
  | class[ ]+{_NAME}(?:\([^()\n]*\))?:{_REST}
  | import[ ]+{_DOTTED}(?:[ ]+as[ ]+{_NAME})?(?:,[ ]*{_DOTTED}(?:[ ]+as[ ]+{_NAME})?)*{_REST}
  | from[ ]+\.*(?:{_DOTTED})?[ ]+import[ ]+[(*\w].*
  | (?:if|elif|while)[ ].*[]=<>[().!_].*:{_REST}
  | for[ ]+[\w,() ]+[ ]in[ ].*:{_REST}
  | (?:else|try|finally):{_REST}
  | except(?:[ ]+[\w.,() ]+)?:{_REST}
  | with[ ]+.*\(.*\).*:{_REST}
  | return[ ]+(?:.*[]()._=[].*|None|True|False|{_NAME}){_REST}
  | raise[ ]+{_DOTTED}\(.*
  | @{_DOTTED}(?:\(.*)?
  | {_DOTTED}(?:\[[^]\n]*\])?(?:,[ ]*{_DOTTED})*[ ]*(?:[-+*/|&]|//|\*\*)?=[ ]*[^=\s].*
  | {_DOTTED}\(.*\){_REST}
  | (?:print|assert|del|yield|lambda)\b[ ]?["'(\w].*[]()=[].*
    )$""",
    re.VERBOSE | re.MULTILINE,
)


def language_of(text: str, stated: str | None) -> str:
    """ISO 639-1 code of the language of `text`, or `unknown`; `stated` unless another one is clearly nearer."""
    nearest, distance = detect_fast(text)
    if stated is None or nearest == stated or nearest == "unknown":
        return nearest
    found = detect_fast(text, cutoff=ANY_DISTANCE, langs=[stated])
    return stated if found[0] == stated and found[1] <= NEARER * distance else nearest


def python_in(text: str) -> tuple[int, int]:
    """Lines of `text` that are Python statements by their form, and the characters of these lines."""
    found = [len(line[0]) for line in _PYTHON.finditer(text)]
    return len(found), sum(found)


class Measured:
    """The languages of the documents of a source, and the Python in them."""

    def __init__(self) -> None:
        self.languages: dict[str, dict[str, int]] = defaultdict(lambda: {"documents": 0, "characters": 0})
        self.python = {"documents": 0, "characters": 0}

    def add(self, text: str, language: str) -> None:
        self.languages[language]["documents"] += 1
        self.languages[language]["characters"] += len(text)
        lines, characters = python_in(text)
        if lines >= PYTHON_LINES:
            self.python["documents"] += 1
            self.python["characters"] += characters

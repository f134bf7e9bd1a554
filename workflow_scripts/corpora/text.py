"""A document on its way through the filters, with what several of them look at, made once."""

from __future__ import annotations

import re
from functools import cached_property

from workflow_scripts.corpora.languages import language_of

_UNSPACED = re.compile(
    r"[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"
)
UNSPACED_SHARE = 0.3
HEAD = 10_000
"""Characters that tell the script and the language of a text."""


class Text:
    def __init__(self, path: str, text: str, language: str | None = None) -> None:
        self.path = path
        """Of a file of code: its path in its archive, folder, export or package."""
        self.text = text
        self.stated_language = language
        """What the source says of all its documents."""

    def with_text(self, text: str) -> Text:
        return Text(self.path, text, self.stated_language)

    @cached_property
    def lines(self) -> list[str]:
        return self.text.split("\n")

    @cached_property
    def words(self) -> list[str]:
        return self.text.split()

    @cached_property
    def parts_words(self) -> bool:
        """Whether it parts its words by spaces: not Chinese, Japanese, Thai, Lao, Khmer, Burmese or Tibetan."""
        head = self.text[:HEAD]
        return head.isascii() or len(_UNSPACED.findall(head)) <= UNSPACED_SHARE * len(head)

    @cached_property
    def language(self) -> str:
        return language_of(self.text[:HEAD], self.stated_language)

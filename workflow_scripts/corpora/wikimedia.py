"""Dumps of Wikipedia, Wikibooks and their sisters: pages of MediaWiki's XML export, wikitext to plain text.

The export has the tags of a page on lines of their own, so that pages can be told apart, and a broken one passed over,
without a parser that must see the whole file; each is then parsed alone, with no document type and thus no entities.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from pathlib import Path
from xml.etree import ElementTree

import mwparserfromhell
import numpy as np
from mwparserfromhell.nodes import Node
from mwparserfromhell.wikicode import Wikicode

from workflow_scripts.corpora.containers import Gathered, lines, opened
from workflow_scripts.corpora.records import Document, LeftOut, Unreadable
from workflow_scripts.errors import CorpusError

NOT_PROSE = ("ref", "table", "gallery", "math", "timeline", "imagemap", "score", "syntaxhighlight")
_FILE_OR_CATEGORY = re.compile(rb'<namespace key="(?:6|14)"[^>]*>([^<]+)</namespace>')
MOST_UNCLOSED = 1000
"""Brackets of a page that are open together: the parser's time grows with their square, from some seconds on."""
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z]+)*")


def read_xml(path: Path) -> Iterator[Document]:
    """Articles (namespace 0, no redirects), title on the first line; ids are `<path>:<page id>`.

    Of a page with its history the last revision counts.  Memory: one page.  Raises CorpusError for a file that is damaged,
    cut off, or holds no page.
    """
    page: Gathered | None = None
    pages = end = 0
    whole = False
    namespaces = {"file", "image", "category"}
    with opened(path) as stream:
        for offset, line in lines(stream):
            tag = b"" if isinstance(line, Unreadable) else line.strip()
            end = offset + (line.bytes if isinstance(line, Unreadable) else len(line))
            whole = tag == b"</mediawiki>" or (whole and not tag)
            if not pages and (name := _FILE_OR_CATEGORY.search(tag)):
                namespaces.add(name[1].decode("utf-8", "replace").lower())
            if tag == b"<page>":
                if page is not None:
                    yield f"{path}:byte{page.offset}", Unreadable("broken_page", page.bytes, page.offset)
                page = Gathered(offset)
            if page is not None:
                page.add(line)
                if tag == b"</page>":
                    pages += 1
                    yield _article(path, page, namespaces)
                    page = None
    if page is not None or not pages or not whole:
        where = "byte 0: no page" if not pages else f"byte {end:,}: no </mediawiki>"
        where = f"byte {page.offset:,}: a page without end" if page else where
        raise CorpusError(f"{path}: {where}; expected MediaWiki's XML export (`<page>` on a line of its own), complete")


def _article(path: Path, page: Gathered, namespaces: Set[str]) -> Document:
    name = f"{path}:byte{page.offset}"
    record = page.record()
    if isinstance(record, Unreadable):
        return name, record
    try:
        element = ElementTree.fromstring(record)
    except (ElementTree.ParseError, ValueError):  # ValueError: an encoding that Python does not know
        return name, Unreadable("broken_page", page.bytes, page.offset)
    text, title = element.findtext("revision[last()]/text"), element.findtext("title")
    name = f"{path}:{element.findtext('id')}"
    if text is None or title is None:
        return name, Unreadable("no_text_in_page", page.bytes, page.offset)
    if element.findtext("ns", "0") != "0":
        return name, LeftOut("other_namespace", page.bytes)
    if element.find("redirect") is not None:
        return name, LeftOut("redirect", page.bytes)
    if max(most_open(text, brackets) for brackets in ("{}", "[]")) > MOST_UNCLOSED:
        return name, Unreadable("unclosed_markup", page.bytes, page.offset)
    return name, f"{title}\n{plain_text(text, namespaces)}"


def most_open(text: str, brackets: str) -> int:
    """The largest number of brackets of a kind, `{}`, that are open together; one too many that closes counts nothing."""
    code = np.frombuffer(text.encode(), np.uint8)
    steps = (code == ord(brackets[0])).astype(np.int64) - (code == ord(brackets[1]))
    height = np.concatenate([[0], np.cumsum(steps)])
    return int((height - np.minimum.accumulate(height)).max())


def plain_text(wikitext: str, namespaces: Set[str] = frozenset()) -> str:
    """Wikitext without markup: templates, tables, notes, files and categories go, the words of links stay.

    `namespaces` are the names of files and categories in the language of the text, in lower case.
    """
    code = mwparserfromhell.parse(wikitext)
    for tag in code.filter_tags(matches=lambda node: str(node.tag).lower() in NOT_PROSE):
        _remove(code, tag)
    for line_break in code.filter_tags(matches=lambda node: str(node.tag).lower() == "br"):
        code.replace(line_break, "\n")
    for link in code.filter_wikilinks():
        prefix, colon, _ = str(link.title).partition(":")
        if colon and (prefix.strip().lower() in namespaces or _LANGUAGE.fullmatch(prefix)):
            _remove(code, link)
    return code.strip_code(collapse=False)


def _remove(code: Wikicode, node: Node) -> None:
    """Takes a node out, wherever it stands, unless it went with one around it."""
    if code.contains(node):
        code.remove(node)

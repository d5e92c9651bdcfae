"""A report's Markdown in, sanitised HTML out, block by block: one renderer for every view of a report. Pure.

A block is what stands at the top level of the Markdown: a heading, a paragraph, a list, a table. Each is rendered by
itself, in order, so that it comes out the same whether the report is there as a whole or still grows.
"""

import re
from dataclasses import dataclass
from itertools import pairwise

from app.boundaries import Span, closed_spans, spans
from app.footnotes import Notes
from app.markdown import Heading, Page

CLOSER = re.compile(r"\n[ \t]*\r?\n(?:[^\s\d*+-]|[*+-]{1,2}[^\s*+-]|\d{1,9}[^\d\s.)]|\d{1,9}[.)]\S)")
"""An empty line and a line that is no part of a list: a block may end there, and is worth a look."""

SMALL_TAIL = 4096
"""An open block that is longer is looked at again only when it has grown by an eighth."""

LOOKBACK = 64
"""So far back the place where a block may end can begin."""


@dataclass(frozen=True, slots=True)
class Block:
    """One block: where it begins and ends in the Markdown, in code points, and its HTML.

    The blocks of a text tile it: each begins where the one before ended. One of definitions alone has no HTML.
    """

    offset: int
    end: int
    html: str


@dataclass(frozen=True, slots=True)
class Rendered:
    """A whole report: its blocks and, of the headings h2 to h4, its contents."""

    blocks: list[Block]
    contents: list[Heading]

    @property
    def html(self) -> str:
        return "\n".join(block.html for block in self.blocks)


class Growing:
    """A report that grows: gives its blocks one by one, each when it is closed.

    Promises: a block is given once, rendered once, and the same however the text was cut. What a block refers to has
    to stand before its own end; a definition that comes later counts in `render` alone, which also numbers the
    footnotes and lists them at the end. An open block is looked at anew only where it may have ended, and a long one
    only when it has grown by an eighth.

    `length` is how much text it has, `end` where the last block that was given ends, `tail` the text behind that.
    """

    def __init__(self, language: str) -> None:
        self.length = self.end = 0
        self.tail = ""
        self._page = Page(language)
        self._looked = self._searched = 0

    def add(self, piece: str) -> bool:
        """Take in further text; whether `closed` may find something."""
        self.tail += piece
        self.length += len(piece)
        if len(self.tail) > SMALL_TAIL and len(self.tail) - self._looked < len(self.tail) // 8:
            return False
        found = CLOSER.search(self.tail, self._searched)
        self._searched = max(len(self.tail) - LOOKBACK, found.start() + 1 if found else 0, 0)
        return found is not None

    def closed(self) -> list[Block]:
        """Return the blocks that were closed since the last call."""
        self._looked = len(self.tail)
        return self._render(closed_spans(self.tail))

    def finish(self) -> list[Block]:
        """Return what is left as blocks: no text will come any more."""
        return self._render(spans(self.tail, {}))

    def _render(self, closed: list[Span]) -> list[Block]:
        found, begin = [], 0
        for end, _ in closed:
            html = self._page.html(self.tail[begin:end])
            found.append(Block(self.end, self.end + end - begin, html))
            self.end += end - begin
            begin = end
        if begin:
            self.tail = self.tail[begin:]
            self._looked = self._searched = 0
        return found


def blocks(markdown: str, language: str, *, start: int = 0, whole: bool) -> list[Block]:
    """Return the blocks of a report from an offset on; of one that is not `whole` only those that are closed."""
    growing = Growing(language)
    growing.add(markdown)
    found = growing.finish() if whole else growing.closed()
    return [block for block in found if block.offset >= start]


def render(markdown: str, language: str) -> Rendered:
    """Render a whole report: every definition counts everywhere, and its footnotes stand at its end.

    Its blocks are those of `blocks`; where there is no footnote and no definition behind its use, they are the same.
    """
    page = Page(language)
    found = spans(markdown, page.env)
    begins = [0, *(end for end, _ in found)]
    texts = [markdown[begin:end] for begin, end in pairwise(begins)]
    notes: dict[str, str] = {}
    for label, text in zip((label for _, label in found), texts, strict=True):
        if label is not None:
            notes.setdefault(label, text)
    page.notes = Notes(notes)
    htmls = ["" if label is not None else page.html(text) for text, (_, label) in zip(texts, found, strict=True)]
    if notes:
        htmls[-1] += page.footnotes(notes)
    return Rendered([Block(*place, html) for place, html in zip(pairwise(begins), htmls, strict=True)], page.contents)

"""A report's Markdown in, sanitised HTML out, block by block: one renderer for every view of a report. Pure.

A block is what stands at the top level of the Markdown: a heading, a paragraph, a list, a table. Each is rendered by
itself, in order, so that it comes out the same whether the report is there as a whole or still grows.
"""

from dataclasses import dataclass

from app.boundaries import Span, closed_spans, spans
from app.footnotes import Notes
from app.markdown import Heading, Page

SHORT = 2000
"""How much text may be rendered where it holds up others; what is longer goes into a thread."""

SMALL_TAIL = 4096
"""An open block that is longer is looked at again only when it has grown by a sixteenth."""


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
    footnotes and lists them at the end. Work is bounded: an open block is not looked at more than some sixteen times.

    `length` is how much text it has, `end` where the last block that was given ends.
    """

    def __init__(self, language: str) -> None:
        self.length = self.end = 0
        self._page = Page(language)
        self._tail = ""
        self._looked = 0
        self._decided = False

    @property
    def tail(self) -> str:
        """The text of the open block."""
        return self._tail

    def feed(self, piece: str) -> list[Block]:
        """Take in further text, and return the blocks that it closes."""
        self._tail += piece
        self.length += len(piece)
        if not self._may_close():
            return []
        found = self._render(closed_spans(self._tail))
        self._looked = len(self._tail)
        self._decided = len(self._tail) - self._tail.rfind("\n") > MARKER_CHARACTERS
        return found

    def finish(self) -> list[Block]:
        """Return what is left as blocks: no text will come any more."""
        return self._render(spans(self._tail, {}))

    def _may_close(self) -> bool:
        """Whether it is worth a look: a line has begun, and the open block has grown by enough."""
        if len(self._tail) > SMALL_TAIL and len(self._tail) - self._looked < len(self._tail) // 16:
            return False
        return not self._decided or "\n" in self._tail[self._looked :] or "\r" in self._tail[self._looked :]

    def _render(self, closed: list[Span]) -> list[Block]:
        found, begin = [], 0
        for end, _ in closed:
            html = self._page.html(self._tail[begin:end])
            found.append(Block(self.end, self.end + end - begin, html))
            self.end += end - begin
            begin = end
        self._tail = self._tail[begin:]
        return found


MARKER_CHARACTERS = 12
"""So much of a line tells whether it is an item of a list: nine digits, a mark and a space."""


def blocks(markdown: str, language: str, *, start: int = 0, whole: bool) -> list[Block]:
    """Return the blocks of a report from an offset on; of one that is not `whole` only those that are closed."""
    growing = Growing(language)
    found = growing.feed(markdown)
    found += growing.finish() if whole else []
    return [block for block in found if block.offset >= start]


def render(markdown: str, language: str) -> Rendered:
    """Render a whole report: every definition counts everywhere, and its footnotes stand at its end.

    Its blocks are those of `blocks`; where there is no footnote and no definition behind its use, they are the same.
    """
    page = Page(language)
    found = spans(markdown, page.env)
    texts = [markdown[begin:end] for begin, (end, _) in zip([0, *(end for end, _ in found)], found, strict=False)]
    notes: dict[str, str] = {}
    for text, (_, label) in zip(texts, found, strict=True):
        notes |= {label: text} if label is not None and label not in notes else {}
    page.notes = Notes(notes)
    htmls = ["" if label is not None else page.html(text) for text, (_, label) in zip(texts, found, strict=True)]
    if notes:
        htmls[-1] += page.footnotes(notes)
    begins = [0, *(end for end, _ in found)]
    return Rendered(
        [Block(begin, end, html) for begin, (end, _), html in zip(begins, found, htmls, strict=False)], page.contents
    )

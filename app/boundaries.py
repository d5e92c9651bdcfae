"""Where the blocks of a Markdown text end, also while it grows. Pure; offsets are code points."""

import re
from typing import Any, NamedTuple

from markdown_it.token import Token

from app.footnotes import OPENING
from app.markdown import PARSER

NEWLINE = re.compile(r"\r\n?|\n")

MAX_BLOCK = 50_000
"""How many characters a block may have: it is parsed in one go, with up to a kilobyte of memory for each of them. A
longer one is cut into several behind one of its lines."""

COMPLETE_IN_A_LINE = frozenset({"heading_open", "hr"})
"""What a whole line is the end of. (A heading that is underlined is one when its second line is whole.)"""

CONTAINERS = frozenset({"bullet_list_open", "ordered_list_open"})
MAYBE_ITEM = re.compile(r"(?:[-+*]|\d{1,9}[.)])(?:[ \t]|$)|\d{1,9}$")
"""The beginning of a line that may become an item of the list before it."""


class Span(NamedTuple):
    """A block: where it ends, and its label where it is a footnote."""

    end: int
    label: str | None


def spans(markdown: str) -> list[Span]:
    """Return the blocks of a text, which tile it: white space belongs to the block before, definitions to the next."""
    found = closed_spans(markdown) if len(markdown) > MAX_BLOCK else []
    begin = found[-1].end if found else 0
    lines = _Lines(markdown[begin:], whole=True)
    found += [Span(begin + lines.behind(token), _label(token)) for token in lines.blocks({})]
    if (found[-1].end if found else 0) < len(markdown) and (found or markdown.strip(" \t\r\n")):
        found.append(Span(len(markdown), None))  # definitions alone
    return found


def closed_spans(markdown: str) -> list[Span]:
    """Return those blocks of a text that no further text can change or lengthen; one that is too long is cut."""
    found: list[Span] = []
    begin = 0
    while True:
        window = markdown[begin : begin + MAX_BLOCK]
        is_all = begin + len(window) == len(markdown)
        closed = _closed(window) or ([] if is_all else [Span(window.rfind("\n") + 1 or len(window), None)])
        found += [Span(begin + end, label) for end, label in closed]
        if is_all:
            return found
        begin = found[-1].end


def define(markdown: str, env: dict[str, Any]) -> None:
    """Have `env` take up the definitions of a block."""
    if "]:" in markdown:
        _Lines(markdown, whole=True).blocks(env)


def _closed(markdown: str) -> list[Span]:
    lines = _Lines(markdown, whole=False)
    blocks = lines.blocks({})
    if blocks and not lines.closes(blocks[-1]):
        blocks.pop()
    return [Span(lines.behind(token), _label(token)) for token in blocks]


class _Lines:
    """A text's lines; of one that grows the last one counts only when it has ended.

    `starts` are the offsets at which they begin, and that at which the last one ends.
    """

    def __init__(self, markdown: str, *, whole: bool) -> None:
        self._markdown = markdown
        self.starts = [0, *(newline.end() for newline in NEWLINE.finditer(markdown))]
        if whole and self.starts[-1] < len(markdown):
            self.starts.append(len(markdown))

    def blocks(self, env: dict[str, Any]) -> list[Token]:
        """Return the first token of each block."""
        tokens: list[Token] = []
        source = NEWLINE.sub("\n", self._markdown[: self.starts[-1]]).replace("\0", "\ufffd")
        PARSER.block.parse(source, PARSER, env, tokens)
        return [token for token in tokens if token.level == 0 and token.nesting >= 0]

    def behind(self, block: Token) -> int:
        """Return where the next block or definition begins, or the lines end."""
        number = self._end(block)
        while number < len(self.starts) - 1 and self._is_blank(number):
            number += 1
        return self.starts[number]

    def closes(self, block: Token) -> bool:
        """Whether the last block ends, whatever the line in hand will be."""
        if self.behind(block) < self.starts[-1]:  # a definition stands behind it
            return True
        line = self._markdown[self.starts[-1] :]
        if not line or line[0].isspace() or (block.type in CONTAINERS and MAYBE_ITEM.match(line)):
            return False
        if block.type == "fence":
            return self._end(block) < len(self.starts) - 1
        return block.type in COMPLETE_IN_A_LINE or self._is_blank(len(self.starts) - 2)

    def _end(self, block: Token) -> int:
        assert block.map is not None
        return block.map[1]

    def _is_blank(self, number: int) -> bool:
        return not self._markdown[self.starts[number] : self.starts[number + 1]].strip(" \t\r\n")


def _label(token: Token) -> str | None:
    return token.meta["label"] if token.type == OPENING else None

"""Emphasis and line breaks as Hangul needs them: two rules for the Markdown parser. Pure.

CommonMark tells an opening mark from a closing one by the white space and the punctuation around it, and so takes
`**12.4%**가` for no emphasis at all: a script without spaces between a word and its particle was not thought of.
"""

import re
import unicodedata
from collections.abc import Sequence

from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.emphasis import tokenize
from markdown_it.token import Token

NOBREAK_CHARACTERS = 20
"""How long a piece of text may be that no line is broken in."""

HANGUL = "\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3"
LETTER = re.compile(rf"[{HANGUL}\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
"""A Hangul or Han letter, or kana."""

MARKS = r"\])}%％‰℃°\"'”’」』》〉】）］"
WORD = rf"0-9A-Za-z{HANGUL}.,%$₩℃°"
PARTICLE = re.compile(rf"[{HANGUL}]+")
NOBREAK = re.compile(
    rf"(?P<range>(?<![{WORD}])[{WORD}]{{1,18}}(?:[~∼〜～·][{WORD}]{{1,18}})+)|[{MARKS}]{{1,9}}[{HANGUL}]+"
)
ENDING_MARKS = re.compile(rf"[{MARKS}]{{1,9}}$")
"""A range, or marks with the Hangul behind them: what a line that keeps its words whole would still be broken in."""

STYLED = frozenset({"strong", "em", "s"})


def emphasis(state: StateInline, silent: bool) -> bool:  # noqa: FBT001 - the parser's interface
    """Read emphasis by CommonMark's rule, and let `*` open behind a letter of these scripts and close before one."""
    start = state.pos
    if not tokenize(state, silent):
        return False
    if state.src[start] == "*":
        before, behind = state.src[start - 1 : start] or " ", state.src[state.pos : state.pos + 1] or " "
        opens = bool(LETTER.match(before)) and not _ends(behind)
        closes = bool(LETTER.match(behind)) and not _begins(before)
        for delimiter in state.delimiters[start - state.pos :]:
            delimiter.open |= opens
            delimiter.close |= closes
    return True


def _ends(character: str) -> bool:
    """Whether a character ends what is emphasised or said, so that nothing emphasised begins with it."""
    return character.isspace() or character in ".,;:!?…·%" or unicodedata.category(character) in {"Pe", "Pf"}


def _begins(character: str) -> bool:
    """Whether a character begins something, so that nothing emphasised ends with it."""
    return character.isspace() or unicodedata.category(character) in {"Ps", "Pi"}


def nobreak(state: StateCore) -> None:
    """Keep marks and the Hangul behind them on one line, and ranges too: `<span class="nb">`, nothing invisible."""
    for token in state.tokens:
        if token.children:
            token.children = _in_texts(_around_styled(token.children))


def _around_styled(tokens: Sequence[Token]) -> list[Token]:
    """Mark what is styled, ends with a mark, and has Hangul behind it."""
    found: list[Token] = []
    opened: list[int] = []
    begin: int | None = None
    for token in tokens:
        behind = PARTICLE.match(token.content) if begin is not None and token.type == "text" else None
        if behind:
            particle = behind[0][: NOBREAK_CHARACTERS // 2]
            found[begin:] = [*_bound(found[begin:], particle), text(token.content[len(particle) :])]
        else:
            found.append(token)
        begin = None
        if token.nesting > 0:
            opened.append(len(found) - 1)
        elif token.nesting < 0:
            begun = opened.pop()
            begin = begun if token.tag in STYLED else None
    return found


def _bound(styled: list[Token], particle: str) -> list[Token]:
    """Bind a particle to the styled text before it; of a long one only to the mark that it ends with."""
    *_, last = (token for token in styled if token.content)
    marks = ENDING_MARKS.search(last.content)
    if not marks:
        return [*styled, text(particle)]
    if sum(len(token.content) for token in styled) + len(particle) <= NOBREAK_CHARACTERS:
        return _unbroken([*styled, text(particle)])
    if styled[-2] is not last or last.type != "text":
        return [*styled, text(particle)]
    opening, closing = styled[0], styled[-1]
    return [
        *styled[:-2], text(last.content[: marks.start()]), closing,
        *_unbroken([opening, text(marks[0]), closing, text(particle)]),
    ]  # fmt: skip


def _in_texts(tokens: Sequence[Token]) -> list[Token]:
    """Mark what stands within one text."""
    found, depth = [], 0
    for token in tokens:
        depth += token.nesting if token.type in {"nobreak_open", "nobreak_close"} else 0
        found += _split(token.content) if token.type == "text" and not depth else [token]
    return found


def _split(content: str) -> list[Token]:
    found, end = [], 0
    for match in NOBREAK.finditer(content):
        if match["range"] and len(match[0]) > NOBREAK_CHARACTERS:
            continue
        kept = match[0][:NOBREAK_CHARACTERS]
        found += [text(content[end : match.start()]), *_unbroken([text(kept)])]
        end = match.start() + len(kept)
    return [*found, text(content[end:])]


def _unbroken(tokens: list[Token]) -> list[Token]:
    return [Token("nobreak_open", "span", 1, attrs={"class": "nb"}), *tokens, Token("nobreak_close", "span", -1)]


def text(content: str) -> Token:
    """Make a token of text."""
    return Token("text", "", 0, content=content)

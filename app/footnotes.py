"""Footnotes in Markdown: `[^label]` in the text, `[^label]: …` for the note. Pure.

While a report grows a note stays where it was written and the mark is text; the whole report numbers its notes in the
order in which they are referred to and lists them at its end.
"""

import re
from collections.abc import Callable, Iterable, Sequence

from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markdown_it.utils import EnvType
from mdit_py_plugins.footnote.index import footnote_def

REFERENCE = re.compile(r"\[\^([^\]\s]{1,100})\]")
Show = Callable[[Sequence[Token], int, EnvType], str]

OPENING, CLOSING = "footnote_reference_open", "footnote_reference_close"


class Notes:
    """The notes of a report: which there are, and which of them were referred to, how often, in which order."""

    def __init__(self, labels: Iterable[str] = ()) -> None:
        self._labels = frozenset(labels)
        self._times: dict[str, int] = {}
        self._numbers: dict[str, int] = {}
        self.order: list[str] = []

    def __contains__(self, label: str) -> bool:
        return label in self._labels

    def number(self, label: str) -> int:
        """Return the number of a note; it has one from when it is first asked for."""
        if label not in self._numbers:
            self.order.append(label)
            self._numbers[label] = len(self.order)
        return self._numbers[label]

    def refer(self, label: str) -> str:
        """Note that a note is referred to once more, and return the place of the reference: `3`, then `3-2`."""
        self._times[label] = times = self._times.get(label, 0) + 1
        return _place(self.number(label), times)

    def places(self, label: str) -> list[str]:
        """Return all the places where a note is referred to."""
        return [_place(self.number(label), time + 1) for time in range(self._times.get(label, 0))]


def use_footnotes(parser: MarkdownIt) -> None:
    """Teach a parser footnotes. Each text it parses brings its `Notes` in its environment, by the name `notes`."""
    parser.block.ruler.before("reference", "footnote_def", footnote_def, {"alt": ["paragraph", "reference"]})
    parser.inline.ruler.before("link", "footnote_ref", _read_reference)
    show_by(parser, "footnote_ref", _show_reference)
    show_by(parser, OPENING, _show_opening)
    show_by(parser, CLOSING, _show_closing)


def show_by(parser: MarkdownIt, name: str, show: Show) -> None:
    """Have tokens of a name written by a function of all tokens, the token's number and the environment."""
    parser.add_render_rule(name, lambda _renderer, tokens, index, _options, env: show(tokens, index, env))


def label_of(tokens: Sequence[Token]) -> str | None:
    """Return the label of a block that is a note."""
    return tokens[0].meta["label"] if tokens and tokens[0].type == OPENING else None


def _read_reference(state: StateInline, silent: bool) -> bool:  # noqa: FBT001 - the parser's interface
    found = REFERENCE.match(state.src, state.pos, state.posMax)
    if not found or found[1] not in state.env["notes"]:
        return False
    if not silent:
        token = state.push("footnote_ref", "sup", 0)
        token.meta = {"label": found[1]}
    state.pos = found.end()
    return True


def _show_reference(tokens: Sequence[Token], index: int, env: EnvType) -> str:
    notes, label = env["notes"], tokens[index].meta["label"]
    number, place = notes.number(label), notes.refer(label)
    return f'<sup class="footnote-ref"><a href="#fn{number}" id="fnref{place}">[{number}]</a></sup>'


def _show_opening(tokens: Sequence[Token], index: int, env: EnvType) -> str:
    label = tokens[index].meta["label"]
    if index == 0 and label in env["notes"]:
        return f'<li id="fn{env["notes"].number(label)}">'
    return f'<div class="footnote"><sup>[{escapeHtml(label)}]</sup>'


def _show_closing(tokens: Sequence[Token], index: int, env: EnvType) -> str:
    label, notes = label_of(tokens), env["notes"]
    if index < len(tokens) - 1 or label not in notes:
        return "</div>"
    links = (f' <a class="footnote-back" href="#fnref{place}">↑</a>' for place in notes.places(label))
    return f"{''.join(links)}</li>"


def _place(number: int, times: int) -> str:
    return f"{number}-{times}" if times > 1 else str(number)

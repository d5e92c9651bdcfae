"""One block of Markdown in, sanitised HTML out: CommonMark, tables, `~~` and footnotes. Pure.

HTML in the Markdown shows as text, an image is a link to its address, a link goes to http, https or mailto alone; what
is left goes through a strict list of what may be there.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.rules_block import StateBlock, table
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from markdown_it.utils import EnvType

from app.emphasis import emphasis, nobreak, text
from app.footnotes import Notes, show_by, use_footnotes

LINK = re.compile(r"https?://|mailto:", re.IGNORECASE)
OWN_LINK = re.compile(r"#fn(?:ref)?[0-9-]+")

MAX_NESTING = 40
"""How deep lists and quotations may be nested, each of which counts once or twice; what is deeper is left out."""

MAX_BRACKETS = 20_000
"""How many `[` of a report are looked at, for each may begin a link and takes some 25 µs. A text with more is shown as
it was written."""

MAX_CELLS = 2
"""How many cells a table may have for each of its characters: a short row is filled up to the length of the first."""

HEADINGS = {f"h{level}": f"h{min(level + 1, 6)}" for level in range(1, 7)}
SIDES = {f"text-align:{side}": side for side in ("left", "center", "right")}

CLEANER = nh3.Cleaner(
    tags={
        "h2", "h3", "h4", "h5", "h6", "p", "br", "hr", "ul", "ol", "li", "blockquote", "pre", "code", "strong", "em",
        "s", "a", "sup", "span", "div", "section", "table", "thead", "tbody", "tr", "th", "td",
    },
    attributes={
        "a": {"href", "title", "id"},
        **{tag: {"id"} for tag in ("h2", "h3", "h4", "h5", "h6", "li")},
        "ol": {"start"},
        **{tag: {"tabindex", "role", "aria-label"} for tag in ("div", "pre")},
        "section": {"aria-label"},
        "th": {"scope"},
    },
    allowed_classes={
        "div": {"scroll", "footnote"}, "span": {"nb"}, "section": {"footnotes"}, "sup": {"footnote-ref"},
        "a": {"footnote-back"}, "th": set(SIDES.values()), "td": set(SIDES.values()),
    },
    url_schemes={"http", "https", "mailto"},
    url_relative=lambda url: url if OWN_LINK.fullmatch(url) else None,
    link_rel="noopener noreferrer",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Heading:
    """An entry of the contents: `level` is that of the HTML, 2 to 4."""

    level: int
    id: str
    text: str


@dataclass(eq=False)
class Page:
    """What the blocks of a report have in common: definitions, ids that are taken, numbers, brackets looked at."""

    language: str
    notes: Notes = field(default_factory=Notes)
    contents: list[Heading] = field(default_factory=list)
    env: dict[str, Any] = field(default_factory=dict)
    brackets: int = 0
    _ids: dict[str, int] = field(default_factory=dict)
    _numbers: dict[str, int] = field(default_factory=dict)

    def html(self, markdown: str) -> str:
        """Render the next block."""
        self.env |= {"page": self, "notes": self.notes}
        tokens = PARSER.parse(markdown, self.env)
        return CLEANER.clean(str(PARSER.renderer.render(tokens, PARSER.options, self.env))).strip()

    def footnotes(self, notes: dict[str, str]) -> str:
        """Render the notes, given by their labels: first those that are referred to, in that order."""
        items: list[str] = []
        for label in [None, *notes]:
            if label is not None:
                self.notes.number(label)
            while len(items) < len(self.notes.order):
                items.append(self.html(notes[self.notes.order[len(items)]]))
        name = self.word("각주", "Footnotes")
        return f'<section class="footnotes" aria-label="{name}"><ol>{"".join(items)}</ol></section>' if items else ""

    def heading(self, level: int, title: str) -> str:
        """Take in a heading and return its id, which no other heading has, nor anything else on a web page of ours."""
        slug = "-".join(re.findall(r"\w+", title.lower()))[:60]
        found = base = f"s-{slug}".rstrip("-")
        while found in self._ids:
            self._ids[base] += 1
            found = f"{base}-{self._ids[base]}"
        self._ids[found] = 1
        if level <= 4:
            self.contents.append(Heading(level, found, title))
        return found

    def name(self, korean: str, english: str) -> str:
        """Return a name for something that scrolls, of its own as it has a number."""
        self._numbers[english] = number = self._numbers.get(english, 0) + 1
        return f"{self.word(korean, english)} {number}"

    def word(self, korean: str, english: str) -> str:
        """Return a word in the language of the report, if that is Korean, or else in English."""
        return korean if self.language.split("-", maxsplit=1)[0].lower() == "ko" else english


class _Parser(MarkdownIt):
    def validateLink(self, url: str) -> bool:  # noqa: N802 - the parser's interface
        return bool(LINK.match(url))


def _table(state: StateBlock, start: int, end: int, silent: bool) -> bool:  # noqa: FBT001 - the parser's interface
    """Read a table, up to the row in which it would have too many cells."""
    found = table(state, start, end, True)
    if silent or not found:
        return found
    columns = state.src.count("|", state.bMarks[start], state.eMarks[start]) - 1
    row = start + 2
    while row < end and columns * (row - start) <= MAX_CELLS * (state.eMarks[row] - state.bMarks[start]):
        row += 1
    return table(state, start, row, False)


def _inline(state: StateCore) -> None:
    """Parse the texts, but for those with too many brackets."""
    page: Page = state.env["page"]
    for token in state.tokens:
        if token.type != "inline":
            continue
        brackets = token.content.count("[")
        token.children = []
        if page.brackets + brackets > MAX_BRACKETS:
            token.children.append(text(token.content))
        else:
            page.brackets += brackets
            state.md.inline.parse(token.content, state.md, state.env, token.children)


def _images(state: StateCore) -> None:
    """Turn images into links to them: nothing of a report is fetched by its reader's browser. In a link, into text."""
    for token in state.tokens:
        found: list[Token] = []
        links = 0
        for child in token.children or ():
            links += child.nesting if child.tag == "a" else 0
            found += _image(child, linked=links > 0) if child.type == "image" else [child]
        token.children = found if token.children else token.children


def _image(image: Token, *, linked: bool) -> list[Token]:
    address = str(image.attrs["src"])
    name = text(image.content or address)
    if linked:
        return [name]
    return [Token("link_open", "a", 1, attrs={"href": address}), name, Token("link_close", "a", -1)]


def _structure(state: StateCore) -> None:
    """Put headings one level down, for the page has a title of its own, and say by classes how cells are aligned."""
    page: Page = state.env["page"]
    for number, token in enumerate(state.tokens):
        if token.type in {"heading_open", "heading_close"}:
            token.tag = HEADINGS[token.tag]
            if token.nesting > 0 and token.level == 0:
                title = _plain(state.tokens[number + 1].children or [])
                token.attrSet("id", page.heading(int(token.tag[1]), title))
        elif token.tag in {"th", "td"} and token.nesting > 0:
            side = SIDES.get(str(token.attrs.pop("style", "")))
            token.attrs |= ({"class": side} if side else {}) | ({"scope": "col"} if token.tag == "th" else {})


def _plain(tokens: Sequence[Token]) -> str:
    return " ".join("".join(" " if token.type.endswith("break") else token.content for token in tokens).split())


def _show_table(_tokens: Sequence[Token], _index: int, env: EnvType) -> str:
    name = env["page"].name("표", "Table")
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{name}"><table>'


def _show_code(tokens: Sequence[Token], index: int, env: EnvType) -> str:
    name = env["page"].name("코드", "Code")
    return f'<pre tabindex="0" role="region" aria-label="{name}"><code>{escapeHtml(tokens[index].content)}</code></pre>'


def _parser() -> MarkdownIt:
    parser = _Parser("commonmark", {"html": False, "xhtmlOut": False, "maxNesting": MAX_NESTING})
    parser.enable(["table", "strikethrough"])
    use_footnotes(parser)
    parser.inline.ruler.at("emphasis", emphasis)
    parser.block.ruler.at("table", _table, {"alt": ["paragraph", "reference"]})
    parser.core.ruler.at("inline", _inline)
    for rule in (_images, nobreak, _structure):
        parser.core.ruler.push(rule.__name__, rule)
    show_by(parser, "table_open", _show_table)
    show_by(parser, "table_close", lambda _tokens, _index, _env: "</table></div>")
    show_by(parser, "fence", _show_code)
    show_by(parser, "code_block", _show_code)
    return parser


PARSER = _parser()
Page("en").html("so that its rules are in order before two threads ask for them")

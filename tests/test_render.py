"""The renderer: Markdown in, sanitised HTML out, the same however it came."""

import re
from html import unescape
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.render import Growing, blocks, render

ALLOWED = {
    "h2": {"id"}, "h3": {"id"}, "h4": {"id"}, "h5": {"id"}, "h6": {"id"}, "p": set(), "br": set(), "hr": set(),
    "ul": set(), "ol": {"start"}, "li": {"id"}, "blockquote": set(), "pre": {"tabindex", "role", "aria-label"},
    "code": set(), "strong": set(), "em": set(), "s": set(), "a": {"href", "title", "id", "class", "rel"},
    "sup": {"class"}, "span": {"class"}, "div": {"class", "tabindex", "role", "aria-label"},
    "section": {"class", "aria-label"}, "table": set(), "thead": set(), "tbody": set(), "tr": set(),
    "th": {"class", "scope"}, "td": {"class"},
}  # fmt: skip
CLASSES = {"scroll", "footnote", "footnotes", "footnote-ref", "footnote-back", "nb", "left", "center", "right"}

SCRAPS = (
    "\n", "\n\n", "\r\n", "\r", " ", "    ", "\t", "가나", "a", "- ", "* ", "+ ", "1. ", "2) ", "12", "# ", "## ",
    "#", "> ",
    "```\n", "~~~\n", "```", "---\n", "===\n", "***", "**", "*", "_", "~~", "`", "|", "|-|-|\n", "|a|b|\n", "| x |\n",
    "[", "]", "(", ")", "[a]", "[b](http://c.d)", "![e](http://f.g)", "<", ">", "<br>", "&amp;", "\\", "%", "~", "·",
    "12.4%", "\0", "\ufeff", "👩‍👩‍👧", "https://h.i", '"',
)  # fmt: skip
"""What Markdown is made of, and what it may be confused by; none of it defines anything."""

DEFINITIONS = ("[a]: http://a.b\n", "[a]: <", "[^a]: ", "[^a]", "[c]:\n", ": ", "'t\n")

MARKDOWN = st.lists(st.sampled_from(SCRAPS)).map("".join)
WITH_DEFINITIONS = st.lists(st.sampled_from(SCRAPS + DEFINITIONS)).map("".join)
PARTS = (
    "# 제목", "## 절\n", "글이 있다.", "- 가\n- 나", "1. 가\n2. 나", "  더", "    들여", "> 인용", "```\n코드\n```",
    "```", "|a|b|\n|-|-|\n|1|2|", "가\n---", "***", "[a]: http://a.b", "[^1]: 각주", "**12.4%**가[^1]", "2026년",
    "-", "1.", "[a]",
)  # fmt: skip
GAPS = ("\n", "\n\n", "\n\n\n", "\r\n\r\n")
REPORTS = st.lists(st.tuples(st.sampled_from(PARTS), st.sampled_from(GAPS))).map(
    lambda pairs: "".join(part + gap for part, gap in pairs)
)
CUTS = st.lists(st.integers(0, 10_000))


def cut(text: str, places: list[int]) -> list[str]:
    ends = sorted({place % (len(text) + 1) for place in places} | {0, len(text)})
    return [text[begin:end] for begin, end in pairwise(ends)]


class Tree(HTMLParser):
    """Gathers the tags of HTML, and knows which are open."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, attrs))
        if tag not in {"br", "hr"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


# Whatever the text.


@given(MARKDOWN | WITH_DEFINITIONS | REPORTS | st.text(), CUTS)
def test_blocks_are_the_same_however_the_text_was_cut(text: str, places: list[int]) -> None:
    growing, found = Growing("ko"), []
    for piece in cut(text, places):
        growing.add(piece)
        found += growing.closed()  # more often than it is worth while

        assert found == blocks(text, "ko", whole=True)[: len(found)]
        assert growing.tail == text[growing.end : growing.length]
    found += growing.finish()

    assert found == blocks(text, "ko", whole=True)


@given(REPORTS | MARKDOWN | st.text(), CUTS)
def test_the_quick_look_leaves_nothing_out_and_gives_nothing_twice(text: str, places: list[int]) -> None:
    growing, found = Growing("en"), []
    for piece in cut(text, places):
        found += growing.closed() if growing.add(piece) else []
    found += growing.finish()

    assert found == blocks(text, "en", whole=True)


@given(MARKDOWN | WITH_DEFINITIONS | REPORTS | st.text())
def test_blocks_tile_the_text(text: str) -> None:
    for found in (blocks(text, "ko", whole=True), render(text, "ko").blocks):
        assert [block.offset for block in found] == [0, *(block.end for block in found)][: len(found)]
        assert all(block.offset < block.end for block in found)
        assert (found[-1].end if found else 0) == (len(text) if text.strip(" \t\r\n") else 0)


@given(MARKDOWN | st.text())
def test_a_report_without_definitions_is_rendered_alike_whole_and_as_it_grows(text: str) -> None:
    assert render(text, "ko").blocks == blocks(text, "ko", whole=True)


@given(REPORTS | MARKDOWN | WITH_DEFINITIONS | st.text())
def test_definitions_and_footnotes_change_what_blocks_hold_and_never_where_they_stand(text: str) -> None:
    as_it_grew, whole = blocks(text, "ko", whole=True), render(text, "ko").blocks

    assert [(block.offset, block.end) for block in as_it_grew] == [(block.offset, block.end) for block in whole]


@given(MARKDOWN | WITH_DEFINITIONS | REPORTS | st.text())
def test_what_is_rendered_is_whole_html_of_what_is_allowed(text: str) -> None:
    for block in render(text, "ko").blocks:
        tree = Tree()
        tree.feed(block.html)
        tree.close()

        assert not tree.open
        for tag, attributes in tree.found:
            assert tag in ALLOWED, block
            for name, value in attributes:
                assert name in ALLOWED[tag], block
                assert name != "href" or re.match(r"https?://|mailto:|#fn", value or "", re.IGNORECASE), block
                assert name != "class" or value in CLASSES, block
                assert name != "id" or re.match(r"s-|s$|fn", value or ""), block


@given(st.text('가나12ab.,%)~·*"` ', max_size=200) | MARKDOWN)
def test_what_is_not_to_be_broken_is_short_and_adds_no_character(text: str) -> None:
    html = render(text, "ko").html

    assert all(
        len(unescape(re.sub(r"<[^>]*>", "", kept))) <= 20 for kept in re.findall(r'<span class="nb">(.*?)</span>', html)
    )
    assert not re.search("[\u200b-\u200f\u2060\u00ad]", html) or re.search("[\u200b-\u200f\u2060\u00ad]", text)


# What closes a block.


def test_a_definition_counts_for_what_comes_behind_it_and_everywhere_once_the_report_is_whole() -> None:
    text = "[가][a]\n\n[a]: http://a.b\n[b]: http://c.d\n\n[나][a] [b]\n"

    assert ["<a" in block.html for block in blocks(text, "ko", whole=True)] == [False, True]
    assert ["<a" in block.html for block in render(text, "ko").blocks] == [True, True]


@pytest.mark.parametrize(
    ("text", "more", "closed"),
    [
        ("글", "이다.\n", 0),
        ("글.\n\n", "", 0),
        ("글.\n\n", "다", 1),
        ("글.\n\n", "- ", 0),
        ("글.\n\n", "- 하나\n\n다음", 2),
        ("- 하나\n\n", "다", 1),
        ("- 하나\n\n", "  둘", 0),
        ("- 하나\n\n", "-", 0),
        ("1. 하나\n\n", "2", 0),
        ("1. 하나\n\n", "2026년", 1),
        ("- 하나\n", "이어짐\n\n", 0),
        ("> 인용\n", "이어짐\n\n", 0),
        ("> 인용\n\n", "끝", 1),
        ("```\n글\n\n", "끝", 0),
        ("```\n글\n```\n\n", "끝", 1),
        ("|a|\n|-|\n", "|b|\n\n", 0),
        ("|a|\n|-|\n|b|\n\n", "끝", 1),
        ("글\n", "---\n\n", 0),
        ("글\n---\n\n", "끝", 1),
        ("    코드\n\n", "    더", 0),
        ("    코드\n\n", "더", 1),
        ("# 제목\n\n", "글", 1),
        ("[a]:", " http://b.c\n\n글", 0),
        ("- ```\n\n", "끝", 1),
        ("[^a]: 글\n\n", "    더", 0),
        ("[^a]: 글\n\n", "더", 1),
        ("글\r\n\r\n", "더", 1),
    ],
)
def test_a_block_is_closed_when_nothing_can_change_it_any_more(text: str, more: str, closed: int) -> None:
    growing = Growing("ko")
    found = growing.closed() if growing.add(text) else []
    found += growing.closed() if growing.add(more) else []

    assert len(found) == closed
    assert growing.tail == (text + more)[growing.end :]


def test_blocks_from_an_offset_on_are_the_rest_of_them() -> None:
    text = "# 가\n\n나\n\n# 가\n\n다"
    found = blocks(text, "ko", whole=False)

    assert [block.html for block in found] == ['<h2 id="s-가">가</h2>', "<p>나</p>", '<h2 id="s-가-2">가</h2>']
    assert blocks(text, "ko", start=found[1].end, whole=False) == found[2:]


def test_a_long_open_block_is_looked_at_a_few_times_only() -> None:
    growing = Growing("ko")

    looks = 0
    for number in range(20_000):
        if growing.add("글이 있다\n\n" if number else "```\n"):
            looks += 1
            assert growing.closed() == []

    assert looks < 700

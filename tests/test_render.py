"""The renderer: Markdown in, sanitised HTML out, the same however it came."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from app.render import Growing, blocks, render

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
    "```", "|a|b|\n|-|-|\n|1|2|", "가\n---", "***", "[a]: http://a.b", "[^1]: 각주", "**12.4%**가[^1]", "2026년", "-", "1.",
    "[a]",
)  # fmt: skip
GAPS = ("\n", "\n\n", "\n\n\n", "\r\n\r\n")
REPORTS = st.lists(st.tuples(st.sampled_from(PARTS), st.sampled_from(GAPS))).map(
    lambda pairs: "".join(part + gap for part, gap in pairs)
)
CUTS = st.lists(st.integers(0, 10_000))


def cut(text: str, places: list[int]) -> list[str]:
    ends = sorted({place % (len(text) + 1) for place in places} | {0, len(text)})
    return [text[begin:end] for begin, end in pairwise(ends)]


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

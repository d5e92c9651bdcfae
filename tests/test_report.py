"""Sections, progress and file names: pure functions, over any text."""

import re
import unicodedata
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.report import (
    HeadingCounter,
    expected_characters,
    filename,
    progress_percent,
    sections,
    sections_done,
)

LINES = [
    "# Title", "## One", "##\tTwo ##", "## ", "##", "##Three", "### Four", " ## Five", "text ## Six", "",
    "```", "```python", "````", "``` ", "```~~~", "``` `", "~~~", "~~~~", "~~~ \t", "~~~\r", " ```", "``", "## 하나\r",
]  # fmt: skip

markdown = st.lists(st.sampled_from(LINES) | st.text("#`~ \t\r\nab\x0b\u2028", max_size=12), max_size=30).map("\n".join)


def cut(text: str, places: list[int]) -> list[str]:
    """Cut a text into pieces at these places."""
    ends = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[start:end] for start, end in pairwise(ends)]


def headings(pieces: list[str]) -> int:
    counter = HeadingCounter()
    for piece in pieces:
        counter.feed(piece)
    return counter.headings


def test_sections_are_the_headings_of_the_second_level_in_order() -> None:
    text = "# Title\n\n## One\ntext\n### Not one\n##  Two ##\n##Not one\n## 셋\n"

    assert sections(text) == ["One", "Two", "셋"]


@pytest.mark.parametrize("fence", ["```", "~~~"])
def test_what_stands_in_fenced_code_is_no_section(fence: str) -> None:
    other = "~~~" if fence == "```" else "```"
    text = f"## One\n{fence}sh\n## a comment\n{other}\n## another\n{fence}{fence} \n## Two\n{fence}\n## never closed\n"

    assert sections(text) == ["One", "Two"]


@given(markdown, st.lists(st.integers(0, 1000), max_size=20))
@example("```\n```~~~\n## in code\n``` `\n## in code\n```\r\n## One\n## Two", [1, 2, 3])
def test_headings_counted_as_the_text_comes_are_its_sections_however_it_is_cut(text: str, places: list[int]) -> None:
    whole = text + "\n"  # the last line is whole only then

    assert headings(cut(whole, places)) == len(sections(whole))


def test_a_heading_counts_once_its_line_is_whole() -> None:
    counter = HeadingCounter()

    counter.feed("## One")
    before = counter.headings
    counter.feed(" and a half\n")

    assert (before, counter.headings) == (0, 1)


@pytest.mark.parametrize(
    ("begun", "total", "done"), [(0, 5, 0), (1, 5, 0), (2, 5, 1), (6, 5, 5), (9, 5, 5), (0, 0, 0), (3, 0, 0)]
)
def test_a_section_is_done_when_the_next_has_begun(begun: int, total: int, done: int) -> None:
    assert sections_done(begun, total) == done


@given(st.integers(0, 10**7), st.lists(st.integers(0, 10**7), min_size=1))
def test_progress_grows_with_the_text_from_0_to_99(expected: int, lengths: list[int]) -> None:
    percents = [progress_percent(length, expected) for length in sorted(lengths)]

    assert percents == sorted(percents)
    assert all(0 <= percent <= 99 for percent in percents)


def test_progress_is_proportional_up_to_the_expected_length_and_then_ever_slower() -> None:
    percents = [progress_percent(length, 1000) for length in (0, 500, 1000, 3000, 9000, 10**7)]

    assert percents == [0, 45, 90, 96, 98, 99]


@pytest.mark.parametrize(
    ("plan", "language", "typical", "expected"),
    [
        ("## One\n## Two", "ko", None, 1800),
        ("## One\n## Two", "ko-KR", None, 1800),
        ("", "ja", None, 4500),
        ("", "ZH-Hant", None, 3500),
        ("", "en", None, 10_000),
        ("## One\n## Two", "ko", 700, 1400),
        ("", "en", 700, 3500),
    ],
)
def test_the_expected_length_comes_from_the_plan_the_language_and_the_history(
    plan: str, language: str, typical: int | None, expected: int
) -> None:
    assert expected_characters(plan, language, typical) == expected


@pytest.mark.parametrize(
    ("topic", "name"),
    [
        ("수소 경제", "수소 경제.md"),
        ('a/b\\c:d*e?f"g<h>i|j', "a b c d e f g h i j.md"),
        ("  two \n\t lines  ", "two lines.md"),
        ("../../etc/passwd", "etc passwd.md"),
        ("...", "report.md"),
        ("", "report.md"),
        ("\x00\u202e\ud800", "report.md"),
        ("한" * 200, "한" * 80 + ".md"),
        ("x" * 200, "x" * 80 + ".md"),
        ("x" + "😀" * 80, "x" + "😀" * 59 + ".md"),
        ("x" * 79 + ". more", "x" * 79 + ".md"),
    ],
)
def test_a_report_is_named_after_its_topic(topic: str, name: str) -> None:
    assert filename(topic) == name


@given(st.text(st.characters()) | st.text("./\\ \x00\u202e\ud800한😀e\u0301", max_size=300))
def test_a_file_name_is_one_that_every_file_system_takes(topic: str) -> None:
    name = filename(topic)

    stem = name.removesuffix(".md")
    assert name.endswith(".md")
    assert 1 <= len(stem) <= 80
    assert len(f".{name}.part".encode()) <= 255
    assert not re.search(r'[/\\:*?"<>|]', name)
    assert all(unicodedata.category(character)[0] != "C" for character in name)
    assert stem == stem.strip(" .")

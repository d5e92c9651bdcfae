"""A growing text: whatever way it is cut, it becomes the same, and nothing that was seen is taken back."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.text import SEAM_WINDOW, GrowingText, ReportText, Seam, Strand

WORDS = ["word", "한국어", "문장이다.", "👩‍👩‍👧", "🇰🇷", "e\u0301", "#", "##", "a", "b", "-", "1."]
SPACES = [" ", "\n", "\n\n", "\t", " \n", "\u3000", "\xa0"]

texts = st.lists(st.sampled_from(WORDS + SPACES), max_size=20).map("".join)
pieces = st.lists(st.text(max_size=6) | st.sampled_from(WORDS + SPACES), max_size=12)


@st.composite
def cuttings(draw: st.DrawFn, text: str) -> list[str]:
    """Cut a text into pieces, some of them empty."""
    places = draw(st.lists(st.integers(0, len(text)), max_size=8).map(sorted))
    return [text[start:end] for start, end in pairwise([0, *places, len(text)])]


def grown(given_pieces: list[str], text: str = "") -> GrowingText:
    growing = GrowingText(text)
    for piece in given_pieces:
        growing.add(piece)
    return growing


def strand_with(calls: list[list[str]], heading: str = "", text: str = "") -> Strand:
    """Let several calls write on one strand, each in its pieces."""
    strand = Strand(0, heading, text)
    for call in calls:
        strand.begin_call()
        for piece in call:
            strand.add(piece)
        strand.end_call()
    return strand


def keep(strand: Strand) -> None:
    """Note that the store holds all of a strand, as a checkpoint does."""
    strand.kept, strand.kept_done = strand.text.length, strand.done


# A text that only grows.


@given(pieces)
def test_a_text_in_pieces_is_the_text_without_the_white_space_around_it(given_pieces: list[str]) -> None:
    growing = grown(given_pieces)

    assert str(growing) == "".join(given_pieces).strip()
    assert growing.length == len(str(growing))


@given(pieces)
def test_every_value_of_a_text_is_the_beginning_of_the_next(given_pieces: list[str]) -> None:
    growing = GrowingText()
    values = [""]

    for piece in given_pieces:
        growing.add(piece)
        values.append(str(growing))

    assert all(after.startswith(before) for before, after in pairwise(values))


@given(pieces, st.data())
def test_a_text_can_be_cut_out_from_anywhere_to_anywhere(given_pieces: list[str], data: st.DataObject) -> None:
    growing = grown(given_pieces)
    start = data.draw(st.integers(0, growing.length + 3))
    end = data.draw(st.none() | st.integers(0, growing.length + 3))

    assert growing.since(start, end) == str(growing)[start:end]


@given(pieces, st.lists(st.integers(1, 9)))
def test_what_readers_take_in_turns_joins_without_a_gap_or_a_repeat(given_pieces: list[str], steps: list[int]) -> None:
    growing, read = GrowingText(), ""

    for piece in given_pieces:
        growing.add(piece)
        for step in steps:
            read += growing.since(len(read), len(read) + step)
    read += growing.since(len(read))

    assert read == str(growing)


def test_offsets_count_code_points() -> None:
    growing = grown(["한국어 ", "👩‍👩‍👧", " e\u0301"])

    assert growing.length == len("한국어 👩‍👩‍👧 e\u0301") == 12
    assert growing.since(4, 5) == "👩"


@pytest.mark.parametrize(
    ("before", "continuation", "joined"),
    [
        ("One.", "Two.", "One.Two."),
        ("One.", " Two.", "One. Two."),
        ("One. ", "Two.", "One. Two."),
        ("One. ", " Two.", "One. Two."),
        ("One. ", "\n\nTwo.", "One.\n\nTwo."),
        ("One.\n\n", " Two.", "One.\n\nTwo."),
        ("One.", "## Two", "One.\n\n## Two"),
        ("One. ", "## Two", "One.\n\n## Two"),
        ("One.\n", "## Two", "One.\n## Two"),
        ("", "\n\nOne.", "One."),
    ],
)
def test_a_continuation_is_joined_with_the_white_space_that_fits(before: str, continuation: str, joined: str) -> None:
    growing = GrowingText(before)

    growing.join(continuation)

    assert str(growing) == joined


# A seam between two calls.


def fresh_after(before: str, given_pieces: list[str]) -> str:
    """Return what of a continuation in pieces is new."""
    seam, new = Seam(before), ""
    for piece in given_pieces:
        if seam.decided:
            new += piece
        else:
            new += seam.feed(piece) or ""
    return new if seam.decided else new + seam.end()


BEFORE = "The first sentence stands here. 두 번째 문장도 여기에 있다. The third breaks off in the"


@pytest.mark.parametrize("overlap", [6, 12, 40, len(BEFORE)])
@given(data=st.data())
def test_a_repeat_of_the_end_is_cut_in_whatever_pieces_it_comes(overlap: int, data: st.DataObject) -> None:
    continuation = BEFORE[-overlap:].lstrip() + " middle, and goes on."
    cut = data.draw(cuttings(continuation))

    assert fresh_after(BEFORE, cut).strip() == "middle, and goes on."


@given(texts, texts, st.data())
def test_what_is_new_does_not_depend_on_how_it_was_cut(before: str, continuation: str, data: st.DataObject) -> None:
    cut = data.draw(cuttings(continuation))

    assert fresh_after(before, cut) == fresh_after(before, [continuation])


@given(texts, texts)
def test_nothing_is_cut_but_what_stands_already(before: str, continuation: str) -> None:
    new = fresh_after(before, [continuation])
    cut = continuation.removesuffix(new)

    assert continuation.endswith(new)
    assert before.endswith(cut.lstrip())


@pytest.mark.parametrize("continuation", ["Another thing.", " and so on", "\n\n## Next", "e", "in", "the", "했다"])
def test_without_an_overlap_nothing_is_lost(continuation: str) -> None:
    before = "It stands here and ends with something else"

    assert fresh_after(before, [continuation]) == continuation


def test_a_short_word_that_happens_to_come_twice_is_kept() -> None:
    assert fresh_after("It was that", ["that", " which counts"]) == "that which counts"


def test_a_repeat_is_looked_for_only_so_far_back() -> None:
    before = "begin " + "x" * SEAM_WINDOW

    assert fresh_after(before, ["begin", " again"]) == "begin again"


# Several calls on one strand.


@given(st.lists(texts, min_size=1, max_size=3), st.sampled_from(["", "Heading"]), st.data())
def test_a_strand_does_not_depend_on_how_its_calls_came(calls: list[str], heading: str, data: st.DataObject) -> None:
    whole = strand_with([[call] for call in calls], heading)

    cut = strand_with([data.draw(cuttings(call)) for call in calls], heading)

    assert (str(cut.text), cut.seams) == (str(whole.text), whole.seams)


def test_the_white_space_behind_a_repeat_is_kept_however_it_comes() -> None:
    calls = ["One sentence stands.", "One sentence stands.\n\nNext."]

    by_letter = strand_with([list(call) for call in calls])

    assert str(by_letter.text) == "One sentence stands.\n\nNext."


@given(st.lists(pieces, max_size=4), st.sampled_from(["", "Heading"]))
def test_a_strand_only_grows(calls: list[list[str]], heading: str) -> None:
    strand = Strand(0, heading)
    values = [str(strand.text)]

    for call in calls:
        strand.begin_call()
        for piece in call:
            strand.add(piece)
            values.append(str(strand.text))
        strand.end_call()
        values.append(str(strand.text))

    assert all(after.startswith(before) for before, after in pairwise(values))


def test_a_strand_notes_where_a_later_call_went_on() -> None:
    strand = strand_with([["One."], [" Two."], [], [" Three."]])

    assert str(strand.text) == "One. Two. Three."
    assert strand.seams == [len("One."), len("One. Two.")]


def test_a_heading_is_set_for_a_section_and_not_taken_twice() -> None:
    alone = strand_with([["The body."]], "Heading")
    repeated = strand_with([["## Heading", "\n\nThe body."]], "Heading")

    assert str(alone.text) == str(repeated.text) == "## Heading\n\nThe body."
    assert alone.seams == []


def test_a_heading_alone_is_nothing_written() -> None:
    strand = strand_with([["## Heading"]], "Heading")

    assert strand.written == 0


def test_what_was_kept_of_a_strand_goes_on_as_if_there_had_been_no_restart() -> None:
    before = strand_with([["The body is"]], "Heading")

    after = Strand(0, "Heading", str(before.text), seams=before.seams)
    after.begin_call()
    after.add(" long.")

    assert str(after.text) == "## Heading\n\nThe body is long."
    assert after.seams == [len("## Heading\n\nThe body is")]


# A report of several strands.


def sections(count: int) -> ReportText:
    return ReportText("Title", [Strand(number, f"Part {number}") for number in range(count)])


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[int, str]]:
    """Draw what happens to three sections: a piece comes, a section is whole, or all so far is kept."""
    step = st.tuples(st.integers(0, 2), st.sampled_from(["text of it. ", "더 ", "👩‍👩‍👧\n\n", "done", "keep"]))
    return draw(st.lists(step, max_size=30))


@given(histories())
def test_what_was_seen_of_a_report_is_never_taken_back(history: list[tuple[int, str]]) -> None:
    report = sections(3)
    seen, read = [""], ""
    for number, step in history:
        play(report, number, step)
        seen.append(report.since(0))
        read += report.since(len(read))
    for number in range(3):
        for step in ("last words", "done", "keep"):
            play(report, number, step)

    whole = str(report)
    assert all(after.startswith(before) for before, after in pairwise([*seen, whole]))
    assert read + report.since(len(read)) == whole
    assert len(report.since(0)) == report.characters == len(whole)


def play(report: ReportText, number: int, step: str) -> None:
    strand = report.strands[number]
    match step:
        case "keep":
            for kept in report.strands:
                if kept.written:
                    keep(kept)
        case "done":
            strand.done = strand.done or strand.written > 0
        case piece:
            if not strand.done:
                strand.add(piece)


@given(histories())
def test_what_was_seen_of_a_report_stands_in_what_the_store_holds(history: list[tuple[int, str]]) -> None:
    report = sections(3)
    stored: dict[int, tuple[str, bool]] = {}
    for number, step in history:
        play(report, number, step)
        if step == "keep":
            stored = {strand.number: (str(strand.text), strand.done) for strand in report.strands if strand.written}

        restarted = ReportText(
            "Title",
            [
                Strand(strand.number, strand.heading, text, done=done)
                for strand in report.strands
                for text, done in [stored.get(strand.number, ("", False))]
            ],
        )

        assert restarted.since(0) == report.since(0)


def test_a_title_alone_is_no_text() -> None:
    report = sections(2)

    assert (report.characters, report.since(0), str(report)) == (0, "", "# Title")


def test_a_later_section_is_seen_when_those_before_it_are_whole_and_kept() -> None:
    report = sections(2)
    for strand in report.strands:
        strand.add("Body.")
        strand.done = True
    keep(report.strands[1])
    nothing = report.since(0)
    keep(report.strands[0])

    assert nothing == ""
    assert report.since(0) == "# Title\n\n## Part 0\n\nBody.\n\n## Part 1\n\nBody."


def test_that_a_section_is_whole_counts_only_when_the_store_says_so() -> None:
    report = sections(2)
    for strand in report.strands:
        strand.add("Body.")
        keep(strand)
    report.strands[0].done = True

    seen = report.since(0)

    assert seen == "# Title\n\n## Part 0\n\nBody."


def test_a_report_in_one_go_has_no_title_of_ours() -> None:
    report = ReportText("Title", [Strand(0)])
    report.strands[0].add("# Its own\n\nBody.")
    keep(report.strands[0])

    assert report.since(0) == str(report) == "# Its own\n\nBody."


# Behind a heading.


@pytest.mark.parametrize(
    ("heading", "body"),
    [
        ("Market size", "Market size grew in 2024."),
        ("시장 현황", "시장 현황은 다음과 같다."),
        ("China", "China is larger."),
        ("A", "A is the first letter."),
    ],
)
def test_a_section_that_begins_with_the_words_of_its_heading_keeps_them(heading: str, body: str) -> None:
    strand = strand_with([[body]], heading)

    assert str(strand.text) == f"## {heading}\n\n{body}"


@pytest.mark.parametrize("heading", ["Market size", "시장 현황", "A"])
@pytest.mark.parametrize("answer", ["## {}\n\nIt grew.", "\n## {}\nIt grew."])
def test_a_heading_that_is_repeated_is_cut_however_short(heading: str, answer: str) -> None:
    strand = strand_with([list(answer.format(heading))], heading)

    assert str(strand.text).replace("\n\n", "\n") == f"## {heading}\nIt grew."


@pytest.mark.parametrize(
    ("text", "rest"),
    [("# A report\n\n## Summary", "\n\nSummary statistics follow."), ("## 결론", "\n\n결론적으로 그렇다.")],
)
def test_a_report_that_broke_off_behind_a_heading_goes_on_below_it(text: str, rest: str) -> None:
    strand = strand_with([[rest]], text=text)

    assert str(strand.text) == text + rest


@pytest.mark.parametrize("lead", ["", "\n", "\n\n"])
def test_a_continuation_brings_no_empty_line_between_two_rows_of_a_table(lead: str) -> None:
    strand = strand_with([[f"{lead}| 3 | 4 |"]], text="| a | b |\n| --- | --- |\n| 1 | 2 |")

    assert str(strand.text).endswith("| 1 | 2 |\n| 3 | 4 |")

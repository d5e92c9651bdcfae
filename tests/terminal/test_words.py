"""Text that is safe to show, and values as a person reads them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.client import Status, Usage
from app.terminal.words import clean, duration, encoded, one_line, sentence

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
WRITING = Status(topic_id=1, status="generating", phase="writing", progress_percent=42)


@pytest.mark.parametrize("character", [*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0)), "\u202e", "\u2066"])
def test_nothing_that_acts_on_a_terminal_is_left(character: str) -> None:
    shown = clean(f"a{character}b")

    assert character in "\n\t" or character not in shown
    assert shown[0] + shown[-1] == "ab"


def test_all_else_stays_as_it_is() -> None:
    text = "문장 1번.\n\tcafé 👩‍👩‍👧 — “quoted”"

    assert clean(text) == text
    assert one_line(" a\n\tb\r\n") == "a b"


def test_json_holds_times_as_the_api_writes_them_and_no_control_character() -> None:
    assert encoded({"at": NOON, "text": "é\x1b\x9b\x7f"}) == (
        '{"at": "2026-11-23T12:00:00.000Z", "text": "é\\u001b\\u009b\\u007f"}'
    )


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (WRITING, "writing, 42 %"),
        (replace(WRITING, sections_done=2, sections_total=5), "writing, 42 %, 2/5 sections"),
        (replace(WRITING, usage=Usage(input_tokens=345, output_tokens=12000)), "writing, 42 %, 12,345 tokens"),
        (replace(WRITING, characters=1), "writing, 42 %, 1 character"),
        (replace(WRITING, estimated_completion=NOON + timedelta(seconds=83)), "writing, 42 %, 1:23 left"),
        (replace(WRITING, estimated_completion=NOON - timedelta(seconds=83)), "writing, 42 %, 0:00 left"),
        (
            replace(WRITING, phase="waiting", retry_at=NOON + timedelta(seconds=30)),
            "waiting, 42 %, 0:30 until Claude takes more",
        ),
        (
            replace(WRITING, status="failed", phase="done", error_message="Claude API\x1b timeout"),
            "failed, 42 %, Claude API␛ timeout",
        ),
        (Status(topic_id=1, status="idle"), "idle, 0 %"),
    ],
)
def test_a_status_is_told_in_one_line(status: Status, told: str) -> None:
    assert sentence(status, NOON) == told


@pytest.mark.parametrize(("seconds", "told"), [(0, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3661, "1:01:01")])
def test_a_duration_is_told_as_clocks_do(seconds: float, told: str) -> None:
    assert duration(seconds) == told

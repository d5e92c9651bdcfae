"""What the stand-in is told to do with one call."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum, auto
from itertools import pairwise
from math import inf
from typing import Any, TypeAlias

import trio

from app import wire
from app.models import Tokens

BEFORE_HEADERS = -2
BEFORE_MESSAGE = -1


class Fault(StrEnum):
    """What goes wrong with a call; `Script.at` says where."""

    STATUS = auto()
    """Refused before the stream: `status`, `error_type`, `message`, `retry_after` of the script."""
    SILENCE_BEFORE_HEADERS = auto()
    """Nothing at all is answered, until the client goes."""
    SILENCE = auto()
    """Nothing more is sent, until the client goes."""
    CUT = auto()
    """The connection is closed in the middle of the response."""
    RESET = auto()
    """The connection is reset (RST) in the middle of the response."""
    MALFORMED = auto()
    """An event whose data is no JSON; then the response ends."""
    BAD_UTF8 = auto()
    """An event whose data is no UTF-8; then the response ends."""
    HALF_CHARACTER = auto()
    """A piece of text that is half of a character, as JSON can write it; then the response ends."""
    ERROR_EVENT = auto()
    """An `error` event with `error_type` and `message`; then the response ends."""
    CLEAN_END = auto()
    """The response ends as if it were whole, without `message_stop`."""


def report_text() -> str:
    """Return a well-formed report of some 2 KB."""
    paragraph = (
        "The evidence on this point is mixed, and the numbers depend on what is counted. Two surveys of "
        "the same year differ by a third because one of them leaves out small firms. "
        "조사 대상이 다르면 결과도 다르다. "
        "What both agree on is the direction of the change, and that it began before the new rules did."
    )
    headings = ("Background", "Findings", "Comparison", "Open questions", "Conclusion")
    return "# A report\n\n" + "\n\n".join(f"## {heading}\n\n{paragraph}" for heading in headings) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What to do with one call.

    The places `at` and `hold_at` count text deltas from 0: place n is just before delta n, so n deltas were
    sent. Place 0 is after `message_start`, the thinking and the head of the text block. After the last of
    `len(cut)` deltas come the text block's stop, `message_delta` and `message_stop`, a place each.
    BEFORE_MESSAGE is between the headers and `message_start`, BEFORE_HEADERS before everything. Where a call
    is not streamed, each place from 0 on is the middle of its body.
    """

    text: str = report_text()
    pieces: int | None = None
    """How many deltas the text is cut into; None: 40."""
    pace: float = 0.0
    """Seconds before each delta of the text and of the thinking."""
    first_after: float = 0.0
    """Seconds before the headers, with which the first event comes."""
    stop_reason: str = "end_turn"
    thinking: int = 0
    """How many thinking deltas come before the text."""
    pings: int = 0
    """How many pings come before each text delta."""
    ping_seconds: float | None = None
    """While held or silent in mid-stream: a ping each so many seconds. None: none."""
    tokens: Tokens | None = None
    """The usage of the call; None: estimated from the request and the text."""

    fault: Fault | None = None
    at: int = 0
    status: int = 529
    error_type: str = "overloaded_error"
    message: str = "Overloaded"
    retry_after: float | None = None

    hold: trio.Event | None = None
    """Waited for at `hold_at`, so that a test gives the order of events; meanwhile `Call.held` is set."""
    hold_at: int = 0

    @classmethod
    def error(cls, status: int, error_type: str, message: str, retry_after: float | None = None) -> "Script":
        """Refuse the call before the stream."""
        return cls(fault=Fault.STATUS, status=status, error_type=error_type, message=message, retry_after=retry_after)

    @classmethod
    def error_event(cls, error_type: str = "overloaded_error", message: str = "Overloaded", at: int = 0) -> "Script":
        """Break the stream off with an `error` event."""
        return cls(fault=Fault.ERROR_EVENT, error_type=error_type, message=message, at=at)

    @classmethod
    def refusal(cls, text: str = "") -> "Script":
        """End with `refusal`: at once, or in mid-stream after some text."""
        return cls(text=text, pieces=3, stop_reason="refusal")

    @property
    def cut(self) -> tuple[str, ...]:
        """The text in its pieces."""
        return cut(self.text, self.pieces or 40)

    @property
    def strikes_at(self) -> float:
        """The place of the fault; infinity without one."""
        if self.fault in {Fault.STATUS, Fault.SILENCE_BEFORE_HEADERS}:
            return BEFORE_HEADERS
        return inf if self.fault is None else self.at

    def answer(self, body: dict[str, Any], message_id: str) -> wire.Answer:
        """Return the whole answer to a request."""
        thoughts = tuple(f"Considering point {number}. " for number in range(1, self.thinking + 1))
        estimated = Tokens(
            input=wire.estimated_tokens(wire.prompt_texts(body)),
            output=wire.estimated_tokens([*thoughts, self.text]),
        )
        return wire.Answer(message_id, body["model"], self.cut, self.tokens or estimated, thoughts, self.stop_reason)


Chooser: TypeAlias = Callable[[dict[str, Any]], Script]
"""Chooses the script by the body of the request."""


def continuing(text: str, base: Script | None = None, overlap: int = 0) -> Chooser:
    """Write `text`; when the request holds the beginning of it as an assistant turn, write only the rest.

    `overlap` characters before the seam are written again, as a model may do.
    """

    def choose(body: dict[str, Any]) -> Script:
        turns = [turn["content"] for turn in body["messages"] if turn["role"] == "assistant"]
        written = "".join(part for content in turns for part in wire.content_texts(content))
        start = len(written) if text.startswith(written) else 0
        return replace(base or Script(), text=text[max(start - overlap, 0) :])

    return choose


def cut(text: str, pieces: int) -> tuple[str, ...]:
    """Cut a text into so many pieces of nearly equal length, fewer where it has fewer characters."""
    count = min(pieces, len(text))
    return tuple(text[len(text) * i // count : len(text) * (i + 1) // count] for i in range(count))


def numbered_text(n: int, sections: int = 4) -> str:
    """Return a report of `n` sentences that carry their numbers, in so many sections."""
    bounds = [n * i // sections for i in range(sections + 1)]
    parts = ["# Numbered report"]
    for section, (first, last) in enumerate(pairwise(bounds), 1):
        sentences = (f"This is sentence {number} of {n}." for number in range(first + 1, last + 1))
        parts += [f"## Section {section}", " ".join(sentences)]
    return "\n\n".join(parts) + "\n"


def sentence_numbers(text: str) -> list[int]:
    """Return the numbers of the sentences in a numbered text: 1 to n when there is no gap and no repeat."""
    return [int(number) for number in re.findall(r"sentence (\d+) of \d+\.", text)]

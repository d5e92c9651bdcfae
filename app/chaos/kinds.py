"""What goes wrong: the kinds of reports that are ordered, what their texts are, and how each must end."""

import re
from dataclasses import dataclass
from enum import StrEnum, auto
from html import unescape
from typing import Any

from app import wire

SENTENCES = 40
PARTS = 3
ALWAYS = 1_000_000


class Fault(StrEnum):
    """What goes wrong with a call."""

    STATUS = auto()
    """It is refused, with `Kind.status`."""
    CUT = auto()
    """The connection is closed in the middle of the text."""
    MALFORMED = auto()
    """An event in the middle of the text is no JSON."""
    TRUNCATED = auto()
    """The answer ends in the middle of the text as if it were whole."""
    ERROR_EVENT = auto()
    """An error event breaks the text off."""
    SILENCE = auto()
    """Nothing more comes in the middle of the text."""
    MUTE = auto()
    """Nothing comes before the text begins."""
    DECLINED = auto()
    """It ends with `refusal`."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of report: what goes wrong with how many of its first calls, and how its generation must end.

    `ends` is `completed`, `cancelled`, or the code of the failure.
    """

    fault: Fault | None = None
    times: int = 0
    status: int = 0
    ends: str = "completed"
    sections: bool = False
    pace: float = 0.03


KINDS = {
    "plain": Kind(),
    "sections": Kind(sections=True),
    "cut": Kind(Fault.CUT, 2),
    "malformed": Kind(Fault.MALFORMED, 2),
    "truncated": Kind(Fault.TRUNCATED, 2),
    "error": Kind(Fault.ERROR_EVENT, 1),
    "silent": Kind(Fault.SILENCE, 1),
    "broken": Kind(Fault.STATUS, 1, 500),
    "limited": Kind(Fault.STATUS, 2, 429),
    "overloaded": Kind(Fault.STATUS, 2, 529),
    "rejected": Kind(Fault.STATUS, ALWAYS, 401, ends="claude_auth"),
    "invalid": Kind(Fault.STATUS, ALWAYS, 400, ends="claude_request"),
    "down": Kind(Fault.STATUS, ALWAYS, 500, ends="claude_unavailable"),
    "mute": Kind(Fault.MUTE, ALWAYS, ends="claude_timeout"),
    "declined": Kind(Fault.DECLINED, ALWAYS, ends="refused"),
    "unwanted": Kind(ends="cancelled", pace=0.15),
}
BROKEN_STREAMS = ("cut", "malformed", "truncated", "error", "silent")
LIMITING = ("limited", "overloaded")
UNWANTED = "unwanted"
"""Those that are cancelled; they are written slowly, so that they are not done before."""

ERRORS = {
    400: "invalid_request_error", 401: "authentication_error", 429: "rate_limit_error", 500: "api_error",
    529: "overloaded_error",
}  # fmt: skip


class NeverWritten(Exception):
    """A request goes on from a text that is not the beginning of what it asks for."""


def kind_of(topic: str) -> Kind:
    return KINDS[topic.partition(" ")[0]]


def plan_of(topic: str) -> str:
    return "\n\n".join(f"## {part}" for part in parts()) if kind_of(topic).sections else ""


def parts() -> list[str]:
    return [f"Part {number}" for number in range(1, PARTS + 1)]


def sentences(of: str) -> str:
    return " ".join(f"This is sentence {number} of {SENTENCES} in {of}." for number in range(1, SENTENCES + 1))


def report(topic: str) -> str:
    """Return the whole report on a topic, as it must be downloaded."""
    bodies = [f"## {part}\n\n{sentences(f'{topic}, {part}')}" for part in parts()]
    return "\n\n".join([f"# {topic}", *(bodies if kind_of(topic).sections else [sentences(topic)])]) + "\n"


def topic_in(request: dict[str, Any]) -> str:
    """Return the topic of a request to Claude."""
    return _tagged("topic", _brief(request)).strip()


def rest(request: dict[str, Any]) -> str:
    """Return what is still to be written of what a request asks for. Raises NeverWritten."""
    topic, section = topic_in(request), _tagged("section", _brief(request))
    written = "".join(str(turn["content"]) for turn in request["messages"] if turn["role"] == "assistant")
    heading = f"## {section}\n\n" if section else ""
    whole = f"{heading}{sentences(f'{topic}, {section}')}" if section else report(topic).rstrip()
    if not whole.startswith(written):
        raise NeverWritten(f"{topic}: {written[-80:]!r}")
    return whole.removeprefix(written or heading)


def _brief(request: dict[str, Any]) -> str:
    return "\n".join(wire.content_texts(request["messages"][0]["content"]))


def _tagged(name: str, text: str) -> str:
    found = re.search(rf"<{name}>(.*?)</{name}>", text, re.DOTALL)
    return unescape(found[1]) if found else ""

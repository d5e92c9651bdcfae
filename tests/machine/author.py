"""What the stand-in writes for the machine: numbered sentences of each order, gone on from wherever they stand."""

import re
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from html import unescape
from typing import Any

import trio

from app.prompts import BRIEF_REPORT
from tests.claude import Call, FakeClaude, Fault, Script

SENTENCES = 6
PIECES = 6

END = "§ Here it ends early. §"
"""What is written when a report is to end now; the sign stands nowhere else."""

EARLY = (BRIEF_REPORT, "is to end now", "ends earlier than planned")
"""By one of these an early end is asked for."""


class Trouble(StrEnum):
    """What may go wrong with a call."""

    CUT = Fault.CUT
    RESET = Fault.RESET
    MALFORMED = Fault.MALFORMED
    ERROR_EVENT = Fault.ERROR_EVENT
    CLEAN_END = Fault.CLEAN_END
    MAX_TOKENS = "max_tokens"
    BUSY = "busy"
    LIMITED = "limited"
    KEY_REJECTED = "key_rejected"
    REFUSAL = "refusal"


REFUSED = {Trouble.BUSY: 500, Trouble.LIMITED: 429, Trouble.KEY_REJECTED: 401}
"""Those that come as a status."""


class NeverWritten(Exception):
    """A request goes on from a text that is not the beginning of what it asks for."""


@dataclass(frozen=True)
class Answer:
    """How a call is answered: what goes wrong, at which piece, and before which piece it is held up."""

    trouble: Trouble | None = None
    at: int = 0
    hold_at: int | None = None


@dataclass(eq=False)
class Author:
    """Chooses what each call is answered. `answers` are for the next calls of a slot's topics, one each.

    Once it is `free`, nothing is held up and nothing goes wrong any more. `limited`: some call was told to wait.
    """

    claude: FakeClaude
    answers: dict[int, deque[Answer]] = field(default_factory=lambda: defaultdict(deque))
    holds: list[tuple[Call, trio.Event]] = field(default_factory=list)
    free: bool = False
    limited: bool = False
    strange: list[str] = field(default_factory=list)
    """What was said to be written that nobody wrote."""

    def __call__(self, body: dict[str, Any]) -> Script:
        waiting = self.answers[slot_of(order_of(body))]
        answer = waiting.popleft() if waiting and not self.free else Answer()
        hold = trio.Event()
        self.limited |= answer.trouble is Trouble.LIMITED
        if answer.hold_at is not None:
            call = next(call for call in reversed(self.claude.calls) if call.body is body)
            self.holds.append((call, hold))
        try:
            return script(answer, rest(body), hold)
        except NeverWritten as strange:
            self.strange.append(str(strange))
            raise

    def held(self) -> list[trio.Event]:
        """Return what can be released, oldest first."""
        return [hold for call, hold in self.holds if not hold.is_set() and not call.finished.is_set()]

    def set_free(self) -> None:
        self.free = True
        for hold in self.held():
            hold.set()

    @property
    def calls(self) -> list[Call]:
        """All calls, but for those that a kill cut off in mid-request."""
        return [call for call in self.claude.calls if call.body]

    def running(self, slot: int) -> list[Call]:
        """Return the calls for a slot's topics that are not over."""
        return [call for call in self.calls if not call.finished.is_set() and slot_of(order_of(call.body)) == slot]

    async def waits(self, slot: int) -> None:
        """Return when a call for one of a slot's topics is held up."""
        while not any(call.held.is_set() for call in self.running(slot)):
            changes = [change for call in self.running(slot) for change in (call.held, call.finished)]
            await first(self.claude.arrivals.park, *(change.wait for change in changes))


async def first(*waits: Callable[[], Awaitable[object]]) -> None:
    """Wait until one of these returns."""

    async def wait_for(wait: Callable[[], Awaitable[object]]) -> None:
        await wait()
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for wait in waits:
            nursery.start_soon(wait_for, wait)


def script(answer: Answer, text: str, hold: trio.Event) -> Script:
    base = Script(text=text, pieces=PIECES, error_type="api_error")
    if answer.hold_at is not None:
        base = replace(base, hold=hold, hold_at=answer.hold_at)
    if answer.trouble is None:
        return base
    if answer.trouble is Trouble.MAX_TOKENS:
        return replace(base, text=text[: len(text) // 2 + 1], stop_reason="max_tokens")
    if answer.trouble is Trouble.REFUSAL:
        return replace(base, text=text[: len(text) // 2], stop_reason="refusal")
    if answer.trouble in REFUSED:
        return replace(base, fault=Fault.STATUS, status=REFUSED[answer.trouble], retry_after=0.01)
    return replace(base, fault=Fault(answer.trouble), at=answer.at)


def rest(body: dict[str, Any]) -> str:
    """Return what is left to write after what a request says is written."""
    task = str(body["messages"][0]["content"][1]["text"])
    written = "".join(str(turn["content"]) for turn in body["messages"] if turn["role"] == "assistant")
    _, begun, end = written.partition(END[0])
    if begun:
        return END.removeprefix(begun + end)
    if any(words in task + str(body["messages"][-1]["content"]) for words in EARLY):
        return f" {END}"
    heading = found[1] if (found := re.search(r"<section>(.*?)</section>", task)) else ""
    whole = (f"## {unescape(heading)}\n\n" if heading and written else "") + text_of(order_of(body), heading)
    if not whole.startswith(written):
        raise NeverWritten(written)
    return whole.removeprefix(written)


def text_of(order: str, heading: str = "") -> str:
    """Return what is written for an order, or for one section of it, without its heading."""
    title = "" if heading else f"# {order}\n\n"
    what = f"{order} {heading}".strip()
    return title + " ".join(f"This is sentence {number} of {what}." for number in range(1, SENTENCES + 1))


def order_of(body: dict[str, Any]) -> str:
    """Return which order a request is for, by the instructions in its brief."""
    found = re.search(r"<instructions>\n(.*?)\n</instructions>", body["messages"][0]["content"][0]["text"])
    assert found
    return found[1]


def order_name(slot: int, number: int) -> str:
    return f"order {slot}.{number}"


def slot_of(order: str) -> int:
    return int(order.removeprefix("order ").partition(".")[0])

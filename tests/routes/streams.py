"""What a test of event streams needs: a report with all kinds of characters, written, or held in the middle."""

from typing import Any

import trio

from tests.claude import Call, Script
from tests.events import Event, status_reader
from tests.service import Service

SENTENCES = " ".join(f"문장 {number}번이 여기 있다 👩‍👩‍👧." for number in range(1, 61))
TEXT = f"# 긴 보고서 📚\n\n{SENTENCES}\n"
"""What Claude writes: characters of one, three and four bytes, and emoji of several code points."""

HALF = "".join(Script(text=TEXT).cut[:20]).rstrip()
"""What of it is seen when 20 of its 40 pieces have come."""

HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
}


def names(events: list[Event]) -> list[str]:
    return [event.name for event in events]


async def held_halfway(service: Service, go: trio.Event | None = None, **more: Any) -> tuple[int, Call]:
    """Start a generation that Claude holds in the middle; returns the topic and the call."""
    service.claude.script(Script(text=TEXT, hold=go or trio.Event(), hold_at=20))
    service.claude.returned = len(service.claude.calls)
    topic_id = await service.topic(**more)
    await service.generate(topic_id)
    call = await service.claude.next_call()
    await call.held.wait()
    return topic_id, call


async def shown_halfway(service: Service, **more: Any) -> int:
    """Start a generation that Claude holds in the middle, and return its topic when nothing is left to be shown."""
    topic_id, _ = await held_halfway(service, **more)
    reader = status_reader(service, topic_id)
    async with reader.connected():
        await reader.until_text(len(HALF))
    return topic_id


async def completed(service: Service, text: str = TEXT) -> int:
    """Have a report written, and return its topic."""
    service.claude.script(Script(text=text))
    topic_id = await service.topic()
    await service.generate(topic_id)
    await service.ended(topic_id)
    return topic_id

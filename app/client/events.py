"""What a watch gives: typed events."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.client.nouns import Noun, Status


@dataclass(frozen=True, slots=True)
class StatusEvent:
    """The status has changed, or this is the first one."""

    status: Status


@dataclass(frozen=True, slots=True, kw_only=True)
class TextEvent(Noun):
    """A piece of the report; `offset` counts Unicode code points, and is 0 again where another report begins."""

    offset: int
    text: str


@dataclass(frozen=True, slots=True)
class DoneEvent:
    """The generation has ended; nothing comes after this."""

    status: Status


@dataclass(frozen=True, slots=True)
class Outage:
    """The connection is lost, for this reason; in so many seconds it is tried again. Told only where asked for."""

    reason: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicEvent(Noun):
    """A topic of the list was added or has changed."""

    id: int
    topic: str
    status: str
    updated_at: datetime
    phase: str | None = None
    progress_percent: int = 0
    sections_done: int = 0
    sections_total: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletedEvent(Noun):
    """A topic of the list is gone."""

    id: int


Event = StatusEvent | TextEvent | DoneEvent | Outage
"""What the watch of one topic gives."""

ListEvent = TopicEvent | DeletedEvent | Outage
"""What the watch of the list gives."""


def read_event(name: str, data: Any) -> Event | None:
    """Make an event of one topic's stream; None for one that is not known here."""
    match name:
        case "status":
            return StatusEvent(Status.of(data))
        case "text":
            return TextEvent.of(data)
        case "done":
            return DoneEvent(Status.of(data))
    return None


def read_list_event(name: str, data: Any) -> ListEvent | None:
    """Make an event of the list's stream; None for one that is not known here."""
    match name:
        case "topic":
            return TopicEvent.of(data)
        case "deleted":
            return DeletedEvent.of(data)
    return None

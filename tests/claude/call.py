"""One call to the stand-in, as its journal keeps it."""

from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import Any

import trio


class Ending(StrEnum):
    """How a call ended."""

    WHOLE = auto()
    FAULT = auto()
    GONE = auto()


@dataclass(eq=False)
class Call:
    """One call, as the journal keeps it. Nobody but the stand-in changes it."""

    number: int
    request_id: str
    headers: dict[str, str]
    body: dict[str, Any]
    status: int | None = None
    """The HTTP status, once the headers are sent."""
    ending: Ending | None = None
    events_sent: int = 0
    """Pings included."""
    sent: list[str] = field(default_factory=list)
    """The text deltas that were sent."""
    started: trio.Event = field(default_factory=trio.Event)
    """Set when the headers are sent."""
    held: trio.Event = field(default_factory=trio.Event)
    """Set when the call waits for the script's `hold`."""
    gone: trio.Event = field(default_factory=trio.Event)
    """Set when the client went away before the end."""
    finished: trio.Event = field(default_factory=trio.Event)
    """Set when the call is over, in whatever way: `ending` says how (None: the stand-in was stopped)."""
    progress: trio.lowlevel.ParkingLot = field(default_factory=trio.lowlevel.ParkingLot, repr=False)

    @property
    def text_sent(self) -> str:
        return "".join(self.sent)

    async def sent_deltas(self, count: int) -> None:
        """Wait until so many text deltas were sent."""
        while len(self.sent) < count:
            await self.progress.park()

    def journal(self) -> dict[str, Any]:
        """Return the call as JSON."""
        return {
            "number": self.number,
            "request_id": self.request_id,
            "body": self.body,
            "status": self.status,
            "ending": self.ending,
            "gone": self.gone.is_set(),
            "finished": self.finished.is_set(),
            "events_sent": self.events_sent,
            "text_sent": self.text_sent,
        }

"""A reader of a topic's stream, who comes and goes and never may miss or hear twice a character."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import httpx2
import trio

ENDED = {"completed", "failed", "cancelled"}


def _set() -> trio.Event:
    event = trio.Event()
    event.set()
    return event


@dataclass(eq=False)
class Reader:
    """What somebody has heard so far, over all connections: of each generation its text and its end.

    `heard` are those of which a stream has said that this is all.
    """

    topic_id: int
    user: str
    last_id: str | None = None
    texts: dict[int, str] = field(default_factory=lambda: defaultdict(str))
    ends: dict[int, str] = field(default_factory=dict)
    heard: set[int] = field(default_factory=set)
    percents: dict[tuple[int, int], int] = field(default_factory=dict)
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    ended: trio.Event = field(default_factory=_set)
    """Not set while it is connected."""

    async def read(self, http: httpx2.AsyncClient) -> str:
        """Read until the server ends the stream, and return the name of the last event, or why there was none: `all`
        after the end of the newest generation, or `deleted`.

        Raises httpx2.TransportError when it breaks off.
        """
        headers = {"Last-Event-ID": self.last_id} if self.last_id else {}
        url, name = f"/api/topics/{self.topic_id}/status/stream?text=1", "deleted"
        self.percents.clear()
        async with http.sse(url, headers=headers, timeout=None) as events:
            if events.response.status_code == 404:
                return "deleted"
            if events.response.status_code == 204:
                assert (self.last_id or "").endswith("-done")
                return "all"
            assert events.response.status_code == 200, events.response
            async for event in events:
                if not event.data:
                    continue  # `retry` alone
                assert event.event == "status" or name != "deleted", "the first event is the whole status"
                name = event.event
                self.hear(name, event.json(), event.id)
                self.last_id = event.id
        return name

    def hear(self, name: str, data: Any, event_id: str) -> None:
        generation, offset = (int(part) for part in event_id.split("-")[:2])
        match name:
            case "text":
                assert data["offset"] == len(self.texts[generation]), f"a gap or a repeat at {event_id}"
                self.texts[generation] += data["text"]
            case "status" | "done":
                assert name == "status" or data["status"] in ENDED
                self.note_status(data)
                self.heard |= {generation} if name == "done" else set()
            case _:
                assert name == "draining"
        assert offset == len(self.texts[generation]), f"{event_id} tells another place than was read"

    def note_status(self, data: dict[str, Any]) -> None:
        if data["status"] == "idle":
            return
        attempt, percent = (data["generation_id"], data["attempt"]), data["progress_percent"]
        assert percent >= self.percents.get(attempt, 0), f"progress went back in attempt {attempt}"
        assert (percent == 100) == (data["status"] == "completed")
        self.percents[attempt] = percent
        if data["status"] in ENDED:
            assert self.ends.setdefault(data["generation_id"], data["status"]) == data["status"]

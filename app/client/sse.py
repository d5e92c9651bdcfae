"""Server-Sent Events from bytes, however those are cut."""

import json
from dataclasses import dataclass
from typing import Any

MOST_BYTES = 2**24
"""No event is as long as this; more without an end of line is none of ours."""


@dataclass(frozen=True, slots=True)
class Message:
    """One event: its type, and what its data say."""

    name: str
    data: Any


class Parser:
    """Reads one connection's bytes.

    `last_id` is where to go on: it is that of the last block that was whole. `retry` is how many seconds the server
    asks to wait before that, None where it has not told. Lines end in LF or CRLF.
    """

    def __init__(self, last_id: str | None) -> None:
        self.last_id = last_id
        self.retry: float | None = None
        self._rest = b""
        self._block: dict[str, str] = {}

    def feed(self, chunk: bytes) -> list[Message]:
        """Return the events that are whole now. Raises ValueError for what is no event stream of JSON."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > MOST_BYTES:
            raise ValueError("an event without an end")
        return [message for line in lines if (message := self._take(line.removesuffix(b"\r").decode()))]

    def _take(self, line: str) -> Message | None:
        if not line:
            return self._end_block()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "retry" and value.isascii() and value.isdigit():
            self.retry = int(value) / 1000
        elif name == "data" and "data" in self._block:
            self._block["data"] += f"\n{value}"
        elif name in {"event", "data", "id"}:
            self._block[name] = value
        return None

    def _end_block(self) -> Message | None:
        block, self._block = self._block, {}
        message = Message(block.get("event", "message"), json.loads(block["data"])) if "data" in block else None
        self.last_id = block.get("id", self.last_id)
        return message

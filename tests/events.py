"""A reader of event streams, strict about the wire, on a connection of its own; it comes back with its last id."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import h11
import httpx2
import trio

from app.render import Block
from tests.service import ADMIN_TOKEN, Service

PATIENCE_SECONDS = 20
FIELDS = {"event", "id", "data", "retry"}


@dataclass(frozen=True, slots=True)
class Event:
    """One event: `id` is None where it has none."""

    name: str
    data: Any
    id: str | None


@dataclass(eq=False)
class Reader:
    """A reader of one stream.

    Over all its connections it keeps the id of the last event and, of a report, `text`: each `text` event has to begin
    exactly where the last one ended, and a new generation begins at 0. `events`, `status`, `headers`, `comments` and
    `retry` are of the last connection.
    """

    url: str
    receive_buffer: int | None = None
    token: str | None = ADMIN_TOKEN
    last_id: str | None = None
    text: str = ""
    generation_id: int | None = None
    events: list[Event] = field(default_factory=list)
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    comments: int = 0
    retry: int | None = None

    @asynccontextmanager
    async def connected(self, method: str = "GET", **headers: str) -> AsyncIterator[Self]:
        """Ask for the stream, read the answer's head, and leave when the block ends."""
        url = httpx2.URL(self.url)
        assert url.port is not None
        async with await self._connect(url.host, url.port) as self._connection:
            self._http = h11.Connection(h11.CLIENT)
            self._rest = b""
            self.events, self.headers, self.comments, self.retry = [], {}, 0, None
            request = h11.Request(method=method, target=url.raw_path, headers=self._head(url.host, headers))
            await self._connection.send_all((self._http.send(request) or b"") + self._finished())
            head = await self._next_of_http()
            assert isinstance(head, h11.Response)
            self.status = head.status_code
            self.headers = {name.decode(): value.decode() for name, value in head.headers}
            yield self

    async def next(self) -> Event | None:
        """Return the next event; None when the stream has ended, whole.

        Raises h11.RemoteProtocolError when it is torn.
        """
        while (block := await self._next_block()) is not None:
            if event := self._read(block):
                self._keep(event)
                return event
        return None

    async def sign(self) -> None:
        """Read one block that is no event: what a stream begins with, or a comment."""
        block = await self._next_block()
        assert block is not None, "the stream ended"
        assert self._read(block) is None, f"this is an event: {block!r}"

    async def until(self, name: str, count: int = 1) -> list[Event]:
        """Return the events up to the `count`th with this name."""
        found: list[Event] = []
        while sum(event.name == name for event in found) < count:
            event = await self.next()
            assert event is not None, f"the stream ended without {name}: {found}"
            found.append(event)
        return found

    async def until_text(self, length: int) -> None:
        """Read until the text has so many characters."""
        while len(self.text) < length:
            assert await self.next() is not None, f"the stream ended at {len(self.text)} of {length} characters"

    async def rest(self) -> list[Event]:
        """Return the events up to the end of the stream."""
        found: list[Event] = []
        while (event := await self.next()) is not None:
            found.append(event)
        return found

    async def visit(self, **headers: str) -> list[Event]:
        """Connect, read to the end of the stream and leave; returns the events."""
        async with self.connected(**headers):
            return await self.rest()

    async def _connect(self, host: str, port: int) -> trio.SocketStream:
        connection = trio.socket.socket()
        if self.receive_buffer is not None:  # before it is connected, or it counts for nothing
            connection.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, self.receive_buffer)
        await connection.connect((host, port))
        return trio.SocketStream(connection)

    def _head(self, host: str, more: dict[str, str]) -> list[tuple[str, str]]:
        headers = {"Host": host, "Accept": "text/event-stream"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if self.last_id is not None:
            headers["Last-Event-ID"] = self.last_id
        return list((headers | {name.replace("_", "-"): value for name, value in more.items()}).items())

    def _finished(self) -> bytes:
        return self._http.send(h11.EndOfMessage()) or b""

    async def _next_of_http(self) -> object:
        with trio.fail_after(PATIENCE_SECONDS):
            while (found := self._http.next_event()) is h11.NEED_DATA:
                try:
                    self._http.receive_data(await self._connection.receive_some(65536))
                except trio.BrokenResourceError as error:
                    raise h11.RemoteProtocolError("the connection was reset") from error
        return found

    async def _next_block(self) -> str | None:
        while b"\n\n" not in self._rest:
            found = await self._next_of_http()
            if isinstance(found, h11.EndOfMessage):
                assert not self._rest, f"the stream ended in the middle of an event: {self._rest!r}"
                return None
            assert isinstance(found, h11.Data)
            self._rest += bytes(found.data)
        block, _, self._rest = self._rest.partition(b"\n\n")
        return block.decode()

    def _read(self, block: str) -> Event | None:
        fields: dict[str, str] = {}
        for line in block.split("\n"):
            name, _, value = line.partition(": ")
            if not name:
                self.comments += 1
                continue
            assert name in FIELDS - set(fields), f"this is no event: {block!r}"
            fields[name] = value
        if "retry" in fields:
            self.retry = int(fields["retry"])
        self.last_id = fields.get("id", self.last_id)  # kept from a block without data as well, as browsers do
        return Event(fields["event"], json.loads(fields["data"]), fields.get("id")) if "data" in fields else None

    def _keep(self, event: Event) -> None:
        self.events.append(event)
        if event.name == "status" and event.data["generation_id"] != self.generation_id:
            self.generation_id, self.text = event.data["generation_id"], ""
        if event.name == "text":
            assert event.data["offset"] == len(self.text), f"at {len(self.text)} came {event.data}"
            assert event.data["text"], "a piece of text is empty"
            self.text += event.data["text"]


@dataclass(eq=False)
class BlockReader(Reader):
    """A reader of a report's blocks, each of which has to begin where the one before ended and to come after its text.

    A new generation begins with none.
    """

    blocks: list[Block] = field(default_factory=list)

    @property
    def end(self) -> int:
        """Where the last block ends."""
        return self.blocks[-1].end if self.blocks else 0

    async def until_block(self, end: int) -> None:
        """Read until a block has ended there, or behind it."""
        while self.end < end:
            assert await self.next() is not None, f"the stream ended at {self.end}, before {end}"

    def _keep(self, event: Event) -> None:
        if event.name == "status" and event.data["generation_id"] != self.generation_id:
            self.blocks = []
        super()._keep(event)
        if event.name == "block":
            block = Block(**event.data)
            assert block.offset == self.end, f"at {self.end} came {block}"
            assert "text=1" not in self.url or block.end <= len(self.text), f"before its text came {block}"
            self.blocks.append(block)


def block_reader(service: Service, topic_id: int, query: str = "html=1&text=1", **more: Any) -> BlockReader:
    """Make a reader of one topic's status, its blocks and, by default, of its text."""
    return BlockReader(f"{service.url}/api/topics/{topic_id}/status/stream?{query}", **more)


def status_reader(service: Service, topic_id: int, query: str = "text=1", **more: Any) -> Reader:
    """Make a reader of one topic's status and, by default, of its text."""
    return Reader(f"{service.url}/api/topics/{topic_id}/status/stream?{query}", **more)


def list_reader(service: Service, query: str = "", **more: Any) -> Reader:
    """Make a reader of the list of topics."""
    return Reader(f"{service.url}/api/topics/stream?{query}", **more)

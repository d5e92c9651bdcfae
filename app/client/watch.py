"""An event stream that is read to its end, over as many connections as that takes."""

from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import Any, Generic, Self, TypeVar

import httpx2
from anyio import current_time, move_on_after, sleep_until

from app.client.address import unreachable
from app.client.connection import LONGEST_PAUSE, Connection, pauses
from app.client.errors import ClientError, NotLonghand, Unreachable, heals
from app.client.events import Outage
from app.client.sse import Parser

QUIET_SECONDS = 45.0
"""A server sends at least a comment every 15 seconds; after so long without a byte, the line is dead."""

LEAVE_SECONDS = 2.0

FIRST_PAUSE = 1.0
"""How long to wait before the next connection, where the server has not told."""

E = TypeVar("E")

Read = Callable[[str, Any], E | None]


class Watch(Generic[E]):
    """An iterator of events: `async for event in client.watch(topic_id)`.

    Promises:
    - Nothing is lost and nothing comes twice, over broken connections and restarts of the server; cancelling a step
      loses nothing either, and the next one goes on.
    - It gives up only on what cannot heal, by raising: LonghandProblem (401, 404, 422 …) or NotLonghand; and
      Unreachable where the address has never answered.
    - A line that is silent for `QUIET_SECONDS` is given up, and another one made.

    `position` is where it is: another watch goes on from there.
    """

    def __init__(
        self, connection: Connection, path: str, params: Mapping[str, Any], read: Read[E],
        position: str | None, *, outages: bool,
    ) -> None:  # fmt: skip
        self._connection = connection
        self._path, self._params = path, params
        self._read = read
        self._outages = outages
        self._parser = Parser(position)
        self._retry = FIRST_PAUSE
        self._pauses = pauses(FIRST_PAUSE)
        self._ready: deque[E | Outage] = deque()
        self._response: httpx2.Response | None = None
        self._chunks: AsyncIterator[bytes] | None = None
        self._over = False
        self._not_before = 0.0

    @property
    def position(self) -> str | None:
        return self._parser.last_id

    @property
    def over(self) -> bool:
        """Whether the server has told all, or the watch was left."""
        return self._over

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> E | Outage:
        while not self._ready:
            if self._over:
                await self.aclose()
                raise StopAsyncIteration
            await self._go_on()
        return self._ready.popleft()

    async def begin(self) -> None:
        """Make the connection and read its first bytes, which a server sends at once. Raises ClientError."""
        try:
            await self._connect()
            if self._chunks is not None:
                await self._read_on(self._chunks)
        except httpx2.TransportError as error:
            raise unreachable(error, self._connection.url) from error

    async def aclose(self) -> None:
        """Leave the stream; the client does it at its own end, too."""
        self._over = True
        await self._leave()

    async def _go_on(self) -> None:
        """Read what comes next, or make a connection first; after a lost one, wait for a while."""
        await sleep_until(self._not_before)
        whole = False
        try:
            await (self._connect() if self._chunks is None else self._read_on(self._chunks))
            whole = True
        except httpx2.TransportError as broken:
            self._pause(unreachable(broken, self._connection.url))
        except ClientError as refused:
            self._pause(refused)
        finally:
            if not whole:  # cancelled, too: what this connection would still have told comes over the next one
                with move_on_after(LEAVE_SECONDS, shield=True):
                    await self._leave()

    async def _connect(self) -> None:
        connection = self._connection
        request = connection.stream_request(self._path, self._params, self._parser.last_id, QUIET_SECONDS)
        response = await connection.send(request, stream=True)
        if response.status_code == httpx2.codes.NO_CONTENT:
            self._over = True
            await response.aclose()
        elif not response.headers.get("content-type", "").startswith("text/event-stream"):
            await response.aclose()
            raise NotLonghand(f"What answers at {connection.url} is not Longhand. Check the address.")
        else:
            self._parser = Parser(self._parser.last_id)
            self._response, self._chunks = response, response.aiter_bytes()

    async def _read_on(self, chunks: AsyncIterator[bytes]) -> None:
        chunk = await anext(chunks, None)
        if chunk is None:
            raise Unreachable(f"The stream from {self._connection.url} ended early.")
        self._take(chunk)

    def _take(self, chunk: bytes) -> None:
        """Keep what a chunk tells, all of it or nothing: no await is in between."""
        try:
            messages = self._parser.feed(chunk)
            events = [(message.name, self._read(message.name, message.data)) for message in messages]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise NotLonghand(f"What comes from {self._connection.url} are no events of Longhand's.") from error
        if self._parser.retry is not None and self._parser.retry != self._retry:
            self._retry = self._parser.retry
            self._pauses = pauses(self._retry)
        if events:
            self._pauses = pauses(self._retry)
        self._ready.extend(event for _, event in events if event is not None)
        self._over = any(name == "done" for name, _ in events)

    def _pause(self, error: ClientError) -> None:
        """Say when the next connection is made. Raises the error where that is in vain."""
        if not self._connection.reached or not heals(error):
            self._over = True
            raise error
        asked = getattr(error, "retry_after", None) or 0.0
        seconds = max(next(self._pauses), min(asked, LONGEST_PAUSE))
        self._not_before = current_time() + seconds
        if self._outages and not self._over:
            self._ready.append(Outage(str(error), seconds))

    async def _leave(self) -> None:
        """Close the connection; none of the transport's generators is left behind in mid-air."""
        response, chunks = self._response, self._chunks
        self._response = self._chunks = None
        if response is None or chunks is None:
            return
        with move_on_after(0, shield=True), suppress(httpx2.HTTPError):
            async for _ in chunks:
                pass
        with move_on_after(LEAVE_SECONDS, shield=True), suppress(httpx2.HTTPError):
            await response.aclose()

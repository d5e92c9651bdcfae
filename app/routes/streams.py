"""What every event stream has in common: the wire's format, the keeping awake, where its reader is."""

import json
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Protocol

from anyio import CancelScope, Event, current_time, move_on_after
from prometheus_client import Gauge
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Send

from app.errors import DatabaseFailed, Invalid, Unauthorized
from app.guard import GuardedTCPServer
from app.models import User
from app.routes.auth import carried_by, lookup
from app.routes.body import pointer
from app.routes.resource import Request
from app.status import StatusMap

RETRY_MILLISECONDS = 3000
QUIET_SECONDS = 15.0
"""So long after the last byte a comment is sent, which keeps proxies awake."""

TOKEN_SECONDS = 15.0
"""How long a stream goes on without asking whether its reader's token, or session, still holds; it asks after a
comment, too."""

OUTAGE_SECONDS = 1.0
"""How long a stream waits before it tries again to read a database that cannot be used."""

PIECE_BYTES = 2**15
"""What a reader has to take within the guard's `SEND_SECONDS`."""

HEADERS = {
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
    "Content-Type": "text/event-stream; charset=utf-8",
}

RETRY = b"retry: %d\n" % RETRY_MILLISECONDS
COMMENT = b": still here\n"
PING = b"event: ping\ndata: {}\n\n"

Flags = frozenset[str]


class Source(Protocol):
    """What one stream tells its reader, step by step. It holds where the reader is, and nothing else.

    `mark` is the id of who has got all that was told so far.
    """

    @property
    def mark(self) -> object: ...

    def next_change(self) -> Event:
        """Return the event that the next change sets."""

    async def step(self) -> bytes | None:
        """Look, and return the events that come next: none when there is nothing new, None when the stream is over.

        Raises DatabaseFailed; the next step then tells what this one should have.
        """


class EventStream(StreamingResponse):
    """A stream of events.

    Promises: its generator ends with it, also where the reader left in the middle of a send; a reader who takes
    nothing for the guard's `SEND_SECONDS` is dropped, under HTTP/2 too, where the connection is alive and the
    stream's window stays closed.
    """

    def __init__(self, events: AsyncGenerator[bytes, None], http_version: str, readers: Gauge) -> None:
        super().__init__(events, headers=HEADERS)
        self._events = events
        self._limited = http_version.startswith("1")
        self._readers = readers

    async def stream_response(self, send: Send) -> None:
        with self._readers.track_inprogress():
            if self._limited:  # by the guard
                async with aclosing(self._events):
                    await super().stream_response(send)
            else:
                await self._stream_in_time(send)

    async def _stream_in_time(self, send: Send) -> None:
        with CancelScope() as scope:

            async def send_in_time(message: Message) -> None:
                with move_on_after(GuardedTCPServer.SEND_SECONDS) as limit:
                    await send(message)
                if limit.cancelled_caught:
                    scope.cancel()

            async with aclosing(self._events):
                await super().stream_response(send_in_time)


async def events_of(source: Source, statuses: StatusMap, flags: Flags, head: bytes) -> AsyncGenerator[bytes, None]:
    """Give what a source tells, in pieces, until it is over or the server stops.

    A comment comes `QUIET_SECONDS` after the last byte, however often the reader was woken for nothing. A database that
    cannot be read ends no stream, and hides neither the comments nor the server's stop.
    """
    yield head
    sent_at = current_time()
    while True:
        change, look_again_in = source.next_change(), QUIET_SECONDS  # taken before the look, so no change is missed
        try:
            events = await source.step()
        except DatabaseFailed:
            events, look_again_in = b"", OUTAGE_SECONDS
        if events is None:
            return
        for start in range(0, len(events), PIECE_BYTES):
            yield events[start : start + PIECE_BYTES]
        if events:
            sent_at = current_time()
        elif statuses.closed:
            yield event("draining", b"{}", source.mark)
            return
        else:
            with CancelScope(deadline=min(sent_at + QUIET_SECONDS, current_time() + look_again_in)):
                await change.wait()
            if current_time() >= sent_at + QUIET_SECONDS:
                yield COMMENT + id_line(source.mark) + (PING if "ping" in flags else b"")
                sent_at = current_time()


def event(name: str, data: bytes, mark: object) -> bytes:
    """Write one event with its id; `data` is JSON."""
    return b"event: %s\nid: %s\ndata: %s\n\n" % (name.encode(), str(mark).encode(), data)


def id_line(mark: object) -> bytes:
    """Write what ends a block without an event: its reader has got all up to this id."""
    return b"id: %s\n\n" % str(mark).encode()


def encoded(data: Mapping[str, Any]) -> bytes:
    """Write the data of an event."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()


class Reader:
    """Who reads a stream."""

    def __init__(self, request: Request) -> None:
        carried = carried_by(request)
        self._access = lookup(request.state, carried)
        self._secret = carried.secret

    async def user(self) -> User | None:
        """Return who reads; None when the token, or the session, holds no longer."""
        try:
            user: User = await self._access.user(self._secret, TOKEN_SECONDS)
        except Unauthorized:
            return None
        return user


def stream(request: Request, events: AsyncGenerator[bytes, None]) -> Response:
    """Answer with a stream; HEAD gets its headers and starts nothing."""
    if request.method != "HEAD":
        request.scope["held"] = True
        return EventStream(events, request.scope["http_version"], request.state["metrics"].readers)
    response = Response(headers=HEADERS)
    del response.headers["content-length"]  # a stream has none
    return response


def event_id(request: Request, form: re.Pattern[str]) -> re.Match[str] | None:
    """Return the id of the last event that the reader has. A reconnecting browser's own word goes before the address
    that it was given once. Raises Invalid."""
    found = None
    for given in (request.query_params.get("starting_after"), request.headers.get("last-event-id")):
        if given and not (found := form.fullmatch(given)):
            raise Invalid(("/starting_after", "This is not the id of an event of this stream."))
    return found


def flags(request: Request, *names: str) -> Flags:
    """Return which of the query's flags are set to 1. Raises Invalid."""
    for name, value in request.query_params.items():
        if name not in {*names, "starting_after"} or (name in names and value not in {"0", "1"}):
            sentence = f"The parameters are starting_after, and {' and '.join(names)}: 0 or 1."
            raise Invalid((pointer((name,)), sentence))
    return frozenset(name for name in names if request.query_params.get(name) == "1")

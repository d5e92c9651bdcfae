"""Hypercorn's two protocols with bounds of ours: its own refusals as problems, floods of HTTP/2's small frames."""

import json
import secrets
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import h2.errors
import h2.events
import h11
import hypercorn.protocol
import trio
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.events import Response
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.typing import H11SendableEvent

from app.errors import MalformedRequest, Problem
from app.headers import BARE, TAILS, Headers
from app.refusals import HeadersTooLarge

BURST, BURST_SECONDS = 100, 10.0
"""How many frames that ask for nothing a client may send at once, and in how many seconds as many more."""

PIECE_BYTES = 2**10
"""Bytes of frames that are read before others get their turn."""

EMPTY = (
    h2.events.PingReceived,
    h2.events.RemoteSettingsChanged,
    h2.events.StreamReset,
    h2.events.UnknownFrameReceived,
)
"""What costs a client nothing and us something."""


def refusal(problem: Problem) -> tuple[Headers, bytes]:
    """Return the headers and the body of an answer to what could not be read: its path and its own id are not known."""
    request_id = secrets.token_hex(8)
    known = {"type": f"/problems/{problem.code}", "title": problem.title, "status": problem.status}
    told = {"detail": problem.detail, "code": problem.code, "request_id": request_id}
    content = json.dumps(known | told).encode()
    return [
        (b"content-type", b"application/problem+json"),
        (b"content-length", b"%d" % len(content)),
        (b"connection", b"close"),
        (b"x-request-id", request_id.encode()),
        *[(name.lower().encode(), value.encode()) for name, value in problem.headers.items()],
        *BARE,
    ], content


TAILS_OF = tuple((list(pairs), len(pairs), raw) for pairs, raw in TAILS.items())


class BoundedH11(H11Protocol):
    """HTTP/1.1 whose refusals of what is no request are problems, with the headers that every answer carries.

    Those headers h11 would check and write anew for each answer, at some µs each; they are written once, and put at the
    end of the head. An upgrade is not taken, which a client has to be ready for: there are no WebSockets here, and
    HTTP/2 begins with its preface.
    """

    _tail = b""

    async def _check_protocol(self, event: h11.Request) -> None:
        if event.method == b"PRI":
            await super()._check_protocol(_without_upgrade(event))

    async def _create_stream(self, request: h11.Request) -> None:
        await super()._create_stream(_without_upgrade(request))

    async def stream_send(self, event: StreamEvent) -> None:
        if isinstance(event, Response) and event.status_code >= 200:
            for tail, length, written in TAILS_OF:
                if event.headers[-length:] == tail:
                    self._tail = written
                    del event.headers[-length:]
                    break
        await super().stream_send(event)

    async def _send_h11_event(self, event: H11SendableEvent) -> None:
        if not self._tail:
            await super()._send_h11_event(event)
            return
        tail, self._tail = self._tail, b""
        try:
            head = self.connection.send(event)
        except h11.LocalProtocolError:
            if self.connection.their_state != h11.ERROR:
                raise
        else:
            await self.send(RawData(head[:-2] + tail + b"\r\n"))

    async def _send_error_response(self, status_code: int) -> None:
        problem = HeadersTooLarge() if status_code == HeadersTooLarge.status else MalformedRequest()
        headers, content = refusal(problem)
        events = (
            h11.Response(status_code=problem.status, headers=headers), h11.Data(data=content), h11.EndOfMessage(),
        )  # fmt: skip
        data = b""
        with suppress(h11.LocalProtocolError):  # an answer to HEAD has no body
            for event in events:
                data += self.connection.send(event) or b""
        await self.send(RawData(data))  # once: between two sends the app, which still answers, would send as well


def _without_upgrade(request: h11.Request) -> h11.Request:
    for name, _ in request.headers:
        if name == b"upgrade":
            headers = [pair for pair in request.headers if pair[0] != b"upgrade"]
            return h11.Request(
                method=request.method, target=request.target, headers=headers, http_version=request.http_version
            )
    return request


class BoundedH2(H2Protocol):
    """HTTP/2 for clients who mean no good.

    Promises: who sends more than `BURST` resets, pings, settings, unknown or empty frames at once, or goes on with more
    than as many in `BURST_SECONDS`, is told ENHANCE_YOUR_CALM and cut, and so is who asks for a tunnel; between any few
    frames others get their turn; priorities, which RFC 9113 has given up, are not kept. Who answers a client that has
    left is not kept waiting.
    """

    _whole_at = 0.0

    async def handle(self, event: Event) -> None:
        if not isinstance(event, RawData):
            await super().handle(event)
            for buffer in list(self.stream_buffers.values()):  # nobody sends what is in them any more
                await buffer.close()
            return
        for start in range(0, len(event.data), PIECE_BYTES):
            if start:
                await trio.lowlevel.checkpoint()
            if self.closed:
                return
            await super().handle(RawData(event.data[start : start + PIECE_BYTES]))

    async def _handle_events(self, events: list[h2.events.Event]) -> None:
        empty = sum(map(_asks_for_nothing, events))
        if empty and not self._afford(empty):
            await self._cut(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)
        elif any(map(_asks_for_a_tunnel, events)):
            await self._cut(h2.errors.ErrorCodes.CONNECT_ERROR)
        else:
            await super()._handle_events(events)

    async def _cut(self, reason: h2.errors.ErrorCodes) -> None:
        self.connection.close_connection(reason)
        await self._flush()
        await self.send(Closed())

    async def _priority_updated(self, event: h2.events.PriorityUpdated) -> None:
        del event  # to keep a tree of them costs memory and time

    def _afford(self, frames: int) -> bool:
        now = trio.current_time()
        self._whole_at = max(self._whole_at, now) + frames * BURST_SECONDS / BURST
        return self._whole_at <= now + BURST_SECONDS


def _asks_for_nothing(event: h2.events.Event) -> bool:
    return isinstance(event, EMPTY) or (
        isinstance(event, h2.events.DataReceived) and not event.data and not event.stream_ended
    )


def _asks_for_a_tunnel(event: h2.events.Event) -> bool:
    return isinstance(event, h2.events.RequestReceived) and (b":method", b"CONNECT") in event.headers


def install() -> Callable[[], None]:
    """Put the bounded protocols in the place of Hypercorn's own; return what puts those back."""
    names = vars(hypercorn.protocol)
    before = {name: names[name] for name in ("H11Protocol", "H2Protocol")}
    names.update(H11Protocol=BoundedH11, H2Protocol=BoundedH2)
    return partial(names.update, before)

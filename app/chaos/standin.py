"""The stand-in for Claude: a small Messages API server on Trio that fails as it is told and counts what it does."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import trio

from app import wire
from app.chaos.kinds import ERRORS, Fault, Kind, NeverWritten, kind_of, rest, topic_in
from app.models import Tokens

PIECES = 40
RECEIVE_BYTES = 65536
RETRY_AFTER = "0.3"
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
GONE = (trio.BrokenResourceError, trio.ClosedResourceError)
MALFORMED = b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{\n\n'


@dataclass(eq=False)
class Call:
    """One call: for which topic, when its events were sent, how it was answered."""

    topic: str
    began: float
    status: int = 200
    events: list[float] = field(default_factory=list)
    open: bool = True


class StandIn:
    """The server. `calls` are all that were made; `strange` is what was said to be written that nobody wrote."""

    def __init__(self) -> None:
        self.url = ""
        self.calls: list[Call] = []
        self.strange: list[str] = []
        self._progress = trio.lowlevel.ParkingLot()

    def calls_of(self, topic: str) -> list[Call]:
        return [call for call in self.calls if call.topic == topic]

    def events_of(self, topic: str) -> list[float]:
        """Return when each event for a topic was sent."""
        return [at for call in self.calls_of(topic) for at in call.events]

    async def has_sent(self, topic: str, events: int) -> None:
        """Wait until so many events were sent for a topic."""
        while len(self.events_of(topic)) < events:
            await self._progress.park()

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve on 127.0.0.1 until cancelled."""
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        task_status.started()
        await trio.serve_listeners(self._answer, listeners)

    async def _answer(self, stream: trio.SocketStream) -> None:
        """Answer the one call of a connection; it is closed afterwards, or when the client goes."""
        with suppress(*GONE):
            request = await read_request(stream)
            if request is None:
                return
            topic = topic_in(request)
            nth = len(self.calls_of(topic))
            call = Call(topic, trio.current_time())
            self.calls.append(call)
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(watch, stream, nursery.cancel_scope)
                    with suppress(*GONE):
                        await self._play(stream, call, request, nth)
                    nursery.cancel_scope.cancel()
            finally:
                call.open = False
                await trio.aclose_forcefully(stream)

    async def _play(self, stream: trio.SocketStream, call: Call, request: dict[str, Any], nth: int) -> None:
        kind = kind_of(call.topic)
        fault = kind.fault if nth < kind.times else None
        try:
            text = self.text(request)
        except NeverWritten as strange:
            self.strange.append(str(strange))
            fault, kind = Fault.STATUS, Kind(status=400)
        if fault is Fault.STATUS:
            call.status = kind.status
            await stream.send_all(refusal(kind.status))
            return
        if fault is Fault.MUTE:
            await trio.sleep_forever()
        await stream.send_all(head())
        for number, (event, paced) in enumerate(events_for(request, text, declined=fault is Fault.DECLINED)):
            if fault and fault is not Fault.DECLINED and number > PIECES // 3:
                await self._strike(stream, fault)
                return
            await trio.sleep(kind.pace if paced else 0)
            await stream.send_all(chunk(wire.encode_event(event)))
            call.events.append(trio.current_time())
            self._progress.unpark_all()
        await stream.send_all(chunk(b""))

    def text(self, request: dict[str, Any]) -> str:
        """Return what is written in answer to a request. Raises NeverWritten."""
        return rest(request)

    async def _strike(self, stream: trio.SocketStream, fault: Fault) -> None:
        """Break an answer off in the middle of its text."""
        if fault is Fault.SILENCE:
            await trio.sleep_forever()
        if fault is Fault.MALFORMED:
            await stream.send_all(chunk(MALFORMED))
        if fault is Fault.ERROR_EVENT:
            event = wire.error("api_error", "Internal server error", "req_chaos")
            await stream.send_all(chunk(wire.encode_event(event)))
        if fault is not Fault.CUT:
            await stream.send_all(chunk(b""))


async def watch(stream: trio.SocketStream, scope: trio.CancelScope) -> None:
    """Cancel the scope when the client is gone."""
    with suppress(*GONE):
        while await stream.receive_some(RECEIVE_BYTES):
            pass
    scope.cancel()


async def read_request(stream: trio.SocketStream) -> dict[str, Any] | None:
    """Read one request and return its body; None where the client goes before its end."""
    received = b""
    while True:
        data = await stream.receive_some(RECEIVE_BYTES)
        if not data:
            return None
        received += data
        head, separator, body = bytes(received).partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if separator and len(body) >= (int(length[1]) if length else 0):
            found: dict[str, Any] = json.loads(body)
            return found


def events_for(request: dict[str, Any], text: str, *, declined: bool) -> Iterator[tuple[wire.Event, bool]]:
    """Give the events of an answer, and of each whether it comes at the pace."""
    size = -(-len(text) // PIECES)
    pieces = tuple(text[start : start + size] for start in range(0, len(text), size or 1))
    pieces = pieces[: PIECES // 4] if declined else pieces
    tokens = Tokens(input=100, output=wire.estimated_tokens(pieces), cache_read=0, cache_write=0)
    reason = "refusal" if declined else "end_turn"
    answer = wire.Answer("msg_chaos", str(request["model"]), pieces, tokens, stop_reason=reason)
    yield from ((event, False) for event in wire.opening(answer))
    yield from ((event, True) for event in wire.deltas(answer))
    yield from ((event, False) for event in wire.closing(answer))


def head() -> bytes:
    return _lines("200 OK", **wire.headers("req_chaos", stream=True), transfer_encoding="chunked")


def refusal(status: int) -> bytes:
    body = wire.encode_json(wire.error(ERRORS[status], f"This is refused with {status}", "req_chaos"))
    more = {"retry-after": RETRY_AFTER} if status in {429, 529} else {}
    headers = {**wire.headers("req_chaos", stream=False), **more}
    return _lines(f"{status} Refused", **headers, content_length=str(len(body))) + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _lines(status: str, **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", "connection: close", *(f"{n.replace('_', '-')}: {v}" for n, v in headers.items())]
    return "\r\n".join([*lines, "\r\n"]).encode()

"""The hand that plays a script: everything that is sent in answer to one call."""

import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass
from math import inf
from typing import Any, TypeAlias

import trio

from app import wire
from tests.claude.call import Call, Ending
from tests.claude.script import BEFORE_HEADERS, BEFORE_MESSAGE, Fault, Script, cut
from tests.claude.validation import Refusal

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

BROKEN = {
    Fault.MALFORMED: b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{\n\n',
    Fault.BAD_UTF8: b'event: content_block_delta\ndata: {"type":"content_block_delta","text":"\xff\xfe"}\n\n',
    Fault.HALF_CHARACTER: b"event: content_block_delta\n"
    b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\\ud83d"}}\n\n',
    Fault.CLEAN_END: b"",
}
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to send, and the place where it stands (see `Script`)."""

    place: int
    data: bytes
    delta: str | None = None
    """The text, where this is a text delta."""
    paced: bool = False


@dataclass(frozen=True, slots=True)
class Exchange:
    """Answers one call by its script."""

    call: Call
    script: Script
    receive: Receive
    send: Send

    async def run(self) -> None:
        """Play the script until it ends or the client is gone."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.watch, nursery.cancel_scope)
            await self.play()
            nursery.cancel_scope.cancel()

    async def watch(self, scope: trio.CancelScope) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass
        if self.call.ending is None:
            self.call.ending = Ending.GONE
            self.call.gone.set()
        scope.cancel()

    async def play(self) -> None:
        await self.hold(BEFORE_HEADERS)
        await trio.sleep(self.script.first_after)
        if self.script.strikes_at == BEFORE_HEADERS:
            await self.strike()
            return
        await self.start()
        for step in self.steps():
            await self.hold(step.place)
            if self.script.strikes_at <= step.place:
                await self.strike()
                return
            await self.put(step)
        await self.end(Ending.WHOLE)

    def steps(self) -> Iterator[Step]:
        answer = self.script.answer(self.call.body, f"msg_{self.call.number:04d}")
        if not self.streamed:
            first, second = cut(wire.encode_json(wire.message(answer)).decode(), 2)
            yield Step(BEFORE_MESSAGE, first.encode())
            yield Step(sys.maxsize, second.encode())
            return
        for event in wire.opening(answer):
            yield Step(BEFORE_MESSAGE, wire.encode_event(event), paced=is_thinking(event))
        for place, (event, piece) in enumerate(zip(wire.deltas(answer), answer.pieces, strict=True)):
            for _ in range(self.script.pings):
                yield Step(place, wire.encode_event(wire.ping()))
            yield Step(place, wire.encode_event(event), piece, paced=True)
        for place, event in enumerate(wire.closing(answer), len(answer.pieces)):
            yield Step(place, wire.encode_event(event))

    @property
    def streamed(self) -> bool:
        return bool(self.call.body.get("stream"))

    async def start(self) -> None:
        headers = wire.headers(self.call.request_id, stream=self.streamed)
        await send_start(self.call, 200, headers, self.send)

    async def put(self, step: Step) -> None:
        if step.paced and self.script.pace:
            await trio.sleep(self.script.pace)
        await self.send({"type": "http.response.body", "body": step.data, "more_body": True})
        self.call.events_sent += 1
        if step.delta is not None:
            self.call.sent.append(step.delta)
            self.call.progress.unpark_all()

    async def hold(self, place: int) -> None:
        hold = self.script.hold
        if hold is not None and self.script.hold_at <= place and not hold.is_set():
            self.call.held.set()
            await self.wait(hold)

    async def wait(self, event: trio.Event) -> None:
        """Wait, with pings where the script asks for them and the headers are sent."""
        seconds = self.script.ping_seconds if self.call.started.is_set() else None
        while not event.is_set():
            with trio.move_on_after(inf if seconds is None else seconds):
                await event.wait()
            if not event.is_set():
                await self.put(Step(BEFORE_HEADERS, wire.encode_event(wire.ping())))

    async def end(self, ending: Ending) -> None:
        """End the response as HTTP ends it. A client that closes from here on is not gone but done."""
        self.call.ending = ending
        await self.send({"type": "http.response.body", "body": b"", "more_body": False})

    async def strike(self) -> None:
        script = self.script
        if script.fault in {Fault.SILENCE, Fault.SILENCE_BEFORE_HEADERS}:
            await self.wait(trio.Event())
        elif script.fault is Fault.STATUS:
            self.call.ending = Ending.FAULT
            refusal = Refusal(script.status, script.error_type, script.message)
            await refuse(self.call, refusal, self.send, script.retry_after)
        elif script.fault in {Fault.CUT, Fault.RESET}:
            self.call.ending = Ending.FAULT
            await cut_connection(self.send, reset=script.fault is Fault.RESET)
        else:
            await self.break_off()

    async def break_off(self) -> None:
        """Send the broken event, then end the response as if nothing were wrong."""
        script = self.script
        event = wire.error(script.error_type, script.message, self.call.request_id)
        data = BROKEN[script.fault] if script.fault in BROKEN else wire.encode_event(event)
        if not self.call.started.is_set():
            await self.start()
        if data:
            await self.put(Step(BEFORE_MESSAGE, data))
        await self.end(Ending.FAULT)


async def refuse(call: Call, refusal: Refusal, send: Send, retry_after: float | None = None) -> None:
    """Answer with an error body."""
    headers = wire.headers(call.request_id, stream=False)
    if retry_after is not None:
        headers["retry-after"] = f"{retry_after:g}"
    body = wire.encode_json(wire.error(refusal.error_type, refusal.message, call.request_id))
    await send_start(call, refusal.status, {**headers, "content-length": str(len(body))}, send)
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def send_start(call: Call, status: int, headers: dict[str, str], send: Send) -> None:
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    call.status = status
    call.started.set()


async def cut_connection(send: Send, *, reset: bool) -> None:
    """Close the connection under the response: with FIN after what was sent, or with RST at once."""
    stream = connection(send)
    if reset:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    await trio.aclose_forcefully(stream)


def connection(send: Send) -> trio.SocketStream:
    """Find the TCP connection behind an ASGI `send`: Hypercorn's objects hold each other as bound methods."""
    owner: Any = send
    while not hasattr(owner, "stream") or not isinstance(owner.stream, trio.SocketStream):
        owner = getattr(owner, "send", owner).__self__
    return owner.stream


def is_thinking(event: wire.Event) -> bool:
    return bool(event["type"] == "content_block_delta" and event["delta"]["type"] == "thinking_delta")

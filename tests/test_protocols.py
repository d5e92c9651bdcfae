"""HTTP/2 as floods use it, and Hypercorn's own refusals, on the real server: who floods is cut, others are served."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, cast

import h2.config
import h2.connection
import h2.errors
import h2.events
import hypercorn.protocol
import pytest
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    ExtensionFrame,
    Frame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from trio.testing import wait_all_tasks_blocked

from app.headers import BARE, PROTECTION, STRICT_TRANSPORT, TAILS, UNDER_TLS
from app.protocols import BURST, BoundedH2, BoundedH11, install
from tests.conftest import Start
from tests.routes.client import connect, exchange
from tests.service import ADMIN_TOKEN, GRACE_SECONDS, Service

PING, GOAWAY = 6, 7
CALM = h2.errors.ErrorCodes.ENHANCE_YOUR_CALM
HEADERS = [(":method", "GET"), (":path", "/healthz"), (":scheme", "http"), (":authority", "test")]


@dataclass(eq=False)
class Http2:
    """A client of HTTP/2 that may also send what no client should."""

    stream: trio.SocketStream
    events: list[h2.events.Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(validate_outbound_headers=False))
        self.h2.initiate_connection()

    async def send(self, *frames: Frame) -> None:
        """Send what is ready and these frames; a server that has closed is no failure."""
        data = self.h2.data_to_send() + b"".join(frame.serialize() for frame in frames)
        with suppress(trio.BrokenResourceError):
            await self.stream.send_all(data)

    async def until(self, kind: type[h2.events.Event]) -> h2.events.Event | None:
        """Read until an event of this kind, or the end."""
        with trio.fail_after(10), suppress(trio.BrokenResourceError):
            while True:
                for number, event in enumerate(self.events):
                    if isinstance(event, kind):
                        del self.events[: number + 1]
                        return event
                if not (data := await self.stream.receive_some()):
                    return None
                self.events += self.h2.receive_data(data)
                await self.send()
        return None

    async def get(self, path: str = "/healthz") -> int | None:
        """Make a request; returns its status."""
        stream_id = self.h2.get_next_available_stream_id()
        headers = [(":path", path) if name == ":path" else (name, value) for name, value in HEADERS]
        self.h2.send_headers(stream_id, headers, end_stream=True)
        await self.send()
        answer = await self.until(h2.events.ResponseReceived)
        return int(dict(answer.headers)[b":status"]) if isinstance(answer, h2.events.ResponseReceived) else None

    async def frame(self, kind: int, payload: bytes = b"") -> bytes | None:
        """Read until a frame of this kind that ends with `payload`, or the end; returns what is in it.

        It may be about streams that this client does not know of, as they were opened in bytes.
        """
        received = b""
        with trio.fail_after(10), suppress(trio.BrokenResourceError):
            while True:
                while len(received) >= 9 and len(received) >= (size := 9 + int.from_bytes(received[:3], "big")):
                    found, received = received[:size], received[size:]
                    if found[3] == kind and found.endswith(payload):
                        return found[9:]
                if not (data := await self.stream.receive_some()):
                    return None
                received += data
        return None

    async def cut(self) -> int | None:
        """Wait until the server closes; returns the reason that it gave."""
        goaway = await self.frame(GOAWAY)
        return None if goaway is None else int.from_bytes(goaway[4:8], "big")


@asynccontextmanager
async def http2(service: Service) -> AsyncIterator[Http2]:
    async with await connect(service) as stream:
        yield Http2(stream)


def resets(number: int) -> list[Frame]:
    """Make requests that are taken back at once."""
    block = b"\x82\x84\x86\x41\x04test"  # GET / http, :authority test
    frames: list[Frame] = []
    for stream_id in range(1, 2 * number, 2):
        frames.append(HeadersFrame(stream_id, block, flags=["END_HEADERS", "END_STREAM"]))
        frames.append(RstStreamFrame(stream_id, error_code=8))
    return frames


def empty_data(number: int) -> list[Frame]:
    """Make a request whose body never says anything."""
    block = b"\x83\x84\x86\x41\x04test"
    return [HeadersFrame(1, block, flags=["END_HEADERS"]), *[DataFrame(1, b"") for _ in range(number)]]


FLOODS: dict[str, Callable[[int], list[Frame]]] = {
    "pings": lambda number: [PingFrame(0, b"12345678")] * number,
    "settings": lambda number: [SettingsFrame(0, {4: 65535})] * number,
    "resets": resets,
    "unknown frames": lambda number: [ExtensionFrame(0xBB, 0)] * number,
    "empty data": empty_data,
}


@pytest.mark.parametrize("flood", FLOODS)
async def test_who_sends_too_much_that_asks_for_nothing_is_cut_and_others_are_served(
    service: Service, flood: str
) -> None:
    async with http2(service) as client:
        await client.send(*FLOODS[flood](20 * BURST))

        assert await client.cut() == CALM
        assert (await service.http.get("/healthz")).status_code == 200


@pytest.mark.parametrize("flood", FLOODS)
async def test_a_little_of_the_same_is_nothing(service: Service, flood: str) -> None:
    async with http2(service) as client:
        await client.send(*FLOODS[flood](BURST // 2))
        await client.send(PingFrame(0, b"finished"))

        assert await client.frame(PING, b"finished")


async def test_a_tunnel_is_not_made(service: Service) -> None:
    async with http2(service) as client:
        client.h2.send_headers(1, [(":method", "CONNECT"), (":authority", "test:1")])
        await client.send()

        assert await client.cut() == h2.errors.ErrorCodes.CONNECT_ERROR


@pytest.mark.parametrize("upgrade", [b"websocket", b"h2c"])
async def test_an_upgrade_is_not_taken_and_the_connection_goes_on(
    service: Service, upgrade: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    asks = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: %s\r\nHTTP2-Settings: !\r\n" % upgrade
    asks += b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    last = b"GET /healthz HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"

    answer = await exchange(service, b"GET /healthz HTTP/1.1\r\nHost: test\r\n" + asks + b"\r\n" + last)

    assert answer.count(b"HTTP/1.1 200") == 2
    assert not [line for line in caplog.messages if "loop was blocked" not in line]


async def test_priorities_are_not_kept_however_many(service: Service) -> None:
    frames = [PriorityFrame(number, depends_on=0, stream_weight=1) for number in range(101, 8101, 2)]
    async with http2(service) as client:
        await client.send(*frames)

        assert await client.get() == 200


async def test_a_flood_of_windows_lets_others_have_their_turn(service: Service) -> None:
    """The loop's watch fails the test when all frames are read in one step."""
    async with http2(service) as client:
        await client.send()
        await client.send(*[WindowUpdateFrame(0, window_increment=1)] * 20_000)

        assert await client.get() == 200


@pytest.mark.parametrize(
    "frames",
    [
        [HeadersFrame(1, b"\x82"), *[ContinuationFrame(1, b"\x00" * 10) for _ in range(1000)]],
        [HeadersFrame(1, b"\x82"), *[ContinuationFrame(1, b"") for _ in range(1000)]],
        [HeadersFrame(1, b"\x82\x84\x86\x40\x01a\x7f\x81\x1f" + b"b" * 4000 + b"\xbe" * 8000, flags=["END_HEADERS"])],
    ],
    ids=["continuations", "empty continuations", "a header list that unpacks to 32 MB"],
)
async def test_headers_without_end_cut_the_connection(service: Service, frames: list[Frame]) -> None:
    async with http2(service) as client:
        await client.send(*frames)

        assert await client.cut() is not None
        assert (await service.http.get("/healthz")).status_code == 200


async def test_a_head_that_is_too_large_under_http_2_is_refused_or_cut(service: Service) -> None:
    async with http2(service) as client:
        status = await client.get("/" + "x" * 9000)

    assert status == 414


async def test_a_body_that_drips_under_http_2_is_a_408(start: Start) -> None:
    async with start(body_grace_seconds=0.2) as service, http2(service) as client:
        headers = [*HEADERS, ("authorization", f"Bearer {ADMIN_TOKEN}"), ("content-type", "application/json")]
        headers[:2] = [(":method", "POST"), (":path", "/api/topics")]
        client.h2.send_headers(1, headers)
        client.h2.send_data(1, b"{")
        await client.send()

        answer = await client.until(h2.events.ResponseReceived)

        assert isinstance(answer, h2.events.ResponseReceived)
        assert dict(answer.headers)[b":status"] == b"408"
        assert await client.get() == 200


async def test_an_answer_to_a_client_that_has_left_waits_for_nothing(service: Service) -> None:
    async with http2(service) as client:
        client.h2.send_headers(1, [(":method", "POST"), *HEADERS[1:]])  # and no body: the answer waits for it
        await client.send()
        await wait_all_tasks_blocked(0.02)

    began = trio.current_time()
    await service.shut_down()

    assert trio.current_time() - began < GRACE_SECONDS


async def test_answers_carry_the_protective_headers_under_http_2(service: Service) -> None:
    async with http2(service) as client:
        client.h2.send_headers(1, HEADERS, end_stream=True)
        await client.send()
        answer = await client.until(h2.events.ResponseReceived)

    assert isinstance(answer, h2.events.ResponseReceived)
    assert set(BARE) <= {tuple(pair) for pair in answer.headers}


def test_what_is_written_once_is_what_is_added() -> None:
    assert set(TAILS) == {BARE, UNDER_TLS, PROTECTION, (*PROTECTION, STRICT_TRANSPORT)}
    for pairs, written in TAILS.items():
        assert written == b"".join(name + b": " + value + b"\r\n" for name, value in pairs)


async def test_what_is_no_request_is_told_so_in_a_problem(service: Service) -> None:
    async with await connect(service) as stream:
        await stream.send_all(b"GET  / HTTP/1.1\r\n\r\n")
        with trio.fail_after(5):
            answer = b"".join([piece async for piece in stream])

    head, _, content = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"connection: close" in head.lower()
    assert json.loads(content)["code"] == "malformed_request"
    assert f"\r\nx-request-id: {json.loads(content)['request_id']}\r\n".encode() in head.lower()


def test_what_install_replaced_can_be_put_back() -> None:
    names = vars(hypercorn.protocol)

    undo = install()
    installed = names["H11Protocol"], names["H2Protocol"]
    undo()

    assert installed == (BoundedH11, BoundedH2)
    assert (names["H11Protocol"], names["H2Protocol"]) == (H11Protocol, H2Protocol)


async def test_a_refusal_is_sent_at_once_so_that_nothing_of_an_app_comes_in_between() -> None:
    sent: list[Event] = []
    protocol = h11_protocol(sent)

    await protocol.handle(RawData(b"GET / HTTP/1.1\r\nhost: x\r\nno colon\r\n\r\n"))

    refusal, closed = sent
    assert isinstance(refusal, RawData)
    assert refusal.data.startswith(b"HTTP/1.1 400 ")
    assert refusal.data.rstrip().endswith(b"}")
    assert isinstance(closed, Closed)


def h11_protocol(sent: list[Event]) -> BoundedH11:
    """Make a protocol that has no app and keeps what it sends."""

    async def send(event: Event) -> None:
        sent.append(event)

    config = Config()
    context, task_group = WorkerContext(None), TaskGroup()
    return BoundedH11(
        cast("Any", None),
        config,
        context,
        task_group,
        ConnectionState({}),
        ssl=False,
        client=None,
        server=None,
        send=send,
    )

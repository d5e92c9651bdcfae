"""The guard, on a real Hypercorn and raw bytes: each promise, and the stock server that breaks it."""

import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import NoReturn, cast

import h2.connection
import hypercorn.trio
import pytest
import trio
from hypercorn.config import Config
from hypercorn.trio import run, tcp_server
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import Framework
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from trio.testing import MockClock, wait_all_tasks_blocked

from app.guard import GuardedTCPServer, install
from app.inbox import GuardedTaskGroup

GRACE_SECONDS = 8.0
KEEP_ALIVE_SECONDS = Config.keep_alive_timeout
FOR_EVER = 24 * 3600.0
TOKEN = b"a-token-to-keep-out-of-the-log"
LARGE = 32 * 2**20  # more than the sockets' buffers hold

GET = b"GET /%s HTTP/1.1\r\nHost: test\r\n\r\n"
POST = b"POST /%s HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n"
LAST = b"GET /%s HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
WEBSOCKET = (
    b"GET /socket HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer " + TOKEN + b"\r\n"
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
H2C = (
    b"GET / HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer " + TOKEN + b"\r\n"
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: %s\r\n\r\n"
)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

Handler = Callable[[Receive, Send], Awaitable[None]]


class Raw:
    """A route's endpoint that is spoken to in plain ASGI."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.handler(receive, send)


class Service:
    """A Hypercorn on a free port, and what became of it."""

    def __init__(self) -> None:
        self.port = 0
        self.listening = trio.Event()
        self.stop = trio.Event()
        self.scope = trio.CancelScope()
        self.ended = trio.Event()
        self.failure: Exception | None = None

    async def run(self, app: ASGIApp) -> None:
        config = Config()
        config.bind = ["127.0.0.1:0"]
        config.graceful_timeout = GRACE_SECONDS
        config.errorlog = None
        serve = partial(hypercorn.trio.serve, cast("Framework", app), config, shutdown_trigger=self.stop.wait)
        try:
            with self.scope:
                async with trio.open_nursery() as nursery:
                    [url] = await nursery.start(serve)
                    self.port = int(url.rpartition(":")[2])
                    self.listening.set()
        except ExceptionGroup as failure:
            self.failure = failure
        finally:
            self.ended.set()

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    async def answers(self) -> bool:
        async with await self.connect() as client:
            await client.send_all(GET % b"")
            return await read(client, b"hello") != b""


@asynccontextmanager
async def serving(*, stock: bool = False, **handlers: Handler) -> AsyncIterator[Service]:
    """Serve `hello` at `/` and each handler at its name."""
    routes = [Route(f"/{name}", Raw(handler)) for name, handler in handlers.items()]
    app = Starlette(routes=[Route("/", Raw(hello)), *routes])
    undo = install(TCPServer, TaskGroup) if stock else install()
    service = Service()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(service.run, app)
            await service.listening.wait()
            yield service
            nursery.cancel_scope.cancel()
    finally:
        undo()


def head(length: int, status: int = 200) -> Message:
    headers = [(b"content-length", b"%d" % length)]
    return {"type": "http.response.start", "status": status, "headers": headers}


def body(data: bytes, *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def hello(receive: Receive, send: Send) -> None:
    await send(head(5))
    await send(body(b"hello"))


async def large(receive: Receive, send: Send) -> None:
    await send(head(LARGE))
    await send(body(bytes(LARGE)))


async def read(client: trio.SocketStream, until: bytes) -> bytes:
    """Read up to some bytes, or nothing if the server closes before them."""
    received = b""
    with trio.fail_after(5):
        while until not in received:
            if not (data := await client.receive_some()):
                return b""
            received += data
    return received


async def read_all(client: trio.SocketStream) -> bytes:
    """Read until the server closes."""
    received = bytearray()
    with trio.fail_after(5), suppress(trio.BrokenResourceError):
        async for data in client:
            received += data
    return bytes(received)


async def read_some(client: trio.SocketStream, length: int) -> bytes:
    """Read at least `length` bytes."""
    received = bytearray()
    while len(received) < length and (data := await client.receive_some()):
        received += data
    return bytes(received)


async def living() -> int:
    """Count the tasks that are left when all have done what they can."""
    await blocked()
    return trio.lowlevel.current_statistics().tasks_living


async def blocked() -> None:
    """Wait until the service and the kernel have done what they can."""
    await wait_all_tasks_blocked(0.02)


@pytest.fixture
def clock(mock_clock: MockClock) -> MockClock:
    """Real time that a test can also jump ahead."""
    mock_clock.rate = 1.0
    return mock_clock


# A connection's failure stays in it.


async def websocket_with_trailing_bytes(client: trio.SocketStream) -> None:
    await client.send_all(WEBSOCKET + b"trailing")


async def h2c_with_undecodable_settings(client: trio.SocketStream) -> None:
    await client.send_all(H2C % b"AAMAAABkAAQ")


async def http2_upload_that_goes_on_after_the_answer(client: trio.SocketStream) -> None:
    h2_client = h2_request(end_stream=False)
    await client.send_all(h2_client.data_to_send())
    await read(client, b"hello")
    h2_client.send_data(1, b"more")
    await client.send_all(h2_client.data_to_send())


def h2_request(path: str = "/", *, end_stream: bool = True) -> h2.connection.H2Connection:
    connection = h2.connection.H2Connection()
    connection.initiate_connection()
    headers = [(":method", "POST"), (":path", path), (":scheme", "http"), (":authority", "test")]
    connection.send_headers(1, headers, end_stream=end_stream)
    return connection


POISONS = [
    websocket_with_trailing_bytes,
    h2c_with_undecodable_settings,
    http2_upload_that_goes_on_after_the_answer,
]


@pytest.mark.parametrize("poison", POISONS)
async def test_a_connection_that_fails_does_not_touch_another_in_mid_response(
    poison: Callable[[trio.SocketStream], Awaitable[None]], caplog: pytest.LogCaptureFixture
) -> None:
    go_on = trio.Event()

    async def halves(receive: Receive, send: Send) -> None:
        await send(head(10))
        await send(body(b"first", more=True))
        await go_on.wait()
        await send(body(b"other"))

    caplog.set_level(logging.DEBUG, "longhand")
    async with serving(halves=halves) as service, await service.connect() as neighbour:
        await neighbour.send_all(GET % b"halves")
        assert await read(neighbour, b"first")

        async with await service.connect() as client:
            await poison(client)
            await read_all(client)
        go_on.set()

        assert await read(neighbour, b"other")
        assert await service.answers()
        assert not service.ended.is_set()
    [record] = [record for record in caplog.records if record.name == "longhand.server"]
    assert record.levelno == logging.WARNING
    assert record.exc_info is None
    assert re.search(r"Error at \S+:\d+ > \S+:\d+ > \S+:\d+$", record.getMessage())
    assert "\n" not in record.getMessage()
    assert TOKEN.decode() not in caplog.text


@pytest.mark.parametrize("poison", POISONS)
async def test_the_stock_server_dies_of_the_same_connection(
    poison: Callable[[trio.SocketStream], Awaitable[None]],
) -> None:
    async with serving(stock=True) as service, await service.connect() as client:
        await poison(client)

        with trio.fail_after(5):
            await service.ended.wait()

    assert service.failure is not None


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(H2C % b"AAMAAABkAARAAAAAAAIAAAAA", id="h2c with valid settings"),
        pytest.param(H2C % b"", id="h2c without settings"),
        pytest.param(PREFACE + b"garbage" * 100, id="HTTP/2 preface, then garbage"),
        pytest.param(PREFACE[:-4] + b"garbage" * 100, id="half an HTTP/2 preface, then garbage"),
        pytest.param(PREFACE, id="HTTP/2 preface and nothing else"),
        pytest.param(WEBSOCKET.replace(b"13", b"12"), id="websocket of an unknown version"),
        pytest.param(WEBSOCKET.replace(b"-Key", b"-Lock"), id="websocket without a key"),
        pytest.param((GET % b"")[:-9], id="half a head"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nabc", id="half a body"),
        pytest.param(b"CONNECT test:1 HTTP/1.1\r\nHost: test\r\n\r\n", id="CONNECT"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20, id="a TLS hello"),
        pytest.param(b"", id="nothing"),
    ],
)
async def test_the_server_outlives_odd_and_broken_requests(request_bytes: bytes, clock: MockClock) -> None:
    async with serving() as service:
        async with await service.connect() as client:
            await client.send_all(request_bytes)
            await client.send_eof()
            await blocked()
            clock.jump(GuardedTCPServer.LINGER_SECONDS)
            await read_all(client)

        assert await service.answers()
        service.stop.set()
        with trio.fail_after(5):
            await service.ended.wait()
    assert service.failure is None


async def test_pipelined_requests_are_answered_one_by_one() -> None:
    async with serving() as service, await service.connect() as client:
        await client.send_all(GET % b"" * 3)

        received = await read(client, b"hello")
        while received.count(b"hello") < 3:
            received += await read(client, b"hello")

    assert received.count(b"HTTP/1.1 200") == 3


async def test_a_stream_that_has_ended_does_not_hold_up_the_stop() -> None:
    async def stream(receive: Receive, send: Send) -> None:
        await StreamingResponse(iter([b"all"]))({"type": "http"}, receive, send)

    async with serving(stream=stream) as service, await service.connect() as client:
        await client.send_all(GET % b"stream")
        await read(client, b"0\r\n\r\n")
        await blocked()

        service.stop.set()

        with trio.fail_after(5):
            await service.ended.wait()


async def test_a_websocket_handshake_is_refused_plainly() -> None:
    async with serving() as service, await service.connect() as client:
        await client.send_all(WEBSOCKET)

        assert (await read_all(client)).startswith(b"HTTP/1.1 403")

        assert await service.answers()


async def test_an_app_that_raises_in_mid_response_cuts_that_response_only() -> None:
    async def raising(receive: Receive, send: Send) -> None:
        await send(head(10))
        await send(body(b"first", more=True))
        raise RuntimeError

    async with serving(raising=raising) as service, await service.connect() as client:
        await client.send_all(GET % b"raising")

        assert (await read_all(client)).endswith(b"\r\n\r\nfirst")

        assert await service.answers()


class FailsWhenCancelled:
    """A stream that turns the cancellation of a read into a failure."""

    def __init__(self, socket: trio.socket.SocketType) -> None:
        self.socket = socket

    async def receive_some(self, max_bytes: int) -> NoReturn:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError

    async def send_eof(self) -> None:
        return None

    async def aclose(self) -> None:
        return None


async def test_a_failure_that_meets_the_servers_cancellation_does_not_swallow_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sockets = trio.socket.socketpair()
    stream = FailsWhenCancelled(sockets[0])
    server = GuardedTCPServer(Starlette(), Config(), WorkerContext(None), {}, stream)  # type: ignore[arg-type]

    with sockets[0], sockets[1], trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.run)
            await blocked()
            scope.cancel()

    assert scope.cancelled_caught
    assert "ValueError at" in caplog.text


class Closing:
    """A stream that is being closed by another task."""

    async def send_all(self, data: memoryview) -> NoReturn:
        raise trio.BusyResourceError


async def test_a_send_that_meets_the_connections_close_is_to_a_client_that_is_gone() -> None:
    server = GuardedTCPServer(Starlette(), Config(), WorkerContext(None), {}, Closing())  # type: ignore[arg-type]
    server._cancelled = False

    assert await server._send_pieces(memoryview(b"late")) is False


# A client that does not read holds nothing up.


class Endless:
    """A handler that sends until it is told that the client is gone."""

    def __init__(self) -> None:
        self.told = trio.Event()

    async def __call__(self, receive: Receive, send: Send) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.send, send)
            while (await receive())["type"] != "http.disconnect":
                pass
            self.told.set()
            nursery.cancel_scope.cancel()

    async def send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send(body(bytes(2**20), more=True))


async def test_a_client_that_takes_nothing_is_cut_after_the_limit_and_the_app_is_told(
    clock: MockClock,
) -> None:
    endless = Endless()
    async with serving(endless=endless) as service:
        tasks = await living()
        async with await service.connect() as client:
            await client.send_all(GET % b"endless")
            await blocked()

            clock.jump(GuardedTCPServer.SEND_SECONDS - 1)
            await blocked()
            assert not endless.told.is_set()
            clock.jump(1)
            await blocked()

            assert endless.told.is_set()
            assert await living() == tasks
            assert await service.answers()


async def test_the_stock_server_never_tells_the_app_of_a_client_that_takes_nothing(clock: MockClock) -> None:
    endless = Endless()
    async with serving(stock=True, endless=endless) as service, await service.connect() as client:
        await client.send_all(GET % b"endless")
        await blocked()

        clock.jump(FOR_EVER)
        await blocked()

        assert not endless.told.is_set()


async def test_a_client_that_reads_slowly_gets_the_whole_response(clock: MockClock) -> None:
    received = bytearray()
    async with serving(large=large) as service, await service.connect() as client:
        await client.send_all(LAST % b"large")
        for _ in range(16):
            await blocked()
            clock.jump(GuardedTCPServer.SEND_SECONDS - 1)
            with trio.fail_after(5):
                received += await read_some(client, LARGE // 16)
        received += await read_all(client)

    assert len(received.partition(b"\r\n\r\n")[2]) == LARGE


async def test_an_app_that_is_cancelled_in_a_send_does_not_tear_the_response(clock: MockClock) -> None:
    async def hasty(receive: Receive, send: Send) -> None:
        await send(head(LARGE))
        with trio.move_on_after(1):
            await send(body(bytes(LARGE), more=True))
        await send(body(b""))

    async with serving(hasty=hasty) as service, await service.connect() as client:
        await client.send_all(LAST % b"hasty")
        await blocked()

        clock.jump(2)
        await blocked()
        received = await read_all(client)

    assert len(received.partition(b"\r\n\r\n")[2]) == LARGE


async def test_what_a_connection_leaves_behind_is_cancelled(clock: MockClock) -> None:
    endless = Endless()

    async def deaf(receive: Receive, send: Send) -> None:
        await endless(receive, send)
        await trio.sleep_forever()

    async with serving(deaf=deaf) as service:
        tasks = await living()
        async with await service.connect() as client:
            await client.send_all(GET % b"deaf" * 2)
            await blocked()
            clock.jump(GuardedTCPServer.SEND_SECONDS)
            assert await living() > tasks
            assert endless.told.is_set()

            clock.jump(GuardedTCPServer.LINGER_SECONDS)

            assert await living() == tasks


async def test_a_client_that_leaves_in_mid_response_raises_nothing_in_the_app() -> None:
    returned = trio.Event()

    async def chunked(receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send(body(bytes(LARGE)))
        returned.set()

    async with serving(chunked=chunked) as service:
        async with await service.connect() as client:
            await client.send_all(GET % b"chunked")
            await blocked()

        await blocked()

        assert returned.is_set()


@pytest.mark.parametrize("stock", [pytest.param(False, id="guarded"), pytest.param(True, id="stock")])
async def test_an_http2_client_that_leaves_a_large_response_keeps_a_task_on_the_stock_server_only(
    stock: bool, clock: MockClock
) -> None:
    async with serving(stock=stock, large=large) as service:
        tasks = await living()
        async with await service.connect() as client:
            await client.send_all(h2_request("/large").data_to_send())
            await blocked()

        await blocked()
        clock.jump(FOR_EVER)

        assert (await living() == tasks) is not stock


@pytest.mark.parametrize("stock", [pytest.param(False, id="guarded"), pytest.param(True, id="stock")])
async def test_refusing_a_large_body_unread_holds_the_app_for_ever_on_the_stock_server_only(
    stock: bool, clock: MockClock
) -> None:
    decided = trio.Event()
    refused = trio.Event()

    async def refusing(receive: Receive, send: Send) -> None:
        await decided.wait()
        await send(head(2, status=413))
        await send(body(b"no"))
        refused.set()

    async def upload(client: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await client.send_all(POST % (b"refusing", LARGE) + bytes(LARGE))

    async with serving(stock=stock, refusing=refusing) as service:
        tasks = await living()
        async with await service.connect() as client, trio.open_nursery() as nursery:
            nursery.start_soon(upload, client)
            await blocked()
            decided.set()
            assert (await read(client, b"no")).startswith(b"HTTP/1.1 413")
            await client.aclose()

        await blocked()
        clock.jump(FOR_EVER)
        await blocked()

        assert refused.is_set() is not stock
        assert (await living() == tasks) is not stock


# Shutdown and cancellation reach a send.


async def test_shutdown_ends_a_send_that_already_blocks_when_the_grace_is_over(clock: MockClock) -> None:
    async with serving(large=large) as service, await service.connect() as client:
        await client.send_all(GET % b"large")
        await blocked()

        service.stop.set()
        await blocked()
        clock.jump(GRACE_SECONDS - 1)
        await blocked()
        assert not service.ended.is_set()
        clock.jump(1)
        await blocked()

        assert service.ended.is_set()
        assert service.failure is None


async def test_the_stock_server_never_shuts_down_while_a_client_does_not_read(clock: MockClock) -> None:
    async with serving(stock=True, large=large) as service, await service.connect() as client:
        await client.send_all(GET % b"large")
        await blocked()

        service.stop.set()
        await blocked()
        clock.jump(FOR_EVER)
        await blocked()

        assert not service.ended.is_set()


@pytest.mark.parametrize("stock", [pytest.param(False, id="guarded"), pytest.param(True, id="stock")])
async def test_cancelling_the_server_in_a_send_ends_it_at_once_but_not_the_stock_server(stock: bool) -> None:
    async with serving(stock=stock, large=large) as service, await service.connect() as client:
        await client.send_all(GET % b"large")
        await blocked()

        service.scope.cancel()
        await blocked()

        assert service.ended.is_set() is not stock
        assert service.scope.cancelled_caught is not stock


async def test_a_cancelled_connection_sends_nothing_more_even_behind_a_shield() -> None:
    go_on = trio.Event()

    async def stubborn(receive: Receive, send: Send) -> None:
        with trio.CancelScope(shield=True):
            await go_on.wait()
            await large(receive, send)

    async with serving(stubborn=stubborn) as service, await service.connect() as client:
        await client.send_all(GET % b"stubborn")
        await blocked()

        service.scope.cancel()
        await blocked()
        go_on.set()
        await blocked()

        assert service.ended.is_set()


async def test_a_cancelled_connection_sends_not_even_a_small_response() -> None:
    go_on = trio.Event()

    async def stubborn(receive: Receive, send: Send) -> None:
        with trio.CancelScope(shield=True):
            await go_on.wait()
            await hello(receive, send)

    async with serving(stubborn=stubborn) as service, await service.connect() as client:
        await client.send_all(GET % b"stubborn")
        await blocked()

        service.scope.cancel()
        await blocked()
        go_on.set()

        assert await read_all(client) == b""


# What is sent together, and what does not wait.


async def test_a_small_response_is_sent_at_once_with_its_head() -> None:
    async with serving() as service, await service.connect() as client:
        for _ in range(3):
            await client.send_all(GET % b"")

            assert (await client.receive_some()).endswith(b"\r\n\r\nhello")


async def test_the_first_piece_of_a_stream_is_sent_with_the_head() -> None:
    async def stream(receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send(body(b"first", more=True))
        await trio.sleep_forever()

    async with serving(stream=stream) as service, await service.connect() as client:
        await client.send_all(GET % b"stream")

        assert (await client.receive_some()).endswith(b"\r\n\r\n5\r\nfirst\r\n")


async def test_the_head_does_not_wait_for_an_app_that_waits() -> None:
    go_on = trio.Event()

    async def slow(receive: Receive, send: Send) -> None:
        await send(head(4))
        await go_on.wait()
        await send(body(b"body"))

    async with serving(slow=slow) as service, await service.connect() as client:
        for _ in range(2):
            await client.send_all(GET % b"slow")
            assert (await read(client, b"\r\n\r\n")).endswith(b"\r\n\r\n")
            go_on.set()
            assert await read(client, b"body") == b"body"
            go_on = trio.Event()


async def test_a_head_without_a_body_is_sent_when_the_app_is_done() -> None:
    async def nothing(receive: Receive, send: Send) -> None:
        await send(head(4))

    async with serving(nothing=nothing) as service, await service.connect() as client:
        await client.send_all(GET % b"nothing")

        assert (await read_all(client)).startswith(b"HTTP/1.1 200")


async def test_an_app_that_sends_without_end_lets_other_tasks_run() -> None:
    turns = 0

    async def busy(receive: Receive, send: Send) -> None:
        await send(head(100))
        for _ in range(100):
            await send(body(b"x", more=True))

    async def others() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with serving(busy=busy) as service, await service.connect() as client, trio.open_nursery() as nursery:
        await client.send_all(GET % b"busy")
        nursery.start_soon(others)
        await read(client, b"x" * 100)
        nursery.cancel_scope.cancel()

    assert turns >= 90


async def test_what_an_app_sends_when_it_is_cancelled_already_is_sent_whole(clock: MockClock) -> None:
    async def cancelled(receive: Receive, send: Send) -> None:
        await send(head(LARGE))
        for _ in range(4):
            with trio.CancelScope() as scope:
                scope.cancel()
                await send(body(bytes(LARGE // 4), more=True))
        await send(body(b""))

    async with serving(cancelled=cancelled) as service, await service.connect() as client:
        await client.send_all(LAST % b"cancelled")
        await blocked()

        received = await read_all(client)

    assert len(received.partition(b"\r\n\r\n")[2]) == LARGE


# Who is idle is not kept.


@pytest.mark.parametrize("sent", [b"", (GET % b"")[:-2], GET % b""], ids=["nothing", "half a head", "a request"])
async def test_a_connection_that_is_idle_for_too_long_is_closed(sent: bytes, clock: MockClock) -> None:
    async with serving() as service, await service.connect() as client:
        await client.send_all(sent)
        await blocked()

        clock.jump(KEEP_ALIVE_SECONDS - 1)
        await blocked()
        with trio.move_on_after(0.1) as still_open:
            while await client.receive_some():
                pass
        clock.jump(1)
        await read_all(client)

        assert still_open.cancelled_caught


async def test_a_connection_is_not_idle_while_its_request_is_answered(clock: MockClock) -> None:
    go_on = trio.Event()

    async def slow(receive: Receive, send: Send) -> None:
        await go_on.wait()
        await hello(receive, send)

    async with serving(slow=slow) as service, await service.connect() as client:
        await client.send_all(GET % b"slow")
        await blocked()
        clock.jump(FOR_EVER)
        await blocked()
        go_on.set()

        assert await read(client, b"hello")

        clock.jump(KEEP_ALIVE_SECONDS)
        assert await read_all(client) == b""


async def test_idle_connections_are_closed_at_the_stop_and_others_when_they_have_their_answer() -> None:
    go_on = trio.Event()

    async def slow(receive: Receive, send: Send) -> None:
        await go_on.wait()
        await hello(receive, send)

    async with serving(slow=slow) as service, await service.connect() as idle, await service.connect() as busy:
        await idle.send_all(GET % b"")
        await read(idle, b"hello")
        await busy.send_all(GET % b"slow")
        await blocked()

        service.stop.set()

        assert await read_all(idle) == b""
        go_on.set()
        assert (await read_all(busy)).endswith(b"hello")
        with trio.fail_after(5):
            await service.ended.wait()


async def test_an_http2_connection_is_closed_at_the_stop_when_it_has_its_answer() -> None:
    go_on = trio.Event()

    async def slow(receive: Receive, send: Send) -> None:
        await go_on.wait()
        await hello(receive, send)

    async with serving(slow=slow) as service, await service.connect() as client:
        await client.send_all(h2_request("/slow").data_to_send())
        await blocked()

        service.stop.set()
        await blocked()
        go_on.set()

        with trio.fail_after(5):
            assert b"hello" in await read_all(client)
            await service.ended.wait()


def test_what_install_replaced_can_be_put_back() -> None:
    leave = install(TCPServer, TaskGroup)

    undo = install()
    installed = vars(run)["TCPServer"], vars(tcp_server)["TaskGroup"]
    undo()
    put_back = vars(run)["TCPServer"], vars(tcp_server)["TaskGroup"]
    leave()

    assert installed == (GuardedTCPServer, GuardedTaskGroup)
    assert put_back == (TCPServer, TaskGroup)

"""The same request again: answered at once where the app has offered that, the whole way wherever that may differ."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import cast

import hypercorn.trio
import pytest
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.typing import ASGIFramework, Framework, HTTPScope
from starlette.types import Receive, Scope, Send
from trio.testing import MockClock, wait_all_tasks_blocked

from app.again import MOST_BYTES, Reply, offer
from app.guard import GuardedTCPServer, install
from app.inbox import GuardedTaskGroup
from tests.test_guard import h2_request, read_all

ASK = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
WHOLE, SHORT = b"the whole way", b"the short way"
LARGE = b"x" * 2**25  # more than the sockets' buffers hold


class App:
    """Answers the whole way, and offers to answer the short way for as long as it may."""

    def __init__(self) -> None:
        self.may = True
        self.body = SHORT
        self.answered = 0
        self.hold = trio.Event()
        self.hold.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        offer(scope, self.again)
        await self.hold.wait()
        self.answered += 1
        await send({"type": "http.response.start", "status": 200, "headers": headers(WHOLE)})
        await send({"type": "http.response.body", "body": WHOLE})

    def again(self) -> Reply | None:
        return Reply(200, headers(self.body), self.body) if self.may else None


def headers(body: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"content-length", b"%d" % len(body)), (b"etag", b'"one"')]


class Client:
    """A connection to a guarded server with an app; `stop` stops the server."""

    def __init__(self, app: App, stream: trio.SocketStream, stop: trio.Event) -> None:
        self.app = app
        self.stream = stream
        self.stop = stop
        self._received = bytearray()

    async def send(self, *pieces: bytes) -> None:
        """Send pieces, each once the server has done with the one before what it can."""
        for piece in pieces:
            await self.stream.send_all(piece)
            await wait_all_tasks_blocked(0.02)

    async def response(self) -> tuple[bytes, bytes]:
        """Return the head and the body of the next response."""
        while (end := self._received.find(b"\r\n\r\n")) < 0:
            await self._receive()
        head = await self._take(end + 4)
        [length] = re.findall(rb"content-length: (\d+)", head)
        return head, await self._take(int(length))

    async def _take(self, length: int) -> bytes:
        while len(self._received) < length:
            await self._receive()
        taken = bytes(self._received[:length])
        del self._received[:length]
        return taken

    async def _receive(self) -> None:
        with trio.fail_after(5):
            data = await self.stream.receive_some(2**20)
        assert data, "the connection was closed before the response was whole"
        self._received += data

    async def body(self, *pieces: bytes) -> bytes:
        """Return what is answered to a request."""
        await self.send(*pieces)
        return (await self.response())[1]


@asynccontextmanager
async def connected(**settings: int) -> AsyncIterator[Client]:
    app, stop, config = App(), trio.Event(), Config()
    config.bind = ["127.0.0.1:0"]
    config.errorlog = None
    for name, value in settings.items():
        setattr(config, name, value)
    serve = partial(hypercorn.trio.serve, cast("Framework", app), config, shutdown_trigger=stop.wait)
    undo = install()
    try:
        async with trio.open_nursery() as nursery:
            [url] = await nursery.start(serve)
            async with await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2])) as stream:
                yield Client(app, stream, stop)
            nursery.cancel_scope.cancel()
    finally:
        undo()


async def test_the_same_bytes_on_the_same_connection_are_answered_as_the_app_has_offered() -> None:
    async with connected() as client:
        bodies = [await client.body(ASK) for _ in range(4)]

        assert bodies == [WHOLE, SHORT, SHORT, SHORT]
        assert client.app.answered == 1


async def test_the_short_way_writes_what_the_whole_way_writes() -> None:
    async with connected() as client:
        client.app.body = WHOLE

        await client.send(ASK)
        whole = await client.response()
        await client.send(ASK)
        short = await client.response()

        assert client.app.answered == 1
        assert [line for line in short[0].split(b"\r\n") if not line.startswith(b"date")] == [
            line for line in whole[0].split(b"\r\n") if not line.startswith(b"date")
        ]
        assert b"\r\ndate: " in short[0]


async def test_where_the_app_cannot_say_at_once_the_request_goes_the_whole_way_and_may_come_again() -> None:
    async with connected() as client:
        await client.body(ASK)

        client.app.may = False
        first = await client.body(ASK)
        client.app.may = True
        second = await client.body(ASK)

        assert (first, second) == (WHOLE, SHORT)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param([ASK.replace(b"/", b"/x", 1)], id="another path"),
        pytest.param([ASK.replace(b"test", b"tesu")], id="another header"),
        pytest.param([ASK.replace(b"GET", b"PUT")], id="another method"),
        pytest.param([ASK[:10], ASK[10:]], id="in two pieces"),
    ],
)
async def test_anything_else_goes_the_whole_way(other: list[bytes]) -> None:
    async with connected() as client:
        await client.body(ASK)

        assert await client.body(*other) == WHOLE


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([ASK[:10], ASK[10:]], id="came in two pieces"),
        pytest.param([ASK.replace(b"GET", b"POST")], id="is no GET"),
        pytest.param([ASK.replace(b"\r\n\r\n", b"\r\nX: " + b"x" * MOST_BYTES + b"\r\n\r\n")], id="is long"),
        pytest.param([ASK.replace(b"\r\n\r\n", b"\r\nContent-Length: 2\r\n\r\nxx")], id="has a body"),
    ],
)
async def test_what_is_not_one_whole_get_is_not_remembered(pieces: list[bytes]) -> None:
    async with connected() as client:
        for _ in range(2):
            await client.send(*pieces)
            await client.response()

        assert client.app.answered == 2


async def test_a_get_whose_body_comes_later_is_not_remembered() -> None:
    async with connected() as client:
        for _ in range(2):
            client.app.hold = trio.Event()
            await client.send(ASK.replace(b"\r\n\r\n", b"\r\nContent-Length: 2\r\n\r\n"), b"xx")
            client.app.hold.set()
            await client.response()

        assert client.app.answered == 2


async def test_two_requests_at_once_are_both_answered_the_whole_way_and_not_remembered_as_one() -> None:
    async with connected() as client:
        for answered in (2, 4):
            await client.send(ASK * 2)
            assert [(await client.response())[1] for _ in range(2)] == [WHOLE, WHOLE]
            assert client.app.answered == answered


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
async def test_two_requests_in_one_packet_are_two_whatever_ends_their_lines(line_end: bytes) -> None:
    both = ASK.replace(b"\r\n", line_end) + ASK
    async with connected() as client:
        for _ in range(2):
            await client.send(both)
            assert [(await client.response())[1] for _ in range(2)] == [WHOLE, WHOLE]


async def test_a_request_that_comes_again_before_its_answer_waits_for_it_and_goes_the_whole_way() -> None:
    async with connected() as client:
        await client.body(ASK)
        client.app.may = False
        client.app.hold = trio.Event()
        await client.send(ASK, ASK)
        client.app.may = True

        client.app.hold.set()

        assert [(await client.response())[1] for _ in range(2)] == [WHOLE, WHOLE]
        assert client.app.answered == 3


async def test_a_pipelined_request_follows_the_answer_of_the_one_before_it() -> None:
    async with connected() as client:
        await client.body(ASK)
        client.app.may = False
        client.app.hold = trio.Event()
        await client.send(ASK, ASK)
        client.app.hold.set()
        await client.response()
        await client.response()
        client.app.may = True

        assert await client.body(ASK) == WHOLE  # the two that came one upon the other were not remembered
        assert await client.body(ASK) == SHORT


async def test_a_half_request_before_it_is_not_forgotten() -> None:
    async with connected() as client:
        await client.body(ASK)

        await client.send(b"GET /?", ASK)

        head, _ = await client.response()
        assert head.startswith(b"HTTP/1.1 400")
        assert client.app.answered == 1


@pytest.mark.parametrize(
    "last",
    [ASK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), ASK.replace(b"1.1", b"1.0")],
    ids=["Connection: close", "HTTP/1.0"],
)
async def test_a_request_that_ends_its_connection_ends_it(last: bytes) -> None:
    async with connected() as client:
        await client.send(last)

        assert (await read_all(client.stream)).endswith(WHOLE)


async def test_the_last_request_that_a_connection_may_have_says_so() -> None:
    async with connected(keep_alive_max_requests=4) as client:
        for _ in range(3):
            await client.send(ASK)
            head, _ = await client.response()
            assert b"connection: close" not in head

        await client.send(ASK)

        head, body = await client.response()
        assert (b"connection: close" in head, body) == (True, WHOLE)
        assert await read_all(client.stream) == b""


async def test_a_server_that_stops_after_so_many_requests_counts_these_too() -> None:
    async with connected(max_requests=3) as client:
        assert [await client.body(ASK) for _ in range(4)] == [WHOLE, SHORT, SHORT, SHORT]

        assert await read_all(client.stream) == b""


async def test_a_connection_is_closed_at_the_stop_also_after_a_short_answer() -> None:
    async with connected() as client:
        await client.body(ASK)
        await client.body(ASK)

        client.stop.set()

        assert await read_all(client.stream) == b""


async def test_http2_goes_the_whole_way() -> None:
    async with connected() as client:
        h2_client = h2_request()
        await client.stream.send_all(h2_client.data_to_send())
        await client.send()
        received = b""
        while WHOLE not in received:
            received += await client.stream.receive_some()

        h2_client.send_headers(
            3, [(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "test")], end_stream=True
        )
        await client.send(h2_client.data_to_send())

        assert WHOLE in await client.stream.receive_some()
        assert client.app.answered == 2


async def test_who_asks_and_asks_is_never_idle_and_who_stops_is(mock_clock: MockClock) -> None:
    mock_clock.rate = 1.0
    async with connected(keep_alive_timeout=15) as client:
        for _ in range(5):
            assert await client.body(ASK)
            mock_clock.jump(10)

        mock_clock.jump(6)

        with trio.fail_after(5):
            assert await read_all(client.stream) == b""


async def test_a_connection_keeps_nothing_of_a_request_that_is_answered() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        offer(scope, again)

    def again() -> None:
        return None

    group = GuardedTaskGroup()
    async with group:
        scope = cast("HTTPScope", {"type": "http"})
        await group.spawn_app(ASGIWrapper(cast("ASGIFramework", app)), Config(), scope, send_nothing)
        await wait_all_tasks_blocked()

        assert group.take_offer() is again
        assert group.take_offer() is None


async def send_nothing(_: object) -> None:
    return


async def test_who_asks_but_takes_no_answer_is_closed_in_time(mock_clock: MockClock) -> None:
    mock_clock.rate = 1.0
    async with connected() as client:
        await client.body(ASK)
        client.app.body = LARGE
        await client.send(ASK)

        mock_clock.jump(GuardedTCPServer.SEND_SECONDS)
        await wait_all_tasks_blocked(0.02)

        assert len(await read_all(client.stream)) < len(LARGE)


async def test_a_large_answer_comes_whole_and_the_next_one_after_it() -> None:
    async with connected() as client:
        await client.body(ASK)
        client.app.body = LARGE
        await client.send(ASK, ASK)
        client.app.body = SHORT

        assert (await client.response())[1] == LARGE
        assert (await client.response())[1] == SHORT


async def test_asking_without_end_lets_other_tasks_run() -> None:
    async with connected() as client:
        await client.body(ASK)
        turns = 0
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:

                async def count() -> None:
                    nonlocal turns
                    while turns < 100:
                        await trio.lowlevel.checkpoint()
                        turns += 1
                    scope.cancel()

                async def drain() -> None:
                    while True:
                        await client.stream.receive_some()

                nursery.start_soon(count)
                nursery.start_soon(drain)
                while True:
                    await client.stream.send_all(ASK)

        assert turns == 100

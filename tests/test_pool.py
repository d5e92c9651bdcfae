"""Connections to Claude: each call has one of its own, few are kept, and none is looked at for another's sake."""

from collections.abc import AsyncIterator
from typing import cast

import httpcore2
import pytest
import trio
from anthropic import DefaultAsyncHttpxClient
from httpx2 import AsyncHTTPTransport

from app.network import Network
from app.pool import Pool, use_pools
from tests.claude import FakeClaude, Script
from tests.test_claude import END, PROMPT, Reader, facade, http, raw_server

URL = "http://claude.invalid/v1/messages"
IDLE = 2


class Connection(httpcore2.AsyncConnectionInterface):
    """A connection that is in the test's hand, and counts how often anybody looks at it."""

    def __init__(self) -> None:
        self.looks = 0
        self.calls = 0
        self.whole = False
        self.closed = False
        self.expired = False
        self.fails = False

    async def handle_async_request(self, request: httpcore2.Request) -> httpcore2.Response:
        self.calls += 1
        self.whole = False
        if self.fails:
            raise httpcore2.ConnectError
        return httpcore2.Response(200, content=Body())

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
        self.closed = True

    def _look(self, told: bool) -> bool:
        self.looks += 1
        return told

    def can_handle_request(self, origin: httpcore2.Origin) -> bool:
        return self._look(True)

    def has_expired(self) -> bool:
        return self._look(self.expired)

    def is_idle(self) -> bool:
        return self._look(self.whole)

    def is_closed(self) -> bool:
        return self._look(self.closed)


class Body:
    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"an answer"

    async def aclose(self) -> None:
        pass


class Connector:
    """Makes the connections of a pool."""

    def __init__(self) -> None:
        self.made: list[Connection] = []
        self.fail = False

    def create_connection(self, origin: httpcore2.Origin) -> Connection:
        connection = Connection()
        connection.fails = self.fail
        self.made.append(connection)
        return connection


class Calls:
    """A pool, and calls through it."""

    def __init__(self) -> None:
        self.connector = Connector()
        self.pool = Pool(cast("httpcore2.AsyncConnectionPool", self.connector), IDLE)

    async def begin(self) -> httpcore2.Response:
        return await self.pool.handle_async_request(httpcore2.Request("POST", URL))

    async def begin_many(self, count: int) -> list[httpcore2.Response]:
        return [await self.begin() for _ in range(count)]

    async def end(self, response: httpcore2.Response, connection: Connection, *, whole: bool = True) -> None:
        connection.whole = whole
        await response.aclose()


async def test_no_other_connection_is_looked_at_for_a_call() -> None:
    calls = Calls()
    await calls.begin_many(50)
    for connection in calls.connector.made:
        connection.looks = 0

    response = await calls.begin()
    await calls.end(response, calls.connector.made[-1])

    assert [connection.looks for connection in calls.connector.made[:-1]] == [0] * 50


async def test_a_connection_serves_the_next_call_only_after_a_whole_response() -> None:
    calls = Calls()
    first, second = await calls.begin_many(2)
    one, other = calls.connector.made

    await calls.end(first, one, whole=False)
    await calls.end(second, other)
    await calls.begin_many(2)

    assert [connection.calls for connection in calls.connector.made] == [1, 2, 1]
    assert (one.closed, other.closed) == (True, False)


async def test_only_so_many_idle_connections_are_kept() -> None:
    calls = Calls()
    responses = await calls.begin_many(IDLE + 3)

    for response, connection in zip(responses, calls.connector.made, strict=True):
        await calls.end(response, connection)

    assert [connection.closed for connection in calls.connector.made] == [True] * 3 + [False] * IDLE


async def test_an_idle_connection_that_expired_is_closed_and_serves_nobody() -> None:
    calls = Calls()
    await calls.end(await calls.begin(), calls.connector.made[0])
    calls.connector.made[0].expired = True

    await calls.begin()

    assert [connection.calls for connection in calls.connector.made] == [1, 1]
    assert calls.connector.made[0].closed


async def test_a_call_that_fails_leaves_no_connection_behind() -> None:
    calls = Calls()
    calls.connector.fail = True

    with pytest.raises(httpcore2.ConnectError):
        await calls.begin()
    calls.connector.fail = False
    await calls.begin()

    assert [connection.calls for connection in calls.connector.made] == [1, 1]
    assert calls.connector.made[0].closed


async def test_a_response_closed_by_a_cancelled_call_still_gives_its_connection_back() -> None:
    calls = Calls()
    response = await calls.begin()

    with trio.CancelScope() as scope:
        scope.cancel()
        await calls.end(response, calls.connector.made[0], whole=False)

    assert calls.connector.made[0].closed


async def test_closing_the_pool_closes_every_connection_in_use_or_not() -> None:
    calls = Calls()
    responses = await calls.begin_many(3)
    await calls.end(responses[0], calls.connector.made[0])

    await calls.pool.aclose()

    assert all(connection.closed for connection in calls.connector.made)


async def test_every_way_of_the_client_leads_through_a_pool_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid:3128")

    async with DefaultAsyncHttpxClient() as client:
        made = [each for each in (client._transport, *client._mounts.values()) if isinstance(each, AsyncHTTPTransport)]
        pools = [transport._pool for transport in made]
        use_pools(client, IDLE)

        assert len(pools) == 2
        assert all(isinstance(transport._pool, Pool) for transport in made)
        assert all(isinstance(pool._network_backend, Network) for pool in pools)


async def test_calls_go_through_a_proxy_where_the_environment_names_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_server(http("200 OK", "text/event-stream", END)) as url:
        monkeypatch.setenv("HTTP_PROXY", url)

        async with facade("http://claude.invalid") as writer:
            assert await writer.write(PROMPT, Reader()) == "end_turn"


async def test_calls_at_once_have_a_connection_each(claude: FakeClaude) -> None:
    go = trio.Event()
    claude.default = Script(hold=go, hold_at=0)
    readers = [Reader() for _ in range(5)]

    async with facade(claude.url) as writer, trio.open_nursery() as nursery:
        for reader in readers:
            nursery.start_soon(writer.write, PROMPT, reader)
        for _ in readers:
            await (await claude.next_call()).held.wait()
        go.set()

    assert [reader.text for reader in readers] == [Script().text] * 5

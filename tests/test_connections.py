"""How many connections there may be: counted, turned away at once, within the files that may be open."""

import logging
import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx2
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from app import connections
from app.addresses import Trusted
from app.connections import Connections, Once, room
from tests.claude import FakeClaude
from tests.conftest import Start
from tests.process import ROOT, serving
from tests.routes.client import connect
from tests.service import Service

HERE, THERE = "192.0.2.1", "192.0.2.2"
GET = b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n"


def test_no_more_are_let_in_than_may_in_all_and_who_leaves_makes_room() -> None:
    counted = Connections(2, 0, Trusted(()))

    assert [counted.enter(HERE), counted.enter(THERE), counted.enter(HERE)] == [True, True, False]
    counted.leave(THERE)

    assert [counted.enter(HERE), counted.enter(HERE)] == [True, False]


def test_no_more_are_let_in_than_may_from_one_address() -> None:
    counted = Connections(100, 2, Trusted(()))

    assert [counted.enter(HERE) for _ in range(3)] == [True, True, False]
    assert counted.enter(THERE)
    counted.leave(HERE)
    assert counted.enter(HERE)


def test_the_addresses_of_one_ipv6_network_are_one() -> None:
    counted = Connections(100, 2, Trusted(()))

    assert [counted.enter(f"2001:db8:1:2::{number}") for number in range(3)] == [True, True, False]


def test_a_trusted_proxy_has_no_bound_of_its_own_but_the_one_of_all() -> None:
    counted = Connections(4, 2, Trusted((HERE, "unix")))

    assert [counted.enter(HERE), counted.enter(HERE), counted.enter(HERE)] == [True] * 3
    assert [counted.enter(None), counted.enter(None)] == [True, False]


def test_nothing_is_remembered_of_who_has_left() -> None:
    counted = Connections(10, 5, Trusted(()))

    for number in range(1000):
        assert counted.enter(f"198.51.100.{number}")
        counted.leave(f"198.51.100.{number}")

    assert not counted._open


def test_a_flood_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    counted = Connections(1, 0, Trusted(()))

    for _ in range(1000):
        counted.enter(HERE)

    assert caplog.messages == ["connections are turned away: 1 are open, the bound of all is reached"]


# On the real server


@asynccontextmanager
async def held(service: Service, number: int) -> AsyncIterator[list[trio.SocketStream]]:
    """Hold so many connections open, each in the middle of a request."""
    async with AsyncExitStack() as stack:
        streams = []
        for _ in range(number):
            streams.append(await stack.enter_async_context(await connect(service)))
            await streams[-1].send_all(GET[:-2])
        await wait_all_tasks_blocked(0.02)
        yield streams


async def received(stream: trio.SocketStream) -> bytes:
    """Read until the server closes."""
    with trio.fail_after(5):
        return b"".join([piece async for piece in stream])


@pytest.mark.parametrize("bound", ["max_connections", "max_connections_per_address"])
async def test_one_connection_too_many_is_told_so_and_closed_and_the_others_go_on(start: Start, bound: str) -> None:
    async with start(**{bound: 3}) as service, held(service, 3) as streams:
        async with await connect(service) as late:
            told = await received(late)
        await streams[0].send_all(b"\r\n")
        answer = await streams[0].receive_some()
        await streams[1].aclose()
        await wait_all_tasks_blocked(0.02)
        async with await connect(service) as another:
            await another.send_all(GET)
            again = await another.receive_some()

    head, _, content = told.partition(b"\r\n\r\n")
    document = httpx2.Response(503, content=content).json()
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: 5\r\n" in head
    assert b"\r\nx-content-type-options: nosniff" in head
    assert (document["code"], document["status"]) == ("too_many_connections", 503)
    assert f"\r\nx-request-id: {document['request_id']}\r\n".encode() in head
    assert answer.startswith(b"HTTP/1.1 200")
    assert again.startswith(b"HTTP/1.1 200")


async def test_the_bound_by_address_is_not_for_a_trusted_proxy(start: Start) -> None:
    bounds = {"max_connections_per_address": 1, "trusted_proxies": "127.0.0.1"}
    async with start(**bounds) as service, held(service, 3), await connect(service) as another:
        await another.send_all(GET)

        assert (await another.receive_some()).startswith(b"HTTP/1.1 200")


# Files that may be open


@pytest.fixture
def limit() -> Iterator[None]:
    """Put the process's limit of open files back."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("limit")
def test_the_soft_limit_of_files_is_raised_as_far_as_the_connections_need() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))

    assert room(400, reserve=100) == 400
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (500, hard)
    assert room(300, reserve=100) == 300
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (500, hard)


def test_where_the_limit_cannot_be_raised_fewer_connections_leave_files_for_the_rest() -> None:
    program = (
        "import resource, app.connections as c\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))\n"
        "print(c.room(4000, 50), c.room(4000, 500), c.room(100, 50), *resource.getrlimit(resource.RLIMIT_NOFILE))\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)

    assert done.stdout.split() == ["150", "100", "100", "200", "200"]
    assert "only 200 files may be open, so 150 connections: raise the limit (ulimit -n)" in done.stderr


def open_files(pid: int) -> int:
    """Count the files that a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux limits another process")
async def test_a_server_that_runs_out_of_files_serves_again_when_there_are_some(
    tmp_path: Path, claude: FakeClaude
) -> None:
    async with serving(tmp_path / "data", claude) as server, AsyncExitStack() as stack:
        assert (await server.http.get("/healthz")).status_code == 200
        pid = server.process.inner.pid
        files = open_files(pid) + 3
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (files, resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]))

        for _ in range(20):
            await stack.enter_async_context(await connect(server))
        await server.process.line("accept returned EMFILE")
        neighbour = await server.http.get("/api/topics")
        await stack.aclose()
        async with server.client(None) as late:
            answer = await late.get("/healthz")

        assert (neighbour.status_code, answer.status_code) == (200, 200)
        assert server.process.errors.count("EMFILE") == 1
        assert "Traceback" not in server.process.errors


def test_running_out_of_files_is_told_once_and_without_a_traceback() -> None:
    once = Once()
    records = [logging.LogRecord("x", logging.ERROR, __file__, 1, "accept", None, (None, None, None)) for _ in range(3)]

    assert [once.filter(record) for record in records] == [True, False, False]
    assert records[0].exc_info is None
    assert connections.TOLD_SECONDS >= 60

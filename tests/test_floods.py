"""Many clients that mean no good, on the real server as a process: others are served, and memory stays bounded."""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest
import trio

from tests.claude import FakeClaude
from tests.process import Server, serving
from tests.routes.client import connect
from tests.service import ADMIN_TOKEN
from tests.test_protocols import Http2, resets

CLIENTS = 50
ROOM = 2 * CLIENTS
"""How many connections the server may have."""

RSS_MIB = 100
"""How much more memory a flood may take at its height: a megabyte a client, and the server's own warming up."""

SIGNED_IN = b"Host: test\r\nAuthorization: Bearer %s\r\n" % ADMIN_TOKEN.encode()
HALF_A_HEAD = b"GET /healthz HTTP/1.1\r\nHost: test\r\nX-Long: "
HALF_A_BODY = (
    b"POST /api/topics HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n" + SIGNED_IN + b"\r\n{"
)
LARGE = b"GET /api/topics/1 HTTP/1.1\r\n" + SIGNED_IN + b"\r\n"

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")


@pytest.fixture
async def server(tmp_path: Path, claude: FakeClaude) -> AsyncIterator[Server]:
    """A server that is soon at its bounds, with one large topic."""
    (tmp_path / "my.toml").write_text("keep_alive_timeout = 3\nbacklog = 1024\n")
    bounds = {"LONGHAND_MAX_CONNECTIONS": str(ROOM), "LONGHAND_BODY_GRACE_SECONDS": "1"}
    async with serving(tmp_path / "data", claude, "--config", str(tmp_path / "my.toml"), **bounds) as server:
        await server.topic(plan="x" * 100_000)
        yield server


def memory(server: Server, which: str) -> int:
    """Return the server's resident memory in MiB: VmRSS now, VmHWM at its height."""
    for line in Path(f"/proc/{server.process.inner.pid}/status").read_text().splitlines():
        if line.startswith(which):
            return int(line.split()[1]) // 1024
    raise AssertionError(which)


Attack = Callable[[Server], Awaitable[bytes]]


async def flood(server: Server, attack: Attack, clients: int = CLIENTS) -> list[bytes]:
    """Let clients attack side by side while a neighbour polls; return what they were told."""
    before = memory(server, "VmRSS")
    told: list[bytes] = []
    over = False

    async def one() -> None:
        with suppress(trio.BrokenResourceError):
            told.append(await attack(server))

    async def neighbour() -> None:
        while not over:
            try:
                answer = await server.http.get("/api/topics/1/status")
            except httpx2.RemoteProtocolError:  # idle for 3 s, while this process was busy with its clients
                answer = await server.http.get("/api/topics/1/status")
            assert answer.status_code == 200

    with trio.fail_after(40):
        async with trio.open_nursery() as polling:
            polling.start_soon(neighbour)
            async with trio.open_nursery() as attacking:
                for _ in range(clients):
                    attacking.start_soon(one)
            over = True

    assert memory(server, "VmHWM") - before < RSS_MIB
    assert (await server.http.get("/api/topics/1/status")).status_code == 200
    assert "Traceback" not in server.process.errors
    return told


async def drip(server: Server, start: bytes) -> bytes:
    """Send a request a byte at a time, until the server has had enough; return what it said."""
    async with await connect(server) as stream:
        await stream.send_all(start)
        received = b""

        async def send() -> None:
            with suppress(trio.BrokenResourceError):
                while True:
                    await stream.send_all(b"x")
                    await trio.sleep(0.1)  # noqa: ASYNC110 - it is slowness that is tested

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            with suppress(trio.BrokenResourceError):
                async for data in stream:
                    received += data
            nursery.cancel_scope.cancel()
        return received


async def test_heads_that_drip_are_cut_and_others_are_served(server: Server) -> None:
    assert await flood(server, lambda server: drip(server, HALF_A_HEAD)) == [b""] * CLIENTS


async def test_bodies_that_drip_are_a_408_and_others_are_served(server: Server) -> None:
    told = await flood(server, lambda server: drip(server, HALF_A_BODY))

    assert len(told) == CLIENTS
    assert all(answer.startswith(b"HTTP/1.1 408") and b"request_timeout" in answer for answer in told)


async def test_clients_that_never_read_take_bounded_memory_and_others_are_served(server: Server) -> None:
    full = 0
    everyone = trio.Event()

    async def attack(server: Server) -> bytes:
        nonlocal full
        async with await connect(server) as stream:
            with trio.move_on_after(2):
                while True:  # until neither side's buffers take more
                    await stream.send_all(LARGE * 100)
            full += 1
            if full == CLIENTS:
                everyone.set()
            await everyone.wait()
        return b""

    assert len(await flood(server, attack)) == CLIENTS


async def test_connections_beyond_the_bound_are_turned_away_and_who_is_in_is_served(server: Server) -> None:
    turned_away = trio.Semaphore(0)
    clients = 5 * ROOM
    beyond = clients - ROOM

    async def attack(server: Server) -> bytes:
        async with await connect(server) as stream:
            answer = b""
            with suppress(trio.BrokenResourceError), trio.move_on_after(1):
                answer = bytes(await stream.receive_some())
                turned_away.release()
            return answer

    told = await flood(server, attack, clients)

    assert turned_away.value >= beyond
    assert sum(answer.startswith(b"HTTP/1.1 503") for answer in told) >= beyond // 2  # the rest was reset before
    assert server.process.errors.count("connections are turned away") == 1


async def test_requests_that_are_taken_back_at_once_take_bounded_memory_and_others_are_served(server: Server) -> None:
    async def attack(server: Server) -> bytes:
        async with await connect(server) as stream:
            client = Http2(stream)
            for _ in range(2):
                await client.send(*resets(200))
            return b"cut" if await client.cut() is not None else b"gone"

    told = await flood(server, attack)

    assert set(told) <= {b"cut", b"gone"}

"""When the network is read: as it comes, until an answer is steady, and then rarely."""

import ssl
from functools import partial
from pathlib import Path

import httpcore2
import pytest
import trio
from httpcore2._backends.trio import TrioStream
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from app.bench.processes import make_certificate
from app.network import COALESCE_SECONDS, TICK_SECONDS, Coalescing, Network

PACE = COALESCE_SECONDS / 5
EXACT = TICK_SECONDS / 100


class Line:
    """A connection whose other end is in the test's hand; `reads` is when what was read, in seconds from the start."""

    def __init__(self) -> None:
        ours, theirs = map(trio.SocketStream, trio.socket.socketpair())
        self.theirs = theirs
        self.socket = ours.socket
        self.stream = Coalescing(TrioStream(ours))
        self.reads: list[tuple[float, bytes]] = []
        self._start = trio.current_time()

    @property
    def now(self) -> float:
        return trio.current_time() - self._start

    async def ask(self) -> None:
        await self.stream.write(b"a request")
        await self.theirs.receive_some()

    async def read_to_the_end(self) -> None:
        try:
            while data := await self.stream.read(65536):
                self.reads.append((self.now, data))
            self.reads.append((self.now, b""))
        finally:
            self.socket.close()

    async def send_each(self, seconds: float, count: int) -> list[float]:
        """Send so many bytes, one each so many seconds; return when."""
        sent = []
        for _ in range(count):
            sent.append(self.now)
            await self.theirs.send_all(b"x")
            await trio.sleep(seconds)
        return sent

    @property
    def seen(self) -> list[float]:
        """When each byte was read."""
        return [when for when, data in self.reads for _ in data]


async def started(line: Line, nursery: trio.Nursery) -> None:
    await line.ask()
    nursery.start_soon(line.read_to_the_end)


def delays(line: Line, sent: list[float]) -> list[float]:
    return [seen - at for seen, at in zip(line.seen, sent, strict=True)]


async def test_a_steady_answer_is_read_as_it_comes_at_first_and_then_rarely_but_never_late(
    autojump_clock: MockClock,
) -> None:
    line = Line()

    async with trio.open_nursery() as nursery:
        await started(line, nursery)
        sent = await line.send_each(PACE, 50)
        await line.theirs.aclose()

    waited = delays(line, sent)
    assert max(waited[:5]) < EXACT
    assert max(waited) <= COALESCE_SECONDS + EXACT
    assert len(line.reads) <= 5 + 50 / 4


async def test_a_slow_answer_is_read_as_it_comes(autojump_clock: MockClock) -> None:
    line = Line()

    async with trio.open_nursery() as nursery:
        await started(line, nursery)
        sent = await line.send_each(COALESCE_SECONDS * 1.1, 20)
        await line.theirs.aclose()

    assert max(delays(line, sent)) < EXACT


async def test_what_comes_after_a_pause_is_read_as_it_comes(autojump_clock: MockClock) -> None:
    line = Line()

    async with trio.open_nursery() as nursery:
        await started(line, nursery)
        await line.send_each(PACE, 20)
        await trio.sleep(3 * COALESCE_SECONDS)
        sent = await line.send_each(PACE / 2, 4)
        await line.theirs.aclose()

    assert max(seen - at for seen, at in zip(line.seen[-4:], sent, strict=True)) < EXACT


async def test_the_end_of_a_steady_answer_is_seen_in_time(autojump_clock: MockClock) -> None:
    line = Line()

    async with trio.open_nursery() as nursery:
        await started(line, nursery)
        await line.send_each(PACE, 21)
        await line.theirs.aclose()
        ended = line.now

    assert line.reads[-1][1] == b""
    assert line.reads[-1][0] <= ended + COALESCE_SECONDS + EXACT


async def test_after_hurry_everything_is_read_as_it_comes_until_the_next_request(autojump_clock: MockClock) -> None:
    line = Line()

    async with trio.open_nursery() as nursery:
        await started(line, nursery)
        await line.send_each(PACE, 25)
        before = len(line.reads)
        line.stream.hurry()
        await trio.sleep(COALESCE_SECONDS)  # the read that waits already
        sent = await line.send_each(PACE, 25)
        hurried = [seen - at for seen, at in zip(line.seen[-25:], sent, strict=True)]
        await line.ask()
        reads = len(line.reads)
        await line.send_each(PACE, 50)
        await line.theirs.aclose()

    assert before < 20
    assert max(hurried) < EXACT
    assert len(line.reads) - reads < 25


async def test_where_more_is_here_already_it_is_read_at_once(autojump_clock: MockClock) -> None:
    line = Line()

    async with trio.open_nursery() as nursery:
        await started(line, nursery)
        await line.send_each(PACE, 21)
        await line.theirs.send_all(b"x" * 100_000)
        sent = line.now
        await trio.sleep(2 * COALESCE_SECONDS)
        await line.theirs.aclose()

    assert len(line.seen) == 100_021
    assert line.seen[-1] == line.seen[22] <= sent + COALESCE_SECONDS


async def test_cancelling_does_not_wait_for_the_next_read(autojump_clock: MockClock) -> None:
    line = Line()

    async with trio.open_nursery() as nursery:
        await started(line, nursery)
        await line.send_each(PACE, 21)
        began = line.now
        nursery.cancel_scope.cancel()
    await line.theirs.aclose()

    assert line.now - began < EXACT


async def test_what_is_decrypted_already_comes_with_one_read(tmp_path: Path) -> None:
    certificate = await make_certificate(tmp_path)
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_side.load_cert_chain(certificate)
    client_side = ssl.create_default_context(cafile=str(certificate))
    ours, theirs = memory_stream_pair()
    server = trio.SSLStream(theirs, server_side, server_side=True)
    read = b""

    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.do_handshake)
        stream = await Coalescing(TrioStream(ours)).start_tls(client_side, "127.0.0.1")
        await wait_all_tasks_blocked()
        for _ in range(20):
            await server.send_all(b"a record of its own.")
        read = await stream.read(65536)

    assert isinstance(stream, Coalescing)
    assert read == b"a record of its own." * 20


async def test_a_read_that_fails_fails_as_the_http_client_expects_it() -> None:
    line = Line()
    await line.stream.aclose()
    await line.theirs.aclose()

    with pytest.raises(httpcore2.ReadError):
        await line.stream.read(1)


async def test_cancelling_while_tls_is_agreed_on_closes_the_connection() -> None:
    greeted, gone = trio.Event(), trio.Event()

    async def say_nothing(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        greeted.set()
        while await stream.receive_some():
            pass
        gone.set()

    async def connect(port: int) -> None:
        stream = await Network().connect_tcp("127.0.0.1", port)
        await stream.start_tls(ssl.create_default_context(), "127.0.0.1")

    async with trio.open_nursery() as servers:
        (listener,) = await servers.start(partial(trio.serve_tcp, say_nothing, 0, host="127.0.0.1"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connect, listener.socket.getsockname()[1])
            await greeted.wait()
            nursery.cancel_scope.cancel()
        with trio.fail_after(5):
            await gone.wait()
        servers.cancel_scope.cancel()

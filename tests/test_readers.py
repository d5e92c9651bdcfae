"""Readers of live text: what they saw is never taken back, nobody holds up anybody, and they leave nothing behind."""

import gc
import random
import sys
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import h11
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from app.guard import GuardedTCPServer
from app.settings import Settings
from tests.claude import FakeClaude, Script
from tests.events import Reader, status_reader
from tests.process import Server, serving
from tests.reports import Body, plan, report, section_of
from tests.service import Service, logged, running

ROUNDS = 3
LONG, SHORT = 400, 8
"""How many pieces an answer has that is still being written at the kill, and one that is whole long before."""

READERS, GENERATIONS = 500, 50


@pytest.fixture
def clock(mock_clock: MockClock) -> MockClock:
    """Real time that a test can also jump ahead."""
    mock_clock.rate = 1.0
    return mock_clock


def unlike_before(claude: FakeClaude, section: str, pieces: int) -> Script:
    """Write what no other call writes: what was seen of a lost text cannot come again by chance."""
    words = [f"Call {len(claude.calls)} writes word {number} of {section or 'all'}." for number in range(pieces)]
    return Script(text=" ".join(words), pieces=pieces, pace=0.01)


async def test_what_a_reader_has_seen_is_never_taken_back_by_a_kill(tmp_path: Path, claude: FakeClaude) -> None:
    serve = partial(serving, tmp_path / "data", claude)
    readers: list[Reader] = []
    sizes = []
    for number in range(ROUNDS):

        def write(body: Body, number: int = number) -> Script:
            section = section_of(body)
            soon_whole = section in [f"Part {earlier}" for earlier in range(1, number + 1)]
            return unlike_before(claude, section, SHORT if soon_whole else LONG)

        claude.default = write
        async with serve() as server:
            readers = readers or await readers_of_both_modes(server)
            await newest_text(server, readers)
            await server.process.kill()
        sizes.append([len(reader.text) for reader in readers])

    claude.default = lambda body: unlike_before(claude, section_of(body), SHORT)
    async with serve() as server:
        for topic_id, reader in enumerate(readers, 1):
            reader.url = status_reader(server, topic_id).url
            seen = reader.text
            await reader.visit()
            late = status_reader(server, topic_id)
            await late.visit()

            assert reader.text == late.text == await report(server, topic_id)
            assert reader.text.startswith(seen)
            assert "Part 1" in seen or topic_id == 1
    assert all(before < after for column in zip(*sizes, strict=True) for before, after in pairwise(column))


async def readers_of_both_modes(server: Server) -> list[Reader]:
    """Start a report in one go and one by sections, and return a reader of each."""
    for mode in ("single", "sections"):
        await server.generate(await server.topic(plan=plan(ROUNDS)), mode=mode)
    return [status_reader(server, topic_id) for topic_id in (1, 2)]


async def newest_text(server: Server, readers: list[Reader]) -> None:
    """Let each reader come back and read new text, up to the newest at this moment."""

    async def read(topic_id: int, reader: Reader) -> None:
        reader.url = status_reader(server, topic_id).url
        async with reader.connected():
            await reader.until("text", random.randint(1, 3))

    async with trio.open_nursery() as nursery:
        for topic_id, reader in enumerate(readers, 1):
            nursery.start_soon(read, topic_id, reader)


async def test_a_reader_who_never_reads_slows_nobody_and_is_dropped_and_catches_up(
    clock: MockClock, service: Service
) -> None:
    text = "긴 보고서의 한 문장이다. " * 80_000
    service.claude.default = Script(text=text, pieces=100)
    topic_id = await service.topic()
    stuck, other = status_reader(service, topic_id, receive_buffer=4096), status_reader(service, topic_id)
    with logged("longhand.access", "request_id=stuck") as left:
        async with stuck.connected(X_Request_ID="stuck"):
            await service.generate(topic_id)
            await stuck.until("text")
            await other.visit()
            status = await service.status(topic_id)
            slowed_nobody = not left.is_set()
            clock.jump(GuardedTCPServer.SEND_SECONDS)
            with trio.fail_after(5):
                await left.wait()
            with pytest.raises(h11.RemoteProtocolError):
                await stuck.rest()
    seen = len(stuck.text)

    events = await stuck.visit()

    assert slowed_nobody
    assert status["status"] == "completed"
    assert 0 < seen < len(text)
    assert events[0].name == "status"
    assert stuck.text == other.text == text.strip() + "\n"


async def test_five_hundred_readers_come_and_go_while_fifty_reports_are_written(
    claude: FakeClaude, settings: Callable[..., Settings]
) -> None:
    async with running(claude, settings()) as service:
        claude.default = Script(text="가나다 " * 1000, pieces=12, pace=0.1)
        await crowd(service, READERS // 10, GENERATIONS)  # what is made once, and kept open to Claude, is made now
        before = await level(service)
        await crowd(service, READERS, GENERATIONS)
        after = await level(service)

    assert after - before < READERS * 10


async def crowd(service: Service, readers: int, generations: int) -> None:
    """Let readers come and go while reports are written, and check that each has got every character."""
    topic_ids = [await service.topic() for _ in range(generations)]
    everybody = [status_reader(service, topic_ids[number % generations]) for number in range(readers)]
    async with trio.open_nursery() as nursery:
        for reader in everybody:
            nursery.start_soon(come_and_go, reader)
        for topic_id in topic_ids:
            await service.generate(topic_id)
    for topic_id in topic_ids:
        assert await report(service, topic_id) == "가나다 " * 999 + "가나다\n"
    assert {reader.text for reader in everybody} == {"가나다 " * 999 + "가나다\n"}


async def come_and_go(reader: Reader) -> None:
    """Leave in the middle a few times, with or without a word, then stay to the end."""
    for _ in range(random.randint(1, 2)):
        async with reader.connected():
            for _ in range(random.randint(0, 3)):
                if await reader.next() is None:
                    return
    await reader.visit()


async def level(service: Service) -> int:
    """Return how many blocks of memory are in use when everybody has gone and all that is left over is collected."""
    await wait_all_tasks_blocked(0.05)
    service.claude.calls.clear()
    gc.collect()
    return sys.getallocatedblocks()

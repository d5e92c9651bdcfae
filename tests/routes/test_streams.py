"""What every event stream has in common: comments in time, outages, the server's stop, readers who take nothing."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import h2.connection
import h2.events
import h2.settings
import trio
from anyio import Event
from trio.testing import MockClock, wait_all_tasks_blocked

from app.errors import DatabaseFailed
from app.guard import GuardedTCPServer
from app.models import TopicId
from app.routes.streams import COMMENT, OUTAGE_SECONDS, PING, QUIET_SECONDS, event, events_of
from app.status import StatusMap
from tests.claude import Script
from tests.events import status_reader
from tests.routes.client import connect
from tests.service import ADMIN_TOKEN, Service, logged

TOPIC = TopicId(1)
WINDOW = 65_535
"""What a stream of HTTP/2 may send before its reader says more."""


@dataclass
class Told:
    """A source that tells what the test says, and what it is asked when."""

    statuses: StatusMap = field(default_factory=StatusMap)
    news: list[bytes | None] = field(default_factory=list)
    away: bool = False
    looks: list[float] = field(default_factory=list)
    mark: object = "7"

    def next_change(self) -> Event:
        return self.statuses.next_change(TOPIC)

    async def step(self) -> bytes | None:
        self.looks.append(trio.current_time())
        if self.away:
            raise DatabaseFailed
        return self.news.pop(0) if self.news else b""

    def wake(self) -> None:
        self.statuses.forget(TOPIC)


def stream_of(source: Told, *flags: str) -> AsyncGenerator[bytes, None]:
    return events_of(source, source.statuses, frozenset(flags), b"head")


async def test_a_comment_counts_from_the_last_byte_and_not_from_the_last_look(autojump_clock: MockClock) -> None:
    source = Told(news=[b"first"])
    stream = stream_of(source)
    assert [await anext(stream), await anext(stream)] == [b"head", b"first"]
    found: list[tuple[bytes, float]] = []

    async def wake_for_nothing() -> None:
        while True:
            await trio.sleep(10)
            source.wake()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wake_for_nothing)
        while len(found) < 3:
            found.append((await anext(stream), trio.current_time()))
        nursery.cancel_scope.cancel()
    await stream.aclose()

    began = source.looks[0]
    assert found == [(COMMENT + b"id: 7\n\n", began + number * QUIET_SECONDS) for number in (1, 2, 3)]
    assert len(source.looks) > 6


async def test_an_outage_of_the_database_hides_neither_comments_nor_the_stop(autojump_clock: MockClock) -> None:
    source = Told(away=True)
    stream = stream_of(source, "ping")
    began = trio.current_time()

    found = [await anext(stream), await anext(stream), await anext(stream)]
    took = trio.current_time() - began
    source.statuses.close()
    found += [data async for data in stream]

    comment = COMMENT + b"id: 7\n\n" + PING
    assert found == [b"head", comment, comment, event("draining", b"{}", "7")]
    assert took == 2 * QUIET_SECONDS
    assert len(source.looks) > QUIET_SECONDS / OUTAGE_SECONDS


async def test_what_could_not_be_read_is_told_when_it_can(autojump_clock: MockClock) -> None:
    source = Told(news=[b"late", None], away=True)
    stream = stream_of(source)
    await anext(stream)

    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def come_back() -> None:
            await trio.sleep(QUIET_SECONDS / 2)
            source.away = False

        found = [data async for data in stream]

    assert found == [b"late"]


async def test_a_large_event_is_sent_in_pieces(autojump_clock: MockClock) -> None:
    data = bytes(range(256)) * 1000

    _, *pieces = [piece async for piece in stream_of(Told(news=[data, None]))]

    assert b"".join(pieces) == data
    assert max(map(len, pieces)) < WINDOW
    assert len(pieces) > 1


async def test_a_reader_over_http2_who_opens_no_window_is_dropped_and_catches_up(
    clock: MockClock, service: Service
) -> None:
    text = "x" * 10 * WINDOW
    service.claude.default = Script(text=text)
    topic_id = await service.topic()
    await service.generate(topic_id)
    await service.ended(topic_id)
    client, taken = h2.connection.H2Connection(), 0
    client.initiate_connection()
    client.send_headers(1, head(f"/api/topics/{topic_id}/status/stream?text=1"), end_stream=True)
    with logged("longhand.access", "request_id=stuck") as left:
        async with await connect(service) as connection:
            await connection.send_all(client.data_to_send())
            while taken < WINDOW:  # and nothing is acknowledged
                for found in client.receive_data(await connection.receive_some(65_536)):
                    taken += len(found.data) if isinstance(found, h2.events.DataReceived) else 0
            dropped_at_once = left.is_set()
            for _ in range(3):  # of the buffers in between each may take one more piece
                await wait_all_tasks_blocked(0.02)
                clock.jump(GuardedTCPServer.SEND_SECONDS)
            with trio.fail_after(5):
                await left.wait()
    late = status_reader(service, topic_id)
    await late.visit()

    assert not dropped_at_once
    assert taken == WINDOW
    assert late.text == text + "\n"


def head(path: str) -> list[tuple[str, str]]:
    """Return the head of a request over HTTP/2, whose id in the log is `stuck`."""
    fields = {":method": "GET", ":path": path, ":scheme": "http", ":authority": "test"}
    return list((fields | {"authorization": f"Bearer {ADMIN_TOKEN}", "x-request-id": "stuck"}).items())

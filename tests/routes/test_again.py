"""A status poll that comes again on its connection: at once, and in nothing else different from the first."""

import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from app.access import MEMORY_SECONDS
from tests.claude import Script
from tests.conftest import Start
from tests.fairwatch import within
from tests.routes.client import add_token, connect
from tests.service import ADMIN_TOKEN, Service

REQUEST_ID = re.compile(rb"x-request-id: (\S+)\r\n")
CHANGING = re.compile(rb"(x-request-id|date): [^\r]*")


class Spawned(trio.abc.Instrument):
    """Counts the tasks that begin: each request that goes the whole way is one."""

    count = 0

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        self.count += 1


class Poller:
    """Sends the same bytes on one connection, again and again."""

    def __init__(self, stream: trio.SocketStream, topic_id: int, who: str, more: str) -> None:
        self._stream = stream
        head = f"GET /api/topics/{topic_id}/status HTTP/1.1\r\nHost: here\r\n{who}\r\n"
        self._request = f"{head}{more}\r\n"

    async def poll(self) -> tuple[bytes, bytes]:
        """Return head and body of the answer."""
        await self._stream.send_all(self._request.encode())
        received = b""
        with trio.fail_after(10):
            while b"\r\n\r\n" not in received:
                received += await self._some()
            head, _, body = received.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head)
            while length and len(body) < int(length[1]):
                body += await self._some()
        return head + b"\r\n", body

    async def _some(self) -> bytes:
        data = bytes(await self._stream.receive_some())
        assert data, "the connection was closed"
        return data

    async def twice(self) -> tuple[bytes, bytes]:
        """Poll, and once more, which is checked to have gone the short way; return the second answer."""
        spawned = Spawned()
        await self.poll()
        trio.lowlevel.add_instrument(spawned)
        answer = await self.poll()
        trio.lowlevel.remove_instrument(spawned)
        assert spawned.count == 0, "it went the whole way"
        return answer


@asynccontextmanager
async def polling(
    service: Service, topic_id: int, token: str = ADMIN_TOKEN, more: str = "", secret: str | None = None
) -> AsyncIterator[Poller]:
    """Open a connection, with a token, or with the secret of a session."""
    who = f"Cookie: theme=dark; longhand={secret}" if secret else f"Authorization: Bearer {token}"
    async with await connect(service) as stream:
        yield Poller(stream, topic_id, who, more)


async def held_topic(service: Service) -> int:
    """Return a topic whose generation Claude holds before any text."""
    service.claude.default = Script(hold=trio.Event())
    topic_id = await service.topic()
    await service.generate(topic_id)
    call = await service.claude.next_call()
    await call.held.wait()
    return topic_id


async def completed_topic(service: Service) -> tuple[int, str]:
    """Return a topic with a report, and the entity tag of its status."""
    topic_id = await service.topic()
    await service.generate(topic_id)
    await service.ended(topic_id)
    return topic_id, (await service.http.get(f"/api/topics/{topic_id}/status")).headers["etag"]


def status_code(head: bytes) -> int:
    return int(head.split(b" ")[1])


async def test_the_second_answer_is_the_first_but_for_request_id_and_date(service: Service) -> None:
    topic_id, _ = await completed_topic(service)

    async with polling(service, topic_id) as poller:
        first = await poller.poll()
        second = await poller.twice()

    assert second[1] == first[1]
    lines = [sorted(CHANGING.sub(b"", head).split(b"\r\n")) for head, _ in (first, second)]
    assert lines[0] == lines[1]
    assert REQUEST_ID.findall(second[0]) != REQUEST_ID.findall(first[0])


async def test_it_keeps_the_callers_own_request_id(service: Service) -> None:
    topic_id = await held_topic(service)

    async with polling(service, topic_id, more="X-Request-ID: my-own\r\n") as poller:
        head, _ = await poller.twice()

    assert REQUEST_ID.findall(head) == [b"my-own"]


async def test_it_is_one_line_in_the_log_with_its_request_id(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    topic_id = await held_topic(service)

    async with polling(service, topic_id) as poller:
        caplog.set_level(logging.INFO, "longhand.access")
        head, _ = await poller.twice()

    lines = [record.getMessage() for record in caplog.records if record.name == "longhand.access"]
    [request_id] = REQUEST_ID.findall(head)
    assert len(lines) == 2
    assert request_id.decode() in lines[1]
    assert re.match(rf"GET /api/topics/{topic_id}/status 200 ", lines[1])


async def test_it_is_304_for_who_knows_the_status_until_that_changes(service: Service) -> None:
    topic_id, etag = await completed_topic(service)

    async with polling(service, topic_id, more=f"If-None-Match: {etag}\r\n") as poller:
        known_head, known_body = await poller.twice()
        service.claude.default = Script(hold=trio.Event())
        await service.generate(topic_id)
        head, body = await poller.poll()

    assert (status_code(known_head), known_body) == (304, b"")
    assert etag.encode() in known_head
    assert status_code(head) == 200
    assert b'"generating"' in body


async def test_it_shows_what_was_completed_and_not_what_was_deleted(service: Service) -> None:
    topic_id, _ = await completed_topic(service)

    async with polling(service, topic_id) as poller:
        _, completed = await poller.twice()
        await service.http.delete(f"/api/topics/{topic_id}")
        deleted, _ = await poller.poll()

    assert b'"completed"' in completed
    assert status_code(deleted) == 404


async def test_what_only_the_store_knows_goes_the_whole_way(service: Service) -> None:
    topic_id, _ = await completed_topic(service)
    async with polling(service, topic_id) as poller:
        await poller.twice()
        service.claude.default = Script(hold=trio.Event())
        await service.generate(topic_id)
        await service.http.post(f"/api/topics/{topic_id}/cancel")
        await service.ended(topic_id)

        answers = [await poller.poll() for _ in range(3)]

    assert [status_code(head) for head, _ in answers] == [200] * 3
    assert all(b'"cancelled"' in body for _, body in answers)


async def test_a_wait_is_never_answered_again_at_once(service: Service) -> None:
    topic_id, etag = await completed_topic(service)
    more = f"Prefer: wait=1\r\nIf-None-Match: {etag}\r\n"

    async with polling(service, topic_id, more=more) as poller:
        for _ in range(2):
            await service.http.get("/api/topics")  # the token is known again
            began = trio.current_time()
            head, _ = await poller.poll()
            assert status_code(head) == 304
            assert trio.current_time() - began >= 1


async def test_it_counts_against_the_quota(start: Start) -> None:
    async with start(rate_per_token=30) as service:
        topic_id = await held_topic(service)
        async with polling(service, topic_id) as poller:
            heads = [(await poller.poll())[0] for _ in range(40)]

    codes = [status_code(head) for head in heads]
    assert codes == sorted(codes)
    assert {200, 429} == set(codes)
    assert codes.count(200) <= 30
    last = heads[codes.count(200) - 1]
    assert b'ratelimit: "token";r=0;t=' in last


async def test_a_page_of_another_origin_is_always_answered_with_what_lets_it_read(start: Start) -> None:
    async with start(cors_origins="https://app.example.org") as service:
        topic_id, _ = await completed_topic(service)
        async with polling(service, topic_id, more="Origin: https://app.example.org\r\n") as poller:
            heads = [(await poller.poll())[0] for _ in range(3)]

    assert all(b"access-control-allow-origin: https://app.example.org" in head for head in heads)


async def test_a_revoked_token_is_refused_a_second_later(service: Service, blocked: list[str]) -> None:
    token = await add_token(service, "third")
    async with service.client(token) as third:
        topic_id = (await third.post("/api/topics", json={"topic": "The third's"})).json()["data"]["id"]
        service.claude.default = Script(hold=trio.Event())
        await third.post(f"/api/topics/{topic_id}/generate")

    async with polling(service, topic_id, token) as poller:
        assert status_code((await poller.twice())[0]) == 200
        await service.rows("UPDATE tokens SET revoked_at = '2026-01-01T00:00:00.000Z'")
        with within(MEMORY_SECONDS + 1, "the refusal", blocked), trio.fail_after(30):
            while status_code(head := (await poller.poll())[0]) == 200:
                pass

    assert status_code(head) == 401


async def test_who_is_no_admin_any_more_does_not_see_another_topic_again(service: Service) -> None:
    token = await add_token(service, "chief")
    await service.rows("UPDATE users SET is_admin = 1 WHERE name = 'chief'")
    topic_id = await held_topic(service)

    async with polling(service, topic_id, token) as poller, polling(service, topic_id, token) as elsewhere:
        assert status_code((await poller.twice())[0]) == 200
        await service.rows("UPDATE users SET is_admin = 0 WHERE name = 'chief'")
        while status_code((await elsewhere.poll())[0]) == 200:
            pass

        head, _ = await poller.poll()

    assert status_code(head) == 404

"""kill -9, at any moment: every 202 ever sent ends, once, and leaves behind exactly what it should."""

import hashlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import trio
from trio.testing import wait_all_tasks_blocked

from tests.claude import Call, FakeClaude, Script, continuing, numbered_text
from tests.forked import Forked, forked
from tests.service import ADMIN_TOKEN, Service, http_client, settings_for

REPORT = numbered_text(300)
PIECES = 20
SLOTS = 3


@dataclass(eq=False)
class Server(Service):
    """A service that is a process."""

    process: Forked = field(kw_only=True)


@asynccontextmanager
async def serving(directory: Path, claude: FakeClaude) -> AsyncIterator[Server]:
    settings = settings_for(directory / "data", claude.url, max_concurrent=SLOTS, drain_seconds=20)
    async with (
        forked(settings, directory / "log") as process,
        http_client({"Authorization": f"Bearer {ADMIN_TOKEN}"}, process.url) as http,
    ):
        yield Server(process.url, settings, claude, http, process=process)


@dataclass(eq=False)
class Promises:
    """What the server has answered so far, however often it was killed."""

    accepted: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By Idempotency-Key, what the 202 said."""
    cancelled: set[int] = field(default_factory=set)
    """Generations whose cancel was answered."""
    asked_to_cancel: set[int] = field(default_factory=set)
    asked: int = 0
    kept: trio.Event = field(default_factory=trio.Event)
    """Set by the next 202."""

    async def order(self, server: Server) -> dict[str, Any]:
        """Ask for a report on a topic of its own."""
        self.asked += 1
        key = f"order-{self.asked}"
        topic_id = await server.topic(key)
        answer = await server.http.post(f"/api/topics/{topic_id}/generate", headers={"Idempotency-Key": key})
        assert answer.status_code == 202, answer.text
        self.accepted[key] = answer.json()["data"]
        self.kept.set()
        return self.accepted[key] | {"topic": key}

    async def cancel(self, server: Server, accepted: dict[str, Any]) -> None:
        self.asked_to_cancel.add(accepted["generation_id"])
        answer = await server.http.post(f"/api/topics/{accepted['topic_id']}/cancel")
        assert answer.status_code == 202, answer.text
        self.cancelled.add(accepted["generation_id"])


async def call_of_an_order(server: Server, promises: Promises) -> Call:
    """Order a report and return its call, which comes after those that the last kill left unfinished."""
    topic = f"<topic>\n{(await promises.order(server))['topic']}\n</topic>"
    while topic not in str((call := await server.claude.next_call()).body["messages"][0]["content"][0]["text"]):
        pass
    return call


async def right_after_the_start(server: Server, promises: Promises) -> None:
    """Do nothing."""


async def right_after_a_202(server: Server, promises: Promises) -> None:
    for _ in range(SLOTS + 1):
        await promises.order(server)


async def among_many_requests(server: Server, promises: Promises) -> None:
    promises.kept = trio.Event()

    async def order() -> None:
        with suppress(httpx2.TransportError):
            await promises.order(server)

    async with trio.open_nursery() as nursery:
        for _ in range(2 * SLOTS):
            nursery.start_soon(order)
        await promises.kept.wait()
        await server.process.kill()


async def when_claude_is_asked(server: Server, promises: Promises) -> None:
    await call_of_an_order(server, promises)


async def in_mid_report(server: Server, promises: Promises) -> None:
    call = await call_of_an_order(server, promises)
    await call.sent_deltas(PIECES - 1)


async def when_a_call_has_ended(server: Server, promises: Promises) -> None:
    call = await call_of_an_order(server, promises)
    await call.finished.wait()


async def while_saving(server: Server, promises: Promises) -> None:
    accepted = await promises.order(server)
    await until_phase(server, accepted["topic_id"], "saving", "done")


async def right_after_a_cancel(server: Server, promises: Promises) -> None:
    running, waiting = [await promises.order(server) for _ in range(2)]
    await promises.cancel(server, waiting)
    await promises.cancel(server, running)


async def before_a_cancel_is_answered(server: Server, promises: Promises) -> None:
    accepted = await promises.order(server)

    async def cancel() -> None:
        with suppress(httpx2.TransportError):
            await promises.cancel(server, accepted)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancel)
        await wait_all_tasks_blocked()
        await server.process.kill()


async def while_it_drains(server: Server, promises: Promises) -> None:
    accepted = await promises.order(server)
    server.process.process.terminate()
    etag, held = "", True
    while held:  # the drain answers every long poll, and all later ones at once
        answer = await server.http.get(
            f"/api/topics/{accepted['topic_id']}/status", params={"wait": 20}, headers={"If-None-Match": etag}
        )
        etag, held = answer.headers["etag"], answer.status_code != 304


async def until_phase(server: Server, topic_id: int, *phases: str) -> None:
    etag, phase = "", None
    while phase not in phases:
        answer = await server.http.get(
            f"/api/topics/{topic_id}/status", params={"wait": 20}, headers={"If-None-Match": etag}
        )
        etag = answer.headers["etag"]
        phase = answer.json()["data"]["phase"] if answer.status_code == 200 else phase


MOMENTS: tuple[Callable[[Server, Promises], Awaitable[None]], ...] = (
    right_after_the_start,
    right_after_a_202,
    among_many_requests,
    when_claude_is_asked,
    in_mid_report,
    when_a_call_has_ended,
    while_saving,
    right_after_a_cancel,
    before_a_cancel_is_answered,
    while_it_drains,
)


async def test_every_202_holds_through_ten_kills(tmp_path: Path, claude: FakeClaude) -> None:
    claude.default = continuing(REPORT, Script(pieces=PIECES, pace=0.005))
    serve = partial(serving, tmp_path, claude)
    promises = Promises()
    for moment in random.sample(MOMENTS, len(MOMENTS)):
        async with serve() as server:
            await moment(server, promises)
            await server.process.kill()

    async with serve() as server:
        for accepted in promises.accepted.values():
            await server.ended(accepted["topic_id"])
        for key, accepted in promises.accepted.items():
            await check_that_the_202_is_repeated(server, key, accepted)
        for row in await server.rows("SELECT id FROM topics WHERE status IN ('queued', 'generating')"):
            await server.ended(row["id"])  # it was accepted, but its 202 did not arrive
        await check_what_is_left(server, promises)
        await server.process.stop()


async def check_that_the_202_is_repeated(server: Server, key: str, accepted: dict[str, Any]) -> None:
    answer = await server.http.post(f"/api/topics/{accepted['topic_id']}/generate", headers={"Idempotency-Key": key})
    assert (answer.status_code, answer.headers["Idempotency-Replayed"]) == (202, "true")
    assert answer.json()["data"] == accepted


async def check_what_is_left(server: Server, promises: Promises) -> None:
    generations = {row["id"]: row for row in await server.rows("SELECT * FROM generations")}
    artifacts = await server.rows("SELECT * FROM artifacts")
    messages = await server.rows("SELECT generation_id, role FROM messages ORDER BY id")
    completed = [number for number, row in generations.items() if row["status"] == "completed"]

    assert len(promises.accepted) > len(MOMENTS)
    for accepted in promises.accepted.values():
        number = accepted["generation_id"]
        words = {"cancelled"} if number in promises.cancelled else {"completed"}
        words |= {"completed", "cancelled"} if number in promises.asked_to_cancel - promises.cancelled else set()
        assert generations[number]["status"] in words, (number, generations[number], words)
    assert {row["status"] for row in generations.values()} <= {"completed", "cancelled"}
    assert max(row["attempt"] for row in generations.values()) > 1

    assert sorted(row["generation_id"] for row in artifacts) == completed
    assert sorted(row["path"] for row in artifacts) == server.files()
    for row in artifacts:
        content = (server.settings.data_dir / "reports" / row["path"]).read_bytes()
        assert (row["size"], row["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
        assert content.decode() == REPORT
    for number in completed:
        assert [row["role"] for row in messages if row["generation_id"] == number] == ["user", "assistant"]
    assert len(messages) == 2 * len(completed)

    for nothing in (
        "SELECT id FROM ai_usage WHERE state = 'open'",
        "SELECT generation_id FROM checkpoints JOIN generations ON id = generation_id WHERE status = 'completed'",
        "SELECT topics.id FROM topics, generations AS g WHERE generation_id = g.id AND topics.status <> g.status",
    ):
        assert await server.rows(nothing) == []

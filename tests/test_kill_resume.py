"""kill -9, ten times, at random moments: every report is whole, and next to nothing is paid twice."""

import hashlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import trio
from trio.testing import wait_all_tasks_blocked

from app.settings import Settings
from tests.claude import Call, Ending, FakeClaude, Script
from tests.forked import Forked, forked
from tests.reports import TEXT, Body, kept, plan, report, section_of, sentences, topic_of, whole, writing, written_in
from tests.service import ADMIN_TOKEN, Service, http_client, settings_for

KILLS = 10
MODES = ("single", "sections")
SECTIONS = 6

PIECE = 20
PACE_SECONDS = 0.04
CHECKPOINT_SECONDS = 0.05
"""A report takes some four seconds, of which an eightieth may be lost at a kill: as with one of three minutes and a
checkpoint every two seconds. On a machine that is busy with other tests a checkpoint is late by a part of a second."""


@dataclass(eq=False)
class Promises:
    """What was answered so far, over all processes. `cancelled`: asked for, and whether that was answered."""

    reports: dict[str, int] = field(default_factory=dict)
    cancelled: dict[int, bool] = field(default_factory=dict)
    kept: list[tuple[int, dict[tuple[str, str], dict[str, Any]]]] = field(default_factory=list)
    """At each kill, how many calls there had been, and what the store held: by topic and heading."""


@asynccontextmanager
async def process(claude: FakeClaude, settings: Settings, log: Path) -> AsyncIterator[tuple[Service, Forked]]:
    async with (
        forked(settings, log) as server,
        http_client({"Authorization": f"Bearer {ADMIN_TOKEN}"}, server.url) as http,
    ):
        yield Service(server.url, settings, claude, http), server


def paced(body: Body) -> Script:
    """Write what is left of a text, as fast as always."""
    script = writing()(body)
    return replace(script, pieces=max(len(script.text) // PIECE, 1), pace=PACE_SECONDS)


async def order(service: Service, name: str, mode: str) -> int:
    topic_id = await service.topic(name, plan=plan(SECTIONS) if mode == "sections" else "")
    await service.generate(topic_id, mode=mode)
    return topic_id


async def cancel(service: Service, promises: Promises, topic_id: int, *, keep_partial: bool) -> None:
    """Cancel a report. The answer may be lost in a kill."""
    promises.cancelled[topic_id] = False
    with suppress(httpx2.TransportError):
        answer = await service.http.post(f"/api/topics/{topic_id}/cancel", json={"keep_partial": keep_partial})
        promises.cancelled[topic_id] = answer.status_code == 202


async def a_moment(claude: FakeClaude) -> None:
    """Wait until one of the next calls has brought so many pieces, or is over."""
    for _ in range(random.randint(1, 6)):
        call = await claude.next_call()
    pieces = random.randint(0, 60)

    async def over(call: Call) -> None:
        await call.finished.wait()
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(over, call)
        await call.sent_deltas(pieces)
        nursery.cancel_scope.cancel()


async def note_what_is_kept(service: Service, promises: Promises) -> None:
    found = {}
    for name, topic_id in promises.reports.items():
        for row in await kept(service, topic_id):
            found[name, f"Part {row['section'] + 1}" if row["text"].startswith("## ") else ""] = row
    promises.kept.append((len(service.claude.calls), found))


def check_that_nothing_kept_was_asked_for_again(calls: list[Call], promises: Promises) -> None:
    for first, found in promises.kept:
        for call in calls[first:]:
            row = found.get((topic_of(call.body), section_of(call.body))) if call.body else None
            if row:
                assert not row["done"]
                assert written_in(call.body).startswith(row["text"])


async def check_what_is_left(service: Service, promises: Promises) -> None:
    generations = {row["topic_id"]: row for row in await service.rows("SELECT * FROM generations")}
    artifacts = await service.rows("SELECT * FROM artifacts")
    for topic_id, answered in promises.cancelled.items():
        assert generations[topic_id]["status"] == "cancelled" or not answered
    assert sorted(row["path"] for row in artifacts) == service.files()
    for row in artifacts:
        content = (service.settings.data_dir / "reports" / row["path"]).read_bytes()
        assert (row["size"], row["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    for nothing in (
        "SELECT * FROM ai_usage WHERE state = 'open'",
        "SELECT * FROM generations WHERE status = 'completed' AND artifact_id IS NULL",
        "SELECT artifact_id FROM generations EXCEPT SELECT id FROM artifacts EXCEPT SELECT NULL",
        "SELECT id FROM artifacts EXCEPT SELECT artifact_id FROM generations",
        "SELECT * FROM checkpoints JOIN generations ON id = generation_id WHERE status = 'completed'",
    ):
        assert await service.rows(nothing) == []


async def test_ten_kills_lose_no_text_and_cost_next_to_nothing(tmp_path: Path, claude: FakeClaude) -> None:
    claude.default = paced
    limits = {"checkpoint_seconds": CHECKPOINT_SECONDS, "max_concurrent": 6, "section_concurrency": 2}
    settings = settings_for(tmp_path / "data", claude.url, **limits)
    promises = Promises()
    for number in range(KILLS):
        claude.returned = len(claude.calls)
        async with process(claude, settings, tmp_path / "log") as (service, server):
            spare = await order(service, f"Spare {number}", MODES[number % 2])
            for mode in MODES:
                name = f"Report {number} in {mode}"
                promises.reports[name] = await order(service, name, mode)
            await a_moment(claude)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(cancel, service, promises, spare, keep_partial=number % 4 > 1))
                if number % 2 == 0:
                    await wait_all_tasks_blocked()
                    await server.kill()
            if number % 2:
                await server.kill()
            await note_what_is_kept(service, promises)

    async with process(claude, settings, tmp_path / "log") as (service, server):
        for topic_id in [*promises.reports.values(), *promises.cancelled]:
            await service.ended(topic_id)
        for name, topic_id in promises.reports.items():
            assert await report(service, topic_id) in {TEXT, whole(name, SECTIONS)}
        await check_what_is_left(service, promises)
        await server.stop()

    check_that_nothing_kept_was_asked_for_again(claude.calls, promises)
    texts = (TEXT, *(sentences(f"Part {number + 1}") for number in range(SECTIONS)))
    asked = [call for call in claude.calls if call.body and topic_of(call.body) in promises.reports]
    ratio = sum(len(call.text_sent) for call in asked) / (KILLS * sum(map(len, texts)))
    assert sum(call.ending is Ending.GONE for call in asked) > KILLS, "the kills hit nothing"
    assert sum(promises.cancelled.values()) >= KILLS // 2
    assert ratio <= 1.1, "too much of the text was paid twice"

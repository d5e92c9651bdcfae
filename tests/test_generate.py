"""The life of one generation: its progress, its phases, the text it keeps, what it spends, and how it ends."""

import hashlib
import logging
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trio
from sqlite_utils import Database
from trio.testing import MockClock, wait_all_tasks_blocked

from app.claude import Claude, Listener
from app.directory import DATABASE, REPORTS
from app.draft import CHECKPOINT_CHARACTERS, PUBLISH_SECONDS, RATE_SECONDS, UNWATCHED_SECONDS
from app.errors import ClaudeStream, Refused
from app.files import Files
from app.gate import Gate
from app.generate import FINAL_WRITE_SECONDS, Tools, generate, note_failure, record
from app.job import Job
from app.ledger import BYTES_A_TOKEN, settle_calls
from app.models import CallId, Generation, Order, StatusName, Tokens
from app.prompts import Prompt
from app.queries import acceptance, topics, users
from app.queries.usage import CallEnd, CallState
from app.redact import Redactor
from app.slots import Place, Slots
from app.state import limits_of
from app.status import StatusMap
from app.store import Store, open_store
from app.threads import Threads
from tests.claude import Script
from tests.service import Service, locked_database, settings_for

PLAN = "## One\n\n## Two\n\n## Three\n"
TOKENS = Tokens(input=812, output=2310, cache_read=100, cache_write=20)


class Dictated(Claude):
    """A Claude that writes what the test dictates. `left` is set when its call is over."""

    def __init__(self) -> None:
        self._to_say, self._said = trio.open_memory_channel[str](0)
        self._taken = trio.Event()
        self.asked = trio.Event()
        self.left = trio.Event()

    async def write(self, prompt: Prompt, listener: Listener) -> str:
        self.listener = listener
        self.asked.set()
        try:
            async for text in self._said:
                await listener.piece(text)
                self._taken.set()
        finally:
            self._said.close()
            self._taken.set()
            self.left.set()
        await listener.counted(TOKENS, final=True)
        return "end_turn"

    async def dictate(self, text: str) -> None:
        """Say a piece, and return when the listener has taken it in (or would not)."""
        self._taken = trio.Event()
        await self._to_say.send(text)
        await self._taken.wait()

    def end(self) -> None:
        self._to_say.close()


class Workshop:
    """A generation that waits for its turn, and what it works with."""

    def __init__(self, data_dir: Path, store: Store, threads: Threads, generation: Generation) -> None:
        self.data_dir = data_dir
        self.claude = Dictated()
        self.limits = limits_of(settings_for(data_dir, "http://127.0.0.1:9"))
        files = Files(data_dir / REPORTS, threads)
        self.tools = Tools(store, files, self.claude, Gate(), StatusMap(), self.limits)
        self.job = Job(generation, Place(Slots(1), generation.user_id))
        self.seen: list[dict[str, Any]] = []
        self.watching = trio.CancelScope()
        self.ended = trio.Event()

    async def run(self) -> None:
        with self.job.scope:
            await generate(self.job, self.tools)
        self.ended.set()

    async def watch(self) -> None:
        """Write down each status that is shown."""
        with self.watching:
            await self._watch()

    async def _watch(self) -> None:
        while True:
            change = self.tools.statuses.next_change(self.job.generation.topic_id)
            if snapshot := self.tools.statuses.get(self.job.generation.topic_id):
                self.seen.append(snapshot.document)
            await change.wait()

    def shown(self) -> dict[str, Any]:
        snapshot = self.tools.statuses.get(self.job.generation.topic_id)
        assert snapshot is not None
        return snapshot.document

    async def until(self, phase: str) -> None:
        """Wait until the status shows this phase."""
        while self.shown()["phase"] != phase:
            await self.tools.statuses.next_change(self.job.generation.topic_id).wait()

    async def publish(self) -> None:
        """Do what the runner does now and then."""
        assert self.job.publish is not None
        if self.job.publish.in_a_lull:
            await self.job.publish.publish_in_a_lull()

    async def rows(self, sql: str) -> list[dict[str, Any]]:
        def run(db: Database) -> list[dict[str, Any]]:
            return list(db.query(sql))

        return await self.tools.store.write(run)

    async def ledger(self) -> list[str]:
        def run(db: Database) -> list[str]:
            return [row["state"] for row in db.query("SELECT state FROM ai_usage ORDER BY id")]

        return await self.tools.store.read(run)

    async def kept(self) -> list[tuple[int, str]]:
        rows = await self.rows("SELECT start, text FROM checkpoints ORDER BY start")
        return [(row["start"], row["text"]) for row in rows]

    async def stored(self) -> tuple[str, int]:
        (row,) = await self.rows("SELECT status, attempt FROM generations")
        return row["status"], row["attempt"]

    async def supersede(self) -> None:
        """Claim the generation, as another node would."""
        await self.rows("UPDATE generations SET attempt = 7 RETURNING id")

    async def left_behind(self) -> int:
        """Return how many rows and files a report has left that is not complete, but its text to go on from."""
        sql = "SELECT (SELECT COUNT(*) FROM artifacts) + (SELECT COUNT(*) FROM messages) AS count"
        files = [path for path in (self.data_dir / REPORTS).rglob("*") if path.is_file()]
        return int((await self.rows(sql))[0]["count"]) + len(files)


@pytest.fixture
async def workshop(tmp_path: Path, nursery: trio.Nursery, mock_clock: MockClock) -> AsyncIterator[Workshop]:
    """A generation that has just asked Claude. The clock stands still but for what the test says."""
    threads = Threads(4)
    async with open_store(tmp_path / DATABASE, threads) as store:
        user = await store.write(users.add_user, "somebody", is_admin=False)
        assert user is not None
        topic = await store.write(topics.add_topic, user.id, "A topic", PLAN, "en")
        accepted = await store.write(acceptance.accept_generation, topic.id, Order(), "model", StatusName.QUEUED, None)
        assert accepted.generation is not None
        workshop = Workshop(tmp_path, store, threads, accepted.generation)
        nursery.start_soon(workshop.watch)
        nursery.start_soon(workshop.run)
        await workshop.claude.asked.wait()
        yield workshop
        workshop.claude.end()
        await workshop.ended.wait()


# Progress and phases


async def test_progress_never_goes_back_and_is_100_only_at_the_end(workshop: Workshop, mock_clock: MockClock) -> None:
    for _ in range(30):
        mock_clock.jump(PUBLISH_SECONDS)
        await workshop.claude.dictate("## A section\n" + "word " * 100)
    workshop.claude.end()
    await workshop.ended.wait()
    await wait_all_tasks_blocked()

    percents = [status["progress_percent"] for status in workshop.seen]
    unfinished = [status["progress_percent"] for status in workshop.seen if status["status"] == "generating"]
    assert len(unfinished) > 30
    assert all(before <= after for before, after in pairwise(percents))
    assert 90 < unfinished[-1] < 100
    assert (percents[-1], workshop.seen[-1]["status"]) == (100, "completed")
    assert workshop.seen[-1]["characters"] == 30 * len("## A section\n" + "word " * 100) - len(" ")
    assert workshop.seen[-1]["sections_done"] == 3


async def test_growing_text_is_shown_at_once_and_then_only_so_often(workshop: Workshop, mock_clock: MockClock) -> None:
    shown = []

    for text in ("First. ", "Second. ", "Third. "):
        await workshop.claude.dictate(text)
        shown.append(workshop.shown()["characters"])
        mock_clock.jump(PUBLISH_SECONDS / 2)

    assert shown == [len("First."), len("First."), len("First. Second. Third.")]


async def test_the_end_is_estimated_once_there_is_a_rate_and_up_to_the_expected_length(
    workshop: Workshop, mock_clock: MockClock
) -> None:
    estimates = []
    expected = workshop.job.generation.expected_characters

    for text in ("x" * 10, "x" * 10, "x" * expected):
        await workshop.claude.dictate(text)
        estimates.append(workshop.shown()["estimated_completion"])
        mock_clock.jump(RATE_SECONDS)

    assert estimates[0] is None
    assert estimates[1] > workshop.job.generation.started_at
    assert estimates[2] is None


async def test_phases_come_in_their_order(workshop: Workshop, mock_clock: MockClock) -> None:
    await wait_all_tasks_blocked()
    for _ in range(3):
        workshop.claude.listener.thinking()
        await wait_all_tasks_blocked()
    await workshop.claude.dictate("Some text.")
    await wait_all_tasks_blocked()
    workshop.claude.end()
    await workshop.ended.wait()
    await wait_all_tasks_blocked()

    phases = [status["phase"] for status in workshop.seen]
    assert list(dict.fromkeys(phases)) == ["preparing", "thinking", "writing", "saving", "done"]
    assert phases.count("thinking") == 1
    assert sorted(phases, key=list(dict.fromkeys(phases)).index) == phases


async def test_while_claude_thinks_the_phase_says_so(service: Service) -> None:
    go = trio.Event()
    service.claude.default = Script(thinking=3, hold=go, hold_at=0)
    topic_id = await service.topic()

    await service.generate(topic_id)
    thinking = await service.wait_until(topic_id, "generating", phase="thinking")
    go.set()
    ended = await service.ended(topic_id)

    assert thinking["characters"] == 0
    assert ended["status"] == "completed"


# What a report leaves


async def test_a_completed_generation_leaves_one_file_one_artifact_and_the_conversation(service: Service) -> None:
    text = "# 제목\n\n## 하나\n\n글\n"
    service.claude.default = Script(text=f"\n{text}\n\n")
    topic_id = await service.topic("A topic", plan="## 하나")

    await service.generate(topic_id, instructions="Be brief.")
    ended = await service.ended(topic_id)
    (artifact,) = (await service.http.get(f"/api/topics/{topic_id}/artifacts")).json()["data"]
    messages = (await service.http.get(f"/api/topics/{topic_id}/messages")).json()["data"]

    (name,) = service.files()
    content = (service.settings.data_dir / REPORTS / name).read_bytes()
    assert content.decode() == text
    assert artifact["id"] == ended["artifact_id"]
    assert artifact["generation_id"] == ended["generation_id"]
    assert (artifact["size"], artifact["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert [(message["seq_no"], message["role"], message["content"]) for message in messages] == [
        (1, "user", "A topic\n\n## 하나\n\nBe brief."),
        (2, "assistant", text),
    ]


# Checkpoints


async def test_text_is_kept_in_pieces_without_gaps_and_dropped_when_the_report_is_complete(
    workshop: Workshop, mock_clock: MockClock
) -> None:
    kept = []

    for text in ("가" * (CHECKPOINT_CHARACTERS - 1), "나", "다"):
        await workshop.claude.dictate(text)
        kept.append(await workshop.kept())
    mock_clock.jump(workshop.limits.checkpoint_seconds)
    await workshop.claude.dictate("라")
    kept.append(await workshop.kept())
    workshop.claude.end()
    await workshop.ended.wait()

    first = (0, "가" * (CHECKPOINT_CHARACTERS - 1) + "나")
    assert kept == [[], [first], [first], [first, (CHECKPOINT_CHARACTERS, "다라")]]
    assert await workshop.stored() == ("completed", 1)
    assert await workshop.kept() == []


async def test_a_checkpoint_that_cannot_be_written_fails_nothing_and_is_written_later(
    workshop: Workshop, caplog: pytest.LogCaptureFixture
) -> None:
    text = "x" * CHECKPOINT_CHARACTERS

    async with locked_database(workshop.data_dir):
        await workshop.claude.dictate(text)
        meanwhile = workshop.shown()["status"]
    before = await workshop.kept()
    await workshop.claude.dictate(text)
    after = await workshop.kept()
    workshop.claude.end()
    await workshop.ended.wait()

    assert meanwhile == "generating"
    assert before == []
    assert after == [(0, text + text)]
    assert await workshop.stored() == ("completed", 1)
    assert [record.levelno for record in caplog.records if "Checkpoint not written" in record.getMessage()] == [
        logging.WARNING
    ]


# Lulls and readers


async def test_text_that_came_too_soon_after_the_last_is_shown_once_in_a_lull(
    workshop: Workshop, mock_clock: MockClock
) -> None:
    for text in ("First. ", "Second."):
        await workshop.claude.dictate(text)
    shown = [workshop.shown()["characters"]]

    for _ in range(2):
        await workshop.publish()
        shown.append(workshop.shown()["characters"])
        mock_clock.jump(PUBLISH_SECONDS)
    change = workshop.tools.statuses.next_change(workshop.job.generation.topic_id)
    await workshop.publish()

    assert shown == [len("First."), len("First."), len("First. Second.")]
    assert not change.is_set()
    assert await workshop.kept() == []


async def test_what_a_reader_may_see_is_in_the_store(workshop: Workshop, mock_clock: MockClock) -> None:
    seen, report = [], workshop.job.text
    assert report is not None

    for text in ("First. ", "Second. ", "Third. "):
        await workshop.claude.dictate(text)
        assert workshop.tools.statuses.text(workshop.job.generation) is report  # from the first look on, somebody reads
        stored = "".join(text for _, text in await workshop.kept())
        assert report.since(0) == stored
        seen.append(stored)
        mock_clock.jump(PUBLISH_SECONDS)
    await workshop.claude.dictate("Fourth.")
    await workshop.claude.dictate(" Fifth.")
    mock_clock.jump(PUBLISH_SECONDS)
    await workshop.publish()

    assert seen == ["", "First. Second.", "First. Second. Third."]
    assert report.since(0) == "First. Second. Third. Fourth. Fifth."
    assert "".join(text for _, text in await workshop.kept()) == report.since(0)


async def test_where_nobody_watches_text_is_shown_less_often(workshop: Workshop, mock_clock: MockClock) -> None:
    workshop.watching.cancel()
    await wait_all_tasks_blocked()
    shown = []

    for text in ("First. ", "Second. ", "Third.", "Fourth."):
        await workshop.claude.dictate(text)
        shown.append(workshop.shown()["characters"])
        mock_clock.jump(PUBLISH_SECONDS if len(shown) < 3 else UNWATCHED_SECONDS)

    assert shown == [len("First.")] * 3 + [len("First. Second. Third.Fourth.")]


async def test_where_the_database_fails_a_reader_waits_for_the_next_checkpoint(
    workshop: Workshop, mock_clock: MockClock
) -> None:
    async with locked_database(workshop.data_dir):
        await workshop.claude.dictate("First.")
        workshop.tools.statuses.text(workshop.job.generation)
        assert workshop.job.publish is not None
        mock_clock.jump(PUBLISH_SECONDS)
        due = [workshop.job.publish.in_a_lull]
        await workshop.publish()
    for seconds in (PUBLISH_SECONDS, workshop.limits.checkpoint_seconds):
        mock_clock.jump(seconds)
        due.append(workshop.job.publish.in_a_lull)
    await workshop.publish()

    assert due == [True, False, True]
    assert await workshop.kept() == [(0, "First.")]


async def test_a_lull_in_which_the_generation_was_taken_over_ends_nothing_but_its_own_showing(
    workshop: Workshop, mock_clock: MockClock
) -> None:
    for text in ("First. ", "Second."):
        await workshop.claude.dictate(text)
    workshop.tools.statuses.text(workshop.job.generation)
    await workshop.supersede()
    mock_clock.jump(PUBLISH_SECONDS)

    await workshop.publish()

    assert workshop.job.publish is None
    assert workshop.shown()["characters"] == len("First.")


# The ledger


async def test_what_a_cancel_keeps_from_the_ledger_is_left_for_later(workshop: Workshop) -> None:
    end = CallEnd(CallState.FAILED, None, None, Tokens(), estimated=False, latency_ms=1, first_token_ms=None)
    workshop.job.unclosed.append((CallId(1), end))

    with trio.CancelScope() as scope:
        scope.cancel()
        await settle_calls(workshop.job, workshop.tools.store)

    assert workshop.job.unclosed == [(CallId(1), end)]


# Failures side by side


@pytest.mark.parametrize("others", [[ClaudeStream()], [OSError(), ClaudeStream()]])
async def test_of_failures_side_by_side_a_refusal_counts_for_its_text_must_not_stay(
    workshop: Workshop, others: list[Exception]
) -> None:
    note_failure(workshop.job, ExceptionGroup("", [*others, ExceptionGroup("", [Refused()])]), Redactor())

    assert isinstance(workshop.job.failure, Refused)


# Ownership


async def test_a_superseded_generation_stops_in_mid_text_and_writes_nothing(
    workshop: Workshop, caplog: pytest.LogCaptureFixture
) -> None:
    await workshop.supersede()

    await workshop.claude.dictate("x" * CHECKPOINT_CHARACTERS)
    left_at_once = workshop.claude.left.is_set()
    workshop.claude.end()
    await workshop.ended.wait()

    assert left_at_once
    assert workshop.job.superseded
    assert await workshop.stored() == ("generating", 7)
    assert await workshop.left_behind() == 0
    assert await workshop.kept() == []
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_superseded_generation_does_not_complete(workshop: Workshop, caplog: pytest.LogCaptureFixture) -> None:
    await workshop.claude.dictate("A short report.")
    await workshop.supersede()

    workshop.claude.end()
    await workshop.ended.wait()

    assert workshop.job.superseded
    assert await workshop.stored() == ("generating", 7)
    assert [await workshop.rows(f"SELECT id FROM {table}") for table in ("artifacts", "messages")] == [[], []]
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("cancel_requested", [True, False])
async def test_the_end_of_a_superseded_generation_is_not_recorded(workshop: Workshop, cancel_requested: bool) -> None:
    workshop.job.cancel_requested = cancel_requested
    await workshop.supersede()

    workshop.job.scope.cancel()
    await workshop.ended.wait()

    assert workshop.job.superseded
    assert not workshop.job.unrecorded
    assert await workshop.stored() == ("generating", 7)


# The end


async def test_the_end_is_recorded_though_the_task_is_cancelled(workshop: Workshop) -> None:
    for text in ("x" * CHECKPOINT_CHARACTERS, "The last."):
        await workshop.claude.dictate(text)

    workshop.job.scope.cancel()
    await workshop.ended.wait()

    assert workshop.claude.left.is_set()
    assert await workshop.stored() == ("queued", 2)
    assert workshop.shown()["status"] == "queued"
    assert await workshop.ledger() == ["interrupted"]
    assert await workshop.left_behind() == 0
    assert await workshop.kept() == [(0, "x" * CHECKPOINT_CHARACTERS), (CHECKPOINT_CHARACTERS, "The last.")]


@asynccontextmanager
async def stuck_files(workshop: Workshop) -> AsyncIterator[None]:
    """Keep every thread that there is for files waiting."""
    fifo = workshop.data_dir / REPORTS / "stuck"
    fifo.parent.mkdir()
    os.mkfifo(fifo)
    left = 2

    async def read() -> None:
        nonlocal left
        await workshop.tools.files.read(fifo.name)
        left -= 1

    async with trio.open_nursery() as nursery:
        for _ in range(left):
            nursery.start_soon(read)
        await wait_all_tasks_blocked()
        try:
            yield
        finally:
            with trio.CancelScope(shield=True):
                while left:  # a thread may come to the pipe only now
                    os.close(os.open(fifo, os.O_RDWR))
                    await wait_all_tasks_blocked(0.01)


async def test_an_end_that_takes_too_long_is_left_to_be_recorded_later(
    workshop: Workshop, mock_clock: MockClock
) -> None:
    async with stuck_files(workshop):
        workshop.job.cancel_requested = True
        workshop.job.scope.cancel()
        await workshop.claude.left.wait()
        calls = await workshop.rows("SELECT state FROM ai_usage")
        await wait_all_tasks_blocked()
        mock_clock.jump(FINAL_WRITE_SECONDS)
        await wait_all_tasks_blocked(0.05)
        ended, unrecorded = workshop.ended.is_set(), workshop.job.unrecorded
        shown = workshop.shown()

    await record(workshop.job, workshop.tools)

    assert calls == [{"state": "cancelled"}]
    assert ended
    assert unrecorded
    assert shown["status"] == "cancelled"
    assert not workshop.job.unrecorded
    assert (await workshop.stored())[0] == "cancelled"


async def test_a_cancel_that_comes_while_a_generation_is_put_back_holds(workshop: Workshop) -> None:
    async with AsyncExitStack() as lock:
        async with stuck_files(workshop):
            workshop.job.scope.cancel()
            await workshop.claude.left.wait()
            await workshop.rows("SELECT state FROM ai_usage")
            await lock.enter_async_context(locked_database(workshop.data_dir))
        await wait_all_tasks_blocked(0.05)
        workshop.job.cancel_requested = True
    await workshop.ended.wait()

    assert (await workshop.stored())[0] == "cancelled"
    assert workshop.shown()["status"] == "cancelled"


# The ledger


async def test_status_and_ledger_say_what_claude_counted(service: Service) -> None:
    service.claude.default = Script(tokens=TOKENS)
    topic_id = await service.topic()

    generation_id = (await service.generate(topic_id))["generation_id"]
    ended = await service.ended(topic_id)

    (call,) = service.claude.calls
    (row,) = await service.rows("SELECT * FROM ai_usage")
    told = {"generation_id": generation_id, "topic_id": topic_id, "attempt": 1, "purpose": "report"}
    ended_well = {"state": "completed", "stop_reason": "end_turn", "estimated": 0, "request_id": call.request_id}
    counted = {"input_tokens": 812, "output_tokens": 2310, "cache_read_tokens": 100, "cache_write_tokens": 20}
    assert ended["usage"] == {"input_tokens": 812, "output_tokens": 2310, "cost_usd": None}
    assert row.items() >= {**told, **ended_well, **counted, "model": service.settings.model}.items()
    assert row["latency_ms"] >= row["first_token_ms"] >= 0
    assert row["ended_at"] >= row["started_at"]


async def test_what_a_cancelled_call_has_cost_is_estimated_from_its_text(service: Service) -> None:
    service.claude.default = Script(tokens=TOKENS, hold=trio.Event(), hold_at=3)
    topic_id = await service.topic()
    await service.generate(topic_id)
    call = await service.claude.next_call()
    await call.held.wait()
    writing = await service.wait_for_characters(topic_id, len(call.text_sent.strip()))

    cancelled = (await service.http.post(f"/api/topics/{topic_id}/cancel")).json()["data"]

    estimate = len(call.text_sent.encode()) // BYTES_A_TOKEN
    (row,) = await service.rows("SELECT state, estimated, input_tokens, output_tokens FROM ai_usage")
    assert writing["usage"] == {"input_tokens": 812, "output_tokens": 1, "cost_usd": None}
    assert cancelled["usage"] == {"input_tokens": 812, "output_tokens": estimate, "cost_usd": None}
    assert row == {"state": "cancelled", "estimated": 1, "input_tokens": 812, "output_tokens": estimate}
    assert estimate > 1


async def test_a_call_that_the_ledger_could_not_be_told_of_is_told_before_the_report_is_saved(
    workshop: Workshop,
) -> None:
    await workshop.claude.dictate("A report.")

    async with locked_database(workshop.data_dir):
        workshop.claude.end()
        await workshop.until("saving")
        states = await workshop.ledger()
    await workshop.ended.wait()

    assert states == ["open"]
    assert await workshop.rows("SELECT state, output_tokens FROM ai_usage") == [
        {"state": "completed", "output_tokens": TOKENS.output}
    ]
    assert await workshop.stored() == ("completed", 1)
    assert workshop.job.generation.tokens == TOKENS

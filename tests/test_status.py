"""What the status map and its snapshots promise."""

import gc
import json
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from sqlite_utils import Database
from trio.testing import MockClock, wait_all_tasks_blocked

from app.errors import ClaudeTimeout
from app.models import (
    ArtifactId,
    Generation,
    GenerationId,
    Kind,
    Mode,
    Order,
    Phase,
    SavedFile,
    StatusName,
    Tokens,
    Topic,
    TopicId,
    UserId,
)
from app.queries import acceptance, artifacts, generations, topics, usage, users
from app.queries.artifacts import Version
from app.queries.usage import CallEnd, CallState
from app.snapshot import Snapshot, topic_document
from app.status import COMPLETED_SIZE, READER_SECONDS, StatusMap
from app.store import open_database
from app.text import ReportText

FIELDS = """
    topic_id generation_id kind status phase progress_percent sections_done sections_total characters attempt model
    created_at started_at completed_at estimated_completion artifact_id error_code error_message usage
"""

TOPIC, OTHER_TOPIC = TopicId(1), TopicId(2)

SAVED = SavedFile("1/1.md", 4, "0" * 64)

RUNNING = Generation(
    id=GenerationId(7), topic_id=TOPIC, user_id=UserId(3), kind=Kind.REPORT, status=StatusName.GENERATING,
    topic="수소", plan="", language="ko", instructions="", model="a-model", mode=Mode.SINGLE, attempt=1, retries=0,
    resumes=0, finish=False, partial=False, characters=0, expected_characters=1000, sections_done=0, sections_total=5,
    progress_percent=0, artifact_id=None, error_code=None, error_message=None, retryable=None,
    created_at="2026-11-22T10:00:00.000Z", started_at="2026-11-22T10:00:01.000Z", completed_at=None, tokens=Tokens(),
)  # fmt: skip
COMPLETED = replace(RUNNING, status=StatusName.COMPLETED, completed_at="2026-11-22T10:02:00.000Z")

CHANGES: dict[str, Callable[[StatusMap], None]] = {
    "queued": lambda statuses: statuses.mark_queued(RUNNING),
    "generating": lambda statuses: statuses.mark_generating(RUNNING),
    "progress": lambda statuses: statuses.mark_progress(RUNNING, Phase.WRITING),
    "completed": lambda statuses: statuses.mark_completed(COMPLETED),
    "failed": lambda statuses: statuses.mark_failed(RUNNING, ClaudeTimeout()),
    "cancelled": lambda statuses: statuses.mark_cancelled(RUNNING),
    "forgotten": lambda statuses: statuses.forget(TOPIC),
    "deleted": lambda statuses: statuses.mark_deleted(TOPIC, RUNNING.user_id),
}


@pytest.fixture
def db() -> Iterator[Database]:
    with closing(open_database(Path(":memory:"))) as opened:
        yield opened


def shown(statuses: StatusMap, topic_id: TopicId = TOPIC) -> Snapshot:
    snapshot = statuses.get(topic_id)
    assert snapshot is not None
    return snapshot


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_wakes_everyone_who_waits_for_that_topic_and_nobody_else(change: str) -> None:
    statuses = StatusMap()
    woken: list[TopicId] = []

    async def wait_for(topic_id: TopicId) -> None:
        await statuses.next_change(topic_id).wait()
        woken.append(topic_id)

    async with trio.open_nursery() as nursery:
        for topic_id in (TOPIC, OTHER_TOPIC, TOPIC):
            nursery.start_soon(wait_for, topic_id)
        await wait_all_tasks_blocked()
        CHANGES[change](statuses)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert woken == [TOPIC, TOPIC]


async def test_a_change_between_the_look_and_the_wait_is_not_missed() -> None:
    statuses = StatusMap()
    statuses.mark_generating(RUNNING)

    changed = statuses.next_change(TOPIC)
    before = shown(statuses)
    statuses.mark_progress(replace(RUNNING, progress_percent=42), Phase.WRITING)
    with trio.fail_after(5):
        await changed.wait()

    assert before.document["progress_percent"] == 0
    assert shown(statuses).document["progress_percent"] == 42


def test_the_next_change_is_another_one_each_time() -> None:
    statuses = StatusMap()
    first = statuses.next_change(TOPIC)

    statuses.mark_generating(RUNNING)
    second = statuses.next_change(TOPIC)

    assert first.is_set()
    assert not second.is_set()


def test_closing_wakes_all_who_wait_now_and_later() -> None:
    statuses = StatusMap()
    waiting = [statuses.next_change(topic_id) for topic_id in (TOPIC, OTHER_TOPIC)]
    waiting += [statuses.feed.next_change(owner) for owner in (RUNNING.user_id, None)]

    statuses.close()
    later = statuses.next_change(TOPIC)

    assert statuses.closed
    assert [event.is_set() for event in (*waiting, later)] == [True] * 5


def test_who_stops_waiting_leaves_no_memory_behind() -> None:
    statuses = StatusMap()
    events = [weakref.ref(statuses.next_change(TopicId(number))) for number in range(100)]

    gc.collect()

    assert [event() for event in events] == [None] * 100


@given(st.lists(st.integers(0, 99), min_size=1))
def test_progress_never_goes_back_within_an_attempt(percents: list[int]) -> None:
    statuses = StatusMap()
    statuses.mark_generating(RUNNING)
    seen = []

    for percent in percents:
        statuses.mark_progress(replace(RUNNING, progress_percent=percent), Phase.WRITING)
        seen.append(shown(statuses).document["progress_percent"])

    assert seen == sorted(seen)
    assert seen[-1] == max(percents)


def test_another_attempt_begins_with_its_own_progress() -> None:
    statuses = StatusMap()
    statuses.mark_progress(replace(RUNNING, progress_percent=60), Phase.WRITING)

    statuses.mark_progress(replace(RUNNING, attempt=2, progress_percent=5), Phase.WRITING)

    assert shown(statuses).document["progress_percent"] == 5


def test_a_readers_snapshot_stays_what_it_was() -> None:
    statuses = StatusMap()
    statuses.mark_generating(RUNNING)
    before = shown(statuses)
    body, etag = before.body, before.etag

    statuses.mark_failed(replace(RUNNING, characters=9), ClaudeTimeout())

    assert (before.body, before.etag) == (body, etag)
    assert before.status is StatusName.GENERATING
    assert shown(statuses).status is StatusName.FAILED


def test_what_has_ended_is_shown_until_it_is_forgotten() -> None:
    statuses = StatusMap()
    statuses.mark_cancelled(RUNNING)
    until_then = shown(statuses).status

    statuses.forget(TOPIC)

    assert until_then is StatusName.CANCELLED
    assert statuses.get(TOPIC) is None
    statuses.forget(TOPIC)  # twice is harmless


def test_the_owner_of_a_topic_is_known_while_it_has_a_live_status() -> None:
    statuses = StatusMap()
    statuses.mark_queued(RUNNING)

    assert statuses.owner(TOPIC) == RUNNING.user_id
    assert statuses.owner(OTHER_TOPIC) is None


def test_an_end_that_the_store_could_not_be_told_is_shown_all_the_same() -> None:
    statuses = StatusMap()

    statuses.mark_failed(RUNNING, ClaudeTimeout())

    document = shown(statuses).document
    assert document["status"] == "failed"
    assert document["phase"] == "done"
    assert (document["error_code"], document["error_message"]) == ("claude_timeout", "Claude API timeout")
    assert document["retryable"] is True
    assert document["completed_at"] is not None


def test_a_cancel_that_the_store_could_not_be_told_is_shown_all_the_same() -> None:
    statuses = StatusMap()

    statuses.mark_cancelled(RUNNING)

    document = shown(statuses).document
    assert (document["status"], document["phase"], document["error_code"]) == ("cancelled", "done", None)
    assert document["completed_at"] is not None


def test_only_a_failed_status_tells_whether_it_may_be_tried_again() -> None:
    failed = Snapshot(TOPIC, replace(RUNNING, status=StatusName.FAILED, retryable=False))

    assert set(failed.document) == {*FIELDS.split(), "retryable"}
    for status in set(StatusName) - {StatusName.FAILED, StatusName.IDLE}:
        assert set(Snapshot(TOPIC, replace(RUNNING, status=status)).document) == set(FIELDS.split())
    assert set(Snapshot(TOPIC, None).document) == set(FIELDS.split())


def test_only_a_status_that_waits_tells_until_when() -> None:
    statuses = StatusMap()

    statuses.mark_progress(RUNNING, Phase.WAITING, retry_at="2026-11-22T10:05:00.000Z")
    waiting = shown(statuses).document
    statuses.mark_progress(RUNNING, Phase.WRITING)

    assert set(waiting) == {*FIELDS.split(), "retry_at"}
    assert (waiting["phase"], waiting["retry_at"]) == ("waiting", "2026-11-22T10:05:00.000Z")
    assert set(shown(statuses).document) == set(FIELDS.split())


def test_every_further_try_counts_as_an_attempt() -> None:
    assert Snapshot(TOPIC, replace(RUNNING, attempt=2, retries=3)).document["attempt"] == 5


# What streams read


async def test_the_text_of_a_generation_is_had_by_its_readers_until_it_is_forgotten() -> None:
    statuses, text = StatusMap(), ReportText("수소", [])
    later_one = replace(RUNNING, id=GenerationId(8))
    other_topic = replace(RUNNING, topic_id=OTHER_TOPIC)
    before = statuses.text(RUNNING)

    statuses.show_text(RUNNING, text)
    found = [statuses.text(generation) for generation in (RUNNING, later_one, other_topic)]
    statuses.forget(TOPIC)

    assert before is None
    assert found == [text, None, None]
    assert statuses.text(RUNNING) is None


async def test_who_looks_at_a_text_counts_as_its_reader_for_a_while(mock_clock: MockClock) -> None:
    statuses = StatusMap()
    statuses.show_text(RUNNING, ReportText("수소", []))
    readers = [statuses.has_readers(TOPIC)]

    statuses.text(RUNNING)
    for seconds in (READER_SECONDS - 1, 1):
        readers.append(statuses.has_readers(TOPIC))
        mock_clock.jump(seconds)
    readers.append(statuses.has_readers(TOPIC))

    assert readers == [False, True, True, False]
    assert not statuses.has_readers(OTHER_TOPIC)


async def test_a_topic_is_watched_while_somebody_waits_for_its_change_or_has_read_its_text_of_late(
    mock_clock: MockClock,
) -> None:
    statuses = StatusMap()
    statuses.show_text(RUNNING, ReportText("수소", []))
    watched = [statuses.is_watched(TOPIC)]

    change = statuses.next_change(TOPIC)
    watched.append(statuses.is_watched(TOPIC))
    del change
    watched.append(statuses.is_watched(TOPIC))
    statuses.text(RUNNING)
    watched.append(statuses.is_watched(TOPIC))
    mock_clock.jump(READER_SECONDS)
    watched.append(statuses.is_watched(TOPIC))

    assert watched == [False, True, False, True, False]


async def test_who_finds_another_generations_text_is_no_reader() -> None:
    statuses = StatusMap()
    statuses.show_text(RUNNING, ReportText("수소", []))

    statuses.text(replace(RUNNING, id=GenerationId(8)))

    assert not statuses.has_readers(TOPIC)


@pytest.mark.parametrize("change", list(CHANGES)[:6])
def test_a_change_of_status_is_a_change_of_the_list(change: str) -> None:
    statuses = StatusMap()

    CHANGES[change](statuses)

    (told,) = statuses.feed.since(0, RUNNING.user_id) or []
    document = shown(statuses).document
    names = ("status", "phase", "progress_percent", "sections_done", "sections_total")
    assert told.document.items() >= {name: document[name] for name in names}.items()
    assert (told.document["id"], told.document["topic"]) == (TOPIC, "수소")
    assert told.unfinished is (document["completed_at"] is None)
    assert str(told.document["updated_at"]) >= (document["completed_at"] or RUNNING.created_at)


def test_what_is_forgotten_stays_on_the_list_and_what_is_deleted_does_not() -> None:
    statuses = StatusMap()
    for generation in (RUNNING, replace(RUNNING, id=GenerationId(8), topic_id=OTHER_TOPIC)):
        statuses.mark_cancelled(generation)

    statuses.forget(TOPIC)
    statuses.mark_deleted(OTHER_TOPIC, RUNNING.user_id)
    statuses.mark_deleted(OTHER_TOPIC, None)  # gone before

    changes = [(change.event, change.document["id"]) for change in statuses.feed.since(0, None) or []]
    assert changes == [("topic", TOPIC), ("deleted", OTHER_TOPIC)]


WORDS = Topic(TOPIC, RUNNING.user_id, "새 제목", "", "ko", StatusName.IDLE, "2026-11-22T09:00:00.000Z", "2030")


def listed(statuses: StatusMap) -> Mapping[str, object]:
    """Return what the readers of a list were told last."""
    (*_, newest) = statuses.feed.since(0, RUNNING.user_id) or []
    return newest.document


def test_a_topics_own_title_is_on_the_list_from_its_change_on_to_the_end() -> None:
    statuses = StatusMap()
    statuses.mark_generating(RUNNING)

    statuses.show_topic(WORDS, None)
    titles = [listed(statuses)["topic"]]
    for change in (
        partial(statuses.mark_progress, RUNNING, Phase.WRITING),
        partial(statuses.mark_completed, COMPLETED),
    ):
        change()
        titles.append(listed(statuses)["topic"])

    assert titles == ["새 제목"] * 3
    assert listed(statuses)["status"] == "completed"


def test_a_generation_that_is_resumed_after_the_title_was_changed_shows_the_new_one() -> None:
    statuses = StatusMap()

    statuses.mark_generating(replace(RUNNING, title="새 제목"))

    assert listed(statuses)["topic"] == "새 제목"


def test_a_changed_topic_is_on_the_list_as_it_stands() -> None:
    statuses = StatusMap()
    statuses.show_topic(WORDS, None)
    idle = listed(statuses)
    statuses.show_topic(replace(WORDS, topic="다음 제목"), COMPLETED)
    ended = listed(statuses)
    statuses.mark_progress(replace(RUNNING, progress_percent=42), Phase.WRITING)
    statuses.show_topic(WORDS, RUNNING)
    live = listed(statuses)

    assert (idle["topic"], idle["status"], idle["progress_percent"]) == ("새 제목", "idle", 0)
    assert (ended["topic"], ended["status"], ended["updated_at"]) == ("다음 제목", "completed", "2030")
    assert (live["topic"], live["phase"], live["progress_percent"]) == ("새 제목", "writing", 42)
    assert statuses.feed.unfinished(None)[0].document == live


def test_the_time_of_a_change_is_the_newer_of_the_topics_and_its_generations() -> None:
    older = replace(WORDS, updated_at="2026-11-22T10:01:00.000Z")

    assert topic_document(Snapshot(TOPIC, COMPLETED), older)["updated_at"] == COMPLETED.completed_at
    assert topic_document(Snapshot(TOPIC, COMPLETED), WORDS)["updated_at"] == WORDS.updated_at


def test_a_status_is_written_as_json_once() -> None:
    snapshot = Snapshot(TOPIC, RUNNING)

    assert snapshot.json is snapshot.json
    assert json.loads(snapshot.json) == snapshot.document
    assert json.loads(snapshot.body) == {"data": snapshot.document}


# What it says


def test_a_topic_without_a_generation_is_idle() -> None:
    document = Snapshot(TOPIC, None).document

    assert (document["topic_id"], document["status"], document["progress_percent"]) == (TOPIC, "idle", 0)
    assert document["usage"] == {"input_tokens": None, "output_tokens": None, "cost_usd": None}


def test_the_body_is_the_document_as_json_in_utf_8() -> None:
    snapshot = Snapshot(TOPIC, replace(RUNNING, error_message="수소가 없다"), Phase.THINKING)

    assert json.loads(snapshot.body.decode()) == {"data": snapshot.document}
    assert "수소가 없다".encode() in snapshot.body


generations_alike = st.builds(
    replace,
    st.just(RUNNING),
    characters=st.integers(0, 2),
    topic=st.sampled_from(["not", "shown"]),
    artifact_id=st.none() | st.just(ArtifactId(1)),
)


@given(generations_alike, generations_alike, st.sampled_from(Phase), st.sampled_from(Phase))
def test_etags_are_the_same_if_and_only_if_the_bodies_are(
    one: Generation, other: Generation, phase: Phase, other_phase: Phase
) -> None:
    first, second = Snapshot(TOPIC, one, phase), Snapshot(TOPIC, other, other_phase)

    assert (first.etag == second.etag) == (first.body == second.body)
    assert first.etag.startswith('"')
    assert first.etag.endswith('"')


def accepted(db: Database) -> Generation:
    """Accept a generation of a fresh topic; it waits for its turn."""
    user = users.add_user(db, "somebody", is_admin=False)
    assert user is not None
    topic = topics.add_topic(db, user.id, "수소", "## 하나\n## 둘", "ko")
    answer = acceptance.accept_generation(db, topic.id, Order(), "a-model", StatusName.QUEUED, None)
    assert answer.generation is not None
    return answer.generation


def spend(db: Database, generation: Generation) -> None:
    """Put a call to Claude that has ended into the ledger."""
    call_id = usage.open_call(db, generation, "report")
    tokens = Tokens(input=812, output=2310)
    usage.close_call(db, call_id, CallEnd(CallState.COMPLETED, "req_1", "end_turn", tokens, False, 1000, 100))


def complete(db: Database, generation: Generation) -> Generation:
    return artifacts.save_report(db, generation, "question", "text", Version(SAVED, "report.md", partial=False))


def save_partial(db: Database, generation: Generation) -> Generation:
    return artifacts.save_partial(db, generation, (), Version(SAVED, "report.md", partial=True))


@pytest.mark.parametrize(
    ("store", "show"),
    [
        (
            partial(generations.fail_generation, failure=ClaudeTimeout(), pieces=()),
            partial(StatusMap.mark_failed, failure=ClaudeTimeout()),
        ),
        (partial(generations.cancel_generation, pieces=()), StatusMap.mark_cancelled),
        (save_partial, StatusMap.mark_cancelled),
        (partial(generations.put_back_generation, pieces=()), StatusMap.mark_queued),
        (complete, StatusMap.mark_completed),
    ],
)
def test_the_live_status_and_the_stored_one_are_equal_at_every_step(
    db: Database,
    store: Callable[[Database, Generation], Generation],
    show: Callable[[StatusMap, Generation], None],
) -> None:
    statuses = StatusMap()

    def compare(generation: Generation) -> None:
        live, stored = shown(statuses), Snapshot(TOPIC, generations.latest_generation(db, TOPIC))
        assert live.document == stored.document
        assert (live.body, live.etag) == (stored.body, stored.etag)
        assert live.status is generation.status

    queued = accepted(db)
    statuses.mark_queued(queued)
    compare(queued)
    running = generations.claim_generation(db, queued)
    statuses.mark_generating(running)
    compare(running)
    spend(db, running)
    running = replace(running, characters=800, sections_done=1, progress_percent=72, retries=1, resumes=1)
    ended = store(db, running)
    show(statuses, ended)
    compare(ended)


# What was completed lately


def completed_topic(topic_id: int) -> Generation:
    return replace(RUNNING, topic_id=TopicId(topic_id), status=StatusName.COMPLETED, plan="## A long one")


def test_what_was_completed_lately_is_remembered_without_its_plan_until_something_changes() -> None:
    statuses = StatusMap()
    statuses.mark_completed(completed_topic(1))
    shown = statuses.get(TOPIC)
    before = statuses.completed(TOPIC)
    known = [statuses.known(TOPIC)]

    statuses.forget(TOPIC)
    remembered = statuses.completed(TOPIC)
    known.append(statuses.known(TOPIC))
    statuses.mark_queued(RUNNING)

    assert before is None
    assert shown is not None
    assert remembered is not None
    assert known == [shown, remembered]
    assert remembered.body == shown.body
    assert remembered.generation is not None
    assert remembered.generation.plan == ""
    assert statuses.completed(TOPIC) is None


@pytest.mark.parametrize("status", [StatusName.QUEUED, StatusName.FAILED, StatusName.CANCELLED])
def test_only_what_was_completed_is_remembered(status: StatusName) -> None:
    statuses = StatusMap()
    statuses.mark_completed(replace(completed_topic(1), status=status))

    statuses.forget(TOPIC)

    assert statuses.completed(TOPIC) is None


def test_a_deleted_topic_is_not_remembered() -> None:
    statuses = StatusMap()
    statuses.mark_completed(completed_topic(1))

    statuses.mark_deleted(TOPIC, UserId(1))

    assert statuses.completed(TOPIC) is None


def test_no_more_than_so_many_are_remembered() -> None:
    statuses = StatusMap()
    for number in range(1, COMPLETED_SIZE + 2):
        statuses.mark_completed(completed_topic(number))
        statuses.forget(TopicId(number))

    assert statuses.completed(TopicId(1)) is None
    assert statuses.completed(TopicId(2)) is not None

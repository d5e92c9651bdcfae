"""The queries: what they promise of races, refusals, ids and tokens, and that no list reads a whole table."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from app.errors import (
    ClaudeTimeout,
    GenerationInProgress,
    IdempotencyKeyReused,
    Invalid,
    NotFound,
    NothingToResume,
    Refused,
    Superseded,
)
from app.models import (
    Artifact,
    ArtifactId,
    CallId,
    Generation,
    GenerationId,
    Mode,
    Order,
    SavedFile,
    SessionId,
    StatusName,
    TokenId,
    Tokens,
    TopicId,
    UserId,
    later,
)
from app.queries import acceptance, artifacts, generations, sessions, texts, topics, usage, users, writing
from app.queries.acceptance import KEY_LIFETIME, Accepted, Key
from app.queries.artifacts import Version
from app.queries.texts import KeptStrand, Piece
from app.queries.usage import CallEnd, CallState
from app.store import open_database

SAVED = SavedFile("1/1.md", 4, "0" * 64)
HALF = Piece(0, 0, "half a rep", False, ())
PLAN = "## 하나\n## 둘\n## 셋"
CALL_END = CallEnd(CallState.COMPLETED, "req_1", "end_turn", Tokens(10, 20, 30, 40), False, 1000, 100)

Change = Callable[[Database, Generation], object]


@pytest.fixture
def db() -> Iterator[Database]:
    with closing(open_database(Path(":memory:"))) as opened:
        yield opened


@pytest.fixture
def user_id(db: Database) -> UserId:
    user = users.add_user(db, "anna", is_admin=False)
    assert user is not None
    return user.id


@pytest.fixture
def topic_id(db: Database, user_id: UserId) -> TopicId:
    return topics.add_topic(db, user_id, "수소", PLAN, "ko").id


def accept(
    db: Database,
    topic_id: TopicId,
    status: StatusName = StatusName.GENERATING,
    *,
    order: Order | None = None,
    key: Key | None = None,
) -> Generation:
    accepted = acceptance.accept_generation(db, topic_id, order or Order(), "a-model", status, key)
    assert accepted.generation is not None
    return accepted.generation


def complete(db: Database, generation: Generation) -> Generation:
    return artifacts.save_report(db, generation, "question", "report", Version(SAVED, "report.md", partial=False))


def fail(db: Database, generation: Generation, *pieces: Piece) -> Generation:
    return generations.fail_generation(db, generation, ClaudeTimeout(), pieces)


def cancel(db: Database, generation: Generation, *pieces: Piece) -> Generation:
    return generations.cancel_generation(db, generation, pieces)


def keep_partial(db: Database, generation: Generation, *pieces: Piece) -> Generation:
    return artifacts.save_partial(db, generation, pieces, Version(SAVED, "report.md", partial=True))


def put_back(db: Database, generation: Generation, *pieces: Piece) -> Generation:
    return generations.put_back_generation(db, generation, pieces)


def checkpoint(db: Database, generation: Generation) -> None:
    texts.keep_text(db, generation, [HALF])


ENDS: dict[str, Change] = {"completed": complete, "failed": fail, "cancelled": cancel, "kept in part": keep_partial}
CHANGES: dict[str, Change] = {**ENDS, "put back": put_back, "checkpoint": checkpoint}
KEEPING: dict[str, Callable[..., Generation]] = {
    "failed": fail, "cancelled": cancel, "kept in part": keep_partial, "put back": put_back,
}  # fmt: skip
"""The changes after which a generation can go on from its text."""


def everything(db: Database) -> dict[str, list[dict[str, Any]]]:
    """Return every row of every table."""
    return {table: list(db.query(f"SELECT * FROM {table}")) for table in db.table_names()}


def count(db: Database, table: str) -> int:
    return int(db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])


def latest(db: Database, topic_id: TopicId) -> Generation:
    found = generations.latest_generation(db, topic_id)
    assert found is not None
    return found


def topic_agrees(db: Database, topic_id: TopicId) -> bool:
    """Whether a topic says what its latest generation says."""
    (said,) = db.query("SELECT status, generation_id FROM topics WHERE id = :id", {"id": topic_id})
    generation = latest(db, topic_id)
    return said == {"status": generation.status, "generation_id": generation.id}


# Accepting a generation


def test_an_accepted_generation_holds_all_that_is_needed_to_run_it(db: Database, topic_id: TopicId) -> None:
    order = Order(topic="산소", plan="## 하나\n## 둘", instructions="짧게", model="its own")

    generation = accept(db, topic_id, order=order)

    assert generation == latest(db, topic_id)
    assert (generation.topic, generation.plan, generation.instructions) == ("산소", "## 하나\n## 둘", "짧게")
    assert (generation.model, generation.language, generation.sections_total) == ("its own", "ko", 2)
    assert generation.expected_characters == 1800
    assert (generation.status, generation.attempt) == (StatusName.GENERATING, 1)
    assert generation.started_at == generation.created_at


def test_a_generation_that_waits_has_not_begun(db: Database, topic_id: TopicId) -> None:
    generation = accept(db, topic_id, StatusName.QUEUED)

    assert (generation.status, generation.attempt, generation.started_at) == (StatusName.QUEUED, 0, None)
    assert (generation.topic, generation.plan) == ("수소", PLAN)


def test_what_an_order_says_replaces_what_the_topic_says(db: Database, topic_id: TopicId) -> None:
    accept(db, topic_id, order=Order(plan="## 새 계획"))

    topic = topics.topic(db, topic_id)
    assert topic is not None
    assert (topic.topic, topic.plan, topic.language) == ("수소", "## 새 계획", "ko")


def test_past_reports_of_the_language_tell_how_long_a_section_gets(db: Database, user_id: UserId) -> None:
    for language, lengths in (("ko", (300, 600, 3000)), ("en", (9000,))):
        for characters in lengths:
            told = topics.add_topic(db, user_id, "수소", "## 하나\n## 둘\n## 셋", language).id
            complete(db, replace(accept(db, told), characters=characters))

    generation = accept(db, topics.add_topic(db, user_id, "산소", "## 하나\n## 둘", "ko").id)

    assert generation.expected_characters == 2 * 200


@pytest.mark.parametrize(
    ("asked_of", "key", "problem"),
    [
        (99, Key(UserId(1), "another", "of a body"), NotFound),
        (1, Key(UserId(1), "another", "of a body"), GenerationInProgress),
        (1, Key(UserId(1), "a-key", "of another body"), IdempotencyKeyReused),
    ],
)
def test_a_refused_generation_changes_nothing(
    db: Database, topic_id: TopicId, user_id: UserId, asked_of: TopicId, key: Key, problem: type[Exception]
) -> None:
    accept(db, topic_id, key=Key(user_id, "a-key", "of a body"))
    before = everything(db)

    with pytest.raises(problem), db.atomic():
        accept(db, asked_of, order=Order(topic="산소", plan="## 다른 계획"), key=key)

    assert everything(db) == before


@pytest.mark.parametrize("status", [StatusName.QUEUED, StatusName.GENERATING])
def test_a_second_generation_is_told_of_the_first(db: Database, topic_id: TopicId, status: StatusName) -> None:
    first = accept(db, topic_id, status)

    with pytest.raises(GenerationInProgress) as refused, db.atomic():
        accept(db, topic_id)

    assert refused.value.extensions == {"generation_id": first.id, "status_url": f"/api/topics/{topic_id}/status"}


@pytest.mark.parametrize("end", ENDS)
def test_a_topic_whose_generation_has_ended_takes_another(db: Database, topic_id: TopicId, end: str) -> None:
    first = accept(db, topic_id)
    ENDS[end](db, first)

    second = accept(db, topic_id)

    assert second.id > first.id
    assert latest(db, topic_id) == second


def test_an_error_that_is_no_second_generation_is_not_taken_for_one(db: Database, topic_id: TopicId) -> None:
    nameless: Any = None

    with pytest.raises(sqlite3.IntegrityError, match="NOT NULL"):
        acceptance.accept_generation(db, topic_id, Order(), nameless, StatusName.QUEUED, None)


# Idempotency keys


def test_the_same_key_is_answered_with_the_first_202_again(db: Database, topic_id: TopicId, user_id: UserId) -> None:
    key = Key(user_id, "a-key", "of a body")
    first = accept(db, topic_id, StatusName.QUEUED, key=key)
    fail(db, first)

    again = acceptance.accept_generation(db, topic_id, Order(), "a-model", StatusName.GENERATING, key)

    assert again == Accepted(topic_id, first.id, StatusName.QUEUED, None)
    assert count(db, "generations") == 1


def test_a_key_is_its_users_own(db: Database, topic_id: TopicId, user_id: UserId) -> None:
    key = Key(user_id, "a-key", "of a body")
    accept(db, topic_id, key=key)
    ben = users.add_user(db, "ben", is_admin=False)
    assert ben is not None

    assert acceptance.remembered(db, replace(key, user_id=ben.id, fingerprint="of another body")) is None


@pytest.mark.parametrize(("age", "known"), [(KEY_LIFETIME - 60, True), (KEY_LIFETIME + 60, False)])
def test_a_key_is_remembered_for_a_day(db: Database, topic_id: TopicId, user_id: UserId, age: int, known: bool) -> None:
    key = Key(user_id, "a-key", "of a body")
    complete(db, accept(db, topic_id, key=key))
    db.execute("UPDATE idempotency_keys SET created_at = :then", {"then": later(-age)})

    assert (acceptance.remembered(db, key) is not None) is known


def test_a_key_that_has_aged_may_be_used_for_another_request(db: Database, topic_id: TopicId, user_id: UserId) -> None:
    key = Key(user_id, "a-key", "of a body")
    first = accept(db, topic_id, key=key)
    complete(db, first)
    db.execute("UPDATE idempotency_keys SET created_at = :then", {"then": later(-KEY_LIFETIME - 60)})

    second = accept(db, topic_id, key=replace(key, fingerprint="of another body"))

    assert second.id > first.id
    assert count(db, "idempotency_keys") == 1


def test_keys_that_have_aged_are_forgotten(db: Database, topic_id: TopicId, user_id: UserId) -> None:
    complete(db, accept(db, topic_id, key=Key(user_id, "old", "of a body")))
    db.execute("UPDATE idempotency_keys SET created_at = :then", {"then": later(-KEY_LIFETIME - 60)})

    accept(db, topic_id, key=Key(user_id, "new", "of a body"))

    assert [row["key"] for row in db.query("SELECT key FROM idempotency_keys")] == ["new"]


# The life of a generation


def test_a_claim_begins_the_next_attempt(db: Database, topic_id: TopicId) -> None:
    queued = accept(db, topic_id, StatusName.QUEUED)

    claimed = generations.claim_generation(db, queued)

    assert (claimed.status, claimed.attempt) == (StatusName.GENERATING, 1)
    assert claimed.started_at is not None
    assert claimed == latest(db, topic_id)


def test_a_generation_is_claimed_once(db: Database, topic_id: TopicId) -> None:
    queued = accept(db, topic_id, StatusName.QUEUED)
    claimed = generations.claim_generation(db, queued)
    before = everything(db)

    for generation in (queued, claimed):
        with pytest.raises(Superseded), db.atomic():
            generations.claim_generation(db, generation)

    assert everything(db) == before


def test_a_generation_that_was_put_back_is_not_claimed_by_who_saw_it_wait_before(
    db: Database, topic_id: TopicId
) -> None:
    before = accept(db, topic_id, StatusName.QUEUED)
    now = put_back(db, generations.claim_generation(db, before))

    with pytest.raises(Superseded), db.atomic():
        generations.claim_generation(db, before)

    assert latest(db, topic_id) == now


@pytest.mark.parametrize("change", CHANGES)
def test_an_older_attempt_changes_nothing(db: Database, topic_id: TopicId, change: str) -> None:
    older = accept(db, topic_id)
    newer = generations.claim_generation(db, put_back(db, older))
    texts.keep_text(db, newer, [replace(HALF, text="the newer attempt's text")])
    before = everything(db)

    with pytest.raises(Superseded), db.atomic():
        CHANGES[change](db, older)

    assert newer.attempt == older.attempt + 1
    assert everything(db) == before


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("change", CHANGES)
def test_what_has_ended_does_not_change_any_more(db: Database, topic_id: TopicId, end: str, change: str) -> None:
    generation = accept(db, topic_id)
    ENDS[end](db, generation)
    before = everything(db)

    with pytest.raises(Superseded), db.atomic():
        CHANGES[change](db, generation)

    assert everything(db) == before


def test_a_topic_says_what_its_latest_generation_says_at_every_step(db: Database, topic_id: TopicId) -> None:
    for end in ENDS.values():
        queued = accept(db, topic_id, StatusName.QUEUED)
        assert topic_agrees(db, topic_id)
        running = generations.claim_generation(db, queued)
        assert topic_agrees(db, topic_id)
        back = put_back(db, running)
        assert topic_agrees(db, topic_id)
        running = generations.claim_generation(db, back)
        generations.recover_generations(db)
        assert topic_agrees(db, topic_id)
        end(db, generations.claim_generation(db, latest(db, topic_id)))
        assert topic_agrees(db, topic_id)


def test_a_failure_is_kept_with_the_progress_it_came_to(db: Database, topic_id: TopicId) -> None:
    running = replace(accept(db, topic_id), characters=800, sections_done=2, progress_percent=40)

    failed = fail(db, running)

    assert (failed.status, failed.error_code, failed.error_message) == (
        StatusName.FAILED, "claude_timeout", "Claude API timeout",
    )  # fmt: skip
    assert failed.retryable is True
    assert (failed.characters, failed.sections_done, failed.progress_percent) == (800, 2, 40)
    assert failed.completed_at is not None
    assert failed == latest(db, topic_id)


def test_a_cancel_is_kept_with_the_progress_it_came_to(db: Database, topic_id: TopicId) -> None:
    running = replace(accept(db, topic_id), characters=800, sections_done=2, progress_percent=40)

    cancelled = cancel(db, running)

    assert (cancelled.status, cancelled.error_code, cancelled.retryable) == (StatusName.CANCELLED, None, None)
    assert (cancelled.characters, cancelled.sections_done, cancelled.progress_percent) == (800, 2, 40)
    assert cancelled == latest(db, topic_id)


def test_a_saved_report_is_artifact_and_messages_and_the_end(db: Database, topic_id: TopicId) -> None:
    running = replace(accept(db, topic_id), characters=800, sections_done=3, progress_percent=72)

    completed = complete(db, running)

    assert completed == latest(db, topic_id)
    assert (completed.status, completed.progress_percent) == (StatusName.COMPLETED, 100)
    assert (completed.sections_done, completed.sections_total, completed.characters) == (3, 3, 800)
    (artifact,) = artifacts.list_artifacts(db, topic_id, None, 9)
    assert artifact == Artifact(
        ArtifactId(1), topic_id, running.id, 1, "md", "report.md", SAVED.path, SAVED.size, SAVED.sha256, "a-model",
        False, artifact.created_at,
    )  # fmt: skip
    assert completed.artifact_id == artifact.id
    messages = artifacts.list_messages(db, topic_id, None, 9)
    assert [(message.seq_no, message.role, message.content) for message in messages] == [
        (1, "user", "question"), (2, "assistant", "report"),
    ]  # fmt: skip


def test_versions_and_messages_are_numbered_by_topic(db: Database, user_id: UserId, topic_id: TopicId) -> None:
    other_id = topics.add_topic(db, user_id, "산소", "", "ko").id
    for told in (topic_id, other_id, topic_id):
        complete(db, accept(db, told))

    assert [artifact.version for artifact in artifacts.list_artifacts(db, topic_id, None, 9)] == [2, 1]
    assert [artifact.version for artifact in artifacts.list_artifacts(db, other_id, None, 9)] == [1]
    assert [message.seq_no for message in artifacts.list_messages(db, topic_id, None, 9)] == [1, 2, 3, 4]


def test_what_is_kept_of_a_cancelled_report_is_an_artifact_and_no_message(db: Database, topic_id: TopicId) -> None:
    running = replace(accept(db, topic_id), characters=800, sections_done=1, progress_percent=40)

    cancelled = keep_partial(db, running)

    assert cancelled == latest(db, topic_id)
    assert (cancelled.status, cancelled.progress_percent, cancelled.sections_done) == (StatusName.CANCELLED, 40, 1)
    (artifact,) = artifacts.list_artifacts(db, topic_id, None, 9)
    assert (artifact.id, artifact.generation_id, artifact.partial) == (cancelled.artifact_id, running.id, True)
    assert artifacts.list_messages(db, topic_id, None, 9) == []


def test_the_report_of_a_completed_generation_is_in_the_conversation(db: Database, topic_id: TopicId) -> None:
    completed, cancelled = complete(db, accept(db, topic_id)), keep_partial(db, accept(db, topic_id))

    assert artifacts.report_text(db, completed.id) == "report"
    assert artifacts.report_text(db, cancelled.id) is None


# Kept text


def test_text_is_kept_in_pieces_and_found_by_section(db: Database, topic_id: TopicId) -> None:
    running = accept(db, topic_id, order=Order(mode=Mode.SECTIONS))

    texts.keep_text(db, running, [Piece(1, 8, "a report", False, (8,)), Piece(1, 0, "half of ", False, ())])
    texts.keep_text(db, running, [Piece(0, 0, "whole", True, ()), Piece(1, 16, ".", False, (8, 16))])
    texts.keep_text(db, running, [Piece(1, 17, "", True, (8, 16))])

    assert texts.kept_strands(db, running.id) == [
        KeptStrand(0, "whole", True, ()),
        KeptStrand(1, "half of a report.", True, (8, 16)),
    ]
    assert count(db, "checkpoints") == 4


def test_a_piece_that_comes_again_and_longer_takes_the_place_of_the_first(db: Database, topic_id: TopicId) -> None:
    running = accept(db, topic_id)

    for text in ("half", "half a report"):
        texts.keep_text(db, running, [replace(HALF, text=text)])

    assert texts.kept_strands(db, running.id) == [KeptStrand(0, "half a report", False, ())]


def test_text_is_kept_with_the_progress_it_is(db: Database, topic_id: TopicId) -> None:
    running = replace(accept(db, topic_id), characters=800, sections_done=2, progress_percent=40, retries=2, resumes=1)

    texts.keep_text(db, running, [HALF])

    assert latest(db, topic_id) == running


@pytest.mark.parametrize("change", KEEPING)
def test_what_may_go_on_keeps_its_text_and_the_last_of_it(db: Database, topic_id: TopicId, change: str) -> None:
    running = accept(db, topic_id)
    checkpoint(db, running)

    KEEPING[change](db, running, Piece(0, 10, "ort", True, (10,)))

    assert texts.kept_strands(db, running.id) == [KeptStrand(0, "half a report", True, (10,))]


@pytest.mark.parametrize("change", ["failed", "cancelled"])
def test_what_waits_for_its_turn_has_no_last_text_to_keep(db: Database, topic_id: TopicId, change: str) -> None:
    running = replace(accept(db, topic_id), characters=800)
    checkpoint(db, running)
    waiting = put_back(db, running)

    ended = KEEPING[change](db, replace(waiting, characters=0))

    assert ended.characters == 800
    assert texts.kept_strands(db, running.id) == [KeptStrand(0, "half a rep", False, ())]


def test_text_is_dropped_when_the_report_is_complete(db: Database, topic_id: TopicId) -> None:
    running = accept(db, topic_id)
    checkpoint(db, running)

    complete(db, running)

    assert [count(db, table) for table in ("checkpoints", "strands")] == [0, 0]


def test_what_claude_declined_to_write_is_dropped(db: Database, topic_id: TopicId) -> None:
    running = accept(db, topic_id)
    checkpoint(db, running)

    failed = generations.fail_generation(db, running, Refused(), [Piece(0, 10, "ort", False, ())])

    assert (failed.error_code, failed.retryable) == ("refused", False)
    assert [count(db, table) for table in ("checkpoints", "strands")] == [0, 0]


# Resuming


def test_a_resumed_generation_takes_over_the_words_and_the_text_of_the_one_before(
    db: Database, topic_id: TopicId
) -> None:
    first = accept(db, topic_id, order=Order("산소", "## 하나", "짧게", mode=Mode.SECTIONS))
    fail(db, first, HALF)
    topics.change_topic(db, topic_id, "질소", "## 다른 계획", None)

    second = accept(db, topic_id, order=Order(resume=True))

    assert second.id > first.id
    assert (second.topic, second.plan, second.instructions, second.mode) == ("산소", "## 하나", "짧게", Mode.SECTIONS)
    assert (second.attempt, second.resumes, second.retries, second.finish) == (1, 0, 0, False)
    assert texts.kept_strands(db, first.id) == []
    assert texts.kept_strands(db, second.id) == [KeptStrand(0, "half a rep", False, ())]
    topic = topics.topic(db, topic_id)
    assert topic is not None
    assert (topic.topic, topic.plan) == ("질소", "## 다른 계획")


def test_a_generation_that_begins_anew_drops_the_text_of_the_one_before(db: Database, topic_id: TopicId) -> None:
    cancel(db, accept(db, topic_id), HALF)

    accept(db, topic_id)

    assert [count(db, table) for table in ("checkpoints", "strands")] == [0, 0]


@pytest.mark.parametrize("before", ["nothing", "completed"])
def test_only_what_failed_or_was_cancelled_is_resumed(db: Database, topic_id: TopicId, before: str) -> None:
    if before == "completed":
        complete(db, accept(db, topic_id))

    with pytest.raises(NothingToResume), db.atomic():
        accept(db, topic_id, order=Order(resume=True))

    assert count(db, "generations") == int(before == "completed")


def test_to_resume_what_is_under_way_is_refused_and_leaves_its_text(db: Database, topic_id: TopicId) -> None:
    running = accept(db, topic_id)
    checkpoint(db, running)

    with pytest.raises(GenerationInProgress), db.atomic():
        accept(db, topic_id, order=Order(resume=True))

    assert texts.kept_strands(db, running.id) == [KeptStrand(0, "half a rep", False, ())]


def test_a_claim_counts_as_a_resume_where_there_is_text_to_go_on_from(db: Database, topic_id: TopicId) -> None:
    waiting = put_back(db, accept(db, topic_id))
    without = generations.claim_generation(db, waiting)
    put_back(db, without, HALF)

    with_text = generations.claim_generation(db, latest(db, topic_id))

    assert (without.attempt, without.resumes) == (2, 0)
    assert (with_text.attempt, with_text.resumes) == (3, 1)


# Finishing


@pytest.mark.parametrize("status", [StatusName.QUEUED, StatusName.GENERATING])
def test_the_wish_for_an_early_end_is_kept_while_there_is_something_to_end(
    db: Database, user_id: UserId, topic_id: TopicId, status: StatusName
) -> None:
    other_id = topics.add_topic(db, user_id, "산소", "", "ko").id
    for asked in (topic_id, other_id):
        accept(db, asked, status)
    before = generations.finish_topic(db, TopicId(99))

    heard = generations.finish_topic(db, topic_id)

    assert (before, heard) == (False, True)
    assert latest(db, topic_id).finish
    assert not latest(db, other_id).finish
    (recovered, _) = generations.recover_generations(db)
    assert recovered.finish


@pytest.mark.parametrize("end", ENDS)
def test_what_has_ended_is_not_finished(db: Database, topic_id: TopicId, end: str) -> None:
    ENDS[end](db, accept(db, topic_id))

    assert not generations.finish_topic(db, topic_id)
    assert not latest(db, topic_id).finish


# Restart


def test_a_generation_that_waits_for_the_next_start_can_be_cancelled(db: Database, topic_id: TopicId) -> None:
    waiting = put_back(db, accept(db, topic_id))

    cancelled = generations.cancel_generation(db, waiting, ())

    assert cancelled == latest(db, topic_id)
    assert cancelled.status is StatusName.CANCELLED
    assert topic_agrees(db, topic_id)


def test_a_report_by_sections_needs_some_in_the_plan_of_that_moment(db: Database, topic_id: TopicId) -> None:
    complete(db, accept(db, topic_id, order=Order(plan="## One", mode=Mode.SECTIONS)))
    with pytest.raises(Invalid) as raised, db.atomic():
        accept(db, topic_id, order=Order(plan="", mode=Mode.SECTIONS))

    assert "/mode" in str(raised.value.extensions["errors"])


def test_a_resumed_report_is_as_far_as_its_text(db: Database, topic_id: TopicId) -> None:
    running = replace(accept(db, topic_id), characters=800, progress_percent=40)
    checkpoint(db, running)
    failed = generations.fail_generation(db, running, ClaudeTimeout(), [])
    again = accept(db, topic_id, order=Order(resume=True))
    refused = generations.fail_generation(db, again, Refused(), [])

    afresh = accept(db, topic_id, order=Order(resume=True))

    assert (failed.characters, again.characters, again.progress_percent) == (800, 800, 40)
    assert again.expected_characters == failed.expected_characters
    assert (refused.characters, afresh.characters, afresh.progress_percent) == (800, 0, 0)


def test_what_was_unfinished_is_recovered_oldest_first_and_the_rest_left_alone(db: Database, user_id: UserId) -> None:
    *ids, first_id, second_id = (topics.add_topic(db, user_id, "Topic", "", "en").id for _ in range(len(ENDS) + 2))
    ended = [end(db, accept(db, topic_id)) for end, topic_id in zip(ENDS.values(), ids, strict=True)]
    running = replace(accept(db, first_id), characters=800, progress_percent=40, retries=1, resumes=1)
    call_id = usage.open_call(db, running, "report")
    checkpoint(db, running)
    waiting = accept(db, second_id, StatusName.QUEUED)

    found = generations.recover_generations(db)

    assert [generation.id for generation in found] == [running.id, waiting.id]
    assert [(generation.status, generation.attempt) for generation in found] == [("queued", 2), ("queued", 0)]
    assert [(generation.characters, generation.progress_percent, generation.started_at) for generation in found] == [
        (800, 40, None), (0, 0, None),
    ]  # fmt: skip
    assert [(generation.retries, generation.resumes) for generation in found] == [(1, 1), (0, 0)]
    assert found == [latest(db, generation.topic_id) for generation in found]
    assert ended == [latest(db, topic_id) for topic_id in ids]
    assert all(topic_agrees(db, topic_id) for topic_id in (*ids, first_id, second_id))
    assert texts.kept_strands(db, running.id) == [KeptStrand(0, "half a rep", False, ())]
    (call,) = db.query("SELECT id, state, estimated, ended_at IS NOT NULL AS over FROM ai_usage")
    assert call == {"id": call_id, "state": "interrupted", "estimated": 0, "over": 1}  # nothing told, nothing estimated


def test_what_ended_lately_is_told_oldest_first_of_one_owner_or_of_all(db: Database, user_id: UserId) -> None:
    ben = users.add_user(db, "ben", is_admin=False)
    assert ben is not None
    owners = (user_id, ben.id, user_id, user_id)
    ids = [cancel(db, accept(db, topics.add_topic(db, owner, "수소", "", "ko").id)).id for owner in owners]
    again = cancel(db, accept(db, TopicId(1)))  # of the first topic, whose first generation is not told any more
    accept(db, topics.add_topic(db, user_id, "수소", "", "ko").id)
    for second, generation_id in enumerate([*ids, again.id]):
        at = {"at": f"2026-11-22T10:00:0{second}.000Z", "id": generation_id}
        db.execute("UPDATE generations SET completed_at = :at WHERE id = :id", at)

    def ended(owner: UserId | None, since: int = 0, until: int = 9, limit: int = 9) -> list[GenerationId]:
        start, end = (f"2026-11-22T10:00:0{second}.000Z" for second in (since, until))
        return [generation.id for generation in generations.ended_between(db, owner, start, end, limit)]

    assert ended(None) == [*ids[1:], again.id]
    assert ended(None, since=2, until=3) == ids[2:]
    assert ended(None, limit=2) == [ids[3], again.id]
    assert ended(user_id) == [ids[2], ids[3], again.id]
    assert ended(ben.id) == [ids[1]]
    ((topic, generation),) = generations.topics_ended_between(db, ben.id, "2026", "2027")
    assert (topic.user_id, generation.id, topic.id) == (ben.id, ids[1], generation.topic_id)


def test_a_generation_knows_what_its_topic_is_called_by_now(db: Database, topic_id: TopicId) -> None:
    first = accept(db, topic_id)
    changed = generations.change_topic(db, topic_id, "다른 제목", None, None)
    failed = cancel(db, first)

    assert changed is not None
    assert (changed[0].topic, changed[1]) == ("다른 제목", replace(first, title="다른 제목"))
    assert first.title == first.topic
    assert (failed.topic, failed.title) == (first.topic, "다른 제목")
    assert accept(db, topic_id, order=Order(resume=True)).title == "다른 제목"
    assert generations.change_topic(db, TopicId(99), "x", None, None) is None


def test_a_generation_is_found_as_its_topics_alone(db: Database, topic_id: TopicId) -> None:
    earlier = cancel(db, accept(db, topic_id))
    accept(db, topic_id)

    assert generations.generation_of_topic(db, topic_id, earlier.id) == earlier
    assert generations.generation_of_topic(db, TopicId(99), earlier.id) is None
    assert generations.generation_of_topic(db, topic_id, GenerationId(99)) is None


def test_a_deleted_topic_was_somebodys_once(db: Database, topic_id: TopicId, user_id: UserId) -> None:
    assert [topics.delete_topic(db, topic_id) for _ in range(2)] == [user_id, None]


# The ledger


def test_what_claude_has_told_of_a_running_call_is_kept(db: Database, topic_id: TopicId) -> None:
    call_id = usage.open_call(db, accept(db, topic_id), "report")

    usage.count_call(db, call_id, "req_1", Tokens(input=812, output=1))
    usage.interrupt_calls(db)
    usage.count_call(db, call_id, "req_2", Tokens(input=9, output=9))

    (row,) = db.query("SELECT state, request_id, input_tokens, output_tokens, estimated FROM ai_usage")
    assert row == {
        "state": "interrupted", "request_id": "req_1", "input_tokens": 812, "output_tokens": 1, "estimated": 1,
    }  # fmt: skip


def test_the_tokens_of_a_generation_are_the_sums_over_its_calls(db: Database, topic_id: TopicId) -> None:
    running = accept(db, topic_id)
    unknown = usage.tokens_of_generation(db, running.id)

    for end in (CALL_END, replace(CALL_END, state=CallState.FAILED, tokens=Tokens(input=5))):
        usage.close_call(db, usage.open_call(db, running, "report"), end)

    assert unknown == Tokens(None, None, None, None)
    assert usage.tokens_of_generation(db, running.id) == Tokens(15, 20, 30, 40)
    assert latest(db, topic_id).tokens == Tokens(15, 20, 30, 40)


def test_a_call_that_is_closed_keeps_what_it_says(db: Database, topic_id: TopicId) -> None:
    call_id = usage.open_call(db, accept(db, topic_id), "report")
    usage.close_call(db, call_id, CALL_END)
    before = everything(db)

    usage.close_call(db, call_id, replace(CALL_END, state=CallState.FAILED, tokens=Tokens()))
    usage.interrupt_calls(db)

    assert everything(db) == before


# Topics


def test_topics_are_listed_newest_first_by_owner_and_status_and_page(db: Database, user_id: UserId) -> None:
    ben = users.add_user(db, "ben", is_admin=False)
    assert ben is not None
    ids = [topics.add_topic(db, owner, "수소", "", "ko").id for owner in (user_id, ben.id) * 3]
    for topic_id in ids[2:4]:
        accept(db, topic_id)

    def listed(owner: UserId | None, status: StatusName | None, before: int | None, limit: int = 9) -> list[TopicId]:
        return [topic.id for topic in topics.list_topics(db, owner, status, before, limit)]

    assert listed(None, None, None) == ids[::-1]
    assert listed(None, None, None, limit=2) == ids[:3:-1]
    assert listed(None, None, ids[2]) == [ids[1], ids[0]]
    assert listed(user_id, None, None) == [ids[4], ids[2], ids[0]]
    assert listed(user_id, None, ids[4]) == [ids[2], ids[0]]
    assert listed(None, StatusName.GENERATING, None) == [ids[3], ids[2]]
    assert listed(ben.id, StatusName.GENERATING, None) == [ids[3]]
    assert listed(ben.id, StatusName.IDLE, ids[5]) == [ids[1]]


def test_a_topic_is_changed_in_what_is_given(db: Database, topic_id: TopicId) -> None:
    changed = topics.change_topic(db, topic_id, None, "## 하나", None)

    assert changed == topics.topic(db, topic_id)
    assert changed is not None
    assert (changed.topic, changed.plan, changed.language) == ("수소", "## 하나", "ko")
    assert topics.change_topic(db, TopicId(99), "산소", None, None) is None


def test_a_deleted_topic_takes_all_with_it_but_the_ledger(db: Database, topic_id: TopicId, user_id: UserId) -> None:
    complete(db, accept(db, topic_id, key=Key(user_id, "a-key", "of a body")))
    running = accept(db, topic_id)
    checkpoint(db, running)
    usage.open_call(db, running, "report")

    topics.delete_topic(db, topic_id)

    gone = ("topics", "generations", "checkpoints", "strands", "messages", "artifacts")
    assert [count(db, table) for table in gone] == [0] * len(gone)
    assert [count(db, table) for table in ("users", "ai_usage", "idempotency_keys")] == [1, 1, 1]
    assert topics.existing_topics(db, [topic_id, TopicId(99)]) == set()


def test_no_id_is_ever_used_again(db: Database, user_id: UserId) -> None:
    def fill() -> dict[str, int]:
        topic_id = topics.add_topic(db, user_id, "수소", "", "ko").id
        completed = complete(db, accept(db, topic_id))
        assert completed.artifact_id is not None
        (_, message) = artifacts.list_messages(db, topic_id, None, 9)
        return {"topic": topic_id, "generation": completed.id, "artifact": completed.artifact_id, "message": message.id}

    before = fill()
    topics.delete_topic(db, TopicId(before["topic"]))
    after = fill()

    assert all(after[name] > before[name] for name in before)


def test_an_artifact_is_found_with_its_owner(db: Database, topic_id: TopicId, user_id: UserId) -> None:
    complete(db, accept(db, topic_id))
    (artifact,) = artifacts.list_artifacts(db, topic_id, None, 9)

    assert artifacts.artifact(db, artifact.id) == (artifact, user_id)
    assert artifacts.artifact(db, ArtifactId(99)) is None


def test_lists_of_a_topic_are_cut_into_pages(db: Database, topic_id: TopicId) -> None:
    ids = [complete(db, accept(db, topic_id)).id for _ in range(3)]
    (newest, middle, oldest) = artifacts.list_artifacts(db, topic_id, None, 9)

    assert [g.id for g in generations.list_generations(db, topic_id, None, 2)] == [ids[2], ids[1]]
    assert [g.id for g in generations.list_generations(db, topic_id, ids[1], 2)] == [ids[0]]
    assert artifacts.list_artifacts(db, topic_id, None, 2) == [newest, middle]
    assert artifacts.list_artifacts(db, topic_id, middle.id, 2) == [oldest]
    assert [message.seq_no for message in artifacts.list_messages(db, topic_id, 4, 9)] == [5, 6]


def test_the_check_that_the_database_takes_writes_may_be_repeated(db: Database) -> None:
    topics.check_writable(db)
    topics.check_writable(db)

    assert count(db, "health") == 1


# Users and access tokens


def test_of_a_token_its_sha256_alone_is_in_the_database(tmp_path: Path) -> None:
    with closing(open_database(tmp_path / "longhand.db")) as db:
        token = users.admin_token(db, "laptop")
        users.set_admin_token(db, "an-admin-token-of-the-tests")
        content = b"".join(file.read_bytes() for file in tmp_path.iterdir())

    for secret in (token, "an-admin-token-of-the-tests"):
        assert secret.removeprefix("lh_").encode() not in content
        assert users.digest(secret).encode() in content


def test_a_token_is_random_and_names_its_user_until_it_is_revoked(db: Database, user_id: UserId) -> None:
    token, other = users.new_token(), users.new_token()
    token_id = users.add_token(db, user_id, token, "laptop")

    found = users.user_of_token(db, users.digest(token))
    revoked = users.revoke_token(db, token_id)

    assert token != other
    assert len(token) == 3 + 43  # 256 bits in base64
    assert found is not None
    assert (found.id, found.name, found.is_admin) == (user_id, "anna", False)
    assert revoked
    assert users.user_of_token(db, users.digest(token)) is None
    assert users.user_of_token(db, users.digest(other)) is None
    assert not users.revoke_token(db, token_id)
    assert not users.revoke_token(db, TokenId(99))


def test_a_token_with_a_term_names_its_user_until_then(db: Database, user_id: UserId) -> None:
    lasting, over = users.new_token(), users.new_token()
    users.add_token(db, user_id, lasting, "", later(60))
    users.add_token(db, user_id, over, "", later(-0.001))

    found = users.user_of_token(db, users.digest(lasting))

    assert found is not None
    assert found.id == user_id
    assert users.user_of_token(db, users.digest(over)) is None


def test_tokens_are_listed_oldest_first_with_what_they_are_for(db: Database, user_id: UserId) -> None:
    first, second = (users.add_token(db, user_id, users.new_token(), label) for label in ("laptop", ""))
    users.revoke_token(db, first)

    listed = users.tokens(db)

    assert [(token.id, token.user_name, token.label) for token in listed] == [
        (first, "anna", "laptop"), (second, "anna", ""),
    ]  # fmt: skip
    assert [token.revoked_at is not None for token in listed] == [True, False]


def test_a_name_is_taken_once(db: Database, user_id: UserId) -> None:
    assert users.add_user(db, "anna", is_admin=True) is None

    anna = users.user_named(db, "anna")
    assert anna is not None
    assert not anna.is_admin
    assert users.user_named(db, "nobody") is None


def test_the_first_token_is_given_where_no_token_holds_and_only_there(db: Database) -> None:
    first = users.first_token(db)
    second = users.first_token(db)
    users.revoke_token(db, users.tokens(db)[0].id)
    third = users.first_token(db)

    assert first is not None
    assert second is None
    assert third is not None
    admin = users.user_of_token(db, users.digest(third))
    assert admin is not None
    assert (admin.name, admin.is_admin) == ("admin", True)
    assert users.user_of_token(db, users.digest(first)) is None


def test_tokens_that_have_expired_are_none_that_hold(db: Database, user_id: UserId) -> None:
    users.add_token(db, user_id, users.new_token(), "", later(-1))
    first = users.first_token(db)

    assert first is not None
    assert users.first_token(db) is None


def test_an_expired_token_that_becomes_the_environments_holds(db: Database, user_id: UserId) -> None:
    users.add_token(db, user_id, "a-token-of-annas-own", "laptop", later(-1))

    users.set_admin_token(db, "a-token-of-annas-own")

    assert is_admins(db, "a-token-of-annas-own")


def is_admins(db: Database, token: str) -> bool:
    user = users.user_of_token(db, users.digest(token))
    return user is not None and (user.name, user.is_admin) == ("admin", True)


def test_the_environments_token_ends_with_the_next_and_may_come_back(db: Database) -> None:
    users.set_admin_token(db, "the-first-admin-token")
    users.set_admin_token(db, "the-first-admin-token")
    users.set_admin_token(db, "the-second-admin-token")
    after_the_second = [is_admins(db, token) for token in ("the-first-admin-token", "the-second-admin-token")]
    users.set_admin_token(db, "the-first-admin-token")

    assert after_the_second == [False, True]
    assert is_admins(db, "the-first-admin-token")
    assert not is_admins(db, "the-second-admin-token")
    assert len(users.tokens(db)) == 2


def test_the_environments_token_leaves_the_admins_other_tokens_alone(db: Database) -> None:
    other = users.admin_token(db, "laptop")

    users.set_admin_token(db, "the-first-admin-token")
    users.set_admin_token(db, "the-second-admin-token")

    assert is_admins(db, other)


def test_a_token_that_was_somebodys_becomes_the_environments_and_ends_as_such(db: Database, user_id: UserId) -> None:
    users.add_token(db, user_id, "a-token-of-annas-own", "laptop")

    users.set_admin_token(db, "a-token-of-annas-own")
    becomes = is_admins(db, "a-token-of-annas-own")
    users.set_admin_token(db, "the-second-admin-token")

    assert becomes
    assert users.user_of_token(db, users.digest("a-token-of-annas-own")) is None


def test_a_user_named_admin_becomes_one(db: Database) -> None:
    users.add_user(db, "admin", is_admin=False)

    users.set_admin_token(db, "the-first-admin-token")

    assert is_admins(db, "the-first-admin-token")


def test_what_write_gave_itself_ends_and_nothing_else(db: Database) -> None:
    written, kept = users.admin_token(db, users.WRITE_LABEL), users.admin_token(db, "laptop")

    users.end_writing(db)

    assert [is_admins(db, token) for token in (written, kept)] == [False, True]


# No query reads a table that grows


QUERIES: dict[str, Callable[[Database], object]] = {
    **{
        f"list_topics owner={owner} status={status} before={before}": partial(
            topics.list_topics, owner=owner, status=status, before=before, limit=20
        )
        for owner in (None, UserId(1))
        for status in (None, StatusName.FAILED)
        for before in (None, 9)
    },
    "topic": lambda db: topics.topic(db, TopicId(1)),
    "count_topics": lambda db: topics.count_topics(db, None),
    "count_topics owner": lambda db: topics.count_topics(db, UserId(1)),
    "list_with_latest": lambda db: generations.list_with_latest(db, UserId(1), StatusName.FAILED, 9, 20),
    "change_seen_topic": lambda db: generations.change_seen_topic(db, TopicId(1), "", "x", "y", "en"),
    "add_topic_once": lambda db: acceptance.add_topic_once(db, Key(UserId(1), "k", "f"), UserId(1), "x", "", "ko"),
    "version_of_topic": lambda db: artifacts.version_of_topic(db, TopicId(1), 2),
    "existing_topics": lambda db: topics.existing_topics(db, [TopicId(1)]),
    "delete_topic": lambda db: topics.delete_topic(db, TopicId(1)),
    "accept_generation": lambda db: accept(db, TopicId(1), key=Key(UserId(1), "a-key", "of a body")),
    "remembered": lambda db: acceptance.remembered(db, Key(UserId(1), "a-key", "of a body")),
    "latest_generation": lambda db: generations.latest_generation(db, TopicId(1)),
    "list_generations": lambda db: generations.list_generations(db, TopicId(1), None, 20),
    "list_generations before": lambda db: generations.list_generations(db, TopicId(1), 9, 20),
    "recover_generations": generations.recover_generations,
    "typical section": lambda db: acceptance._typical_section(db, "ko"),
    "ended_between": lambda db: generations.ended_between(db, None, "2026", "2027"),
    "ended_between owner": lambda db: generations.ended_between(db, UserId(1), "2026", "2027"),
    "topics_ended_between": lambda db: generations.topics_ended_between(db, None, "2026", "2027"),
    "generation_of_topic": lambda db: generations.generation_of_topic(db, TopicId(1), GenerationId(1)),
    "change_topic": lambda db: generations.change_topic(db, TopicId(1), "x", None, None),
    "finish_topic": lambda db: generations.finish_topic(db, TopicId(1)),
    "kept_strands": lambda db: texts.kept_strands(db, GenerationId(1)),
    "keep_text": lambda db: checkpoint(db, accept(db, TopicId(1))),
    "resume": lambda db: (cancel(db, accept(db, TopicId(1)), HALF), accept(db, TopicId(1), order=Order(resume=True))),
    "report_text": lambda db: artifacts.report_text(db, GenerationId(1)),
    "count_call": lambda db: usage.count_call(db, CallId(1), None, Tokens()),
    "complete": lambda db: complete(db, accept(db, TopicId(1))),
    "fail": lambda db: fail(db, accept(db, TopicId(1))),
    "tokens_of_generation": lambda db: usage.tokens_of_generation(db, GenerationId(1)),
    "list_messages": lambda db: artifacts.list_messages(db, TopicId(1), 3, 20),
    "list_artifacts": lambda db: artifacts.list_artifacts(db, TopicId(1), None, 20),
    "list_artifacts before": lambda db: artifacts.list_artifacts(db, TopicId(1), 9, 20),
    "artifact": lambda db: artifacts.artifact(db, ArtifactId(1)),
    "user_of_session": lambda db: sessions.user_of_session(db, "0" * 64),
    "list_sessions": lambda db: sessions.list_sessions(db, None, None),
    "list_sessions of a user": lambda db: sessions.list_sessions(db, UserId(1), 9),
    "open_with_token": lambda db: sessions.open_with_token(db, "x", "y", ""),
    "open_with_password": lambda db: sessions.open_with_password(db, UserId(1), "a hash", "y", ""),
    "end_oldest": lambda db: sessions._end_oldest(db, 1),
    "end_session": lambda db: sessions.end_session(db, SessionId(1), UserId(1)),
    "end_by_secret": lambda db: sessions.end_by_secret(db, "x"),
    "change_password": lambda db: sessions.change_password(db, UserId(1), None),
    "note_use": lambda db: sessions.note_use(db, SessionId(1)),
    "list_users": lambda db: users.list_users(db, 9, 20),
    "newest_tokens": lambda db: users.newest_tokens(db, 9, 20),
    "tokens_of": lambda db: users.tokens_of(db, UserId(1)),
    "token": lambda db: users.token(db, TokenId(1)),
    "revoke_token": lambda db: users.revoke_token(db, TokenId(1), UserId(1)),
    "password_of": lambda db: users.password_of(db, "kim"),
    "being_written": lambda db: writing.being_written(db, None, 20),
    "user_of_token": lambda db: users.user_of_token(db, "0" * 64),
}

BOUNDED = {
    # goes through the table in its own order, from its end, and stops at the limit
    "list_topics owner=None status=None before=None": ["SCAN topics"],
    # goes through all of an index that holds nothing but what is unfinished
    "recover_generations": [
        "SCAN ai_usage USING INDEX ai_usage_open",
        "SCAN generations USING INDEX generations_unfinished",
    ],
}
"""What looks like reading a whole table, and is not."""


def plan(db: Database, query: Callable[[Database], object]) -> list[str]:
    """Run a query, and return the steps by which SQLite goes through its statements."""
    statements: list[str] = []
    db.conn.set_trace_callback(statements.append)
    query(db)
    db.conn.set_trace_callback(None)
    return [
        str(step["detail"])
        for statement in statements
        if statement.lstrip().startswith(("SELECT", "INSERT", "UPDATE", "DELETE"))
        for step in db.query(f"EXPLAIN QUERY PLAN {statement}")
    ]


@pytest.mark.parametrize("name", QUERIES)
def test_no_query_reads_or_sorts_a_whole_table(db: Database, topic_id: TopicId, name: str) -> None:
    steps = plan(db, QUERIES[name])

    assert [step for step in steps if "SCAN" in step or "B-TREE" in step] == BOUNDED.get(name, [])
    assert steps


@pytest.mark.parametrize("owner", [None, UserId(1)])
@pytest.mark.parametrize("status", [None, StatusName.FAILED])
@pytest.mark.parametrize("before", [None, 9])
def test_a_list_of_topics_reads_no_topic_that_it_does_not_show(
    db: Database, owner: UserId | None, status: StatusName | None, before: int | None
) -> None:
    (step,) = plan(db, partial(topics.list_topics, owner=owner, status=status, before=before, limit=20))

    assert ("user_id=?" in step) is (owner is not None)
    assert ("(status=?" in step or "AND status=?" in step) is (status is not None)
    assert ("id<?" in step) is (before is not None)

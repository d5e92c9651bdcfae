"""Generations: accepting one, claiming it, ending it. Races are decided here, by the database.

Every change of a running generation names its attempt; where the row's attempt is another one, somebody else owns the
generation, and the change raises Superseded and changes nothing.
"""

import sqlite3
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from app.errors import Failure, GenerationInProgress, IdempotencyKeyReused, NotFound, Superseded
from app.models import (
    ArtifactId,
    Generation,
    GenerationId,
    Kind,
    Order,
    StatusName,
    Tokens,
    Topic,
    TopicId,
    UserId,
    later,
    now,
)
from app.queries import topics, usage
from app.report import expected_characters, sections

KEY_LIFETIME = 24 * 3600
"""Seconds for which an idempotency key is remembered."""

HISTORY_SIZE = 20
"""How many past reports of a language tell how long a section gets."""

FIELDS = (
    "id", "topic_id", "user_id", "kind", "status", "topic", "plan", "language", "instructions", "model", "attempt",
    "characters", "expected_characters", "sections_done", "sections_total", "progress_percent", "artifact_id",
    "error_code", "error_message", "retryable", "created_at", "started_at", "completed_at",
)  # fmt: skip
COLUMNS = ", ".join(FIELDS)


@dataclass(frozen=True, slots=True)
class Key:
    """An idempotency key, who sent it, and what it was sent with."""

    user_id: UserId
    key: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a 202 says. `generation` is None when it repeats an earlier 202, whose words these are."""

    topic_id: TopicId
    generation_id: GenerationId
    status: StatusName
    generation: Generation | None


def accept_generation(
    db: Database, topic_id: TopicId, order: Order, model: str, status: StatusName, key: Key | None
) -> Accepted:
    """Insert a generation with all that is needed to run it, and remember the key.

    `status` is `generating` when a slot is held for it already (its first attempt has begun), otherwise `queued`.
    Raises NotFound, GenerationInProgress or IdempotencyKeyReused; then nothing is changed.
    """
    if key and (replayed := remembered(db, key)):
        return replayed
    rows = db.query(
        """
        UPDATE topics SET topic = COALESCE(:topic, topic), plan = COALESCE(:plan, plan), updated_at = :now
        WHERE id = :id RETURNING id, user_id, topic, plan, language
        """,
        {"id": topic_id, "topic": order.topic, "plan": order.plan, "now": now()},
    )
    topic = next(iter(rows), None)
    if topic is None:
        raise NotFound
    generation = _insert(db, topic, order, model, status)
    _set_topic_status(db, generation)
    if key:
        _remember(db, key, generation)
    return Accepted(topic_id, generation.id, status, generation)


def remembered(db: Database, key: Key) -> Accepted | None:
    """Return what this key was answered within the last day. Raises IdempotencyKeyReused for another request."""
    sql = """
        SELECT fingerprint, topic_id, generation_id, status FROM idempotency_keys
        WHERE user_id = :user_id AND key = :key AND created_at > :oldest
    """
    rows = db.query(sql, {"user_id": key.user_id, "key": key.key, "oldest": later(-KEY_LIFETIME)})
    row = next(iter(rows), None)
    if row is None:
        return None
    if row["fingerprint"] != key.fingerprint:
        raise IdempotencyKeyReused
    return Accepted(row["topic_id"], row["generation_id"], StatusName(row["status"]), None)


def latest_generation(db: Database, topic_id: TopicId) -> Generation | None:
    """Return a topic's latest generation."""
    sql = f"SELECT {COLUMNS} FROM generations WHERE topic_id = :topic_id ORDER BY id DESC LIMIT 1"
    rows = list(db.query(sql, {"topic_id": topic_id}))
    return _with_tokens(db, rows[0]) if rows else None


def topic_and_latest(db: Database, topic_id: TopicId) -> tuple[Topic, Generation | None] | None:
    """Return a topic with its latest generation.

    The generation is looked for first: a topic that is deleted in between is gone, and not taken for a fresh one.
    """
    generation = latest_generation(db, topic_id)
    topic = topics.topic(db, topic_id)
    return None if topic is None else (topic, generation)


def list_generations(db: Database, topic_id: TopicId, before: int | None, limit: int) -> list[Generation]:
    """Return up to `limit` generations of a topic, newest first, before an id."""
    below = "" if before is None else "AND id < :before"
    sql = f"SELECT {COLUMNS} FROM generations WHERE topic_id = :topic_id {below} ORDER BY id DESC LIMIT :limit"
    parameters: dict[str, Any] = {"topic_id": topic_id, "limit": limit}
    if before is not None:
        parameters["before"] = before
    return [_with_tokens(db, row) for row in list(db.query(sql, parameters))]


def recover_generations(db: Database) -> list[Generation]:
    """Put back whatever a stopped process left unfinished, and return it, oldest first.

    Calls to Claude that it left open are closed as interrupted; text of attempts that are run again is dropped.
    """
    usage.interrupt_calls(db)
    sql = f"""
        UPDATE generations SET status = 'queued', started_at = NULL, characters = 0, sections_done = 0,
            progress_percent = 0
        WHERE status IN ('queued', 'generating') RETURNING {COLUMNS}
    """
    rows = list(db.query(sql))
    found = [_with_tokens(db, row) for row in sorted(rows, key=lambda row: int(row["id"]))]
    for generation in found:
        _drop_checkpoints(db, generation.id)
        _set_topic_status(db, generation)
    return found


def claim_generation(db: Database, generation: Generation) -> Generation:
    """Begin the next attempt of a queued generation."""
    sql = f"""
        UPDATE generations SET status = 'generating', attempt = attempt + 1, started_at = :now
        WHERE id = :id AND attempt = :attempt AND status = 'queued' RETURNING {COLUMNS}
    """
    return _changed(db, sql, generation, {"now": now()})


def put_back_generation(db: Database, generation: Generation) -> Generation:
    """Put a running generation back into the queue, for the next start."""
    _drop_checkpoints(db, generation.id)
    sql = f"""
        UPDATE generations SET status = 'queued', started_at = NULL, characters = 0, sections_done = 0,
            progress_percent = 0
        WHERE id = :id AND attempt = :attempt AND status IN ('queued', 'generating') RETURNING {COLUMNS}
    """
    return _changed(db, sql, generation, {})


def fail_generation(db: Database, generation: Generation, failure: Failure) -> Generation:
    """End a generation as failed, with what progress `generation` holds; the text it kept is dropped."""
    _drop_checkpoints(db, generation.id)
    sql = f"""
        UPDATE generations SET status = 'failed', error_code = :code, error_message = :message,
            retryable = :retryable, completed_at = :now, characters = :characters, sections_done = :sections_done,
            progress_percent = :progress_percent
        WHERE id = :id AND attempt = :attempt AND status IN ('queued', 'generating') RETURNING {COLUMNS}
    """
    told = {"code": failure.code, "message": str(failure), "retryable": int(failure.retryable)}
    return _changed(db, sql, generation, {**told, **_progress(generation)})


def cancel_generation(db: Database, generation: Generation) -> Generation:
    """End a generation as cancelled, with what progress `generation` holds; the text it kept is dropped."""
    _drop_checkpoints(db, generation.id)
    sql = f"""
        UPDATE generations SET status = 'cancelled', completed_at = :now, characters = :characters,
            sections_done = :sections_done, progress_percent = :progress_percent
        WHERE id = :id AND attempt = :attempt AND status IN ('queued', 'generating') RETURNING {COLUMNS}
    """
    return _changed(db, sql, generation, _progress(generation))


def cancel_put_back(db: Database, topic_id: TopicId) -> bool:
    """Cancel a topic's generation that waits for the next start; False when there is none."""
    waiting = latest_generation(db, topic_id)
    if waiting is None or not waiting.status.unfinished:
        return False
    cancel_generation(db, waiting)
    return True


def complete_generation(db: Database, generation: Generation, artifact_id: ArtifactId) -> Generation:
    """End a generation as completed, with its artifact."""
    sql = f"""
        UPDATE generations SET status = 'completed', completed_at = :now, artifact_id = :artifact_id,
            characters = :characters, sections_done = sections_total, progress_percent = 100
        WHERE id = :id AND attempt = :attempt AND status = 'generating' RETURNING {COLUMNS}
    """
    ended = {"artifact_id": artifact_id, "characters": generation.characters, "now": now()}
    _drop_checkpoints(db, generation.id)
    return _changed(db, sql, generation, ended)


def add_checkpoint(db: Database, generation: Generation, start: int, text: str) -> None:
    """Keep a piece of the text that begins at the code point `start`."""
    sql = """
        INSERT INTO checkpoints (generation_id, section, start, text)
        SELECT id, 0, :start, :text FROM generations
        WHERE id = :id AND attempt = :attempt AND status = 'generating' RETURNING start
    """
    parameters = {"id": generation.id, "attempt": generation.attempt, "start": start, "text": text}
    if not list(db.query(sql, parameters)):
        raise Superseded


def checkpointed_text(db: Database, generation_id: GenerationId) -> str:
    """Return the text that was kept of a generation so far."""
    sql = "SELECT text FROM checkpoints WHERE generation_id = :id AND section = 0 ORDER BY start"
    return "".join(row["text"] for row in db.query(sql, {"id": generation_id}))


def _insert(db: Database, topic: dict[str, Any], order: Order, model: str, status: StatusName) -> Generation:
    created = now()
    begun = status is StatusName.GENERATING
    typical = _typical_section(db, topic["language"])
    parameters = {
        "topic_id": topic["id"],
        "user_id": topic["user_id"],
        "kind": Kind.REPORT,
        "status": status,
        "topic": topic["topic"],
        "plan": topic["plan"],
        "language": topic["language"],
        "instructions": order.instructions,
        "model": model,
        "attempt": int(begun),
        "sections_total": len(sections(topic["plan"])),
        "expected_characters": expected_characters(topic["plan"], topic["language"], typical),
        "created_at": created,
        "started_at": created if begun else None,
    }
    columns = ", ".join(parameters)
    values = ", ".join(f":{name}" for name in parameters)
    try:
        sql = f"INSERT INTO generations ({columns}) VALUES ({values}) RETURNING {COLUMNS}"
        rows = list(db.query(sql, parameters))
    except sqlite3.IntegrityError as error:
        running = latest_generation(db, topic["id"])
        if running is None or not running.status.unfinished:
            raise
        raise GenerationInProgress.of(running.topic_id, running.id) from error
    return _generation(rows[0], Tokens())


def _typical_section(db: Database, language: str) -> int | None:
    sql = """
        SELECT characters, sections_total FROM generations
        WHERE language = :language AND status = 'completed' ORDER BY id DESC LIMIT :size
    """
    rows = db.query(sql, {"language": language, "size": HISTORY_SIZE})
    lengths = sorted(row["characters"] // row["sections_total"] for row in rows if row["sections_total"])
    return lengths[len(lengths) // 2] if lengths else None


def _changed(db: Database, sql: str, generation: Generation, more: dict[str, Any]) -> Generation:
    """Run an UPDATE that names the attempt, and let the topic say the same."""
    rows = list(db.query(sql, {"id": generation.id, "attempt": generation.attempt, **more}))
    if not rows:
        raise Superseded
    changed = _with_tokens(db, rows[0])
    _set_topic_status(db, changed)
    return changed


def _set_topic_status(db: Database, generation: Generation) -> None:
    db.execute(
        "UPDATE topics SET status = :status, generation_id = :generation_id, updated_at = :now WHERE id = :id",
        {"id": generation.topic_id, "status": generation.status, "generation_id": generation.id, "now": now()},
    )


def _remember(db: Database, key: Key, generation: Generation) -> None:
    db.execute("DELETE FROM idempotency_keys WHERE created_at <= :oldest", {"oldest": later(-KEY_LIFETIME)})
    db.execute(
        """
        INSERT INTO idempotency_keys (user_id, key, fingerprint, topic_id, generation_id, status, created_at)
        VALUES (:user_id, :key, :fingerprint, :topic_id, :generation_id, :status, :now)
        """,
        {
            "user_id": key.user_id, "key": key.key, "fingerprint": key.fingerprint, "topic_id": generation.topic_id,
            "generation_id": generation.id, "status": generation.status, "now": now(),
        },
    )  # fmt: skip


def _drop_checkpoints(db: Database, generation_id: GenerationId) -> None:
    db.execute("DELETE FROM checkpoints WHERE generation_id = :id", {"id": generation_id})


def _progress(generation: Generation) -> dict[str, Any]:
    return {
        "now": now(),
        "characters": generation.characters,
        "sections_done": generation.sections_done,
        "progress_percent": generation.progress_percent,
    }


def _with_tokens(db: Database, row: dict[str, Any]) -> Generation:
    return _generation(row, usage.tokens_of_generation(db, row["id"]))


def _generation(row: dict[str, Any], tokens: Tokens) -> Generation:
    told = {
        "kind": Kind(row["kind"]),
        "status": StatusName(row["status"]),
        "retryable": None if row["retryable"] is None else bool(row["retryable"]),
    }
    return Generation(**{**row, **told}, tokens=tokens)

"""Generations: claiming one, putting it back, ending it. Races are decided here, by the database.

Every change of a running generation names its attempt; where the row's attempt is another one, somebody else owns the
generation, and the change raises Superseded and changes nothing.
"""

from collections.abc import Sequence
from typing import Any

from sqlite_utils import Database

from app.errors import Failure, Refused, Superseded
from app.models import (
    ArtifactId,
    Generation,
    GenerationId,
    Kind,
    Mode,
    StatusName,
    Tokens,
    Topic,
    TopicId,
    UserId,
    now,
)
from app.queries import texts, topics, usage
from app.queries.texts import Piece

FIELDS = (
    "id", "topic_id", "user_id", "kind", "status", "topic", "plan", "language", "instructions", "model", "mode",
    "attempt", "retries", "resumes", "finish", "partial", "characters", "expected_characters", "sections_done",
    "sections_total", "progress_percent", "artifact_id",
    "error_code", "error_message", "retryable", "created_at", "started_at", "completed_at",
)  # fmt: skip
TITLE = "(SELECT named.topic FROM topics AS named WHERE named.id = topic_id) AS title"
COLUMNS = ", ".join((*FIELDS, TITLE))


def latest_generation(db: Database, topic_id: TopicId) -> Generation | None:
    """Return a topic's latest generation."""
    sql = f"SELECT {COLUMNS} FROM generations WHERE topic_id = :topic_id ORDER BY id DESC LIMIT 1"
    rows = list(db.query(sql, {"topic_id": topic_id}))
    return _with_tokens(db, rows[0]) if rows else None


def topic_and_latest(db: Database, topic_id: TopicId) -> tuple[Topic, Generation | None] | None:
    """Return a topic with its latest generation."""
    topic = topics.topic(db, topic_id)
    return None if topic is None else (topic, latest_generation(db, topic_id))


def list_with_latest(
    db: Database, owner: UserId | None, status: StatusName | None, before: int | None, limit: int
) -> list[tuple[Topic, Generation | None]]:
    """Return what `topics.list_topics` does, each with its latest generation."""
    found = topics.list_topics(db, owner, status, before, limit)
    return [(topic, latest_generation(db, topic.id)) for topic in found]


def generation_of_topic(db: Database, topic_id: TopicId, generation_id: GenerationId) -> Generation | None:
    """Return one generation of a topic."""
    sql = f"SELECT {COLUMNS} FROM generations WHERE id = :id AND topic_id = :topic_id"
    rows = list(db.query(sql, {"id": generation_id, "topic_id": topic_id}))
    return _with_tokens(db, rows[0]) if rows else None


def change_topic(
    db: Database, topic_id: TopicId, topic: str | None, plan: str | None, language: str | None
) -> tuple[Topic, Generation | None] | None:
    """Change what is not None; returns the topic with its latest generation, or None when there is none."""
    changed = topics.change_topic(db, topic_id, topic, plan, language)
    return None if changed is None else (changed, latest_generation(db, topic_id))


def change_seen_topic(
    db: Database, topic_id: TopicId, seen: str, topic: str, plan: str, language: str
) -> tuple[Topic, Generation | None] | None:
    """Change the words of a topic if they are still those that `topics.seen` named; returns the topic as it is then.

    None when there is none.
    """
    known = topics.topic(db, topic_id)
    if known and topics.seen(known) != seen:
        return known, latest_generation(db, topic_id)
    return change_topic(db, topic_id, topic, plan, language)


def list_generations(db: Database, topic_id: TopicId, before: int | None, limit: int) -> list[Generation]:
    """Return up to `limit` generations of a topic, newest first, before an id."""
    below = "" if before is None else "AND id < :before"
    sql = f"SELECT {COLUMNS} FROM generations WHERE topic_id = :topic_id {below} ORDER BY id DESC LIMIT :limit"
    parameters: dict[str, Any] = {"topic_id": topic_id, "limit": limit}
    if before is not None:
        parameters["before"] = before
    return [_with_tokens(db, row) for row in list(db.query(sql, parameters))]


def ended_between(db: Database, owner: UserId | None, since: str, until: str, limit: int = 1000) -> list[Generation]:
    """Return the generations that ended from one time to another, of one owner or (None) of all, oldest first.

    Only those that are their topic's latest, and where there are too many, the newest.
    """
    whose = "" if owner is None else "AND user_id = :owner"
    sql = f"""
        SELECT {COLUMNS} FROM generations
        WHERE completed_at >= :since AND completed_at <= :until {whose}
            AND id = (SELECT MAX(id) FROM generations AS others WHERE others.topic_id = generations.topic_id)
        ORDER BY completed_at DESC LIMIT :limit
    """
    parameters: dict[str, Any] = {"since": since, "until": until, "limit": limit}
    rows = list(db.query(sql, parameters | ({} if owner is None else {"owner": owner})))
    return [_with_tokens(db, row) for row in reversed(rows)]


def topics_ended_between(db: Database, owner: UserId | None, since: str, until: str) -> list[tuple[Topic, Generation]]:
    """Return what `ended_between` does, each with its topic."""
    ended = ended_between(db, owner, since, until)
    return [(topic, generation) for generation in ended if (topic := topics.topic(db, generation.topic_id))]


def recover_generations(db: Database) -> list[Generation]:
    """Put back whatever a stopped process left unfinished, and return it, oldest first.

    Calls to Claude that it left open are closed as interrupted.
    """
    usage.interrupt_calls(db)
    sql = f"""
        UPDATE generations SET status = 'queued', started_at = NULL,
            attempt = attempt + CASE status WHEN 'generating' THEN 1 ELSE 0 END
        WHERE status IN ('queued', 'generating') RETURNING {COLUMNS}
    """
    rows = list(db.query(sql))
    found = [_with_tokens(db, row) for row in sorted(rows, key=lambda row: int(row["id"]))]
    for generation in found:
        set_topic_status(db, generation)
    return found


def claim_generation(db: Database, generation: Generation) -> Generation:
    """Begin an attempt of a queued generation: the first, or the one that it was put back for."""
    sql = f"""
        UPDATE generations SET status = 'generating', attempt = MAX(attempt, 1), started_at = :now,
            resumes = resumes + CASE WHEN EXISTS (SELECT 1 FROM checkpoints WHERE generation_id = :id)
                THEN 1 ELSE 0 END
        WHERE id = :id AND attempt = :attempt AND status = 'queued' RETURNING {COLUMNS}
    """
    return _changed(db, sql, generation, {"now": now()})


def put_back_generation(db: Database, generation: Generation, pieces: Sequence[Piece]) -> Generation:
    """Put a running generation back into the queue, for the next start, with the last of its text."""
    texts.keep_text(db, generation, pieces)
    sql = f"""
        UPDATE generations SET status = 'queued', started_at = NULL, attempt = attempt + 1
        WHERE id = :id AND attempt = :attempt AND status IN ('queued', 'generating') RETURNING {COLUMNS}
    """
    return _changed(db, sql, generation, {})


def fail_generation(db: Database, generation: Generation, failure: Failure, pieces: Sequence[Piece]) -> Generation:
    """End a generation as failed. Its text is kept, to be resumed; what Claude declined to write is dropped."""
    _keep_last(db, generation, pieces)
    if isinstance(failure, Refused):
        texts.drop_text(db, generation.id)
    sql = f"""
        UPDATE generations SET status = 'failed', error_code = :code, error_message = :message,
            retryable = :retryable, completed_at = :now
        WHERE id = :id AND attempt = :attempt AND status IN ('queued', 'generating') RETURNING {COLUMNS}
    """
    told = {"code": failure.code, "message": str(failure), "retryable": int(failure.retryable)}
    return _changed(db, sql, generation, told | {"now": generation.completed_at or now()})


def cancel_generation(
    db: Database, generation: Generation, pieces: Sequence[Piece], artifact_id: ArtifactId | None = None
) -> Generation:
    """End a generation as cancelled, with the artifact of what was written so far, if that is kept."""
    _keep_last(db, generation, pieces)
    sql = f"""
        UPDATE generations SET status = 'cancelled', completed_at = :now, artifact_id = :artifact_id
        WHERE id = :id AND attempt = :attempt AND status IN ('queued', 'generating') RETURNING {COLUMNS}
    """
    return _changed(db, sql, generation, {"now": generation.completed_at or now(), "artifact_id": artifact_id})


def complete_generation(db: Database, generation: Generation, artifact_id: ArtifactId) -> Generation:
    """End a generation as completed, with its artifact; its text is in the conversation now."""
    sql = f"""
        UPDATE generations SET status = 'completed', completed_at = :now, artifact_id = :artifact_id,
            characters = :characters, sections_done = :sections_done, progress_percent = 100
        WHERE id = :id AND attempt = :attempt AND status = 'generating' RETURNING {COLUMNS}
    """
    ended = {
        "artifact_id": artifact_id,
        "characters": generation.characters,
        "sections_done": generation.sections_done,
        "now": now(),
    }
    texts.drop_text(db, generation.id)
    return _changed(db, sql, generation, ended)


def finish_topic(db: Database, topic_id: TopicId) -> bool:
    """Ask for an early end of a topic's unfinished generation; False when there is none."""
    sql = """
        UPDATE generations SET finish = 1
        WHERE topic_id = :topic_id AND status IN ('queued', 'generating') RETURNING id
    """
    return bool(list(db.query(sql, {"topic_id": topic_id})))


def _keep_last(db: Database, generation: Generation, pieces: Sequence[Piece]) -> None:
    """Keep the last of a running generation's text; one that still waits for its turn has none."""
    if generation.status is StatusName.GENERATING:
        texts.keep_text(db, generation, pieces)


def _changed(db: Database, sql: str, generation: Generation, more: dict[str, Any]) -> Generation:
    """Run an UPDATE that names the attempt, and let the topic say the same."""
    rows = list(db.query(sql, {"id": generation.id, "attempt": generation.attempt, **more}))
    if not rows:
        raise Superseded
    changed = _with_tokens(db, rows[0])
    set_topic_status(db, changed)
    return changed


def set_topic_status(db: Database, generation: Generation) -> None:
    db.execute(
        "UPDATE topics SET status = :status, generation_id = :generation_id, updated_at = :now WHERE id = :id",
        {"id": generation.topic_id, "status": generation.status, "generation_id": generation.id, "now": now()},
    )


def _with_tokens(db: Database, row: dict[str, Any]) -> Generation:
    return generation_of(row, usage.tokens_of_generation(db, row["id"]))


def generation_of(row: dict[str, Any], tokens: Tokens) -> Generation:
    told = {
        "kind": Kind(row["kind"]),
        "status": StatusName(row["status"]),
        "mode": Mode(row["mode"]),
        "finish": bool(row["finish"]),
        "partial": bool(row["partial"]),
        "retryable": None if row["retryable"] is None else bool(row["retryable"]),
    }
    return Generation(**{**row, **told}, tokens=tokens)

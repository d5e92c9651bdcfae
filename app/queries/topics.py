"""Topics."""

import hashlib
from typing import Any

from sqlite_utils import Database

from app.models import StatusName, Topic, TopicId, UserId, now

COLUMNS = "id, user_id, topic, plan, language, status, created_at, updated_at"


def add_topic(db: Database, user_id: UserId, topic: str, plan: str, language: str) -> Topic:
    sql = f"""
        INSERT INTO topics (user_id, topic, plan, language, created_at, updated_at)
        VALUES (:user_id, :topic, :plan, :language, :now, :now) RETURNING {COLUMNS}
    """
    parameters = {"user_id": user_id, "topic": topic, "plan": plan, "language": language, "now": now()}
    return _topic(next(iter(db.query(sql, parameters))))


def topic(db: Database, topic_id: TopicId) -> Topic | None:
    rows = db.query(f"SELECT {COLUMNS} FROM topics WHERE id = :id", {"id": topic_id})
    return next((_topic(row) for row in rows), None)


def list_topics(
    db: Database, owner: UserId | None, status: StatusName | None, before: int | None, limit: int
) -> list[Topic]:
    """Return up to `limit` topics, newest first: of one owner or (None) of all, before an id, of one status."""
    conditions = [
        "1 = 1" if before is None else "id < :before",
        "1 = 1" if owner is None else "user_id = :owner",
        "1 = 1" if status is None else "status = :status",
    ]
    sql = f"SELECT {COLUMNS} FROM topics WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT :limit"
    given = {"owner": owner, "status": status, "before": before}
    parameters: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return [_topic(row) for row in db.query(sql, {**parameters, "limit": limit})]


def count_topics(db: Database, owner: UserId | None) -> dict[StatusName, int]:
    """Return how many topics there are in each status: of one owner or (None) of all. Each is one range of an index."""
    whose = "" if owner is None else "user_id = :owner AND"
    sql = f"SELECT COUNT(*) AS count FROM topics WHERE {whose} status = :status"
    parameters: dict[str, Any] = {} if owner is None else {"owner": owner}
    return {status: next(iter(db.query(sql, parameters | {"status": status})))["count"] for status in StatusName}


def change_topic(
    db: Database, topic_id: TopicId, topic: str | None, plan: str | None, language: str | None
) -> Topic | None:
    """Change what is not None; returns the topic, or None when there is none."""
    sql = f"""
        UPDATE topics SET topic = COALESCE(:topic, topic), plan = COALESCE(:plan, plan),
            language = COALESCE(:language, language), updated_at = :now
        WHERE id = :id RETURNING {COLUMNS}
    """
    parameters = {"id": topic_id, "topic": topic, "plan": plan, "language": language, "now": now()}
    return next((_topic(row) for row in db.query(sql, parameters)), None)


def seen(topic: Topic) -> str:
    """Return what names the words of a topic, so that whoever changes them can say which ones they saw."""
    return hashlib.sha256(f"{topic.language}\0{topic.topic}\0{topic.plan}".encode()).hexdigest()[:32]


def delete_topic(db: Database, topic_id: TopicId) -> UserId | None:
    """Delete a topic with its generations, messages and artifacts; what was spent on it stays in the ledger.

    Returns whose it was; None when it was gone already.
    """
    rows = list(db.query("DELETE FROM topics WHERE id = :id RETURNING user_id", {"id": topic_id}))
    return UserId(rows[0]["user_id"]) if rows else None


def existing_topics(db: Database, ids: list[TopicId]) -> set[TopicId]:
    """Return which of these topics there are."""
    sql = "SELECT id FROM topics WHERE id = :id"
    return {topic_id for topic_id in ids if list(db.query(sql, {"id": topic_id}))}


def check_writable(db: Database) -> None:
    """Write one small row, so that a locked, read-only or full database is found out."""
    sql = """
        INSERT INTO health (id, checked_at) VALUES (1, :now) ON CONFLICT (id) DO UPDATE SET checked_at = :now
    """
    db.execute(sql, {"now": now()})


def _topic(row: dict[str, Any]) -> Topic:
    return Topic(**{**row, "status": StatusName(row["status"])})

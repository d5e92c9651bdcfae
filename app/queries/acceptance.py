"""Accepting a generation: its row, its words, its idempotency key. Races are decided here, by the database."""

import sqlite3
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from app.errors import GenerationInProgress, IdempotencyKeyReused, Invalid, NotFound, NothingToResume
from app.models import (
    Generation,
    GenerationId,
    Kind,
    Mode,
    Order,
    StatusName,
    Tokens,
    Topic,
    TopicId,
    UserId,
    later,
    now,
)
from app.queries import texts, topics
from app.queries.generations import COLUMNS, generation_of, latest_generation, set_topic_status
from app.report import expected_characters, sections

KEY_LIFETIME = 24 * 3600
"""Seconds for which an idempotency key is remembered."""

WORDS = (
    "topic", "plan", "language", "instructions", "mode", "user_id", "model", "finish", "expected_characters"
)  # fmt: skip
PROGRESS = ("partial", "characters", "sections_done", "progress_percent")
"""What a generation that is resumed takes over: the words, and how far the text is."""

HISTORY_SIZE = 20
"""How many past reports of a language tell how long a section gets."""


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

    A resumed one takes over the words, the model and the text of the topic's latest, which failed or was cancelled.
    `model` is for who names none.
    `status` is `generating` when a slot is held for it already (its first attempt has begun), otherwise `queued`.
    Raises NotFound, Invalid, GenerationInProgress, NothingToResume or IdempotencyKeyReused; then nothing is changed.
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
    earlier = latest_generation(db, topic_id)
    words = _resumed(db, earlier, order) if order.resume else _ordered(db, topic, order, model)
    try:
        generation = _insert(db, words, status)
    except sqlite3.IntegrityError as error:  # the index that allows one unfinished generation a topic
        if earlier is None or not earlier.status.unfinished:
            raise
        raise GenerationInProgress.of(topic_id, earlier.id) from error
    if earlier and order.resume:
        texts.move_text(db, earlier.id, generation.id)
    elif earlier:
        texts.drop_text(db, earlier.id)
    set_topic_status(db, generation)
    accepted = Accepted(topic_id, generation.id, status, generation)
    if key:
        _remember(db, key, accepted)
    return accepted


def add_topic_once(db: Database, key: Key, user_id: UserId, topic: str, plan: str, language: str) -> Topic:
    """Add a topic, or return the one that this key has added. Raises IdempotencyKeyReused, or NotFound: it is gone."""
    if replayed := remembered(db, key):
        if (known := topics.topic(db, replayed.topic_id)) is None:
            raise NotFound
        return known
    added = topics.add_topic(db, user_id, topic, plan, language)
    _remember(db, key, Accepted(added.id, GenerationId(0), added.status, None))
    return added


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


def _ordered(db: Database, topic: dict[str, Any], order: Order, model: str) -> dict[str, Any]:
    """Return the words of a new generation. Raises Invalid when it is to be written by sections and has none."""
    if order.mode is Mode.SECTIONS and not sections(topic["plan"]):
        raise Invalid(("/mode", "The plan has no sections. Give it headings such as '## Introduction'."))
    more = {"instructions": order.instructions, "mode": order.mode, "model": order.model or model}
    expected = expected_characters(topic["plan"], topic["language"], _typical_section(db, topic["language"]))
    return topic | more | dict.fromkeys(PROGRESS, 0) | {"finish": 0, "expected_characters": expected}


def _resumed(db: Database, earlier: Generation | None, order: Order) -> dict[str, Any]:
    """Return the words of a generation that goes on from an earlier one, and how far its text is.

    Raises NothingToResume.
    """
    if earlier is None or earlier.status is StatusName.COMPLETED:
        raise NothingToResume
    words = {name: getattr(earlier, name) for name in (*WORDS, *PROGRESS)} | {"id": earlier.topic_id}
    if not texts.has_text(db, earlier.id):  # none was written, or Claude declined to go on with it
        words |= dict.fromkeys(PROGRESS, 0)
    return words if order.model is None else words | {"model": order.model}


def _insert(db: Database, topic: dict[str, Any], status: StatusName) -> Generation:
    created = now()
    begun = status is StatusName.GENERATING
    parameters = {
        "topic_id": topic["id"],
        "user_id": topic["user_id"],
        "kind": Kind.REPORT,
        "status": status,
        "topic": topic["topic"],
        "plan": topic["plan"],
        "language": topic["language"],
        "instructions": topic["instructions"],
        "model": topic["model"],
        "mode": topic["mode"],
        "attempt": int(begun),
        "sections_total": len(sections(topic["plan"])),
        "finish": int(topic["finish"]),
        "expected_characters": topic["expected_characters"],
        "created_at": created,
        "started_at": created if begun else None,
    } | {name: int(topic[name]) for name in PROGRESS}
    columns = ", ".join(parameters)
    values = ", ".join(f":{name}" for name in parameters)
    sql = f"INSERT INTO generations ({columns}) VALUES ({values}) RETURNING {COLUMNS}"
    return generation_of(next(iter(db.query(sql, parameters))), Tokens())


def _typical_section(db: Database, language: str) -> int | None:
    sql = """
        SELECT characters, sections_total FROM generations
        WHERE language = :language AND status = 'completed' ORDER BY id DESC LIMIT :size
    """
    rows = db.query(sql, {"language": language, "size": HISTORY_SIZE})
    lengths = sorted(row["characters"] // row["sections_total"] for row in rows if row["sections_total"])
    return lengths[len(lengths) // 2] if lengths else None


def _remember(db: Database, key: Key, accepted: Accepted) -> None:
    db.execute("DELETE FROM idempotency_keys WHERE created_at <= :oldest", {"oldest": later(-KEY_LIFETIME)})
    db.execute(
        """
        INSERT INTO idempotency_keys (user_id, key, fingerprint, topic_id, generation_id, status, created_at)
        VALUES (:user_id, :key, :fingerprint, :topic_id, :generation_id, :status, :now)
        """,
        {
            "user_id": key.user_id, "key": key.key, "fingerprint": key.fingerprint, "topic_id": accepted.topic_id,
            "generation_id": accepted.generation_id, "status": accepted.status, "now": now(),
        },
    )  # fmt: skip

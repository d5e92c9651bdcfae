"""What is being written by all, for who looks after the service."""

from dataclasses import dataclass

from sqlite_utils import Database

from app.models import GenerationId, TopicId


@dataclass(frozen=True, slots=True)
class Writing:
    """An unfinished generation, with what its topic is called and whose it is."""

    generation_id: GenerationId
    topic_id: TopicId
    topic: str
    user_name: str
    since: str


def being_written(db: Database, before: int | None, limit: int) -> list[Writing]:
    """Return up to `limit` unfinished generations, newest first, before an id."""
    sql = """
        SELECT generations.id AS generation_id, generations.topic_id, topics.topic, users.name AS user_name,
            COALESCE(generations.started_at, generations.created_at) AS since
        FROM generations CROSS JOIN topics ON topics.id = generations.topic_id
            CROSS JOIN users ON users.id = generations.user_id
        WHERE generations.status IN ('queued', 'generating') AND generations.id < :before
        ORDER BY generations.id DESC LIMIT :limit
    """
    return [Writing(**row) for row in db.query(sql, {"before": before or 2**63 - 1, "limit": limit})]

"""What must be so in a database, and what a crash may have left: for `longhand check` and `longhand backup`."""

from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from app.models import ArtifactId, CallId, Generation, GenerationId, TopicId
from app.queries.generations import generation_of_topic

UNFINISHED = "('queued', 'generating')"


@dataclass(frozen=True, slots=True)
class KeptFile:
    """The file of an artifact, as its row says it is."""

    artifact_id: ArtifactId
    topic_id: TopicId
    generation_id: GenerationId
    path: str
    size: int
    sha256: str

    @property
    def well_placed(self) -> bool:
        """Whether the path is the one that follows from topic and generation, and so leads nowhere else."""
        return self.path == f"{self.topic_id}/{self.generation_id}.md"


def kept_files(db: Database) -> list[KeptFile]:
    """Return the files of all artifacts, by topic."""
    sql = "SELECT id, topic_id, generation_id, path, size, sha256 FROM artifacts ORDER BY topic_id, id"
    return [KeptFile(ArtifactId(row.pop("id")), **row) for row in db.query(sql)]


def counts(db: Database) -> dict[str, int]:
    """Return how many users, topics and reports there are."""
    sql = """
        SELECT (SELECT COUNT(*) FROM users) AS users, (SELECT COUNT(*) FROM topics) AS topics,
            (SELECT COUNT(*) FROM artifacts) AS reports
    """
    row: dict[str, Any] = next(iter(db.query(sql)))
    return row


def drop_sessions(db: Database) -> None:
    """Delete all browser sessions: in a backup, so that none that was ended comes back with it."""
    if db["sessions"].exists():  # not in a database of an older version
        db.execute("DELETE FROM sessions")


def unfinished(db: Database) -> dict[GenerationId, TopicId]:
    """Return the unfinished generations with their topics."""
    rows = db.query(f"SELECT id, topic_id FROM generations WHERE status IN {UNFINISHED} ORDER BY id")
    return {GenerationId(row["id"]): TopicId(row["topic_id"]) for row in rows}


def needless_texts(db: Database) -> list[GenerationId]:
    """Return the generations whose text is kept although it can never be gone on from: they are completed."""
    sql = """
        SELECT id FROM generations WHERE status = 'completed' AND (
            EXISTS (SELECT 1 FROM checkpoints WHERE generation_id = generations.id)
            OR EXISTS (SELECT 1 FROM strands WHERE generation_id = generations.id)
        ) ORDER BY id
    """
    return [GenerationId(row["id"]) for row in db.query(sql)]


def forgotten_calls(db: Database) -> list[tuple[CallId, GenerationId]]:
    """Return the calls to Claude that are open in the ledger although their generation has ended."""
    sql = f"""
        SELECT id, generation_id FROM ai_usage WHERE state = 'open' AND generation_id NOT IN (
            SELECT id FROM generations WHERE status IN {UNFINISHED}
        ) ORDER BY id
    """
    return [(CallId(row["id"]), GenerationId(row["generation_id"])) for row in db.query(sql)]


def topic_exists(db: Database, topic_id: TopicId) -> bool:
    return bool(list(db.query("SELECT 1 FROM topics WHERE id = :id", {"id": topic_id})))


def generation_of_file(db: Database, file: KeptFile) -> Generation | None:
    """Return the generation that a file is the report of."""
    return generation_of_topic(db, file.topic_id, file.generation_id)

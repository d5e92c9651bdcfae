"""Artifacts and messages: what a completed generation leaves behind."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from app.models import Artifact, ArtifactId, Generation, GenerationId, Message, SavedFile, TopicId, UserId, now
from app.queries import generations
from app.queries.texts import Piece

COLUMNS = "id, topic_id, generation_id, version, kind, filename, path, size, sha256, model, partial, created_at"


@dataclass(frozen=True, slots=True)
class Version:
    """A report file that becomes an artifact; `filename` is what a download is called, `partial`: it ended early."""

    file: SavedFile
    filename: str
    partial: bool


def save_report(db: Database, generation: Generation, question: str, text: str, version: Version) -> Generation:
    """Add artifact and messages and end the generation as completed.

    `question` is what the user asked, `text` the report. Raises Superseded when somebody else owns the generation.
    """
    artifact_id = _add_artifact(db, generation, version)
    for role, content in (("user", question), ("assistant", text)):
        _add_message(db, generation, role, content)
    return generations.complete_generation(db, generation, artifact_id)


def save_partial(db: Database, generation: Generation, pieces: Sequence[Piece], version: Version) -> Generation:
    """End a generation as cancelled and keep what was written as an artifact. Raises Superseded."""
    return generations.cancel_generation(db, generation, pieces, _add_artifact(db, generation, version))


def report_text(db: Database, generation_id: GenerationId) -> str | None:
    """Return the report of a completed generation."""
    sql = "SELECT content FROM messages WHERE generation_id = :id AND role = 'assistant'"
    row = next(iter(db.query(sql, {"id": generation_id})), None)
    return None if row is None else str(row["content"])


def list_artifacts(db: Database, topic_id: TopicId, before: int | None, limit: int) -> list[Artifact]:
    """Return up to `limit` artifacts of a topic, newest version first, before an id."""
    below = "" if before is None else "AND id < :before"
    sql = f"SELECT {COLUMNS} FROM artifacts WHERE topic_id = :topic_id {below} ORDER BY version DESC LIMIT :limit"
    parameters: dict[str, Any] = {"topic_id": topic_id, "limit": limit}
    if before is not None:
        parameters["before"] = before
    return [_artifact(row) for row in db.query(sql, parameters)]


def version_of_topic(db: Database, topic_id: TopicId, version: int) -> Artifact | None:
    """Return one version of a topic's report."""
    sql = f"SELECT {COLUMNS} FROM artifacts WHERE topic_id = :topic_id AND version = :version"
    return next((_artifact(row) for row in db.query(sql, {"topic_id": topic_id, "version": version})), None)


def artifact(db: Database, artifact_id: ArtifactId) -> tuple[Artifact, UserId] | None:
    """Return an artifact and the owner of its topic."""
    rows = list(db.query(f"SELECT {COLUMNS} FROM artifacts WHERE id = :id", {"id": artifact_id}))
    if not rows:
        return None
    found = _artifact(rows[0])
    owner = next(iter(db.query("SELECT user_id FROM topics WHERE id = :id", {"id": found.topic_id})))
    return found, UserId(owner["user_id"])


def list_messages(db: Database, topic_id: TopicId, after: int | None, limit: int) -> list[Message]:
    """Return up to `limit` messages of a topic, oldest first, after a sequence number."""
    sql = """
        SELECT id, seq_no, role, content, created_at FROM messages
        WHERE topic_id = :topic_id AND seq_no > :after ORDER BY seq_no LIMIT :limit
    """
    return [Message(**row) for row in db.query(sql, {"topic_id": topic_id, "after": after or 0, "limit": limit})]


def _add_artifact(db: Database, generation: Generation, version: Version) -> ArtifactId:
    sql = """
        INSERT INTO artifacts
            (topic_id, generation_id, version, kind, filename, path, size, sha256, model, partial, created_at)
        SELECT :topic_id, :generation_id, COALESCE(MAX(version), 0) + 1, 'md', :filename, :path, :size, :sha256,
            :model, :partial, :now
        FROM artifacts WHERE topic_id = :topic_id
        RETURNING id
    """
    parameters = {
        "topic_id": generation.topic_id,
        "generation_id": generation.id,
        "filename": version.filename,
        "path": version.file.path,
        "size": version.file.size,
        "sha256": version.file.sha256,
        "model": generation.model,
        "partial": int(version.partial),
        "now": now(),
    }
    return ArtifactId(next(iter(db.query(sql, parameters)))["id"])


def _add_message(db: Database, generation: Generation, role: str, content: str) -> None:
    db.execute(
        """
        INSERT INTO messages (topic_id, generation_id, seq_no, role, content, created_at)
        SELECT :topic_id, :generation_id, COALESCE(MAX(seq_no), 0) + 1, :role, :content, :now
        FROM messages WHERE topic_id = :topic_id
        """,
        {
            "topic_id": generation.topic_id,
            "generation_id": generation.id,
            "role": role,
            "content": content,
            "now": now(),
        },
    )


def _artifact(row: dict[str, Any]) -> Artifact:
    return Artifact(**{**row, "partial": bool(row["partial"])})

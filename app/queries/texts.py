"""What is kept of a report while it is written: its strands, in pieces."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlite_utils import Database

from app.errors import Superseded
from app.models import CallId, Generation, GenerationId
from app.queries import usage


@dataclass(frozen=True, slots=True)
class Piece:
    """A strand's text from the code point `start` on, and how the strand stands with it."""

    section: int
    start: int
    text: str
    done: bool
    seams: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class KeptStrand:
    """A strand as the store holds it."""

    section: int
    text: str
    done: bool
    seams: tuple[int, ...]


def keep_text(
    db: Database, generation: Generation, pieces: Sequence[Piece], outputs: Mapping[CallId, int] | None = None
) -> None:
    """Keep pieces of a running generation's text, its progress, and the output tokens of its open calls to Claude.

    Raises Superseded.
    """
    sql = """
        UPDATE generations SET characters = :characters, sections_done = :sections_done,
            progress_percent = :progress_percent, retries = :retries, resumes = :resumes,
            partial = :partial
        WHERE id = :id AND attempt = :attempt AND status = 'generating' RETURNING id
    """
    progress = {
        "id": generation.id,
        "attempt": generation.attempt,
        "characters": generation.characters,
        "sections_done": generation.sections_done,
        "progress_percent": generation.progress_percent,
        "retries": generation.retries,
        "resumes": generation.resumes,
        "partial": int(generation.partial),
    }
    if not list(db.query(sql, progress)):
        raise Superseded
    for piece in pieces:
        _keep(db, generation.id, piece)
    for call_id, output in (outputs or {}).items():
        usage.estimate_output(db, call_id, output)


def kept_strands(db: Database, generation_id: GenerationId) -> list[KeptStrand]:
    """Return what is kept of a generation, by section."""
    texts: dict[int, list[str]] = {}
    sql = "SELECT section, text FROM checkpoints WHERE generation_id = :id ORDER BY section, start"
    for row in db.query(sql, {"id": generation_id}):
        texts.setdefault(row["section"], []).append(row["text"])
    sql = "SELECT section, done, seams FROM strands WHERE generation_id = :id ORDER BY section"
    return [
        KeptStrand(
            row["section"],
            "".join(texts.get(row["section"], ())),
            bool(row["done"]),
            tuple(map(int, filter(None, row["seams"].split(",")))),
        )
        for row in db.query(sql, {"id": generation_id})
    ]


def has_text(db: Database, generation_id: GenerationId) -> bool:
    """Whether anything is kept of a generation."""
    sql = "SELECT 1 FROM checkpoints WHERE generation_id = :id LIMIT 1"
    return bool(list(db.query(sql, {"id": generation_id})))


def move_text(db: Database, source: GenerationId, target: GenerationId) -> None:
    """Give what is kept of one generation to another that goes on from it."""
    ids = {"source": source, "target": target}
    db.execute("UPDATE checkpoints SET generation_id = :target WHERE generation_id = :source", ids)
    db.execute("UPDATE strands SET generation_id = :target WHERE generation_id = :source", ids)


def drop_text(db: Database, generation_id: GenerationId) -> None:
    """Drop what is kept of a generation."""
    db.execute("DELETE FROM checkpoints WHERE generation_id = :id", {"id": generation_id})
    db.execute("DELETE FROM strands WHERE generation_id = :id", {"id": generation_id})


def _keep(db: Database, generation_id: GenerationId, piece: Piece) -> None:
    """Keep a piece; it may come twice, then whole, when the end is recorded while a checkpoint is under way."""
    names = {"id": generation_id, "section": piece.section}
    if piece.text:
        db.execute(
            """
            INSERT INTO checkpoints (generation_id, section, start, text) VALUES (:id, :section, :start, :text)
            ON CONFLICT (generation_id, section, start) DO UPDATE SET text = :text
            """,
            names | {"start": piece.start, "text": piece.text},
        )
    db.execute(
        """
        INSERT INTO strands (generation_id, section, done, seams) VALUES (:id, :section, :done, :seams)
        ON CONFLICT (generation_id, section) DO UPDATE SET done = :done, seams = :seams
        """,
        names | {"done": int(piece.done), "seams": ",".join(map(str, piece.seams))},
    )

"""What must be so: at every moment in the store, which keeps a journal of its own, and at the end everywhere."""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.machine.author import END, text_of

Row = dict[str, Any]

MAX_CONCURRENT, MAX_QUEUED, MAX_PER_USER, SECTION_CONCURRENCY = 2, 1, 2, 2

ARROWS = {
    "idle": {"queued", "generating"},
    "queued": {"generating", "cancelled", "failed"},
    "generating": {"completed", "failed", "cancelled"},
    "completed": {"deleted"},
    "failed": {"deleted"},
    "cancelled": {"deleted"},
}
ARROWS_AT_A_STOP = {"generating": {"queued"}}
"""These as well, while the server stops or starts."""

JOURNAL = f"""
    CREATE TABLE journal (id INTEGER PRIMARY KEY, what TEXT, generation_id INTEGER, before TEXT, after TEXT);

    CREATE TRIGGER accepted AFTER INSERT ON generations BEGIN
        INSERT INTO journal (what, generation_id, before, after) VALUES ('status', NEW.id, 'idle', NEW.status);
    END;
    CREATE TRIGGER moved AFTER UPDATE ON generations WHEN NEW.status <> OLD.status BEGIN
        INSERT INTO journal (what, generation_id, before, after) VALUES ('status', NEW.id, OLD.status, NEW.status);
    END;
    CREATE TRIGGER deleted AFTER DELETE ON generations BEGIN
        INSERT INTO journal (what, generation_id, before, after) VALUES ('status', OLD.id, OLD.status, 'deleted');
    END;
    CREATE TRIGGER went_back AFTER UPDATE ON generations
    WHEN NEW.attempt < OLD.attempt OR NEW.retries < OLD.retries OR NEW.resumes < OLD.resumes OR NEW.finish < OLD.finish
        OR NEW.progress_percent < OLD.progress_percent OR NEW.characters < OLD.characters BEGIN
        INSERT INTO journal (what, generation_id) VALUES ('a generation went back', NEW.id);
    END;

    CREATE TRIGGER too_many AFTER INSERT ON ai_usage
    WHEN (SELECT COUNT(DISTINCT generation_id) FROM ai_usage WHERE state = 'open') > {MAX_CONCURRENT} BEGIN
        INSERT INTO journal (what, generation_id) VALUES ('more generations run than may', NEW.generation_id);
    END;
    CREATE TRIGGER too_wide AFTER INSERT ON ai_usage
    WHEN (SELECT COUNT(*) FROM ai_usage WHERE state = 'open' AND generation_id = NEW.generation_id)
        > {SECTION_CONCURRENCY} BEGIN
        INSERT INTO journal (what, generation_id) VALUES ('more sections at once than may', NEW.generation_id);
    END;
    CREATE TRIGGER reopened AFTER UPDATE ON ai_usage WHEN OLD.state <> 'open' BEGIN
        INSERT INTO journal (what, generation_id) VALUES ('a call went on after its end', NEW.generation_id);
    END;
"""
"""Triggers that write down every change of a status, and what must never happen."""

NEVER = {
    "what must never happen": "SELECT * FROM journal WHERE what NOT IN ('status', 'stop', 'start')",
    "two unfinished generations of a topic": """
        SELECT topic_id FROM generations WHERE status IN ('queued', 'generating') GROUP BY topic_id HAVING COUNT(*) > 1
    """,
    "more unfinished generations of a user than may be": f"""
        SELECT user_id FROM generations WHERE status IN ('queued', 'generating')
        GROUP BY user_id HAVING COUNT(*) > {MAX_PER_USER}
    """,
    "a topic that says something else than its latest generation": """
        SELECT topics.id, topics.status, generations.status FROM topics
        LEFT JOIN generations ON generations.id = (SELECT MAX(id) FROM generations WHERE topic_id = topics.id)
        WHERE topics.status <> COALESCE(generations.status, 'idle')
            OR COALESCE(topics.generation_id, 0) <> COALESCE(generations.id, 0)
    """,
    "an open call of a generation that does not run": """
        SELECT ai_usage.id FROM ai_usage LEFT JOIN generations ON generations.id = generation_id
        WHERE state = 'open' AND COALESCE(status, '') <> 'generating'
    """,
    "a completed generation without exactly one artifact and two messages": """
        SELECT id FROM generations WHERE status = 'completed' AND (
            (SELECT GROUP_CONCAT(id) FROM artifacts WHERE generation_id = generations.id) IS NOT artifact_id
            OR (SELECT GROUP_CONCAT(role) FROM messages WHERE generation_id = generations.id) IS NOT 'user,assistant'
            OR progress_percent <> 100 OR EXISTS (SELECT 1 FROM checkpoints WHERE generation_id = generations.id))
    """,
    "an artifact or message of a generation that has none": """
        SELECT id FROM generations WHERE status <> 'completed' AND (
            EXISTS (SELECT 1 FROM messages WHERE generation_id = generations.id)
            OR (SELECT GROUP_CONCAT(id) FROM artifacts WHERE generation_id = generations.id) IS NOT artifact_id
            OR (artifact_id IS NOT NULL AND status <> 'cancelled'))
    """,
    "a whole artifact of a cancelled generation": """
        SELECT artifacts.id FROM artifacts JOIN generations ON generations.id = generation_id
        WHERE status = 'cancelled' AND NOT artifacts.partial
    """,
    "text of a topic that has gone on without it": """
        SELECT id FROM generations JOIN checkpoints ON generation_id = id
        WHERE id <> (SELECT MAX(id) FROM generations AS others WHERE others.topic_id = generations.topic_id)
    """,
}
"""Statements that give nothing, at whatever moment."""


def check_arrows(journal: Iterable[Row]) -> None:
    """Check that each status came from one that it may come from, each from where the last change had led."""
    stands: dict[int, str] = {}
    stopping = False
    for row in journal:
        if row["what"] != "status":
            stopping = row["what"] == "stop"
            continue
        number, before, after = row["generation_id"], row["before"], row["after"]
        assert stands.get(number, "idle") == before
        allowed = ARROWS[before] | (ARROWS_AT_A_STOP.get(before, set()) if stopping else set())
        assert after in allowed, f"generation {number} went from {before} to {after}"
        stands[number] = after


def check_files(reports: Path, rows: list[Row], unfinished: list[Row]) -> None:
    """Check that each artifact's file is whole, and that each other file belongs to an unfinished generation."""
    known = {row["path"] for row in rows}
    for row in rows:
        content = (reports / row["path"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (row["size"], row["sha256"])
    for row in unfinished:
        known |= {f"{row['topic_id']}/{row['id']}.md", f"{row['topic_id']}/.{row['id']}.md.part"}
    found = {str(path.relative_to(reports)) for path in reports.rglob("*") if not path.is_dir()}
    assert found <= known, f"files that belong to nobody: {found - known}"


def check_report(generation: Row, report: str, *, partial: bool) -> None:
    """Check that a report has all it should, once and in order. A partial one may leave out sections, and one that was
    cancelled may break off anywhere."""
    completed = generation["status"] == "completed"
    if generation["mode"] == "single":
        check_text(text_of(generation["instructions"]), report, completed=completed)
        return
    title, *parts = re.split(r"^## (.+)\n\n", report, flags=re.MULTILINE)
    headings, texts = parts[::2], parts[1::2]
    planned = re.findall(r"^## (.+)$", generation["plan"], re.MULTILINE)
    assert title.strip() == f"# {generation['topic']}"
    assert headings == [heading for heading in [*planned, "Conclusion"] if heading in headings]
    assert partial or headings[: len(planned)] == planned
    for heading, text in zip(headings, texts, strict=True):
        check_text(text_of(generation["instructions"], heading), text, completed=completed)


def check_text(whole: str, text: str, *, completed: bool) -> None:
    """Check that a text is what was written, whole, or up to where it was asked to end early."""
    begun, sign, end = text.strip().partition(END[0])
    assert whole.startswith(begun.strip()), f"a gap or a repeat: {text!r}"
    assert END.startswith(sign + end)
    assert not completed or sign + end == END or begun.strip() == whole, f"not whole: {text!r}"

"""A database with a past: as many topics as are asked for, each with a report that was written long ago.

    python -m app.bench.past '{"database": "data/longhand.db", "topics": 100000}'

Says so in one line of JSON when it is there. The report files are left out: neither a list nor a status reads them.
"""

import json
import sys
from contextlib import closing
from pathlib import Path

from app.bench.child import tell
from app.bench.options import ADMIN_TOKEN
from app.directory import make_directory
from app.queries import users
from app.store import open_database

NUMBERS = "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :topics)"
LONG_AGO = "2026-01-01T00:00:00.000Z"

TOPICS = f"""
    {NUMBERS}
    INSERT INTO topics (id, user_id, topic, plan, language, status, generation_id, created_at, updated_at)
    SELECT n, :user_id, 'Topic ' || n, '## A', 'en', 'completed', n, :at, :at FROM numbers
"""
GENERATIONS = f"""
    {NUMBERS}
    INSERT INTO generations (
        id, topic_id, user_id, kind, status, topic, plan, language, instructions, model, attempt, characters,
        expected_characters, sections_done, sections_total, progress_percent, artifact_id, created_at, started_at,
        completed_at
    )
    SELECT
        n, n, :user_id, 'report', 'completed', 'Topic ' || n, '## A', 'en', '', 'claude-sonnet-5-5', 1, 8000, 8000, 1,
        1, 100, n, :at, :at, :at
    FROM numbers
"""
ARTIFACTS = f"""
    {NUMBERS}
    INSERT INTO artifacts (
        id, topic_id, generation_id, version, kind, filename, path, size, sha256, model, partial, created_at
    )
    SELECT n, n, n, 1, 'md', 'topic.md', n || '.md', 8000, 'none', 'claude-sonnet-5-5', 0, :at FROM numbers
"""
MESSAGES = f"""
    {NUMBERS}
    INSERT INTO messages (topic_id, generation_id, seq_no, role, content, created_at)
    SELECT n, n, 1, 'user', 'Topic ' || n, :at FROM numbers
    UNION ALL SELECT n, n, 2, 'assistant', 'A report.', :at FROM numbers
"""
USAGE = f"""
    {NUMBERS}
    INSERT INTO ai_usage (
        user_id, topic_id, generation_id, attempt, purpose, model, state, started_at, ended_at, input_tokens,
        output_tokens
    )
    SELECT :user_id, n, n, 1, 'report', 'claude-sonnet-5-5', 'completed', :at, :at, 100, 2000 FROM numbers
"""


def write_past(database: Path, topics: int) -> None:
    """Make a database with so many topics of the user `admin`."""
    make_directory(database.parent)
    db = open_database(database)
    with closing(db.conn):
        users.set_admin_token(db, ADMIN_TOKEN)
        admin = users.user_named(db, "admin")
        for sql in (TOPICS, GENERATIONS, ARTIFACTS, MESSAGES, USAGE):
            db.execute(sql, {"topics": topics, "user_id": admin and admin.id, "at": LONG_AGO})


if __name__ == "__main__":
    job = json.loads(sys.argv[1])
    write_past(Path(job["database"]), job["topics"])
    tell(topics=job["topics"])

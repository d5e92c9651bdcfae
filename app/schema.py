"""The tables: an append-only list of migrations. A migration that has landed is never edited.

Beside the columns that say what they hold:

- `topics.status` and `topics.generation_id` repeat what the latest generation says, written in the same transaction,
  so that a list filtered by status is one index range.
- `generations.attempt` is the fence of DESIGN.md; `lease_owner` and `lease_expires_at` are for many nodes.
- `strands` says of each text of a generation (one, or one a section) whether it is whole, and at which offsets later
  calls went on (`seams`, separated by commas); its text is in `checkpoints`.
- `users.password` is a hash by Argon2, or NULL; `sessions.sha256` that of a secret which only the browser has.
  `sessions.token_id` is the access token that a session was opened with, and ends with.
- `ai_usage` outlives the topic it was spent on: it holds ids, not foreign keys.
"""

from sqlite_utils import Database, Migrations

from app.errors import StartError


def m001_reports(db: Database) -> None:
    db.executescript(
        """
        CREATE TABLE users (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            name TEXT NOT NULL UNIQUE,
            is_admin INTEGER NOT NULL CHECK (is_admin IN (0, 1)),
            created_at TEXT NOT NULL
        ) STRICT;

        CREATE TABLE tokens (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
            sha256 TEXT NOT NULL UNIQUE,
            label TEXT NOT NULL,
            created_at TEXT NOT NULL,
            revoked_at TEXT
        ) STRICT;
        CREATE INDEX tokens_user ON tokens (user_id);

        CREATE TABLE topics (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
            topic TEXT NOT NULL,
            plan TEXT NOT NULL,
            language TEXT NOT NULL,
            status TEXT NOT NULL DEFAULT 'idle',
            generation_id INTEGER,
            created_at TEXT NOT NULL,
            updated_at TEXT NOT NULL
        ) STRICT;
        CREATE INDEX topics_user ON topics (user_id, id);
        CREATE INDEX topics_user_status ON topics (user_id, status, id);
        CREATE INDEX topics_status ON topics (status, id);

        CREATE TABLE generations (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            topic_id INTEGER NOT NULL REFERENCES topics (id) ON DELETE CASCADE,
            user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
            kind TEXT NOT NULL,
            status TEXT NOT NULL,
            topic TEXT NOT NULL,
            plan TEXT NOT NULL,
            language TEXT NOT NULL,
            instructions TEXT NOT NULL,
            model TEXT NOT NULL,
            attempt INTEGER NOT NULL,
            lease_owner TEXT,
            lease_expires_at TEXT,
            characters INTEGER NOT NULL DEFAULT 0,
            expected_characters INTEGER NOT NULL,
            sections_done INTEGER NOT NULL DEFAULT 0,
            sections_total INTEGER NOT NULL,
            progress_percent INTEGER NOT NULL DEFAULT 0,
            artifact_id INTEGER,
            error_code TEXT,
            error_message TEXT,
            retryable INTEGER CHECK (retryable IN (0, 1)),
            created_at TEXT NOT NULL,
            started_at TEXT,
            completed_at TEXT
        ) STRICT;
        CREATE UNIQUE INDEX generations_one_unfinished ON generations (topic_id)
            WHERE status IN ('queued', 'generating');
        CREATE INDEX generations_unfinished ON generations (id) WHERE status IN ('queued', 'generating');
        CREATE INDEX generations_topic ON generations (topic_id, id);
        CREATE INDEX generations_user ON generations (user_id);
        CREATE INDEX generations_history ON generations (language, id) WHERE status = 'completed';

        CREATE TABLE checkpoints (
            generation_id INTEGER NOT NULL REFERENCES generations (id) ON DELETE CASCADE,
            section INTEGER NOT NULL,
            start INTEGER NOT NULL,
            text TEXT NOT NULL,
            PRIMARY KEY (generation_id, section, start)
        ) STRICT, WITHOUT ROWID;

        CREATE TABLE messages (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            topic_id INTEGER NOT NULL REFERENCES topics (id) ON DELETE CASCADE,
            generation_id INTEGER NOT NULL REFERENCES generations (id) ON DELETE CASCADE,
            seq_no INTEGER NOT NULL,
            role TEXT NOT NULL CHECK (role IN ('user', 'assistant')),
            content TEXT NOT NULL,
            created_at TEXT NOT NULL,
            UNIQUE (topic_id, seq_no)
        ) STRICT;
        CREATE INDEX messages_generation ON messages (generation_id);

        CREATE TABLE artifacts (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            topic_id INTEGER NOT NULL REFERENCES topics (id) ON DELETE CASCADE,
            generation_id INTEGER NOT NULL REFERENCES generations (id) ON DELETE CASCADE,
            version INTEGER NOT NULL,
            kind TEXT NOT NULL,
            filename TEXT NOT NULL,
            path TEXT NOT NULL,
            size INTEGER NOT NULL,
            sha256 TEXT NOT NULL,
            model TEXT NOT NULL,
            partial INTEGER NOT NULL CHECK (partial IN (0, 1)),
            created_at TEXT NOT NULL,
            UNIQUE (topic_id, version)
        ) STRICT;
        CREATE INDEX artifacts_generation ON artifacts (generation_id);

        CREATE TABLE ai_usage (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            user_id INTEGER NOT NULL,
            topic_id INTEGER NOT NULL,
            generation_id INTEGER NOT NULL,
            attempt INTEGER NOT NULL,
            purpose TEXT NOT NULL,
            model TEXT NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('open', 'completed', 'failed', 'cancelled', 'interrupted')),
            request_id TEXT,
            stop_reason TEXT,
            started_at TEXT NOT NULL,
            ended_at TEXT,
            latency_ms INTEGER,
            first_token_ms INTEGER,
            input_tokens INTEGER,
            output_tokens INTEGER,
            cache_read_tokens INTEGER,
            cache_write_tokens INTEGER,
            estimated INTEGER NOT NULL DEFAULT 0 CHECK (estimated IN (0, 1))
        ) STRICT;
        CREATE INDEX ai_usage_generation ON ai_usage (generation_id);
        CREATE INDEX ai_usage_open ON ai_usage (id) WHERE state = 'open';

        CREATE TABLE idempotency_keys (
            user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
            key TEXT NOT NULL,
            fingerprint TEXT NOT NULL,
            topic_id INTEGER NOT NULL,
            generation_id INTEGER NOT NULL,
            status TEXT NOT NULL,
            created_at TEXT NOT NULL,
            PRIMARY KEY (user_id, key)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

        CREATE TABLE health (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            checked_at TEXT NOT NULL
        ) STRICT;
        """
    )


def m002_resume(db: Database) -> None:
    db.executescript(
        """
        ALTER TABLE generations ADD COLUMN mode TEXT NOT NULL DEFAULT 'single';
        ALTER TABLE generations ADD COLUMN retries INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE generations ADD COLUMN resumes INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE generations ADD COLUMN finish INTEGER NOT NULL DEFAULT 0 CHECK (finish IN (0, 1));
        ALTER TABLE generations ADD COLUMN partial INTEGER NOT NULL DEFAULT 0 CHECK (partial IN (0, 1));

        CREATE INDEX generations_ended ON generations (completed_at);
        CREATE INDEX generations_user_ended ON generations (user_id, completed_at);

        CREATE TABLE strands (
            generation_id INTEGER NOT NULL REFERENCES generations (id) ON DELETE CASCADE,
            section INTEGER NOT NULL,
            done INTEGER NOT NULL CHECK (done IN (0, 1)),
            seams TEXT NOT NULL,
            PRIMARY KEY (generation_id, section)
        ) STRICT, WITHOUT ROWID;
        """
    )


def m003_expiry(db: Database) -> None:
    db.execute("ALTER TABLE tokens ADD COLUMN expires_at TEXT")


def m004_sessions(db: Database) -> None:
    db.executescript(
        """
        ALTER TABLE users ADD COLUMN password TEXT;

        CREATE TABLE sessions (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
            sha256 TEXT NOT NULL UNIQUE,
            token_id INTEGER REFERENCES tokens (id) ON DELETE CASCADE,
            agent TEXT NOT NULL,
            created_at TEXT NOT NULL,
            seen_at TEXT NOT NULL,
            expires_at TEXT NOT NULL,
            ended_at TEXT
        ) STRICT;
        CREATE INDEX sessions_user ON sessions (user_id, id);
        CREATE INDEX sessions_token ON sessions (token_id);
        CREATE INDEX sessions_open ON sessions (id) WHERE ended_at IS NULL;
        """
    )


HISTORY = (m001_reports, m002_resume, m003_expiry, m004_sessions)


def migrate(db: Database) -> None:
    """Bring the database to this version's tables, in one transaction, safe against a second process doing the same.

    Raises StartError when the database was written by a newer Longhand.
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        refuse_newer(db)
        _migrations().apply(db)
    except BaseException:
        db.rollback()
        raise
    db.execute("COMMIT")


def refuse_newer(db: Database) -> None:
    """Raise StartError when the database was written by a newer Longhand; changes nothing."""
    newer = {applied.name for applied in _migrations().applied(db)} - {known.__name__ for known in HISTORY}
    if newer:
        raise StartError(
            f"The database was written by a newer Longhand ({', '.join(sorted(newer))}). Install that version."
        )


def _migrations() -> Migrations:
    migrations = Migrations("longhand")
    for migration in HISTORY:
        migrations()(migration)
    return migrations

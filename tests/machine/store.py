"""What the store says, looked at from outside, all of one moment; and the journal that it keeps for us."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio

from app.directory import DATABASE, REPORTS, make_directory
from app.queries import users
from app.store import open_database
from tests.machine.rules import JOURNAL, NEVER, Row


@dataclass(frozen=True)
class Look:
    """The rows of one moment. `wrong`: what must never be, by its name."""

    topics: dict[int, Row]
    generations: dict[int, Row]
    artifacts: list[Row]
    calls: list[Row]
    journal: list[Row]
    texts: list[Row]
    strands: list[Row]
    messages: list[Row]
    wrong: dict[str, list[Row]]

    @property
    def unfinished(self) -> list[Row]:
        return [row for row in self.generations.values() if row["status"] in {"queued", "generating"}]


@dataclass(eq=False)
class Stored:
    """A data directory. `users` are the ids of its users."""

    data_dir: Path
    users: dict[str, int] = field(default_factory=dict)

    @property
    def reports(self) -> Path:
        return self.data_dir / REPORTS

    async def open(self, tokens: dict[str, str]) -> None:
        """Make the tables, the users and the journal, before the first start."""
        await trio.to_thread.run_sync(self._open, tokens)

    async def look(self) -> Look:
        return await trio.to_thread.run_sync(self._look)

    async def write_down(self, what: str) -> None:
        """Add a line to the journal."""
        await trio.to_thread.run_sync(self._write_down, what)

    def _open(self, tokens: dict[str, str]) -> None:
        make_directory(self.data_dir)
        path = self.data_dir / DATABASE
        if not TEMPLATE:
            TEMPLATE.append(_new_database(path, tokens))
        path.write_bytes(TEMPLATE[0])
        with self._connection() as db:
            self.users = {row["name"]: row["id"] for row in db.execute("SELECT id, name FROM users")}

    def _look(self) -> Look:
        with self._connection() as db:

            def rows(sql: str) -> list[Row]:
                return [dict(row) for row in db.execute(sql)]

            db.execute("BEGIN")
            return Look(
                topics={row["id"]: row for row in rows("SELECT * FROM topics ORDER BY id")},
                generations={row["id"]: row for row in rows("SELECT * FROM generations ORDER BY id")},
                artifacts=rows("SELECT * FROM artifacts"),
                calls=rows("SELECT * FROM ai_usage"),
                journal=rows("SELECT * FROM journal ORDER BY id"),
                texts=rows("SELECT * FROM checkpoints ORDER BY generation_id, section, start"),
                strands=rows("SELECT * FROM strands"),
                messages=rows("SELECT * FROM messages ORDER BY id"),
                wrong={what: found for what, sql in NEVER.items() if (found := rows(sql))},
            )

    def _write_down(self, what: str) -> None:
        with self._connection() as db:
            db.execute("INSERT INTO journal (what) VALUES (?)", [what])

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.data_dir / DATABASE, isolation_level=None)) as db:
            db.row_factory = sqlite3.Row
            yield db


TEMPLATE: list[bytes] = []
"""The empty database, made once: to make it takes longer than a short story."""


def _new_database(path: Path, tokens: dict[str, str]) -> bytes:
    db = open_database(path)
    with closing(db.conn):
        for name, token in tokens.items():
            user = users.add_user(db, name, is_admin=name == "admin")
            assert user
            users.add_token(db, user.id, token, "machine")
        db.conn.executescript(JOURNAL)
    return path.read_bytes()

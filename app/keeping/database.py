"""A database that is looked at from outside: never migrated, never written, whatever a server does meanwhile."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from sqlite_utils import Database

from app.keeping import KeepingFailed, one_line
from app.schema import refuse_newer

BUSY_SECONDS = 30.0
PAGES_A_STEP = 500

Told = Callable[[int, int], None]
"""Is told, after each step of a copy, how many pages are left and how many there are."""


@contextmanager
def looking(path: Path, *, still: bool = False) -> Iterator[Database]:
    """Open a database read-only, in one transaction: all that is read is of one moment, and no writer waits for us.

    `still`: nobody else has it open. Raises KeepingFailed where it is none, StartError where it is a newer Longhand's.
    """
    if not path.is_file():
        raise KeepingFailed(f"There is no database in {path.parent}. Name its directory with --data-dir.")
    more = "&immutable=1" if still else ""
    with errors_of(path), closing(connect(f"file:{quote(str(path.absolute()))}?mode=ro{more}")) as connection:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("BEGIN")
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not {"artifacts", "topics", "generations"} <= tables:
            raise KeepingFailed(f"The database in {path.parent} is not Longhand's, or still empty.")
        database = Database(connection)
        refuse_newer(database)
        yield database


@contextmanager
def changing(path: Path) -> Iterator[Database]:
    """Open a copy to change it in one transaction; afterwards it is one file, which needs none beside it."""
    with errors_of(path), closing(connect(f"file:{quote(str(path.absolute()))}?mode=rw")) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("BEGIN IMMEDIATE")
        yield Database(connection)
        connection.execute("COMMIT")


def copy_database(source: Database, target: Path, told: Told) -> None:
    """Copy a database that is looked at, page by page, as it was when the look began.

    SQLite begins such a copy anew when somebody else writes. The look's transaction keeps our moment, so the copy ends
    however busy the writer is, and holds up no writer.
    """
    target.touch(mode=0o600)
    with errors_of(target), closing(connect(str(target))) as copy:
        source.conn.backup(copy, pages=PAGES_A_STEP, progress=lambda _, left, total: told(left, total))


def faults(db: Database) -> Iterator[tuple[str, str]]:
    """Give what SQLite itself finds wrong, as (code, sentence)."""
    for row in db.conn.execute("PRAGMA integrity_check(20)"):
        if row[0] != "ok":
            yield "database_damaged", f"The database is damaged: {one_line(row[0])}."
    for table, rowid, parent, _ in db.conn.execute("PRAGMA foreign_key_check"):
        yield "foreign_key", one_line(f"Row {rowid} of {table} names a row of {parent} that does not exist.")


def connect(target: str) -> sqlite3.Connection:
    return sqlite3.connect(target, uri=target.startswith("file:"), timeout=BUSY_SECONDS, isolation_level=None)


@contextmanager
def errors_of(path: Path) -> Iterator[None]:
    """Raise KeepingFailed for what SQLite raises."""
    try:
        yield
    except sqlite3.Error as error:
        raise KeepingFailed(f"The database in {path.parent} cannot be used: {one_line(error)}.") from error

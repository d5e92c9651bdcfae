"""The one door to SQLite: `read(query, …)` and `write(query, …)` take a plain function and its arguments."""

import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from anyio import CancelScope, Lock
from anyio.lowlevel import checkpoint
from sqlite_utils import Database

from app.errors import DatabaseFailed
from app.metrics import Metrics
from app.schema import migrate
from app.spans import span
from app.threads import Threads

P = ParamSpec("P")
T = TypeVar("T")

BUSY_SECONDS = 2.0
"""How long a statement waits for a lock that another process holds. A thread cannot be cut, so it brings its limit."""

OUTAGES = ("BUSY", "LOCKED", "READONLY", "FULL", "IOERR", "CANTOPEN", "PERM", "NOMEM", "PROTOCOL", "CORRUPT", "NOTADB")
"""SQLite's result codes (sqlite.org/rescode.html) that come from outside; any other error is a bug of ours."""

PRAGMAS = "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"


class _Write:
    """A write that waits for its transaction, then holds what came of it."""

    def __init__(self, query: Callable[[Database], Any]) -> None:
        self.query = query
        self.done = False
        self.result: Any = None
        self.error: Exception | None = None

    def end(self, result: Any, error: Exception | None) -> None:
        self.done, self.result, self.error = True, result, error


class Store:
    """SQLite behind a bounded number of threads.

    Promises:
    - A write is one transaction, committed (synchronous = FULL) when `write` returns, without any effect when it
      raises. Writes that wait while one transaction runs go together into the next (group commit), each in a
      savepoint: one that fails leaves its neighbours alone.
    - A write that was handed in is carried out whatever happens to its caller, who is told what came of it: a
      cancellation is delivered at the caller's next checkpoint. It waits for at most the transaction that runs and
      its own.
    - Reads neither wait for writes nor hold them up. Each sees the last commit as it began, and sees it to its end:
      all of its statements read one moment.
    - A database that is locked, read-only or full raises DatabaseFailed; the store works again when it does.

    Invariants: one writer connection, used under one lock; a reader connection is used by one thread at a time.
    """

    def __init__(self, path: Path, threads: Threads, metrics: Metrics | None = None) -> None:
        self._path = path
        self._threads = threads
        self._metrics = metrics or Metrics()
        self._turn = Lock()
        self._waiting: list[_Write] = []
        self._writer: Database | None = None
        self._readers: list[Database] = []

    async def read(self, query: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a query on a reader connection. Raises DatabaseFailed, and what the query raises."""
        return await self._threads.read(lambda: self._read(lambda db: query(db, *args, **kwargs)))

    async def write(self, query: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a query in a transaction and commit it. Raises DatabaseFailed, and what the query raises.

        The query may be run a second time from the start, so it must change nothing but the database.
        """
        await checkpoint()  # whoever is cancelled already leaves here, with nothing handed in
        write = _Write(lambda db: query(db, *args, **kwargs))
        with span("transaction", attributes={"db.operation.name": getattr(query, "__name__", "")}):
            await self._commit_in_turn(write)
            if write.error is not None:
                raise write.error
        return cast("T", write.result)

    @property
    def waiting(self) -> int:
        """How many writes wait for their transaction."""
        return len(self._waiting)

    async def close(self) -> None:
        """Close all connections. Nothing may be under way."""
        with CancelScope(shield=True):
            await self._threads.write(self._close)

    def open(self) -> None:
        """Open the writer and bring the tables up to date; blocks, so it runs in a thread."""
        with _failures():
            self._writer = open_database(self._path)

    async def _commit_in_turn(self, write: _Write) -> None:
        self._waiting.append(write)
        with CancelScope(shield=True):
            async with self._turn:
                if not write.done:
                    batch, self._waiting = self._waiting, []
                    await self._carry_out(batch)

    async def _carry_out(self, batch: list[_Write]) -> None:
        self._metrics.writes.inc(len(batch))
        try:
            with self._metrics.commit_seconds.time():
                await self._threads.write(self._commit, batch)
        except Exception as error:  # noqa: BLE001 - there is no thread to be had: each caller is told
            for write in batch:
                write.end(None, _public(error))

    def _read(self, query: Callable[[Database], T]) -> T:
        with _failures():
            db = self._readers.pop() if self._readers else _connect(self._path, "PRAGMA query_only = ON;")
            try:
                with db.atomic():  # one snapshot: what is deleted between two statements is there for both, or neither
                    result = query(db)
            except BaseException:
                db.conn.close()  # a statement that was left half read would show every later reader an old commit
                raise
            self._readers.append(db)
            return result

    def _commit(self, batch: list[_Write]) -> None:
        """Run a batch in one transaction; where that fails as a whole, each write in its own."""
        assert self._writer is not None
        db = self._writer
        try:
            db.conn.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            for write in batch:
                write.end(None, _public(error))
            return
        try:
            for write in batch:
                _run_in_savepoint(db, write)
            db.conn.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - a query may raise its own when SQLite dropped the transaction
            db.rollback()
            if len(batch) == 1:
                batch[0].end(None, _public(error))
            else:
                for write in batch:
                    self._commit([write])

    def _close(self) -> None:
        for db in self._readers:
            db.conn.close()
        self._readers.clear()
        if self._writer is not None:
            self._writer.conn.close()
            self._writer = None


@asynccontextmanager
async def open_store(path: Path, threads: Threads, metrics: Metrics | None = None) -> AsyncIterator[Store]:
    """Open a database file, creating it where missing. Raises DatabaseFailed, or StartError for a newer database."""
    store = Store(path, threads, metrics)
    await threads.write(store.open)
    try:
        yield store
    finally:
        await store.close()  # noqa: ASYNC102 - shields itself, and a close is short


def open_database(path: Path) -> Database:
    """Open a database in this thread, with its tables up to date: for commands that run beside a server."""
    db = _connect(path)
    try:
        _write_ahead(db)
        migrate(db)
    except BaseException:
        db.conn.close()
        raise
    return db


def _connect(path: Path, more: str = "") -> Database:
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, check_same_thread=False, isolation_level=None)
    try:
        connection.executescript(PRAGMAS + more)
    except BaseException:
        connection.close()
        raise
    return Database(connection)


def _write_ahead(db: Database) -> None:
    """Turn on WAL, which stays with the file. SQLite does not wait for another process that does the same: we do."""
    give_up = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            db.conn.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.01)
        else:
            return


def _run_in_savepoint(db: Database, write: _Write) -> None:
    """Run one write of a transaction. Raises the error when SQLite gave up the whole transaction for it."""
    try:
        with db.atomic():
            result = write.query(db)
        write.end(result, None)
    except Exception as error:
        if not db.conn.in_transaction:
            raise
        write.end(None, _public(error))


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise _public(error) from error


def _public(error: Exception) -> Exception:
    """Return DatabaseFailed in the place of an error of SQLite that comes from outside; any other as it is."""
    name = getattr(error, "sqlite_errorname", None) or ""
    if isinstance(error, sqlite3.Error) and name.removeprefix("SQLITE_").startswith(OUTAGES):
        failed = DatabaseFailed()
        failed.__cause__ = error
        return failed
    return error

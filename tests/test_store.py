"""What the store promises: group commit, neighbours left alone, cancellation, outages and their end."""

import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from sqlite_utils import Database, Migrations
from trio.testing import wait_all_tasks_blocked

from app.errors import DatabaseFailed, StartError
from app.models import Mode, StatusName, TopicId
from app.queries import generations
from app.schema import m001_reports
from app.store import BUSY_SECONDS, Store, open_database, open_store
from app.threads import T, Threads, Ts
from tests.fairwatch import within

NOTES = """
    CREATE TABLE notes (text TEXT PRIMARY KEY) STRICT;
    CREATE TRIGGER notes_fatal BEFORE INSERT ON notes WHEN NEW.text = 'fatal'
    BEGIN SELECT RAISE(ROLLBACK, 'the whole transaction is gone'); END;
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "notes.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[Store]:
    async with open_store(path, Threads(8)) as opened:
        await opened.write(lambda db: db.executescript(NOTES))
        yield opened


def add(db: Database, text: str) -> str:
    db.execute("INSERT INTO notes (text) VALUES (:text)", {"text": text})
    return f"added {text}"


def notes(db: Database) -> list[str]:
    return [row["text"] for row in db.query("SELECT text FROM notes ORDER BY text")]


def notes_of_file(path: Path) -> list[str]:
    """Read the notes as another process would."""
    with closing(sqlite3.connect(path)) as other:
        return notes(Database(other))


def pragma(db: Database, name: str) -> Any:
    row = db.execute(f"PRAGMA {name}").fetchone()
    return row and row[0]


def add_and_stop(db: Database, text: str, stop: Callable[[], None]) -> str:
    added = add(db, text)
    stop()
    return added


def add_and_fail(db: Database) -> None:
    add(db, "half done")
    raise LookupError("a query's own failure")


def add_what_drops_the_transaction(db: Database) -> None:
    add(db, "half done")
    add(db, "fatal")


def add_what_drops_the_transaction_and_fail(db: Database) -> None:
    try:
        add_what_drops_the_transaction(db)
    except sqlite3.IntegrityError as error:
        raise LookupError("a query's own failure") from error


@asynccontextmanager
async def held(task: Callable[[Callable[[], None]], Awaitable[object]]) -> AsyncIterator[None]:
    """Run a task whose thread calls what it is given, and stays in there for as long as the block lasts."""
    stopped, go = trio.Event(), threading.Event()

    def stop() -> None:
        trio.from_thread.run_sync(stopped.set)
        assert go.wait(10)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(task, stop)
        try:
            await stopped.wait()
            yield
        finally:
            go.set()


@asynccontextmanager
async def transaction(store: Store) -> AsyncIterator[None]:
    """Hold a transaction of the store open for as long as the block lasts; it adds the note `held`."""
    async with held(lambda stop: store.write(add_and_stop, "held", stop)):
        yield


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock on writing as another process would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


async def outcomes(
    store: Store, *queries: Callable[[Database], Any], during: AbstractAsyncContextManager[None] | None = None
) -> list[Any]:
    """Hand in these queries in order, and return what each returns or the kind of what it raises.

    `during` is left only when all have been handed in.
    """
    came: list[Any] = [None] * len(queries)

    async def write(number: int) -> None:
        try:
            came[number] = await store.write(queries[number])
        except (DatabaseFailed, LookupError, RuntimeError, sqlite3.Error) as error:
            came[number] = type(error)

    async with trio.open_nursery() as nursery, during or nullcontext():
        for number in range(len(queries)):
            nursery.start_soon(write, number)
            await wait_all_tasks_blocked()
    return came


async def together(store: Store, *queries: Callable[[Database], Any]) -> list[Any]:
    """Hand in these queries while a transaction runs, and return their outcomes."""
    return await outcomes(store, *queries, during=transaction(store))


async def test_a_write_is_committed_when_it_returns(store: Store, path: Path) -> None:
    returned = await store.write(add, "a note")

    assert returned == "added a note"
    assert notes_of_file(path) == ["a note"]


async def test_commits_are_synced_and_foreign_keys_are_checked(store: Store) -> None:
    def pragmas(db: Database) -> list[Any]:
        return [pragma(db, name) for name in ("synchronous", "journal_mode", "foreign_keys")]

    assert await store.write(pragmas) == [2, "wal", 1]
    assert await store.read(pragmas) == [2, "wal", 1]


async def test_a_failed_write_has_no_effect(store: Store, path: Path) -> None:
    with pytest.raises(LookupError, match="a query's own failure"):
        await store.write(add_and_fail)

    assert notes_of_file(path) == []


async def test_writes_that_wait_go_together_into_the_next_transaction(store: Store, path: Path) -> None:
    statements: list[str] = []
    await store.write(lambda db: db.conn.set_trace_callback(statements.append))
    statements.clear()

    came = await together(store, *(partial(add, text=str(number)) for number in range(9)))

    assert came == [f"added {number}" for number in range(9)]
    assert notes_of_file(path) == [*map(str, range(9)), "held"]
    assert [statement for statement in statements if statement.startswith(("BEGIN", "COMMIT", "ROLLBACK"))] == [
        "BEGIN IMMEDIATE", "COMMIT", "BEGIN IMMEDIATE", "COMMIT",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (add_and_fail, LookupError),
        (partial(add, text="first"), sqlite3.IntegrityError),
        (add_what_drops_the_transaction, sqlite3.IntegrityError),
        (add_what_drops_the_transaction_and_fail, LookupError),
    ],
)
async def test_a_write_that_fails_leaves_its_neighbours_alone(
    store: Store, path: Path, bad: Callable[[Database], Any], error: type[Exception]
) -> None:
    came = await together(store, partial(add, text="first"), bad, partial(add, text="last"))

    assert came == ["added first", error, "added last"]
    assert notes_of_file(path) == ["first", "held", "last"]


async def test_a_transaction_that_fails_at_its_commit_leaves_the_other_writes_alone(store: Store, path: Path) -> None:
    await store.write(
        lambda db: db.execute(
            "CREATE TABLE replies (text TEXT REFERENCES notes (text) DEFERRABLE INITIALLY DEFERRED) STRICT"
        )
    )

    came = await together(
        store,
        partial(add, text="first"),
        lambda db: db.execute("INSERT INTO replies (text) VALUES ('to no note')"),
        partial(add, text="last"),
    )

    assert came == ["added first", sqlite3.IntegrityError, "added last"]
    assert notes_of_file(path) == ["first", "held", "last"]


async def test_whoever_is_cancelled_already_writes_nothing(store: Store, path: Path) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.write(add, "a note")

    assert scope.cancelled_caught
    assert notes_of_file(path) == []


async def test_a_write_in_line_is_carried_out_although_its_caller_is_cancelled(store: Store, path: Path) -> None:
    heard: list[str] = []
    scope = trio.CancelScope()

    async def caller() -> None:
        with scope:
            heard.append(await store.write(add, "a note"))
            await trio.lowlevel.checkpoint()
            heard.append("more")

    async with trio.open_nursery() as nursery, transaction(store):
        nursery.start_soon(caller)
        await wait_all_tasks_blocked()
        scope.cancel()
        await wait_all_tasks_blocked()

    assert heard == ["added a note"]
    assert scope.cancelled_caught
    assert notes_of_file(path) == ["a note", "held"]


async def test_a_write_that_runs_is_carried_out_although_its_caller_is_cancelled(store: Store, path: Path) -> None:
    heard: list[str] = []
    scope = trio.CancelScope()

    async def caller(stop: Callable[[], None]) -> None:
        with scope:
            heard.append(await store.write(add_and_stop, "a note", stop))
            await trio.lowlevel.checkpoint()
            heard.append("more")

    async with held(caller):
        scope.cancel()
        await wait_all_tasks_blocked()

    assert heard == ["added a note"]
    assert scope.cancelled_caught
    assert notes_of_file(path) == ["a note"]


async def test_a_read_does_not_wait_for_a_write_and_sees_the_last_commit(store: Store) -> None:
    await store.write(add, "before")

    async with transaction(store):
        with trio.fail_after(5):
            meanwhile = await store.read(notes)

    assert meanwhile == ["before"]
    assert await store.read(notes) == ["before", "held"]


async def test_all_statements_of_a_read_see_one_moment(store: Store) -> None:
    begun, go = threading.Event(), threading.Event()

    def read_twice(db: Database) -> tuple[list[str], list[str]]:
        first = notes(db)
        begun.set()
        assert go.wait(30)
        return first, notes(db)

    async def write_meanwhile() -> None:
        assert await trio.to_thread.run_sync(begun.wait, 30)
        with trio.fail_after(5):
            await store.write(add, "meanwhile")
        go.set()

    await store.write(add, "before")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(write_meanwhile)
        seen = await store.read(read_twice)

    assert seen == (["before"], ["before"])
    assert await store.read(notes) == ["before", "meanwhile"]


async def test_a_write_does_not_wait_for_reads_however_many(store: Store, path: Path) -> None:
    go = threading.Event()
    async with trio.open_nursery() as nursery:
        for _ in range(9):
            nursery.start_soon(store.read, lambda db: go.wait(10))
        await wait_all_tasks_blocked()

        with trio.move_on_after(5) as scope:
            await store.write(add, "a note")
        go.set()

    assert not scope.cancelled_caught
    assert notes_of_file(path) == ["a note"]


async def test_a_read_sees_the_last_commit_after_one_that_failed_half_way(store: Store) -> None:
    def read_half(db: Database) -> None:
        rows = db.query("SELECT text FROM notes")
        raise LookupError(next(iter(rows)))

    for text in ("a note", "another"):
        await store.write(add, text)
    with pytest.raises(LookupError) as kept:  # and with its frames whatever it was reading
        await store.read(read_half)
    await store.write(add, "a third")

    assert await store.read(notes) == ["a note", "a third", "another"]
    assert kept.type is LookupError


async def test_a_read_cannot_write(store: Store, path: Path) -> None:
    with pytest.raises(DatabaseFailed):
        await store.read(add, "a note")

    assert notes_of_file(path) == []


async def test_a_database_locked_by_another_process_fails_in_time_and_works_again(
    store: Store, path: Path, blocked: list[str]
) -> None:
    with locked(path):
        began = trio.current_time()
        with within(BUSY_SECONDS * 2, "a write", blocked), pytest.raises(DatabaseFailed):
            await store.write(add, "too early")
        took = trio.current_time() - began
        meanwhile = await store.read(notes)
    await store.write(add, "in time")

    assert took > BUSY_SECONDS * 0.9
    assert meanwhile == []
    assert notes_of_file(path) == ["in time"]


async def test_whoever_waits_behind_a_lock_is_told_together(store: Store, path: Path) -> None:
    await store.write(pragma, "busy_timeout = 200")

    with locked(path):
        began = trio.current_time()
        came = await outcomes(store, *[partial(add, text=str(number)) for number in range(30)])
        took = trio.current_time() - began

    assert came == [DatabaseFailed] * 30
    assert took < 30 * 0.2 * 0.9  # the first waits alone, the others with each other: 0.4


async def test_a_full_disk_fails_one_write_and_not_its_neighbours_and_works_again(store: Store, path: Path) -> None:
    pages = await store.read(pragma, "page_count")
    await store.write(pragma, f"max_page_count = {pages + 2}")

    came = await together(
        store, partial(add, text="first"), partial(add, text="x" * 100_000), partial(add, text="last")
    )
    await store.write(pragma, "max_page_count = 1000")
    await store.write(add, "y" * 100_000)

    assert came == ["added first", DatabaseFailed, "added last"]
    assert notes_of_file(path) == ["first", "held", "last", "y" * 100_000]


async def test_a_read_only_database_fails_and_works_again(store: Store, path: Path) -> None:
    writer = await store.write(lambda db: db.conn)

    writer.execute("PRAGMA query_only = 1")
    with pytest.raises(DatabaseFailed) as failed:
        await store.write(add, "too early")
    meanwhile = await store.read(notes)
    writer.execute("PRAGMA query_only = 0")
    await store.write(add, "in time")

    assert isinstance(failed.value.__cause__, sqlite3.OperationalError)
    assert failed.value.__cause__.sqlite_errorname == "SQLITE_READONLY"
    assert meanwhile == []
    assert notes_of_file(path) == ["in time"]


async def test_a_bug_in_a_query_is_not_taken_for_an_outage(store: Store) -> None:
    def mistaken(db: Database) -> None:
        db.execute("SELECT no_such_column FROM notes")

    for run in (store.read, store.write):
        with pytest.raises(sqlite3.OperationalError, match="no such column"):
            await run(mistaken)


async def test_where_no_thread_is_to_be_had_everyone_is_told_and_nothing_is_written(path: Path) -> None:
    threads = ShortThreads(8)
    async with open_store(path, threads) as store:
        await store.write(lambda db: db.executescript(NOTES))

        threads.short_after = 1
        came = await together(store, partial(add, text="first"), partial(add, text="last"))
        await store.write(add, "in time")

    assert came == [RuntimeError, RuntimeError]
    assert notes_of_file(path) == ["held", "in time"]


class ShortThreads(Threads):
    """Threads of a machine that gives out only so many more, and then, once, none."""

    short_after: int | None = None

    async def write(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        if self.short_after is not None:
            self.short_after -= 1
            if self.short_after < 0:
                self.short_after = None
                raise RuntimeError("can't start new thread")
        return await super().write(function, *args)


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    shopping_list = trio.Path(tmp_path / "list.txt")
    await shopping_list.write_text("bread, butter, jam, milk, tea, " * 100)

    with pytest.raises(DatabaseFailed):
        async with open_store(Path(shopping_list), Threads(8)):
            pytest.fail("It was opened.")


async def test_a_database_of_the_version_before_is_brought_along_with_all_that_is_in_it(path: Path) -> None:
    with closing(Database(path)) as older:
        migrations = Migrations("longhand")
        migrations()(m001_reports)
        migrations.apply(older)
        older.executescript(
            """
            INSERT INTO users VALUES (1, 'anna', 0, '');
            INSERT INTO topics VALUES (1, 1, 'Tides', '', 'en', 'failed', 1, '', '');
            INSERT INTO generations
                (topic_id, user_id, kind, status, topic, plan, language, instructions, model, attempt,
                expected_characters, sections_total, created_at)
            VALUES (1, 1, 'report', 'failed', 'Tides', '', 'en', '', 'a-model', 2, 100, 0, '');
            """
        )

    async with open_store(path, Threads(8)) as store:
        found = await store.read(generations.latest_generation, TopicId(1))

    assert found is not None
    assert (found.topic, found.status, found.attempt) == ("Tides", StatusName.FAILED, 2)
    assert (found.mode, found.retries, found.resumes, found.finish) == (Mode.SINGLE, 0, 0, False)


async def test_a_database_of_a_newer_version_is_refused_and_left_as_it_is(path: Path) -> None:
    open_database(path).conn.close()
    with closing(sqlite3.connect(path)) as newer, newer:
        newer.execute("INSERT INTO _sqlite_migrations VALUES (999, 'longhand', 'm999_of_the_future', '')")
    before = await trio.Path(path).read_bytes()

    with pytest.raises(StartError, match="newer Longhand \\(m999_of_the_future\\)"):
        async with open_store(path, Threads(8)):
            pytest.fail("It was opened.")

    assert await trio.Path(path).read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


async def test_opening_again_changes_nothing(path: Path) -> None:
    def schema(db: Database) -> list[dict[str, Any]]:
        return list(
            db.query("SELECT name, sql FROM sqlite_master UNION SELECT name, applied_at FROM _sqlite_migrations")
        )

    async with open_store(path, Threads(8)) as store:
        before = await store.read(schema)
    async with open_store(path, Threads(8)) as store:
        after = await store.read(schema)

    assert len(before) > 10
    assert after == before


def test_two_that_open_a_fresh_database_at_once_both_succeed(tmp_path: Path) -> None:
    failed: list[Exception] = []
    start = threading.Barrier(3)

    def open_and_close(path: Path) -> None:
        start.wait()
        try:
            open_database(path).conn.close()
        except sqlite3.Error as error:
            failed.append(error)

    for number in range(8):
        openers = [threading.Thread(target=open_and_close, args=(tmp_path / f"{number}.db",)) for _ in range(3)]
        for opener in openers:
            opener.start()
        for opener in openers:
            opener.join()

    assert failed == []


def test_opening_waits_for_another_that_writes_the_fresh_database(path: Path) -> None:
    with locked(path):
        began = time.monotonic()
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            open_database(path)
        took = time.monotonic() - began

    assert took > BUSY_SECONDS * 0.9


async def test_whoever_is_cancelled_closes_the_store_all_the_same(path: Path) -> None:
    with trio.CancelScope() as scope:
        async with open_store(path, Threads(8)) as store:
            await store.read(lambda db: db.execute("SELECT 1").fetchone())
            scope.cancel()

    assert not path.with_name("notes.db-wal").exists()  # the last connection takes it along
    assert store  # what nobody holds would be closed by the collector


async def test_readers_are_as_few_as_reads_at_once_and_closed_with_the_store(path: Path) -> None:
    used: set[sqlite3.Connection] = set()
    async with open_store(path, Threads(8)) as store:
        await store.write(lambda db: used.add(db.conn))
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(store.read, lambda db: used.add(db.conn))

    assert 2 <= len(used) <= 1 + 3
    for connection in used:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            connection.execute("SELECT 1")
    assert [file.name for file in path.parent.iterdir()] == [path.name]

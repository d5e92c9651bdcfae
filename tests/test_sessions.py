"""Browser sessions: what opens one, what ends one, and how long they are remembered."""

from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlite_utils import Database
from trio.testing import MockClock

from app.access import MEMORY_SECONDS, SEEN_SECONDS, Sessions
from app.directory import DATABASE
from app.errors import Unauthorized
from app.models import SessionId, UserId, later
from app.queries import sessions, users
from app.queries.sessions import DAY, IDLE_DAYS, MOST_DAYS, MOST_OF_USER
from app.queries.users import digest
from app.store import Store, open_database, open_store
from app.threads import Threads
from tests.service import locked_database

TOKEN, SECRET = "a-token-of-kim", "lh_" + "s" * 43
KIM = UserId(1)
A_MINUTE = 60


@pytest.fixture
def db() -> Iterator[Database]:
    """A database with the user kim, who has an access token and a password."""
    with closing(open_database(Path(":memory:"))) as opened:
        add_kim(opened)
        yield opened


def add_kim(db: Database) -> None:
    users.add_user(db, "kim", is_admin=False)
    users.add_token(db, KIM, TOKEN, "laptop")
    users.set_password(db, KIM, "a hash")


def opened(db: Database, secret: str = SECRET) -> SessionId:
    session_id = sessions.open_with_token(db, TOKEN, secret, "Firefox, Linux")
    assert session_id is not None
    return session_id


def holds(db: Database, secret: str = SECRET) -> bool:
    return sessions.user_of_session(db, digest(secret)) is not None


def test_a_session_is_its_users_and_its_secret_is_not_kept(db: Database) -> None:
    session_id = opened(db)

    user = sessions.user_of_session(db, digest(SECRET))

    assert user is not None
    assert (user.id, user.name, user.is_admin, user.session_id) == (KIM, "kim", False, session_id)
    assert SECRET not in str(list(db.query("SELECT * FROM sessions")))
    assert not holds(db, SECRET[:-1] + "x")


def test_a_token_that_does_not_hold_opens_nothing(db: Database) -> None:
    users.add_token(db, KIM, "expired", "", later(-A_MINUTE))
    users.revoke_token(db, users.add_token(db, KIM, "revoked", ""))

    assert [sessions.open_with_token(db, token, SECRET, "") for token in ("expired", "revoked", "no token", "")] == [
        None
    ] * 4


def test_a_password_that_was_changed_since_it_was_compared_opens_nothing(db: Database) -> None:
    users.set_password(db, KIM, "another hash")

    assert sessions.open_with_password(db, KIM, "a hash", SECRET, "") is None
    assert sessions.open_with_password(db, KIM, "another hash", SECRET, "") is not None


@pytest.mark.parametrize(
    ("column", "past", "within"),
    [
        ("seen_at", -IDLE_DAYS * DAY - A_MINUTE, -IDLE_DAYS * DAY + A_MINUTE),
        ("expires_at", -A_MINUTE, A_MINUTE),
    ],
)
def test_a_session_ends_by_itself(db: Database, column: str, past: float, within: float) -> None:
    opened(db)

    for when, expected in ((within, True), (past, False)):
        db.execute(f"UPDATE sessions SET {column} = ?", [later(when)])
        assert holds(db) is expected
        assert bool(sessions.list_sessions(db, KIM, None)) is expected


def test_a_session_lasts_ninety_days_at_most(db: Database) -> None:
    opened(db)

    (row,) = db.query("SELECT expires_at FROM sessions")

    assert later(MOST_DAYS * DAY - A_MINUTE) < row["expires_at"] <= later(MOST_DAYS * DAY)
    assert MOST_DAYS == 90


@pytest.mark.parametrize("change", ["revoked_at", "expires_at"])
def test_a_session_ends_with_the_access_token_it_was_opened_with_and_no_other(db: Database, change: str) -> None:
    opened(db)
    sessions.open_with_password(db, KIM, "a hash", "another", "")

    db.execute(f"UPDATE tokens SET {change} = ?", [later(-A_MINUTE)])

    assert (holds(db), holds(db, "another")) == (False, True)


def test_one_session_is_ended_by_its_owner_alone_or_by_whoever_may_all(db: Database) -> None:
    first, second = opened(db), opened(db, "second")

    assert not sessions.end_session(db, first, UserId(2))
    assert (holds(db), holds(db, "second")) == (True, True)
    assert sessions.end_session(db, first, KIM)
    assert sessions.end_session(db, second)
    assert not sessions.end_session(db, second)
    assert (holds(db), holds(db, "second")) == (False, False)


def test_with_another_password_all_sessions_end_but_the_one_it_was_changed_in(db: Database) -> None:
    users.add_user(db, "lee", is_admin=False)
    users.add_token(db, UserId(2), "lee's", "")
    sessions.open_with_token(db, "lee's", "of lee", "")
    first, _ = opened(db), opened(db, "second")

    sessions.change_password(db, KIM, "another hash", first)

    assert (holds(db), holds(db, "second"), holds(db, "of lee")) == (True, False, True)
    sessions.change_password(db, KIM, None)
    assert (holds(db), holds(db, "of lee")) == (False, True)
    assert users.password_of(db, "kim") == (KIM, None)


def test_the_oldest_of_too_many_sessions_ends(db: Database) -> None:
    for number in range(MOST_OF_USER + 2):
        opened(db, f"secret {number}")

    assert [number for number in range(MOST_OF_USER + 2) if not holds(db, f"secret {number}")] == [0, 1]


def test_what_has_ended_is_forgotten_at_the_next_start(db: Database) -> None:
    ended, _ = opened(db), opened(db, "kept")
    sessions.end_session(db, ended)

    sessions.forget_ended(db)

    assert [row["sha256"] for row in db.query("SELECT sha256 FROM sessions")] == [digest("kept")]


def test_sessions_are_listed_newest_first_with_what_they_were_opened_with(db: Database) -> None:
    opened(db)
    sessions.open_with_password(db, KIM, "a hash", "second", "Safari, iPhone")

    everybodys, kims = sessions.list_sessions(db, None, None), sessions.list_sessions(db, KIM, None)

    assert [(row.agent, row.token, row.user_name) for row in kims] == [
        ("Safari, iPhone", None, "kim"), ("Firefox, Linux", "laptop", "kim"),
    ]  # fmt: skip
    assert everybodys == kims
    assert sessions.list_sessions(db, None, int(kims[0].id)) == kims[1:]
    assert sessions.list_sessions(db, UserId(2), None) == []


@pytest.fixture
async def store(tmp_path: Path, mock_clock: MockClock) -> AsyncIterator[Store]:
    """A store with the user kim and an open session; the clock moves when the test says so."""
    async with open_store(tmp_path / DATABASE, Threads(4)) as store:
        await store.write(add_kim)
        await store.write(opened)
        yield store


async def seen_at(store: Store) -> str:
    (session,) = await store.read(sessions.list_sessions, KIM, None)
    return session.seen_at


async def set_seen(store: Store, seconds: float) -> str:
    when = later(seconds)
    await store.write(lambda db: db.execute("UPDATE sessions SET seen_at = ?", [when]))
    return when


async def test_use_is_noted_once_an_hour(store: Store) -> None:
    recently = await set_seen(store, -SEEN_SECONDS + A_MINUTE)
    await Sessions(store).user(SECRET)
    assert await seen_at(store) == recently

    long_ago = await set_seen(store, -SEEN_SECONDS - A_MINUTE)
    await Sessions(store).user(SECRET)
    assert await seen_at(store) > long_ago


async def test_who_is_signed_in_stays_so_where_use_cannot_be_noted(
    store: Store, tmp_path: Path, mock_clock: MockClock
) -> None:
    mock_clock.rate = 1.0
    await set_seen(store, -SEEN_SECONDS - A_MINUTE)

    async with locked_database(tmp_path):
        assert (await Sessions(store).user(SECRET)).name == "kim"


async def test_an_ended_session_is_refused_when_the_moment_is_over(store: Store, mock_clock: MockClock) -> None:
    found = Sessions(store)
    user = await found.user(SECRET)
    await store.write(sessions.end_session, user.session_id)

    mock_clock.jump(MEMORY_SECONDS * 0.99)
    assert found.known(SECRET) == user
    mock_clock.jump(MEMORY_SECONDS * 0.01)

    assert found.known(SECRET) is None
    with pytest.raises(Unauthorized):
        await found.user(SECRET)


async def test_what_is_ended_here_is_refused_at_once_and_who_is_right_is_still_known(store: Store) -> None:
    await store.write(opened, "second")
    found = Sessions(store)
    first = await found.user(SECRET)
    await found.user("second")

    await store.write(sessions.end_session, first.session_id)
    found.ask_again()

    with pytest.raises(Unauthorized):
        await found.user(SECRET, memory=15)
    assert found.seen("second")
    assert (await found.user("second")).name == "kim"


async def test_a_token_opens_no_page_and_a_session_is_no_token(store: Store) -> None:
    with pytest.raises(Unauthorized):
        await Sessions(store).user(TOKEN)
    assert await store.read(users.user_of_token, digest(SECRET)) is None

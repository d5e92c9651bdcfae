"""Access tokens: looked up, remembered for a moment, refused once revoked."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import pytest
import trio
from sqlite_utils import Database
from trio.testing import MockClock, wait_all_tasks_blocked

from app.access import MEMORY_SECONDS, Access
from app.directory import DATABASE
from app.errors import DatabaseFailed, Unauthorized
from app.models import TokenId, UserId
from app.queries import users
from app.store import Store, open_store
from app.threads import Threads
from tests.service import locked_database

TOKEN = "a-token-of-kim"

P = ParamSpec("P")
T = TypeVar("T")


@pytest.fixture
async def store(tmp_path: Path, mock_clock: MockClock) -> AsyncIterator[Store]:
    """A store with the user kim; the clock moves when the test says so."""
    async with open_store(tmp_path / DATABASE, Threads(4)) as opened:
        await opened.write(users.add_user, "kim", is_admin=False)
        yield opened


@pytest.fixture
async def token_id(store: Store) -> TokenId:
    return await store.write(users.add_token, UserId(1), TOKEN, "test")


async def test_a_token_is_its_users(store: Store, token_id: TokenId) -> None:
    user = await Access(store).user(TOKEN)

    assert (user.id, user.name, user.is_admin) == (1, "kim", False)


@pytest.mark.parametrize("token", ["", "a-token", TOKEN.upper(), f"{TOKEN} ", users.digest(TOKEN), "열쇠", "\udce9"])
async def test_nothing_but_the_token_itself_is_taken(store: Store, token_id: TokenId, token: str) -> None:
    with pytest.raises(Unauthorized):
        await Access(store).user(token)


async def test_a_token_in_use_is_not_looked_up_again_for_a_moment(
    store: Store, token_id: TokenId, mock_clock: MockClock
) -> None:
    access = Access(store)
    await access.user(TOKEN)
    await store.write(users.revoke_token, token_id)

    mock_clock.jump(MEMORY_SECONDS * 0.99)

    assert (await access.user(TOKEN)).name == "kim"


async def test_a_revoked_token_is_refused_when_the_moment_is_over_however_often_it_was_used(
    store: Store, token_id: TokenId, mock_clock: MockClock
) -> None:
    access = Access(store)
    await access.user(TOKEN)
    await store.write(users.revoke_token, token_id)

    mock_clock.jump(MEMORY_SECONDS * 0.99)
    await access.user(TOKEN)
    mock_clock.jump(MEMORY_SECONDS * 0.01)

    for _ in range(2):
        with pytest.raises(Unauthorized):
            await access.user(TOKEN)


async def test_who_has_longer_to_wait_may_ask_for_what_was_known_longer_ago(
    store: Store, token_id: TokenId, mock_clock: MockClock
) -> None:
    access = Access(store)
    await access.user(TOKEN)
    await store.write(users.revoke_token, token_id)

    mock_clock.jump(14)
    known = await access.user(TOKEN, memory=15)
    mock_clock.jump(1)

    assert known.name == "kim"
    with pytest.raises(Unauthorized):
        await access.user(TOKEN, memory=15)


class HeldStore(Store):
    """A store whose reads are counted and wait until they may."""

    reads = 0
    away = False

    async def read(self, query: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        self.reads += 1
        await self.go.wait()
        if self.away:
            raise DatabaseFailed
        return await super().read(query, *args, **kwargs)

    def hold(self) -> None:
        self.go = trio.Event()


@pytest.fixture
async def held(store: Store, token_id: TokenId, tmp_path: Path) -> AsyncIterator[HeldStore]:
    """The same database, behind a store that is held."""
    threads = Threads(4)
    opened = HeldStore(tmp_path / DATABASE, threads)
    await threads.write(opened.open)
    opened.hold()
    yield opened
    await opened.close()


async def answers(access: Access, go: trio.Event, *, first_leaves: bool = False) -> list[str]:
    """Have ten ask for the token at once, and return what they were told."""
    told = []

    async def ask(scope: trio.CancelScope) -> None:
        with scope:
            try:
                told.append((await access.user(TOKEN)).name)
            except DatabaseFailed:
                told.append("away")

    scopes = [trio.CancelScope() for _ in range(10)]
    async with trio.open_nursery() as nursery:
        for scope in scopes:
            nursery.start_soon(ask, scope)
            await wait_all_tasks_blocked()
        if first_leaves:
            scopes[0].cancel()
            await wait_all_tasks_blocked()
        go.set()
    return told


async def test_many_who_ask_for_the_same_token_at_once_read_the_store_once(held: HeldStore) -> None:
    access = Access(held)

    assert await answers(access, held.go) == ["kim"] * 10
    assert held.reads == 1


async def test_who_waited_for_one_who_left_or_failed_asks_for_itself(held: HeldStore) -> None:
    access = Access(held)

    left = await answers(access, held.go, first_leaves=True)
    held.away = True
    held.hold()
    failed = await answers(Access(held), held.go)

    assert left == ["kim"] * 9
    assert failed == ["away"] * 10
    assert not access._asking


async def test_a_token_that_was_unknown_works_as_soon_as_it_is_added(store: Store) -> None:
    access = Access(store)
    with pytest.raises(Unauthorized):
        await access.user(TOKEN)

    await store.write(users.add_token, UserId(1), TOKEN, "test")

    assert (await access.user(TOKEN)).name == "kim"


async def test_what_is_changed_of_a_user_shows_a_moment_later(
    store: Store, token_id: TokenId, mock_clock: MockClock
) -> None:
    access = Access(store)
    before = await access.user(TOKEN)
    await store.write(lambda db: db.execute("UPDATE users SET is_admin = 1"))

    mock_clock.jump(MEMORY_SECONDS)
    after = await access.user(TOKEN)

    assert (before.is_admin, after.is_admin) == (False, True)


async def test_a_locked_database_holds_up_no_one_who_asks(store: Store, token_id: TokenId, tmp_path: Path) -> None:
    async with locked_database(tmp_path):
        assert (await Access(store).user(TOKEN)).name == "kim"


async def test_a_database_that_is_away_is_no_wrong_token(store: Store, token_id: TokenId, tmp_path: Path) -> None:
    (tmp_path / DATABASE).rename(tmp_path / "elsewhere")
    (tmp_path / DATABASE).mkdir()

    with pytest.raises(DatabaseFailed):
        await Access(store).user(TOKEN)

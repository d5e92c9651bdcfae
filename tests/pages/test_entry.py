"""Passwords at the door: whoever is asked for, the same is done."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import pytest
from starlette.requests import Request as StarletteRequest

from app.directory import DATABASE
from app.models import UserId
from app.pages.entry import is_right
from app.passwords import hashed
from app.queries import users
from app.routes.resource import Request
from app.signins import SignIns
from app.store import Store, open_store
from app.threads import Threads

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

PASSWORD = "a password of more than ten"


class CountingThreads(Threads):
    """Counts the passwords that are hashed."""

    hashes = 0

    async def hash(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        self.hashes += 1
        return await super().hash(function, *args)


@pytest.fixture
async def request_of(tmp_path: Path) -> AsyncIterator[Request]:
    """A request to a service with kim, who has a password, and lee, who has none."""
    threads = CountingThreads(4)
    async with open_store(tmp_path / DATABASE, threads) as store:
        for name in ("kim", "lee"):
            await store.write(users.add_user, name, is_admin=False)
        await store.write(users.set_password, UserId(1), hashed(PASSWORD))
        state = {"store": store, "threads": threads, "names": SignIns(most_waiting=None)}
        yield StarletteRequest({"type": "http", "method": "POST", "headers": [], "state": state})


@pytest.mark.parametrize("password", [PASSWORD, "a wrong one", "short", ""])
@pytest.mark.parametrize("name", ["kim", "lee", "nobody", ""])
async def test_each_name_costs_one_comparison_in_a_thread_of_the_same_lane(
    request_of: Request, name: str, password: str
) -> None:
    threads, store = request_of.state["threads"], request_of.state["store"]
    assert isinstance(threads, CountingThreads)
    assert isinstance(store, Store)

    found = await is_right(request_of, name, password)

    assert (found is not None) == ((name, password) == ("kim", PASSWORD))
    assert threads.hashes == 1

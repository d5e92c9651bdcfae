"""Fixtures of the browser tests: a real Chromium, the service as a process, the stand-in in a thread.

Playwright's event loop lives as long as a module, so that it is never in the way of Trio's tests of other modules.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.author import Author, author
from tests.browser.house import House, house
from tests.browser.people import Person, arrive

Arrive = Callable[..., Person]


def chromium_path() -> str:
    """Return where Chromium is. Fails, or skips where that is wished, when there is none."""
    if os.environ.get("LONGHAND_NO_BROWSER") == "1":
        pytest.skip("LONGHAND_NO_BROWSER=1")
    path = os.environ.get("LONGHAND_CHROMIUM") or shutil.which("chromium")
    if path is None or not shutil.which(path):
        pytest.fail(
            "There is no Chromium: apt install chromium fonts-noto-cjk, or name one in LONGHAND_CHROMIUM "
            "(LONGHAND_NO_BROWSER=1 skips these tests).",
            pytrace=False,
        )
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = chromium_path()
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=path, args=["--disable-dev-shm-usage", "--disable-smooth-scrolling"]
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def writer() -> Iterator[Author]:
    """The stand-in for Claude."""
    with author() as running:
        yield running


@pytest.fixture(scope="module")
def home(writer: Author, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The service, shared by the tests of a module; each has topics of its own."""
    with house(tmp_path_factory.mktemp("house") / "data", writer) as running:
        yield running


@pytest.fixture(scope="module")
def session(browser: Browser, home: House) -> Any:
    """The cookies of somebody who is signed in."""
    person = arrive(browser, home)
    person.sign_in()
    state = person.context.storage_state()
    person.context.close()
    return state


@pytest.fixture
def visit(browser: Browser, home: House, session: Any) -> Iterator[Arrive]:
    """Let somebody arrive who is signed in: `visit(language="ko", width=360)`; every fault of theirs fails the test."""
    people: list[Person] = []

    def come(**more: Any) -> Person:
        people.append(arrive(browser, home, **{"cookies": session, **more}))
        return people[-1]

    yield come
    faults = [fault for person in people for fault in person.faults]
    for person in people:
        person.context.close()
    assert not faults

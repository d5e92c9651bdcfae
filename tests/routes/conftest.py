"""Fixtures of the API's tests: a second user, and what event streams take to be watched."""

from collections.abc import AsyncIterator

import httpx2
import pytest
from trio.testing import MockClock

from tests.routes.client import add_token
from tests.service import Service


@pytest.fixture
async def other(service: Service) -> AsyncIterator[httpx2.AsyncClient]:
    """A client that is signed in as a second user, who is no admin."""
    async with service.client(await add_token(service, "other")) as client:
        yield client


@pytest.fixture
def lively(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each piece of text be shown as it comes, for many events in a short time."""
    monkeypatch.setattr("app.draft.PUBLISH_SECONDS", 0.0)


@pytest.fixture
def clock(mock_clock: MockClock) -> MockClock:
    """Real time that a test can also jump ahead."""
    mock_clock.rate = 1.0
    return mock_clock

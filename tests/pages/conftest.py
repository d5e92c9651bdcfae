"""Fixtures of the pages' tests: browsers that are signed in."""

from collections.abc import AsyncIterator

import pytest

from tests.routes.client import add_token
from tests.service import ADMIN_TOKEN, Service
from tests.visiting import Browser, browsing


@pytest.fixture
async def browser(service: Service) -> AsyncIterator[Browser]:
    """A browser that reads English, signed in as the admin of the tests."""
    async with browsing(service, signed_in=ADMIN_TOKEN) as found:
        yield found


@pytest.fixture
async def korean(service: Service) -> AsyncIterator[Browser]:
    """A browser that reads Korean, signed in as the admin of the tests."""
    async with browsing(service, signed_in=ADMIN_TOKEN, **{"Accept-Language": "ko-KR,ko;q=0.9,en;q=0.8"}) as found:
        yield found


@pytest.fixture
async def stranger(service: Service) -> AsyncIterator[Browser]:
    """A browser that is signed in as a second user, who is no admin."""
    async with browsing(service, signed_in=await add_token(service, "stranger")) as found:
        yield found

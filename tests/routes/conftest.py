"""Fixtures of the API's tests: a second user."""

from collections.abc import AsyncIterator

import httpx2
import pytest

from tests.routes.client import add_token
from tests.service import Service


@pytest.fixture
async def other(service: Service) -> AsyncIterator[httpx2.AsyncClient]:
    """A client that is signed in as a second user, who is no admin."""
    async with service.client(await add_token(service, "other")) as client:
        yield client

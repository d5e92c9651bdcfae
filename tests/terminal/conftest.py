"""Fixtures of the terminal's tests: the command as a process, which is told of the service by its environment."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.process import Process, longhand
from tests.service import ADMIN_TOKEN, Service

Run = Callable[..., Awaitable[tuple[int, Process]]]


def told(service: Service, **more: str) -> dict[str, str]:
    """Return the environment of a command that talks to the service."""
    return {"LONGHAND_URL": service.url, "LONGHAND_TOKEN": ADMIN_TOKEN, "NO_COLOR": "1", **more}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """An empty directory, where commands run."""
    directory = tmp_path / "here"
    directory.mkdir()
    return directory


@pytest.fixture
def run(service: Service, here: Path) -> Run:
    """Run a command to its end, in a pipe: `await run("status", "1", NAME=value)`."""

    async def command(*arguments: str, stdin: bytes = b"", **more: str) -> tuple[int, Process]:
        return await longhand(*arguments, cwd=here, variables=told(service, **more), stdin=stdin)

    return command

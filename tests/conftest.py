"""Fixtures: the stand-in for Claude, the service in front of it, and the watch over the loop."""

import gc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pytest
import trio

from app.loopwatch import LoopWatch
from app.settings import Settings
from tests.claude import FakeClaude, claude_server
from tests.fairwatch import FairWatch
from tests.service import Service, running, settings_for

Start = Callable[..., AbstractAsyncContextManager[Service]]


@pytest.fixture(autouse=True)
def nobody_logged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what `longhand login` has stored for the person who runs the tests out of them."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def blocked() -> Iterator[list[str]]:
    """Gather what held the loop up or took longer than is promised, and fail the test for any: outside of Trio, whose
    groups of exceptions would hide from `--only-rerun` what it looks for."""
    steps: list[str] = []
    yield steps
    assert not steps, f"the loop was blocked by {steps}"


@pytest.fixture
async def loop_watch(blocked: list[str]) -> AsyncIterator[LoopWatch]:
    """Fail the test when a step of the loop takes longer than 50 ms, twice; the failure names the task.

    Tests run side by side, so a step that waits for a thread may have to wait for a processor: that counts from 250 ms.
    The steps of the test itself and of its fixtures, whose tasks pytest-trio names `<…>`, are not the service's.
    """

    def report(task: str, took: float) -> None:
        if not task.startswith("<"):
            blocked.append(f"{task}: {took * 1000:.0f} ms")

    watch = FairWatch(report, wait_limit=0.25)
    gc.disable()  # what the collector does in the test runner's heap is not the service's own
    trio.lowlevel.add_instrument(watch)
    yield watch
    trio.lowlevel.remove_instrument(watch)
    gc.enable()


@pytest.fixture
async def claude() -> AsyncIterator[FakeClaude]:
    """A stand-in for Claude that does what the test says."""
    async with claude_server() as fake:
        yield fake


@pytest.fixture
def settings(tmp_path: Path, claude: FakeClaude) -> Callable[..., Settings]:
    """Make settings for a service in front of the stand-in, by names such as `max_queued=1`."""
    return partial(settings_for, tmp_path / "data", claude.url)


@pytest.fixture
def start(claude: FakeClaude, settings: Callable[..., Settings], loop_watch: LoopWatch) -> Start:
    """Start a service with settings of the test's own: `async with start(max_queued=1) as service`."""
    return lambda **more: running(claude, settings(**more))


@pytest.fixture
async def service(start: Start) -> AsyncIterator[Service]:
    """The service with its default settings."""
    async with start() as running_service:
        yield running_service

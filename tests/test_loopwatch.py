"""The loop's watch: names the task that blocked, and costs nothing else."""

import threading
from collections.abc import Callable
from math import inf
from time import thread_time

import pytest
import trio

from app.loopwatch import BLOCKED_SECONDS, LoopWatch
from tests.fairwatch import FairWatch


def compute(seconds: float) -> None:
    """Hold the processor for this long; other processes may hold it in between."""
    end = thread_time() + seconds
    while thread_time() < end:
        pass


def block(seconds: float) -> None:
    """Hold the loop up without the processor, as a call that waits for a disk does."""
    threading.Event().wait(seconds)


async def watched(watch: LoopWatch, step: Callable[[], object]) -> None:
    """Do something in a step of its own while the watch looks on."""
    trio.lowlevel.add_instrument(watch)
    await trio.lowlevel.checkpoint()
    step()
    await trio.lowlevel.checkpoint()
    trio.lowlevel.remove_instrument(watch)


@pytest.mark.parametrize("hold_up", [compute, block])
async def test_a_step_that_blocks_the_loop_is_reported_once_by_the_name_of_its_task(
    hold_up: Callable[[float], None],
) -> None:
    reports: list[tuple[str, float]] = []
    watch = LoopWatch(lambda name, took: reports.append((name, took)))

    await watched(watch, lambda: hold_up(BLOCKED_SECONDS * 1.5))

    ((name, took),) = reports
    assert name == trio.lowlevel.current_task().name
    assert took > BLOCKED_SECONDS
    assert watch.worst == took


async def test_steps_within_the_limit_are_measured_but_not_reported() -> None:
    reports: list[str] = []
    watch = LoopWatch(lambda name, took: reports.append(name), limit=inf)

    await watched(watch, lambda: compute(0.002))

    assert reports == []
    assert watch.worst >= 0.001


async def test_the_watch_of_the_tests_tells_work_from_waits() -> None:
    reports: list[float] = []
    watch = FairWatch(lambda name, took: reports.append(took), limit=0.01)

    await watched(watch, lambda: block(0.03))
    waited = list(reports)
    await watched(watch, lambda: compute(0.03))

    assert waited == []
    assert len(reports) == 1


async def test_the_worst_step_is_kept() -> None:
    took: list[float] = []
    watch = LoopWatch(lambda _, seconds: took.append(seconds), limit=-1)

    await watched(watch, lambda: compute(0.002))
    await watched(watch, lambda: None)

    assert len(took) > 1
    assert watch.worst == max(took)


async def test_the_step_that_installs_the_watch_is_not_counted() -> None:
    took: list[float] = []
    watch = LoopWatch(lambda _, seconds: took.append(seconds), limit=-1)

    trio.lowlevel.add_instrument(watch)
    await trio.lowlevel.checkpoint()
    trio.lowlevel.remove_instrument(watch)

    assert took == []

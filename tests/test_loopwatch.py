"""The loop's watch: names the task that blocked, and costs nothing else."""

import threading
from collections.abc import Callable
from math import inf
from time import thread_time

import pytest
import trio

from app.loopwatch import BLOCKED_SECONDS, WINDOW_SECONDS, LoopWatch, watching
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


async def test_a_step_that_blocks_in_python_is_reported_with_its_lines() -> None:
    reports: list[str] = []

    with watching(lambda name, _: reports.append(name)) as watch:
        await trio.lowlevel.checkpoint()
        block(BLOCKED_SECONDS * 4)
        await trio.lowlevel.checkpoint()
        time_of_last_step = watch.worst
        await trio.lowlevel.checkpoint()

    (name,) = reports
    assert f"{trio.lowlevel.current_task().name} at " in name
    assert f"{__name__}:" in name  # `block`, and whoever called it
    assert "trio._core" not in name
    assert (watch.blocked, watch.where) == (1, "")
    assert watch.worst == time_of_last_step


async def test_a_step_that_was_over_when_it_was_looked_at_is_not_blamed_on_another_line() -> None:
    reports: list[str] = []
    watch = LoopWatch(lambda name, _: reports.append(name), limit=0.01)

    await watched(watch, lambda: block(0.02))

    assert reports == [trio.lowlevel.current_task().name]


async def test_the_watch_ends_with_its_block() -> None:
    with watching(lambda *_: None) as watch:
        (thread,) = [found for found in threading.enumerate() if found.name == "longhand-watch"]
    await trio.to_thread.run_sync(thread.join, 10)
    before = watch.worst
    block(0.01)
    await trio.lowlevel.checkpoint()

    assert not thread.is_alive()
    assert watch.worst == before


async def test_the_worst_step_of_late_is_forgotten_after_two_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("app.loopwatch.perf_counter", lambda: now)
    watch = LoopWatch(lambda *_: None, limit=inf)
    task = trio.lowlevel.current_task()

    def step(seconds: float) -> None:
        nonlocal now
        watch.before_task_step(task)
        now += seconds
        watch.after_task_step(task)

    found = []
    for took, later in (
        (2.0, 0),
        (0.1, WINDOW_SECONDS / 2),
        (0.1, WINDOW_SECONDS / 2),
        (0.5, 0),
        (0.1, WINDOW_SECONDS),
    ):
        step(took)
        now += later
        found.append(watch.worst_of_late())

    assert found == pytest.approx([2.0, 2.0, 0.1, 0.5, 0.5])
    assert watch.worst == 2.0

"""What the door to threads promises: bounds, lanes of their own, and what a cancellation can and cannot do."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from app.threads import Threads


class Gate:
    """Where calls stop until it is opened; `most` is how many were in it at once."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._lock = threading.Lock()
        self._inside = self.most = 0

    def stop(self, tell: Callable[[], None]) -> str:
        """Tell the loop, then stop."""
        self._count(1)
        trio.from_thread.run_sync(tell)
        assert self._open.wait(10)
        self._count(-1)
        return "value"

    def open(self) -> None:
        self._open.set()

    def _count(self, more: int) -> None:
        with self._lock:
            self._inside += more
            self.most = max(self.most, self._inside)


@pytest.fixture
def gate() -> Iterator[Gate]:
    closed = Gate()
    yield closed
    closed.open()


def nothing() -> None:
    pass


@contextmanager
def opened_at_the_end(gate: Gate) -> Iterator[None]:
    try:
        yield
    finally:
        gate.open()


@pytest.mark.parametrize("limit", [4, 5, 8])
async def test_no_more_calls_run_at_once_than_the_limit_says_and_that_many_do(gate: Gate, limit: int) -> None:
    threads = Threads(limit)
    entered: list[None] = []
    full = trio.Event()

    def count() -> None:
        entered.append(None)
        if len(entered) == limit:
            full.set()

    async with trio.open_nursery() as nursery:
        with opened_at_the_end(gate), trio.fail_after(5):
            for lane in (threads.read, threads.write, threads.files, threads.render):
                for _ in range(2 * limit):
                    nursery.start_soon(lane, gate.stop, count)
            await full.wait()
            await wait_all_tasks_blocked()

    assert len(entered) == 8 * limit
    assert gate.most == limit


@pytest.mark.parametrize("full", ["read", "write", "files", "render"])
async def test_a_full_lane_leaves_the_others_their_threads(gate: Gate, full: str) -> None:
    threads = Threads(4)
    lanes = {"read": threads.read, "write": threads.write, "files": threads.files, "render": threads.render}

    async with trio.open_nursery() as nursery:
        for _ in range(9):
            nursery.start_soon(lanes[full], gate.stop, nothing)
        await wait_all_tasks_blocked()
        with opened_at_the_end(gate), trio.fail_after(5):
            answers = [await lane(str.upper, name) for name, lane in lanes.items() if name != full]

    assert answers == [name.upper() for name in lanes if name != full]


async def test_writes_run_one_at_a_time(gate: Gate) -> None:
    threads = Threads(8)

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(threads.write, gate.stop, nothing)
        await wait_all_tasks_blocked()
        gate.open()

    assert gate.most == 1


async def test_a_call_that_waits_for_a_thread_is_left_at_once_when_cancelled(gate: Gate) -> None:
    threads = Threads(4)
    called: list[str] = []

    async with trio.open_nursery() as nursery:
        nursery.start_soon(threads.write, gate.stop, nothing)
        await wait_all_tasks_blocked()
        with opened_at_the_end(gate), trio.fail_after(5):
            async with trio.open_nursery() as waiting:
                waiting.start_soon(threads.write, called.append, "called")
                await wait_all_tasks_blocked()
                waiting.cancel_scope.cancel()
    await threads.write(called.append, "the thread is free again")

    assert called == ["the thread is free again"]


async def test_a_call_that_has_started_is_waited_for_and_its_value_returned(gate: Gate) -> None:
    threads = Threads(4)
    entered = trio.Event()
    heard: list[str] = []
    scope = trio.CancelScope()

    async def caller() -> None:
        with scope:
            heard.append(await threads.files(gate.stop, entered.set))
            await trio.lowlevel.checkpoint()
            heard.append("more")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(caller)
        await entered.wait()
        scope.cancel()
        await wait_all_tasks_blocked()
        heard.append("cancelled")
        gate.open()

    assert heard == ["cancelled", "value"]
    assert scope.cancelled_caught


async def test_what_a_call_raises_arrives_at_its_caller() -> None:
    with pytest.raises(FileNotFoundError):
        await Threads(4).files(open, "there is no such file")

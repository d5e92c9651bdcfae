"""A watch over the loop that is fair to it where tests run side by side: other processes' time is not its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from resource import RUSAGE_THREAD, getrusage
from time import perf_counter, thread_time

import trio

from app.loopwatch import LoopWatch


@dataclass(eq=False)
class FairWatch(LoopWatch):
    """Counts a step's time on the processor, and where it gave the processor up to wait, all its time.

    Such a wait is told beyond `wait_limit`: it lasts longer where other processes keep the processors busy.
    """

    wait_limit: float = inf
    _before: tuple[float, float, int] | None = field(default=None, init=False)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._before = _clocks()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._before is None:
            return
        before, after = self._before, _clocks()
        waited = after[2] > before[2]
        took = after[0] - before[0] if waited else after[1] - before[1]
        self.worst = max(self.worst, took)
        if took > (self.wait_limit if waited else self.limit):
            self.report(task.name, took)


def _clocks() -> tuple[float, float, int]:
    """Return the time, this thread's time on the processor, and how often it gave the processor up to wait."""
    return perf_counter(), thread_time(), getrusage(RUSAGE_THREAD).ru_nvcsw  # whose own times are as coarse as 4 ms


@contextmanager
def within(seconds: float, what: str, blocked: list[str]) -> Iterator[None]:
    """Time what is promised within a limit; what takes longer is told to `blocked`, and so measured a second time."""
    began = perf_counter()
    yield
    took = perf_counter() - began
    if took >= seconds:
        blocked.append(f"{what}: {took * 1000:.0f} ms")

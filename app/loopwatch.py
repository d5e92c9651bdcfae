"""The loop's watch: measures every step of every task and names the one that blocked."""

from collections.abc import Callable
from dataclasses import dataclass, field
from resource import RUSAGE_THREAD, getrusage
from time import perf_counter, thread_time

import trio

BLOCKED_SECONDS = 0.05
"""A step that takes longer than this holds up every other task: a bug, or a machine that is too busy."""


@dataclass(eq=False)
class LoopWatch(trio.abc.Instrument):
    """A Trio instrument that tells `report` of each step longer than `limit` seconds, by the name of its task.

    Steps in which the thread gave the processor up to wait are told beyond `wait_limit`: such a wait lasts longer where
    other processes keep the processors busy. `worst` is the longest step so far, in seconds. Costs about 3 µs a step.
    """

    report: Callable[[str, float], None]
    limit: float = BLOCKED_SECONDS
    wait_limit: float = BLOCKED_SECONDS
    worst: float = 0.0
    _began: tuple[float, float, int] | None = field(default=None, init=False)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002 - Trio's interface
        self._began = _clocks()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._began is None:  # installed in the middle of this very step
            return
        took, waited = _held(self._began, _clocks())
        self.worst = max(self.worst, took)
        if took > (self.wait_limit if waited else self.limit):
            self.report(task.name, took)


def _clocks() -> tuple[float, float, int]:
    """Return the time, this thread's time on the processor, and how often it gave the processor up to wait."""
    return perf_counter(), thread_time(), getrusage(RUSAGE_THREAD).ru_nvcsw  # whose own times are as coarse as 4 ms


def _held(before: tuple[float, float, int], after: tuple[float, float, int]) -> tuple[float, bool]:
    """Return for how long a step held the loop, and whether it waited for something.

    Time in which other processes had the processor is not its own, where it did not wait.
    """
    waited = after[2] > before[2]
    return (after[0] - before[0] if waited else after[1] - before[1]), waited

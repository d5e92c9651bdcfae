"""The loop's watch: measures every step of every task and names the one that blocked."""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter

import trio

BLOCKED_SECONDS = 0.05
"""A step that takes longer than this holds up every other task: a bug, or a machine that is too busy."""


@dataclass(eq=False)
class LoopWatch(trio.abc.Instrument):
    """A Trio instrument that tells `report` of each step longer than `limit` seconds, by the name of its task.

    `worst` is the longest step so far, in seconds. Costs about 0.5 µs a step.
    """

    report: Callable[[str, float], None]
    limit: float = BLOCKED_SECONDS
    worst: float = 0.0
    _began: float | None = field(default=None, init=False)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002 - Trio's interface
        self._began = perf_counter()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._began is None:  # installed in the middle of this very step
            return
        took = perf_counter() - self._began
        self.worst = max(self.worst, took)
        if took > self.limit:
            self.report(task.name, took)

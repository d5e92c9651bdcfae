"""The loop's watch: measures every step of every task, and names the task and the line that blocked."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from types import FrameType

import trio

BLOCKED_SECONDS = 0.05
"""A step that takes longer than this holds up every other task: a bug, or a machine that is too busy."""

WINDOW_SECONDS = 60.0
"""The worst step of late is that of the last one to two windows."""

DEEPEST = 3
"""How many of the innermost lines are named."""


@dataclass(eq=False)
class LoopWatch(trio.abc.Instrument):
    """A Trio instrument that tells `report` of each step longer than `limit` seconds, by the name of its task.

    `worst` is the longest step so far, in seconds, `blocked` how many were too long. Costs about 0.5 µs a step.
    `where` is set by who sees from outside where the step that runs is; it is added to the task's name.
    """

    report: Callable[[str, float], None]
    limit: float = BLOCKED_SECONDS
    worst: float = 0.0
    blocked: int = 0
    where: str = field(default="", init=False)
    began: float | None = field(default=None, init=False)
    _earlier: float = field(default=0.0, init=False)
    _of_late: float = field(default=0.0, init=False)
    _since: float = field(default=0.0, init=False)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002 - Trio's interface
        self.began = perf_counter()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.began is None:  # installed in the middle of this very step
            return
        took = perf_counter() - self.began
        self.began = None
        if took > self._of_late:
            self._of_late = took
            self.worst = max(self.worst, took)
        if took > self.limit:
            self.blocked += 1
            where, self.where = self.where, ""
            self.report(f"{task.name} at {where}" if where else task.name, took)

    def worst_of_late(self) -> float:
        """Return the longest step of the last one to two minutes, or of a longer time in which nobody asked."""
        now = perf_counter()
        if now >= self._since + WINDOW_SECONDS:
            self._earlier, self._of_late, self._since = self._of_late, 0.0, now
        return max(self._earlier, self._of_late)


@contextmanager
def watching(report: Callable[[str, float], None]) -> Iterator[LoopWatch]:
    """Watch the loop that runs, for as long as the block lasts: each step from inside, a long one from outside too."""
    watch = LoopWatch(report)
    stop = threading.Event()
    arguments = watch, threading.get_ident(), stop
    threading.Thread(target=_look_on, args=arguments, name="longhand-watch", daemon=True).start()
    trio.lowlevel.add_instrument(watch)
    try:
        yield watch
    finally:
        trio.lowlevel.remove_instrument(watch)
        stop.set()


def _look_on(watch: LoopWatch, loop: int, stop: threading.Event) -> None:
    """Glance at the loop's thread again and again; where one step goes on for longer than its limit, note the line.

    A step of twice the limit is always seen, a shorter one by luck: each glance takes the interpreter from the loop.
    """
    seen: float | None = None
    while not stop.wait(watch.limit):
        began = watch.began
        if began is None or began == seen or perf_counter() - began < watch.limit:
            continue
        seen, frame = began, sys._current_frames().get(loop)  # noqa: SLF001 - the only way, and documented
        where = _lines(frame)
        if watch.began == began:  # otherwise it was over before we looked
            watch.where = where


def _lines(frame: FrameType | None) -> str:
    """Name the innermost lines of a thread, the outer ones first."""
    lines: list[str] = []
    while frame is not None and len(lines) < DEEPEST:
        module = str(frame.f_globals.get("__name__"))
        if not module.startswith("trio._core"):  # beneath every step
            lines.append(f"{module}:{frame.f_lineno}")
        frame = frame.f_back
    return " > ".join(reversed(lines))

"""The one door to blocking work: threads, bounded."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar, TypeVarTuple

from anyio import CapacityLimiter, move_on_after, to_thread

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Use(NamedTuple):
    """How a limit is used: what is taken of it, all that may be, and who waits."""

    busy: int
    limit: int
    waiting: int


HASHES = 2
"""How many passwords are hashed at once: each takes a processor, and 64 MiB."""


class Threads:
    """Threads for blocking calls, in lanes, so that slow files never hold up the database, nor many reads a write,
    and a long report that is rendered holds up none of them.

    Promises:
    - No more than `limit` calls (at least 4) run at once in all, one of them a `write`, one a `render`; no lane takes a
      thread from another. Beside them, no more than `HASHES` passwords are hashed.
    - A call that waits for a thread is left at once when cancelled; one that has started is waited for and its value
      is returned (the cancellation arrives at the caller's next checkpoint). So a call brings its own time limit,
      unless it is left to itself by `leave`.
    """

    def __init__(self, limit: int) -> None:
        self._write = CapacityLimiter(1)
        self._render = CapacityLimiter(1)
        self._files = CapacityLimiter(limit // 2 - 1)
        self._read = CapacityLimiter(limit - limit // 2 - 1)
        self._hash = CapacityLimiter(HASHES)

    async def write(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run a blocking call that writes the database in a thread."""
        return await to_thread.run_sync(function, *args, limiter=self._write)

    async def read(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run a blocking call that reads the database in a thread."""
        return await to_thread.run_sync(function, *args, limiter=self._read)

    async def files(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run a blocking call on files in a thread."""
        return await to_thread.run_sync(function, *args, limiter=self._files)

    async def render(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run a call that computes for long in a thread; two at once would take no less time."""
        return await to_thread.run_sync(function, *args, limiter=self._render)

    async def hash(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run a call that hashes a password in a thread."""
        return await to_thread.run_sync(function, *args, limiter=self._hash)

    async def leave(self, function: Callable[[], object], seconds: float) -> None:
        """Run a blocking call, beside the lanes, for so many seconds; then it goes on by itself, unheard."""
        with move_on_after(seconds):
            await to_thread.run_sync(function, abandon_on_cancel=True, limiter=CapacityLimiter(1))

    def use(self) -> dict[str, Use]:
        """Return how the lanes are used at this moment."""
        lanes = {
            "read": self._read,
            "write": self._write,
            "files": self._files,
            "render": self._render,
            "hash": self._hash,
        }
        found = {name: lane.statistics() for name, lane in lanes.items()}
        return {
            name: Use(lane.borrowed_tokens, int(lane.total_tokens), lane.tasks_waiting) for name, lane in found.items()
        }

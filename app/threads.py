"""The one door to blocking work: threads, bounded."""

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

from anyio import CapacityLimiter, to_thread

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Threads:
    """Threads for blocking calls, in lanes, so that slow files never hold up the database, nor many reads a write.

    Promises:
    - No more than `limit` calls (at least 4) run at once in all, one of them a `write`; no lane takes a thread from
      another.
    - A call that waits for a thread is left at once when cancelled; one that has started is waited for and its value
      is returned (the cancellation arrives at the caller's next checkpoint). So a call brings its own time limit.
    """

    def __init__(self, limit: int) -> None:
        self._write = CapacityLimiter(1)
        self._files = CapacityLimiter(limit // 2)
        self._read = CapacityLimiter(limit - limit // 2 - 1)

    async def write(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run a blocking call that writes the database in a thread."""
        return await to_thread.run_sync(function, *args, limiter=self._write)

    async def read(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run a blocking call that reads the database in a thread."""
        return await to_thread.run_sync(function, *args, limiter=self._read)

    async def files(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run a blocking call on files in a thread."""
        return await to_thread.run_sync(function, *args, limiter=self._files)

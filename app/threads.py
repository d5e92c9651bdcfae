"""The one door to blocking work: threads, bounded."""

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

from anyio import CapacityLimiter, to_thread

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Threads:
    """Threads for blocking calls, in two lanes, so that slow files never hold up the database.

    Promises:
    - No more than `limit` calls run at once in all; `files` never takes a thread from `database`.
    - A call that waits for a thread is left at once when cancelled; one that has started is waited for and its value
      is returned (the cancellation arrives at the caller's next checkpoint). So a call brings its own time limit.
    """

    def __init__(self, limit: int) -> None:
        self._database = CapacityLimiter(limit - limit // 2)
        self._files = CapacityLimiter(limit // 2)

    @property
    def database_limit(self) -> int:
        """How many database calls may run at once."""
        return int(self._database.total_tokens)

    async def database(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run a blocking call on the database in a thread."""
        return await to_thread.run_sync(function, *args, limiter=self._database)

    async def files(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run a blocking call on files in a thread."""
        return await to_thread.run_sync(function, *args, limiter=self._files)

"""Sign-ins that failed: counted by address, told once, and slowed when there are many."""

import logging
from collections import OrderedDict
from dataclasses import dataclass

from anyio import current_time, sleep

from app.refusals import RateLimited

log = logging.getLogger("longhand.access")

FREE = 10
"""How many sign-ins of an address may fail in a window before the next ones are slowed."""

WINDOW_SECONDS = 600.0
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds: the first wait; each further failure doubles it, up to the longest."""

MOST_WAITING = 20
"""How many of one address may wait at once. Each holds a connection."""

SIZE = 10_000
"""How many addresses are remembered."""


@dataclass
class _Window:
    """What happened at an address in the window that ends at `until`."""

    until: float
    failures: int = 0
    waiting: int = 0


class SignIns:
    """Slows whoever guesses.

    Promises:
    - The first `FREE` failures of an address in a window are answered at once; before each further attempt there is a
      pause that grows.
    - Nobody is locked out: an attempt that is right succeeds after its pause. Only while `most_waiting` wait already
      is another refused at once (None: never). Whoever has signed in before does not come here at all.
    - One line in the log an address and window, without what was tried. Memory is bounded by `SIZE` addresses.

    What is counted may be something else than an address, such as the name that is tried.
    """

    def __init__(self, most_waiting: int | None = MOST_WAITING) -> None:
        self._most_waiting = most_waiting
        self._windows: OrderedDict[str, _Window] = OrderedDict()

    def slows(self, client: str) -> bool:
        """Say whether an attempt from here has to wait."""
        window = self._windows.get(client)
        return window is not None and window.failures >= FREE and current_time() < window.until

    async def pause(self, client: str) -> None:
        """Hold up an attempt for as long as the failures before it ask for. Raises RateLimited."""
        window = self._windows[client]
        if self._most_waiting is not None and window.waiting >= self._most_waiting:
            raise RateLimited(int(LONGEST_PAUSE) + 1)
        window.waiting += 1
        try:
            await sleep(min(FIRST_PAUSE * 2.0 ** min(window.failures - FREE, 30), LONGEST_PAUSE))
        finally:
            window.waiting -= 1

    def failed(self, client: str, told: str | None = None) -> None:
        """Count an attempt that was wrong; `told` is how the log calls where it came from, by default as we do."""
        window = self._windows.get(client)
        if window is None or current_time() >= window.until:
            waiting = window.waiting if window else 0
            window = self._windows[client] = _Window(current_time() + WINDOW_SECONDS, waiting=waiting)
            if len(self._windows) > SIZE:
                self._windows.popitem(last=False)
        window.failures += 1
        if window.failures == FREE:
            minutes = WINDOW_SECONDS / 60
            where = told or f"from {client}"
            log.warning("%d sign-ins %s failed; more within %.0f minutes are slowed", FREE, where, minutes)

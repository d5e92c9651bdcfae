"""The pace at which calls to Claude start."""

from collections import deque
from dataclasses import dataclass

from anyio import Event, Lock, current_time, move_on_after

STARTS_AT_ONCE = 8
"""How many calls may be between connect and first byte. Opening one costs about 2 ms of the loop's time."""

START_SECONDS = 0.05
"""After this long a call that still has no answer no longer holds up the next: it costs nothing while it waits."""


@dataclass(slots=True)
class Turn:
    """One call's turn to start."""

    began: float
    answered: Event


class Pace:
    """Paces the starts of calls, so that a burst of them never stalls the loop.

    Promise: a call starts only when, of the calls before it, at most `STARTS_AT_ONCE` - 1 began less than
    `START_SECONDS` ago and have no answer yet. First come, first served.
    """

    def __init__(self) -> None:
        self._line = Lock()
        self._starting: deque[Turn] = deque()

    async def turn(self) -> Turn:
        """Wait for the turn of a call to start. Set its `answered` when there is an answer, or no call any more."""
        async with self._line:
            if len(self._starting) >= STARTS_AT_ONCE:
                first = self._starting[0]
                with move_on_after(first.began + START_SECONDS - current_time()):
                    await first.answered.wait()
                self._starting.popleft()
            turn = Turn(current_time(), Event())
            self._starting.append(turn)
            return turn

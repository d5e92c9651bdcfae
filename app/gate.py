"""The gate before Claude: while Claude is limiting, new calls are held back, and one at a time tries."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf

from anyio import Event, current_time, move_on_after


class Gate:
    """Holds back the starts of calls while Claude answers 429 or 529.

    Promises:
    - While it is closed nobody starts before the time that Claude asked for, and then one call alone: the probe. The
      others start when the probe was taken, or wait on when it was turned away.
    - A probe that is cancelled leaves its place to the next.
    - A call that Claude has taken opens it, unless another was turned away since that call began.
    """

    def __init__(self) -> None:
        self._opens_at: float | None = None
        self._probe: object | None = None
        self._refusals = 0
        self._changed = Event()

    @property
    def free(self) -> bool:
        """Whether a call may start at this moment."""
        return self._opens_at is None or (self._probe is None and self._opens_at <= current_time())

    @property
    def seconds(self) -> float:
        """How long it is closed at least."""
        return 0.0 if self._opens_at is None else max(self._opens_at - current_time(), 0.0)

    def close(self, seconds: float) -> None:
        """Claude has turned a call away: hold back new ones for so long."""
        self._refusals += 1
        self._opens_at = max(self._opens_at or 0.0, current_time() + seconds)
        self._wake()

    async def change(self) -> None:
        """Wait until it may have become free, or is closed for another time."""
        with move_on_after(inf if self._probe is not None else self.seconds):
            await self._changed.wait()

    @contextmanager
    def turn(self) -> Iterator[Callable[[], None]]:
        """The turn of one call, entered while it is free; gives what is to be called when Claude has taken the call."""
        refusals, call = self._refusals, object()
        if self._opens_at is not None:
            self._probe = call

        def over() -> None:
            if self._probe is call:
                self._probe = None
                self._wake()

        def taken() -> None:
            over()
            if self._opens_at is not None and self._refusals == refusals:
                self._opens_at = None
                self._wake()

        try:
            yield taken
        finally:
            over()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = Event()

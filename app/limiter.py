"""How many requests a key may make: a bucket for each, with no timer and no task (GCRA)."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from math import ceil
from time import monotonic

from app.refusals import RateLimited

WINDOW_SECONDS = 60
LOW = 0.1
"""Below this part of its quota a key is told with each answer how much is left."""

Headers = list[tuple[bytes, bytes]]


class Limiter:
    """A quota for each key, for a window of time; it is whole at first and grows back evenly.

    Promises: a key gets its quota at once, and never more than twice of it in one window; a refusal takes nothing; a
    request costs constant time, and memory is bounded by `size` keys: the oldest is forgotten, its quota whole again.
    A quota of 0 refuses nobody.
    """

    def __init__(self, name: str, quota: int, size: int = 10_000, clock: Callable[[], float] = monotonic) -> None:
        self._name = name
        self._quota = quota
        self._gap = WINDOW_SECONDS / quota if quota else 0.0
        self._low = WINDOW_SECONDS * LOW
        self._size = size
        self._clock = clock
        self._whole_at: OrderedDict[Hashable, float] = OrderedDict()

    def take(self, key: Hashable) -> Headers | None:
        """Count a request; returns the headers of its answer, where there is something to tell. Raises RateLimited."""
        if not self._quota:
            return None
        now = self._clock()
        whole_at = self._whole_at.get(key, now)
        whole_at = (max(now, whole_at)) + self._gap
        spare = now + WINDOW_SECONDS - whole_at
        if spare < -1e-6:  # what adding up loses
            raise RateLimited(ceil(-spare), self._policy(), self._state(0, -spare))
        self._whole_at[key] = whole_at
        if len(self._whole_at) > self._size:
            self._whole_at.popitem(last=False)
        if spare >= self._low:
            return None
        left = self._state(int(spare / self._gap + 1e-6), WINDOW_SECONDS - spare)
        return [(b"ratelimit-policy", self._policy().encode()), (b"ratelimit", left.encode())]

    def _policy(self) -> str:
        """Write the quota as draft-ietf-httpapi-ratelimit-headers-10 does."""
        return f'"{self._name}";q={self._quota};w={WINDOW_SECONDS}'

    def _state(self, left: int, seconds: float) -> str:
        return f'"{self._name}";r={left};t={ceil(seconds)}'

"""What is shown once: kept in memory from the form that made it to the page that shows it."""

from collections import OrderedDict
from collections.abc import Hashable

from anyio import current_time

KEPT_SECONDS = 120.0
SIZE = 1000


class Once:
    """Holds a text for the one who comes for it.

    Promises: it is given once, within `KEPT_SECONDS`, and to nobody with another key; memory is bounded by `SIZE`.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, tuple[str, float]] = OrderedDict()

    def put(self, key: Hashable, text: str) -> None:
        self._kept.pop(key, None)
        self._kept[key] = (text, current_time())
        if len(self._kept) > SIZE:
            self._kept.popitem(last=False)

    def take(self, key: Hashable) -> str | None:
        text, since = self._kept.pop(key, ("", 0.0))
        return text if text and current_time() < since + KEPT_SECONDS else None

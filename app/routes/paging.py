"""Pages of lists: `?limit=` and `?cursor=`."""

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from app.errors import Invalid
from app.routes.resource import Request

DEFAULT_LIMIT, MAX_LIMIT = 20, 100

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page:
    """What a caller asks of a list: `limit` rows, from behind the row that `position` names."""

    limit: int
    position: int | None

    @property
    def fetch(self) -> int:
        """How many rows to ask the store for: one more than are shown tells whether more follow."""
        return self.limit + 1

    def cut(self, rows: Sequence[T], position: Callable[[T], int]) -> tuple[Sequence[T], str | None]:
        """Return the rows to show and the cursor of the next page, None on the last."""
        shown = rows[: self.limit]
        return shown, _cursor(position(shown[-1])) if len(rows) > self.limit else None


def page(request: Request) -> Page:
    """Read `limit` and `cursor`. Raises Invalid."""
    return Page(_limit(request.query_params.get("limit")), _position(request.query_params.get("cursor")))


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdigit() and 1 <= len(text) <= 3 and 1 <= int(text) <= MAX_LIMIT):
        raise Invalid(("/limit", f"The limit is a whole number from 1 to {MAX_LIMIT}."))
    return int(text)


def _cursor(position: int) -> str:
    return base64.urlsafe_b64encode(f"v1:{position}".encode()).decode().rstrip("=")


def _position(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        version, _, position = text.partition(":")
        if version == "v1" and position.isdigit() and len(position) <= 18 and _cursor(int(position)) == cursor:
            return int(position)
    except (binascii.Error, ValueError):
        pass
    raise Invalid(("/cursor", "This cursor is not one that a list gave. Start from the first page."))

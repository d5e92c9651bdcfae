"""Who a caller is: access tokens, looked up in the store and remembered for a moment."""

from collections import OrderedDict

from anyio import current_time

from app.errors import Unauthorized
from app.models import User
from app.queries import users
from app.store import Store

MEMORY_SECONDS = 1.0
"""How long a token is taken as valid without asking the store; a revoked one starts nothing after this."""

MEMORY_SIZE = 10_000


class Access:
    """Resolves access tokens to users.

    Promises: a token that was revoked, by this process or another, is refused `memory` seconds later at the latest;
    unknown tokens are not remembered, so guessing fills no memory.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: OrderedDict[str, tuple[User, float]] = OrderedDict()

    async def user(self, token: str, memory: float = MEMORY_SECONDS) -> User:
        """Return whose token this is, as was known within `memory` seconds. Raises Unauthorized, or DatabaseFailed."""
        sha256 = users.digest(token)
        known = self._known.get(sha256)
        if known and current_time() < known[1] + memory:
            return known[0]
        asked_at = current_time()
        user = await self._store.read(users.user_of_token, sha256)
        if user is None:
            self._known.pop(sha256, None)
            raise Unauthorized
        self._known[sha256] = (user, asked_at)
        self._known.move_to_end(sha256)
        if len(self._known) > MEMORY_SIZE:
            self._known.popitem(last=False)
        return user

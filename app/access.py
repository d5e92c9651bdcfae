"""Who a caller is: access tokens and browser sessions, looked up in the store and remembered for a moment."""

from abc import ABC, abstractmethod
from collections import OrderedDict
from contextlib import suppress
from typing import Generic, TypeVar

from anyio import Event, current_time

from app.errors import DatabaseFailed, Unauthorized
from app.models import SignedIn, User, later
from app.queries import sessions, users
from app.store import Store

U = TypeVar("U", bound=User)

MEMORY_SECONDS = 1.0
"""How long a token is taken as valid without asking the store; a revoked or expired one starts nothing
after this."""

MEMORY_SIZE = 10_000

NEVER = float("-inf")

SEEN_SECONDS = 3600
"""How old the note of a session's last use may be before it is written again."""


class Lookup(ABC, Generic[U]):
    """Resolves secrets to users.

    Promises: a token that was revoked, by this process or another, or has expired, is refused `memory` seconds later
    at the latest; unknown tokens are not remembered, so guessing fills no memory; who asks for a token that is being
    looked up waits for the answer instead of asking the store as well.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: OrderedDict[str, tuple[U, float]] = OrderedDict()
        self._asking: dict[str, Event] = {}

    def known(self, token: str, memory: float = MEMORY_SECONDS) -> U | None:
        """Return whose token this is, if that was known within `memory` seconds; None: ask `user`."""
        return self._remembered(users.digest(token), memory)

    async def user(self, token: str, memory: float = MEMORY_SECONDS) -> U:
        """Return whose token this is, as was known within `memory` seconds. Raises Unauthorized, or DatabaseFailed."""
        sha256 = users.digest(token)
        if (known := self._remembered(sha256, memory)) is not None:
            return known
        if sha256 in self._asking:
            await self._asking[sha256].wait()
            if (known := self._remembered(sha256, memory)) is not None:
                return known
        self._asking[sha256] = answered = Event()
        try:
            return await self._ask(sha256)
        finally:
            answered.set()
            if self._asking.get(sha256) is answered:
                del self._asking[sha256]

    def seen(self, token: str) -> bool:
        """Say whether this token was a user's when it was last looked up, however long ago."""
        return users.digest(token) in self._known

    def _remembered(self, sha256: str, memory: float) -> U | None:
        known = self._known.get(sha256)
        return known[0] if known and current_time() < known[1] + memory else None

    def ask_again(self) -> None:
        """Take nothing as known any more: something has ended, and who is still right will be found to be."""
        for sha256, (user, _) in self._known.items():
            self._known[sha256] = (user, NEVER)

    @abstractmethod
    async def _look_up(self, sha256: str) -> U | None:
        """Ask the store whose secret has this digest. Raises DatabaseFailed."""

    async def _ask(self, sha256: str) -> U:
        asked_at = current_time()
        user = await self._look_up(sha256)
        if user is None:
            self._known.pop(sha256, None)
            raise Unauthorized
        self._known[sha256] = (user, asked_at)
        self._known.move_to_end(sha256)
        if len(self._known) > MEMORY_SIZE:
            self._known.popitem(last=False)
        return user


class Access(Lookup[User]):
    """Resolves access tokens to users."""

    async def _look_up(self, sha256: str) -> User | None:
        return await self._store.read(users.user_of_token, sha256)


class Sessions(Lookup[SignedIn]):
    """Resolves the secrets of browser sessions to users, and notes once an hour that a session is in use."""

    async def _look_up(self, sha256: str) -> SignedIn | None:
        user = await self._store.read(sessions.user_of_session, sha256)
        if user is not None and user.seen_at < later(-SEEN_SECONDS):
            with suppress(DatabaseFailed):  # who is signed in stays so; it is noted the next time
                await self._store.write(sessions.note_use, user.session_id)
        return user

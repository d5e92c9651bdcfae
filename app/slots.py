"""Places to run: a bounded number, first in first out for one user, in turn between users."""

from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager

from anyio import Event

from app.models import UserId


class Ticket:
    """A place in the line, then a place to run. Taken without waiting."""

    def __init__(self, user_id: UserId) -> None:
        self.user_id = user_id
        self._turn = Event()

    @property
    def granted(self) -> bool:
        """Whether the holder may run."""
        return self._turn.is_set()

    def grant(self) -> None:
        self._turn.set()

    async def wait(self) -> None:
        """Return when the holder may run; at once if it may already."""
        await self._turn.wait()


class Place:
    """A generation's place to run, shared by all that write for it: given back while all of them pause.

    Invariant: it is held, or waited for, whenever somebody writes who does not pause.
    """

    def __init__(self, slots: "Slots", user_id: UserId) -> None:
        self._slots = slots
        self._user_id = user_id
        self._ticket: Ticket | None = slots.take(user_id)
        self._writers = 0
        self._pausing = 0

    @property
    def granted(self) -> bool:
        """Whether it may be used at this moment."""
        return self._ticket is not None and self._ticket.granted

    async def wait(self) -> None:
        """Return when it may be used; at the end of the line when it had been given back."""
        if self._ticket is None:
            self._ticket = self._slots.take(self._user_id)
        await self._ticket.wait()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Count one who writes. Wait for the place, inside."""
        self._writers += 1
        try:
            yield
        finally:
            self._writers -= 1
            self._give_back_if_all_pause()

    @contextmanager
    def pausing(self) -> Iterator[None]:
        """Pause in `writing`. Wait for the place again behind it."""
        self._pausing += 1
        self._give_back_if_all_pause()
        try:
            yield
        finally:
            self._pausing -= 1

    def close(self) -> None:
        """Give the place back, or step out of the line."""
        if self._ticket is not None:
            self._slots.leave(self._ticket)
            self._ticket = None

    def _give_back_if_all_pause(self) -> None:
        if self._pausing and self._pausing == self._writers:
            self.close()


class Slots:
    """The places and the line in front of them.

    Promises:
    - At most `total` tickets are granted at once.
    - Tickets of one user are granted in the order they were taken; users with waiting tickets take turns, so that one
      user's hundred cannot make another's first wait for all of them.
    - Taking and leaving never wait: who takes a ticket before its first await has its place in the line.
    """

    def __init__(self, total: int) -> None:
        self.total = self._free = total
        self._lines: OrderedDict[UserId, deque[Ticket]] = OrderedDict()
        self.waiting = 0

    @property
    def full(self) -> bool:
        """Whether the next ticket would have to wait."""
        return self._free == 0

    @property
    def busy(self) -> int:
        """How many tickets are granted."""
        return self.total - self._free

    def take(self, user_id: UserId) -> Ticket:
        """Take a ticket; it is granted at once when a place is free."""
        ticket = Ticket(user_id)
        if self._free:
            self._free -= 1
            ticket.grant()
        else:
            self._lines.setdefault(user_id, deque()).append(ticket)
            self.waiting += 1
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Give back a place, which goes to the next in line, or step out of the line."""
        if ticket.granted:
            self._pass_on()
        else:
            self._step_out(ticket)

    def _pass_on(self) -> None:
        if not self._lines:
            self._free += 1
            return
        user_id, line = self._lines.popitem(last=False)
        line.popleft().grant()
        self.waiting -= 1
        if line:
            self._lines[user_id] = line  # to the end: the others' turn comes first

    def _step_out(self, ticket: Ticket) -> None:
        line = self._lines[ticket.user_id]
        line.remove(ticket)
        self.waiting -= 1
        if not line:
            del self._lines[ticket.user_id]

"""A generation in hand: what its task, its runner and its draft know of it together."""

from dataclasses import dataclass, field

from anyio import CancelScope, Event

from app.errors import Failure
from app.models import CallId, Generation
from app.queries.usage import CallEnd
from app.slots import Ticket


@dataclass(slots=True, eq=False)
class Job:
    """One unfinished generation of this process.

    `generation` is always the newest value, progress included. `cancel_requested` tells a user's cancel from a stop of
    the server. `unclosed` is what the ledger could not be told yet of a call that has ended. `settled` is set once the
    end was recorded, or could not be: then `unrecorded` is set, the status map shows the end, and the store still has
    to be told. `superseded`: somebody else owns the generation now.
    """

    generation: Generation
    ticket: Ticket
    scope: CancelScope = field(default_factory=CancelScope)
    settled: Event = field(default_factory=Event)
    cancel_requested: bool = False
    failure: Failure | None = None
    unclosed: tuple[CallId, CallEnd] | None = None
    unrecorded: bool = False
    superseded: bool = False

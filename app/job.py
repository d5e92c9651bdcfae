"""A generation in hand: what its task, its runner and its draft know of it together."""

from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Protocol

from anyio import CancelScope, Event

from app.errors import Failure
from app.metrics import Metrics
from app.models import CallId, Generation, StatusName, Tokens, seconds_between, total
from app.queries.usage import CallEnd
from app.slots import Place
from app.spans import tell_end
from app.text import ReportText


class Publisher(Protocol):
    """Shows and keeps what would otherwise wait for the next text."""

    @property
    def in_a_lull(self) -> bool:
        """Whether there is something to publish."""

    async def publish_in_a_lull(self) -> None:
        """Publish it. Raises nothing."""


@dataclass(slots=True, eq=False)
class Job:
    """One unfinished generation of this process.

    `generation` is always the newest value, progress included, and `text` what is written so far, once it is loaded;
    `publish` shows what a lull would leave unseen. `scope` is the whole job, `writing` the part of it that a request
    to finish cuts short. `cancel_requested` tells a user's cancel from a stop of the server, `keep_partial` and
    `finish_requested` are the other forms of a cancel.
    `tokens` are those of each call of this attempt, `unclosed` what the ledger could not be told yet of calls that have
    ended. `settled` is set once the end was recorded, or could not be: then `unrecorded` is set, the status map shows
    the end, and the store still has to be told. `superseded`: somebody else owns the generation now.
    `accepted_at` is when this process took it on.
    """

    generation: Generation
    place: Place
    text: ReportText | None = None
    publish: Publisher | None = None
    scope: CancelScope = field(default_factory=CancelScope)
    writing: CancelScope = field(default_factory=CancelScope)
    settled: Event = field(default_factory=Event)
    cancel_requested: bool = False
    finish_requested: bool = False
    keep_partial: bool = False
    tokens: dict[object, Tokens] = field(default_factory=dict)
    failure: Failure | None = None
    unclosed: list[tuple[CallId, CallEnd]] = field(default_factory=list)
    unrecorded: bool = False
    superseded: bool = False
    accepted_at: float = field(default_factory=perf_counter)

    def __post_init__(self) -> None:
        self.finish_requested = self.generation.finish
        self.tokens[None] = self.generation.tokens

    def count(self, call: object, tokens: Tokens) -> None:
        """Count the tokens of a call, in the place of what was counted for it before."""
        self.tokens[call] = tokens
        self.generation = replace(self.generation, tokens=total(self.tokens.values()))


def count_end(generation: Generation, status: StatusName, metrics: Metrics, error_code: str = "") -> None:
    """Count a generation that has ended, and say so in its trace."""
    metrics.ended.labels(status, error_code).inc()
    if generation.started_at and generation.completed_at:
        metrics.report_seconds.labels(status).observe(seconds_between(generation.started_at, generation.completed_at))
    tell_end(status, error_code)

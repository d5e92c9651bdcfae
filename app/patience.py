"""When to try again: a decision after each call to Claude that went wrong."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import uniform

from anyio import current_time

from app.errors import ClaudeAuth, ClaudeLimited, ClaudeRequest, ClaudeTimeout, ClaudeUnavailable, Failure, Refused

LONGEST_PAUSE = 30.0
"""Seconds: no pause before a further attempt grows beyond this."""

LIMITED_PAUSE = 5.0
"""Seconds to wait when Claude is limiting and does not say for how long; doubled each time, with jitter."""

FINAL = (ClaudeAuth, ClaudeLimited, ClaudeRequest, Refused)
"""What no further attempt can mend."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of a generation, as the settings have them: counts, and seconds."""

    max_attempts: int
    max_resumes: int
    max_retry_after: float
    max_wait: float
    backoff_seconds: float
    max_continuations: int
    section_concurrency: int
    checkpoint_seconds: float


@dataclass(frozen=True, slots=True)
class Pause:
    """How long to wait before the next call.

    `limiting`: Claude is limiting, so everybody waits; it uses up no attempt. `last`: this generation has no patience
    left for it, and gives up.
    """

    seconds: float
    limiting: bool = False
    last: bool = False


class Waiting:
    """Counts the seconds for which a generation has waited while Claude was limiting: all its texts together, once."""

    def __init__(self, seconds: float = 0.0) -> None:
        self._before = seconds
        self._since = 0.0
        self.texts = 0

    @property
    def seconds(self) -> float:
        return self._before + (current_time() - self._since if self.texts else 0.0)

    @contextmanager
    def one(self) -> Iterator[None]:
        """Wait with one text, inside."""
        if not self.texts:
            self._since = current_time()
        self.texts += 1
        try:
            yield
        finally:
            self._before, self._since = self.seconds, current_time()
            self.texts -= 1


@dataclass(slots=True)
class Patience:
    """What is left of the patience with one text.

    `barren` counts the calls in a row that brought no new text, `silent` those in a row that timed out. The waiting and
    the resumes are of the whole generation and are counted there.
    """

    limits: Limits
    waiting: Waiting = field(default_factory=Waiting)
    barren: int = 0
    silent: int = 0
    limited: int = 0

    def after(self, failure: Failure, *, brought_text: bool, has_text: bool, resumes: int) -> Pause | None:
        """Return the pause before the next call, or None to give up.

        `brought_text`: the call that failed brought new text. `has_text`: the report has text at all. `resumes`: how
        often the generation has gone on from its text so far.
        """
        if isinstance(failure, FINAL) or (isinstance(failure, ClaudeTimeout) and not has_text):
            return None
        if isinstance(failure, ClaudeUnavailable) and failure.limiting and not brought_text:
            return self._wait(failure.retry_after)
        self.silent = self.silent + 1 if isinstance(failure, ClaudeTimeout) else 0
        self.limited = 0
        self.barren = 0 if brought_text else self.barren + 1
        silent_again = self.silent > 1 and not brought_text
        if silent_again or self.barren >= self.limits.max_attempts or resumes >= self.limits.max_resumes:
            return None
        asked = getattr(failure, "retry_after", None)
        if asked is not None:
            return Pause(min(asked, self.limits.max_retry_after))
        return Pause(uniform(0, min(self.limits.backoff_seconds * 2**self.barren, LONGEST_PAUSE)))  # noqa: S311 - jitter

    def forget(self) -> None:
        """A call ended well: what went wrong before it counts no more."""
        self.barren = self.silent = self.limited = 0

    def _wait(self, asked: float | None) -> Pause:
        own = uniform(0.5, 1) * min(LIMITED_PAUSE * 2**self.limited, self.limits.max_retry_after)  # noqa: S311 - jitter
        seconds = own if asked is None else min(asked, self.limits.max_retry_after)
        self.limited += 1
        return Pause(seconds, limiting=True, last=self.waiting.seconds + seconds > self.limits.max_wait)

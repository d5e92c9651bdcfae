"""When to try again: a pure decision after each call to Claude that went wrong."""

from dataclasses import dataclass
from random import uniform

from app.errors import ClaudeAuth, ClaudeRequest, ClaudeTimeout, ClaudeUnavailable, Failure, Refused

LONGEST_PAUSE = 30.0
"""Seconds: no pause before a further attempt grows beyond this."""

LIMITED_PAUSE = 5.0
"""Seconds to wait when Claude is limiting and does not say for how long; doubled each time, with jitter."""

FINAL = (ClaudeAuth, ClaudeRequest, Refused)
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
    """How long to wait before the next call. `limiting`: Claude is limiting; the wait uses up no attempt."""

    seconds: float
    limiting: bool = False


@dataclass(slots=True)
class Patience:
    """What is left of the patience with one text.

    `barren` counts the calls in a row that brought no new text, `silent` those in a row that timed out, `waited` the
    seconds of waiting while Claude was limiting. The resumes are of the whole generation and are counted there.
    """

    limits: Limits
    barren: int = 0
    silent: int = 0
    limited: int = 0
    waited: float = 0.0

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

    def _wait(self, asked: float | None) -> Pause | None:
        own = uniform(0.5, 1) * min(LIMITED_PAUSE * 2**self.limited, self.limits.max_retry_after)  # noqa: S311 - jitter
        seconds = own if asked is None else min(asked, self.limits.max_retry_after)
        self.limited += 1
        if self.waited + seconds > self.limits.max_wait:
            return None
        return Pause(seconds, limiting=True)

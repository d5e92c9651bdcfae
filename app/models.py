"""The nouns: frozen values, ids and states. A change makes a new value."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NewType

UserId = NewType("UserId", int)
TopicId = NewType("TopicId", int)
GenerationId = NewType("GenerationId", int)
ArtifactId = NewType("ArtifactId", int)
TokenId = NewType("TokenId", int)
SessionId = NewType("SessionId", int)
CallId = NewType("CallId", int)


class StatusName(StrEnum):
    """Where a topic's latest generation stands."""

    IDLE = "idle"
    QUEUED = "queued"
    GENERATING = "generating"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def unfinished(self) -> bool:
        return self in {StatusName.QUEUED, StatusName.GENERATING}


class Phase(StrEnum):
    """What an unfinished generation is doing; `done` for every one that has ended."""

    QUEUED = "queued"
    PREPARING = "preparing"
    THINKING = "thinking"
    WRITING = "writing"
    WAITING = "waiting"
    SAVING = "saving"
    DONE = "done"


class Kind(StrEnum):
    """What a generation makes."""

    REPORT = "report"


class Mode(StrEnum):
    """How a report is written: in one go, or its sections side by side."""

    SINGLE = "single"
    SECTIONS = "sections"


@dataclass(frozen=True, slots=True)
class User:
    id: UserId
    name: str
    is_admin: bool


@dataclass(frozen=True, slots=True)
class Person(User):
    """A user, as an administrator is shown them; `tokens` is how many access tokens of theirs hold."""

    has_password: bool
    created_at: str
    tokens: int


@dataclass(frozen=True, slots=True)
class SignedIn(User):
    """A user in a browser: in which session, and when that was last noted as used."""

    session_id: SessionId
    seen_at: str


@dataclass(frozen=True, slots=True)
class Session:
    """A browser's session, as a person is shown it. `token` is the label of the access token it was opened with."""

    id: SessionId
    user_id: UserId
    user_name: str
    agent: str
    token: str | None
    created_at: str
    seen_at: str
    expires_at: str


@dataclass(frozen=True, slots=True)
class Token:
    """An access token as it is kept: its sha256 only, never the token itself."""

    id: TokenId
    user_name: str
    label: str
    created_at: str
    expires_at: str | None
    revoked_at: str | None


@dataclass(frozen=True, slots=True)
class Topic:
    id: TopicId
    user_id: UserId
    topic: str
    plan: str
    language: str
    status: StatusName
    created_at: str
    updated_at: str


@dataclass(frozen=True, slots=True)
class Order:
    """What a caller asks of one generation; None keeps what the topic says.

    `resume` goes on from the text of the topic's latest generation, which failed or was cancelled, with its words.
    """

    topic: str | None = None
    plan: str | None = None
    instructions: str = ""
    model: str | None = None
    mode: Mode = Mode.SINGLE
    resume: bool = False


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of one call to Claude or of many: None is unknown, not zero.

    `input` is the uncached part alone, as the Messages API counts it.
    """

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None


def total(counts: Iterable[Tokens]) -> Tokens:
    """Add up tokens; what is unknown in all of them stays unknown."""
    sums: dict[str, int | None] = {}
    counts = list(counts)
    for name in ("input", "output", "cache_read", "cache_write"):
        known = [count for tokens in counts if (count := getattr(tokens, name)) is not None]
        sums[name] = sum(known) if known else None
    return Tokens(**sums)


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation, with all that is needed to run it again.

    `attempt` is the fence: every change of a running generation names it, and a change that names an older one
    finds no row. `retries` counts the further tries within an attempt, `resumes` how often the text was
    gone on from in all. `finish`: an end now was asked for; `partial`: the text ends before its plan.
    `expected_characters` is what progress is measured against. `topic` is what it is written about; `title` is what
    its topic is called by now, None where that is the same.
    """

    id: GenerationId
    topic_id: TopicId
    user_id: UserId
    kind: Kind
    status: StatusName
    topic: str
    plan: str
    language: str
    instructions: str
    model: str
    mode: Mode
    attempt: int
    retries: int
    resumes: int
    finish: bool
    partial: bool
    characters: int
    expected_characters: int
    sections_done: int
    sections_total: int
    progress_percent: int
    artifact_id: ArtifactId | None
    error_code: str | None
    error_message: str | None
    retryable: bool | None
    created_at: str
    started_at: str | None
    completed_at: str | None
    tokens: Tokens
    title: str | None = None


@dataclass(frozen=True, slots=True)
class SavedFile:
    """A report file that stands: `path` relative to the directory of reports, `size` in bytes, `sha256` in hex."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Artifact:
    """One version of a report. `path` is relative to the directory of report files."""

    id: ArtifactId
    topic_id: TopicId
    generation_id: GenerationId
    version: int
    kind: str
    filename: str
    path: str
    size: int
    sha256: str
    model: str
    partial: bool
    created_at: str


@dataclass(frozen=True, slots=True)
class Message:
    id: int
    seq_no: int
    role: str
    content: str
    created_at: str


def now() -> str:
    """Return the time as the database and the API write it: RFC 3339, UTC, milliseconds, of fixed width."""
    return timestamp(datetime.now(UTC))


def later(seconds: float) -> str:
    """Return the time `seconds` from now (negative: ago), written as `now` writes it."""
    return timestamp(datetime.now(UTC) + timedelta(seconds=seconds))


def seconds_between(earlier: str, later: str) -> float:
    """Return how many seconds lie between two times that `now` wrote; none where the clock was set back."""
    return max((datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds(), 0.0)


def timestamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")[:23] + "Z"

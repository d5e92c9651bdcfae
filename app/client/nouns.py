"""What the API tells of, as frozen values. Members that are not known here are left out."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Self

UNFINISHED = frozenset({"queued", "generating"})


class Noun:
    """Something that is made of a JSON object: by the names of its fields."""

    __slots__ = ()

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """Make it of a document. Raises TypeError and ValueError where that is none."""
        known = {field.name: field.type for field in fields(cls)}  # type: ignore[arg-type]  # each is a dataclass
        return cls(**{name: _read(known[name], value) for name, value in document.items() if name in known})


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic(Noun):
    """What a report is about; `status` is that of its latest generation."""

    id: int
    topic: str
    plan: str
    language: str
    status: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted(Noun):
    """A generation that will end, whatever happens to the server."""

    topic_id: int
    generation_id: int
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage(Noun):
    """The sum of every call to Claude so far; None is unknown, not zero."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Status(Noun):
    """Where a generation stands; before the first one, `status` is `idle` and most of the rest None.

    `retryable` tells of a failed one, `retry_at` of one that is `waiting`.
    """

    topic_id: int
    status: str
    generation_id: int | None = None
    kind: str | None = None
    phase: str | None = None
    progress_percent: int = 0
    sections_done: int = 0
    sections_total: int = 0
    characters: int = 0
    attempt: int = 0
    model: str | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    estimated_completion: datetime | None = None
    artifact_id: int | None = None
    error_code: str | None = None
    error_message: str | None = None
    retryable: bool | None = None
    retry_at: datetime | None = None
    usage: Usage = Usage()

    @property
    def unfinished(self) -> bool:
        return self.status in UNFINISHED


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact(Noun):
    """One version of a report; `size` in bytes, `sha256` in hex. `partial`: it ends before its plan does."""

    id: int
    topic_id: int
    generation_id: int
    version: int
    kind: str
    filename: str
    size: int
    sha256: str
    model: str
    partial: bool
    created_at: datetime


def _read(kind: Any, value: Any) -> Any:
    if value is None:
        return None
    if kind is Usage:
        return Usage.of(value)
    return datetime.fromisoformat(value) if kind in {datetime, datetime | None} else value

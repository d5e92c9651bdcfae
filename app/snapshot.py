"""A topic's status at one moment, as the API and the streams show it."""

import hashlib
import json
from functools import cached_property
from typing import Any

from app.again import Header
from app.models import Generation, Phase, StatusName, Topic, TopicId, UserId, now

POLL_SECONDS = 2
"""What a client is told to wait between two polls of something unfinished."""


class Snapshot:
    """What a topic's status is at one moment; its JSON and ETag are made once, when first asked for."""

    def __init__(
        self,
        topic_id: TopicId,
        generation: Generation | None,
        phase: Phase | None = None,
        estimated_completion: str | None = None,
        retry_at: str | None = None,
    ) -> None:
        self.topic_id = topic_id
        self.generation = generation
        self.phase = phase
        self.estimated_completion = estimated_completion
        self.retry_at = retry_at

    @property
    def status(self) -> StatusName:
        return self.generation.status if self.generation else StatusName.IDLE

    @property
    def doing(self) -> Phase | None:
        """What its generation is doing; None where there was never one."""
        return self.phase or (_phase(self.generation) if self.generation else None)

    @cached_property
    def json(self) -> bytes:
        """The document in JSON and UTF-8, of which each answer and each event is made."""
        return json.dumps(self.document, ensure_ascii=False, separators=(",", ":")).encode()

    @cached_property
    def body(self) -> bytes:
        """The answer's body."""
        return b'{"data":%s}' % self.json

    @cached_property
    def etag(self) -> str:
        """A strong entity tag, with its quotes: the same if and only if the body is the same."""
        return f'"{hashlib.sha256(self.body).hexdigest()[:32]}"'

    @cached_property
    def headers(self) -> tuple[Header, ...]:
        """The headers of an answer without a body."""
        unfinished = self.status.unfinished
        caching = (b"cache-control", b"no-store" if unfinished else b"no-cache")
        later = ((b"retry-after", b"%d" % POLL_SECONDS),) if unfinished else ()
        return (b"etag", self.etag.encode()), caching, *later

    @cached_property
    def headers_with_body(self) -> tuple[Header, ...]:
        """The headers of an answer that is the status."""
        return *self.headers, (b"content-length", b"%d" % len(self.body)), (b"content-type", b"application/json")

    @property
    def owner(self) -> UserId | None:
        """Whose generation it is; None where nothing was ever generated."""
        return self.generation.user_id if self.generation else None

    @property
    def document(self) -> dict[str, Any]:
        """The status as the API shows it."""
        generation = self.generation
        if generation is None:
            return {"topic_id": self.topic_id} | _NEVER
        more: dict[str, Any] = {"retryable": generation.retryable} if generation.status is StatusName.FAILED else {}
        if self.phase is Phase.WAITING:
            more["retry_at"] = self.retry_at
        return {
            "topic_id": self.topic_id,
            "generation_id": generation.id,
            "kind": generation.kind,
            "status": generation.status,
            "phase": self.doing,
            "progress_percent": generation.progress_percent,
            "sections_done": generation.sections_done,
            "sections_total": generation.sections_total,
            "characters": generation.characters,
            "attempt": generation.attempt + generation.retries,
            "model": generation.model,
            "created_at": generation.created_at,
            "started_at": generation.started_at,
            "completed_at": generation.completed_at,
            "estimated_completion": self.estimated_completion,
            "artifact_id": generation.artifact_id,
            "error_code": generation.error_code,
            "error_message": generation.error_message,
            "usage": {
                "input_tokens": generation.tokens.input,
                "output_tokens": generation.tokens.output,
                "cost_usd": None,
            },
        } | more


_NEVER: dict[str, Any] = {
    "generation_id": None, "kind": None, "status": StatusName.IDLE, "phase": None, "progress_percent": 0,
    "sections_done": 0, "sections_total": 0, "characters": 0, "attempt": 0, "model": None, "created_at": None,
    "started_at": None, "completed_at": None, "estimated_completion": None, "artifact_id": None, "error_code": None,
    "error_message": None, "usage": {"input_tokens": None, "output_tokens": None, "cost_usd": None},
}  # fmt: skip
"""The status of a topic for which nothing was ever generated."""


def topic_document(snapshot: Snapshot, topic: Topic | None = None) -> dict[str, Any]:
    """A topic with its latest generation, as the stream of a list shows it.

    `topic`: as the store has it; None: only its generation has changed, and that just now.
    """
    generation = snapshot.generation
    title = topic.topic if topic else generation and (generation.title or generation.topic)
    ended_at = (generation and generation.completed_at) or ""
    return {
        "id": snapshot.topic_id,
        "topic": title,
        "status": snapshot.status,
        "phase": snapshot.doing,
        "progress_percent": generation.progress_percent if generation else 0,
        "sections_done": generation.sections_done if generation else 0,
        "sections_total": generation.sections_total if generation else 0,
        "updated_at": max(topic.updated_at, ended_at) if topic else ended_at or now(),
    }


def _phase(generation: Generation) -> Phase:
    match generation.status:
        case StatusName.QUEUED:
            return Phase.QUEUED
        case StatusName.GENERATING:
            return Phase.PREPARING
        case _:
            return Phase.DONE

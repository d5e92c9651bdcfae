"""The status map: the live view of every unfinished generation. The store is the truth."""

import hashlib
import json
from dataclasses import replace
from functools import cached_property
from math import inf
from typing import Any
from weakref import WeakValueDictionary

from anyio import Event, current_time

from app.errors import Failure
from app.feed import Feed
from app.models import Generation, GenerationId, Phase, StatusName, Topic, TopicId, UserId, now
from app.text import ReportText

READER_SECONDS = 20.0
"""How long after a look at a text its reader counts as present; a stream looks every 15 seconds at least."""


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
            "phase": self.phase or _phase(generation),
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
        **{name: snapshot.document[name] for name in _LISTED},
        "updated_at": max(topic.updated_at, ended_at) if topic else ended_at or now(),
    }


_LISTED = ("status", "phase", "progress_percent", "sections_done", "sections_total")


def _phase(generation: Generation) -> Phase:
    match generation.status:
        case StatusName.QUEUED:
            return Phase.QUEUED
        case StatusName.GENERATING:
            return Phase.PREPARING
        case _:
            return Phase.DONE


class StatusMap:
    """The live status of each unfinished generation, by topic.

    Promises:
    - Every change wakes everyone who waits for that topic, and nobody else; waiting costs nothing meanwhile.
    - `progress_percent` never goes back within an attempt.
    - What has ended is shown until `forget`, which follows once the store says the same.
    - Readers of lists are told of each change of a topic, its words and its end included.

    Invariant: an entry is replaced, never changed, so a reader's snapshot stays what it was.
    """

    def __init__(self) -> None:
        self._entries: dict[TopicId, Snapshot] = {}
        self._texts: dict[TopicId, tuple[GenerationId, ReportText]] = {}
        self._read_at: dict[TopicId, float] = {}
        self.feed = Feed()
        self._changes: WeakValueDictionary[TopicId, Event] = WeakValueDictionary()
        self.closed = False

    def get(self, topic_id: TopicId) -> Snapshot | None:
        """Return the live status of a topic; None: the store knows."""
        return self._entries.get(topic_id)

    def owner(self, topic_id: TopicId) -> UserId | None:
        """Return whose topic it is that has a live status."""
        entry = self._entries.get(topic_id)
        return entry.generation.user_id if entry and entry.generation else None

    def mark_queued(self, generation: Generation) -> None:
        self._put(generation)

    def mark_generating(self, generation: Generation) -> None:
        self._put(generation)

    def mark_progress(
        self,
        generation: Generation,
        phase: Phase,
        estimated_completion: str | None = None,
        retry_at: str | None = None,
    ) -> None:
        """Show how far a running generation is: `generation` holds the new figures."""
        before = self._entries.get(generation.topic_id)
        if before and before.generation and before.generation.attempt == generation.attempt:
            percent = max(before.generation.progress_percent, generation.progress_percent)
            generation = replace(generation, progress_percent=percent)
        self._put(generation, phase, estimated_completion, retry_at)

    def mark_completed(self, generation: Generation) -> None:
        self._put(generation)

    def mark_failed(self, generation: Generation, failure: Failure) -> None:
        """Show a generation as failed, whether or not the store could be told yet."""
        self._put(
            replace(
                generation,
                status=StatusName.FAILED,
                error_code=failure.code,
                error_message=str(failure),
                retryable=failure.retryable,
                completed_at=generation.completed_at or now(),
            )
        )

    def mark_cancelled(self, generation: Generation) -> None:
        """Show a generation as cancelled, whether or not the store could be told yet."""
        completed_at = generation.completed_at or now()
        self._put(replace(generation, status=StatusName.CANCELLED, completed_at=completed_at))

    def show_topic(self, topic: Topic, generation: Generation | None) -> None:
        """Tell readers of lists of a topic that was added or changed; `generation` is its latest in the store."""
        entry = self._entries.get(topic.id)
        if entry and entry.generation:
            title = replace(entry.generation, title=topic.topic)
            entry = Snapshot(topic.id, title, entry.phase, entry.estimated_completion, entry.retry_at)
            self._entries[topic.id] = entry
        self._publish(entry or Snapshot(topic.id, generation), topic.user_id, topic)

    def forget(self, topic_id: TopicId) -> None:
        """Drop a topic's live status: the store is asked from now on, also by who waits."""
        self._entries.pop(topic_id, None)
        self._texts.pop(topic_id, None)
        self._read_at.pop(topic_id, None)
        self._wake(topic_id)

    def mark_deleted(self, topic_id: TopicId, owner: UserId | None) -> None:
        """Drop a topic that is no more; who waits for it looks and finds nothing. `owner`: None: it was gone before."""
        self.forget(topic_id)
        if owner is not None:
            self.feed.delete(topic_id, owner)

    def next_change(self, topic_id: TopicId) -> Event:
        """Return the event that the topic's next change sets. Take it, then look, then wait: no change is missed."""
        event = self._changes.get(topic_id)
        if event is None:
            event = self._changes[topic_id] = Event()
        if self.closed:
            event.set()
        return event

    def close(self) -> None:
        """Wake all who wait, now and later: the server is about to stop."""
        self.closed = True
        self.feed.wake_all()
        for topic_id in list(self._changes):
            self._wake(topic_id)

    def text(self, generation: Generation) -> ReportText | None:
        """Return the text of a generation that is being written, for a reader; None: the store knows."""
        generation_id, text = self._texts.get(generation.topic_id, (None, None))
        if generation_id != generation.id:
            return None
        self._read_at[generation.topic_id] = current_time()
        return text

    def show_text(self, generation: Generation, text: ReportText) -> None:
        """Let readers have the text of a generation as it grows."""
        self._texts[generation.topic_id] = generation.id, text

    def has_readers(self, topic_id: TopicId) -> bool:
        """Whether somebody has read a topic's text of late."""
        return current_time() - self._read_at.get(topic_id, -inf) < READER_SECONDS

    def _put(
        self,
        generation: Generation,
        phase: Phase | None = None,
        estimated: str | None = None,
        retry_at: str | None = None,
    ) -> None:
        before = self._entries.get(generation.topic_id)
        if before and before.generation and before.generation.id == generation.id:
            generation = replace(generation, title=before.generation.title)  # it may have changed meanwhile
        entry = Snapshot(generation.topic_id, generation, phase, estimated, retry_at)
        self._entries[generation.topic_id] = entry
        self._publish(entry, generation.user_id)
        self._wake(generation.topic_id)

    def _publish(self, entry: Snapshot, owner: UserId, topic: Topic | None = None) -> None:
        document, unfinished = topic_document(entry, topic), entry.status.unfinished
        ended_at = entry.generation.completed_at if entry.generation else None
        self.feed.publish(entry.topic_id, owner, document, unfinished=unfinished, ended_at=ended_at)

    def _wake(self, topic_id: TopicId) -> None:
        event = self._changes.pop(topic_id, None)
        if event is not None:
            event.set()

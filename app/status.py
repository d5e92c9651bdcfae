"""The status map: the live view of every unfinished generation. The store is the truth."""

from collections import Counter, OrderedDict
from dataclasses import replace
from math import inf
from weakref import WeakValueDictionary

from anyio import Event, current_time

from app.errors import Failure
from app.feed import Feed
from app.models import Generation, GenerationId, Phase, StatusName, Topic, TopicId, UserId, now
from app.snapshot import Snapshot, topic_document
from app.text import ReportText

COMPLETED_SIZE = 1000
"""How many completed topics are remembered, whose clients come for the end."""

READER_SECONDS = 20.0
"""How long after a look at a text its reader counts as present; a stream looks every 15 seconds at least."""


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
        self._completed: OrderedDict[TopicId, Snapshot] = OrderedDict()
        self._texts: dict[TopicId, tuple[GenerationId, ReportText]] = {}
        self._read_at: dict[TopicId, float] = {}
        self.feed = Feed()
        self._changes: WeakValueDictionary[TopicId, Event] = WeakValueDictionary()
        self.closed = False

    def get(self, topic_id: TopicId) -> Snapshot | None:
        """Return the live status of a topic; None: the store knows."""
        return self._entries.get(topic_id)

    def completed(self, topic_id: TopicId) -> Snapshot | None:
        """Return the status of a topic that was completed lately, without its plan; None: the store knows."""
        return self._completed.get(topic_id)

    def known(self, topic_id: TopicId) -> Snapshot | None:
        """Return the live status of a topic, or that of one that was completed lately; None: the store knows."""
        return self._entries.get(topic_id) or self._completed.get(topic_id)

    def owner(self, topic_id: TopicId) -> UserId | None:
        """Return whose topic it is that has a live status."""
        entry = self._entries.get(topic_id)
        return entry.owner if entry else None

    def phases(self) -> Counter[Phase | None]:
        """Count the unfinished generations by what they are doing."""
        return Counter(entry.doing for entry in self._entries.values() if entry.status.unfinished)

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
        shown = self._entries.get(generation.topic_id)
        before = shown and shown.generation
        if before and before.attempt == generation.attempt and before.progress_percent > generation.progress_percent:
            generation = replace(generation, progress_percent=before.progress_percent)
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
        """Drop a topic's live status: the store says the same from now on, also to who waits.

        Of what was completed lately it need not be asked.
        """
        entry = self._entries.pop(topic_id, None)
        if entry and entry.generation and entry.status is StatusName.COMPLETED:
            self._completed[topic_id] = Snapshot(topic_id, replace(entry.generation, plan="", instructions=""))
            if len(self._completed) > COMPLETED_SIZE:
                self._completed.popitem(last=False)
        self._texts.pop(topic_id, None)
        self._read_at.pop(topic_id, None)
        self._wake(topic_id)

    def mark_deleted(self, topic_id: TopicId, owner: UserId | None) -> None:
        """Drop a topic that is no more; who waits for it looks and finds nothing. `owner`: None: it was gone before."""
        self.forget(topic_id)
        self._completed.pop(topic_id, None)
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

    def is_watched(self, topic_id: TopicId) -> bool:
        """Whether somebody waits for a topic's next change, or has read its text of late."""
        return topic_id in self._changes or self.has_readers(topic_id)

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
            title = before.generation.title  # it may have changed meanwhile
            generation = generation if title == generation.title else replace(generation, title=title)
        entry = Snapshot(generation.topic_id, generation, phase, estimated, retry_at)
        self._entries[generation.topic_id] = entry
        self._completed.pop(generation.topic_id, None)
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

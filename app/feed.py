"""What has changed lately, of all topics: the source of the stream that a list of topics reads."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from secrets import token_hex
from weakref import WeakValueDictionary

from anyio import Event

from app.models import TopicId, UserId, now

SIZE = 10_000
"""How many topics are remembered; who was away for longer than that starts over."""


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a reader is: which changes of which process it has, and the newest end of a generation among them.

    Another process does not know the number; its store knows what has ended since.
    """

    run: str
    number: int
    ended_at: str
    ended_topic: TopicId

    def __str__(self) -> str:
        return f"{self.run}-{self.number}-{self.ended_at}-{self.ended_topic}"


@dataclass(frozen=True, slots=True)
class Change:
    """The newest change of one topic: the type of event that tells it, and its data.

    `mark` is how far it brings its reader.
    """

    mark: Mark
    owner: UserId
    document: Mapping[str, object]
    unfinished: bool
    event: str = "topic"

    def says(self, document: Mapping[str, object]) -> bool:
        """Whether a document says the same, but for its time."""
        return {**self.document, "updated_at": document.get("updated_at")} == document


class Feed:
    """The newest change of each topic, in the order of the changes.

    Promises: a reader who asks for what came after a number gets every topic that has changed since, once, as it is
    now, in order, a deleted one as deleted; or None when that is no longer known. What is unfinished is always known.
    Every change wakes the owner's readers and those of all; what says the same as before but for its time is none.

    `mark` is the newest one; its `run` names this process, for numbers of another one mean nothing here.
    """

    def __init__(self) -> None:
        self.mark = Mark(token_hex(4), 0, now(), TopicId(0))
        self._forgotten = 0
        self._newest: OrderedDict[TopicId, Change] = OrderedDict()
        self._events: WeakValueDictionary[UserId | None, Event] = WeakValueDictionary()

    def publish(
        self,
        topic_id: TopicId,
        owner: UserId,
        document: Mapping[str, object],
        *,
        unfinished: bool,
        ended_at: str | None = None,
    ) -> None:
        """Note a change of a topic; `ended_at`: when its generation ended, if it has."""
        newest = self._newest.get(topic_id)
        if newest and (newest.event == "deleted" or newest.says(document)):
            return  # what is deleted stays deleted, whoever comes late
        if ended_at and ended_at >= self.mark.ended_at:
            self.mark = replace(self.mark, ended_at=ended_at, ended_topic=topic_id)
        self._note(topic_id, Change(self._next_mark(), owner, document, unfinished))

    def delete(self, topic_id: TopicId, owner: UserId) -> None:
        """Note that a topic is no more."""
        self._note(topic_id, Change(self._next_mark(), owner, {"id": topic_id}, unfinished=False, event="deleted"))

    def mark_before_unfinished(self, owner: UserId | None) -> Mark:
        """Return the mark of who is still to be told of all that is unfinished."""
        first = next(iter(self.unfinished(owner)), None)
        return replace(self.mark, number=first.mark.number - 1) if first else self.mark

    def since(self, number: int, owner: UserId | None) -> list[Change] | None:
        """Return what has changed after a number, of one owner's topics or (None) of all."""
        if number < self._forgotten:
            return None
        found = []
        for change in reversed(self._newest.values()):
            if change.mark.number <= number:
                break
            if owner in {None, change.owner}:
                found.append(change)
        return found[::-1]

    def unfinished(self, owner: UserId | None) -> list[Change]:
        """Return the newest changes of what is unfinished, of one owner's topics or (None) of all, in order."""
        return [change for change in self._newest.values() if change.unfinished and owner in {None, change.owner}]

    def next_change(self, owner: UserId | None) -> Event:
        """Return the event that the next change sets. Take it, then look, then wait: no change is missed."""
        event = self._events.get(owner)
        if event is None:
            event = self._events[owner] = Event()
        return event

    def wake(self, owner: UserId | None) -> None:
        event = self._events.pop(owner, None)
        if event is not None:
            event.set()

    def wake_all(self) -> None:
        """Wake every reader: the server is about to stop."""
        for owner in list(self._events):
            self.wake(owner)

    def _next_mark(self) -> Mark:
        self.mark = replace(self.mark, number=self.mark.number + 1)
        return self.mark

    def _note(self, topic_id: TopicId, change: Change) -> None:
        self._newest[topic_id] = change
        self._newest.move_to_end(topic_id)
        if len(self._newest) > SIZE:
            self._forget_oldest()
        self.wake(change.owner)
        self.wake(None)

    def _forget_oldest(self) -> None:
        """Forget the topic that has not changed for longest, of those that have ended."""
        oldest = next((topic_id for topic_id, change in self._newest.items() if not change.unfinished), None)
        if oldest is not None:
            self._forgotten = self._newest.pop(oldest).mark.number

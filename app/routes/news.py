"""The event stream of a list: the newest state of every topic that changes."""

import re
from collections.abc import Mapping
from typing import Any

from anyio import Event, sleep
from starlette.responses import Response

from app.feed import Mark
from app.models import TopicId, User, UserId
from app.queries import generations
from app.routes.auth import current_user
from app.routes.resource import Request, resource
from app.routes.streams import RETRY, Reader, encoded, event, event_id, events_of, flags, id_line, stream
from app.snapshot import Snapshot, topic_document

LIST_SECONDS = 0.25
"""How often the stream of a list sends at most; a topic that changes more often is sent as it is then."""

MARK = re.compile(r"([0-9a-f]{8})-([0-9]{1,18})-([0-9-]{10}T[0-9:]{8}\.[0-9]{3}Z)-([0-9]{1,18})")

News = list[tuple[str, Mapping[str, Any], Mark]]
"""The type of each event, its data, and how far it brings the reader."""


async def stream_topics(request: Request) -> Response:
    user = await current_user(request)
    asked = flags(request, "ping")
    source = ListSource(request, _owner(user), _mark(request))
    return stream(request, events_of(source, request.state["statuses"], asked, RETRY + id_line(source.mark)))


class ListSource:
    """Tells of every topic that changes, the unfinished ones first.

    Promises: who was away gets each topic that has changed since, once; `mark` is an id to come back with from the
    start on, before there is any event, and never runs ahead of what was told.
    """

    def __init__(self, request: Request, owner: UserId | None, known: Mark | None) -> None:
        self._request = request
        self._reader = Reader(request)
        self._feed = request.state["statuses"].feed
        self._owner = owner
        self._known = known
        self._pause = False
        self.mark = known or self._feed.mark_before_unfinished(owner)

    def next_change(self) -> Event:
        return self._feed.next_change(self._owner)

    async def step(self) -> bytes | None:
        if self._pause:
            await sleep(LIST_SECONDS)  # what comes together goes together
        user = await self._reader.user()
        if user is None:
            return None
        self._owner = _owner(user)
        news, now = await self._news(self._owner)
        self.mark = self._known = now
        self._pause = bool(news)
        return b"".join(event(name, encoded(document), mark) for name, document, mark in news)

    async def _news(self, owner: UserId | None) -> tuple[News, Mark]:
        """Return what the reader is to be told, each with how far it brings them, and how far all of it does.

        Where this process does not know what they have missed: what is unfinished, and what has ended since. Only the
        last of that moves them on, so who is cut off in the middle gets it again.
        """
        known, now = self._known, self._feed.mark
        missed = self._feed.since(known.number, owner) if known and known.run == now.run else None
        changes = self._feed.unfinished(owner) if missed is None else missed
        news = [(change.event, change.document, change.mark) for change in changes]
        if missed is None and known:
            news = [(name, document, known) for name, document, _ in news] + await self._ended(owner, known, now)
        return [*news[:-1], *((name, document, now) for name, document, _ in news[-1:])], now

    async def _ended(self, owner: UserId | None, known: Mark, now: Mark) -> News:
        """Return what has ended since a mark of another process, from the store."""
        store = self._request.state["store"]
        ended = await store.read(generations.topics_ended_between, owner, known.ended_at, now.ended_at)
        return [
            ("topic", topic_document(Snapshot(topic.id, generation), topic), known)
            for topic, generation in ended
            if (generation.completed_at, topic.id) != (known.ended_at, known.ended_topic)
        ]


def _owner(user: User) -> UserId | None:
    """Return whose topics somebody is told of; None: all."""
    return None if user.is_admin else user.id


def _mark(request: Request) -> Mark | None:
    """Read how far the reader of a list is; None without an id."""
    found = event_id(request, MARK)
    return found and Mark(found[1], int(found[2]), found[3], TopicId(int(found[4])))


routes = [resource("/api/topics/stream", GET=stream_topics)]

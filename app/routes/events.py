"""Server-Sent Events: the status and the text of one topic, and the statuses of a list."""

import json
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from anyio import Event, move_on_after, sleep
from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from app.draft import report_text
from app.errors import DatabaseFailed, Invalid, NotFound, Unauthorized
from app.feed import Mark
from app.models import Generation, GenerationId, StatusName, TopicId, User
from app.queries import artifacts, generations, texts
from app.routes.auth import current_user, topic_id
from app.routes.body import pointer
from app.routes.resource import Request, resource
from app.routes.status import look
from app.status import Snapshot, topic_document

RETRY_MILLISECONDS = 3000
QUIET_SECONDS = 15.0
"""After so long without an event a comment is sent, which keeps proxies awake."""

TOKEN_SECONDS = 15.0
"""How long a stream goes on without asking whether its reader's token still holds; it asks after a comment, too."""

OUTAGE_SECONDS = 1.0
"""How long a stream waits before it tries again to read a database that cannot be used."""

TEXT_CHARACTERS = 65_536
"""How much text one event holds at most; a reader who is far behind takes several."""

LIST_SECONDS = 0.25
"""How often the stream of a list sends at most; a topic that changes more often is sent as it is then."""

HEADERS = {
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
    "Content-Type": "text/event-stream; charset=utf-8",
}

RETRY = b"retry: %d\n\n" % RETRY_MILLISECONDS
COMMENT = b": still here\n\n"
PING = b"event: ping\ndata: {}\n\n"

Flags = frozenset[str]
News = list[tuple[Mapping[str, Any], Mark]]

T = TypeVar("T")

POSITION = re.compile(r"([0-9]{1,18})-([0-9]{1,18})(-done)?")
MARK = re.compile(r"([0-9a-f]{8})-([0-9]{1,18})-([0-9-]{10}T[0-9:]{8}\.[0-9]{3}Z)-([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class Position:
    """Where a reader is: in which generation, how many code points of its text it has, and whether it saw the end."""

    generation_id: GenerationId
    offset: int
    done: bool = False

    def __str__(self) -> str:
        return f"{self.generation_id}-{self.offset}{'-done' if self.done else ''}"


class EventStream(StreamingResponse):
    """A stream of events whose generator ends with it, also where the reader left in the middle of a send."""

    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        super().__init__(events, headers=HEADERS)
        self._events = events

    async def stream_response(self, send: Send) -> None:
        async with aclosing(self._events):
            await super().stream_response(send)


async def stream_status(request: Request) -> Response:
    user = await current_user(request)
    flags = _flags(request, "text", "ping")
    snapshot = await look(request, user, topic_id(request))
    position = _position(request)
    generation = snapshot.generation
    if position.done and generation and generation.id == position.generation_id and not snapshot.status.unfinished:
        return Response(status_code=204)
    return _stream(request, status_events(request, topic_id(request), replace(position, done=False), flags))


async def stream_topics(request: Request) -> Response:
    await current_user(request)
    flags = _flags(request, "ping")
    return _stream(request, topic_events(request, _mark(request), flags))


async def status_events(
    request: Request, topic_id: TopicId, position: Position, flags: Flags
) -> AsyncGenerator[bytes, None]:
    """Give the events of one topic: the whole status first, then each change, until the end or the server's stop.

    Holds nothing but the position, so a reader who is slow costs nothing and misses nothing.
    """
    statuses = request.state["statuses"]
    shown = None
    yield RETRY
    while True:
        change = statuses.next_change(topic_id)  # taken before the look, so no change is missed
        snapshot = await _patiently(partial(_look, request, topic_id))
        if snapshot is None:
            return
        generation = snapshot.generation
        if generation and generation.id != position.generation_id:
            position = Position(generation.id, 0)
        if snapshot.etag != shown:
            shown = snapshot.etag
            yield event("status", snapshot.document, position)
        while "text" in flags and generation and (text := await _text(request, generation, position)):
            reached = replace(position, offset=position.offset + len(text))
            yield event("text", {"offset": position.offset, "text": text}, reached)
            position = reached
        if generation and not snapshot.status.unfinished:
            yield event("done", snapshot.document, replace(position, done=True))
            return
        if statuses.closed:
            yield event("draining", {}, position)
            return
        if not await _happens(change):
            yield _quiet(flags)


async def topic_events(request: Request, mark: Mark | None, flags: Flags) -> AsyncGenerator[bytes, None]:
    """Give the newest state of every topic that changes, the unfinished ones first, until the server stops.

    Who was away gets each topic that has changed since, once; from the store where this process does not know.
    """
    statuses = request.state["statuses"]
    yield RETRY
    while True:
        user = await _patiently(partial(_reader, request))
        if user is None:
            return
        change = statuses.feed.next_change(None if user.is_admin else user.id)  # taken before the look
        news, now = await _patiently(partial(_news, request, user, mark))
        for document, reached in news:
            yield event("topic", document, reached)
        mark = now
        if statuses.closed:
            yield event("draining", {}, mark)
            return
        if news:
            await sleep(LIST_SECONDS)  # what comes together goes together
        elif not await _happens(change):
            yield _quiet(flags)


def event(name: str, data: Mapping[str, Any], position: object) -> bytes:
    """Write one event with its id."""
    content = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return f"event: {name}\nid: {position}\ndata: {content}\n\n".encode()


async def _reader(request: Request) -> User | None:
    """Return who reads; None when the token holds no longer."""
    try:
        return await current_user(request, TOKEN_SECONDS)
    except Unauthorized:
        return None


async def _look(request: Request, topic_id: TopicId) -> Snapshot | None:
    """Return a topic's status; None when it is gone, or is not the reader's to see any more."""
    user = await _reader(request)
    try:
        return await look(request, user, topic_id) if user else None
    except NotFound:
        return None


async def _text(request: Request, generation: Generation, position: Position) -> str:
    """Return what the reader may see next of a report: from memory while it is written, then stored."""
    return await _patiently(partial(text_since, request, generation, position.offset))


async def text_since(request: Request, generation: Generation, offset: int) -> str:
    """Return what readers may see of a report from an offset on, at most one event's worth."""
    store, end = request.state["store"], offset + TEXT_CHARACTERS
    live = request.state["statuses"].text(generation)
    if live is not None:
        return live.since(offset)[:TEXT_CHARACTERS]
    if generation.status is StatusName.COMPLETED:
        return (await store.read(artifacts.report_text, generation.id) or "")[offset:end]
    kept = report_text(generation, await store.read(texts.kept_strands, generation.id))
    if generation.artifact_id is not None:  # a partial report is all that was written, later sections included
        return f"{kept}\n"[offset:end]
    return kept.since(offset)[:TEXT_CHARACTERS]


async def _news(request: Request, user: User, known: Mark | None) -> tuple[News, Mark]:
    """Return what a reader of a list is to be told, each with how far it brings them, and how far all of it does.

    Where this process does not know what they have missed: what is unfinished, and what has ended since. Only the last
    of that moves them on, so who is cut off in the middle gets it again.
    """
    feed = request.state["statuses"].feed
    owner, now = None if user.is_admin else user.id, feed.mark
    missed = feed.since(known.number, owner) if known and known.run == now.run else None
    news = [(change.document, change.mark) for change in (feed.unfinished(owner) if missed is None else missed)]
    if missed is None and known:
        ended = await request.state["store"].read(generations.ended_between, owner, known.ended_at, now.ended_at)
        news += [
            (topic_document(Snapshot(generation.topic_id, generation)), known)
            for generation in ended
            if (generation.completed_at, generation.topic_id) != (known.ended_at, known.ended_topic)
        ]
        news = [(document, known) for document, _ in news]
    return [*news[:-1], *((document, now) for document, _ in news[-1:])], now


async def _patiently(read: Callable[[], Awaitable[T]]) -> T:
    """Read, and again for as long as the database cannot be used: that ends no stream."""
    while True:
        try:
            return await read()
        except DatabaseFailed:
            await sleep(OUTAGE_SECONDS)


async def _happens(change: Event) -> bool:
    """Wait for a change, but not beyond the time after which proxies want to hear something."""
    with move_on_after(QUIET_SECONDS):
        await change.wait()
    return change.is_set()


def _quiet(flags: Flags) -> bytes:
    return COMMENT + PING if "ping" in flags else COMMENT


def _stream(request: Request, events: AsyncGenerator[bytes, None]) -> Response:
    """Answer with a stream; HEAD gets its headers and starts nothing."""
    if request.method != "HEAD":
        return EventStream(events)
    response = Response(headers=HEADERS)
    del response.headers["content-length"]  # a stream has none
    return response


def _position(request: Request) -> Position:
    """Read where the reader is; nowhere yet without an id."""
    found = _event_id(request, POSITION)
    if found is None:
        return Position(GenerationId(0), 0)
    return Position(GenerationId(int(found[1])), int(found[2]), done=bool(found[3]))


def _mark(request: Request) -> Mark | None:
    """Read how far the reader of a list is; None without an id."""
    found = _event_id(request, MARK)
    return found and Mark(found[1], int(found[2]), found[3], TopicId(int(found[4])))


def _event_id(request: Request, form: re.Pattern[str]) -> re.Match[str] | None:
    """Return the id of the last event that the reader has. A reconnecting browser's own word goes before the address
    that it was given once. Raises Invalid."""
    given = request.headers.get("last-event-id") or request.query_params.get("starting_after")
    if not given:
        return None
    if found := form.fullmatch(given):
        return found
    raise Invalid(("/starting_after", "This is not the id of an event of this stream."))


def _flags(request: Request, *names: str) -> Flags:
    """Return which of the query's flags are set to 1. Raises Invalid."""
    for name, value in request.query_params.items():
        if name not in {*names, "starting_after"} or (name in names and value not in {"0", "1"}):
            sentence = f"The parameters are starting_after, and {' and '.join(names)}: 0 or 1."
            raise Invalid((pointer((name,)), sentence))
    return frozenset(name for name in names if request.query_params.get(name) == "1")


routes = [
    resource("/api/topics/stream", GET=stream_topics),
    resource("/api/topics/{id:id}/status/stream", GET=stream_status),
]

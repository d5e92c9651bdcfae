"""The status of a topic: poll, conditional poll, long poll, history."""

import re
from contextlib import suppress
from functools import partial
from typing import Any

from anyio import Event, move_on_after
from starlette.responses import Response

from app.access import Lookup
from app.again import Again, Reply, offer
from app.errors import DatabaseFailed, Invalid, NotFound
from app.limiter import Limiter
from app.models import TopicId, User
from app.queries import generations
from app.refusals import RateLimited
from app.routes.auth import carried_by, check_owner, current_user, lookup, owned_topic, owns, topic_id
from app.routes.paging import page
from app.routes.resource import Request, listing, resource, respond
from app.routes.streams import TOKEN_SECONDS
from app.snapshot import Snapshot
from app.status import StatusMap

MAX_WAIT = 60

PREFER_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?=$|[,;])", re.IGNORECASE)
"""The preference `wait` of RFC 7240."""


async def get_status(request: Request) -> Response:
    user = await current_user(request)
    seconds = _wait_seconds(request)
    known = request.headers.get("if-none-match")
    snapshot = await look(request, user, topic_id(request))
    if seconds and known is not None and matches(known, snapshot.etag):
        request.scope["held"] = True
        snapshot = await wait_for_change(request, user, snapshot, seconds)
    if not seconds:
        state, carried = request.state, carried_by(request)
        access = lookup(state, carried)
        again = partial(look_again, access, state["statuses"], carried.secret, snapshot.topic_id, known)
        offer(request.scope, partial(counted, again, state["limiter"], hash(carried)))
    return respond(status_reply(snapshot, known))


def look_again(
    access: Lookup[Any], statuses: StatusMap, secret: str, topic_id: TopicId, known: str | None
) -> Reply | None:
    """Answer a status once more; None where the store has to be asked, for the caller or for the status."""
    user, snapshot = access.known(secret), statuses.known(topic_id)
    if user is None or snapshot is None or not owns(user, snapshot.owner):
        return None
    return status_reply(snapshot, known)


def counted(look: Again, limiter: Limiter, key: int) -> Reply | None:
    """Answer once more within the caller's quota; None where it is used up, which the whole way says."""
    reply = look()
    if reply is None:
        return None
    try:
        told = limiter.take(key)
    except RateLimited:
        return None
    return reply._replace(headers=[*reply.headers, *told]) if told else reply


async def list_generations(request: Request) -> Response:
    topic = await owned_topic(request)
    asked = page(request)
    found = await request.state["store"].read(generations.list_generations, topic.id, asked.position, asked.fetch)
    shown, next_cursor = asked.cut(found, lambda generation: generation.id)
    live = request.state["statuses"].get(topic.id)
    documents = [
        live if live and live.generation and live.generation.id == generation.id else Snapshot(topic.id, generation)
        for generation in shown
    ]
    return listing([snapshot.document for snapshot in documents], next_cursor)


async def look(request: Request, user: User, topic_id: TopicId) -> Snapshot:
    """Return a topic's status: the live one, or else what the store says. Raises NotFound."""
    statuses = request.state["statuses"]
    if (known := statuses.known(topic_id)) is not None:
        check_owner(user, known.owner)
        return known
    found = await request.state["store"].read(generations.topic_and_latest, topic_id)
    if found is None:
        raise NotFound
    topic, generation = found
    check_owner(user, topic.user_id)
    return statuses.get(topic_id) or Snapshot(topic_id, generation)


async def wait_for_change(request: Request, user: User, known: Snapshot, seconds: float) -> Snapshot:
    """Hold the answer until the status is another one, the time is up or the server stops; costs nothing meanwhile.

    Who asks is looked up again as for a stream, so a token or a session that ends does not wait on. Raises
    Unauthorized.
    """
    statuses = request.state["statuses"]
    snapshot = known
    with move_on_after(seconds):
        while snapshot.etag == known.etag and not statuses.closed:
            change: Event = statuses.next_change(known.topic_id)  # taken before the look, so no change is missed
            snapshot = await look(request, user, known.topic_id)
            if snapshot.etag == known.etag:
                with move_on_after(TOKEN_SECONDS):
                    await change.wait()
                with suppress(DatabaseFailed):  # an outage ends nothing that waits
                    user = await current_user(request, TOKEN_SECONDS)
    return snapshot


def status_reply(snapshot: Snapshot, known: str | None, code: int = 200) -> Reply:
    """Answer a status, or 304 where the caller's `If-None-Match` says that it is known."""
    if known is not None and matches(known, snapshot.etag):
        return Reply(304, snapshot.headers, b"")
    return Reply(code, snapshot.headers_with_body, snapshot.body)


def matches(if_none_match: str, etag: str) -> bool:
    """Compare as If-None-Match does (RFC 9110, 13.1.2): weakly, against a list or `*`."""
    tags = (tag.strip().removeprefix("W/") for tag in if_none_match.split(","))
    return if_none_match.strip() == "*" or etag in tags


def _wait_seconds(request: Request) -> int:
    given = request.query_params.get("wait") if request.scope["query_string"] else None
    if given is None:
        preferred = PREFER_WAIT.search(request.headers.get("prefer", ""))
        return min(int(preferred[1]), MAX_WAIT) if preferred else 0
    if not (given.isascii() and given.isdigit() and len(given) <= 3 and int(given) <= MAX_WAIT):
        raise Invalid(("/wait", f"The wait is a whole number of seconds from 0 to {MAX_WAIT}."))
    return int(given)


routes = [
    resource("/api/topics/{id:id}/status", GET=get_status),
    resource("/api/topics/{id:id}/generations", GET=list_generations),
]

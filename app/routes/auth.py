"""Who is asking, and whether it is theirs."""

from typing import Any

from app.access import MEMORY_SECONDS, Lookup
from app.addresses import client_of
from app.credentials import Credential, credential, csrf_of, same
from app.errors import NotFound, Unauthorized
from app.headers import peer
from app.models import Topic, TopicId, User, UserId
from app.queries import topics
from app.refusals import CsrfMissing
from app.routes.resource import Request
from app.state import State

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""What changes nothing, and needs no more than a cookie."""

CSRF_CHECKED = "longhand.csrf_checked"
"""Stands in the scope of a request that a page of ours has sent."""

LARGEST_ID = 2**63 - 1
"""SQLite's largest integer; a larger id in a path names nothing."""


async def current_user(request: Request, memory: float = MEMORY_SECONDS) -> User:
    """Return who asks, as was known within so many seconds. A cookie alone changes nothing.

    Raises Unauthorized, RateLimited or CsrfMissing.
    """
    carried = carried_by(request)
    user = await known_user(request, carried, memory)
    if carried.is_session and request.method not in SAFE_METHODS and CSRF_CHECKED not in request.scope:
        check_csrf(request, carried, request.headers.get("x-csrf-token"))
    return user


async def known_user(request: Request, carried: Credential, memory: float = MEMORY_SECONDS) -> User:
    """Return whose this credential of the request is, and count the request. Raises Unauthorized or RateLimited."""
    user = await _looked_up(request, carried, memory)
    request.scope["user"] = user  # for the log
    if "counted" not in request.scope:  # once a request, however often its handler asks
        request.scope["counted"] = True
        request.scope["rate_limit"] = request.state["limiter"].take(hash(carried))
    return user


def carried_by(request: Request) -> Credential:
    """Return the credential of a request. Raises Unauthorized where there is none."""
    found = credential(request.scope)
    if found is None:
        raise Unauthorized
    return found


def lookup(state: State, carried: Credential) -> Lookup[Any]:
    """Return where a credential is looked up."""
    return state["sessions"] if carried.is_session else state["access"]


def check_csrf(request: Request, carried: Credential, given: str | None) -> None:
    """Raises CsrfMissing where a page's token does not come with its session: somebody else may ask for this."""
    if not same(given, csrf_of(carried.secret)):
        raise CsrfMissing
    request.scope[CSRF_CHECKED] = True


async def _looked_up(request: Request, carried: Credential, memory: float) -> User:
    """Look up a credential; where many were wrong, who was never right has to wait first. Raises RateLimited."""
    known, sign_ins, client = lookup(request.state, carried), request.state["sign_ins"], client_of(peer(request.scope))
    if sign_ins.slows(client) and not known.seen(carried.secret):
        await sign_ins.pause(client)
    try:
        user: User = await known.user(carried.secret, memory)
    except Unauthorized:
        sign_ins.failed(client)
        raise
    return user


async def owned_topic(request: Request) -> Topic:
    """Return the topic of the path, if it is the caller's. Raises Unauthorized or NotFound."""
    user = await current_user(request)
    topic = await request.state["store"].read(topics.topic, topic_id(request))
    if topic is None:
        raise NotFound
    check_owner(user, topic.user_id)
    return topic


def check_owner(user: User, owner: UserId | None) -> None:
    """Raises NotFound for what belongs to somebody else: it answers as what does not exist."""
    if not owns(user, owner):
        raise NotFound


def owns(user: User, owner: UserId | None) -> bool:
    """Whether what belongs to `owner` is there for a user. Admins see everything."""
    return owner == user.id or user.is_admin


def topic_id(request: Request) -> TopicId:
    return TopicId(path_id(request))


def path_id(request: Request) -> int:
    """Return the id of the path. Raises NotFound for one that no row can have."""
    number = int(request.path_params["id"])
    if number > LARGEST_ID:
        raise NotFound
    return number

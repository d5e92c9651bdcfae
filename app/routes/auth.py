"""Who is asking, and whether it is theirs."""

from app.access import MEMORY_SECONDS
from app.addresses import client_of
from app.errors import NotFound, Unauthorized
from app.headers import peer
from app.models import Topic, TopicId, User, UserId
from app.queries import topics
from app.routes.resource import Request

LARGEST_ID = 2**63 - 1
"""SQLite's largest integer; a larger id in a path names nothing."""


async def current_user(request: Request, memory: float = MEMORY_SECONDS) -> User:
    """Return who asks, as was known within so many seconds. Raises Unauthorized or RateLimited."""
    token = bearer(request)
    user = await _signed_in(request, token, memory)
    request.scope["user"] = user  # for the log
    if "counted" not in request.scope:  # once a request, however often its handler asks
        request.scope["counted"] = True
        request.scope["rate_limit"] = request.state["limiter"].take(hash(token))
    return user


def bearer(request: Request) -> str:
    """Return the access token of a request. Raises Unauthorized where there is none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthorized
    return token.strip()


async def _signed_in(request: Request, token: str, memory: float) -> User:
    """Look up a token; where many were wrong, who was never right has to wait first. Raises RateLimited."""
    access, sign_ins, client = request.state["access"], request.state["sign_ins"], client_of(peer(request.scope))
    if sign_ins.slows(client) and not access.seen(token):
        await sign_ins.pause(client)
    try:
        return await access.user(token, memory)
    except Unauthorized:
        sign_ins.failed(client)
        raise


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

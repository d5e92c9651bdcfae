"""Who is asking, and whether it is theirs."""

from app.access import MEMORY_SECONDS
from app.errors import NotFound, Unauthorized
from app.models import Topic, TopicId, User, UserId
from app.queries import topics
from app.routes.resource import Request

LARGEST_ID = 2**63 - 1
"""SQLite's largest integer; a larger id in a path names nothing."""


async def current_user(request: Request, memory: float = MEMORY_SECONDS) -> User:
    """Return who asks, as was known within so many seconds. Raises Unauthorized."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthorized
    user = await request.state["access"].user(token.strip(), memory)
    request.scope["user"] = user  # for the log
    return user


async def owned_topic(request: Request) -> Topic:
    """Return the topic of the path, if it is the caller's. Raises Unauthorized or NotFound."""
    user = await current_user(request)
    topic = await request.state["store"].read(topics.topic, topic_id(request))
    if topic is None:
        raise NotFound
    check_owner(user, topic.user_id)
    return topic


def check_owner(user: User, owner: UserId) -> None:
    """Raises NotFound for what belongs to somebody else: it answers as what does not exist. Admins see everything."""
    if owner != user.id and not user.is_admin:
        raise NotFound


def topic_id(request: Request) -> TopicId:
    return TopicId(path_id(request))


def path_id(request: Request) -> int:
    """Return the id of the path. Raises NotFound for one that no row can have."""
    number = int(request.path_params["id"])
    if number > LARGEST_ID:
        raise NotFound
    return number

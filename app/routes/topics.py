"""Topics: create, list, read, change, delete."""

from dataclasses import asdict
from typing import Annotated, Any

from pydantic import Field
from starlette.responses import Response

from app.errors import Invalid, NotFound
from app.models import StatusName, Topic, User, UserId
from app.queries import generations, topics
from app.routes.auth import current_user, owned_topic
from app.routes.body import PLAIN, SOLID, Body, Language, Text, body
from app.routes.paging import page
from app.routes.resource import Request, answer, listing, resource

Title = Annotated[Text, Field(min_length=1, max_length=200, json_schema_extra={"pattern": f"^{PLAIN}{SOLID}{PLAIN}$"})]
Plan = Annotated[Text, Field(max_length=100_000)]


class NewTopic(Body):
    topic: Title
    plan: Plan = ""
    language: Language = "ko"


class TopicChange(Body):
    topic: Title | None = None
    plan: Plan | None = None
    language: Language | None = None


async def add_topic(request: Request) -> Response:
    user = await current_user(request)
    topic = await create(request, user, await body(request, NewTopic))
    return answer(document(topic), 201, {"Location": f"/api/topics/{topic.id}"})


async def create(request: Request, user: User, new: NewTopic) -> Topic:
    """Add a topic of somebody's, and tell who reads the list. Raises DatabaseFailed."""
    topic = await request.state["store"].write(topics.add_topic, user.id, new.topic, new.plan, new.language)
    request.state["statuses"].show_topic(topic, None)
    return topic


async def list_topics(request: Request) -> Response:
    user = await current_user(request)
    if "q" in request.query_params:
        raise Invalid(("/q", "There is no search yet. Leave this out."))
    asked = page(request)
    owner, status = owner_of(user), asked_status(request)
    found = await request.state["store"].read(topics.list_topics, owner, status, asked.position, asked.fetch)
    shown, next_cursor = asked.cut(found, lambda topic: topic.id)
    return listing([document(topic) for topic in shown], next_cursor)


async def get_topic(request: Request) -> Response:
    return answer(document(await owned_topic(request)))


async def change_topic(request: Request) -> Response:
    topic = await owned_topic(request)
    change = await body(request, TopicChange)
    found = await request.state["store"].write(
        generations.change_topic, topic.id, change.topic, change.plan, change.language
    )
    if found is None:
        raise NotFound
    changed, generation = found
    request.state["statuses"].show_topic(changed, generation)
    return answer(document(changed))


async def delete_topic(request: Request) -> Response:
    topic = await owned_topic(request)
    await request.state["runner"].delete(topic.id)
    return Response(status_code=204)


def document(topic: Topic) -> dict[str, Any]:
    """A topic as the API shows it."""
    shown = asdict(topic)
    del shown["user_id"]
    return shown


def owner_of(user: User) -> UserId | None:
    """Return whose topics somebody is shown; None: all."""
    return None if user.is_admin else user.id


def asked_status(request: Request) -> StatusName | None:
    """Return the status that a list is filtered by. Raises Invalid."""
    given = request.query_params.get("status")
    if given is None:
        return None
    try:
        return StatusName(given)
    except ValueError:
        raise Invalid(("/status", f"A status is one of {', '.join(StatusName)}.")) from None


routes = [
    resource("/api/topics", GET=list_topics, POST=add_topic),
    resource("/api/topics/{id:id}", GET=get_topic, PATCH=change_topic, DELETE=delete_topic),
]

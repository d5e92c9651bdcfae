"""Start and cancel generations."""

import hashlib
import re
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from starlette.responses import Response

from app.errors import Invalid, NothingToCancel
from app.models import Mode, Order, StatusName, Topic, TopicId, User
from app.queries.acceptance import Accepted, Key
from app.routes.auth import current_user, owned_topic
from app.routes.body import Body, Text, body, pointer
from app.routes.resource import Request, answer, resource, respond
from app.routes.status import look, status_reply
from app.routes.topics import Plan, Title
from app.snapshot import POLL_SECONDS, Snapshot

BARE_KEY = re.compile(r"[\x21\x23-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")
QUOTED_KEY = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\]){1,255})"')
"""A string of RFC 9651, as the draft of the Idempotency-Key header has it."""


KEPT = ("instructions", "mode", "plan", "topic")
"""What a resumed report keeps from when it began."""


class GenerateRequest(Body):
    model_config = ConfigDict(
        json_schema_extra={
            "if": {"properties": {"resume": {"const": True}}, "required": ["resume"]},
            "then": {"properties": dict.fromkeys(KEPT, False)},
        }
    )

    topic: Title | None = None
    plan: Plan | None = None
    instructions: Annotated[Text, Field(max_length=4000)] = ""
    mode: Literal["single", "sections"] = "single"
    model: str | None = None
    resume: bool = False


class CancelRequest(Body):
    model_config = ConfigDict(
        json_schema_extra={
            "not": {
                "properties": {"keep_partial": {"const": True}, "mode": {"const": "finish"}},
                "required": ["keep_partial", "mode"],
            }
        }
    )

    keep_partial: bool = False
    mode: Literal["finish"] | None = None


async def start_generation(request: Request) -> Response:
    user = await current_user(request)
    topic = await owned_topic(request)
    _check_parameters(request)
    asked = await body(request, GenerateRequest)
    return accepted(await begin(request, user, topic, asked, idempotency_key(request)))


async def begin(request: Request, user: User, topic: Topic, asked: GenerateRequest, key: str | None) -> Accepted:
    """Start a generation of somebody's topic. `key`: the same one starts nothing again.

    Raises Invalid, and what `Runner.start` raises.
    """
    _check_model(request, asked.model)
    _check_resumed(asked)
    order = Order(asked.topic, asked.plan, asked.instructions, asked.model, Mode(asked.mode), asked.resume)
    known = key and Key(user.id, key, fingerprint(topic.id, asked))
    return await request.state["runner"].start(topic, order, known or None)


async def cancel_generation(request: Request) -> Response:
    user = await current_user(request)
    topic = await owned_topic(request)
    asked = await body(request, CancelRequest)
    heard, snapshot = await end(request, user, topic, asked)
    return respond(status_reply(snapshot, None, 202 if heard else 200))


async def end(request: Request, user: User, topic: Topic, asked: CancelRequest) -> tuple[bool, Snapshot]:
    """Cancel or finish what is written of a topic; returns whether that was heard, and the status then.

    Raises Invalid, NothingToCancel or DatabaseFailed.
    """
    runner = request.state["runner"]
    if asked.mode == "finish":
        if asked.keep_partial:
            raise Invalid(("/keep_partial", "A report that is finished is kept. Leave this out."))
        was_under_way = await runner.finish(topic.id)
    else:
        was_under_way = await runner.cancel(topic.id, keep_partial=asked.keep_partial)
    snapshot = await look(request, user, topic.id)
    if snapshot.status is StatusName.IDLE:
        raise NothingToCancel
    return was_under_way and (snapshot.status.unfinished or snapshot.status is StatusName.CANCELLED), snapshot


def accepted(this: Accepted) -> Response:
    """Answer 202: the generation will end, whatever happens to the server."""
    status_url = f"/api/topics/{this.topic_id}/status"
    headers = {"Location": status_url, "Retry-After": str(POLL_SECONDS)}
    if this.generation is None:
        headers["Idempotency-Replayed"] = "true"
    data = {
        "topic_id": this.topic_id,
        "generation_id": this.generation_id,
        "status": this.status,
        "status_url": status_url,
        "events_url": f"{status_url}/stream",
    }
    return answer(data, 202, headers)


def idempotency_key(request: Request) -> str | None:
    """Read `Idempotency-Key`, bare or a quoted string. Raises Invalid."""
    given = request.headers.get("idempotency-key")
    if given is None:
        return None
    quoted = QUOTED_KEY.fullmatch(given)
    if not quoted and not BARE_KEY.fullmatch(given):
        raise Invalid(("/Idempotency-Key", "The key has 1 to 255 printable ASCII characters, bare or in quotes."))
    return re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else given


def fingerprint(topic_id: TopicId, asked: Body) -> str:
    """Return what tells two requests with one key apart: of the topic and the checked body."""
    return hashlib.sha256(f"{topic_id}\n{asked.model_dump_json()}".encode()).hexdigest()


def _check_parameters(request: Request) -> None:
    """Refuse all: what changes the meaning of the call, as a dry run would, must not be overlooked."""
    if request.query_params:
        raise Invalid(*((pointer((name,)), "There is no such parameter.") for name in request.query_params))


def _check_resumed(asked: GenerateRequest) -> None:
    """A resumed report keeps its words."""
    given = [name for name in KEPT if name in asked.model_fields_set]
    if asked.resume and given:
        raise Invalid(*((f"/{name}", "A resumed report keeps what it began with.") for name in given))


def _check_model(request: Request, model: str | None) -> None:
    allowed = request.state["settings"].models
    if model is not None and model not in allowed:
        raise Invalid(("/model", f"The model is one of {', '.join(allowed)}."))


routes = [
    resource("/api/topics/{id:id}/generate", POST=start_generation),
    resource("/api/topics/{id:id}/cancel", POST=cancel_generation),
]

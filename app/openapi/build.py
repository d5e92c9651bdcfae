"""The description, built from the table and the application's own routes."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from starlette.routing import BaseRoute, Route

from app import __version__
from app.credentials import COOKIE
from app.openapi import artifacts, generations, operations, topics
from app.openapi.describe import CSRF_TOKEN, EVENT_STREAM, JSON, Answer, Operation, Schema, headers
from app.openapi.failures import failures
from app.openapi.schemas import Refs, schemas
from app.routes.auth import LARGEST_ID, SAFE_METHODS

OPERATIONS: Mapping[str, Operation] = {
    **topics.OPERATIONS,
    **generations.OPERATIONS,
    **artifacts.OPERATIONS,
    **operations.OPERATIONS,
}
"""Every call of the API, by method and path, in the order in which a reader wants them."""

PARTS = "/docs/"
"""What lies beneath is a part of a page, and no call of the API."""

API = re.compile(r"/api/.*|/healthz|/readyz|/metrics|/openapi\.json|/docs")
"""The paths that are described; every other one is a page, or a part of one."""

INTRODUCTION = """\
Longhand writes long reports with Claude in the background: add a topic, ask for a report (202 at once), follow its \
status, download it.

Success is `{"data": …}`, an error a problem document whose `code` is what programs switch on. Times are RFC 3339 in \
UTC. Every GET answers HEAD as well. Documents may gain members: ignore what you do not know."""

SCHEMES: Schema = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An access token."},
    "cookieAuth": {
        "type": "apiKey",
        "in": "cookie",
        "name": COOKIE,
        "description": "The session of a browser, `__Host-longhand` under https. A call that changes something needs "
        "`X-CSRF-Token` as well.",
    },
}

ID: Schema = {"name": "id", "in": "path", "required": True, "schema": {"type": "integer", "minimum": 1}}
ID["schema"]["maximum"] = LARGEST_ID


def description(routes: Sequence[BaseRoute], models: Sequence[str]) -> dict[str, Any]:
    """Describe these routes; `models` are those that a caller may choose.

    Raises KeyError for a call that is not told of.
    """
    served = {call: OPERATIONS[call] for call in calls(routes)}
    told = {call: operation for call, operation in OPERATIONS.items() if call in served}
    refs, named = schemas(list(told.values()), models)
    paths: dict[str, Any] = {}
    for call, operation in told.items():
        method, path = call.split(" ")
        shared = {"parameters": [ID]} if "{id}" in path else {}
        paths.setdefault(path, shared)[method.lower()] = _operation(
            operation, refs, with_id=bool(shared), changes=changes(method, operation)
        )
    return {
        "openapi": "3.1.0",
        "info": {"title": "Longhand", "version": __version__, "description": INTRODUCTION},
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(operation.tag for operation in told.values())],
        "security": [{"bearer": []}, {"cookieAuth": []}],
        "paths": paths,
        "components": {"schemas": named, "securitySchemes": SCHEMES},
    }


def changes(method: str, operation: Operation) -> bool:
    """Say whether a call needs more than a cookie: it changes something that belongs to somebody."""
    return method not in SAFE_METHODS and not operation.public


def calls(routes: Sequence[BaseRoute]) -> Iterator[str]:
    """Give every call of the API, such as `GET /api/topics/{id}`. HEAD comes with every GET."""
    for route in routes:
        assert isinstance(route, Route)
        if API.fullmatch(route.path):
            yield from (f"{method} {route.path_format}" for method in sorted(route.methods or ()) if method != "HEAD")


def _operation(operation: Operation, refs: Refs, *, with_id: bool, changes: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": [
            {"name": taken.name, "in": taken.place, "description": taken.description, "schema": taken.schema}
            for taken in (*operation.parameters, *([CSRF_TOKEN] if changes else []))
        ],
    }
    if operation.description:
        found["description"] = operation.description
    if operation.body:
        needed = any(field.is_required() for field in operation.body.model_fields.values())
        found["requestBody"] = {"required": needed, "content": {JSON: {"schema": refs[operation.body]}}}
    if operation.public:
        found["security"] = []
    answers = {str(answer.status): _answer(answer, refs) for answer in operation.answers}
    return found | {"responses": answers | dict(failures(operation, refs, with_id=with_id, changes=changes))}


def _answer(answer: Answer, refs: Refs) -> dict[str, Any]:
    media = answer.media or {}
    if answer.document:
        media = {JSON: _envelope(answer, refs)}
    elif answer.events:
        media = {EVENT_STREAM: {"oneOf": [_event(name, refs[data]) for name, data in answer.events.items()]}}
    return {
        "description": answer.description,
        "headers": headers(answer.headers, answer.sometimes),
        "content": {name: {"schema": schema} for name, schema in media.items()},
    }


def _event(name: str, data: Schema) -> Schema:
    """Describe one event of a stream; that it may come again and again is what the media type says."""
    text = {"type": "string", "contentMediaType": JSON, "contentSchema": data}
    properties = {"event": {"const": name}, "id": {"type": "string"}, "data": text}
    return {"type": "object", "properties": properties, "required": ["event", "data"]}


def _envelope(answer: Answer, refs: Refs) -> Schema:
    document = refs[answer.document]
    properties: Schema = {"data": {"type": "array", "items": document} if answer.list else document}
    if answer.list:
        properties["next_cursor"] = {"type": ["string", "null"], "description": "null on the last page."}
    return {"type": "object", "properties": properties, "required": list(properties)}

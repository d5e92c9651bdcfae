"""The problems that a call can answer, described: its own, and those that follow from what it takes."""

from collections.abc import Iterator, Sequence
from typing import Any

from app.errors import (
    BodyTooLarge,
    DatabaseFailed,
    GenerationInProgress,
    InternalError,
    Invalid,
    MalformedJson,
    MalformedRequest,
    NotFound,
    Problem,
    RangeNotSatisfiable,
    RequestTimeout,
    Unauthorized,
    UnsupportedMediaType,
)
from app.openapi import documents
from app.openapi.describe import Operation, Schema, headers
from app.openapi.schemas import Refs
from app.refusals import CsrfMissing, HeadersTooLarge, RateLimited, TooManyConnections, UriTooLong, WrongHost

WITH_BODY = (MalformedJson, MalformedRequest, RequestTimeout, BodyTooLarge, UnsupportedMediaType, Invalid)
WITH_TOKEN = (Unauthorized, DatabaseFailed)
EVERYWHERE = (UriTooLong, WrongHost, RateLimited, HeadersTooLarge, TooManyConnections, InternalError)

HEADERS: dict[type[Problem], str] = {Unauthorized: "WWW-Authenticate", RangeNotSatisfiable: "Content-Range"}
EXTENSIONS: dict[type[Problem], list[str]] = {
    Invalid: ["errors"],
    GenerationInProgress: ["generation_id", "status_url"],
}
"""The members that a problem has beside those that all of them have."""


def problems_of(operation: Operation, *, with_id: bool, changes: bool) -> set[type[Problem]]:
    """Return every problem that a call can answer."""
    takes_query = any(parameter.place == "query" for parameter in operation.parameters)
    return {
        *operation.problems,
        *([NotFound] if with_id else []),
        *([CsrfMissing] if changes else []),
        *([Invalid] if takes_query else []),
        *(WITH_BODY if operation.body else []),
        *([] if operation.public else WITH_TOKEN),
        *EVERYWHERE,
    }


def failures(operation: Operation, refs: Refs, *, with_id: bool, changes: bool) -> Iterator[tuple[str, Any]]:
    """Give the answers of a call that are problems, by status."""
    by_status: dict[int, list[type[Problem]]] = {}
    for kind in sorted(
        problems_of(operation, with_id=with_id, changes=changes), key=lambda kind: (kind.status, kind.code)
    ):
        by_status.setdefault(kind.status, []).append(kind)
    for status, kinds in by_status.items():
        yield str(status), _failure(kinds, refs)


def _failure(kinds: Sequence[type[Problem]], refs: Refs) -> dict[str, Any]:
    """Describe the problems of one status."""
    always = [HEADERS[kind] for kind in kinds if kind in HEADERS]
    if all(kind.retry_after or kind is RateLimited for kind in kinds):
        always.append("Retry-After")
    own: Schema = {"properties": {"code": {"type": "string", "enum": [kind.code for kind in kinds]}}}
    cases = [
        {"if": {"properties": {"code": {"const": kind.code}}}, "then": {"required": EXTENSIONS[kind]}}
        for kind in kinds
        if kind in EXTENSIONS
    ]
    content = {
        "schema": {"allOf": [refs[documents.Problem], own, *cases]},
        "examples": {kind.code: {"value": _example(kind)} for kind in kinds},
    }
    return {
        "description": " / ".join(kind.title for kind in kinds),
        "headers": headers(always),
        "content": {"application/problem+json": content},
    }


def _example(kind: type[Problem]) -> dict[str, Any]:
    return {
        "type": f"/problems/{kind.code}",
        "title": kind.title,
        "status": kind.status,
        "detail": kind.detail,
        "code": kind.code,
    }

"""Failures as HTTP: problem documents (RFC 9457)."""

import json
import logging
from typing import Any
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from app.errors import FileSystemFailed, InternalError, MalformedRequest, MethodNotAllowed, NotFound, Problem

log = logging.getLogger("longhand.problems")

BY_STATUS: dict[int, type[Problem]] = {
    problem.status: problem for problem in (MalformedRequest, NotFound, MethodNotAllowed)
}
"""What Starlette itself answers, in our words."""


async def on_problem(request: Request[Any], error: Exception) -> Response:
    """Answer a problem that a handler raised."""
    assert isinstance(error, Problem)
    if error.status >= 500 and error.__cause__ is not None:
        log.error("%s %s: %s", request.method, instance(request), error.__cause__, exc_info=error)
    return problem_response(request, error)


async def on_os_error(request: Request[Any], error: Exception) -> Response:
    """Answer what the disk did to a handler; a time-out is an OSError as well, and one that nobody expected."""
    if isinstance(error, TimeoutError):
        return on_bug(request, error)
    failed = FileSystemFailed()
    failed.__cause__ = error
    return await on_problem(request, failed)


async def on_http_exception(request: Request[Any], error: Exception) -> Response:
    """Answer what Starlette raised: no such path, no such method."""
    assert isinstance(error, HTTPException)
    response = problem_response(request, BY_STATUS.get(error.status_code, MalformedRequest)())
    if error.headers and "Allow" in error.headers:
        response.headers["Allow"] = ", ".join(sorted(error.headers["Allow"].split(", ")))
    return response


def on_bug(request: Request[Any], error: Exception) -> Response:
    """Answer what nobody expected, and log it with its traceback."""
    log.error("%s %s failed", request.method, instance(request), exc_info=error)
    return problem_response(request, InternalError())


def problem_response(request: Request[Any], problem: Problem) -> Response:
    """Make the answer of a failure: its problem document, or a page where a person asked for one."""
    show = request.scope.get("state", {}).get("show_problem")
    shown: Response | None = show(request, problem) if show else None
    return shown or problem_document(request, problem)


def problem_document(request: Request[Any], problem: Problem) -> Response:
    """Make the problem document of a failure."""
    document = {
        "type": f"/problems/{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "instance": instance(request),
        "code": problem.code,
        "request_id": request.scope.get("request_id"),
        **problem.extensions,
    }
    content = json.dumps(document, ensure_ascii=False).encode()
    return Response(content, problem.status, problem.headers, media_type="application/problem+json")


def instance(request: Request[Any]) -> str:
    """Return the request's path as a URI reference: what a client sent unencoded is percent-encoded."""
    return quote(request.scope["raw_path"], safe="/%:@!$&'()*+,;=~")

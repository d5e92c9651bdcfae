"""Failures as HTML pages, where a person asked with a browser."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from app.errors import Problem
from app.headers import header
from app.pages.show import page

MACHINES = ("/api/", "/static/", "/docs", "/healthz", "/readyz", "/metrics", "/openapi.json")
TOLD = (400, 401, 403, 404, 405, 413, 429, 500, 503)
"""The statuses that have words of their own."""

LOOKS_LIKE = {408: 400, 410: 404, 414: 400, 415: 400, 421: 400, 422: 400, 431: 400}


def wants_page(scope: Scope) -> bool:
    """Say whether a request's failure is shown as a page: to a browser, where no program is meant to ask."""
    path = scope["path"]
    if path == "/api" or path.startswith(MACHINES):
        return False
    return b"text/html" in (header(scope, b"accept") or b"").lower()


def fault_page(request: Request[Any], problem: Problem) -> Response | None:
    """Show a failure as a page: what is wrong, what to do, and the number of the request. None: no page is wanted."""
    if not wants_page(request.scope):
        return None
    status = LOOKS_LIKE.get(problem.status, problem.status)
    told = status if status in TOLD else 500
    under_topics = request.url.path.startswith("/topics/")
    response = page(
        request,
        "fault.html",
        problem.status,
        told=told,
        sentence="error_404_page" if told == 404 and not under_topics else f"error_{told}",
        request_id=request.scope.get("request_id"),
    )
    response.headers.update(problem.headers)
    return response

"""Plain ASGI middleware: request ids, what is logged, counted and traced of each request, the last resort for bugs,
and the bounds of bodies."""

import logging
import re
import secrets
from contextlib import nullcontext
from time import perf_counter

from anyio import move_on_after
from opentelemetry.trace import INVALID_SPAN, Span
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import logs
from app.errors import BodyTooLarge
from app.problems import on_bug, problem_response
from app.spans import fail, request_span

access_log = logging.getLogger("longhand.access")

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

MAX_BODY = 2**20
"""Bytes a request's body may have."""

DISCARD_BYTES, DISCARD_SECONDS = 2**24, 5.0
"""How much more of a body that nobody reads is taken in before the answer, and for how long."""


class RequestMiddleware:
    """Around every request: gives it an id, logs one line, counts it, traces it, answers a bug as a problem.

    Promises: every response carries `X-Request-ID`, the caller's own where it is well-formed, and so does every line
    that is logged for it; an exception that nobody expected is logged with its traceback and answered as `internal`,
    and never reaches the server.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = (header(scope, b"x-request-id") or b"").decode("latin-1")
        request_id = given if REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        scope["request_id"] = request_id
        logs.bind(request_id=request_id)  # in this task, which is the request's own
        tracer = scope.get("state", {}).get("tracer")
        with request_span(tracer, scope) if tracer else nullcontext(INVALID_SPAN) as span:
            await self._answer(scope, receive, send, span)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, span: Span) -> None:
        began = perf_counter()
        status = 0
        id_header = b"x-request-id", scope["request_id"].encode()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), id_header]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:  # noqa: BLE001 - the request's boundary
            response = on_bug(Request(scope), error)
            if not status:
                await response(scope, receive, send_with_id)
        finally:
            note(scope, status, perf_counter() - began, span)


def note(scope: Scope, status: int, seconds: float, span: Span) -> None:
    """Count, log and trace a request that is over; `status` is 0 where there was no answer."""
    route = getattr(scope.get("route"), "path_format", "-")
    method, user = scope["method"], scope.get("user")
    if metrics := scope.get("state", {}).get("metrics"):
        metrics.request(route, method, status, seconds, held=scope.get("held", False))
    if access_log.isEnabledFor(logging.INFO):
        milliseconds = round(seconds * 1000, 1)
        path = scope["raw_path"].decode("ascii", "replace")
        fields = {"method": method, "route": route, "status": status, "duration_ms": milliseconds}
        access_log.info(
            "%s %s %s %.1fms request_id=%s", method, path, status or "-", milliseconds, scope["request_id"],
            extra={"fields": fields if user is None else {**fields, "user": user.id}},
        )  # fmt: skip
    if span.is_recording():
        span.update_name(f"{method} {route}")
        span.set_attributes({"http.route": route, "http.response.status_code": status})
        if user is not None:
            span.set_attribute("user.id", str(user.id))
        if status >= 500:
            fail(span, str(status))


class BodyMiddleware:
    """Around every request: bounds its body.

    Promises:
    - A body that is declared to have more than `MAX_BODY` bytes is refused; who reads more than that of another gets
      BodyTooLarge.
    - What nobody has read when the answer begins is taken in first and dropped, within bounds, so that the client finds
      the answer instead of a connection that was reset under it; beyond the bounds the connection is closed.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = int(header(scope, b"content-length") or 0)
        taken, whole = 0, not declared and header(scope, b"transfer-encoding") is None
        if whole and scope["http_version"].startswith("1"):  # no body can come; under HTTP/2 one can, undeclared
            await self._app(scope, receive, send)
            return

        async def take() -> Message:
            nonlocal taken, whole
            message = await receive()
            taken += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            return message

        async def receive_within_bounds() -> Message:
            message = await take()
            if taken > MAX_BODY:
                raise BodyTooLarge
            return message

        async def send_after_body(message: Message) -> None:
            if message["type"] == "http.response.start" and not whole:
                limit = taken + DISCARD_BYTES
                with move_on_after(DISCARD_SECONDS):
                    while not whole and taken < limit:
                        await take()
                if not whole and scope["http_version"].startswith("1"):
                    MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        too_large = problem_response(Request(scope), BodyTooLarge()) if declared > MAX_BODY else None
        await (too_large or self._app)(scope, receive_within_bounds, send_after_body)


def header(scope: Scope, name: bytes) -> bytes | None:
    """Return a request's header, the first of that name; `name` is in lower case."""
    for key, value in scope["headers"]:
        if key == name:
            found: bytes = value
            return found
    return None

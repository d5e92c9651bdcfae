"""Plain ASGI middleware: request ids, the log of requests, the last resort for bugs, and the bounds of bodies."""

import logging
import re
import secrets
from functools import partial
from time import perf_counter

from anyio import move_on_after
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.again import Again, Reply, offer, offered
from app.errors import BodyTooLarge
from app.problems import on_bug, problem_response

access_log = logging.getLogger("longhand.access")

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

MAX_BODY = 2**20
"""Bytes a request's body may have."""

DISCARD_BYTES, DISCARD_SECONDS = 2**24, 5.0
"""How much more of a body that nobody reads is taken in before the answer, and for how long."""


class RequestMiddleware:
    """Around every request: gives it an id, logs one line, answers a bug as a problem.

    Promises: every response carries `X-Request-ID`, the caller's own where it is well-formed; an exception that
    nobody expected is logged with its traceback and answered as `internal`, and never reaches the server.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = (header(scope, b"x-request-id") or b"").decode("latin-1")
        chosen = given if REQUEST_ID.fullmatch(given) else None
        scope["request_id"] = request_id = chosen or secrets.token_hex(8)
        began = perf_counter()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
                if inner := offered(scope):
                    offer(scope, partial(answer_again, inner, scope["method"], raw_path(scope), chosen))
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:  # noqa: BLE001 - the request's boundary
            response = on_bug(Request(scope), error)
            if not status:
                await response(scope, receive, send_with_id)
        finally:
            log_request(scope["method"], raw_path(scope), status, began, request_id)


def answer_again(inner: Again, method: str, path: str, chosen: str | None) -> Reply | None:
    """Answer a request once more, with all that the middleware adds to it."""
    began = perf_counter()
    if (reply := inner()) is None:
        return None
    request_id = chosen or secrets.token_hex(8)
    log_request(method, path, reply.status, began, request_id)
    return reply._replace(headers=[*reply.headers, (b"x-request-id", request_id.encode())])


def raw_path(scope: Scope) -> str:
    path: bytes = scope["raw_path"]
    return path.decode("ascii", "replace")


def log_request(method: str, path: str, status: int, began: float, request_id: str) -> None:
    if access_log.isEnabledFor(logging.INFO):
        took = (perf_counter() - began) * 1000
        access_log.info("%s %s %s %.1fms request_id=%s", method, path, status or "-", took, request_id)


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

"""Plain ASGI middleware: request ids, the log of requests, the last resort for bugs."""

import logging
import re
import secrets
from collections.abc import Sequence
from functools import partial
from time import perf_counter

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.again import Again, Header, Reply, offer, offered
from app.headers import fault, header, protected, protection
from app.problems import on_bug, problem_response

access_log = logging.getLogger("longhand.access")

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class RequestMiddleware:
    """Around every request: gives it an id, logs one line, answers a bug as a problem.

    Promises: every response carries `X-Request-ID`, the caller's own where it is well-formed, and the headers that
    protect its reader; a request whose head is too large is refused; an exception that nobody expected is logged with
    its traceback and answered as `internal`, and never reaches the server.
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
                told = scope.get("rate_limit") or ()
                headers = [*message.get("headers", ()), (b"x-request-id", request_id.encode()), *told]
                message["headers"] = protected(scope, headers)
                if inner := offered(scope):
                    request = scope["method"], raw_path(scope), chosen, protection(scope)
                    offer(scope, partial(answer_again, inner, *request))
            await send(message)

        try:
            refused = fault(scope)
            app = problem_response(Request(scope), refused) if refused else self._app
            await app(scope, receive, send_with_id)
        except Exception as error:  # noqa: BLE001 - the request's boundary
            response = on_bug(Request(scope), error)
            if not status:
                await response(scope, receive, send_with_id)
        finally:
            log_request(scope["method"], raw_path(scope), status, began, request_id)


def answer_again(
    inner: Again, method: str, path: str, chosen: str | None, protection: Sequence[Header]
) -> Reply | None:
    """Answer a request once more, with all that the middleware adds to it."""
    began = perf_counter()
    if (reply := inner()) is None:
        return None
    request_id = chosen or secrets.token_hex(8)
    log_request(method, path, reply.status, began, request_id)
    return Reply(reply.status, [*reply.headers, (b"x-request-id", request_id.encode()), *protection], reply.body)


def raw_path(scope: Scope) -> str:
    path: bytes = scope["raw_path"]
    return path.decode("ascii", "replace")


def log_request(method: str, path: str, status: int, began: float, request_id: str) -> None:
    if access_log.isEnabledFor(logging.INFO):
        took = (perf_counter() - began) * 1000
        access_log.info("%s %s %s %.1fms request_id=%s", method, path, status or "-", took, request_id)

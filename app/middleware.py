"""Plain ASGI middleware: request ids, the log of requests, the last resort for bugs."""

import logging
import re
import secrets
from time import perf_counter

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.headers import fault, header, protected
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
        request_id = given if REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        scope["request_id"] = request_id
        began = perf_counter()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                told = scope.get("rate_limit") or ()
                headers = [*message.get("headers", ()), (b"x-request-id", request_id.encode()), *told]
                message["headers"] = protected(scope, headers)
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
            if access_log.isEnabledFor(logging.INFO):
                path, took = scope["raw_path"].decode("ascii", "replace"), (perf_counter() - began) * 1000
                line = "%s %s %s %.1fms request_id=%s"
                access_log.info(line, scope["method"], path, status or "-", took, request_id)

"""Plain ASGI middleware: request ids, the log of requests, and the last resort for bugs."""

import logging
import re
import secrets

from anyio import current_time
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.problems import on_bug

access_log = logging.getLogger("longhand.access")

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


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
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        scope["request_id"] = request_id
        began = current_time()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:  # noqa: BLE001 - the request's boundary
            response = on_bug(Request(scope), error)
            if not status:
                await response(scope, receive, send_with_id)
        finally:
            access_log.info(
                "%s %s %s %.1fms request_id=%s",
                scope["method"], scope["raw_path"].decode("ascii", "replace"), status or "-",
                (current_time() - began) * 1000, request_id,
            )  # fmt: skip

"""Plain ASGI middleware: request ids, what is logged, counted and traced of each request, the last resort for bugs."""

import logging
import re
import secrets
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from time import perf_counter

from opentelemetry.trace import INVALID_SPAN, Span
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import logs
from app.again import Again, Header, Reply, offer, offered, withdraw
from app.headers import fault, header, protected, protection
from app.metrics import Metrics
from app.models import UserId
from app.problems import on_bug, problem_response
from app.spans import fail, request_span

access_log = logging.getLogger("longhand.access")

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class RequestMiddleware:
    """Around every request: gives it an id, logs one line, counts it, traces it, answers a bug as a problem.

    Promises: every response carries `X-Request-ID`, the caller's own where it is well-formed, and so does every line
    that is logged for it, and the headers that protect its reader; a request whose head is too large is refused; an
    exception that nobody expected is logged with its traceback and answered as `internal`, and never reaches the
    server.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = (header(scope, b"x-request-id") or b"").decode("latin-1")
        chosen = given if REQUEST_ID.fullmatch(given) else None
        scope["request_id"] = chosen or secrets.token_hex(8)
        logs.bind(request_id=scope["request_id"])  # in this task, which is the request's own
        tracer = scope.get("state", {}).get("tracer")
        with request_span(tracer, scope) if tracer else nullcontext(INVALID_SPAN) as span:
            await self._answer(scope, receive, send, span, chosen)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, span: Span, chosen: str | None) -> None:
        began = perf_counter()
        status = 0
        id_header = b"x-request-id", scope["request_id"].encode()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                told = scope.get("rate_limit") or ()
                message["headers"] = protected(scope, [*message.get("headers", ()), id_header, *told])
                if inner := offered(scope):
                    offer_whole(scope, inner, chosen, span)
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
            asked, seconds = Asked.of(scope), perf_counter() - began
            asked.note(scope["request_id"], status, seconds, held=scope.get("held", False))
            if span.is_recording():
                trace(span, asked, status)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is told of a request, however it is answered: `path` as it came, `route` the pattern that it fits."""

    method: str
    path: str
    route: str
    user_id: UserId | None
    metrics: Metrics | None

    @classmethod
    def of(cls, scope: Scope) -> "Asked":
        user, route = scope.get("user"), getattr(scope.get("route"), "path_format", "-")
        path, metrics = scope["raw_path"].decode("ascii", "replace"), scope.get("state", {}).get("metrics")
        return cls(scope["method"], path, route, user.id if user else None, metrics)

    def note(self, request_id: str, status: int, seconds: float, *, held: bool = False) -> None:
        """Count and log a request that is over; `status` is 0 where there was no answer."""
        if self.metrics:
            self.metrics.request(self.route, self.method, status, seconds, held=held)
        if access_log.isEnabledFor(logging.INFO):
            took = round(seconds * 1000, 1)
            fields = {
                "request_id": request_id,
                "method": self.method,
                "route": self.route,
                "status": status,
                "duration_ms": took,
            }
            if self.user_id is not None:
                fields["user"] = self.user_id
            line = "%s %s %s %.1fms request_id=%s"
            access_log.info(line, self.method, self.path, status or "-", took, request_id, extra={"fields": fields})


def trace(span: Span, asked: Asked, status: int) -> None:
    """Say in a request's span what became of it."""
    span.update_name(f"{asked.method} {asked.route}")
    span.set_attributes({"http.route": asked.route, "http.response.status_code": status})
    if asked.user_id is not None:
        span.set_attribute("user.id", str(asked.user_id))
    if status >= 500:
        fail(span, str(status))


def offer_whole(scope: Scope, inner: Again, chosen: str | None, span: Span) -> None:
    """Offer to answer a request once more with all that is added to it here; not where each request is traced."""
    if span.is_recording():
        withdraw(scope)
    else:
        offer(scope, partial(answer_again, inner, Asked.of(scope), chosen, protection(scope)))


def answer_again(inner: Again, asked: Asked, chosen: str | None, added: tuple[Header, ...]) -> Reply | None:
    """Answer a request once more, and tell of it."""
    began = perf_counter()
    if (reply := inner()) is None:
        return None
    request_id = chosen or secrets.token_hex(8)
    asked.note(request_id, reply.status, perf_counter() - began)
    return Reply(reply.status, [*reply.headers, (b"x-request-id", request_id.encode()), *added], reply.body)

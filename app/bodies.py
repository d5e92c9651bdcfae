"""Bodies of requests: how large they may be, how slow, and what becomes of those that nobody reads."""

from anyio import CancelScope, current_time, move_on_after
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import BodyTooLarge, MalformedRequest, Problem, RequestTimeout
from app.headers import header
from app.problems import problem_response

MAX_BODY = 2**20
"""Bytes a request's body may have."""

DISCARD_BYTES, DISCARD_SECONDS = 2**24, 5.0
"""How much more of a body that nobody reads is taken in before the answer, and for how long."""


class BodyMiddleware:
    """Around every request: bounds its body.

    Promises:
    - A body that is declared to have more than `MAX_BODY` bytes is refused; who reads more than that of another gets
      BodyTooLarge.
    - Who reads a body that has had its `grace` seconds, and all in all comes with fewer than `rate` bytes a second
      after them, gets RequestTimeout; the connection is closed.
    - A body with two lengths is refused, and its connection closed: a proxy may see its end elsewhere.
    - What nobody has read when the answer begins is taken in first and dropped, within bounds, so that the client finds
      the answer instead of a connection that was reset under it; beyond the bounds the connection is closed.
    - Once the answer has begun, nothing is raised: who reads then waits for the client's leaving.
    """

    def __init__(self, app: ASGIApp, grace: float, rate: int) -> None:
        self._app = app
        self._grace = grace
        self._rate = rate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length, coding = header(scope, b"content-length"), header(scope, b"transfer-encoding")
        if not int(length or 0) and coding is None and scope["http_version"].startswith("1"):  # no body can come
            await self._app(scope, receive, send)
            return
        body = _Body(scope, receive, send, self._grace, self._rate)
        refused: Problem | None = None
        if int(length or 0) > MAX_BODY:
            refused = BodyTooLarge()
        elif coding is not None and (length is not None or scope["http_version"] == "1.0"):
            refused, body.given_up = MalformedRequest(), True
        app = problem_response(Request(scope), refused) if refused else self._app
        await app(scope, body.receive, body.send)


class _Body:
    """One request's body, between the server and whoever reads it."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, grace: float, rate: int) -> None:
        self._http1 = scope["http_version"].startswith("1")
        self._receive = receive
        self._send = send
        self._due = current_time() + grace
        self._rate = rate
        self._taken = 0
        self._whole = False
        self._answered = False
        self.given_up = False  # it is not taken in, and its connection is closed

    async def receive(self) -> Message:
        """Receive the next message of the request within the bounds. Raises BodyTooLarge or RequestTimeout."""
        while not (self._whole or self._answered):
            with CancelScope(deadline=self._due + self._taken / self._rate):
                message = await self._take()
                if self._taken > MAX_BODY and not self._answered:
                    raise BodyTooLarge
                return message
            if not self._answered:
                self.given_up = True
                raise RequestTimeout
        return await self._receive()

    async def _take(self) -> Message:
        message = await self._receive()
        self._taken += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Send the answer, after what is left of the body."""
        if message["type"] == "http.response.start" and not self._answered:
            self._answered = True
            if self.given_up or not await self._discard():
                self._close(message)
        await self._send(message)

    async def _discard(self) -> bool:
        """Take in what is left of the body, within bounds; say whether that was all of it."""
        limit = self._taken + DISCARD_BYTES
        with move_on_after(DISCARD_SECONDS):
            while not self._whole and self._taken < limit:
                await self._take()
        return self._whole

    def _close(self, message: Message) -> None:
        if self._http1:  # HTTP/2 has no such header
            MutableHeaders(scope=message)["Connection"] = "close"

"""The middleware around small applications: bugs, request ids, the access log, bodies that nobody reads."""

import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import trio
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from trio.testing import MockClock

from app.errors import BodyTooLarge
from app.middleware import DISCARD_BYTES, DISCARD_SECONDS, MAX_BODY, BodyMiddleware, RequestMiddleware

SECRET = "/srv/secret/path.py says: token-of-somebody"
PIECE = 2**16

Handler = Callable[[Scope, Receive, Send], Awaitable[None]]


def request(method: str = "POST", http_version: str = "1.1", **headers: str) -> Scope:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    path = {"path": "/a b", "raw_path": b"/a%20b"}
    return {"type": "http", "method": method, "http_version": http_version, "headers": raw, **path}


class Client:
    """The other side of an application: what it sends, one message after the other, and what it is answered."""

    def __init__(self, *pieces: bytes, more: bool = False) -> None:
        self.messages = self.sending(pieces, more=more)
        self.answer: list[Message] = []
        self.received = 0

    def sending(self, pieces: tuple[bytes, ...], *, more: bool) -> Iterator[Message]:
        for number, piece in enumerate(pieces, 1):
            yield {"type": "http.request", "body": piece, "more_body": more or number < len(pieces)}
        if not pieces and not more:
            yield {"type": "http.request", "body": b"", "more_body": False}

    async def receive(self) -> Message:
        self.received += 1
        message = next(self.messages, None)
        if message is None:
            await trio.sleep_forever()
        assert message is not None
        return message

    async def send(self, message: Message) -> None:
        self.answer.append(message)

    async def ask(self, app: ASGIApp, scope: Scope) -> dict[bytes, bytes]:
        """Let the application answer, and return the headers of the answer."""
        await app(scope, self.receive, self.send)
        return dict(self.answer[0]["headers"]) if self.answer else {}


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that reads nothing."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


async def read_then_answer(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    await answer(scope, receive, send)


def failing(*, after: bool) -> Handler:
    """Make an application with a bug, before or after it began to answer."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if after:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError(SECRET)

    return app


async def test_a_bug_is_a_500_that_shows_nothing_and_a_traceback_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    client = Client()

    headers = await client.ask(RequestMiddleware(failing(after=False)), request(x_request_id="mine"))

    start, body = client.answer
    assert start["status"] == 500
    assert headers[b"content-type"] == b"application/problem+json"
    assert headers[b"x-request-id"] == b"mine"
    assert b'"code": "internal"' in body["body"]
    assert b'"request_id": "mine"' in body["body"]
    assert not any(word.encode() in body["body"] for word in ("secret", "token", "RuntimeError", "Traceback"))
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert "POST /a%20b" in record.getMessage()


async def test_a_bug_is_a_500_whatever_the_host_header_says() -> None:
    client = Client()

    await client.ask(RequestMiddleware(failing(after=False)), request(host="["))

    assert client.answer[0]["status"] == 500


async def test_a_bug_in_mid_answer_is_logged_and_adds_nothing_to_it(caplog: pytest.LogCaptureFixture) -> None:
    client = Client()

    await client.ask(RequestMiddleware(failing(after=True)), request())

    assert [message["type"] for message in client.answer] == ["http.response.start"]
    assert SECRET in caplog.text


async def test_a_cancellation_is_no_bug_and_goes_on_its_way(caplog: pytest.LogCaptureFixture) -> None:
    async def hang(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.sleep_forever()

    client = Client()
    with trio.CancelScope() as scope:
        scope.cancel()
        await client.ask(RequestMiddleware(hang), request())

    assert scope.cancelled_caught
    assert client.answer == []
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_each_request_is_one_line_in_the_log_without_its_query(caplog: pytest.LogCaptureFixture) -> None:
    scope = request("GET", x_request_id="mine", authorization="Bearer secret")
    scope["query_string"] = b"token=secret"

    with caplog.at_level(logging.INFO, "longhand.access"):
        await Client().ask(RequestMiddleware(answer), scope)

    (line,) = caplog.messages
    assert line.startswith("GET /a%20b 200 ")
    assert line.endswith("request_id=mine")
    assert "secret" not in line


async def test_what_is_no_request_passes_untouched() -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((scope, receive, send))

    client, scope = Client(), {"type": "lifespan"}
    await RequestMiddleware(BodyMiddleware(app))(scope, client.receive, client.send)

    assert seen == [(scope, client.receive, client.send)]


async def test_a_request_without_a_body_is_not_waited_for() -> None:
    client = Client(more=True)

    await client.ask(BodyMiddleware(answer), request("GET"))

    assert client.received == 0
    assert client.answer[0]["status"] == 200


async def test_a_body_that_is_declared_too_large_never_reaches_the_application() -> None:
    client = Client(b"x" * MAX_BODY, b"x")

    headers = await client.ask(BodyMiddleware(answer), request(content_length=str(MAX_BODY + 1)))

    assert client.answer[0]["status"] == 413
    assert b"connection" not in headers


async def test_who_reads_more_of_a_body_than_is_allowed_is_stopped() -> None:
    reader = BodyMiddleware(read_then_answer)

    await Client(b"x" * MAX_BODY).ask(reader, request(transfer_encoding="chunked"))
    with pytest.raises(BodyTooLarge):
        await Client(b"x" * MAX_BODY, b"x", b"x").ask(reader, request(transfer_encoding="chunked"))


async def test_a_body_that_is_not_declared_is_bounded_under_http_2() -> None:
    with pytest.raises(BodyTooLarge):
        await Client(b"x" * MAX_BODY, b"x", b"x").ask(BodyMiddleware(read_then_answer), request(http_version="2"))


async def test_what_nobody_reads_of_a_body_is_taken_in_before_the_answer() -> None:
    client = Client(b"x" * PIECE, b"x" * PIECE, b"x")

    headers = await client.ask(BodyMiddleware(answer), request(content_length=str(2 * PIECE + 1)))

    assert client.received == 3
    assert b"connection" not in headers


async def test_a_body_that_goes_on_for_ever_is_left_and_its_connection_closed() -> None:
    client = Client(*[b"x" * PIECE] * (2 * DISCARD_BYTES // PIECE), more=True)

    headers = await client.ask(BodyMiddleware(answer), request(transfer_encoding="chunked"))

    assert client.received == DISCARD_BYTES // PIECE
    assert headers[b"connection"] == b"close"


async def test_a_body_that_stands_still_is_left_and_its_connection_closed(autojump_clock: MockClock) -> None:
    client, second_version = Client(b"x", more=True), Client(b"x", more=True)

    headers = await client.ask(BodyMiddleware(answer), request(content_length="2"))
    took = trio.current_time()
    others = await second_version.ask(BodyMiddleware(answer), request(content_length="2", http_version="2"))

    assert took == pytest.approx(DISCARD_SECONDS)
    assert headers[b"connection"] == b"close"
    assert b"connection" not in others  # HTTP/2 has no such header

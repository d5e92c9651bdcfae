"""The middleware around small applications: bugs, request ids, the access log, large heads, protective headers."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from starlette.types import Receive, Scope, Send

from app.headers import MAX_HEADER_BYTES, MAX_HEADERS, MAX_URL_BYTES
from app.middleware import RequestMiddleware
from tests.asgi import Client, answer, request

SECRET = "/srv/secret/path.py says: token-of-somebody"

Handler = Callable[[Scope, Receive, Send], Awaitable[None]]


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
    await RequestMiddleware(app)(scope, client.receive, client.send)

    assert seen == [(scope, client.receive, client.send)]


# How large a request's head may be


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"raw_path": b"/" + b"x" * MAX_URL_BYTES}, 414, b"uri_too_long"),
        ({"query_string": b"x" * MAX_URL_BYTES}, 414, b"uri_too_long"),
        ({"headers": [(b"x", b"")] * (MAX_HEADERS + 1)}, 431, b"headers_too_large"),
        ({"headers": [(b"x-many", b"x" * (MAX_HEADER_BYTES - 5))]}, 431, b"headers_too_large"),
    ],
)
async def test_a_head_that_is_too_large_is_refused(change: Scope, status: int, code: bytes) -> None:
    client = Client()

    headers = await client.ask(RequestMiddleware(failing(after=False)), {**request("GET"), **change})

    assert client.answer[0]["status"] == status
    assert b'"code": "%s"' % code in client.answer[1]["body"]
    assert b"x-request-id" in headers


@pytest.mark.parametrize(
    "change",
    [
        {"raw_path": b"/" + b"x" * (MAX_URL_BYTES - 1)},
        {"headers": [(b"x", b"")] * MAX_HEADERS},
        {"headers": [(b"x-many", b"x" * (MAX_HEADER_BYTES - 6))]},
    ],
)
async def test_a_head_that_is_as_large_as_it_may_be_is_taken(change: Scope) -> None:
    client = Client()

    await client.ask(RequestMiddleware(answer), {**request("GET"), **change})

    assert client.answer[0]["status"] == 200


# What protects whoever reads an answer


@pytest.mark.parametrize("app", [answer, failing(after=False)], ids=["an answer", "a bug"])
async def test_every_answer_carries_the_headers_that_protect_its_reader(app: Handler) -> None:
    plain = await Client().ask(RequestMiddleware(app), request())
    secure = await Client().ask(RequestMiddleware(app), {**request(), "scheme": "https"})

    for headers in (plain, secure):
        assert headers[b"content-security-policy"] == b"default-src 'none'; frame-ancestors 'none'"
        assert headers[b"x-content-type-options"] == b"nosniff"
        assert headers[b"referrer-policy"] == b"no-referrer"
        assert headers[b"cross-origin-resource-policy"] == b"same-origin"
    assert b"strict-transport-security" not in plain
    assert secure[b"strict-transport-security"] == b"max-age=31536000"


async def test_a_page_has_a_policy_of_its_own_and_no_second_one() -> None:
    own = (b"content-security-policy", b"default-src 'self'")

    async def page(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [own]})

    client = Client()
    await client.ask(RequestMiddleware(page), request())

    found = [pair for pair in client.answer[0]["headers"] if pair[0] == own[0]]
    assert found == [own]
    assert (b"x-content-type-options", b"nosniff") in client.answer[0]["headers"]

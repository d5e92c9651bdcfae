"""Bodies between the server and the application: too large, too slow, of two lengths, read by nobody."""

import pytest
import trio
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from trio.testing import MockClock, wait_all_tasks_blocked

from app.bodies import DISCARD_BYTES, DISCARD_SECONDS, MAX_BODY, BodyMiddleware
from app.errors import BodyTooLarge, RequestTimeout
from tests.asgi import Client, answer, read_then_answer, request

PIECE = 2**16
GRACE, RATE = 10.0, 1000


def bounded(app: ASGIApp) -> BodyMiddleware:
    return BodyMiddleware(app, GRACE, RATE)


async def test_what_is_no_request_passes_untouched() -> None:
    seen: list[object] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((scope, receive, send))

    client, scope = Client(), {"type": "lifespan"}
    await bounded(app)(scope, client.receive, client.send)

    assert seen == [(scope, client.receive, client.send)]


async def test_a_request_without_a_body_is_not_waited_for() -> None:
    client = Client(more=True)

    await client.ask(bounded(answer), request("GET"))

    assert client.received == 0
    assert client.answer[0]["status"] == 200


async def test_a_body_that_is_declared_too_large_never_reaches_the_application() -> None:
    client = Client(b"x" * MAX_BODY, b"x")

    headers = await client.ask(bounded(answer), request(content_length=str(MAX_BODY + 1)))

    assert client.answer[0]["status"] == 413
    assert b"connection" not in headers


async def test_who_reads_more_of_a_body_than_is_allowed_is_stopped() -> None:
    reader = bounded(read_then_answer)

    await Client(b"x" * MAX_BODY).ask(reader, request(transfer_encoding="chunked"))
    with pytest.raises(BodyTooLarge):
        await Client(b"x" * MAX_BODY, b"x", b"x").ask(reader, request(transfer_encoding="chunked"))


async def test_a_body_that_is_not_declared_is_bounded_under_http_2() -> None:
    with pytest.raises(BodyTooLarge):
        await Client(b"x" * MAX_BODY, b"x", b"x").ask(bounded(read_then_answer), request(http_version="2"))


async def test_what_nobody_reads_of_a_body_is_taken_in_before_the_answer() -> None:
    client = Client(b"x" * PIECE, b"x" * PIECE, b"x")

    headers = await client.ask(bounded(answer), request(content_length=str(2 * PIECE + 1)))

    assert client.received == 3
    assert b"connection" not in headers


async def test_a_body_that_goes_on_for_ever_is_left_and_its_connection_closed() -> None:
    client = Client(*[b"x" * PIECE] * (2 * DISCARD_BYTES // PIECE), more=True)

    headers = await client.ask(bounded(answer), request(transfer_encoding="chunked"))

    assert client.received == DISCARD_BYTES // PIECE
    assert headers[b"connection"] == b"close"


async def test_a_body_that_stands_still_is_left_and_its_connection_closed(autojump_clock: MockClock) -> None:
    client, second_version = Client(b"x", more=True), Client(b"x", more=True)

    headers = await client.ask(bounded(answer), request(content_length="2"))
    took = trio.current_time()
    others = await second_version.ask(bounded(answer), request(content_length="2", http_version="2"))

    assert took == pytest.approx(DISCARD_SECONDS)
    assert headers[b"connection"] == b"close"
    assert b"connection" not in others  # HTTP/2 has no such header


# Bodies that are too slow


class Dripping:
    """A body that comes `size` bytes every `seconds`, and what its reader was told when."""

    def __init__(self, size: int, seconds: float) -> None:
        self._message: Message = {"type": "http.request", "body": b"x" * size, "more_body": True}
        self._seconds = seconds
        self.answer: list[Message] = []

    async def receive(self) -> Message:
        await trio.sleep(self._seconds)
        return self._message

    async def send(self, message: Message) -> None:
        self.answer.append(message)


async def give_up(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that reads, and answers 408 when it may read no longer."""
    try:
        await read_then_answer(scope, receive, send)
    except RequestTimeout:
        await send({"type": "http.response.start", "status": 408, "headers": []})


@pytest.mark.parametrize(
    ("size", "seconds", "ends_after"),
    [
        pytest.param(0, 3600, 10, id="nothing comes"),
        pytest.param(1, 1, 10, id="a byte a second"),
        pytest.param(500, 1, 19, id="half of the rate"),
        pytest.param(5000, 4000, 10, id="after the grace"),
    ],
)
async def test_a_body_that_comes_too_slowly_is_given_up_and_its_connection_closed(
    size: int, seconds: float, ends_after: float, autojump_clock: MockClock
) -> None:
    body = Dripping(size, seconds)

    await bounded(give_up)(request(content_length="100000"), body.receive, body.send)

    assert ends_after <= trio.current_time() <= ends_after + 1
    assert body.answer[0]["status"] == 408
    assert (b"connection", b"close") in body.answer[0]["headers"]


async def test_a_body_that_keeps_to_the_rate_is_taken_however_long_it_takes(autojump_clock: MockClock) -> None:
    body = Dripping(RATE, 1.0)

    with pytest.raises(BodyTooLarge):
        await bounded(read_then_answer)(request(transfer_encoding="chunked"), body.receive, body.send)

    assert trio.current_time() == pytest.approx(MAX_BODY / RATE, abs=1)


async def test_who_waits_for_the_clients_leaving_is_not_hurried(autojump_clock: MockClock) -> None:
    client = Client(b"x")
    left: list[Message] = []

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await read_then_answer(scope, receive, send)
        left.append(await receive())

    with trio.move_on_after(3600) as hour:
        await bounded(stream)(request(content_length="1"), client.receive, client.send)

    assert hour.cancelled_caught
    assert left == []


async def test_a_body_that_is_left_out_does_not_end_an_answer_that_has_begun(autojump_clock: MockClock) -> None:
    client = Client(more=True)

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await answer(scope, receive, send)
            await trio.sleep(3600)
            nursery.cancel_scope.cancel()

    await bounded(stream)(request("GET", content_length="9"), client.receive, client.send)

    assert trio.current_time() >= 3600


async def test_a_body_that_is_too_large_does_not_end_an_answer_that_has_begun() -> None:
    client = Client(*[b"x" * PIECE] * 2 * (DISCARD_BYTES // PIECE))
    over: list[Message] = []

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(scope, receive, send)
        over.append(await receive())

    await bounded(stream)(request("GET", transfer_encoding="chunked"), client.receive, client.send)

    assert over[0]["more_body"]


async def test_a_body_that_becomes_too_large_when_the_answer_has_begun_ends_nothing() -> None:
    begun = trio.Event()
    messages = [
        {"type": "http.request", "body": b"x" * (MAX_BODY + 1), "more_body": True},
        {"type": "http.request", "body": b"", "more_body": False},
    ]

    async def late() -> Message:
        if len(messages) == 2:
            message = messages.pop(0)
            await begun.wait()
            return message
        return messages.pop()

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await wait_all_tasks_blocked()
            await answer(scope, receive, send)
            begun.set()

    client = Client()
    await bounded(stream)(request("GET", content_length="9"), late, client.send)

    assert client.answer[0]["status"] == 200


# Bodies whose end two readers may see in two places


@pytest.mark.parametrize(
    "scope",
    [
        request(content_length="3", transfer_encoding="chunked"),
        request(http_version="1.0", transfer_encoding="chunked"),
    ],
)
async def test_a_body_of_two_lengths_is_refused_and_its_connection_closed(scope: Scope) -> None:
    client = Client(b"abc")

    headers = await client.ask(bounded(answer), scope)

    assert client.answer[0]["status"] == 400
    assert headers[b"connection"] == b"close"
    assert client.received == 0

"""What the events that came together say, and in which order; and the end of an answer is told at once."""

import json
from functools import partial

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from app import wire
from app.answer import Answer, News
from app.errors import ClaudeUnavailable
from app.models import Tokens
from app.network import COALESCE_SECONDS
from app.wire import EventReader, encode_event
from tests.test_claude import END, PROMPT, Reader, facade, http, raw_server, read_request

USAGE = {"input_tokens": 3}


def event(kind: str, **more: object) -> tuple[str, str]:
    return kind, json.dumps({"type": kind, **more})


def text(piece: str) -> tuple[str, str]:
    return event("content_block_delta", delta={"type": "text_delta", "text": piece})


START = event("message_start", message={"usage": USAGE})
THOUGHT = event("content_block_delta", delta={"type": "thinking_delta", "thinking": "Hm."})
END_OF_MESSAGE = [event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 5})]
END_OF_MESSAGE += [event("message_stop")]


def told(news: list[News]) -> list[News]:
    return [each for each in news if each != News()]


def test_events_are_told_in_their_order_and_the_text_of_deltas_in_a_row_as_one_piece() -> None:
    answer = Answer()

    news = told(
        answer.read([START, THOUGHT, text("One "), text("two."), event("ping"), text("Three."), *END_OF_MESSAGE])
    )

    assert news == [
        News(thinking=True, tokens=Tokens(input=3)),
        News(thinking=True),
        News("One two."),
        News("Three."),
        News(tokens=Tokens(input=3, output=5), final=True),
    ]
    assert (answer.stop_reason, answer.stopped) == ("end_turn", True)


def test_nothing_is_read_behind_the_end() -> None:
    answer = Answer()

    news = told(answer.read([*END_OF_MESSAGE, text("More."), event("error", error={})]))

    assert news == [News(tokens=Tokens(output=5), final=True)]
    assert answer.broken is None


def test_what_came_before_an_error_or_a_malformed_event_is_told() -> None:
    error = event("error", error={"type": "api_error", "message": "Told"})
    half = ("content_block_delta", '{"delta": {"type": "text_delta", "text": "\\ud83d"}}')
    bytes_that_are_none = EventReader().feed(encode_event(wire.ping()) + b"event: content_block_delta\ndata: \xff\n\n")
    endings = [[error], [half], [("content_block_delta", "{")], bytes_that_are_none]

    for ending in endings:
        answer = Answer()

        assert told(answer.read([text("Some "), text("text."), *ending, text("No more.")])) == [News("Some text.")]
        assert answer.broken

    answer.read([error])
    assert isinstance(answer.broken, ClaudeUnavailable)


async def test_a_listener_hears_the_text_that_came_together_in_one_piece() -> None:
    deltas = "".join("event: content_block_delta\ndata: " + text(piece)[1] + "\n\n" for piece in ("One ", "two", "."))
    reader = Reader()

    async with raw_server(http("200 OK", "text/event-stream", deltas + END)) as url, facade(url) as writer:
        await writer.write(PROMPT, reader)

    assert reader.text == "One two."
    assert reader.heard == ["connected", "piece", "counted at the end"]


async def test_once_claude_says_why_it_stops_the_end_is_not_waited_for(mock_clock: MockClock) -> None:
    connected, ended = trio.Event(), trio.Event()
    streams: list[trio.SocketStream] = []
    delta = ("event: content_block_delta\ndata: " + text("x")[1] + "\n\n").encode()
    message_delta, message_stop = (part.encode() + b"\n\n" for part in END.strip().split("\n\n"))
    count = 2 * round(COALESCE_SECONDS / 0.05)
    length = count * len(delta) + len(message_delta) + len(message_stop)

    async def serve(stream: trio.SocketStream) -> None:
        await read_request(stream)
        streams.append(stream)
        connected.set()
        await trio.sleep_forever()

    async def write(url: str) -> None:
        async with facade(url) as writer:
            await writer.write(PROMPT, reader)
        ended.set()

    async def send(data: bytes, seconds: float) -> None:
        await streams[0].send_all(data)
        await wait_all_tasks_blocked(0.01)
        mock_clock.jump(seconds)
        await wait_all_tasks_blocked(0.01)

    reader = Reader()
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        nursery.start_soon(write, f"http://127.0.0.1:{listener.socket.getsockname()[1]}")
        await connected.wait()
        await send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length, 0)
        for _ in range(count):
            await send(delta, 0.05)
        rare = reader.heard.count("piece")
        await send(message_delta, COALESCE_SECONDS)
        before = ended.is_set()
        await send(message_stop, 0)
        after = ended.is_set()
        nursery.cancel_scope.cancel()

    assert rare < count
    assert (before, after) == (False, True)

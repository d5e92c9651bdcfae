"""The facade of Claude: one verb, every failure in our words, patience, pace, and a connection that is closed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from app.claude import END_SECONDS, Claude, open_claude
from app.errors import (
    ClaudeAuth,
    ClaudeRequest,
    ClaudeStream,
    ClaudeTimeout,
    ClaudeUnavailable,
    Failure,
)
from app.models import Tokens
from app.pace import START_SECONDS, STARTS_AT_ONCE
from app.prompts import Prompt
from app.threads import Threads
from tests.claude import BEFORE_HEADERS, BEFORE_MESSAGE, Ending, FakeClaude, Fault, Script
from tests.service import settings_for

PROMPT = Prompt("claude-sonnet-5-5", "Write.", "A topic", "The whole.", max_tokens=1000)
ASKED = [
    {"type": "text", "text": "A topic", "cache_control": {"type": "ephemeral"}},
    {"type": "text", "text": "The whole."},
]
"""How the user's turn of `PROMPT` is sent: the brief is marked to be cached."""

PATIENCE = 5.0


class Reader:
    """A listener that writes down what it hears."""

    def __init__(self) -> None:
        self.text = ""
        self.heard: list[str] = []
        self.request_id: str | None = None
        self.tokens = Tokens()

    def connected(self, request_id: str | None) -> None:
        self.request_id = request_id
        self.heard.append("connected")

    def thinking(self) -> None:
        self.heard.append("thinking")

    async def counted(self, tokens: Tokens, *, final: bool) -> None:
        self.tokens = tokens
        self.heard.append("counted at the end" if final else "counted")

    async def piece(self, text: str) -> None:
        self.text += text
        self.heard.append("piece")


class SlowReader(Reader):
    """A listener that takes its first piece only when the test lets it."""

    def __init__(self, go: trio.Event) -> None:
        super().__init__()
        self.busy = trio.Event()
        self._go = go

    async def piece(self, text: str) -> None:
        self.busy.set()
        await self._go.wait()
        await super().piece(text)


class Objection(ValueError):
    """What a listener raises: of a kind that a malformed stream raises as well."""


class Objector(Reader):
    """A listener that wants to hear no text."""

    async def piece(self, text: str) -> None:
        raise Objection(text)


@asynccontextmanager
async def facade(url: str, timeout: float = 60) -> AsyncIterator[Claude]:
    async with open_claude(settings_for(Path("nowhere"), url, claude_timeout=timeout), Threads(4)) as opened:
        yield opened


@pytest.fixture
async def writer(claude: FakeClaude) -> AsyncIterator[Claude]:
    """The facade in front of the stand-in."""
    async with facade(claude.url) as opened:
        yield opened


async def read_request(stream: trio.SocketStream) -> bool:
    """Read one request; False when the client has gone instead."""
    raw = b""
    while b"\r\n\r\n" not in raw:
        if not (chunk := await stream.receive_some()):
            return False
        raw += chunk
    head, _, body = raw.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    while len(body) < length:
        body += await stream.receive_some()
    return True


@asynccontextmanager
async def raw_server(answer: bytes, connections: list[trio.SocketStream] | None = None) -> AsyncIterator[str]:
    """Serve these bytes to every request, whatever it asks; gives the URL, and notes the connections."""

    async def handle(stream: trio.SocketStream) -> None:
        if connections is not None:
            connections.append(stream)
        async with stream:
            while await read_request(stream):
                await stream.send_all(answer)

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
        yield f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


def http(status: str, content_type: str, body: str) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body.encode())}\r\n\r\n"
    return (head + body).encode()


END = (
    'event: message_delta\ndata: {"delta": {"stop_reason": "end_turn"}, "usage": {}}\n\n'
    "event: message_stop\ndata: {}\n\n"
)


# What a whole answer brings


async def test_a_whole_answer_is_heard_in_order_and_its_stop_reason_returned(
    writer: Claude, claude: FakeClaude
) -> None:
    tokens = Tokens(input=10, output=20, cache_read=30, cache_write=40)
    claude.script(Script(text="한 글자씩, one by one.", pieces=5, thinking=2, pings=1, tokens=tokens))
    reader = Reader()

    stop_reason = await writer.write(PROMPT, reader)

    assert stop_reason == "end_turn"
    assert reader.text == "한 글자씩, one by one."
    assert reader.tokens == tokens
    assert reader.request_id == claude.calls[0].request_id
    assert reader.heard == ["connected", "counted", *["thinking"] * 3, *["piece"] * 5, "counted at the end"]


async def test_a_request_says_what_the_prompt_says_and_is_sent_once(writer: Claude, claude: FakeClaude) -> None:
    claude.default = Script.error(529, "overloaded_error", "Busy", retry_after=0)

    with pytest.raises(ClaudeUnavailable):
        await writer.write(PROMPT, Reader())

    (call,) = claude.calls
    assert call.body == {
        "model": PROMPT.model,
        "system": PROMPT.system,
        "messages": [{"role": "user", "content": ASKED}],
        "max_tokens": 1000,
        "stream": True,
    }


async def test_a_prompt_that_goes_on_sends_the_answer_so_far_and_ends_with_the_user(
    writer: Claude, claude: FakeClaude
) -> None:
    await writer.write(PROMPT.after("# Half a rep"), Reader())

    (call,) = claude.calls
    asked, written, go_on = call.body["messages"]
    assert asked == {"role": "user", "content": ASKED}
    assert written == {"role": "assistant", "content": "# Half a rep"}
    assert go_on["role"] == "user"
    assert "<ending># Half a rep</ending>" in go_on["content"]


@pytest.mark.parametrize("stop_reason", ["max_tokens", "refusal", "stop_sequence", "pause_turn"])
async def test_every_stop_reason_is_returned_and_none_is_judged(
    writer: Claude, claude: FakeClaude, stop_reason: str
) -> None:
    claude.script(Script(text="", stop_reason=stop_reason))

    assert await writer.write(PROMPT, Reader()) == stop_reason


async def test_a_connection_serves_the_next_call_after_a_whole_answer() -> None:
    connections: list[trio.SocketStream] = []

    async with raw_server(http("200 OK", "text/event-stream", END), connections) as url, facade(url) as writer:
        stop_reasons = [await writer.write(PROMPT, Reader()) for _ in range(3)]

    assert stop_reasons == ["end_turn"] * 3
    assert len(connections) == 1


# Failures


STATUSES = {
    400: ClaudeRequest("Told"),
    401: ClaudeAuth(),
    402: ClaudeRequest("Told"),
    403: ClaudeAuth(),
    404: ClaudeRequest("Told"),
    408: ClaudeUnavailable("408 Told"),
    409: ClaudeUnavailable("409 Told"),
    413: ClaudeRequest("Told"),
    422: ClaudeRequest("Told"),
    429: ClaudeUnavailable("429 Told", limiting=True),
    500: ClaudeUnavailable("500 Told"),
    502: ClaudeUnavailable("502 Told"),
    504: ClaudeUnavailable("504 Told"),
    529: ClaudeUnavailable("529 Told", limiting=True),
}


@pytest.mark.parametrize("status", STATUSES)
async def test_each_status_has_its_failure(writer: Claude, claude: FakeClaude, status: int) -> None:
    claude.script(Script.error(status, "some_error", "Told"))

    failure = await failure_of_write(writer)

    assert same(failure, STATUSES[status])
    assert failure.request_id == claude.calls[0].request_id
    assert failure.__cause__ is not None


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7), ("0.5", 0.5), ("0", 0), ("-1", None), ("inf", None), ("nan", None), ("soon", None), ("", None)],
)
@pytest.mark.parametrize(("status", "limiting"), [("429 Too Many Requests", True), ("503 Service Unavailable", False)])
async def test_a_refusal_tells_for_how_long_claude_asks_to_wait(
    status: str, limiting: bool, header: str, seconds: float | None
) -> None:
    answer = http(status, f"application/json\r\nRetry-After: {header}", '{"error": {"message": "Told"}}')

    async with raw_server(answer) as url, facade(url) as writer:
        failure = await failure_of_write(writer)

    assert same(failure, ClaudeUnavailable(f"{status[:3]} Told", limiting=limiting, retry_after=seconds))


ERROR_EVENTS = {
    "overloaded_error": ClaudeUnavailable("Told", limiting=True),
    "api_error": ClaudeUnavailable("Told"),
    "rate_limit_error": ClaudeUnavailable("Told", limiting=True),
    "an_error_of_later_years": ClaudeUnavailable("Told"),
    "timeout_error": ClaudeTimeout(),
    "authentication_error": ClaudeAuth(),
    "permission_error": ClaudeAuth(),
    "invalid_request_error": ClaudeRequest("Told"),
    "not_found_error": ClaudeRequest("Told"),
    "request_too_large": ClaudeRequest("Told"),
    "billing_error": ClaudeRequest("Told"),
}


@pytest.mark.parametrize("at", [BEFORE_MESSAGE, 3])
@pytest.mark.parametrize("error_type", ERROR_EVENTS)
async def test_each_error_event_has_its_failure(writer: Claude, claude: FakeClaude, error_type: str, at: int) -> None:
    claude.script(Script.error_event(error_type, "Told", at=at))

    assert same(await failure_of_write(writer), ERROR_EVENTS[error_type])


FAULTS = {
    "cut before the headers": (Fault.CUT, BEFORE_HEADERS, ClaudeUnavailable("no connection")),
    "reset before the headers": (Fault.RESET, BEFORE_HEADERS, ClaudeUnavailable("no connection")),
    "cut in mid-stream": (Fault.CUT, 3, ClaudeStream()),
    "reset in mid-stream": (Fault.RESET, 3, ClaudeStream()),
    "malformed in mid-stream": (Fault.MALFORMED, 3, ClaudeStream()),
    "no UTF-8 in mid-stream": (Fault.BAD_UTF8, 3, ClaudeStream()),
    "an end without a message": (Fault.CLEAN_END, BEFORE_MESSAGE, ClaudeStream()),
    "an end in mid-stream": (Fault.CLEAN_END, 3, ClaudeStream()),
    "an end before message_stop": (Fault.CLEAN_END, 42, ClaudeStream()),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_each_fault_has_its_failure(writer: Claude, claude: FakeClaude, name: str) -> None:
    fault, at, expected = FAULTS[name]
    claude.script(Script(fault=fault, at=at))

    assert same(await failure_of_write(writer), expected)


PAGE = "<!doctype html>\n\n<p style='color: red'>data: nothing</p>\n\n"
SHAPELESS = 'event: content_block_delta\ndata: {"delta": %s}\n\n'

ANSWERS = {
    "a page instead of events": (http("200 OK", "text/html", PAGE), ClaudeStream()),
    "a page with an error": (http("502 Bad Gateway", "text/html", PAGE), ClaudeUnavailable("502")),
    "an error of another shape": (
        http("400 Bad Request", "application/json", '{"error": "no"}'),
        ClaudeRequest("status 400"),
    ),
    "an empty answer": (http("200 OK", "text/event-stream", ""), ClaudeStream()),
    "a delta that is none": (http("200 OK", "text/event-stream", SHAPELESS % "null"), ClaudeStream()),
    "a delta without text": (http("200 OK", "text/event-stream", SHAPELESS % '{"type": "text_delta"}'), ClaudeStream()),
    "usage that is no number": (
        http(
            "200 OK",
            "text/event-stream",
            'event: message_start\ndata: {"message": {"usage": {"input_tokens": "many"}}}\n\n',
        ),
        ClaudeStream(),
    ),
    "an error event of another shape": (
        http("200 OK", "text/event-stream", 'event: error\ndata: {"error": "no"}\n\n'),
        ClaudeStream(),
    ),
    "what is not HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", ClaudeUnavailable("no connection")),
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_that_claude_would_not_give_is_a_failure_too(name: str) -> None:
    answer, expected = ANSWERS[name]

    async with raw_server(answer) as url, facade(url) as writer:
        failure = await failure_of_write(writer)

    assert same(failure, expected)


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    with trio.socket.socket() as taken:
        await taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]  # bound, and nobody listens

        async with facade(f"http://127.0.0.1:{port}") as writer:
            failure = await failure_of_write(writer)

    assert same(failure, ClaudeUnavailable("no connection"))


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
async def test_events_are_read_whatever_their_line_ends_and_comments(line_end: str) -> None:
    delta = '{"type": "content_block_delta",|data: "delta": {"type": "text_delta", "text": "Text."}}'
    events = (
        ": a comment||id: 7|retry: 10||"
        'event: message_start|data: {"message": {"usage": {"input_tokens": 1}}}||'
        f"event:content_block_delta|data:{delta}||"
        'event: message_delta|data: {"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}||'
        "event: message_stop|data: {}||"
    )
    reader = Reader()

    async with (
        raw_server(http("200 OK", "text/event-stream", events.replace("|", line_end))) as url,
        facade(url) as writer,
    ):
        stop_reason = await writer.write(PROMPT, reader)

    assert (stop_reason, reader.text, reader.tokens) == ("end_turn", "Text.", Tokens(input=1, output=2))


# Leaving


@pytest.mark.parametrize("place", [BEFORE_HEADERS, BEFORE_MESSAGE, 0, 3, 42])
async def test_cancelling_closes_the_connection_at_once(writer: Claude, claude: FakeClaude, place: int) -> None:
    claude.script(Script(hold=trio.Event(), hold_at=place))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.write, PROMPT, Reader())
        call = await claude.next_call()
        await call.held.wait()
        nursery.cancel_scope.cancel()
    with trio.fail_after(5):
        await call.gone.wait()

    assert call.ending is Ending.GONE


async def test_what_the_listener_raises_comes_through_unchanged_and_closes_the_connection(
    writer: Claude, claude: FakeClaude
) -> None:
    claude.script(Script(text="A piece.", pieces=1, hold=trio.Event(), hold_at=1))

    with pytest.raises(Objection, match=r"^A piece\.$") as raised:
        await writer.write(PROMPT, Objector())
    with trio.fail_after(5):
        await claude.calls[0].gone.wait()

    assert raised.value.__cause__ is None


async def test_a_whole_answer_is_returned_though_its_response_does_not_end(mock_clock: MockClock) -> None:
    unending = http("200 OK", "text/event-stream", END + " " * 1000)[:-1000]
    connections: list[trio.SocketStream] = []
    returned: list[str] = []

    async def write(writer: Claude) -> None:
        returned.append(await writer.write(PROMPT, Reader()))

    async with raw_server(unending, connections) as url, facade(url) as writer, trio.open_nursery() as nursery:
        nursery.start_soon(write, writer)
        for _ in range(3):
            await wait_all_tasks_blocked(0.01)
            mock_clock.jump(END_SECONDS)
        await wait_all_tasks_blocked(0.01)
        nursery.cancel_scope.cancel()

    assert returned == ["end_turn"]


# Patience


async def quiet() -> None:
    """Wait until everything that was sent has been taken in."""
    await wait_all_tasks_blocked(0.01)


@pytest.mark.parametrize("place", [BEFORE_HEADERS, BEFORE_MESSAGE, 0, 3, 42])
async def test_silence_fails_when_patience_is_over_and_not_before_and_closes_the_connection(
    mock_clock: MockClock, claude: FakeClaude, place: int
) -> None:
    claude.script(Script(hold=trio.Event(), hold_at=place))
    failures: list[Failure] = []

    async def write(impatient: Claude) -> None:
        failures.append(await failure_of_write(impatient))

    async with facade(claude.url, PATIENCE) as impatient, trio.open_nursery() as nursery:
        nursery.start_soon(write, impatient)
        call = await claude.next_call()
        await call.held.wait()
        await quiet()
        mock_clock.jump(PATIENCE - 1)
        await quiet()
        too_soon = len(failures)
        mock_clock.jump(1)
        await quiet()
        gone = call.gone.is_set()
        nursery.cancel_scope.cancel()

    assert not too_soon
    assert [same(failure, ClaudeTimeout()) for failure in failures] == [True]
    assert gone


async def test_pings_keep_a_call_alive_beyond_the_time_out(mock_clock: MockClock, claude: FakeClaude) -> None:
    go = trio.Event()
    claude.script(Script(hold=go, hold_at=3, ping_seconds=PATIENCE - 1))
    reader = Reader()

    async with facade(claude.url, PATIENCE) as writer, trio.open_nursery() as nursery:
        nursery.start_soon(writer.write, PROMPT, reader)
        call = await claude.next_call()
        await call.held.wait()
        for _ in range(3):
            await quiet()
            mock_clock.jump(PATIENCE - 1)
        await quiet()
        go.set()

    assert reader.text == call.text_sent
    assert call.ending is Ending.WHOLE


async def test_the_time_out_does_not_run_while_the_listener_takes_its_time(
    mock_clock: MockClock, claude: FakeClaude
) -> None:
    go = trio.Event()
    reader = SlowReader(go)

    async with facade(claude.url, PATIENCE) as writer, trio.open_nursery() as nursery:
        nursery.start_soon(writer.write, PROMPT, reader)
        await reader.busy.wait()
        mock_clock.jump(3 * PATIENCE)
        await quiet()
        go.set()

    assert reader.text == Script().text


async def test_calls_to_claude_are_paced(mock_clock: MockClock, claude: FakeClaude) -> None:
    claude.default = Script(hold=trio.Event(), hold_at=BEFORE_HEADERS)
    async with facade(claude.url) as writer, trio.open_nursery() as nursery:
        for _ in range(STARTS_AT_ONCE + 2):
            nursery.start_soon(writer.write, PROMPT, Reader())
        for _ in range(STARTS_AT_ONCE):
            await (await claude.next_call()).held.wait()
        await wait_all_tasks_blocked(0.01)
        at_first = len(claude.calls)

        mock_clock.jump(START_SECONDS)
        for _ in range(2):
            await claude.next_call()
        nursery.cancel_scope.cancel()

    assert at_first == STARTS_AT_ONCE


async def test_a_call_that_fails_to_connect_holds_up_nobody(mock_clock: MockClock) -> None:
    with trio.socket.socket() as taken:
        await taken.bind(("127.0.0.1", 0))

        async with facade(f"http://127.0.0.1:{taken.getsockname()[1]}") as writer:
            failures = [await failure_of_write(writer) for _ in range(3 * STARTS_AT_ONCE)]

    assert all(same(failure, ClaudeUnavailable("no connection")) for failure in failures)


async def failure_of_write(writer: Claude) -> Failure:
    with pytest.raises(Failure) as raised, trio.fail_after(10):
        await writer.write(PROMPT, Reader())
    return raised.value


def same(failure: Failure, expected: Failure) -> bool:
    """Whether two failures say the same; `request_id` names the call and is another each time."""
    told, wanted = ({**vars(each), "request_id": None} for each in (failure, expected))
    return type(failure) is type(expected) and str(failure) == str(expected) and told == wanted

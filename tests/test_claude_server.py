"""The stand-in for Claude: true to the wire, and obedient to the test."""

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest
import trio
from anthropic import AsyncAnthropic
from anthropic.types import RawMessageStreamEvent

from app.models import Tokens
from tests.claude import (
    BEFORE_HEADERS,
    BEFORE_MESSAGE,
    Call,
    Ending,
    FakeClaude,
    Fault,
    Script,
    claude_server,
    continuing,
    numbered_text,
    sentence_numbers,
)

# A stream that is left before its end leaves the generators of the SDK and of its HTTP client to the garbage collector.
pytestmark = pytest.mark.filterwarnings(r"ignore:Async generator '(anthropic|httpx2|httpcore2)\.:ResourceWarning")

ASKED: dict[str, Any] = {
    "model": "claude-test",
    "max_tokens": 1000,
    "messages": [{"role": "user", "content": "Write a report."}],
}
HEADERS = {"x-api-key": "test", "anthropic-version": "2023-06-01"}


@pytest.fixture
async def client(claude: FakeClaude) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(api_key="test", base_url=claude.url, max_retries=0) as client:
        yield client


async def streamed(client: AsyncAnthropic, events: list[RawMessageStreamEvent] | None = None) -> str:
    """Read a whole stream into `events` and return its text."""
    seen = [] if events is None else events
    async with await client.messages.create(**ASKED, stream=True) as stream:
        async for event in stream:
            seen.append(event)
    return text_of(seen)


def text_of(events: list[RawMessageStreamEvent]) -> str:
    deltas = (event.delta for event in events if event.type == "content_block_delta")
    return "".join(delta.text for delta in deltas if delta.type == "text_delta")


async def test_a_stream_and_a_message_carry_the_same_text(claude: FakeClaude, client: AsyncAnthropic) -> None:
    text = await streamed(client)
    message = await client.messages.create(**ASKED)

    assert text == Script().text
    assert [block.text for block in message.content if block.type == "text"] == [text]
    assert message.model == "claude-test"
    assert [call.ending for call in claude.calls] == [Ending.WHOLE, Ending.WHOLE]
    assert claude.calls[0].text_sent == text


async def test_the_text_comes_in_as_many_deltas_as_the_script_says(claude: FakeClaude, client: AsyncAnthropic) -> None:
    claude.script(Script(text="가나다라마", pieces=3), Script(text="ab", pieces=3), Script(text=""))

    texts = [await streamed(client) for _ in range(3)]

    assert texts == ["가나다라마", "ab", ""]
    assert [call.sent for call in claude.calls] == [["가", "나다", "라마"], ["a", "b"], []]


async def test_the_usage_is_told_at_the_start_and_the_end(claude: FakeClaude, client: AsyncAnthropic) -> None:
    claude.script(Script(tokens=Tokens(input=10, output=200, cache_read=30, cache_write=40)))
    events: list[RawMessageStreamEvent] = []

    await streamed(client, events)

    start = next(event.message.usage for event in events if event.type == "message_start")
    end = next(event.usage for event in events if event.type == "message_delta")
    assert (start.output_tokens, end.output_tokens) == (1, 200)
    for usage in (start, end):
        assert usage.input_tokens == 10
        assert usage.cache_read_input_tokens == 30
        assert usage.cache_creation_input_tokens == 40


async def test_thinking_comes_before_the_text(claude: FakeClaude, client: AsyncAnthropic) -> None:
    claude.script(Script(text="Text.", pieces=2, thinking=3))
    events: list[RawMessageStreamEvent] = []

    text = await streamed(client, events)

    kinds = [event.delta.type for event in events if event.type == "content_block_delta"]
    assert kinds == ["thinking_delta"] * 3 + ["signature_delta"] + ["text_delta"] * 2
    assert [event.index for event in events if event.type == "content_block_start"] == [0, 1]
    assert text == "Text."


async def test_pings_come_between_the_deltas(claude: FakeClaude, client: AsyncAnthropic) -> None:
    claude.script(Script(text="ab", pieces=2, pings=2))

    response = await client.messages.with_raw_response.create(**ASKED, stream=True)
    names = [line[7:] async for line in response.http_response.aiter_lines() if line.startswith("event: ")]

    assert names.count("ping") == 1 + 2 * 2
    assert claude.calls[0].events_sent == len(names)


async def test_a_silent_stream_may_ping(claude: FakeClaude, client: AsyncAnthropic) -> None:
    claude.script(Script(fault=Fault.SILENCE, at=1, ping_seconds=0.001))

    async with client.messages.with_streaming_response.create(**ASKED, stream=True) as response:
        pings = 0
        async for line in response.iter_lines():
            pings += line == "event: ping"
            if pings == 5:
                break

    assert len(claude.calls[0].sent) == 1


@pytest.mark.parametrize("reason", ["max_tokens", "refusal", "pause_turn", "model_context_window_exceeded"])
async def test_a_stream_may_end_for_any_reason(claude: FakeClaude, client: AsyncAnthropic, reason: str) -> None:
    claude.script(Script(stop_reason=reason), Script(stop_reason=reason))
    events: list[RawMessageStreamEvent] = []

    await streamed(client, events)
    message = await client.messages.create(**ASKED)

    end = next(event.delta for event in events if event.type == "message_delta")
    assert end.stop_reason == message.stop_reason == reason
    assert (end.stop_details is not None) == (reason == "refusal")


async def test_a_refusal_may_come_before_any_text(claude: FakeClaude, client: AsyncAnthropic) -> None:
    claude.script(Script.refusal())
    events: list[RawMessageStreamEvent] = []

    await streamed(client, events)

    assert [event.type for event in events] == ["message_start", "message_delta", "message_stop"]


async def test_scripts_are_played_in_order_and_then_the_default(claude: FakeClaude, client: AsyncAnthropic) -> None:
    claude.script(Script(text="first"), lambda body: Script(text=body["model"]))
    claude.default = Script(text="default")

    assert [await streamed(client) for _ in range(4)] == ["first", "claude-test", "default", "default"]
    assert [(await claude.next_call()).number for _ in range(4)] == [0, 1, 2, 3]


STATUSES = [
    (400, "invalid_request_error", anthropic.BadRequestError),
    (401, "authentication_error", anthropic.AuthenticationError),
    (429, "rate_limit_error", anthropic.RateLimitError),
    (500, "api_error", anthropic.InternalServerError),
    (529, "overloaded_error", anthropic.OverloadedError),
]


@pytest.mark.parametrize(("status", "error_type", "expected"), STATUSES)
async def test_a_refused_call_is_the_sdks_own_error(
    claude: FakeClaude, client: AsyncAnthropic, status: int, error_type: str, expected: type[anthropic.APIStatusError]
) -> None:
    claude.script(Script.error(status, error_type, "Not now", retry_after=1.5))

    with pytest.raises(expected) as raised:
        await streamed(client)

    error = raised.value
    assert type(error) is expected
    assert (error.status_code, error.type, error.api_message) == (status, error_type, "Not now")
    assert error.response.headers["retry-after"] == "1.5"
    assert error.request_id == claude.calls[0].request_id
    assert claude.calls[0].ending is Ending.FAULT


BREAKS = [
    (Fault.CUT, httpx2.RemoteProtocolError),
    (Fault.RESET, httpx2.ReadError),
    (Fault.MALFORMED, json.JSONDecodeError),
    (Fault.BAD_UTF8, UnicodeDecodeError),
    (Fault.ERROR_EVENT, anthropic.APIStatusError),
]


@pytest.mark.parametrize("place", [BEFORE_MESSAGE, 0, 3, 10, 12])
@pytest.mark.parametrize(("fault", "expected"), BREAKS)
async def test_a_stream_that_breaks_raises_what_it_raises_with_claude(
    claude: FakeClaude, client: AsyncAnthropic, fault: Fault, expected: type[Exception], place: int
) -> None:
    script = Script(pieces=10, fault=fault, at=place)
    claude.script(script)
    events: list[RawMessageStreamEvent] = []

    with pytest.raises(expected) as raised:
        await streamed(client, events)

    assert type(raised.value) is expected
    assert claude.calls[0].sent == list(script.cut[: max(place, 0)])
    if fault is not Fault.RESET:  # which drops what is still on its way
        assert text_of(events) == claude.calls[0].text_sent
    assert "message_stop" not in [event.type for event in events]
    assert claude.calls[0].ending is Ending.FAULT
    assert not claude.calls[0].gone.is_set()


async def test_an_error_event_has_a_type_and_the_status_200(claude: FakeClaude, client: AsyncAnthropic) -> None:
    claude.script(Script.error_event("api_error", "Internal server error", at=2))

    with pytest.raises(anthropic.APIStatusError) as raised:
        await streamed(client)

    error = raised.value
    assert (error.status_code, error.type, error.api_message) == (200, "api_error", "Internal server error")


@pytest.mark.parametrize("place", [BEFORE_MESSAGE, 0, 10, 12])
async def test_a_stream_that_ends_cleanly_before_its_end_raises_nothing(
    claude: FakeClaude, client: AsyncAnthropic, place: int
) -> None:
    claude.script(Script(pieces=10, fault=Fault.CLEAN_END, at=place))
    events: list[RawMessageStreamEvent] = []

    await streamed(client, events)

    assert "message_stop" not in [event.type for event in events]
    assert len(claude.calls[0].sent) == max(place if place < 12 else 10, 0)


@pytest.mark.parametrize("fault", [Fault.CUT, Fault.RESET])
async def test_a_connection_that_is_cut_before_the_headers_is_a_connection_error(
    claude: FakeClaude, client: AsyncAnthropic, fault: Fault
) -> None:
    claude.script(Script(fault=fault, at=BEFORE_HEADERS))

    with pytest.raises(anthropic.APIConnectionError):
        await streamed(client)

    assert not claude.calls[0].started.is_set()
    assert await streamed(client) == Script().text


async def test_silence_before_the_headers_is_a_timeout(claude: FakeClaude, client: AsyncAnthropic) -> None:
    claude.script(Script(fault=Fault.SILENCE_BEFORE_HEADERS, ping_seconds=0.001))

    with pytest.raises(anthropic.APITimeoutError):
        await streamed(client.with_options(timeout=0.5))

    await ended(claude.calls[0], Ending.GONE)


async def test_silence_in_mid_stream_is_a_read_timeout(claude: FakeClaude, client: AsyncAnthropic) -> None:
    claude.script(Script(fault=Fault.SILENCE, at=3))

    with pytest.raises(httpx2.ReadTimeout):
        await streamed(client.with_options(timeout=0.5))

    assert len(claude.calls[0].sent) == 3
    await ended(claude.calls[0], Ending.GONE)


MESSAGE_BREAKS = [
    (Fault.CUT, anthropic.APIConnectionError),
    (Fault.MALFORMED, json.JSONDecodeError),
    (Fault.BAD_UTF8, ValueError),
    (Fault.CLEAN_END, json.JSONDecodeError),
]


@pytest.mark.parametrize("place", [BEFORE_MESSAGE, 0, 3])
@pytest.mark.parametrize(("fault", "expected"), MESSAGE_BREAKS)
async def test_a_message_that_is_not_streamed_breaks_too(
    claude: FakeClaude, client: AsyncAnthropic, fault: Fault, expected: type[Exception], place: int
) -> None:
    claude.script(Script(fault=fault, at=place))

    with pytest.raises(expected):
        await client.messages.create(**ASKED)


async def ended(call: Call, ending: Ending) -> None:
    """Check that a call ends so."""
    with trio.fail_after(5):
        await call.finished.wait()
    assert call.ending is ending
    assert call.gone.is_set() == (ending is Ending.GONE)


@pytest.mark.parametrize("hold_at", [BEFORE_HEADERS, BEFORE_MESSAGE, 0, 3, 42])
async def test_the_test_is_told_when_the_client_goes_away(
    claude: FakeClaude, client: AsyncAnthropic, nursery: trio.Nursery, hold_at: int
) -> None:
    claude.script(Script(hold=trio.Event(), hold_at=hold_at))
    scope = trio.CancelScope()

    async def ask() -> None:
        with scope:
            await streamed(client)

    nursery.start_soon(ask)
    call = await claude.next_call()
    await call.held.wait()
    scope.cancel()

    await ended(call, Ending.GONE)
    assert len(call.sent) == min(max(hold_at, 0), 40)


async def test_a_client_that_read_to_the_end_is_not_gone(claude: FakeClaude) -> None:
    async with AsyncAnthropic(api_key="test", base_url=claude.url, max_retries=0) as client:
        await streamed(client)

    await ended(claude.calls[0], Ending.WHOLE)


async def test_a_held_call_goes_on_when_the_test_says_so(
    claude: FakeClaude, client: AsyncAnthropic, nursery: trio.Nursery
) -> None:
    go = trio.Event()
    claude.script(Script(pieces=10, hold=go, hold_at=4))
    texts: list[str] = []

    async def ask() -> None:
        texts.append(await streamed(client))

    nursery.start_soon(ask)
    call = await claude.next_call()
    await call.sent_deltas(4)
    await call.held.wait()
    assert (call.status, len(call.sent), call.ending) == (200, 4, None)

    go.set()
    await call.finished.wait()
    assert len(call.sent) == 10
    assert call.ending is Ending.WHOLE


async def test_calls_are_answered_side_by_side(claude: FakeClaude, client: AsyncAnthropic) -> None:
    go = trio.Event()
    claude.default = Script(hold=go, hold_at=BEFORE_HEADERS)

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(streamed, client)
        for _ in range(20):
            await (await claude.next_call()).held.wait()
        assert not any(call.started.is_set() for call in claude.calls)
        go.set()

    assert [call.ending for call in claude.calls] == [Ending.WHOLE] * 20


async def test_a_server_with_held_streams_ends_at_once() -> None:
    async with trio.open_nursery() as nursery, claude_server() as claude:
        claude.script(Script(hold=trio.Event(), hold_at=3))
        client = AsyncAnthropic(api_key="test", base_url=claude.url, max_retries=0)
        await nursery.start(keep_asking, client)
        await (await claude.next_call()).held.wait()
        started = trio.current_time()

    assert trio.current_time() - started < 1
    assert claude.calls[0].finished.is_set()
    assert claude.calls[0].ending is None


async def keep_asking(client: AsyncAnthropic, *, task_status: trio.TaskStatus[None]) -> None:
    """Read a stream that the end of the server breaks off."""
    task_status.started()
    async with client:
        with pytest.raises(httpx2.RemoteProtocolError):
            await streamed(client)


INVALID = [
    ({"model": None}, "model: Field required"),
    ({"max_tokens": None}, "max_tokens: Field required"),
    ({"messages": None}, "messages: Field required"),
    ({"messages": []}, "messages: at least one message is required"),
    ({"max_tokens": 0}, "max_tokens: Input should be greater than or equal to 1"),
    ({"temperature": 0.5}, "`temperature` is not supported for this model."),
    ({"top_p": 0.5}, "`top_p` is not supported for this model."),
    ({"top_k": 5}, "`top_k` is not supported for this model."),
    ({"system": " "}, "system: text content blocks must be non-empty"),
    ({"messages": [{"role": "system", "content": "x"}]}, "messages.0.role: Input should be 'user' or 'assistant'"),
    ({"messages": [{"role": "user", "content": ""}]}, "messages.0: all messages must have non-empty content"),
    (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": " "}]}]},
        "messages.0: text content blocks must contain non-whitespace text",
    ),
    (
        {"messages": [*ASKED["messages"], {"role": "assistant", "content": "# A re"}]},
        "This model does not support assistant message prefill. The conversation must end with a user message.",
    ),
]


@pytest.mark.parametrize(("change", "message"), INVALID)
async def test_an_invalid_request_is_refused_as_the_api_refuses_it(
    claude: FakeClaude, change: dict[str, Any], message: str
) -> None:
    body = {name: value for name, value in (ASKED | change).items() if value is not None}

    async with httpx2.AsyncClient(base_url=claude.url, headers=HEADERS) as http:
        response = await http.post("/v1/messages", json=body)

    error = {"type": "invalid_request_error", "message": message}
    assert response.status_code == 400
    assert response.json() == {"type": "error", "error": error, "request_id": response.headers["request-id"]}
    assert claude.calls[0].body == body


UNANSWERED = [
    ("POST", "/v1/messages", {"x-api-key": ""}, b"{}", 401, "authentication_error"),
    ("POST", "/v1/messages", {"anthropic-version": ""}, b"{}", 400, "invalid_request_error"),
    ("POST", "/v1/messages", {}, b"{", 400, "invalid_request_error"),
    ("POST", "/v1/messages", {}, b"[]", 400, "invalid_request_error"),
    ("GET", "/v1/messages", {}, b"", 404, "not_found_error"),
    ("POST", "/v1/complete", {}, b"{}", 404, "not_found_error"),
]


@pytest.mark.parametrize(("method", "path", "headers", "body", "status", "error_type"), UNANSWERED)
async def test_what_the_api_does_not_know_is_refused(
    claude: FakeClaude, method: str, path: str, headers: dict[str, str], body: bytes, status: int, error_type: str
) -> None:
    claude.script(Script(text="unspent"))

    async with httpx2.AsyncClient(base_url=claude.url, headers=HEADERS | headers) as http:
        response = await http.request(method, path, content=body)

    assert (response.status_code, response.json()["error"]["type"]) == (status, error_type)
    assert len(claude.scripts) == 1


def test_a_numbered_text_shows_each_gap_and_repeat() -> None:
    text = numbered_text(10, sections=3)

    assert sentence_numbers(text) == list(range(1, 11))
    assert text.count("\n## Section ") == 3


async def test_a_continuation_writes_only_the_rest(claude: FakeClaude, client: AsyncAnthropic) -> None:
    text = numbered_text(10)
    start = text[:100]
    claude.default = continuing(text, Script(pieces=4), overlap=5)
    resumed = [{"role": "assistant", "content": start}, {"role": "user", "content": "Go on."}]

    whole = await streamed(client)
    message = await client.messages.create(**ASKED | {"messages": [*ASKED["messages"], *resumed]})

    assert whole == text
    assert [block.text for block in message.content if block.type == "text"] == [text[95:]]


async def test_the_stand_in_runs_as_a_process_of_its_own() -> None:
    command = [sys.executable, "-m", "tests.claude", "--numbered", "--characters", "3000", "--pieces", "7"]
    root = Path(__file__).parent.parent
    async with trio.open_nursery() as nursery:
        run = partial(trio.run_process, command, stdout=subprocess.PIPE, cwd=root, check=False)
        process: trio.Process = await nursery.start(run)
        assert process.stdout is not None
        url = (await process.stdout.receive_some()).decode().strip()
        async with AsyncAnthropic(api_key="test", base_url=url, max_retries=0) as client:
            text = await streamed(client)
        async with httpx2.AsyncClient() as http:
            journal = (await http.get(f"{url}/journal")).json()
        process.terminate()

    assert sentence_numbers(text) == list(range(1, 101))
    assert [(call["body"], call["ending"], call["text_sent"]) for call in journal] == [
        ({**ASKED, "stream": True}, "whole", text)
    ]
    assert process.returncode == -signal.SIGTERM

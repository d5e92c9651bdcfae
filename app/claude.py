"""The language model as one verb, `write`. The SDK and its exceptions end here."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from dataclasses import dataclass
from functools import cache
from math import inf
from typing import Any, Protocol

import anthropic
import httpx2
from anthropic import AsyncAnthropic, AsyncAPIResponse, DefaultAsyncHttpxClient
from anyio import CancelScope, current_time, move_on_after

from app.answer import Answer, Events, News
from app.errors import (
    ClaudeAuth,
    ClaudeRequest,
    ClaudeStream,
    ClaudeTimeout,
    ClaudeUnavailable,
    Failure,
)
from app.models import Tokens
from app.network import Coalescing
from app.offline import OfflineTransport
from app.pace import STARTS_AT_ONCE, Pace, Turn
from app.pool import use_pools
from app.prompts import Prompt
from app.settings import Settings
from app.threads import Threads

END_SECONDS = 1.0
"""How long the response of a whole answer may take to end, for its connection to serve the next call."""

ANTHROPIC = "https://api.anthropic.com"
ASK_SECONDS = 10.0
"""How long a question about a model may take."""

LIMITING = frozenset({429, 529})
"""The statuses by which Claude asks everybody to wait: rate limited, and overloaded."""


class Listener(Protocol):
    """Who hears what a call brings. What is awaited may take its time: the time-out does not run meanwhile."""

    def connected(self, request_id: str | None) -> None:
        """Claude has taken the request."""

    def thinking(self) -> None:
        """Claude thinks; no text comes meanwhile."""

    async def counted(self, tokens: Tokens, *, final: bool) -> None:
        """The tokens of this call so far; `final`: no more will be told."""

    async def piece(self, text: str) -> None:
        """A piece of the answer's text: of all deltas that came together."""


class Claude:
    """Claude behind the async SDK: no thread, no retries of the SDK's own.

    Promises:
    - Cancelling `write` closes the connection at once, so no token is spent after it.
    - `timeout` seconds without any event of the stream (a ping counts as one) raise ClaudeTimeout, before the first
      byte and between events alike.
    - `write` returns only when Claude said that the answer ended (`message_stop`); everything else raises a Failure.
    """

    def __init__(self, client: AsyncAnthropic, timeout: float) -> None:
        self._client = client
        self._timeout = timeout
        self._pace = Pace()

    async def write(self, prompt: Prompt, listener: Listener) -> str:
        """Stream one answer to the listener and return its stop reason.

        Raises ClaudeTimeout, ClaudeUnavailable, ClaudeAuth, ClaudeRequest or ClaudeStream, and what the listener
        raises.
        """
        turn = await self._pace.turn()
        try:
            with CancelScope(deadline=current_time() + self._timeout) as patience:
                return await self._stream(prompt, listener, patience, turn)
        finally:
            turn.answered.set()
        raise ClaudeTimeout

    async def _stream(self, prompt: Prompt, listener: Listener, patience: CancelScope, turn: Turn) -> str:
        async with AsyncExitStack() as stack:
            with _failures():
                response = await stack.enter_async_context(self._call(prompt))
            turn.answered.set()
            listener.connected(response.headers.get("request-id"))
            network = response.http_response.extensions.get("network_stream")
            events = Events(await stack.enter_async_context(_to_the_end(response.http_response.aiter_bytes())))
            answer = Answer()
            while not answer.stopped:
                patience.deadline = current_time() + self._timeout
                with _failures():
                    told = answer.read(await events.next())
                patience.deadline = inf
                for news in told:
                    await _tell(listener, news)
                if answer.broken:
                    with _failures():
                        raise answer.broken
                if answer.stop_reason and isinstance(network, Coalescing):
                    network.hurry()  # only the end is still to come
            return answer.stop_reason

    def _call(self, prompt: Prompt) -> AbstractAsyncContextManager[AsyncAPIResponse[Any]]:
        return self._client.messages.with_streaming_response.create(
            model=prompt.model,
            max_tokens=prompt.max_tokens,
            system=prompt.system,
            messages=_messages(prompt),
            stream=True,
        )


async def _tell(listener: Listener, news: News) -> None:
    if news.tokens is not None:
        await listener.counted(news.tokens, final=news.final)
    if news.thinking:
        listener.thinking()
    if news.text:
        await listener.piece(news.text)


def _messages(prompt: Prompt) -> Any:
    """Return the turns of a request; the brief, which calls of one report share, is marked to be cached."""
    brief = {"type": "text", "text": prompt.brief, "cache_control": {"type": "ephemeral"}}
    turns: list[dict[str, Any]] = [{"role": "user", "content": [brief, {"type": "text", "text": prompt.task}]}]
    if prompt.written:
        turns.append({"role": "assistant", "content": prompt.written})
        turns.append({"role": "user", "content": prompt.go_on})
    return turns


@asynccontextmanager
async def _to_the_end(chunks: AsyncIterator[bytes]) -> AsyncIterator[AsyncIterator[bytes]]:
    """Leave none of the generators behind a response in mid-air: after a whole answer they run to their end, after
    anything else they are cut where they next wait."""
    seconds = 0.0
    try:
        yield chunks
        seconds = END_SECONDS
    finally:
        with move_on_after(seconds, shield=True), suppress(httpx2.HTTPError):
            async for _ in chunks:
                pass


@contextmanager
def _failures() -> Iterator[None]:
    """Turn what the SDK and its transport raise into a Failure."""
    try:
        yield
    except (anthropic.APITimeoutError, httpx2.TimeoutException) as error:
        raise ClaudeTimeout from error
    except anthropic.APIConnectionError as error:
        raise ClaudeUnavailable("no connection") from error
    except anthropic.APIStatusError as error:
        failure = _failure_of_status(error)
        failure.request_id = error.request_id
        raise failure from error
    except (httpx2.HTTPError, StopAsyncIteration) as error:
        raise ClaudeStream from error  # cut off, or ended without `message_stop`
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ClaudeStream from error  # not what the Messages API sends


def _failure_of_status(error: anthropic.APIStatusError) -> Failure:
    body = error.body if isinstance(error.body, dict) else {}
    told = body.get("error")
    message = str(told.get("message") or "") if isinstance(told, dict) else ""
    status = error.status_code
    if status in {401, 403}:
        return ClaudeAuth()
    if status in {408, 409, 429} or status >= 500:
        reason = f"{status} {message}".strip()
        return ClaudeUnavailable(reason, limiting=status in LIMITING, retry_after=_retry_after(error.response.headers))
    return ClaudeRequest(message or f"status {status}")


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a `retry-after` header; the Messages API gives no dates there."""
    try:
        seconds = float(headers.get("retry-after", ""))
    except ValueError:
        return None
    return seconds if 0 <= seconds < inf else None


@asynccontextmanager
async def open_claude(settings: Settings, threads: Threads) -> AsyncIterator[Claude]:
    """Open the client for Claude, or for the built-in writer where neither a key nor an address is set."""
    async with await threads.files(_client, settings) as client:
        yield Claude(client, settings.claude_timeout)


@dataclass(frozen=True, slots=True)
class ModelNews:
    """What Claude's Models API tells of a model: `lifecycle` is `active`, `deprecated` or `retired`; `retires_on` is a
    date such as 2027-05-01, where one is set."""

    name: str
    lifecycle: str
    retires_on: str | None


async def model_news(settings: Settings, name: str) -> ModelNews | None:
    """Ask Claude about a model; None where it has none of that name. Raises a Failure, ClaudeAuth for a wrong key."""
    async with AsyncAnthropic(
        api_key=settings.api_key or "none", base_url=settings.base_url or ANTHROPIC, max_retries=1,
        timeout=ASK_SECONDS, open_telemetry=False,
    ) as client:  # fmt: skip
        try:
            with _failures():
                found = await client.models.retrieve(name)
        except ClaudeRequest as failure:
            if isinstance(failure.__cause__, anthropic.NotFoundError):
                return None
            raise
    lifecycle = getattr(found, "lifecycle", None) or "active"  # what stands in for Claude may tell less
    return ModelNews(name, lifecycle, f"{found.retires_at:%Y-%m-%d}" if found.retires_at else None)


def _client(settings: Settings) -> AsyncAnthropic:
    """Make the SDK's client; it reads certificates and imports modules, which blocks."""
    if settings.offline:
        http_client = httpx2.AsyncClient(transport=OfflineTransport(), timeout=None)
    else:
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=STARTS_AT_ONCE)
        http_client = DefaultAsyncHttpxClient(limits=limits, timeout=httpx2.Timeout(None))
        use_pools(http_client, idle=STARTS_AT_ONCE)
    client = AsyncAnthropic(
        api_key=settings.api_key or "none",
        base_url="http://offline.invalid" if settings.offline else settings.base_url or ANTHROPIC,
        max_retries=0,
        timeout=None,
        http_client=http_client,
        open_telemetry=False,  # app/ledger.py traces our calls, and shows no more of them than it means to
    )
    client.messages.with_streaming_response.create  # noqa: B018 - imports now what the first call would on the loop
    _take_up()
    return client


@cache
def _take_up() -> None:
    """Let the SDK do now, in a thread, what it puts off until its first refusal: 50 ms of imports and models."""
    refusal = {"type": "error", "error": {"type": "invalid_request_error", "message": ""}}
    transport = httpx2.MockTransport(lambda _: httpx2.Response(400, json=refusal))
    with httpx2.Client(transport=transport) as http_client, suppress(anthropic.BadRequestError):
        client = anthropic.Anthropic(
            api_key="none", base_url="http://none.invalid", max_retries=0, http_client=http_client
        )
        with client.messages.with_streaming_response.create(model="", max_tokens=1, messages=[], stream=True):
            pass

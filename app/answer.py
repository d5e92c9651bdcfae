"""One streamed answer as it comes in: its events, and what they say of text, tokens and end."""

import json
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from app.errors import ClaudeAuth, ClaudeRequest, ClaudeTimeout, ClaudeUnavailable, Failure
from app.models import Tokens
from app.wire import EventReader

TOKEN_NAMES = {
    "input": "input_tokens",
    "output": "output_tokens",
    "cache_read": "cache_read_input_tokens",
    "cache_write": "cache_creation_input_tokens",
}
"""Our names of the kinds of tokens, and the Messages API's."""


class Events:
    """The events of a stream, as many at once as came at once."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._reader = EventReader()

    async def next(self) -> list[tuple[str, str]]:
        """Return the next events, each with name and data. Raises StopAsyncIteration at the end of the stream."""
        while not (events := self._reader.feed(await anext(self._chunks))):
            pass
        return events


class News(NamedTuple):
    """What is to be told of some events: text, that Claude thinks, that tokens were counted; or nothing."""

    text: str = ""
    thinking: bool = False
    counted: bool = False


class Answer:
    """What the events of one stream have said so far."""

    def __init__(self) -> None:
        self.tokens = Tokens()
        self.stop_reason = ""
        self.stopped = False

    def read(self, events: Iterable[tuple[str, str]]) -> Iterator[News]:
        """Take in events, and yield what they say in their order; the text of deltas in a row is one piece of news.

        Raises a Failure for an `error` event, and what json raises; the text before it is yielded first.
        """
        texts: list[str] = []
        for name, data in events:
            try:
                news = self._take(name, data)
            except Exception:
                yield News("".join(texts))
                raise
            if news.text:
                texts.append(news.text)
                continue
            yield News("".join(texts))
            yield news
            texts = []
            if self.stopped:
                return
        yield News("".join(texts))

    def _take(self, name: str, data: str) -> News:
        match name:
            case "content_block_delta":
                delta = json.loads(data)["delta"]
                text = str(delta["text"]) if delta["type"] == "text_delta" else ""
                text.encode()  # half of a character is malformed: nothing could keep it
                return News(text, thinking=delta["type"] == "thinking_delta")
            case "message_start":
                self._count(json.loads(data)["message"]["usage"])
                return News(thinking=True, counted=True)
            case "message_delta":
                message = json.loads(data)
                self.stop_reason = str(message["delta"].get("stop_reason") or self.stop_reason)
                self._count(message["usage"])
                return News(counted=True)
            case "message_stop":
                self.stopped = True
            case "error":
                raise _failure(json.loads(data)["error"])
        return News()

    def _count(self, usage: dict[str, Any]) -> None:
        told = {ours: int(usage[theirs]) for ours, theirs in TOKEN_NAMES.items() if usage.get(theirs) is not None}
        self.tokens = replace(self.tokens, **told)


def _failure(error: dict[str, Any]) -> Failure:
    """Return the failure that an `error` event tells of."""
    message = str(error.get("message") or "no reason given")
    match error.get("type"):
        case "authentication_error" | "permission_error":
            return ClaudeAuth()
        case "invalid_request_error" | "not_found_error" | "request_too_large" | "billing_error":
            return ClaudeRequest(message)
        case "timeout_error":
            return ClaudeTimeout()
        case kind:
            return ClaudeUnavailable(message, limiting=kind in {"rate_limit_error", "overloaded_error"})

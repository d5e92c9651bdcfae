"""One streamed answer as it comes in: its events, and what they say of text, tokens and end."""

import json
from collections.abc import AsyncIterator, Iterable
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
    """What is to be told of some events: text, that Claude thinks, the tokens so far; or nothing."""

    text: str = ""
    thinking: bool = False
    tokens: Tokens | None = None
    final: bool = False
    """Whether no more tokens will be told."""


class Answer:
    """What the events of one stream have said so far; `broken` is what the last one raised, a Failure or else."""

    def __init__(self) -> None:
        self.stop_reason = ""
        self.stopped = False
        self.broken: Exception | None = None
        self._tokens = Tokens()

    def read(self, events: Iterable[tuple[str, str]]) -> list[News]:
        """Take in events up to one that ends or breaks the stream, and return what they say, in their order.

        The text of deltas in a row is one piece of news.
        """
        told: list[News] = []
        texts: list[str] = []
        try:
            for name, data in events:
                news = self._take(name, data)
                if news.text:
                    texts.append(news.text)
                    continue
                told += [News("".join(texts)), news] if texts else [news]
                texts = []
                if self.stopped:
                    break
        except Exception as error:  # noqa: BLE001 - whatever it is, what came before is told first
            self.broken = error
        return [*told, News("".join(texts))] if texts else told

    def _take(self, name: str, data: str) -> News:
        match name:
            case "content_block_delta":
                delta = json.loads(data)["delta"]
                text = str(delta["text"]) if delta["type"] == "text_delta" else ""
                text.encode()  # half of a character is malformed: nothing could keep it
                return News(text, thinking=delta["type"] == "thinking_delta")
            case "message_start":
                return self._counted(json.loads(data)["message"]["usage"], thinking=True)
            case "message_delta":
                message = json.loads(data)
                self.stop_reason = str(message["delta"].get("stop_reason") or self.stop_reason)
                return self._counted(message["usage"])
            case "message_stop":
                self.stopped = True
            case "error":
                raise _failure(json.loads(data)["error"])
        return News()

    def _counted(self, usage: dict[str, Any], *, thinking: bool = False) -> News:
        told = {ours: int(usage[theirs]) for ours, theirs in TOKEN_NAMES.items() if usage.get(theirs) is not None}
        self._tokens = replace(self._tokens, **told)
        return News(thinking=thinking, tokens=self._tokens, final=bool(self.stop_reason))


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

"""The wire format of the Messages API: events, messages and errors as Claude sends them. Nothing here waits."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from app.models import Tokens

Event: TypeAlias = dict[str, Any]

MESSAGES_PATH = "/v1/messages"
SIGNATURE = "c2lnbmVk"


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole answer, out of which a stream or a message is made.

    `pieces` joined are the text, `thoughts` joined the thinking before it; each becomes one delta of the
    stream. Token kinds that are None are written as 0.
    """

    id: str
    model: str
    pieces: tuple[str, ...]
    tokens: Tokens
    thoughts: tuple[str, ...] = ()
    stop_reason: str = "end_turn"


def opening(answer: Answer) -> list[Event]:
    """Return the events before the first delta of the text: start, thinking, head of the text block."""
    events = [message_start(answer)]
    if answer.thoughts:
        events += [
            block_start(0, {"type": "thinking", "thinking": "", "signature": ""}),
            *(block_delta(0, {"type": "thinking_delta", "thinking": thought}) for thought in answer.thoughts),
            block_delta(0, {"type": "signature_delta", "signature": SIGNATURE}),
            block_stop(0),
        ]
    if answer.pieces:
        events += [block_start(text_index(answer), {"type": "text", "text": ""}), ping()]
    return events


def deltas(answer: Answer) -> list[Event]:
    """Return one event for each piece of the text."""
    index = text_index(answer)
    return [block_delta(index, {"type": "text_delta", "text": piece}) for piece in answer.pieces]


def closing(answer: Answer) -> list[Event]:
    """Return the events after the text; `message_stop` is the last, and no stream is whole without it."""
    end = [message_delta(answer), {"type": "message_stop"}]
    return [block_stop(text_index(answer)), *end] if answer.pieces else end


def message(answer: Answer) -> dict[str, Any]:
    """Return the answer as the body of a response that is not streamed."""
    content: list[dict[str, Any]] = []
    if answer.thoughts:
        thinking = "".join(answer.thoughts)
        content.append({"type": "thinking", "thinking": thinking, "signature": SIGNATURE})
    if answer.pieces:
        content.append({"type": "text", "text": "".join(answer.pieces)})
    return {
        "id": answer.id,
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": content,
        **ending(answer.stop_reason),
        "usage": usage(answer.tokens),
    }


def message_start(answer: Answer) -> Event:
    """Return the first event. Its usage is final for the input; of the output one token is counted so far."""
    so_far = {**usage(answer.tokens), "output_tokens": min(1, answer.tokens.output or 0)}
    started = {**message(answer), "content": [], "stop_reason": None, "stop_details": None, "usage": so_far}
    return {"type": "message_start", "message": started}


def message_delta(answer: Answer) -> Event:
    """Return the event that says why the answer ended, with the usage of the whole call."""
    return {"type": "message_delta", "delta": ending(answer.stop_reason), "usage": usage(answer.tokens)}


def block_start(index: int, block: dict[str, Any]) -> Event:
    return {"type": "content_block_start", "index": index, "content_block": block}


def block_delta(index: int, delta: dict[str, Any]) -> Event:
    return {"type": "content_block_delta", "index": index, "delta": delta}


def block_stop(index: int) -> Event:
    return {"type": "content_block_stop", "index": index}


def ping() -> Event:
    return {"type": "ping"}


def error(kind: str, text: str, request_id: str) -> dict[str, Any]:
    """Return an error: the body of a refused request, or the event that breaks off a stream."""
    return {"type": "error", "error": {"type": kind, "message": text}, "request_id": request_id}


def usage(tokens: Tokens) -> dict[str, int]:
    return {
        "input_tokens": tokens.input or 0,
        "cache_creation_input_tokens": tokens.cache_write or 0,
        "cache_read_input_tokens": tokens.cache_read or 0,
        "output_tokens": tokens.output or 0,
    }


def ending(stop_reason: str) -> dict[str, Any]:
    refused = {"type": "refusal", "category": None, "explanation": None}
    return {
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "stop_details": refused if stop_reason == "refusal" else None,
    }


def text_index(answer: Answer) -> int:
    return 1 if answer.thoughts else 0


class EventReader:
    """Reads server-sent events out of bytes as they come in."""

    def __init__(self) -> None:
        self._rest = b""
        self._name = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> list[tuple[str, str]]:
        """Take in some bytes and return the events that are whole now, as (name, data).

        What is no UTF-8 stands in the data as halves of characters, which cannot be encoded.
        """
        whole, line_end, self._rest = (self._rest + chunk).rpartition(b"\n")
        events: list[tuple[str, str]] = []
        if not line_end:
            return events
        for line in whole.decode(errors="surrogateescape").replace("\r\n", "\n").removesuffix("\r").split("\n"):
            if not line:
                if self._data:
                    events.append((self._name, "\n".join(self._data)))
                self._name, self._data = "", []
                continue
            field, _, value = line.partition(":")
            if field == "data":
                self._data.append(value.removeprefix(" "))
            elif field == "event":
                self._name = value.removeprefix(" ")
        return events


def encode_event(event: Event) -> bytes:
    """Write an event as a server-sent event, named after its type."""
    return f"event: {event['type']}\ndata: ".encode() + encode_json(event) + b"\n\n"


def encode_json(body: dict[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def headers(request_id: str, *, stream: bool) -> dict[str, str]:
    """Return the headers of a response: JSON, or a stream of events."""
    kind = "text/event-stream; charset=utf-8" if stream else "application/json"
    return {"content-type": kind, "cache-control": "no-cache", "request-id": request_id}


def estimated_tokens(texts: Iterable[str]) -> int:
    """Return about how many tokens the texts are: one for every three characters, rounded up."""
    return -(-sum(map(len, texts)) // 3)


def prompt_texts(body: dict[str, Any]) -> list[str]:
    """Return every text of a request that counts as input, in order: the system prompt, then the messages."""
    contents = [body.get("system") or "", *(turn["content"] for turn in body["messages"])]
    return [text for content in contents for text in content_texts(content)]


def content_texts(content: str | list[dict[str, Any]]) -> list[str]:
    """Return the texts of a turn's content, which is one text or a list of blocks."""
    if isinstance(content, str):
        return [content]
    return [block["text"] for block in content if block.get("type") == "text"]

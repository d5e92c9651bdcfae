"""What the Messages API refuses before it answers: pure functions of the request."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app import wire

PREFILL = "This model does not support assistant message prefill. The conversation must end with a user message."


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that is refused: HTTP status, error type and message."""

    status: int
    error_type: str
    message: str


def refusal_of(method: str, path: str, headers: Mapping[str, str], raw: bytes) -> Refusal | None:
    """Return why a request is refused; None when it is taken."""
    if (method, path) != ("POST", wire.MESSAGES_PATH):
        return Refusal(404, "not_found_error", f"Not Found: {method} {path}")
    if not headers.get("x-api-key") and not headers.get("authorization"):
        return Refusal(401, "authentication_error", "x-api-key header is required")
    if not headers.get("anthropic-version"):
        return invalid("anthropic-version: header is required")
    try:
        body = json.loads(raw)
    except ValueError:
        return invalid("The request body is not valid JSON")
    return refusal_of_body(body) if isinstance(body, dict) else invalid("Input should be an object")


def refusal_of_body(body: dict[str, Any]) -> Refusal | None:
    for field in ("model", "max_tokens", "messages"):
        if field not in body:
            return invalid(f"{field}: Field required")
    for field in ("temperature", "top_p", "top_k"):
        if field in body:
            return invalid(f"`{field}` is not supported for this model.")
    if not isinstance(body["max_tokens"], int) or body["max_tokens"] < 1:
        return invalid("max_tokens: Input should be greater than or equal to 1")
    if body.get("system") == [] or blank_blocks(body.get("system")):
        return invalid("system: text content blocks must be non-empty")
    return refusal_of_messages(body["messages"])


def refusal_of_messages(messages: Any) -> Refusal | None:
    if not isinstance(messages, list) or not messages:
        return invalid("messages: at least one message is required")
    for number, turn in enumerate(messages):
        if turn.get("role") not in {"user", "assistant"}:
            return invalid(f"messages.{number}.role: Input should be 'user' or 'assistant'")
        if not turn.get("content"):
            return invalid(f"messages.{number}: all messages must have non-empty content")
        if blank_blocks(turn["content"]):
            return invalid(f"messages.{number}: text content blocks must contain non-whitespace text")
    return invalid(PREFILL) if messages[-1]["role"] == "assistant" else None


def blank_blocks(content: Any) -> bool:
    """Tell whether a text of this content is empty or white space alone."""
    if isinstance(content, str):
        return bool(content) and not content.strip()
    return any(block.get("type") == "text" and not block["text"].strip() for block in content or [])


def invalid(message: str) -> Refusal:
    return Refusal(400, "invalid_request_error", message)

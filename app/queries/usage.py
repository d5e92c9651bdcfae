"""The ledger: one row for each call to Claude, opened before it and closed whatever happens."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlite_utils import Database

from app.models import CallId, Generation, GenerationId, Tokens, now


class CallState(StrEnum):
    """How a call to Claude ended; `interrupted`: by the end of the process, or for its next start."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class CallEnd:
    """What is known of a call at its end. `estimated`: Claude never told the final token counts."""

    state: CallState
    request_id: str | None
    stop_reason: str | None
    tokens: Tokens
    estimated: bool
    latency_ms: int
    first_token_ms: int | None


def open_call(db: Database, generation: Generation, purpose: str) -> CallId:
    sql = """
        INSERT INTO ai_usage (user_id, topic_id, generation_id, attempt, purpose, model, state, started_at)
        VALUES (:user_id, :topic_id, :generation_id, :attempt, :purpose, :model, 'open', :now) RETURNING id
    """
    parameters = {
        "user_id": generation.user_id,
        "topic_id": generation.topic_id,
        "generation_id": generation.id,
        "attempt": generation.attempt,
        "purpose": purpose,
        "model": generation.model,
        "now": now(),
    }
    return CallId(next(iter(db.query(sql, parameters)))["id"])


def count_call(db: Database, call_id: CallId, request_id: str | None, tokens: Tokens) -> None:
    """Write down what Claude has told of a running call, so that even a kill leaves it known."""
    db.execute(
        """
        UPDATE ai_usage SET request_id = :request_id, input_tokens = :input, output_tokens = :output,
            cache_read_tokens = :cache_read, cache_write_tokens = :cache_write
        WHERE id = :id AND state = 'open'
        """,
        {
            "id": call_id,
            "request_id": request_id,
            "input": tokens.input,
            "output": tokens.output,
            "cache_read": tokens.cache_read,
            "cache_write": tokens.cache_write,
        },
    )


def estimate_output(db: Database, call_id: CallId, output: int) -> None:
    """Write down about how many output tokens a running call has cost, so that a kill leaves no less known."""
    sql = "UPDATE ai_usage SET output_tokens = :output WHERE id = :id AND state = 'open'"
    db.execute(sql, {"id": call_id, "output": output})


def close_call(db: Database, call_id: CallId, end: CallEnd) -> None:
    """Close a call's row. A row that is closed already keeps what it says."""
    db.execute(
        """
        UPDATE ai_usage SET state = :state, request_id = :request_id, stop_reason = :stop_reason, ended_at = :now,
            latency_ms = :latency_ms, first_token_ms = :first_token_ms, estimated = :estimated,
            input_tokens = :input, output_tokens = :output, cache_read_tokens = :cache_read,
            cache_write_tokens = :cache_write
        WHERE id = :id AND state = 'open'
        """,
        {
            "id": call_id, "state": end.state, "request_id": end.request_id, "stop_reason": end.stop_reason,
            "now": now(), "latency_ms": end.latency_ms, "first_token_ms": end.first_token_ms,
            "estimated": int(end.estimated), "input": end.tokens.input, "output": end.tokens.output,
            "cache_read": end.tokens.cache_read, "cache_write": end.tokens.cache_write,
        },
    )  # fmt: skip


def interrupt_calls(db: Database, call_id: CallId | None = None) -> None:
    """Close what a stopped process left open: all, or one call."""
    which = "" if call_id is None else "AND id = :id"
    sql = f"""
        UPDATE ai_usage SET state = 'interrupted', ended_at = :now,
            estimated = CASE WHEN input_tokens IS NULL AND output_tokens IS NULL THEN 0 ELSE 1 END
        WHERE state = 'open' {which}
    """
    db.execute(sql, {"now": now()} | ({} if call_id is None else {"id": call_id}))


def tokens_of_generation(db: Database, generation_id: GenerationId) -> Tokens:
    """Return the sums over all calls of a generation; unknown stays None."""
    sql = """
        SELECT CAST(SUM(input_tokens) AS BIGINT) AS input, CAST(SUM(output_tokens) AS BIGINT) AS output,
            CAST(SUM(cache_read_tokens) AS BIGINT) AS cache_read,
            CAST(SUM(cache_write_tokens) AS BIGINT) AS cache_write
        FROM ai_usage WHERE generation_id = :generation_id
    """
    row: dict[str, Any] = next(iter(db.query(sql, {"generation_id": generation_id})))
    return Tokens(**row)

"""The ledger: one row for each call to Claude, opened before it, closed whatever happens, and nothing made up."""

import shutil
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import trio

from app.ledger import BYTES_A_TOKEN
from app.models import Tokens
from tests.claude import BEFORE_HEADERS, BEFORE_MESSAGE, FakeClaude, Fault, Script
from tests.reports import (
    QUICK,
    SILENT,
    calls_for,
    cancel,
    held,
    ledger,
    plan,
    section_of,
    sentences,
    whole,
    writing,
)
from tests.service import Service, running, settings_for

Start = Callable[..., AbstractAsyncContextManager[Service]]

TOKENS = Tokens(input=1000, output=700, cache_read=30, cache_write=40)
KINDS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
BEFORE_THE_END = 42
"""Between `message_delta`, with the final count, and `message_stop`."""


def counted(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[kind] for kind in KINDS)


async def row_of(service: Service, topic_id: int) -> dict[str, Any]:
    """Return the only row of a topic."""
    (row,) = await ledger(service, topic_id)
    return row


async def held_at(service: Service, at: int, **more: Any) -> tuple[int, Script]:
    """Start a report whose call is held there."""
    script = Script(tokens=TOKENS, hold=trio.Event(), hold_at=at, **more)
    service.claude.default = writing({"A topic": [script]})
    topic_id = await service.topic()
    await service.generate(topic_id)
    await held(service.claude)
    return topic_id, script


async def when(service: Service, topic_id: int, condition: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """Look at the only row of a topic until it meets a condition."""
    with trio.fail_after(5):
        while not condition(row := await row_of(service, topic_id)):
            await trio.lowlevel.checkpoint()
    return row


# While a call runs.


async def test_a_row_is_opened_before_claude_is_asked(start: Start) -> None:
    async with start(**QUICK) as service:
        topic_id, _ = await held_at(service, BEFORE_HEADERS)

        row = await row_of(service, topic_id)

        told = {name: row[name] for name in ("state", "topic_id", "generation_id", "attempt", "purpose", "model")}
        assert told == {
            "state": "open",
            "topic_id": topic_id,
            "generation_id": (await service.status(topic_id))["generation_id"],
            "attempt": 1,
            "purpose": "report",
            "model": service.settings.model,
        }
        assert row["started_at"]
        unknown = ("request_id", "stop_reason", "ended_at", "latency_ms", "first_token_ms", *KINDS)
        assert [row[name] for name in unknown] == [None] * len(unknown)
        assert row["estimated"] == 0


async def test_a_row_says_at_once_what_the_first_event_told(start: Start) -> None:
    async with start(**QUICK) as service:
        topic_id, _ = await held_at(service, 0)

        row = await when(service, topic_id, lambda row: row["request_id"])

        assert counted(row) == (1000, 1, 30, 40)
        assert (row["request_id"], row["state"], row["ended_at"]) == ("req_0000", "open", None)


async def test_a_row_says_the_final_count_before_the_call_is_over(start: Start) -> None:
    async with start(**QUICK) as service:
        topic_id, _ = await held_at(service, BEFORE_THE_END)

        row = await when(service, topic_id, lambda row: row["output_tokens"] == TOKENS.output)

        assert counted(row) == (1000, 700, 30, 40)
        assert (row["state"], row["estimated"]) == ("open", 0)


# When it is over.


async def test_a_whole_call_is_closed_with_all_that_is_known(start: Start) -> None:
    async with start(**QUICK) as service:
        topic_id, script = await held_at(service, 5)
        assert script.hold is not None
        script.hold.set()

        status = await service.ended(topic_id)
        row = await row_of(service, topic_id)

        assert (row["state"], row["stop_reason"], row["estimated"]) == ("completed", "end_turn", 0)
        assert counted(row) == (1000, 700, 30, 40)
        assert row["request_id"] == service.claude.calls[0].request_id
        assert 0 <= row["first_token_ms"] <= row["latency_ms"]
        assert row["started_at"] <= row["ended_at"]
        assert status["usage"] == {"input_tokens": 1000, "output_tokens": 700, "cost_usd": None}


@pytest.mark.parametrize(
    ("script", "request_id"),
    [
        (Script.error(400, "invalid_request_error", "No."), "req_0000"),
        (Script.error(500, "api_error", "Internal"), "req_0000"),
        (Script(fault=Fault.CUT, at=BEFORE_HEADERS), None),
        (Script(fault=Fault.CUT, at=BEFORE_MESSAGE), "req_0000"),
    ],
)
async def test_a_call_that_claude_never_counted_has_failed_and_cost_nobody_knows_what(
    start: Start, script: Script, request_id: str | None
) -> None:
    async with start(max_attempts=1, **QUICK) as service:
        service.claude.default = script
        topic_id = await service.topic()

        await service.generate(topic_id)
        status = await service.ended(topic_id)
        row = await row_of(service, topic_id)

        assert (row["state"], row["request_id"], row["stop_reason"]) == ("failed", request_id, None)
        assert counted(row) == (None, None, None, None)
        assert (row["estimated"], row["first_token_ms"]) == (0, None)
        assert row["latency_ms"] >= 0
        assert status["usage"] == {"input_tokens": None, "output_tokens": None, "cost_usd": None}


@pytest.mark.parametrize("fault", [Fault.CUT, Fault.MALFORMED, Fault.ERROR_EVENT, Fault.CLEAN_END, Fault.SILENCE])
async def test_what_a_broken_call_has_cost_is_estimated_and_the_row_says_so(start: Start, fault: Fault) -> None:
    async with start(max_attempts=1, max_resumes=1, **SILENT) as service:
        broken = Script(tokens=TOKENS, fault=fault, at=20, error_type="api_error")
        service.claude.default = writing(base=broken)
        topic_id = await service.topic()

        await service.generate(topic_id)
        await service.ended(topic_id)
        row, second = await ledger(service, topic_id)

        assert (row["state"], row["stop_reason"], row["estimated"]) == ("failed", None, 1)
        sent = len(service.claude.calls[0].text_sent.encode())
        assert counted(row) == (1000, sent // BYTES_A_TOKEN, 30, 40)
        assert (second["request_id"], second["attempt"]) == ("req_0001", 1)


async def test_the_final_count_stands_though_the_stream_broke_off_after_it(start: Start) -> None:
    async with start(**QUICK) as service:
        broken = Script(tokens=TOKENS, fault=Fault.CUT, at=BEFORE_THE_END)
        service.claude.default = writing({"A topic": [broken]})
        topic_id = await service.topic()

        await service.generate(topic_id)
        await service.ended(topic_id)
        row, _ = await ledger(service, topic_id)

        assert (row["state"], row["output_tokens"]) == ("failed", 700)


@pytest.mark.parametrize(("at", "tokens", "estimated"), [(BEFORE_HEADERS, None, 0), (20, 1000, 1)])
async def test_a_cancelled_call_is_closed_as_cancelled(
    start: Start, at: int, tokens: int | None, estimated: int
) -> None:
    async with start(**QUICK) as service:
        topic_id, _ = await held_at(service, at)
        if tokens:
            await service.wait_for(topic_id, lambda status: status["characters"] > 400)

        await cancel(service, topic_id)
        row = await row_of(service, topic_id)

        assert (row["state"], row["input_tokens"], row["estimated"]) == ("cancelled", tokens, estimated)
        assert row["ended_at"]
        assert row["latency_ms"] >= 0


async def test_the_siblings_of_a_section_that_fails_for_good_are_closed_as_cancelled(start: Start) -> None:
    async with start(**QUICK) as service:
        goes_on = Script(hold=trio.Event(), hold_at=5)
        refused = Script.error(400, "invalid_request_error", "No.")
        service.claude.default = writing({"Part 3": [refused]}, base=goes_on)
        topic_id = await service.topic(plan=plan(3))

        await service.generate(topic_id, mode="sections")
        await service.ended(topic_id)

        rows = {row["request_id"]: row["state"] for row in await ledger(service, topic_id)}
        parts = {section_of(call.body): call.request_id for call in service.claude.calls}
        assert rows.pop(parts["Part 3"]) == "failed"
        assert set(rows.values()) == {"cancelled"}


@pytest.mark.parametrize(("at", "tokens", "estimated"), [(BEFORE_HEADERS, None, 0), (20, 1000, 1)])
async def test_a_stop_of_the_server_closes_the_call_as_interrupted(
    start: Start, at: int, tokens: int | None, estimated: int
) -> None:
    async with start(**QUICK) as service:
        topic_id, _ = await held_at(service, at)
        if tokens:
            await when(service, topic_id, lambda row: row["request_id"])
        await service.shut_down()

    row = await row_of(service, topic_id)
    assert (row["state"], row["input_tokens"], row["estimated"]) == ("interrupted", tokens, estimated)


@pytest.mark.parametrize(("at", "tokens", "estimated"), [(BEFORE_HEADERS, None, 0), (20, 1000, 1)])
async def test_a_call_that_a_kill_left_open_is_closed_as_interrupted_at_the_next_start(
    start: Start, tmp_path: Path, claude: FakeClaude, at: int, tokens: int | None, estimated: int
) -> None:
    left = tmp_path / "what a kill leaves"
    async with start(**QUICK) as service:
        topic_id, _ = await held_at(service, at)
        if tokens:
            await when(service, topic_id, lambda row: row["request_id"])
        shutil.copytree(service.settings.data_dir, left)

    async with running(claude, settings_for(left, claude.url, **QUICK)) as service:
        status = await service.ended(topic_id)
        row, second = await ledger(service, topic_id)

        assert (row["state"], row["input_tokens"], row["estimated"]) == ("interrupted", tokens, estimated)
        assert (row["attempt"], second["attempt"], second["state"]) == (1, 2, "completed")
        assert status["usage"]["input_tokens"] == (tokens or 0) + second["input_tokens"]


async def test_a_kill_leaves_an_estimate_of_what_the_kept_text_has_cost(
    start: Start, tmp_path: Path, claude: FakeClaude
) -> None:
    left = tmp_path / "what a kill leaves"
    async with start(**QUICK) as service:
        topic_id, _ = await held_at(service, 20)
        row = await when(service, topic_id, lambda row: (row["output_tokens"] or 0) > 1)
        shutil.copytree(service.settings.data_dir, left)

    async with running(claude, settings_for(left, claude.url, **QUICK)) as service:
        await service.ended(topic_id)
        killed, _ = await ledger(service, topic_id)

        assert killed["output_tokens"] >= row["output_tokens"] > 1
        assert (killed["state"], killed["estimated"]) == ("interrupted", 1)


async def test_what_claude_has_counted_to_the_end_is_not_estimated_though_the_call_is_cut_off(start: Start) -> None:
    async with start(**QUICK) as service:
        topic_id, _ = await held_at(service, BEFORE_THE_END, text="word " * 5000)
        await when(service, topic_id, lambda row: row["output_tokens"] == TOKENS.output)

        await cancel(service, topic_id)
        row = await row_of(service, topic_id)

        assert counted(row) == (1000, 700, 30, 40)
        assert (row["state"], row["stop_reason"], row["estimated"]) == ("cancelled", None, 0)


# What all of it comes to.


async def test_the_status_sums_all_calls_the_failed_and_the_cancelled_ones_too(start: Start) -> None:
    async with start(**QUICK) as service:
        broken = Script(tokens=TOKENS, fault=Fault.CUT, at=20)
        turned_away = Script.error(529, "overloaded_error", "Overloaded", 0.01)
        last = Script(tokens=TOKENS, hold=trio.Event(), hold_at=5)
        service.claude.default = writing({"A topic": [broken, turned_away, broken, last]})
        topic_id = await service.topic()
        await service.generate(topic_id)
        await service.wait_for(topic_id, lambda status: status["usage"]["input_tokens"] == 3000)
        live = (await service.status(topic_id))["usage"]

        _, status = await cancel(service, topic_id)
        rows = await ledger(service, topic_id)

        assert [row["state"] for row in rows] == ["failed", "failed", "failed", "cancelled"]
        told = [row["output_tokens"] for row in rows]
        assert told[1] is None
        assert status["usage"]["output_tokens"] == sum(count for count in told if count)
        assert status["usage"]["input_tokens"] == live["input_tokens"] == 3000
        assert await service.status(topic_id) == status


async def test_each_section_and_each_of_its_attempts_has_a_row_of_its_own(start: Start) -> None:
    async with start(**QUICK) as service:
        broken = Script(tokens=TOKENS, fault=Fault.CUT, at=20)
        service.claude.default = writing({"Part 2": [broken]}, base=Script(tokens=TOKENS))
        topic_id = await service.topic("Title", plan=plan(3))

        await service.generate(topic_id, mode="sections")
        status = await service.ended(topic_id)
        rows = await ledger(service, topic_id)

        assert len(rows) == len(service.claude.calls) == 4
        assert {row["request_id"] for row in rows} == {call.request_id for call in service.claude.calls}
        assert sorted(row["state"] for row in rows) == ["completed"] * 3 + ["failed"]
        assert status["usage"]["input_tokens"] == 4000
        assert status["usage"]["output_tokens"] == sum(row["output_tokens"] for row in rows)
        assert len(whole("Title", 3)) > 3 * len(sentences("Part 1"))


async def test_what_an_earlier_generation_has_cost_is_not_counted_again(start: Start) -> None:
    async with start(**QUICK) as service:
        topic_id, _ = await held_at(service, 20)
        await service.wait_for(topic_id, lambda status: status["characters"] > 400)
        _, cancelled = await cancel(service, topic_id)
        service.claude.default = writing(base=Script(tokens=TOKENS))

        await service.generate(topic_id, resume=True)
        status = await service.ended(topic_id)

        assert (cancelled["usage"]["input_tokens"], status["usage"]["input_tokens"]) == (1000, 1000)
        assert len(calls_for(service.claude, "A topic")) == len(await ledger(service, topic_id)) == 2


async def test_the_ledger_outlives_its_topic(start: Start) -> None:
    async with start(**QUICK) as service:
        topic_id, _ = await held_at(service, 20)
        await when(service, topic_id, lambda row: row["request_id"])

        answer = await service.http.delete(f"/api/topics/{topic_id}")
        row = await row_of(service, topic_id)

        assert answer.status_code == 204
        assert (row["state"], row["input_tokens"]) == ("cancelled", 1000)

"""The gate: while Claude is limiting, one call at a time tries, nobody hammers, and no wait holds a place to run."""

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from app.gate import Gate
from app.settings import Settings
from tests.claude import BEFORE_HEADERS, FakeClaude, Fault, Script, claude_server
from tests.reports import QUICK, TEXT, calls_for, cancel, ledger, plan, report, whole, writing
from tests.service import Service, running

Start = Callable[..., AbstractAsyncContextManager[Service]]

LIMITED = Script.error(429, "rate_limit_error", "Slow down", retry_after=0.05)
OVERLOADED = Script.error(529, "overloaded_error", "Overloaded", retry_after=0.05)
LONG = {"backoff_seconds": 0.01, "checkpoint_seconds": 0.05, "max_retry_after": 60}
"""Settings under which a wait lasts for as long as Claude asks."""


# The gate alone.


async def passed(gate: Gate) -> None:
    """Wait until the gate is free, as a writer does."""
    while not gate.free:
        await gate.change()


async def test_an_open_gate_holds_nobody_back() -> None:
    gate = Gate()

    with gate.turn(), gate.turn():
        assert gate.free
        assert gate.seconds == 0


async def test_while_it_is_closed_nobody_starts_before_the_time(autojump_clock: MockClock) -> None:
    gate = Gate()
    gate.close(60)
    began = trio.current_time()

    await passed(gate)

    assert trio.current_time() - began == pytest.approx(60)


async def test_a_longer_time_counts_and_a_shorter_one_does_not(autojump_clock: MockClock) -> None:
    gate = Gate()
    gate.close(60)
    gate.close(90)
    gate.close(30)
    began = trio.current_time()

    await passed(gate)

    assert trio.current_time() - began == pytest.approx(90)


async def test_a_time_that_is_put_off_is_heard_by_those_who_wait(autojump_clock: MockClock) -> None:
    gate = Gate()
    gate.close(60)
    began = trio.current_time()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(passed, gate)
        await trio.sleep(50)
        gate.close(40)

    assert trio.current_time() - began == pytest.approx(90)


class Callers:
    """Callers who wait at a gate and take their turn one by one, as the test says."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.turns: dict[int, Callable[[], None]] = {}
        self.ends: dict[int, trio.Event] = {}

    async def call(self, number: int) -> None:
        await passed(self.gate)
        self.ends[number] = trio.Event()
        with self.gate.turn() as taken:
            self.turns[number] = taken
            try:
                await self.ends[number].wait()
            finally:
                del self.turns[number]


async def test_after_the_time_one_call_tries_alone_and_the_others_follow_when_it_was_taken(
    autojump_clock: MockClock,
) -> None:
    gate = Gate()
    callers = Callers(gate)
    gate.close(60)

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(callers.call, number)
        await trio.sleep(100)
        assert len(callers.turns) == 1
        (taken,) = callers.turns.values()

        taken()
        await wait_all_tasks_blocked()
        assert len(callers.turns) == 5
        nursery.cancel_scope.cancel()


async def test_a_probe_that_was_turned_away_leaves_the_next_to_try_after_the_time(autojump_clock: MockClock) -> None:
    gate = Gate()
    callers = Callers(gate)
    gate.close(1)

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(callers.call, number)
        for _ in range(3):
            await trio.sleep(2)
            (probe,) = callers.turns
            callers.ends[probe].set()
            gate.close(10)
            await trio.sleep(9)
            assert not callers.turns


async def test_a_probe_that_is_cancelled_passes_its_turn_on(autojump_clock: MockClock) -> None:
    gate = Gate()
    callers = Callers(gate)
    gate.close(1)

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as cancelled:
                cancelled.start_soon(callers.call, 1)
                await trio.sleep(2)
                nursery.start_soon(callers.call, 2)
                await wait_all_tasks_blocked()
                assert list(callers.turns) == [1]
                scope.cancel()
        await wait_all_tasks_blocked()
        assert list(callers.turns) == [2]
        nursery.cancel_scope.cancel()


async def test_a_probe_that_was_taken_holds_nobody_back_however_long_it_goes_on(autojump_clock: MockClock) -> None:
    gate = Gate()
    gate.close(1)
    await passed(gate)

    with gate.turn() as taken:
        taken()
        gate.close(1)
        with trio.fail_after(5):
            await passed(gate)

        assert gate.free


async def test_a_call_that_began_before_another_was_turned_away_opens_nothing() -> None:
    gate = Gate()

    with gate.turn() as taken:
        gate.close(60)
        taken()

    assert not gate.free


async def test_an_old_probe_that_ends_sets_no_new_one_free(autojump_clock: MockClock) -> None:
    gate = Gate()
    gate.close(1)
    await passed(gate)
    first = gate.turn()
    taken = first.__enter__()
    taken()
    gate.close(1)
    await passed(gate)

    with gate.turn():
        first.__exit__(None, None, None)

        assert not gate.free


# Before the first byte.


@pytest.mark.parametrize(
    "script",
    [
        Script.error(408, "timeout_error", "Late"),
        Script.error(409, "conflict_error", "Conflict"),
        Script.error(500, "api_error", "Internal"),
        Script.error(502, "api_error", "Bad gateway"),
        Script.error(503, "api_error", "Unavailable"),
        Script(fault=Fault.CUT, at=BEFORE_HEADERS),
        Script(fault=Fault.RESET, at=BEFORE_HEADERS),
    ],
)
async def test_what_goes_wrong_before_the_first_byte_is_tried_again_and_counts(start: Start, script: Script) -> None:
    async with start(**QUICK) as service:
        service.claude.default = writing({"A topic": [script] * 3})
        topic_id = await service.topic()

        await service.generate(topic_id)
        status = await service.ended(topic_id)

        assert (status["status"], status["attempt"]) == ("completed", 4)
        assert await report(service, topic_id) == TEXT


@pytest.mark.parametrize("script", [LIMITED, OVERLOADED])
async def test_limits_use_up_no_attempt(start: Start, script: Script) -> None:
    async with start(**QUICK) as service:
        service.claude.default = writing({"A topic": [script] * 7})
        topic_id = await service.topic()

        await service.generate(topic_id)
        status = await service.ended(topic_id)

        assert (status["status"], status["attempt"]) == ("completed", 1)
        assert len(service.claude.calls) == 8


@pytest.mark.parametrize(
    ("script", "code", "message"),
    [
        (Script.error(401, "authentication_error", "bad key"), "claude_auth", "Claude API key rejected"),
        (Script.error(403, "permission_error", "no"), "claude_auth", "Claude API key rejected"),
        (Script.error(400, "invalid_request_error", "No."), "claude_request", "Claude API refused the request: No."),
        (Script.error(404, "not_found_error", "No."), "claude_request", "Claude API refused the request: No."),
        (Script.error(413, "request_too_large", "No."), "claude_request", "Claude API refused the request: No."),
    ],
)
async def test_what_no_further_call_can_mend_fails_at_once(
    start: Start, script: Script, code: str, message: str
) -> None:
    async with start(**QUICK) as service:
        service.claude.default = writing(base=script)
        topic_id = await service.topic()

        await service.generate(topic_id)
        status = await service.ended(topic_id)

        assert (status["status"], status["error_code"], status["error_message"]) == ("failed", code, message)
        assert (status["retryable"], status["attempt"], len(service.claude.calls)) == (False, 1, 1)


@pytest.fixture
def nobody() -> Iterator[int]:
    """A port on which nobody listens, and which nobody else takes."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


async def test_a_refused_connection_is_tried_again_and_fails_after_so_many_attempts(
    claude: FakeClaude, settings: Callable[..., Settings], nobody: int
) -> None:
    elsewhere = settings(**QUICK).model_copy(update={"base_url": f"http://127.0.0.1:{nobody}"})
    async with running(claude, elsewhere) as service:
        topic_id = await service.topic()

        await service.generate(topic_id)
        status = await service.ended(topic_id)

        assert (status["status"], status["error_code"]) == ("failed", "claude_unavailable")
        assert status["error_message"] == "Claude API unavailable: no connection"
        assert (status["retryable"], status["attempt"]) == (True, 4)


async def test_a_report_waits_for_a_claude_that_comes_back(settings: Callable[..., Settings], nobody: int) -> None:
    elsewhere = settings(**QUICK, max_attempts=10_000).model_copy(update={"base_url": f"http://127.0.0.1:{nobody}"})
    async with running(FakeClaude(), elsewhere) as service:
        topic_id = await service.topic()
        await service.generate(topic_id)
        await service.wait_for(topic_id, lambda status: status["attempt"] > 2)

        async with claude_server(nobody) as claude:
            claude.default = writing()
            status = await service.ended(topic_id)

            assert status["status"] == "completed"
            assert await report(service, topic_id) == TEXT


async def test_what_claude_asks_for_is_waited_for(start: Start) -> None:
    moments: list[float] = []

    def choose(body: dict[str, object]) -> Script:
        moments.append(trio.current_time())
        asked = 0.3 if len(moments) == 1 else 100.0
        return Script.error(429, "rate_limit_error", "Slow", asked) if len(moments) < 3 else Script(text=TEXT)

    async with start(**(LONG | {"max_retry_after": 0.5})) as service:
        service.claude.default = choose
        topic_id = await service.topic()

        await service.generate(topic_id)
        await service.ended(topic_id)

        assert len(moments) == 3
        assert moments[1] - moments[0] >= 0.3
        assert 0.5 <= moments[2] - moments[1] < 30


# Waiting.


async def test_while_it_waits_the_status_says_so_and_until_when(start: Start) -> None:
    async with start(**LONG) as service:
        service.claude.default = writing({"A topic": [Script.error(429, "rate_limit_error", "Slow", 40)]})
        topic_id = await service.topic()

        accepted = await service.generate(topic_id)
        status = await service.wait_until(topic_id, "generating", phase="waiting")

        assert status["generation_id"] == accepted["generation_id"]
        assert status["attempt"] == 1
        (row,) = await service.rows(
            "SELECT (julianday(:until) - julianday(started_at)) * 86400 AS seconds FROM ai_usage",
            until=status["retry_at"],
        )
        assert 38 < row["seconds"] < 45
        assert "retry_at" not in (await cancel(service, topic_id))[1]


async def test_a_wait_in_mid_report_stays_visible_until_claude_is_asked_again(start: Start) -> None:
    thinks = Script(thinking=2, hold=trio.Event(), hold_at=0)
    overloaded = Script.error_event("overloaded_error", "Overloaded", at=0)
    async with start(**(QUICK | {"max_retry_after": 0.6})) as service:
        service.claude.default = writing({"A topic": [Script(fault=Fault.CUT, at=20), overloaded, thinks]})
        topic_id = await service.topic()

        await service.generate(topic_id)
        waits = await service.wait_until(topic_id, "generating", phase="waiting")
        following = await service.wait_for(topic_id, lambda status: status["phase"] != "waiting")

        assert waits["characters"] > 0
        assert following["phase"] == "preparing"
        assert "retry_at" not in following
        await service.wait_until(topic_id, "generating", phase="thinking")
        assert len(service.claude.calls) == 3


async def test_a_report_of_which_a_section_waits_while_another_is_written_is_being_written(start: Start) -> None:
    async with start(section_concurrency=2, **LONG) as service:
        limited = Script.error(429, "rate_limit_error", "Slow down", retry_after=60)
        held = Script(hold=trio.Event(), hold_at=20)
        service.claude.default = writing({"Part 1": [held], "Part 2": [limited]})
        topic_id = await service.topic(plan=plan(2))

        await service.generate(topic_id, mode="sections")
        await service.wait_for(topic_id, lambda status: status["phase"] == "writing")
        while (await ledger(service, topic_id))[-1]["state"] != "failed":
            await trio.lowlevel.checkpoint()
        await wait_all_tasks_blocked(0.05)

        assert (await service.status(topic_id))["phase"] == "writing"
        assert held.hold is not None
        held.hold.set()
        waits = await service.wait_until(topic_id, "generating", phase="waiting")
        assert waits["sections_done"] == 1


async def test_one_that_waits_holds_no_place_and_stops_nobody(start: Start) -> None:
    async with start(max_concurrent=1, **QUICK) as service:
        service.claude.default = writing({"Limited": [LIMITED] * 10_000})
        limited, other, third = [await service.topic(name) for name in ("Limited", "Other", "Third")]

        await service.generate(limited)
        await service.wait_until(limited, "generating", phase="waiting")
        for topic_id in (other, third):
            await service.generate(topic_id)
        statuses = [await service.ended(topic_id) for topic_id in (other, third)]

        assert [status["status"] for status in statuses] == ["completed"] * 2
        status = await service.status(limited)
        assert (status["status"], status["attempt"]) == ("generating", 1)


async def test_a_long_pause_before_a_further_attempt_holds_no_place_either(start: Start) -> None:
    async with start(max_concurrent=1, **LONG) as service:
        broken = Script.error(503, "api_error", "Broken", retry_after=60)
        service.claude.default = writing({"Broken": [broken]})
        waits, other = await service.topic("Broken"), await service.topic("Other")

        await service.generate(waits)
        await service.wait_for(waits, lambda status: status["attempt"] == 2)
        await service.generate(other)
        status = await service.ended(other)

        assert status["status"] == "completed"
        assert (await service.status(waits))["status"] == "generating"


async def test_who_gives_up_holds_the_others_back_all_the_same(start: Start) -> None:
    async with start(max_wait=1, **LONG) as service:
        service.claude.default = Script.error(429, "rate_limit_error", "Slow down", retry_after=30)
        first, second = await service.topic("First"), await service.topic("Second")

        await service.generate(first)
        failed = await service.ended(first)
        await service.generate(second)
        waits = await service.wait_until(second, "generating", phase="waiting")

        assert (failed["error_code"], len(service.claude.calls)) == ("claude_unavailable", 1)
        assert waits["retry_at"]


async def test_after_so_long_a_wait_in_all_it_fails(start: Start) -> None:
    async with start(max_wait=0.3, **QUICK) as service:
        service.claude.default = LIMITED
        topic_id = await service.topic()

        await service.generate(topic_id)
        status = await service.ended(topic_id)

        assert (status["status"], status["error_code"]) == ("failed", "claude_unavailable")
        assert status["error_message"].startswith("Claude API unavailable: ")
        assert (status["retryable"], status["attempt"]) == (True, 1)
        assert len(service.claude.calls) > 2


async def test_who_never_gets_a_turn_while_claude_is_limiting_fails_after_so_long_too(start: Start) -> None:
    async with start(max_wait=0.5, **QUICK) as service:
        held = Script(hold=trio.Event(), hold_at=BEFORE_HEADERS)
        service.claude.default = writing({"Probe": [LIMITED, held], "Other": [LIMITED]})
        probe, other = await service.topic("Probe"), await service.topic("Other")
        await service.generate(probe)
        await service.claude.next_call()
        await (await service.claude.next_call()).held.wait()

        await service.generate(other)
        status = await service.ended(other)

        assert (status["status"], status["error_code"], status["attempt"]) == ("failed", "claude_unavailable", 1)
        assert calls_for(service.claude, "Other") == []


async def test_a_probe_that_is_cancelled_lets_the_next_one_try(start: Start) -> None:
    async with start(**QUICK) as service:
        held = Script(hold=trio.Event(), hold_at=BEFORE_HEADERS)
        service.claude.default = writing({"Probe": [LIMITED, held]})
        probe, other = await service.topic("Probe"), await service.topic("Other")
        await service.generate(probe)
        await service.claude.next_call()
        await (await service.claude.next_call()).held.wait()
        await service.generate(other)
        await service.wait_until(other, "generating", phase="waiting")

        await cancel(service, probe)
        status = await service.ended(other)

        assert status["status"] == "completed"


async def test_a_probe_needs_no_end_for_the_next_refusal_to_be_probed(start: Start) -> None:
    async with start(**QUICK) as service:
        goes_on = Script(hold=trio.Event(), hold_at=20)
        service.claude.default = writing({"Probe": [LIMITED, goes_on], "Other": [LIMITED]})
        probe, other = await service.topic("Probe"), await service.topic("Other")
        await service.generate(probe)
        await service.wait_until(probe, "generating", phase="writing")

        await service.generate(other)
        status = await service.ended(other)

        assert status["status"] == "completed"
        assert (await service.status(probe))["status"] == "generating"


async def test_a_section_that_waits_lets_its_siblings_write(start: Start) -> None:
    async with start(max_concurrent=1, **QUICK) as service:
        service.claude.default = writing({f"Part {number}": [LIMITED] * number for number in range(1, 6)})
        topic_id = await service.topic("Title", plan=plan(6))

        await service.generate(topic_id, mode="sections")
        status = await service.ended(topic_id)

        assert (status["status"], status["attempt"]) == ("completed", 1)
        assert await report(service, topic_id) == whole("Title", 6)


async def test_while_claude_is_limiting_one_call_at_a_time_tries_and_all_complete_when_it_opens(start: Start) -> None:
    jobs, pause = 20, 0.05
    at_once: list[int] = []
    moments: list[float] = []
    state = {"is_open": False, "all_wait": False}
    tried = trio.Event()
    turned_away = Script.error(429, "rate_limit_error", "Slow down", pause)

    def choose(body: dict[str, Any]) -> Script:
        if state["is_open"]:
            return writing()(body)
        if state["all_wait"]:
            at_once.append(sum(not call.finished.is_set() for call in service.claude.calls))
            moments.append(trio.current_time())
        if len(moments) == 10:
            tried.set()
        return replace(turned_away, first_after=0.02)

    async with start(**QUICK) as service:
        service.claude.default = choose
        topic_ids = [await service.topic(f"Topic {number}") for number in range(jobs)]
        for topic_id in topic_ids:
            await service.generate(topic_id)
        for topic_id in topic_ids:
            await service.wait_until(topic_id, "generating", phase="waiting")
        state["all_wait"] = True
        with trio.fail_after(20):
            await tried.wait()
        state["is_open"] = True
        statuses = [await service.ended(topic_id) for topic_id in topic_ids]

        assert [(status["status"], status["attempt"]) for status in statuses] == [("completed", 1)] * jobs
        assert max(at_once) == 1
        assert min(after - before for before, after in pairwise(moments)) >= pause
        assert {row["attempt"] for topic_id in topic_ids for row in await ledger(service, topic_id)} == {1}

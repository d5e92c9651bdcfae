"""Sections side by side: each on its own, joined in order, retried alone, and only what is missing after a restart."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from app.report import sections
from app.text import Strand
from tests.claude import Fault, Script
from tests.reports import (
    QUICK,
    calls_for,
    cancel,
    held,
    kept,
    ledger,
    plan,
    report,
    section_of,
    sentences,
    whole,
    writing,
    written_in,
)
from tests.service import Service

Start = Callable[..., AbstractAsyncContextManager[Service]]

SECTIONS = "sections"


async def begin(service: Service, count: int, scripts: Mapping[str, Sequence[Script]] | None = None) -> int:
    """Start a report of so many sections; the first calls of a section go by its scripts."""
    service.claude.default = writing(scripts)
    topic_id = await service.topic("Title", plan=plan(count))
    await service.generate(topic_id, mode=SECTIONS)
    return topic_id


# In order, and so many at once.


async def test_sections_are_joined_in_the_plans_order(start: Start) -> None:
    async with start(**QUICK) as service:
        slow = {"Part 1": [Script(pings=3)], "Part 2": [Script(pieces=200)], "Part 5": [Script(fault=Fault.CUT, at=3)]}
        topic_id = await begin(service, 6, slow)

        status = await service.ended(topic_id)

        assert (status["status"], status["sections_done"], status["sections_total"]) == ("completed", 6, 6)
        assert await report(service, topic_id) == whole("Title", 6)
        assert status["characters"] == len(whole("Title", 6)) - 1


@pytest.mark.parametrize("at_once", [1, 2, 4])
async def test_no_more_sections_are_written_at_once_than_the_setting_allows(start: Start, at_once: int) -> None:
    running: list[int] = []
    async with start(section_concurrency=at_once, **QUICK) as service:
        choose = writing(base=Script(pieces=20, pace=0.001))
        assert callable(choose)

        def watched(body: dict[str, Any]) -> Script:
            running.append(sum(not call.finished.is_set() for call in service.claude.calls))
            return choose(body)

        service.claude.default = watched
        topic_id = await service.topic("Title", plan=plan(9))
        await service.generate(topic_id, mode=SECTIONS)
        await service.ended(topic_id)

        assert max(running) == at_once
        assert await report(service, topic_id) == whole("Title", 9)
        begun = [section_of(call.body) for call in service.claude.calls]
        for number in range(9):
            assert abs(begun.index(f"Part {number + 1}") - number) < at_once


async def test_the_first_call_goes_alone_until_its_first_text_came(start: Start) -> None:
    async with start(**QUICK) as service:
        first = trio.Event()
        hold = {f"Part {number}": [Script(hold=trio.Event(), hold_at=5)] for number in range(2, 7)}
        topic_id = await begin(service, 6, hold | {"Part 1": [Script(hold=first, hold_at=0)]})

        (alone,) = await held(service.claude)
        await service.wait_for(topic_id, lambda status: status["phase"] == "thinking")
        await wait_all_tasks_blocked(0.05)
        begun = len(service.claude.calls)
        first.set()
        others = await held(service.claude, 3)

        assert (section_of(alone.body), begun) == ("Part 1", 1)
        assert sorted(section_of(call.body) for call in others) == ["Part 2", "Part 3", "Part 4"]


async def test_the_first_call_is_waited_for_however_often_it_breaks_off_before_its_text(start: Start) -> None:
    async with start(**QUICK) as service:
        broken = [Script(fault=Fault.CUT, at=0), Script.error(429, "rate_limit_error", "Slow", 0.01)]
        topic_id = await begin(service, 3, {"Part 1": broken})

        status = await service.ended(topic_id)

        assert status["status"] == "completed"
        assert [section_of(call.body) for call in service.claude.calls[:3]] == ["Part 1"] * 3


async def test_a_first_section_that_fails_for_good_lets_no_other_begin(start: Start) -> None:
    async with start(**QUICK) as service:
        topic_id = await begin(service, 3, {"Part 1": [Script.error(400, "invalid_request_error", "No.")]})

        status = await service.ended(topic_id)

        assert (status["status"], status["error_code"]) == ("failed", "claude_request")
        assert len(service.claude.calls) == 1


async def test_every_call_has_the_same_cached_prefix(start: Start) -> None:
    async with start(**QUICK) as service:
        service.claude.default = writing({"Part 2": [Script(fault=Fault.CUT, at=20), Script(hold=trio.Event())]})
        topic_id = await service.topic(
            "제목 <&>", plan=f"Before.\n\n{plan(3)}\n\n- with a bullet & more", language="ko"
        )
        await service.generate(topic_id, mode=SECTIONS, instructions="Be <brief>.")
        began = [await service.claude.next_call() for _ in range(4)]
        await [call for call in began if section_of(call.body) == "Part 2"][1].held.wait()
        await service.wait_for(topic_id, lambda status: status["sections_done"] == 2)
        await cancel(service, topic_id, mode="finish")
        await service.ended(topic_id)

        bodies = [call.body for call in service.claude.calls]
        assert len(bodies) == 6
        first = [json.dumps([body["model"], body["system"], body["messages"][0]["content"][0]]) for body in bodies]
        assert len(set(first)) == 1
        brief = bodies[0]["messages"][0]["content"][0]
        assert brief["cache_control"] == {"type": "ephemeral"}
        for part in ("제목 &lt;&amp;&gt;", "## Part 1", "## Part 3", "with a bullet &amp; more", "Be &lt;brief&gt;."):
            assert part in brief["text"]
        tasks = [section_of(body) for body in bodies]
        assert set(tasks) == {"Part 1", "Part 2", "Part 3", "맺음말"}
        assert all("cache_control" not in block for body in bodies for block in body["messages"][0]["content"][1:])


async def test_done_sections_are_counted_as_they_end(start: Start) -> None:
    async with start(section_concurrency=2, **QUICK) as service:
        gates = {number: trio.Event() for number in range(1, 5)}
        topic_id = await begin(
            service, 4, {f"Part {number}": [Script(hold=gate, hold_at=10)] for number, gate in gates.items()}
        )
        seen = [(await service.wait_for(topic_id, lambda status: status["characters"] > 0))["sections_done"]]

        for number in (2, 1, 4):
            gates[number].set()
            following = await service.wait_for(topic_id, lambda status: status["sections_done"] > seen[-1])
            seen.append(following["sections_done"])
            assert following["sections_total"] == 4
            assert following["progress_percent"] < 100
        gates[3].set()
        status = await service.ended(topic_id)

        assert seen == [0, 1, 2, 3]
        assert (status["sections_done"], status["progress_percent"]) == (4, 100)


# What goes wrong with one.


async def test_one_section_that_breaks_is_gone_on_from_alone(start: Start) -> None:
    async with start(**QUICK) as service:
        topic_id = await begin(
            service, 6, {"Part 3": [Script(fault=Fault.CUT, at=10), Script(fault=Fault.RESET, at=10)]}
        )

        status = await service.ended(topic_id)

        assert (status["status"], status["attempt"]) == ("completed", 3)
        assert await report(service, topic_id) == whole("Title", 6)
        calls = [section_of(call.body) for call in service.claude.calls]
        assert sorted(calls) == sorted([f"Part {number}" for number in range(1, 7)] + ["Part 3"] * 2)
        first, second, third = calls_for(service.claude, "Part 3")
        assert written_in(second.body) == f"## Part 3\n\n{first.text_sent.rstrip()}"
        assert written_in(third.body).startswith(written_in(second.body))


@pytest.mark.parametrize(
    ("script", "code"),
    [
        (Script.error(401, "authentication_error", "No."), "claude_auth"),
        (Script.error(500, "api_error", "Internal"), "claude_unavailable"),
        (Script(fault=Fault.CUT, at=0), "claude_stream"),
    ],
)
async def test_one_section_that_fails_for_good_fails_the_report_and_closes_its_siblings_connections(
    start: Start, script: Script, code: str
) -> None:
    async with start(max_attempts=2, **QUICK) as service:
        hold = {f"Part {number}": [Script(hold=trio.Event(), hold_at=20)] for number in (1, 2, 4)}
        topic_id = await begin(service, 5, hold | {"Part 3": [script] * 2})

        status = await service.ended(topic_id)
        siblings = [call for call in service.claude.calls if section_of(call.body) != "Part 3"]
        with trio.fail_after(5):
            for call in siblings:
                await call.finished.wait()

        assert (status["status"], status["error_code"]) == ("failed", code)
        assert [call.gone.is_set() for call in siblings] == [True] * len(siblings)
        assert calls_for(service.claude, "Part 5") == []
        stood = {row["section"]: row["text"] for row in await kept(service, topic_id)}
        for call in siblings:
            number = int(section_of(call.body)[-1])
            assert f"## Part {number}\n\n{call.text_sent}".startswith(stood.get(number - 1, ""))
        assert len(await ledger(service, topic_id)) == len(service.claude.calls)


async def test_a_failed_report_in_sections_is_resumed_where_each_of_them_stood(start: Start) -> None:
    async with start(max_attempts=1, **QUICK) as service:
        hold = Script(hold=trio.Event(), hold_at=20)
        fails = Script(fault=Fault.CUT, at=0, hold=trio.Event(), hold_at=0)
        topic_id = await begin(service, 4, {"Part 2": [hold], "Part 4": [fails]})
        await service.wait_for(topic_id, lambda s: s["sections_done"] == 2 and s["characters"] > 1650)
        assert fails.hold is not None
        fails.hold.set()
        await service.ended(topic_id)
        stood = {row["section"]: row["text"] for row in await kept(service, topic_id)}
        before = len(service.claude.calls)

        await service.generate(topic_id, resume=True)
        await service.ended(topic_id)

        assert sorted(stood) == [0, 1, 2]
        asked = {section_of(call.body): written_in(call.body) for call in service.claude.calls[before:]}
        assert asked == {"Part 2": stood[1], "Part 4": ""}
        assert await report(service, topic_id) == whole("Title", 4)


# Restarts.


async def test_a_restart_writes_only_what_is_missing(start: Start) -> None:
    async with start(**QUICK) as service:
        topic_id = await begin(service, 6, {"Part 2": [Script(hold=trio.Event(), hold_at=20)]})
        await service.wait_for(topic_id, lambda status: status["sections_done"] == 5)
        await service.shut_down()
    before = len(service.claude.calls)

    async with start(**QUICK) as again:
        status = await again.ended(topic_id)

        assert (status["status"], status["sections_done"]) == ("completed", 6)
        assert await report(again, topic_id) == whole("Title", 6)
        assert [section_of(call.body) for call in again.claude.calls[before:]] == ["Part 2"]


@pytest.mark.parametrize("at", [40, 42])
async def test_a_section_that_was_whole_but_for_its_end_holds_up_no_other_after_a_restart(
    start: Start, at: int
) -> None:
    async with start(section_concurrency=1, **QUICK) as service:
        topic_id = await begin(service, 3, {"Part 1": [Script(hold=trio.Event(), hold_at=at)]})
        await service.wait_for(topic_id, lambda status: status["characters"] >= len(whole("Title", 1)) - 1)
        await service.shut_down()

    async with start(**QUICK) as service:
        status = await service.ended(topic_id)

        assert status["status"] == "completed"
        assert await report(service, topic_id) == whole("Title", 3)


async def test_a_restart_when_all_is_written_only_saves(start: Start) -> None:
    async with start(**QUICK) as service:
        topic_id = await begin(service, 2)
        await service.ended(topic_id)
        text = await report(service, topic_id)
        (row,) = await service.rows("SELECT id FROM generations")
        parts = [f"## Part {number}\n\n{sentences(f'Part {number}')}" for number in (1, 2)]
        for section, part in enumerate(parts):
            await service.rows(
                "INSERT INTO checkpoints VALUES (:id, :section, 0, :text)", id=row["id"], section=section, text=part
            )
            await service.rows("INSERT INTO strands VALUES (:id, :section, 1, '')", id=row["id"], section=section)
        await service.rows("UPDATE generations SET status = 'generating', artifact_id = NULL")
        await service.rows("DELETE FROM artifacts")
        await service.rows("DELETE FROM messages")
        await service.shut_down()
    before = len(service.claude.calls)

    async with start(**QUICK) as service:
        await service.ended(topic_id)

        assert await report(service, topic_id) == text
        assert len(service.claude.calls) == before


# Plans.


@pytest.mark.parametrize(
    "given_plan",
    ["", "Only words.", "# A title", "### Too deep", "```\n## In code\n```", "##No space", "Words.\n  ## Indented"],
)
async def test_a_plan_without_sections_is_refused(start: Start, given_plan: str) -> None:
    async with start(**QUICK) as service:
        topic_id = await service.topic(plan=given_plan)

        answer = await service.http.post(f"/api/topics/{topic_id}/generate", json={"mode": SECTIONS})

        assert answer.status_code == 422
        assert [error["pointer"] for error in answer.json()["errors"]] == ["/mode"]
        assert (await service.status(topic_id))["status"] == "idle"


async def test_a_plan_in_the_body_goes_before_the_topics(start: Start) -> None:
    async with start(**QUICK) as service:
        service.claude.default = writing()
        topic_id = await service.topic("Title", plan=plan(3))

        refused = await service.http.post(f"/api/topics/{topic_id}/generate", json={"mode": SECTIONS, "plan": "None."})
        await service.generate(topic_id, mode=SECTIONS, plan=plan(2))
        await service.ended(topic_id)

        assert refused.status_code == 422
        assert await report(service, topic_id) == whole("Title", 2)


async def test_a_section_whose_heading_claude_repeats_has_it_once(start: Start) -> None:
    async with start(**QUICK) as service:
        service.claude.default = lambda body: Script(text=f"## {section_of(body)}\n\nIts body.")
        topic_id = await service.topic("Title", plan="## One & two <3>\n\n## 둘째  ##")

        await service.generate(topic_id, mode=SECTIONS)
        await service.ended(topic_id)

        assert await report(service, topic_id) == "# Title\n\n## One & two <3>\n\nIts body.\n\n## 둘째\n\nIts body.\n"


async def test_a_plan_with_much_white_space_holds_up_nobody(start: Start) -> None:
    async with start(**QUICK) as service:
        service.claude.default = lambda body: Script(text="Body.")
        topic_id = await service.topic("Title", plan="## One" + " " * 90_000 + "two")

        await service.generate(topic_id, mode=SECTIONS)
        await cancel(service, topic_id)


WORDS = st.text(alphabet=st.sampled_from("ab#1 \t\xa0\u3000\u2028한&<"), min_size=1, max_size=12)


@given(st.lists(WORDS, min_size=1, max_size=4))
def test_a_heading_alone_is_never_something_written(words: list[str]) -> None:
    for heading in sections("\n\n".join(f"## {word}" for word in words)):
        strand = Strand(0, heading)

        assert strand.written == 0
        assert heading == heading.strip()


# The reason for all of it.


async def test_six_equal_sections_take_less_than_a_third_of_the_steps_of_one_text(start: Start) -> None:
    """Time is counted in pieces: when the first section's first piece is out, all the others come side by side."""
    count, pieces = 6, 20
    gate = trio.Event()
    scripts = {f"Part {number + 1}": [Script(pieces=pieces, hold=gate, hold_at=1)] for number in range(count)}
    async with start(section_concurrency=count, **QUICK) as service:
        topic_id = await begin(service, count, scripts)
        at_once = await held(service.claude, count)
        ahead = max(len(call.sent) for call in at_once)
        gate.set()
        await service.ended(topic_id)

        assert await report(service, topic_id) == whole("Title", count)
    assert len(service.claude.calls) == count
    assert [len(call.sent) for call in at_once] == [pieces] * count
    assert ahead + pieces < count * pieces / 3

"""Cancelling, in every form and at every moment: nothing is spent after it, it holds, and both sides agree on it."""

import shutil
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from app.directory import REPORTS
from tests.claude import BEFORE_HEADERS, Call, FakeClaude, Fault, Script
from tests.fairwatch import within
from tests.reports import (
    BRIEF,
    ENDING,
    QUICK,
    TEXT,
    artifact,
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
from tests.service import Service, locked_database, running, settings_for

Start = Callable[..., AbstractAsyncContextManager[Service]]

SINGLE, SECTIONS = "single", "sections"
CLOSING = "맺음말"


def holding(at: int = 20, **more: Any) -> Script:
    return Script(hold=trio.Event(), hold_at=at, **more)


async def begun(service: Service, mode: str = SINGLE, script: Script | None = None) -> tuple[int, list[Call]]:
    """Start a report of three sections, and hold it in mid-text: its one call, or those of all its sections."""
    script = script or holding()
    service.claude.default = writing({key: [script] for key in ("A topic", "Part 1", "Part 2", "Part 3")})
    topic_id = await service.topic(plan=plan(3))
    await service.generate(topic_id, mode=mode)
    calls = await held(service.claude, 1 if mode == SINGLE else 3)
    sent = sum(len(call.text_sent.rstrip()) for call in calls)
    await service.wait_for(topic_id, lambda status: status["characters"] >= sent)
    return topic_id, calls


async def all_gone(calls: list[Call]) -> None:
    """Wait until the stand-in has seen these connections close."""
    with trio.fail_after(5):
        for call in calls:
            await call.gone.wait()


# Plain.


@pytest.mark.parametrize("mode", [SINGLE, SECTIONS])
async def test_a_cancel_closes_every_connection_within_a_second_and_nothing_is_spent_after_it(
    start: Start, mode: str, blocked: list[str]
) -> None:
    async with start(**QUICK) as service:
        script = holding()
        topic_id, calls = await begun(service, mode, script)

        code, status = await cancel(service, topic_id)
        with within(1, "the end of the connections", blocked):
            await all_gone(calls)
        rows = await ledger(service, topic_id)
        assert script.hold is not None
        script.hold.set()
        for call in calls:
            await call.finished.wait()

        assert (code, status["status"], status["artifact_id"]) == (202, "cancelled", None)
        assert await service.status(topic_id) == status
        assert {row["state"] for row in rows} == {"cancelled"}
        assert await ledger(service, topic_id) == rows
        assert len(service.claude.calls) == len(calls)
        assert service.files() == []


@pytest.mark.parametrize("mode", [SINGLE, SECTIONS])
@pytest.mark.parametrize("at", [BEFORE_HEADERS, 0])
async def test_a_cancel_before_any_text_leaves_nothing_even_where_it_was_to_be_kept(
    start: Start, mode: str, at: int
) -> None:
    async with start(**QUICK) as service:
        service.claude.default = holding(at)
        topic_id = await service.topic(plan=plan(3))
        await service.generate(topic_id, mode=mode)
        calls = await held(service.claude)

        code, status = await cancel(service, topic_id, keep_partial=True)
        await all_gone(calls)

        assert (code, status["status"], status["artifact_id"]) == (202, "cancelled", None)
        assert (status["characters"], service.files(), await kept(service, topic_id)) == (0, [], [])


async def test_a_cancel_while_queued_never_asks_claude(start: Start) -> None:
    async with start(max_concurrent=1, **QUICK) as service:
        _, (running_call,) = await begun(service)
        queued = await service.topic("Queued")
        await service.generate(queued)

        code, status = await cancel(service, queued, keep_partial=True)

        assert (code, status["status"]) == (202, "cancelled")
        assert (calls_for(service.claude, "Queued"), await ledger(service, queued)) == ([], [])
        assert not running_call.gone.is_set()


async def test_a_cancel_ends_a_wait(start: Start) -> None:
    async with start(**(QUICK | {"max_retry_after": 60})) as service:
        service.claude.default = Script.error(429, "rate_limit_error", "Slow down", 60)
        topic_id = await service.topic()
        await service.generate(topic_id)
        await service.wait_until(topic_id, "generating", phase="waiting")

        code, status = await cancel(service, topic_id)

        assert (code, status["status"]) == (202, "cancelled")
        assert [row["state"] for row in await ledger(service, topic_id)] == ["failed"]


async def test_a_cancel_between_two_attempts_makes_no_further_one(start: Start) -> None:
    async with start(**(QUICK | {"backoff_seconds": 60, "max_retry_after": 60})) as service:
        service.claude.default = Script.error(500, "api_error", "Internal", 60)
        topic_id = await service.topic()
        await service.generate(topic_id)
        await service.wait_for(topic_id, lambda status: status["attempt"] == 2)

        code, status = await cancel(service, topic_id)

        assert (code, status["status"], len(service.claude.calls)) == (202, "cancelled", 1)


async def test_a_second_cancel_changes_nothing(start: Start) -> None:
    async with start(**QUICK) as service:
        topic_id, _ = await begun(service)

        _, first = await cancel(service, topic_id)
        code, second = await cancel(service, topic_id, keep_partial=True)

        assert (code, second) == (200, first)
        assert second["artifact_id"] is None


async def test_cancels_at_once_agree_on_one_outcome(start: Start) -> None:
    async with start(**QUICK) as service:
        topic_id, _ = await begun(service)
        answers: list[tuple[int, dict[str, Any]]] = []

        async def one(keep_partial: bool) -> None:
            answers.append(await cancel(service, topic_id, keep_partial=keep_partial))

        async with trio.open_nursery() as nursery:
            for keep_partial in (False, True, False, True):
                nursery.start_soon(one, keep_partial)

        assert sorted(code for code, _ in answers) == [200, 200, 200, 202]
        assert {status["status"] for _, status in answers} == {"cancelled"}
        assert len({status["artifact_id"] for _, status in answers}) == 1


@pytest.mark.parametrize("more", [{}, {"keep_partial": True}, {"mode": "finish"}])
async def test_a_cancel_that_races_with_the_end_has_one_outcome_and_both_sides_agree(
    start: Start, more: dict[str, Any]
) -> None:
    rounds = {f"After {steps}": steps for steps in (0, 5, 10, 20, 40, 60, 80, 120, 200)}
    last = holding(39)
    async with start(**QUICK) as service:
        service.claude.default = writing({name: [last] for name in rounds})
        topic_ids = {name: await service.topic(name) for name in rounds}
        for topic_id in topic_ids.values():
            await service.generate(topic_id)
        await held(service.claude, len(rounds))
        assert last.hold is not None

        async def race(name: str, topic_id: int) -> None:
            for _ in range(rounds[name]):
                await trio.lowlevel.checkpoint()
            code, status = await cancel(service, topic_id, **more)
            assert status["status"] in ({"completed", "generating"} if "mode" in more else {"completed", "cancelled"})
            assert code == (200 if status["status"] == "completed" else 202)
            ended = await service.ended(topic_id)
            assert ended == status or status["status"] == "generating"
            files = [file for file in service.files() if file.startswith(f"{topic_id}/")]
            assert len(files) == int(ended["artifact_id"] is not None)
            if ended["status"] == "completed":
                partial = (await artifact(service, topic_id))["partial"]
                assert partial == (await report(service, topic_id) != TEXT)

        last.hold.set()
        async with trio.open_nursery() as nursery:
            for name, topic_id in topic_ids.items():
                nursery.start_soon(race, name, topic_id)


async def test_a_cancel_while_the_report_is_saved_has_one_outcome(start: Start) -> None:
    async with start(**QUICK) as service:
        service.claude.default = writing()
        topic_id = await service.topic()
        await service.generate(topic_id)
        await service.wait_for(topic_id, lambda status: status["phase"] in {"saving", "done"})

        code, status = await cancel(service, topic_id)

        assert code == (202 if status["status"] == "cancelled" else 200)
        assert await service.status(topic_id) == status
        assert len(service.files()) == int(status["status"] == "completed")


# What was written is kept.


@pytest.mark.parametrize("mode", [SINGLE, SECTIONS])
async def test_what_was_written_is_kept_as_a_partial_report_where_that_is_asked_for(start: Start, mode: str) -> None:
    async with start(**QUICK) as service:
        topic_id, calls = await begun(service, mode)

        code, status = await cancel(service, topic_id, keep_partial=True)

        assert (code, status["status"]) == (202, "cancelled")
        document = await artifact(service, topic_id)
        assert (document["partial"], document["version"], document["id"]) == (True, 1, status["artifact_id"])
        text = await report(service, topic_id)
        if mode == SINGLE:
            assert text == f"{calls[0].text_sent.rstrip()}\n"
        else:
            parts = [f"## {section_of(call.body)}\n\n{call.text_sent.rstrip()}" for call in calls]
            assert text == "\n\n".join(["# A topic", *sorted(parts)]) + "\n"
        assert len(text) == status["characters"] + 1
        messages = (await service.http.get(f"/api/topics/{topic_id}/messages")).json()["data"]
        assert messages == []


async def test_a_cancel_holds_where_the_partial_report_cannot_be_saved(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    async with start(**QUICK) as service:
        topic_id, calls = await begun(service)
        (service.settings.data_dir / REPORTS).mkdir(exist_ok=True)
        (service.settings.data_dir / REPORTS / str(topic_id)).write_text("in the way of the topic's directory")

        code, status = await cancel(service, topic_id, keep_partial=True)

        assert (code, status["status"], status["artifact_id"]) == (202, "cancelled", None)
        assert "Partial report not saved" in caplog.text
        (strand,) = await kept(service, topic_id)
        assert strand["text"] == calls[0].text_sent.rstrip()


async def test_what_an_earlier_start_has_written_is_kept_though_the_report_waits_in_the_queue(start: Start) -> None:
    async with start(**QUICK) as service:
        service.claude.default = holding(BEFORE_HEADERS)
        await service.generate(await service.topic("The first in line"))
        await held(service.claude)
        topic_id, calls = await begun(service)
        await service.shut_down()

    async with start(max_concurrent=1, **QUICK) as service:
        service.claude.default = holding(BEFORE_HEADERS)
        await held(service.claude)
        before = await service.status(topic_id)

        code, status = await cancel(service, topic_id, keep_partial=True)

        assert (before["status"], code, status["status"]) == ("queued", 202, "cancelled")
        assert await report(service, topic_id) == f"{calls[0].text_sent.rstrip()}\n"
        assert (await artifact(service, topic_id))["partial"] is True


# An end now.


async def test_a_report_that_is_to_end_now_is_closed_in_one_more_call(start: Start) -> None:
    async with start(**QUICK) as service:
        topic_id, calls = await begun(service)

        code, status = await cancel(service, topic_id, mode="finish")
        await all_gone(calls)
        ended = await service.ended(topic_id)

        assert (code, status["status"]) == (202, "generating")
        assert (ended["status"], ended["progress_percent"]) == ("completed", 100)
        assert await report(service, topic_id) == calls[0].text_sent.rstrip() + ENDING
        assert (await artifact(service, topic_id))["partial"] is True
        assert written_in(service.claude.calls[1].body) == calls[0].text_sent.rstrip()
        assert [row["state"] for row in await ledger(service, topic_id)] == ["cancelled", "completed"]


async def test_sections_that_are_to_end_now_are_closed_and_those_not_begun_are_left_out(start: Start) -> None:
    async with start(section_concurrency=3, **QUICK) as service:
        parts = {f"Part {number}": [holding(10)] for number in (2, 3)}
        parts["Part 4"] = [holding(BEFORE_HEADERS)]
        service.claude.default = writing(parts)
        topic_id = await service.topic("Title", plan=plan(6))
        await service.generate(topic_id, mode=SECTIONS)
        first = await service.claude.next_call()
        calls = sorted(await held(service.claude, 3), key=lambda call: section_of(call.body))
        await service.wait_for(topic_id, lambda status: status["sections_done"] == 1 and status["characters"] > 900)

        code, _ = await cancel(service, topic_id, mode="finish")
        await all_gone(calls)
        status = await service.ended(topic_id)

        assert code == 202
        assert [section_of(call.body) for call in (first, *calls)] == ["Part 1", "Part 2", "Part 3", "Part 4"]
        in_hand = [f"## Part {n}\n\n{calls[n - 2].text_sent.rstrip()} It was ended early." for n in (2, 3)]
        closing = f"## {CLOSING}\n\n{sentences(CLOSING)}"
        assert await report(service, topic_id) == "\n\n".join([whole("Title", 1).rstrip(), *in_hand, closing]) + "\n"
        assert (status["status"], status["sections_done"], status["sections_total"]) == ("completed", 3, 6)
        assert (await artifact(service, topic_id))["partial"] is True
        assert len(service.claude.calls) == 7
        task = service.claude.calls[-1].body["messages"][0]["content"][1]["text"]
        assert sentences("Part 1") in task
        assert in_hand[1] in task


@pytest.mark.parametrize("mode", [SINGLE, SECTIONS])
async def test_a_report_that_is_to_end_before_it_began_is_written_as_short_as_can_be(start: Start, mode: str) -> None:
    async with start(**QUICK) as service:
        script = holding(0)
        service.claude.default = writing({"A topic": [script], "Part 1": [script]})
        topic_id = await service.topic(plan=plan(3))
        await service.generate(topic_id, mode=mode)
        calls = await held(service.claude)

        await cancel(service, topic_id, mode="finish")
        await all_gone(calls)
        status = await service.ended(topic_id)

        assert status["status"] == "completed"
        short = BRIEF if mode == SINGLE else f"# A topic\n\n## {CLOSING}\n\n{sentences(CLOSING)}\n"
        assert await report(service, topic_id) == short
        assert (await artifact(service, topic_id))["partial"] is True
        assert len(service.claude.calls) == 2


async def test_a_report_that_is_to_end_while_queued_is_written_short_when_its_turn_comes(start: Start) -> None:
    async with start(max_concurrent=1, **QUICK) as service:
        running_topic, _ = await begun(service)
        queued = await service.topic("Queued")
        await service.generate(queued)

        code, status = await cancel(service, queued, mode="finish")
        await cancel(service, running_topic)
        ended = await service.ended(queued)

        assert (code, status["status"], ended["status"]) == (202, "queued", "completed")
        assert await report(service, queued) == BRIEF
        assert (await artifact(service, queued))["partial"] is True


async def test_a_report_that_is_to_end_while_it_waits_is_closed_as_soon_as_claude_takes_calls(start: Start) -> None:
    limited = Script.error(429, "rate_limit_error", "Slow down", 0.4)
    async with start(**(QUICK | {"max_retry_after": 60})) as service:
        service.claude.default = writing({"A topic": [Script(fault=Fault.CUT, at=20), limited]})
        topic_id = await service.topic()
        await service.generate(topic_id)
        await service.wait_until(topic_id, "generating", phase="waiting")

        code, _ = await cancel(service, topic_id, mode="finish")
        ended = await service.ended(topic_id)

        assert (code, ended["status"]) == (202, "completed")
        assert await report(service, topic_id) == service.claude.calls[0].text_sent.rstrip() + ENDING
        assert len(service.claude.calls) == 3


async def test_an_end_that_breaks_off_is_gone_on_from(start: Start) -> None:
    async with start(**QUICK) as service:
        topic_id, calls = await begun(service)
        ending = Script(text=ENDING, fault=Fault.CUT, at=20)
        rest = ENDING[len("".join(ending.cut[:20])) :]
        service.claude.script(ending, Script(text=rest))

        await cancel(service, topic_id, mode="finish")
        await service.ended(topic_id)

        assert await report(service, topic_id) == calls[0].text_sent.rstrip() + ENDING


@pytest.mark.parametrize("mode", [SINGLE, SECTIONS])
async def test_an_end_may_be_asked_for_twice(start: Start, mode: str) -> None:
    async with start(**QUICK) as service:
        topic_id, _ = await begun(service, mode)
        closing = holding(3)
        service.claude.default = writing(base=closing)
        assert closing.hold is not None

        first, _ = await cancel(service, topic_id, mode="finish")
        (call, *_) = await held(service.claude)
        second, status = await cancel(service, topic_id, mode="finish")
        gone = call.gone.is_set()
        closing.hold.set()
        ended = await service.ended(topic_id)

        assert (first, second, status["status"], gone) == (202, 202, "generating", False)
        assert ended["status"] == "completed"
        assert (await artifact(service, topic_id))["partial"] is True


@pytest.mark.parametrize("mode", [SINGLE, SECTIONS])
async def test_a_cancel_after_an_end_was_asked_for_holds(start: Start, mode: str) -> None:
    async with start(**QUICK) as service:
        topic_id, _ = await begun(service, mode)
        service.claude.default = writing(base=holding(3))
        await cancel(service, topic_id, mode="finish")
        calls = await held(service.claude, 1 if mode == SINGLE else 3)

        code, status = await cancel(service, topic_id)
        await all_gone(calls)

        assert (code, status["status"], status["artifact_id"]) == (202, "cancelled", None)
        assert service.files() == []


async def test_an_end_of_what_has_ended_changes_nothing(start: Start) -> None:
    async with start(**QUICK) as service:
        service.claude.default = writing()
        topic_id = await service.topic()

        never = await service.http.post(f"/api/topics/{topic_id}/cancel", json={"mode": "finish"})
        await service.generate(topic_id)
        status = await service.ended(topic_id)
        again = await cancel(service, topic_id, mode="finish")

        assert (never.status_code, never.json()["code"]) == (409, "nothing_to_cancel")
        assert again == (200, status)
        assert (await artifact(service, topic_id))["partial"] is False


async def test_an_end_that_the_database_does_not_take_is_no_end(start: Start) -> None:
    async with start(**QUICK) as service:
        topic_id, (call,) = await begun(service)

        async with locked_database(service.settings.data_dir):
            answer = await service.http.post(f"/api/topics/{topic_id}/cancel", json={"mode": "finish"})

        assert (answer.status_code, answer.json()["code"]) == (503, "database")
        assert not call.gone.is_set()
        assert (await service.status(topic_id))["status"] == "generating"


async def test_an_end_keeps_the_report_anyway(start: Start) -> None:
    async with start(**QUICK) as service:
        topic_id, (call,) = await begun(service)

        answer = await service.http.post(
            f"/api/topics/{topic_id}/cancel", json={"mode": "finish", "keep_partial": True}
        )

        assert answer.status_code == 422
        assert [error["pointer"] for error in answer.json()["errors"]] == ["/keep_partial"]
        assert not call.gone.is_set()


async def test_a_next_report_is_written_whole(start: Start) -> None:
    async with start(**QUICK) as service:
        topic_id, _ = await begun(service)
        await cancel(service, topic_id, mode="finish")
        await service.ended(topic_id)

        await service.generate(topic_id)
        await service.ended(topic_id)

        assert await report(service, topic_id) == TEXT
        assert (await artifact(service, topic_id))["partial"] is False


@pytest.mark.parametrize("mode", [SINGLE, SECTIONS])
async def test_an_end_that_was_asked_for_holds_across_a_restart(start: Start, mode: str) -> None:
    async with start(**QUICK) as service:
        topic_id, calls = await begun(service, mode)
        service.claude.default = writing(base=holding(BEFORE_HEADERS))
        await cancel(service, topic_id, mode="finish")
        await held(service.claude)
        await service.shut_down()

    async with start(**QUICK) as service:
        service.claude.default = writing()
        status = await service.ended(topic_id)

        assert status["status"] == "completed"
        assert await report(service, topic_id) == closed(mode, calls)
        assert (await artifact(service, topic_id))["partial"] is True


@pytest.mark.parametrize("mode", [SINGLE, SECTIONS])
async def test_an_end_that_was_asked_for_holds_across_a_kill(
    start: Start, tmp_path: Path, claude: FakeClaude, mode: str
) -> None:
    left = tmp_path / "what a kill leaves"
    async with start(**QUICK | {"checkpoint_seconds": 3600}) as service:  # the end itself keeps the text
        topic_id, calls = await begun(service, mode)
        service.claude.default = writing(base=holding(BEFORE_HEADERS))
        await cancel(service, topic_id, mode="finish")
        await held(service.claude)
        shutil.copytree(service.settings.data_dir, left)

    claude.default = writing()
    async with running(claude, settings_for(left, claude.url, **QUICK)) as service:
        status = await service.ended(topic_id)

        assert status["status"] == "completed"
        assert await report(service, topic_id) == closed(mode, calls)
        assert (await artifact(service, topic_id))["partial"] is True


async def ended_but_not_saved(service: Service, mode: str) -> tuple[int, list[Call]]:
    """End a report early, whose file cannot be written: it fails with all its text kept."""
    topic_id, calls = await begun(service, mode)
    service.claude.default = writing()
    in_the_way = service.settings.data_dir / REPORTS / str(topic_id)
    in_the_way.parent.mkdir(exist_ok=True)
    in_the_way.write_text("in the way of the topic's directory")
    await cancel(service, topic_id, mode="finish")
    assert (await service.ended(topic_id))["error_code"] == "file_system"
    in_the_way.unlink()
    return topic_id, calls


@pytest.mark.parametrize("mode", [SINGLE, SECTIONS])
async def test_an_end_that_failed_is_still_an_end_when_it_is_resumed(start: Start, mode: str) -> None:
    async with start(**QUICK) as service:
        topic_id, calls = await ended_but_not_saved(service, mode)
        asked = len(service.claude.calls)

        await service.generate(topic_id, resume=True)
        status = await service.ended(topic_id)

        assert (status["status"], len(service.claude.calls)) == ("completed", asked)
        assert await report(service, topic_id) == closed(mode, calls)
        assert (await artifact(service, topic_id))["partial"] is True


@pytest.mark.parametrize("mode", [SINGLE, SECTIONS])
async def test_an_end_that_was_written_and_not_saved_is_still_an_end_after_a_kill(start: Start, mode: str) -> None:
    async with start(**QUICK) as service:
        topic_id, calls = await ended_but_not_saved(service, mode)
        asked = len(service.claude.calls)
        await service.shut_down()
        # As a kill just before the save would have left it.
        await service.rows("UPDATE generations SET status = 'generating', error_code = NULL, completed_at = NULL")

    async with start(**QUICK) as service:
        status = await service.ended(topic_id)

        assert (status["status"], len(service.claude.calls)) == ("completed", asked)
        assert await report(service, topic_id) == closed(mode, calls)
        assert (await artifact(service, topic_id))["partial"] is True


async def test_sections_that_were_not_begun_stay_out_when_the_closing_section_is_resumed(start: Start) -> None:
    async with start(section_concurrency=1, **QUICK) as service:
        service.claude.default = writing({"Part 1": [holding()]})
        topic_id = await service.topic(plan=plan(3))
        await service.generate(topic_id, mode=SECTIONS)
        calls = await held(service.claude)
        sent = len(calls[0].text_sent.rstrip())
        await service.wait_for(topic_id, lambda status: status["characters"] >= sent)
        breaks = [Script(fault=Fault.CUT, at=20), Script.error(400, "invalid_request_error", "No.")]
        service.claude.default = writing({CLOSING: breaks})
        await cancel(service, topic_id, mode="finish")
        failed = await service.ended(topic_id)

        await service.generate(topic_id, resume=True)
        status = await service.ended(topic_id)

        assert (failed["status"], status["status"]) == ("failed", "completed")
        assert await report(service, topic_id) == closed(SECTIONS, calls)
        assert (await artifact(service, topic_id))["partial"] is True


@pytest.mark.parametrize("more", [{}, {"keep_partial": True}])
async def test_a_cancel_that_was_answered_holds_across_a_kill(
    start: Start, tmp_path: Path, claude: FakeClaude, more: dict[str, Any]
) -> None:
    left = tmp_path / "what a kill leaves"
    async with start(**QUICK) as service:
        topic_id, _ = await begun(service)
        _, status = await cancel(service, topic_id, **more)
        shutil.copytree(service.settings.data_dir, left)
    before = len(claude.calls)

    async with running(claude, settings_for(left, claude.url, **QUICK)) as service:
        assert await service.status(topic_id) == status
        assert len(claude.calls) == before


def closed(mode: str, calls: list[Call]) -> str:
    """Return the report that an end leaves when these calls were in hand."""
    if mode == SINGLE:
        return calls[0].text_sent.rstrip() + ENDING
    parts = [f"## {section_of(call.body)}\n\n{call.text_sent.rstrip()} It was ended early." for call in calls]
    return "\n\n".join(["# A topic", *sorted(parts), f"## {CLOSING}\n\n{sentences(CLOSING)}"]) + "\n"


# While the server stops.


@pytest.mark.parametrize("more", [{}, {"keep_partial": True}])
async def test_a_cancel_during_the_drain_holds(start: Start, more: dict[str, Any]) -> None:
    async with start(drain_seconds=20, **QUICK) as service:
        topic_id, calls = await begun(service)
        service.stop.set()
        await trio.testing.wait_all_tasks_blocked(0.01)

        code, status = await cancel(service, topic_id, **more)
        await all_gone(calls)
        with trio.fail_after(5):
            await service.stopped.wait()

        assert (code, status["status"]) == (202, "cancelled")
        assert (status["artifact_id"] is not None) == bool(more)
    before = len(calls)

    async with start(**QUICK) as service:
        assert await service.status(topic_id) == status
        assert len(service.claude.calls) == before


async def test_an_end_during_the_drain_is_written_within_it(start: Start) -> None:
    async with start(drain_seconds=20, **QUICK) as service:
        topic_id, calls = await begun(service)
        service.stop.set()
        await trio.testing.wait_all_tasks_blocked(0.01)

        code, _ = await cancel(service, topic_id, mode="finish")
        with trio.fail_after(5):
            await service.stopped.wait()

        assert code == 202
    async with start(**QUICK) as service:
        assert (await service.status(topic_id))["status"] == "completed"
        assert await report(service, topic_id) == calls[0].text_sent.rstrip() + ENDING


@pytest.mark.parametrize("form", [{}, {"keep_partial": True}, {"mode": "finish"}])
async def test_what_was_put_back_for_the_next_start_is_cancelled_too(start: Start, form: dict[str, Any]) -> None:
    async with start(max_concurrent=1, drain_seconds=20, **QUICK) as service:
        running_topic, _ = await begun(service)
        queued = await service.topic("Queued")
        await service.generate(queued)
        service.stop.set()
        await trio.testing.wait_all_tasks_blocked(0.01)

        code, status = await cancel(service, queued, **form)
        await cancel(service, running_topic)

        finish = "mode" in form
        assert (code, status["status"]) == (202, "queued" if finish else "cancelled")
    async with start(**QUICK) as service:
        service.claude.default = writing()
        ended = await service.ended(queued)
        assert ended["status"] == ("completed" if finish else "cancelled")
        assert len(calls_for(service.claude, "Queued")) == int(finish)
        if finish:
            assert await report(service, queued) == BRIEF


async def test_what_is_written_of_a_report_that_was_put_back_is_kept_where_that_is_asked_for(start: Start) -> None:
    async with start(drain_seconds=20, **(QUICK | {"max_retry_after": 60})) as service:
        limited = Script.error(429, "rate_limit_error", "Slow down", 60)
        service.claude.default = writing({"A topic": [Script(fault=Fault.CUT, at=20), limited], "Other": [holding()]})
        other = await service.topic("Other")
        await service.generate(other)
        await held(service.claude)
        topic_id = await service.topic()
        await service.generate(topic_id)
        await service.wait_until(topic_id, "generating", phase="waiting")
        service.stop.set()
        await service.wait_until(topic_id, "queued")

        code, status = await cancel(service, topic_id, keep_partial=True)
        text, document = await report(service, topic_id), await artifact(service, topic_id)
        await cancel(service, other)

        assert (code, status["status"], status["artifact_id"]) == (202, "cancelled", document["id"])
        (call,) = (call for call in calls_for(service.claude, "A topic") if call.text_sent)
        assert (text, document["partial"]) == (f"{call.text_sent.rstrip()}\n", True)

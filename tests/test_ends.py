"""How an answer ends: whole, cut short and gone on from, refused; and what shows before it begins."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import pytest
import trio

from tests.claude import Fault, Script
from tests.reports import (
    QUICK,
    TEXT,
    artifact,
    calls_for,
    kept,
    ledger,
    plan,
    report,
    section_of,
    sentences,
    texts_of,
    whole,
    writing,
    written_in,
)
from tests.service import Service

Start = Callable[..., AbstractAsyncContextManager[Service]]

SINGLE, SECTIONS = "single", "sections"
SHORT = ["max_tokens", "model_context_window_exceeded", "pause_turn"]

REPORT_NOTICES = {
    "ko": "> 이 보고서는 여기서 끝나요.",
    "en": "> This report ends here:",
    "fr": "> This report ends here:",
}
SECTION_NOTICES = {"ko": "> 이 절은 여기서 끝나요.", "en-GB": "> This section ends here:"}


def cut_short(stop_reason: str, length: int) -> Callable[[dict[str, object]], Script]:
    """Write `length` characters of the rest in each call, and end the last one as whole."""
    choose = writing()

    def shortened(body: dict[str, object]) -> Script:
        assert callable(choose)
        script = choose(body)
        if len(script.text) <= length:
            return script
        return replace(script, text=script.text[:length], stop_reason=stop_reason, pieces=5)

    return shortened


# Cut short.


@pytest.mark.parametrize("stop_reason", SHORT)
@pytest.mark.parametrize("mode", [SINGLE, SECTIONS])
async def test_an_answer_that_was_cut_short_is_gone_on_from_until_it_is_whole(
    start: Start, stop_reason: str, mode: str
) -> None:
    async with start(**QUICK) as service:
        service.claude.default = cut_short(stop_reason, 301)
        topic_id = await service.topic("Title", plan=plan(3))

        await service.generate(topic_id, mode=mode)
        status = await service.ended(topic_id)

        assert (status["status"], status["attempt"]) == ("completed", 1)
        assert await report(service, topic_id) == (TEXT if mode == SINGLE else whole("Title", 3))
        assert (await artifact(service, topic_id))["partial"] is False
        length = len(TEXT) if mode == SINGLE else len(sentences("Part 1"))
        texts = 1 if mode == SINGLE else 3
        assert len(service.claude.calls) == texts * -(-length // 301)
        assert {row["state"] for row in await ledger(service, topic_id)} == {"completed"}


async def test_the_rest_of_an_answer_that_was_cut_short_is_asked_for_in_a_user_turn(start: Start) -> None:
    async with start(**QUICK) as service:
        service.claude.default = cut_short("max_tokens", 1000)
        topic_id = await service.topic()

        await service.generate(topic_id)
        await service.ended(topic_id)

        turns = service.claude.calls[1].body["messages"]
        assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
        assert turns[1]["content"] == TEXT[:1000].rstrip()


async def test_continuations_and_breaks_are_counted_apart(start: Start) -> None:
    async with start(max_continuations=3, max_resumes=3, **QUICK) as service:
        choose = cut_short("max_tokens", 500)

        def every_second_breaks(body: dict[str, object]) -> Script:
            breaks = len(service.claude.calls) % 2
            return replace(choose(body), fault=Fault.CUT, at=2) if breaks else choose(body)

        service.claude.default = every_second_breaks
        topic_id = await service.topic()

        await service.generate(topic_id)
        status = await service.ended(topic_id)

        assert (status["status"], status["attempt"]) == ("completed", 4)
        assert await report(service, topic_id) == TEXT


@pytest.mark.parametrize("language", REPORT_NOTICES)
@pytest.mark.parametrize("allowed", [0, 2])
async def test_past_the_continuations_that_are_allowed_the_report_is_partial_and_says_so(
    start: Start, allowed: int, language: str
) -> None:
    async with start(max_continuations=allowed, **QUICK) as service:
        service.claude.default = cut_short("max_tokens", 400)
        topic_id = await service.topic(language=language)

        await service.generate(topic_id)
        status = await service.ended(topic_id)

        assert status["status"] == "completed"
        written, _, notice = (await report(service, topic_id)).rpartition("\n\n")
        assert TEXT.startswith(written)
        assert len(written) > 390 * (allowed + 1)
        assert notice.startswith(REPORT_NOTICES[language])
        assert notice.count("\n") == 1
        assert (await artifact(service, topic_id))["partial"] is True
        assert len(service.claude.calls) == allowed + 1


@pytest.mark.parametrize("language", SECTION_NOTICES)
async def test_a_section_past_its_continuations_says_so_where_it_ends(start: Start, language: str) -> None:
    async with start(max_continuations=1, **QUICK) as service:
        whole_section, short = writing(), cut_short("max_tokens", 150)
        service.claude.default = lambda body: (short if section_of(body) == "Part 2" else whole_section)(body)
        topic_id = await service.topic("Title", plan=plan(3), language=language)

        await service.generate(topic_id, mode=SECTIONS)
        status = await service.ended(topic_id)

        assert status["status"] == "completed"
        first, second, third = (await report(service, topic_id)).split("\n\n## ")[1:]
        assert (first, third) == (f"Part 1\n\n{sentences('Part 1')}", f"Part 3\n\n{sentences('Part 3')}\n")
        written, _, notice = second.rpartition("\n\n")
        assert written == f"Part 2\n\n{sentences('Part 2')[:300].rstrip()}"
        assert notice.startswith(SECTION_NOTICES[language])
        assert (await artifact(service, topic_id))["partial"] is True
        assert len(calls_for(service.claude, "Part 2")) == 2


async def test_a_partial_section_makes_the_report_partial_though_the_server_was_started_again(start: Start) -> None:
    async with start(max_continuations=0, **QUICK) as service:
        held = writing({"Part 2": [Script(hold=trio.Event(), hold_at=10)]})
        short = cut_short("max_tokens", 150)
        service.claude.default = lambda body: (short if section_of(body) == "Part 1" else held)(body)
        topic_id = await service.topic("Title", plan=plan(2))
        await service.generate(topic_id, mode=SECTIONS)
        await service.wait_for(topic_id, lambda status: status["sections_done"] == 1)
        await service.shut_down()

    async with start(**QUICK) as service:
        service.claude.default = writing()
        await service.ended(topic_id)

        assert (await artifact(service, topic_id))["partial"] is True


async def test_a_report_that_fills_the_window_is_partial_where_no_continuation_fits(start: Start) -> None:
    async with start(**QUICK) as service:
        first = cut_short("model_context_window_exceeded", 400)
        too_long = Script.error(400, "invalid_request_error", "prompt is too long")
        service.claude.default = lambda body: too_long if written_in(body) else first(body)
        topic_id = await service.topic(language="en")

        await service.generate(topic_id)
        status = await service.ended(topic_id)

        assert (status["status"], len(service.claude.calls)) == ("completed", 2)
        assert (await report(service, topic_id)).startswith(TEXT[:400].rstrip() + "\n\n> This report ends here:")
        assert (await artifact(service, topic_id))["partial"] is True


async def test_a_window_that_is_full_before_any_text_leaves_no_report_of_a_notice_alone(start: Start) -> None:
    async with start(**QUICK) as service:
        full = Script(text="", stop_reason="model_context_window_exceeded")
        too_long = Script.error(400, "invalid_request_error", "prompt is too long")
        service.claude.default = writing({"A topic": [full, too_long]})
        topic_id = await service.topic()

        await service.generate(topic_id)
        status = await service.ended(topic_id)

        assert (status["status"], status["error_code"]) == ("failed", "claude_request")
        assert len(service.claude.calls) == 2


# Refused.


@pytest.mark.parametrize("mode", [SINGLE, SECTIONS])
@pytest.mark.parametrize("text", ["", "# Something\n\nThat is begun and then declined, after some words."])
async def test_a_refusal_drops_the_text_and_fails(start: Start, text: str, mode: str) -> None:
    async with start(**QUICK) as service:
        service.claude.default = Script.refusal(text)
        topic_id = await service.topic(plan=plan(3))

        await service.generate(topic_id, mode=mode)
        status = await service.ended(topic_id)

        assert (status["status"], status["error_code"]) == ("failed", "refused")
        assert (status["error_message"], status["retryable"]) == ("Claude declined to write this report", False)
        assert status["artifact_id"] is None
        assert await texts_of(service, topic_id) == 0
        assert service.files() == []
        assert {row["stop_reason"] for row in await ledger(service, topic_id)} <= {"refusal", None}


@pytest.mark.parametrize("mode", [SINGLE, SECTIONS])
async def test_a_refusal_late_in_the_report_drops_what_was_kept_of_all_of_it(start: Start, mode: str) -> None:
    refusal = Script(stop_reason="refusal", pieces=3)
    async with start(**QUICK) as service:
        service.claude.default = writing(
            {"A topic": [Script(fault=Fault.CUT, at=30), refusal], "Part 3": [Script(fault=Fault.CUT, at=30), refusal]}
        )
        topic_id = await service.topic(plan=plan(3))

        await service.generate(topic_id, mode=mode)
        status = await service.ended(topic_id)

        assert (status["status"], status["error_code"]) == ("failed", "refused")
        assert await texts_of(service, topic_id) == 0


async def test_what_was_refused_begins_anew_when_it_is_resumed(start: Start) -> None:
    async with start(**QUICK) as service:
        service.claude.default = writing({"A topic": [Script(stop_reason="refusal")]})
        topic_id = await service.topic()
        await service.generate(topic_id)
        await service.ended(topic_id)

        await service.generate(topic_id, resume=True)
        await service.ended(topic_id)

        assert written_in(service.claude.calls[-1].body) == ""
        assert await report(service, topic_id) == TEXT


# Thinking.


@pytest.mark.parametrize("mode", [SINGLE, SECTIONS])
async def test_while_claude_thinks_the_phase_says_so(start: Start, mode: str) -> None:
    script = Script(thinking=3, hold=trio.Event(), hold_at=0)
    async with start(**QUICK) as service:
        service.claude.default = writing(base=script)
        topic_id = await service.topic("Title", plan=plan(2))

        await service.generate(topic_id, mode=mode)
        thinking = await service.wait_until(topic_id, "generating", phase="thinking")
        assert script.hold is not None
        script.hold.set()
        await service.ended(topic_id)

        assert thinking["characters"] == 0
        assert await report(service, topic_id) == (TEXT if mode == SINGLE else whole("Title", 2))


async def test_thoughts_are_no_part_of_the_report_nor_of_what_is_gone_on_from(start: Start) -> None:
    async with start(**QUICK) as service:
        thinks = Script(thinking=3, fault=Fault.CUT, at=20)
        service.claude.default = writing({"A topic": [thinks]}, base=Script(thinking=2))
        topic_id = await service.topic()

        await service.generate(topic_id)
        await service.ended(topic_id)

        assert "Considering" not in written_in(service.claude.calls[1].body)
        assert await report(service, topic_id) == TEXT


async def test_a_call_that_breaks_off_while_claude_thinks_is_tried_again(start: Start) -> None:
    async with start(**QUICK) as service:
        service.claude.default = writing({"A topic": [Script(thinking=3, fault=Fault.CUT, at=0)]})
        topic_id = await service.topic()

        await service.generate(topic_id)
        status = await service.ended(topic_id)

        assert (status["status"], status["attempt"]) == ("completed", 2)
        assert await kept(service, topic_id) == []

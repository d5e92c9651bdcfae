"""Text-level resume: what was written is never asked for again, and the report is whole without a gap or a repeat."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio

from app.directory import REPORTS
from app.settings import Settings
from tests.claude import BEFORE_MESSAGE, FakeClaude, Fault, Script, numbered_text, sentence_numbers
from tests.forked import forked
from tests.reports import (
    QUICK,
    SENTENCES,
    SILENT,
    TEXT,
    calls_for,
    cancel,
    kept,
    plan,
    report,
    sentences,
    texts_of,
    topic_of,
    whole,
    writing,
    written_in,
)
from tests.service import ADMIN_TOKEN, Service, http_client, running

Start = Callable[..., AbstractAsyncContextManager[Service]]

SINGLE, SECTIONS = "single", "sections"


@pytest.fixture
def quietly(claude: FakeClaude, settings: Callable[..., Settings]) -> Start:
    """Start a service as `start` does, without a watch over the loop: for hundreds of calls at once."""
    return lambda **more: running(claude, settings(**more))


BREAKS = {
    "cut": Script(fault=Fault.CUT),
    "reset": Script(fault=Fault.RESET),
    "malformed": Script(fault=Fault.MALFORMED),
    "bad UTF-8": Script(fault=Fault.BAD_UTF8),
    "half a character": Script(fault=Fault.HALF_CHARACTER),
    "error event": Script.error_event("api_error", "Internal"),
    "overloaded": Script.error_event("overloaded_error", "Overloaded"),
    "clean end": Script(fault=Fault.CLEAN_END),
    "silence": Script(fault=Fault.SILENCE),
}
"""Whatever may break a stream off; `at` is set by the test."""

BEFORE_TEXT, FIRST, MIDDLE, TEXT_END, LAST = BEFORE_MESSAGE, 1, 5, 10, 12
"""Places of a stream of ten deltas: before `message_start`, after one delta, …, before `message_stop`."""

PLACES = (BEFORE_TEXT, 0, FIRST, MIDDLE, TEXT_END, LAST)
PAIRS_OF_PLACES = [(BEFORE_TEXT, LAST), (MIDDLE, FIRST), (LAST, BEFORE_TEXT), (FIRST, MIDDLE), (TEXT_END, 0)]

Break = tuple[str, int]
PAIRS = [
    ((first, places[0]), (second, places[1]))
    for row, first in enumerate(BREAKS)
    for column, second in enumerate(BREAKS)
    for places in PAIRS_OF_PLACES[(row + column) % 5 :][:1]
]
"""Every pair of breaks, each in its own call, at places that change from pair to pair."""


def breaking(name: str, at: int) -> Script:
    return replace(BREAKS[name], at=at, pieces=10)


def survives(*breaks: Break) -> bool:
    """Tell whether these are resumed: neither silence before any text, nor silence right after silence."""
    names, places = zip(*breaks, strict=True)
    return not (names[0] == "silence" and places[0] <= 0) and not (names == ("silence",) * 2 and places[1] <= 0)


def attempts(*breaks: Break) -> int:
    """Return how many attempts these use up: `overloaded` before any text uses up none."""
    return sum(not (name == "overloaded" and at <= 0) for name, at in breaks)


def settings_for(*names: str) -> dict[str, float]:
    return SILENT if "silence" in names else QUICK


@pytest.mark.parametrize("name", BREAKS)
async def test_a_report_goes_on_from_where_the_stream_broke(start: Start, name: str) -> None:
    places = [at for at in PLACES if survives((name, at))]
    async with start(**settings_for(name)) as service:
        service.claude.default = writing({f"At {at}": [breaking(name, at)] for at in places})
        topic_ids = {at: await service.topic(f"At {at}") for at in places}

        for topic_id in topic_ids.values():
            await service.generate(topic_id)

        for at, topic_id in topic_ids.items():
            status = await service.ended(topic_id)
            assert (status["status"], status["attempt"]) == ("completed", 1 + attempts((name, at)))
            assert sentence_numbers(await report(service, topic_id)) == list(range(1, SENTENCES + 1))
            assert await report(service, topic_id) == TEXT


@pytest.mark.parametrize("name", BREAKS)
async def test_sections_go_on_from_where_their_streams_broke(start: Start, name: str) -> None:
    places = [at for at in PLACES if survives((name, at))]
    async with start(**settings_for(name)) as service:
        service.claude.default = writing({f"Part {n}": [breaking(name, at)] for n, at in enumerate(places, 1)})
        topic_id = await service.topic("Title", plan=plan(len(places)))

        await service.generate(topic_id, mode=SECTIONS)
        status = await service.ended(topic_id)

        assert status["status"] == "completed"
        assert status["attempt"] == 1 + sum(attempts((name, at)) for at in places)
        assert await report(service, topic_id) == whole("Title", len(places))


@pytest.mark.parametrize("silent", [False, True])
async def test_a_report_survives_every_pair_of_breaks(quietly: Start, silent: bool) -> None:
    pairs = [pair for pair in PAIRS if survives(*pair) and silent == ("silence" in dict(pair))]
    names = {f"{pair}": [breaking(*one) for one in pair] for pair in pairs}
    async with quietly(max_per_user=100, **(SILENT if silent else QUICK)) as service:
        service.claude.default = writing(names)
        topic_ids = {name: await service.topic(name) for name in names}

        for topic_id in topic_ids.values():
            await service.generate(topic_id)

        for name, topic_id in topic_ids.items():
            status = await service.ended(topic_id)
            assert (status["status"], name) == ("completed", name)
            assert await report(service, topic_id) == TEXT, name
            assert len(calls_for(service.claude, name)) == 3, name


@pytest.mark.parametrize("silent", [False, True])
async def test_sections_survive_every_pair_of_breaks(quietly: Start, silent: bool) -> None:
    pairs = [pair for pair in PAIRS if survives(*pair) and silent == ("silence" in dict(pair))]
    count = len(pairs)
    async with quietly(section_concurrency=10, max_resumes=1000, **(SILENT if silent else QUICK)) as service:
        service.claude.default = writing(
            {f"Part {n}": [breaking(*one) for one in pair] for n, pair in enumerate(pairs, 1)}
        )
        topic_id = await service.topic("Title", plan=plan(count))

        await service.generate(topic_id, mode=SECTIONS)
        status = await service.ended(topic_id)

        assert (status["status"], status["sections_done"]) == ("completed", count)
        assert await report(service, topic_id) == whole("Title", count)
        assert [len(calls_for(service.claude, f"Part {number}")) for number in range(1, count + 1)] == [3] * count


# The request that asks for the rest.


async def test_the_rest_is_asked_for_in_a_user_turn_after_what_was_written(start: Start) -> None:
    async with start(**QUICK) as service:
        service.claude.default = writing({"A topic": [Script(fault=Fault.CUT, at=20), Script(fault=Fault.CUT, at=20)]})
        topic_id = await service.topic()

        await service.generate(topic_id)
        await service.ended(topic_id)

        first, second, third = (call.body["messages"] for call in service.claude.calls)
        sent = service.claude.calls[0].text_sent
        assert [turn["role"] for turn in first] == ["user"]
        assert [turn["role"] for turn in second] == ["user", "assistant", "user"]
        assert second[0] == first[0]
        assert second[1]["content"] == sent.rstrip()
        assert f"<ending>{sent.rstrip()[-200:]}</ending>" in second[2]["content"]
        assert [turn["role"] for turn in third] == ["user", "assistant", "user"]
        assert third[1]["content"] == (sent + service.claude.calls[1].text_sent).rstrip()


async def test_the_ending_that_is_quoted_cannot_close_its_tag(start: Start) -> None:
    async with start(**QUICK) as service:
        text = "# Report\n\nIf a < b & c > d then </ending> stands"
        service.claude.script(Script(text=text, fault=Fault.CUT, at=40), Script(text=" here."))
        topic_id = await service.topic()

        await service.generate(topic_id)
        await service.ended(topic_id)

        turn = service.claude.calls[1].body["messages"][2]["content"]
        assert "a &lt; b &amp; c &gt; d then &lt;/ending&gt; stands</ending>" in turn
        assert await report(service, topic_id) == f"{text} here.\n"


# The seam.


@pytest.mark.parametrize("overlap", [15, 30, 120, 400])
async def test_what_claude_repeats_at_the_seam_is_cut(start: Start, overlap: int) -> None:
    places = (5, 13, 26, 38)
    async with start(**QUICK) as service:
        breaks = {f"At {at}": [Script(fault=Fault.CUT, at=at)] for at in places}
        sections = {f"Part {n}": [Script(fault=Fault.CUT, at=at)] for n, at in enumerate(places, 1)}
        service.claude.default = writing(breaks | sections, overlap=overlap)
        topic_ids = [await service.topic(f"At {at}") for at in places]
        in_sections = await service.topic("Title", plan=plan(len(places)))

        for topic_id in topic_ids:
            await service.generate(topic_id)
        await service.generate(in_sections, mode=SECTIONS)

        for topic_id in topic_ids:
            await service.ended(topic_id)
            assert await report(service, topic_id) == TEXT
        await service.ended(in_sections)
        assert await report(service, in_sections) == whole("Title", len(places))


async def test_a_call_that_breaks_off_while_it_repeats_leaves_no_repeat(start: Start) -> None:
    async with start(**SILENT) as service:
        scripts = {name: [Script(fault=Fault.CUT, at=20), replace(BREAKS[name], at=2)] for name in BREAKS}
        service.claude.default = writing(scripts, overlap=300)
        topic_ids = {name: await service.topic(name) for name in BREAKS}

        for topic_id in topic_ids.values():
            await service.generate(topic_id)

        for name, topic_id in topic_ids.items():
            await service.ended(topic_id)
            assert await report(service, topic_id) == TEXT, name


BEFORE = "# Report\n\n## One\n\nThe first sentence stands here. 두 번째 문장이다. The inter"
TABLE = "| a | b |\n| - | - |"
JOINTS = {
    "inside a word": (BEFORE, "national law", f"{BEFORE}national law"),
    "the word again": (BEFORE, "international law", f"{BEFORE}national law"),
    "other white space first": (BEFORE, "\n\nThe international law", f"{BEFORE}national law"),
    "a sentence and a half": (BEFORE, "두 번째 문장이다. The international law", f"{BEFORE}national law"),
    "all from the start": (BEFORE, f"{BEFORE}national law", f"{BEFORE}national law"),
    "a space for a paragraph": ("One.\n\n", " Two.", "One.\n\nTwo."),
    "a line for a space": ("One. ", "\nTwo.", "One.\nTwo."),
    "nothing for a space": ("One. ", "Two.", "One. Two."),
    "a heading at once": ("One.", "## Two\n\nThree.", "One.\n\n## Two\n\nThree."),
    "inside the mark of a heading": ("One.\n\n#", "# Two\n\nThree.", "One.\n\n## Two\n\nThree."),
    "a number sign": ("See issue ", "#12 for more.", "See issue #12 for more."),
    "a name with a number sign": ("Written in C", "# is this.", "Written in C# is this."),
    "an empty line in a table": (f"{TABLE}\n", "\n\n| 1 | 2 |", f"{TABLE}\n| 1 | 2 |"),
    "no line in a table": (TABLE, "| 1 | 2 |", f"{TABLE}\n| 1 | 2 |"),
    "a table after another": (f"{TABLE}\n\n", "| c | d |", f"{TABLE}\n\n| c | d |"),
    "inside a row": (f"{TABLE}\n| 1", " | 2 |\n| 3 | 4 |", f"{TABLE}\n| 1 | 2 |\n| 3 | 4 |"),
    "the row again": (f"{TABLE}\n| 1 | 2", "| 1 | 2 |\n", f"{TABLE}\n| 1 | 2 |"),
}
"""A text that breaks off, what Claude writes when it is asked to go on, and what is to come of both."""


async def test_a_continuation_is_joined_where_the_text_broke_off(start: Start) -> None:
    left = {
        name: [Script(text=before, pieces=len(before), fault=Fault.CUT, at=len(before)), Script(text=continuation)]
        for name, (before, continuation, _) in JOINTS.items()
    }
    async with start(**QUICK) as service:
        service.claude.default = lambda body: left[topic_of(body)].pop(0)
        topic_ids = {name: await service.topic(name) for name in JOINTS}

        for topic_id in topic_ids.values():
            await service.generate(topic_id)

        for name, topic_id in topic_ids.items():
            await service.ended(topic_id)
            assert (name, await report(service, topic_id)) == (name, f"{JOINTS[name][2]}\n")


async def test_the_seams_are_recorded_in_code_points(start: Start) -> None:
    text = "# 보고서\n\n" + " ".join(f"문장 {number}번 👩‍👩‍👧 입니다." for number in range(60))
    never = trio.Event()
    async with start(**QUICK) as service:
        breaks = [Script(text=text, fault=Fault.CUT, at=17)]
        service.claude.script(*breaks)
        topic_id = await service.topic()
        first = "".join(Script(text=text).cut[:17]).rstrip()
        rest = text[len(first) - 20 :]
        service.claude.script(Script(text=rest, fault=Fault.RESET, at=19))
        second = (first[:-20] + "".join(Script(text=rest).cut[:19])).rstrip()
        service.claude.script(Script(text=text[len(second) :], hold=never, hold_at=30))

        await service.generate(topic_id)
        await service.wait_for(topic_id, lambda status: status["characters"] > len(second) + 200)
        await service.shut_down()
        (strand,) = await kept(service, topic_id)

        assert strand["seams"] == f"{len(first)},{len(second)}"
        assert text.startswith(strand["text"])
        assert len(strand["text"]) > len(second) + 200


# The end of patience, and what comes after it.


def has_more_than(characters: int) -> Callable[[dict[str, Any]], bool]:
    return lambda status: bool(status["characters"] > characters)


@pytest.mark.parametrize(
    ("script", "code", "message"),
    [
        (Script(fault=Fault.CUT, at=0), "claude_stream", "Claude API stream broke off"),
        (Script(text="", stop_reason="max_tokens"), "claude_stream", "Claude API stream broke off"),
        (Script(stop_reason="tool_use", text=""), "claude_stream", "Claude API stream broke off"),
        (Script.error(500, "api_error", "Internal"), "claude_unavailable", "Claude API unavailable: 500 Internal"),
    ],
)
async def test_after_so_many_calls_in_a_row_without_new_text_the_report_fails_and_its_text_is_kept(
    start: Start, script: Script, code: str, message: str
) -> None:
    async with start(max_attempts=3, **QUICK) as service:
        service.claude.default = writing({"A topic": [Script(fault=Fault.CUT, at=20), *[script] * 3]})
        topic_id = await service.topic()

        await service.generate(topic_id)
        status = await service.ended(topic_id)

        assert (status["status"], status["error_code"], status["error_message"]) == ("failed", code, message)
        assert (status["retryable"], status["attempt"]) == (True, 4)
        assert len(service.claude.calls) == 4
        (strand,) = await kept(service, topic_id)
        assert strand["text"] == service.claude.calls[0].text_sent.rstrip()
        assert status["characters"] == len(strand["text"])


async def test_a_call_that_brings_text_starts_the_count_of_barren_ones_again(start: Start) -> None:
    async with start(max_attempts=2, **QUICK) as service:
        barren, fruitful = Script(fault=Fault.CUT, at=0), Script(fault=Fault.CUT, at=10)
        short = Script(stop_reason="max_tokens")
        scripts = [fruitful, barren, fruitful, barren, short, barren]
        service.claude.default = writing({"A topic": scripts})
        topic_id = await service.topic()

        await service.generate(topic_id)
        status = await service.ended(topic_id)

        assert status["status"] == "completed"
        assert await report(service, topic_id) == TEXT


async def test_after_so_many_resumes_in_all_the_report_fails_and_its_text_is_kept(start: Start) -> None:
    async with start(max_resumes=5, max_attempts=2, **QUICK) as service:
        service.claude.default = writing(base=Script(fault=Fault.CUT, at=3))
        topic_id = await service.topic()

        await service.generate(topic_id)
        status = await service.ended(topic_id)

        assert (status["status"], status["error_code"]) == ("failed", "claude_stream")
        assert (len(service.claude.calls), status["attempt"]) == (6, 6)
        (strand,) = await kept(service, topic_id)
        assert strand["text"] == "".join(call.text_sent for call in service.claude.calls).rstrip()


async def test_restarts_count_as_resumes_too(start: Start) -> None:
    topic_id, stood = 0, 0
    for _ in range(3):
        async with start(max_resumes=2, **QUICK) as service:
            service.claude.default = writing(base=Script(hold=trio.Event(), hold_at=3))
            if not topic_id:
                topic_id = await service.topic()
                await service.generate(topic_id)
            stood = (await service.wait_for(topic_id, has_more_than(stood)))["characters"]
            await service.shut_down()

    async with start(max_resumes=2, **QUICK) as service:
        status = await service.ended(topic_id)

        assert (status["status"], status["error_code"]) == ("failed", "claude_stream")
        (strand,) = await kept(service, topic_id)
        assert TEXT.startswith(strand["text"])
        assert len(strand["text"]) >= stood


async def test_silence_before_any_text_fails_at_once(start: Start) -> None:
    silences = [
        Script(fault=Fault.SILENCE_BEFORE_HEADERS),
        Script(fault=Fault.SILENCE, at=BEFORE_TEXT),
        Script(fault=Fault.SILENCE, at=0),
    ]
    async with start(**SILENT) as service:
        service.claude.default = writing({f"Topic {number}": [script] for number, script in enumerate(silences)})
        topic_ids = [await service.topic(f"Topic {number}", plan=plan(2)) for number in range(len(silences))]

        for topic_id in topic_ids:
            await service.generate(topic_id)

        for topic_id in topic_ids:
            status = await service.ended(topic_id)
            assert (status["status"], status["error_code"]) == ("failed", "claude_timeout")
            assert (status["error_message"], status["retryable"]) == ("Claude API timeout", True)
            assert status["attempt"] == 1
        assert len(service.claude.calls) == len(silences)


@pytest.mark.parametrize("mode", [SINGLE, SECTIONS])
async def test_silence_in_mid_report_is_resumed_and_fails_when_the_next_call_is_silent_too(
    start: Start, mode: str
) -> None:
    silences = [Script(fault=Fault.SILENCE, at=10), Script(fault=Fault.SILENCE_BEFORE_HEADERS)]
    async with start(**SILENT) as service:
        service.claude.default = writing({"A topic": silences, "Part 1": silences})
        topic_id = await service.topic(plan=plan(2))

        await service.generate(topic_id, mode=mode)
        status = await service.ended(topic_id)

        assert (status["status"], status["error_code"]) == ("failed", "claude_timeout")
        assert (status["attempt"], status["retryable"]) == (2, True)
        assert (await kept(service, topic_id))[0]["text"].endswith(service.claude.calls[0].text_sent.rstrip())


async def test_silence_that_is_not_the_last_thing_that_happened_is_forgiven(start: Start) -> None:
    silence = Script(fault=Fault.SILENCE, at=10)
    more = [Script(fault=Fault.CUT, at=0), Script(fault=Fault.CUT, at=5), Script(stop_reason="pause_turn", pieces=3)]
    async with start(**SILENT) as service:
        scripts = {f"Then {number}": [silence, one, replace(silence, at=0)] for number, one in enumerate(more)}
        service.claude.default = writing(scripts | {"Then text": [silence, silence, silence]})
        topic_ids = [await service.topic(name) for name in (*scripts, "Then text")]

        for topic_id in topic_ids:
            await service.generate(topic_id)

        for topic_id in topic_ids:
            assert (await service.ended(topic_id))["status"] == "completed"
            assert await report(service, topic_id) == TEXT


async def test_pings_are_no_silence(start: Start) -> None:
    async with start(**(QUICK | {"claude_timeout": 1.0})) as service:
        service.claude.default = Script(text=TEXT, hold=trio.Event(), hold_at=20, ping_seconds=0.1)
        topic_id = await service.topic()

        await service.generate(topic_id)
        call = await service.claude.next_call()
        await call.held.wait()
        with trio.move_on_after(1.6):
            await call.gone.wait()

        assert not call.gone.is_set()
        assert (await service.status(topic_id))["attempt"] == 1


# Restarts.


@pytest.mark.parametrize("mode", [SINGLE, SECTIONS])
async def test_a_restart_goes_on_from_what_was_written(start: Start, mode: str) -> None:
    parts = [f"Part {number}" for number in range(1, 4)]
    async with start(**QUICK) as service:
        held = {key: [Script(hold=trio.Event(), hold_at=20)] for key in ("A topic", *parts)}
        service.claude.default = writing(held)
        topic_id = await service.topic(plan=plan(3))
        await service.generate(topic_id, mode=mode)
        for _ in range(1 if mode == SINGLE else 3):
            await (await service.claude.next_call()).sent_deltas(20)
        sent = sum(len(call.text_sent) for call in service.claude.calls)
        await service.wait_for(topic_id, lambda status: status["characters"] >= sent - 20)
        await service.shut_down()
    before = len(service.claude.calls)

    async with start(**QUICK) as service:
        status = await service.ended(topic_id)

        assert (status["status"], status["attempt"]) == ("completed", 2)
        assert await report(service, topic_id) == (TEXT if mode == SINGLE else whole("A topic", 3))
        again = sum(len(call.text_sent) for call in service.claude.calls[before:])
        assert sent + again <= len(TEXT if mode == SINGLE else "".join(map(sentences, parts)))


async def test_a_kill_loses_nothing_that_was_kept(start: Start, tmp_path: Path) -> None:
    async with start(**QUICK) as service:
        settings, claude = service.settings, service.claude
    held = {key: [Script(hold=trio.Event(), hold_at=20)] for key in ("In one", "Part 1", "Part 2")}
    claude.default = writing(held)
    async with (
        http_client({"Authorization": f"Bearer {ADMIN_TOKEN}"}) as http,
        forked(settings, tmp_path / "log") as server,
    ):
        http.base_url = httpx2.URL(server.url)
        there = Service(server.url, settings, claude, http)
        in_one, in_sections = await there.topic("In one"), await there.topic("In sections", plan=plan(2))
        await there.generate(in_one)
        await there.generate(in_sections, mode=SECTIONS)
        stood: list[str] = []
        with trio.fail_after(10):
            while len(stood) < 3 or min(map(len, stood)) < 300:
                stood = [row["text"] for topic_id in (in_one, in_sections) for row in await kept(there, topic_id)]
        await server.kill()
    before = len(claude.calls)

    async with start(**QUICK) as service:
        statuses = [await service.ended(topic_id) for topic_id in (in_one, in_sections)]

        assert [(status["status"], status["attempt"]) for status in statuses] == [("completed", 2)] * 2
        assert await report(service, in_one) == TEXT
        assert await report(service, in_sections) == whole("In sections", 2)
        asked = [written_in(call.body) for call in claude.calls[before:]]
        assert all(any(turn.startswith(text) for turn in asked) for text in stood)


# Resuming what has failed or was cancelled.


async def failed(service: Service, mode: str = SINGLE, **more: str) -> int:
    """Let a report fail in its middle and return its topic."""
    service.claude.default = writing(base=Script(fault=Fault.CUT, at=10))
    topic_id = await service.topic("The topic", plan=plan(3), **more)
    await service.generate(topic_id, mode=mode)
    status = await service.ended(topic_id)
    assert (status["status"], status["error_code"]) == ("failed", "claude_stream")
    return topic_id


@pytest.mark.parametrize("mode", [SINGLE, SECTIONS])
async def test_a_failed_report_is_resumed_from_its_text(start: Start, mode: str) -> None:
    async with start(max_resumes=2, **QUICK) as service:
        topic_id = await failed(service, mode)
        before = len(service.claude.calls)
        stood = {row["section"]: row["text"] for row in await kept(service, topic_id)}
        service.claude.default = writing()

        data = await service.generate(topic_id, resume=True)
        status = await service.ended(topic_id)

        assert data["generation_id"] == status["generation_id"]
        assert (status["status"], status["attempt"]) == ("completed", 1)
        assert await report(service, topic_id) == (TEXT if mode == SINGLE else whole("The topic", 3))
        asked = [written_in(call.body) for call in service.claude.calls[before:]]
        assert set(stood.values()) <= set(asked)
        history = (await service.http.get(f"/api/topics/{topic_id}/generations")).json()["data"]
        assert [one["status"] for one in history] == ["completed", "failed"]


@pytest.mark.parametrize("mode", [SINGLE, SECTIONS])
@pytest.mark.parametrize("keep_partial", [False, True])
async def test_a_cancelled_report_is_resumed_from_its_text(start: Start, mode: str, keep_partial: bool) -> None:
    async with start(**QUICK) as service:
        hold = Script(hold=trio.Event(), hold_at=20)
        service.claude.default = writing({"The topic": [hold], "Part 1": [hold]})
        topic_id = await service.topic("The topic", plan=plan(3))
        await service.generate(topic_id, mode=mode)
        await service.wait_for(topic_id, has_more_than(300))
        await cancel(service, topic_id, keep_partial=keep_partial)
        before, sent = len(service.claude.calls), service.claude.calls[0].text_sent

        await service.generate(topic_id, resume=True)
        status = await service.ended(topic_id)

        assert status["status"] == "completed"
        assert await report(service, topic_id) == (TEXT if mode == SINGLE else whole("The topic", 3))
        assert any(sent[:300] in written_in(call.body) for call in service.claude.calls[before:])


async def test_a_resumed_report_keeps_its_words_though_the_topic_has_others_now(start: Start) -> None:
    async with start(max_resumes=2, **QUICK) as service:
        topic_id = await failed(service)
        patched = {"topic": "Another", "plan": "## Other", "language": "en"}
        assert (await service.http.patch(f"/api/topics/{topic_id}", json=patched)).status_code == 200
        first = service.claude.calls[0].body["messages"][0]
        service.claude.default = writing()

        await service.generate(topic_id, resume=True)
        status = await service.ended(topic_id)

        assert service.claude.calls[-1].body["messages"][0] == first
        assert await report(service, topic_id) == TEXT
        assert status["sections_total"] == 3
        topic = (await service.http.get(f"/api/topics/{topic_id}")).json()["data"]
        assert (topic["topic"], topic["plan"], topic["language"]) == ("Another", "## Other", "en")


async def test_a_resumed_report_that_fails_again_is_resumed_again(start: Start) -> None:
    async with start(max_resumes=2, **QUICK) as service:
        topic_id = await failed(service)
        await service.generate(topic_id, resume=True)
        await service.ended(topic_id)
        (strand,) = await kept(service, topic_id)
        service.claude.default = writing()

        await service.generate(topic_id, resume=True)
        await service.ended(topic_id)

        assert written_in(service.claude.calls[-1].body) == strand["text"]
        assert await report(service, topic_id) == TEXT
        assert await texts_of(service, topic_id) == 0


async def test_there_is_nothing_to_resume_before_the_first_report_nor_after_a_whole_one(start: Start) -> None:
    async with start(**QUICK) as service:
        service.claude.default = writing()
        topic_id = await service.topic()

        never = await service.http.post(f"/api/topics/{topic_id}/generate", json={"resume": True})
        await service.generate(topic_id)
        await service.ended(topic_id)
        completed = await service.http.post(f"/api/topics/{topic_id}/generate", json={"resume": True})

        for answer in (never, completed):
            assert (answer.status_code, answer.json()["code"]) == (409, "nothing_to_resume")
        assert len(service.claude.calls) == 1


async def test_what_still_runs_is_not_resumed(start: Start) -> None:
    async with start(**QUICK) as service:
        service.claude.default = Script(hold=trio.Event())
        topic_id = await service.topic()
        data = await service.generate(topic_id)

        answer = await service.http.post(f"/api/topics/{topic_id}/generate", json={"resume": True})

        assert (answer.status_code, answer.json()["code"]) == (409, "generation_in_progress")
        assert answer.json()["generation_id"] == data["generation_id"]


@pytest.mark.parametrize("words", [{"topic": "T"}, {"plan": "## P"}, {"instructions": "I"}, {"mode": "sections"}])
async def test_a_report_is_not_resumed_with_other_words(start: Start, words: dict[str, str]) -> None:
    async with start(max_resumes=1, **QUICK) as service:
        topic_id = await failed(service)

        answer = await service.http.post(f"/api/topics/{topic_id}/generate", json={"resume": True} | words)

        assert answer.status_code == 422
        assert [error["pointer"] for error in answer.json()["errors"]] == [f"/{name}" for name in words]
        assert (await service.status(topic_id))["status"] == "failed"
        assert await texts_of(service, topic_id) > 0


async def test_a_new_report_drops_the_text_of_the_one_that_failed(start: Start) -> None:
    async with start(max_resumes=1, **QUICK) as service:
        topic_id = await failed(service)
        service.claude.default = writing()

        await service.generate(topic_id)
        await service.ended(topic_id)

        assert written_in(service.claude.calls[-1].body) == ""
        assert await report(service, topic_id) == TEXT
        assert await texts_of(service, topic_id) == 0


def test_the_text_of_these_tests_shows_a_gap_and_a_repeat() -> None:
    assert sentence_numbers(TEXT) == list(range(1, SENTENCES + 1))
    assert numbered_text(SENTENCES) == TEXT


async def test_a_resumed_report_keeps_its_model_unless_another_is_named(start: Start) -> None:
    async with start(model="claude-first", models="claude-first,claude-other", **QUICK) as service:
        broken = [Script(fault=Fault.CUT, at=MIDDLE), Script.error(400, "invalid_request_error", "No.")]
        service.claude.default = writing({"A topic": broken * 2})
        topic_id = await service.topic()

        await service.generate(topic_id, model="claude-other")
        await service.ended(topic_id)
        await service.generate(topic_id, resume=True)
        kept_model = await service.ended(topic_id)
        await service.generate(topic_id, resume=True, model="claude-first")
        status = await service.ended(topic_id)

        assert (kept_model["model"], status["model"], status["status"]) == ("claude-other", "claude-first", "completed")
        assert [call.body["model"] for call in service.claude.calls] == ["claude-other"] * 4 + ["claude-first"]
        assert await report(service, topic_id) == TEXT


async def test_a_report_that_is_whole_is_saved_however_often_the_server_was_started(start: Start) -> None:
    async with start(max_resumes=1, **QUICK) as service:
        service.claude.default = writing()
        topic_id = await service.topic()
        in_the_way = service.settings.data_dir / REPORTS / str(topic_id)
        in_the_way.parent.mkdir(exist_ok=True)
        in_the_way.write_text("in the way of the topic's directory")
        await service.generate(topic_id)
        assert (await service.ended(topic_id))["error_code"] == "file_system"
        in_the_way.unlink()
        await service.shut_down()
        # As several kills just before the save would have left it.
        await service.rows(
            "UPDATE generations SET status = 'generating', error_code = NULL, completed_at = NULL, resumes = 5"
        )

    async with start(max_resumes=1, **QUICK) as service:
        assert (await service.ended(topic_id))["status"] == "completed"
        assert await report(service, topic_id) == TEXT
        assert len(service.claude.calls) == 1


@pytest.mark.parametrize("mode", [SINGLE, SECTIONS])
async def test_a_resumed_report_that_waits_in_the_queue_is_as_far_as_its_text(start: Start, mode: str) -> None:
    async with start(max_concurrent=1, **QUICK) as service:
        broken = [Script(fault=Fault.CUT, at=MIDDLE), Script.error(400, "invalid_request_error", "No.")]
        service.claude.default = writing({"A topic": broken, "Part 2": broken, "Other": [Script(hold=trio.Event())]})
        topic_id, other = await service.topic(plan=plan(2)), await service.topic("Other")
        await service.generate(topic_id, mode=mode)
        failed = await service.ended(topic_id)
        await service.generate(other)

        await service.generate(topic_id, resume=True)
        queued = await service.status(topic_id)
        _, cancelled = await cancel(service, topic_id, keep_partial=True)

        figures = ("characters", "sections_done", "progress_percent")
        assert (queued["status"], failed["characters"] > 0) == ("queued", True)
        assert [queued[name] for name in figures] == [failed[name] for name in figures]
        assert cancelled["characters"] == len(await report(service, topic_id)) - 1

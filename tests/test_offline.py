"""The built-in writer: what it composes, and how it is served through the SDK's own client."""

import re
from collections.abc import AsyncIterator
from dataclasses import fields
from itertools import pairwise
from typing import Any

import anyio
import httpx2
import pytest
import trio
from anthropic import AsyncAnthropic, NotFoundError
from anthropic.types import RawMessageStreamEvent
from hypothesis import given, settings
from hypothesis import strategies as st

from app import prompts, wire
from app.claude import _messages
from app.models import Generation
from app.offline import OfflineTransport, compose, draft_for, in_pieces
from app.prompts import Prompt, closing_prompt, report_prompt, section_prompt
from app.report import sections

OUTLINE = """\
# Lithium
Keep it short.

## Supply
Mines and refining.
- who owns < 10 % & who owns more

## Demand
## Outlook
"""


def a_generation(topic: str = "Lithium supply", plan: str = "", language: str = "en", **more: Any) -> Generation:
    blank: dict[str, Any] = {field.name: None for field in fields(Generation)}
    told = {"topic": topic, "plan": plan, "language": language, "model": "offline", "instructions": ""}
    return Generation(**(blank | told | more))


def a_brief(topic: str = "Lithium supply", plan: str = "", language: str = "en", instructions: str = "") -> str:
    return prompts.brief(a_generation(topic, plan, language, instructions=instructions))


def written_for(prompt: Prompt) -> str:
    """Return what the writer answers to a prompt as the facade sends it."""
    return draft_for(_messages(prompt))


def a_client(transport: OfflineTransport) -> AsyncAnthropic:
    http_client = httpx2.AsyncClient(transport=transport)
    return AsyncAnthropic(api_key="offline", base_url="http://offline.invalid", max_retries=0, http_client=http_client)


def asked(text: str) -> dict[str, Any]:
    return {
        "model": "offline",
        "max_tokens": 1000,
        "system": "Write.",
        "messages": [{"role": "user", "content": text}],
    }


@pytest.fixture
async def client() -> AsyncIterator[AsyncAnthropic]:
    async with a_client(OfflineTransport(first_after=0, pace=0)) as client:
        yield client


async def streamed(client: AsyncAnthropic, text: str) -> list[RawMessageStreamEvent]:
    async with await client.messages.create(**asked(text), stream=True) as stream:
        return [event async for event in stream]


def text_of(events: list[RawMessageStreamEvent]) -> str:
    deltas = (event.delta for event in events if event.type == "content_block_delta")
    return "".join(delta.text for delta in deltas if delta.type == "text_delta")


def test_a_draft_has_the_sections_of_the_outline_in_its_order() -> None:
    draft = compose(a_brief(plan=OUTLINE))

    assert draft.startswith("# Lithium supply\n\n> ")
    assert sections(draft) == sections(OUTLINE) == ["Supply", "Demand", "Outlook"]


def test_a_draft_uses_what_the_outline_says_under_each_heading() -> None:
    draft = compose(a_brief(plan=OUTLINE, instructions="For the board,\nin plain words."))

    supply = draft.split("## ")[1]
    assert "- Mines and refining\n- who owns < 10 % & who owns more\n" in supply
    assert "The request adds: Keep it short For the board, in plain words." in draft.split("## ", maxsplit=1)[0]


def test_an_outline_that_is_a_list_gives_each_item_its_section() -> None:
    draft = compose(a_brief(plan="1. 배경\n   - 왜 지금인가\n2. 전망", language="ko"))

    assert sections(draft) == ["배경", "전망"]
    assert "- 왜 지금인가\n" in draft


def test_an_outline_of_one_section_is_not_joined_to_itself() -> None:
    draft = compose(a_brief(plan="## Supply"))

    assert sections(draft) == ["Supply"]
    assert "This section is the whole report" in draft


@pytest.mark.parametrize(("language", "heading"), [("ko", "## 결론"), ("ko-KR", "## 결론"), ("en", "## Conclusion")])
def test_a_topic_without_an_outline_gets_sections_that_lead_to_a_conclusion(language: str, heading: str) -> None:
    draft = compose(a_brief(language=language))

    assert len(sections(draft)) == 5
    assert heading in draft
    assert 3000 <= len(draft.encode()) <= 6000


@pytest.mark.parametrize(
    ("language", "mark"), [("ko", "오프라인 초안"), ("en", "Offline draft"), ("fr", "Offline draft")]
)
def test_a_draft_says_at_its_top_that_it_was_made_offline(language: str, mark: str) -> None:
    title, notice, *_ = compose(a_brief(language=language)).split("\n\n")

    assert title == "# Lithium supply"
    assert notice.startswith(f"> **{mark}**")


def test_a_prompt_that_is_no_brief_gets_a_draft_too() -> None:
    assert compose("Tell me about\nlithium").startswith("# Tell me about lithium\n\n> ")


@settings(deadline=None)
@given(st.text(min_size=1), st.text(), st.text())
def test_any_brief_gives_the_same_well_formed_draft_each_time(topic: str, plan: str, instructions: str) -> None:
    text = a_brief(topic, plan, "ko", instructions)

    draft = compose(text)

    assert draft == compose(text)
    assert re.match(r"# .*\n\n> .+\n\n", draft)
    assert "".join(in_pieces(draft)) == draft


def test_each_section_that_is_asked_for_alone_is_the_drafts_without_its_heading() -> None:
    generation = a_generation(plan=OUTLINE + "\n## A & B <C>\n")
    whole = written_for(report_prompt(generation))
    headings = sections(generation.plan)

    bodies = [written_for(section_prompt(generation, heading)) for heading in headings]

    after_the_head = whole[whole.index("## Supply") :]
    assert after_the_head == "\n".join(
        f"## {heading}\n\n{body}" for heading, body in zip(headings, bodies, strict=True)
    )
    assert len(set(bodies)) == len(headings)


def test_a_closing_section_is_written_too() -> None:
    closing = written_for(closing_prompt(a_generation(plan=OUTLINE), "# Lithium supply"))

    assert len(closing) > 100
    assert sections(closing) == []


@given(st.data())
def test_a_draft_that_was_broken_off_is_gone_on_from_wherever_that_was(data: st.DataObject) -> None:
    prompt = report_prompt(a_generation(plan=OUTLINE))
    whole = written_for(prompt)
    written = whole[: data.draw(st.integers(1, len(whole) - 1))]

    assert written + written_for(prompt.after(written)) == whole


@given(st.data())
def test_a_section_that_was_broken_off_is_gone_on_from_under_the_heading_that_was_set(data: st.DataObject) -> None:
    prompt = section_prompt(a_generation(plan=OUTLINE), "Demand")
    whole = written_for(prompt)
    written = whole[: data.draw(st.integers(1, len(whole) - 1))]

    assert written + written_for(prompt.after(f"## Demand\n\n{written}")) == whole


async def test_a_stream_and_a_message_carry_the_same_draft(client: AsyncAnthropic) -> None:
    text = a_brief(plan=OUTLINE)

    events = await streamed(client, text)
    message = await client.messages.create(**asked(text))

    assert text_of(events) == compose(text)
    assert [block.text for block in message.content if block.type == "text"] == [compose(text)]
    assert message.model == "offline"
    assert message.stop_reason == "end_turn"


async def test_a_stream_is_framed_as_the_api_frames_it(client: AsyncAnthropic) -> None:
    response = await client.messages.with_raw_response.create(**asked(a_brief()), stream=True)
    lines = [line async for line in response.http_response.aiter_lines()]

    names = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    assert names[:3] == ["message_start", "content_block_start", "ping"]
    assert set(names[3:-3]) == {"content_block_delta"}
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.request_id


async def test_the_usage_counts_what_was_read_and_written(client: AsyncAnthropic) -> None:
    text = a_brief()

    events = await streamed(client, text)
    message = await client.messages.create(**asked(text))

    start = next(event.message.usage for event in events if event.type == "message_start")
    end = next(event.usage for event in events if event.type == "message_delta")
    assert start.input_tokens == end.input_tokens == wire.estimated_tokens(["Write.", text])
    assert (start.output_tokens, end.output_tokens) == (1, wire.estimated_tokens([compose(text)]))
    assert message.usage.output_tokens == end.output_tokens
    assert end.cache_read_input_tokens == end.cache_creation_input_tokens == 0


async def test_a_prompt_in_blocks_counts_as_one_in_plain_text(client: AsyncAnthropic) -> None:
    plain = asked(a_brief())
    blocks = {
        **plain,
        "system": [{"type": "text", "text": "Write.", "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": a_brief()}]}],
    }

    messages = [await client.messages.create(**body) for body in (plain, blocks)]

    assert messages[0].content == messages[1].content
    assert messages[0].usage == messages[1].usage


async def test_what_the_writer_does_not_serve_is_not_found(client: AsyncAnthropic) -> None:
    with pytest.raises(NotFoundError) as refused:
        await client.models.retrieve("offline")

    assert refused.value.type == "not_found_error"
    assert refused.value.request_id


@pytest.mark.parametrize("language", ["ko", "en"])
async def test_a_draft_is_paced_like_a_model(language: str, autojump_clock: trio.testing.MockClock) -> None:
    started = trio.current_time()
    times = []
    async with a_client(OfflineTransport()) as client:
        stream = await client.messages.create(**asked(a_brief(language=language)), stream=True)
        async for _ in stream:
            times.append(trio.current_time() - started)  # noqa: PERF401 the time is that of each event

    assert times[0] == pytest.approx(0.3)
    assert 5 <= times[-1] <= 8
    assert max(later - earlier for earlier, later in pairwise(times)) < 0.1


async def test_a_reader_may_leave_in_mid_stream(autojump_clock: trio.testing.MockClock) -> None:
    seen = 0
    async with a_client(OfflineTransport()) as client:
        with trio.CancelScope() as scope:
            async with await client.messages.create(**asked(a_brief()), stream=True) as stream:
                async for _ in stream:
                    seen += 1
                    if seen == 20:
                        scope.cancel()

    assert scope.cancelled_caught
    assert seen == 20


def test_the_writer_runs_on_asyncio_too() -> None:
    async def run() -> str:
        async with a_client(OfflineTransport(first_after=0, pace=0)) as client:
            return text_of(await streamed(client, a_brief()))

    assert anyio.run(run, backend="asyncio") == compose(a_brief())

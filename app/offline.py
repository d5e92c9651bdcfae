"""The built-in writer: serves in the place of Claude where there is no key, through the SDK's own client.

It knows nothing of the world and invents nothing: from topic and outline it lays out what each section is
to answer and on what grounds, and says at the top that it is such a draft.
"""

import json
import re
from collections.abc import AsyncIterator, Iterator
from html import unescape
from typing import Any, NamedTuple
from uuid import uuid4

import anyio
import httpx2

from app import wire
from app.models import Tokens
from app.phrases import ENGLISH, KOREAN, Phrases
from app.report import FENCE, SECTION

WORDS_A_DELTA = 3
LIST_ITEM = re.compile(r"^(?:[-*+]|\d+[.)])[ \t]+", re.MULTILINE)
MARK = re.compile(r"^[ \t]*(?:[-*+]|\d+[.)]|#+)[ \t]+")


class Section(NamedTuple):
    heading: str
    notes: list[str]


def compose(prompt_text: str) -> str:
    """Write a draft in Markdown for a brief made by `prompts.brief`: in Korean for `ko`, else in English."""
    phrases = KOREAN if tagged(prompt_text, "language").lower().split("-")[0] == "ko" else ENGLISH
    topic = one_line(tagged(prompt_text, "topic") or prompt_text[:200])
    preamble, sections = outlined(tagged(prompt_text, "outline"))
    remarks = one_line(" ".join([*preamble, tagged(prompt_text, "instructions")]))
    sections = sections or outlined(phrases.outline)[1]
    parts = [
        f"# {topic}",
        f"> {one_line(phrases.notice)}",
        one_line(phrases.introduction).format(topic=topic, count=len(sections)),
        *([phrases.remarks.format(remarks=remarks)] if remarks else []),
        *(part for number in range(len(sections)) for part in section_parts(sections, number, phrases)),
    ]
    return "\n\n".join(parts) + "\n"


def outlined(outline: str) -> tuple[list[str], list[Section]]:
    """Split an outline into what stands before its sections and the sections; fenced code is left out.

    A section is a `## ` heading with what follows; in an outline without any, a list item with what follows.
    """
    text = FENCE.sub("", outline)
    if not SECTION.search(text):
        text = LIST_ITEM.sub("## ", text)
    preamble, *rest = SECTION.split(text)
    sections = [Section(heading, notes(body)) for heading, body in zip(rest[::2], rest[1::2], strict=True)]
    return notes(re.sub(r"^# .*$", "", preamble, flags=re.MULTILINE)), sections


def notes(body: str) -> list[str]:
    """Return the lines of a text without their marks and closing stops, empty ones left out."""
    lines = (one_line(MARK.sub("", line)).rstrip(".:;。") for line in body.splitlines())
    return [line for line in lines if line]


def section_parts(sections: list[Section], number: int, phrases: Phrases) -> list[str]:
    """Return a section's heading and paragraphs."""
    heading, asked = sections[number]
    lead = place(number, len(sections), phrases).format(
        previous=sections[number - 1].heading, following=sections[(number + 1) % len(sections)].heading
    )
    bullets = "\n".join(f"- {note}" for note in asked)
    covered = [phrases.asked, bullets] if asked else [one_line(phrases.unasked)]
    test = in_turn(phrases.tests, number).format(point=asked[-1] if asked else heading)
    return [f"## {heading}", one_line(lead), *covered, f"{in_turn(phrases.grounds, number)} {test}"]


def place(number: int, count: int, phrases: Phrases) -> str:
    """Return the words that lead into a section, by where it stands."""
    if count == 1:
        return phrases.only
    if number == 0:
        return phrases.first
    return phrases.last if number == count - 1 else phrases.middle


def in_turn(paragraphs: str, number: int) -> str:
    texts = paragraphs.strip().split("\n\n")
    return one_line(texts[number % len(texts)])


def tagged(text: str, name: str) -> str:
    """Return what stands between two tags, its entities read back; an empty text where there are none."""
    found = re.search(rf"<{name}>(.*?)</{name}>", text, re.DOTALL)
    return unescape(found[1]).strip() if found else ""


def one_line(text: str) -> str:
    return " ".join(text.split())


def in_pieces(text: str) -> tuple[str, ...]:
    """Cut a text into pieces of a few words each, as a model streams it."""
    return tuple(re.findall(rf"\s*(?:\S+\s*){{1,{WORDS_A_DELTA}}}", text))


class OfflineTransport(httpx2.AsyncBaseTransport):
    """Answers the SDK's client as the Messages API does, with a draft made here. Runs on Trio and asyncio.

    `first_after` and `pace` are the seconds before the first event and before each delta.
    """

    def __init__(self, *, first_after: float = 0.3, pace: float = 0.035) -> None:
        self._first_after = first_after
        self._pace = pace

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        body = await request.aread()
        request_id = f"req_{uuid4().hex}"
        if (request.method, request.url.path) != ("POST", wire.MESSAGES_PATH):
            refused = wire.error("not_found_error", f"Not Found: {request.url.path}", request_id)
            return json_response(404, refused, request_id)
        order = json.loads(body)
        answer = answer_to(order)
        await anyio.sleep(self._first_after)
        if not order.get("stream"):
            return json_response(200, wire.message(answer), request_id)
        headers = wire.headers(request_id, stream=True)
        return httpx2.Response(200, headers=headers, stream=PacedStream(answer, self._pace))


class PacedStream(httpx2.AsyncByteStream):
    """The events of an answer as bytes. No generator: there is nothing to clean up when the reader leaves."""

    def __init__(self, answer: wire.Answer, pace: float) -> None:
        self._events: Iterator[wire.Event] = iter([*wire.opening(answer), *wire.deltas(answer), *wire.closing(answer)])
        self._pace = pace

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        event = next(self._events, None)
        if event is None:
            raise StopAsyncIteration
        if event["type"] == "content_block_delta":
            await anyio.sleep(self._pace)
        return wire.encode_event(event)


def answer_to(order: dict[str, Any]) -> wire.Answer:
    """Return the draft for a request, with its tokens estimated."""
    draft = draft_for(order["messages"])
    read = wire.estimated_tokens(wire.prompt_texts(order))
    tokens = Tokens(input=read, output=wire.estimated_tokens([draft]))
    return wire.Answer(f"msg_{uuid4().hex}", order["model"], in_pieces(draft), tokens)


def draft_for(turns: list[dict[str, Any]]) -> str:
    """Return what the turns ask for: the whole draft, one section of it, or the rest of either."""
    texts = ["\n\n".join(wire.content_texts(turn["content"])) for turn in turns]
    draft = compose(texts[0])
    if heading := one_line(tagged(texts[0], "section")):
        draft = section_body(draft, heading)
    written = texts[1] if len(texts) > 2 else ""
    return draft.removeprefix(written) if draft.startswith(written) else after_heading(draft, written)


def section_body(draft: str, heading: str) -> str:
    """Return what stands in a draft under a heading; the last section where there is none of this name."""
    preamble, *rest = SECTION.split(draft)
    bodies = dict(zip(map(one_line, rest[::2]), rest[1::2], strict=True))
    return bodies.get(heading, rest[-1] if rest else preamble).strip() + "\n"


def after_heading(body: str, written: str) -> str:
    """Return what of a section's body is not written yet, under the heading that was set for it."""
    _, _, begun = written.partition("\n\n")
    return body.removeprefix(begun) if begun else body


def json_response(status: int, body: dict[str, Any], request_id: str) -> httpx2.Response:
    headers = wire.headers(request_id, stream=False)
    return httpx2.Response(status, headers=headers, content=wire.encode_json(body))

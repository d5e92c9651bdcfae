"""Reports of numbered sentences: how the stand-in writes them, call by call, and what came of them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import unescape
from typing import Any

import trio

from tests.claude import Call, Chooser, FakeClaude, Script, continuing, numbered_text
from tests.service import Service

QUICK = {"backoff_seconds": 0.01, "checkpoint_seconds": 0.05, "max_retry_after": 0.05}
SILENT = QUICK | {"claude_timeout": 0.75}
"""Settings under which nothing waits for long; of them the second where the stand-in falls silent."""

SENTENCES = 60
TEXT = numbered_text(SENTENCES)
BRIEF = "# In short\n\nIt ends before it began.\n"
ENDING = "\n\n## The end\n\nIt was ended early.\n"
"""What the stand-in writes when a report is to end now, before and after there is text."""

Body = dict[str, Any]


def sentences(part: str, count: int = 20) -> str:
    """Return the body of a section."""
    return " ".join(f"Sentence {number} of {part} stands here." for number in range(1, count + 1))


def plan(count: int) -> str:
    return "\n\n".join(f"## Part {number}" for number in range(1, count + 1))


def whole(title: str, count: int) -> str:
    """Return the report of a plan, as it is downloaded."""
    parts = [f"Part {number}" for number in range(1, count + 1)]
    return f"# {title}\n\n" + "\n\n".join(f"## {part}\n\n{sentences(part)}" for part in parts) + "\n"


def topic_of(body: Body) -> str:
    return _between("topic", body["messages"][0]["content"][0]["text"]).strip()


def section_of(body: Body) -> str:
    """Return the heading of the section that is asked for; empty where it is the whole report."""
    return _between("section", body["messages"][0]["content"][1]["text"])


def written_in(body: Body) -> str:
    """Return the partial assistant turn."""
    return "".join(turn["content"] for turn in body["messages"] if turn["role"] == "assistant")


def is_to_end(body: Body) -> bool:
    """Tell whether the report, or the section, is to end now."""
    return "is to end now" in str(body["messages"][-1]["content"]) or "as short as it can be" in str(body["messages"])


def writing(
    scripts: Mapping[str, Sequence[Script]] | None = None, base: Script | None = None, overlap: int = 0
) -> Chooser:
    """Write each report, or each of its sections, going on from what is written.

    The first calls follow `scripts`, all others `base`: by topic for a whole report, by `topic/section` or by section
    alone for a section. Their text is set here, unless it is empty. `overlap` characters before the seam are written
    again.
    """
    left = {key: list(given) for key, given in (scripts or {}).items()}

    def choose(body: Body) -> Script:
        topic, section = topic_of(body), section_of(body)
        keys = [f"{topic}/{section}", section] if section else [topic]
        given = next((left[key] for key in keys if left.get(key)), [])
        script = given.pop(0) if given else base or Script()
        return replace(script, text=script.text and _rest(body, section, overlap))

    return choose


def _rest(body: Body, section: str, overlap: int) -> str:
    """Return what is still to be written of the text that a request asks for."""
    written = written_in(body)
    if is_to_end(body):
        return ENDING if written and not section else " It was ended early." if written else BRIEF
    heading = f"## {section}\n\n" if section else ""
    text = heading + sentences(section) if section else TEXT
    rest = continuing(text, overlap=overlap)(body)
    return rest.text if written else rest.text.removeprefix(heading)


def _between(tag: str, text: str) -> str:
    found = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    return unescape(found[1]) if found else ""


async def report(service: Service, topic_id: int) -> str:
    """Download the report of a topic's latest generation."""
    status = await service.status(topic_id)
    answer = await service.http.get(f"/api/artifacts/{status['artifact_id']}/download")
    assert answer.status_code == 200, status
    return answer.text


async def artifact(service: Service, topic_id: int) -> dict[str, Any]:
    """Return what the API says of the artifact of a topic's latest generation."""
    status = await service.status(topic_id)
    answer = await service.http.get(f"/api/artifacts/{status['artifact_id']}")
    assert answer.status_code == 200, status
    data: dict[str, Any] = answer.json()["data"]
    return data


async def cancel(service: Service, topic_id: int, **more: Any) -> tuple[int, dict[str, Any]]:
    """Cancel, in whatever form, and return the answer's code and the status in it."""
    answer = await service.http.post(f"/api/topics/{topic_id}/cancel", json=more)
    assert answer.status_code in {200, 202}, answer.text
    return answer.status_code, answer.json()["data"]


async def kept(service: Service, topic_id: int) -> list[dict[str, Any]]:
    """Return what the store holds of the text of a topic's latest generation, a row a section."""
    return await service.rows(
        """
        SELECT s.section, s.done, s.seams, (
            SELECT group_concat(text, '') FROM (
                SELECT text FROM checkpoints c
                WHERE c.generation_id = s.generation_id AND c.section = s.section ORDER BY start
            )
        ) AS text
        FROM strands s WHERE generation_id = (SELECT generation_id FROM topics WHERE id = :topic_id) ORDER BY section
        """,
        topic_id=topic_id,
    )


async def ledger(service: Service, topic_id: int) -> list[dict[str, Any]]:
    """Return the rows of the calls for a topic, in order."""
    return await service.rows("SELECT * FROM ai_usage WHERE topic_id = :topic_id ORDER BY id", topic_id=topic_id)


async def texts_of(service: Service, topic_id: int) -> int:
    """Return how many rows of text the store holds for a topic, of any generation."""
    (row,) = await service.rows(
        """
        SELECT (SELECT count(*) FROM checkpoints JOIN generations ON id = generation_id WHERE topic_id = :topic_id)
            + (SELECT count(*) FROM strands JOIN generations ON id = generation_id WHERE topic_id = :topic_id) AS count
        """,
        topic_id=topic_id,
    )
    return int(row["count"])


async def held(claude: FakeClaude, count: int = 1) -> list[Call]:
    """Wait until so many of the next calls are held, and return them."""
    with trio.fail_after(30):
        calls = [await claude.next_call() for _ in range(count)]
        for call in calls:
            await call.held.wait()
    return calls


def calls_for(claude: FakeClaude, key: str) -> list[Call]:
    """Return the calls for a topic, or for a section."""
    return [call for call in claude.calls if key in {topic_of(call.body), section_of(call.body)}]

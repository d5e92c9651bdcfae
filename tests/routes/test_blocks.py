"""A report as blocks of HTML: as they are closed, in the event stream, and once, for a page's first paint."""

import re
from typing import Any

import httpx2
import pytest
import trio

from app.access import Access
from app.directory import DATABASE
from app.metrics import Metrics
from app.models import ArtifactId, TopicId
from app.queries import artifacts
from app.render import Block, blocks, render
from app.renderings import Renderings
from app.routes.blocks import reading
from app.routes.events import NOWHERE, TopicSource
from app.routes.resource import Request
from app.routes.streams import events_of
from app.state import State, open_state
from app.status import StatusMap
from app.threads import Threads
from tests.claude import Fault, Script, continuing
from tests.conftest import Start
from tests.events import BlockReader, Event, block_reader, status_reader
from tests.exposition import scrape, value
from tests.reports import plan, report, sentences, whole, writing
from tests.routes.client import pointers, problem
from tests.routes.streams import names
from tests.routes.test_events import ForgetfulStore
from tests.service import ADMIN_TOKEN, Service

PARTS = [
    "# 전기차 충전 📚", "## 요약", "충전기는 **12.4%**가 늘었고 **그린(Green)**은 줄었다.", "- 하나\n- 둘\n\n  더",
    "## 지역", "| 지역 | 수 |\n|:--|--:|\n| 서울 | 4,218대 |", "```\n코드\n\n더\n```", "> 인용\n이어짐",
    "끝 <b>말</b>[^1].", "[^1]: 각주.",
]  # fmt: skip
TEXT = "\n\n".join(PARTS) + "\n"
ALL = blocks(TEXT, "ko", whole=True)

AT = 20
HALF = "".join(Script(text=TEXT).cut[:AT]).rstrip()
CLOSED = blocks(HALF, "ko", whole=False)
"""What is seen when half of the pieces have come, and what of it is closed."""


async def half_written(service: Service, go: trio.Event, reader: BlockReader | None = None, **more: Any) -> int:
    """Start a report that is held in the middle, and return its topic when all of that is shown."""
    service.claude.script(Script(text=TEXT, hold=go, hold_at=AT, **more))
    topic_id = await service.topic()
    await service.generate(topic_id)
    reader = block_reader(service, topic_id)
    async with reader.connected():
        await reader.until_text(len(HALF))
    return topic_id


async def completed(service: Service, text: str = TEXT) -> int:
    service.claude.script(Script(text=text))
    topic_id = await service.topic()
    await service.generate(topic_id)
    assert (await service.ended(topic_id))["status"] == "completed"
    return topic_id


async def page(service: Service, topic_id: int, position: str | None = None) -> dict[str, Any]:
    answer = await service.http.get(
        f"/api/topics/{topic_id}/blocks", params={} if position is None else {"starting_after": position}
    )
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


def given(data: dict[str, Any]) -> list[Block]:
    return [Block(**block) for block in data["blocks"]]


def halts(events: list[Event]) -> list[tuple[str, str, list[Block]]]:
    """Return each id of a stream, with the text and the blocks that a reader has who stops there."""
    found, text, had = [], "", list[Block]()
    for event in events:
        text += event.data["text"] if event.name == "text" else ""
        had += [Block(**event.data)] if event.name == "block" else []
        assert event.id is not None
        found.append((event.id, text, list(had)))
    return found


# The stream.


async def test_blocks_come_when_they_are_closed_and_the_last_before_the_end(service: Service, lively: None) -> None:
    go = trio.Event()
    service.claude.default = Script(text=TEXT, hold=go, hold_at=AT)
    topic_id = await service.topic()
    reader = block_reader(service, topic_id)

    async with reader.connected():
        await reader.until("status")
        await service.generate(topic_id)
        await reader.until_block(CLOSED[-1].end)
        await reader.until_text(len(HALF))
        half = list(reader.blocks)
        go.set()
        events = await reader.rest()

    assert len(CLOSED) > 3
    assert half == CLOSED
    assert reader.blocks == ALL
    assert reader.text == TEXT
    assert names(events)[-2:] == ["block", "done"]


async def test_blocks_come_only_when_they_are_asked_for_and_need_no_text(service: Service) -> None:
    topic_id = await completed(service)

    seen = {}
    for query in ("", "html=0&text=1", "html=1", "html=1&text=1"):
        reader = block_reader(service, topic_id, query)
        seen[query] = set(names(await reader.visit())), reader.blocks

    assert seen == {
        "": ({"status", "done"}, []),
        "html=0&text=1": ({"status", "text", "done"}, []),
        "html=1": ({"status", "block", "done"}, ALL),
        "html=1&text=1": ({"status", "text", "block", "done"}, ALL),
    }


@pytest.mark.parametrize("query", ["html=1&text=1", "html=1"])
async def test_every_id_of_a_stream_that_is_over_gives_exactly_the_rest(
    service: Service, lively: None, query: str
) -> None:
    service.claude.default = Script(text=TEXT, pace=0.005)
    topic_id = await service.topic()
    first = block_reader(service, topic_id, query)
    async with first.connected():
        await first.until("status")
        await service.generate(topic_id)
        events = [event for event in await first.rest() if event.name != "status" or event.data["generation_id"]]

    assert len(halts(events)) > 10
    for last_id, text, had in halts(events)[:-1]:
        again = block_reader(service, topic_id, query, last_id=last_id, text=text, blocks=had, generation_id=1)
        rest = await again.visit()

        assert (rest[0].name, rest[-1].name) == ("status", "done")
        assert again.blocks == ALL
        assert again.text == (TEXT if "text" in query else "")


async def test_every_id_of_a_stream_under_way_gives_exactly_the_rest(service: Service, lively: None) -> None:
    go, topic_id = trio.Event(), await service.topic()
    service.claude.default = Script(text=TEXT, hold=go, hold_at=AT, pace=0.005)
    first = block_reader(service, topic_id)
    async with first.connected():
        await first.until("status")
        await service.generate(topic_id)
        events: list[Event] = []
        while first.text != HALF or first.blocks != CLOSED:
            event = await first.next()
            assert event is not None
            events += [event] if event.data["generation_id" if event.name == "status" else "offset"] is not None else []
    readers = [
        block_reader(service, topic_id, last_id=last_id, text=text, blocks=had, generation_id=1)
        for last_id, text, had in halts(events)
    ]

    async with trio.open_nursery() as nursery:
        for reader in readers:
            nursery.start_soon(reader.visit)
        await trio.testing.wait_all_tasks_blocked()
        go.set()

    assert len(readers) > 5
    assert {reader.text for reader in readers} == {TEXT}
    assert all(reader.blocks == ALL for reader in readers)


async def test_an_id_without_blocks_gives_them_all_and_the_rest_of_the_text(service: Service) -> None:
    topic_id = await completed(service)
    reader = block_reader(service, topic_id, last_id="1-10", text=TEXT[:10], generation_id=1)

    await reader.visit()

    assert reader.blocks == ALL
    assert reader.text == TEXT


async def test_who_goes_on_without_blocks_for_a_while_is_given_none_twice(service: Service) -> None:
    go = trio.Event()
    topic_id = await half_written(service, go)
    with_blocks = block_reader(service, topic_id)
    async with with_blocks.connected():
        await with_blocks.until_block(CLOSED[2].end)
    plain = status_reader(service, topic_id, last_id=with_blocks.last_id, text=with_blocks.text, generation_id=1)
    go.set()
    async with plain.connected():
        await plain.until_text(len(HALF) + 1)
    with_blocks.last_id, with_blocks.text = plain.last_id, plain.text

    await with_blocks.visit()

    assert with_blocks.blocks == ALL
    assert with_blocks.text == TEXT


async def test_who_has_seen_the_end_is_told_with_a_204(service: Service) -> None:
    topic_id = await completed(service)
    reader = block_reader(service, topic_id)
    await reader.visit()

    async with reader.connected():
        assert reader.status == 204
    assert reader.last_id == f"1-{len(TEXT)}-{len(TEXT)}-done"


async def test_a_block_is_rendered_once_however_many_read_it(service: Service) -> None:
    go = trio.Event()
    service.claude.default = Script(text=TEXT, hold=go, hold_at=AT)
    topic_id = await service.topic()
    readers = [block_reader(service, topic_id, query) for query in ("html=1&text=1",) * 4 + ("html=1",)]

    async def read(reader: BlockReader, task_status: trio.TaskStatus[None]) -> None:
        async with reader.connected():
            await reader.until_block(CLOSED[-1].end)
            task_status.started()
            await reader.rest()

    await service.generate(topic_id)
    async with trio.open_nursery() as nursery:
        for reader in readers:
            await nursery.start(read, reader)
        during = value(await scrape(service), "longhand_blocks_rendered_total")
        go.set()
    late = block_reader(service, topic_id)
    await late.visit()

    assert during == len(CLOSED)
    assert all(reader.blocks == ALL for reader in (*readers, late))
    assert value(await scrape(service), "longhand_blocks_rendered_total") == len(ALL)


async def test_blocks_go_on_after_a_restart(start: Start) -> None:
    async with start() as service:
        topic_id = await half_written(service, trio.Event())
        reader = block_reader(service, topic_id)
        async with reader.connected():
            await reader.until_block(CLOSED[-1].end)
            await service.shut_down()
            before = await reader.rest()
    async with start() as again:
        again.claude.default = continuing(TEXT)
        reader.url = block_reader(again, topic_id).url
        late = block_reader(again, topic_id)
        await reader.visit()
        await late.visit()

        assert before[-1].name == "draining"
        assert reader.blocks == late.blocks == ALL
        assert reader.text == late.text == TEXT


async def test_a_report_that_goes_on_under_a_new_id_begins_with_its_first_block(service: Service) -> None:
    service.claude.script(Script(text=TEXT, fault=Fault.CUT, at=AT), Script.error(401, "authentication_error", "No"))
    topic_id = await service.topic()
    await service.generate(topic_id)
    await service.ended(topic_id)
    reader = block_reader(service, topic_id)
    await reader.visit()
    failed = list(reader.blocks)
    service.claude.default = continuing(TEXT)
    await service.generate(topic_id, resume=True)

    await reader.visit()

    assert failed == blocks(HALF, "ko", whole=True)
    assert reader.generation_id == 2
    assert reader.blocks == ALL


@pytest.mark.parametrize("keep_partial", [True, False])
async def test_what_is_open_when_a_report_is_cancelled_becomes_a_block(service: Service, keep_partial: bool) -> None:
    topic_id = await half_written(service, trio.Event())
    reader = block_reader(service, topic_id)
    async with reader.connected():
        await reader.until_block(CLOSED[-1].end)
        await service.http.post(f"/api/topics/{topic_id}/cancel", json={"keep_partial": keep_partial})
        events = await reader.rest()

    assert names(events)[-1] == "done"
    assert reader.blocks == blocks(reader.text, "ko", whole=True)
    assert reader.text.strip() == HALF


async def test_the_blocks_of_sections_come_in_order(start: Start) -> None:
    go = trio.Event()
    async with start(section_concurrency=6) as service:
        service.claude.default = writing({"Part 3": [Script(hold=go, hold_at=20)]})
        topic_id = await service.topic("Title", plan=plan(6))
        reader = block_reader(service, topic_id)
        async with reader.connected():
            await reader.until("status")
            await service.generate(topic_id, mode="sections")
            await service.wait_for(topic_id, lambda status: status["sections_done"] == 5)
            await reader.until_block(whole("Title", 6).index("## Part 3"))
            go.set()
            await reader.rest()

        text = whole("Title", 6)
        assert reader.blocks == blocks(text, "ko", whole=True)
        assert reader.text == text
        assert len(reader.blocks) == 13


async def test_a_long_report_comes_in_blocks_without_holding_up_anybody(service: Service) -> None:
    text = "\n\n".join(f"## 절 {number}\n\n{sentences('it', 40)}" for number in range(100)) + "\n"
    topic_id = await completed(service, text)
    reader, alone = block_reader(service, topic_id), block_reader(service, topic_id, "html=1")

    await reader.visit()  # the loop's watch looks on
    await alone.visit()

    assert reader.blocks == alone.blocks == blocks(text, "ko", whole=True)
    assert reader.text == text


async def test_a_database_that_cannot_be_used_for_a_while_costs_no_block(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.routes.streams.OUTAGE_SECONDS", 0.0)
    async with start() as service:
        topic_id = await completed(service)
    threads = Threads(4)
    store = ForgetfulStore(service.settings.data_dir / DATABASE, threads)
    await threads.write(store.open)
    headers = [(b"authorization", f"Bearer {ADMIN_TOKEN}".encode())]
    state = {"store": store, "statuses": StatusMap(), "access": Access(store)}
    state["renderings"] = Renderings(threads, Metrics())
    request = Request({"type": "http", "headers": headers, "state": state})

    found = []
    source = TopicSource(request, TopicId(topic_id), NOWHERE, frozenset({"text", "html"}))
    async for data in events_of(source, request.state["statuses"], frozenset(), b""):
        store.outages = 4
        found += re.findall(rb"^event: (\w+)", data, re.MULTILINE)
    await store.close()

    assert found == [b"status", b"text", *[b"block"] * len(ALL), b"done"]


@pytest.mark.parametrize("query", ["html=1&text=1", "html=1"])
async def test_who_was_in_a_text_that_went_on_is_taken_to_the_newest_and_its_first_block(
    service: Service, query: str
) -> None:
    topic_id = await half_written(service, trio.Event())
    await service.http.post(f"/api/topics/{topic_id}/cancel")
    had, text = CLOSED[:2], HALF[:40] if "text" in query else ""
    position = f"1-{len(text)}-{had[-1].end}"
    reader = block_reader(service, topic_id, query, last_id=position, text=text, blocks=had, generation_id=1)
    service.claude.default = continuing(TEXT)
    await service.generate(topic_id, resume=True)
    await service.ended(topic_id)

    await reader.visit()

    assert reader.generation_id == 2
    assert reader.blocks == ALL


# Once.


async def test_the_first_page_holds_all_there_is_and_its_stream_goes_on_from_there(service: Service) -> None:
    go = trio.Event()
    topic_id = await half_written(service, go)

    first = await page(service, topic_id)
    reader = block_reader(service, topic_id, last_id=first["id"], text=HALF, blocks=given(first), generation_id=1)
    async with reader.connected():
        (status,) = await reader.until("status")
        go.set()
        rest = await reader.rest()

    assert given(first) == CLOSED
    assert first["open"] == {"offset": CLOSED[-1].end, "text": HALF[CLOSED[-1].end :]}
    assert first["status"] == status.data
    assert next(event for event in rest if event.name == "text").data["offset"] == len(HALF)
    assert reader.blocks == ALL
    assert reader.text == TEXT


async def test_pages_that_are_asked_for_again_and_again_give_each_block_once(service: Service, lively: None) -> None:
    go, topic_id = trio.Event(), await service.topic()
    service.claude.default = Script(text=TEXT, hold=go, hold_at=AT)
    asked = [await page(service, topic_id)]
    await service.generate(topic_id)
    await service.wait_for_characters(topic_id, len(HALF))
    while asked[-1]["open"]["offset"] + len(asked[-1]["open"]["text"]) < len(HALF):
        asked.append(await page(service, topic_id, asked[-1]["id"]))
    go.set()
    await service.ended(topic_id)
    while not asked[-1]["id"].endswith("-done"):
        asked.append(await page(service, topic_id, asked[-1]["id"]))
    last = await page(service, topic_id, asked[-1]["id"])

    found = [block for data in asked for block in given(data)]
    assert [block.offset for block in found] == [block.offset for block in ALL]
    assert (last["blocks"], last["open"]["text"], last["status"]["status"]) == ([], "", "completed")


async def test_the_page_of_a_written_report_is_the_whole_with_its_footnotes(service: Service) -> None:
    topic_id = await completed(service)

    data = await page(service, topic_id)

    assert given(data) == render(TEXT, "ko").blocks != ALL
    assert 'class="footnotes"' in data["blocks"][-1]["html"]
    assert data["open"] == {"offset": len(TEXT), "text": ""}
    assert data["id"] == f"1-{len(TEXT)}-{len(TEXT)}-done"


async def test_a_topic_without_a_report_has_no_blocks(service: Service) -> None:
    topic_id = await service.topic()

    data = await page(service, topic_id)

    assert (data["blocks"], data["open"], data["status"]["status"]) == ([], {"offset": 0, "text": ""}, "idle")
    service.claude.default = Script(text=TEXT)
    await service.generate(topic_id)
    reader = block_reader(service, topic_id, last_id=data["id"])
    await reader.visit()
    assert reader.blocks == ALL


async def test_the_next_report_begins_anew(service: Service) -> None:
    topic_id = await completed(service)
    first = await page(service, topic_id)
    service.claude.script(Script(text="# 다음\n\n글.\n"))
    await service.generate(topic_id)
    await service.ended(topic_id)

    data = await page(service, topic_id)
    after = await page(service, topic_id, first["id"])

    assert given(data) == render("# 다음\n\n글.\n", "ko").blocks
    assert after["status"]["generation_id"] == 2
    assert given(after) == given(data)


async def test_blocks_of_others_are_not_there(service: Service, other: httpx2.AsyncClient) -> None:
    topic_id = await completed(service)
    url = f"/api/topics/{topic_id}/blocks"

    problem(await other.get(url), 404, "not_found")
    problem(await service.http.get("/api/topics/404/blocks"), 404, "not_found")
    assert pointers(await service.http.get(url, params={"starting_after": "1-2-"})) == ["/starting_after"]
    assert pointers(await service.http.get(url, params={"html": "1"})) == ["/html"]


# A version, to be read.


async def test_a_version_is_rendered_from_its_file(start: Start, settings: Any) -> None:
    async with start() as service:
        topic_id = await completed(service)
        found = (await service.status(topic_id))["artifact_id"]
        assert await report(service, topic_id) == TEXT
    async with open_state(settings(), None) as state:
        rendered = await reading(*await opened(state, found))

    assert rendered == render(TEXT, "ko")


async def opened(state: State, artifact_id: int) -> tuple[Request, Any]:
    """Return a request in an opened state, and an artifact."""
    found = await state["store"].read(artifacts.artifact, ArtifactId(artifact_id))
    assert found is not None
    return Request({"type": "http", "state": state}), found[0]

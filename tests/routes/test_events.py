"""Event streams: the status and the text of one topic from any place on, and the statuses of a list."""

from collections.abc import Callable
from itertools import pairwise
from typing import Concatenate, ParamSpec, TypeVar

import pytest
import trio
from sqlite_utils import Database
from trio.testing import MockClock, wait_all_tasks_blocked

from app.access import Access
from app.directory import DATABASE
from app.draft import PUBLISH_SECONDS
from app.errors import DatabaseFailed
from app.models import TopicId
from app.queries.users import digest
from app.routes.events import NOWHERE, TEXT_CHARACTERS, TopicSource
from app.routes.resource import Request
from app.routes.streams import QUIET_SECONDS, TOKEN_SECONDS, events_of
from app.runner import INSIST_SECONDS
from app.status import StatusMap
from app.store import Store
from app.threads import Threads
from tests.claude import BEFORE_HEADERS, BEFORE_MESSAGE, Fault, Script, continuing
from tests.conftest import Start
from tests.events import Event, Reader, list_reader, status_reader
from tests.fairwatch import within
from tests.reports import plan, report, sentences, whole, writing
from tests.routes.client import add_token, connect, pointers, problem
from tests.routes.streams import HALF, HEADERS, TEXT, completed, held_halfway, names, shown_halfway
from tests.service import ADMIN_TOKEN, GRACE_SECONDS, Service, locked_database, logged

P = ParamSpec("P")
T = TypeVar("T")

LONG = "".join(f"긴 보고서의 문장 {number}번이다.\n" for number in range(70_000))
"""More than the buffers between two sockets hold."""

REFUSE_CANCELS = """
    CREATE TRIGGER refuse BEFORE UPDATE ON generations WHEN NEW.status = 'cancelled'
    BEGIN SELECT RAISE(ABORT, 'refused by the test'); END
"""

NO_IDS = (
    "x", "1", "1-", "-1-2", "1-2-", "1-2-don", "1-2-done-", "1-2-DONE", "1.5-2", "1-2 ", "+1-2", "٣-١", "1-²",
    "1" * 19 + "-1", "1-" + "9" * 19, "0123abcd-1-2026-01-01T00:00:00.000Z-1",
)  # fmt: skip
NO_LIST_IDS = (
    "x", "1-2", "0123abcd", "0123abcd-1", "0123abcd-1-now-1", "0123ABCD-1-2026-01-01T00:00:00.000Z-1",
    "0123abcd-1-2026-01-01T00:00:00.000Z", "0123abcd-١-2026-01-01T00:00:00.000Z-1",
)  # fmt: skip


async def completed_again(service: Service, topic_id: int) -> None:
    await service.generate(topic_id)
    await service.ended(topic_id)


def halts(events: list[Event]) -> list[tuple[str, str]]:
    """Return each id of a stream, with the text that a reader has who stops there."""
    found, text = [], ""
    for event in events:
        text += event.data["text"] if event.name == "text" else ""
        assert event.id is not None
        found.append((event.id, text))
    return found


# What a stream begins with and is made of.


async def test_the_first_event_is_the_whole_status_in_every_state(start: Start) -> None:
    async with start(max_concurrent=1) as service:
        ended = await completed(service)
        generating = await shown_halfway(service)
        queued, idle = await service.topic(), await service.topic()
        await service.generate(queued)

        for topic_id, word in ((idle, "idle"), (queued, "queued"), (generating, "generating"), (ended, "completed")):
            reader = status_reader(service, topic_id, query="")
            async with reader.connected():
                first = await reader.next()

            assert first is not None
            assert (first.name, first.data["status"]) == ("status", word)
            assert first.data == await service.status(topic_id)


async def test_a_stream_carries_the_headers_that_keep_it_alive_and_unbuffered(service: Service) -> None:
    reader = status_reader(service, await service.topic())

    async with reader.connected(Accept_Encoding="gzip, br, zstd"):
        await reader.next()

    assert reader.status == 200
    assert HEADERS.items() <= reader.headers.items()
    assert not {"content-encoding", "content-length"} & set(reader.headers)
    assert reader.headers["x-request-id"]
    assert reader.retry == 3000


async def test_every_change_of_the_status_is_an_event_and_the_last_is_done(service: Service, lively: None) -> None:
    go = trio.Event()
    service.claude.default = Script(text=TEXT, thinking=2, hold=go, hold_at=20)
    topic_id = await service.topic()
    reader = status_reader(service, topic_id, query="")

    async with reader.connected():
        await reader.until("status")
        await service.generate(topic_id)
        half = await service.wait_for_characters(topic_id, len("".join(service.claude.default.cut[:20])))
        seen = await reader.until("status")
        while seen[-1].data != half:
            seen += await reader.until("status")
        go.set()
        events = seen + await reader.rest()

    assert set(names(events[:-1])) == {"status"}
    assert events[-1].name == "done"
    assert events[-1].data == await service.status(topic_id)
    percents = [event.data["progress_percent"] for event in events]
    assert percents == sorted(percents)
    assert percents[0] < half["progress_percent"] < percents[-1]
    assert all(before.data != after.data for before, after in pairwise(events[:-1]))


async def test_text_comes_only_when_it_is_asked_for(service: Service) -> None:
    topic_id = await completed(service)

    streams = {query: await status_reader(service, topic_id, query).visit() for query in ("", "text=0", "text=1")}

    assert names(streams[""]) == names(streams["text=0"]) == ["status", "done"]
    assert names(streams["text=1"]) == ["status", "text", "done"]


async def test_the_pieces_join_to_exactly_the_report_that_is_downloaded(service: Service, lively: None) -> None:
    service.claude.default = Script(text=TEXT, pace=0.005)
    topic_id = await service.topic()
    live = status_reader(service, topic_id)
    async with live.connected():
        await live.until("status")
        await service.generate(topic_id)
        events = await live.rest()
    late = status_reader(service, topic_id)
    await late.visit()

    downloaded = await report(service, topic_id)
    assert downloaded == TEXT
    assert live.text == late.text == downloaded
    assert names(events).count("text") > 5


async def test_the_status_and_the_text_at_hand_come_in_one_piece(service: Service) -> None:
    topic_id = await shown_halfway(service)
    request = f"GET /api/topics/{topic_id}/status/stream?text=1 HTTP/1.1\r\nHost: here\r\n"

    async with await connect(service) as stream:
        await stream.send_all(f"{request}Authorization: Bearer {ADMIN_TOKEN}\r\n\r\n".encode())
        received = b""
        with trio.fail_after(10):
            while b"event: text" not in received:
                received += await stream.receive_some()

    piece = next(chunk for chunk in received.split(b"\r\n") if b"event: status" in chunk)
    assert b"event: text" in piece


async def test_offsets_count_code_points(service: Service) -> None:
    text = "가👩‍👩‍👧나" * 20_000
    topic_id = await completed(service, text)
    reader = status_reader(service, topic_id)

    events = await reader.visit()

    pieces = [event.data for event in events if event.name == "text"]
    assert [piece["offset"] for piece in pieces] == [0, 65_536, 131_072]
    assert reader.text == text + "\n"


async def test_a_long_text_comes_in_several_events(service: Service) -> None:
    topic_id = await completed(service, "x" * 100_000)

    events = await status_reader(service, topic_id).visit()

    assert names(events) == ["status", "text", "text", "done"]


async def test_a_long_text_comes_in_several_events_while_it_is_written_too(service: Service) -> None:
    service.claude.script(Script(text="x" * 100_000, hold=trio.Event(), hold_at=39))
    topic_id = await service.topic()
    await service.generate(topic_id)
    await service.wait_for_characters(topic_id, 90_000)

    reader = status_reader(service, topic_id)
    async with reader.connected():
        await reader.until_text(90_000)

    texts = [event.data["text"] for event in reader.events if event.name == "text"]
    assert len(texts) > 1
    assert max(map(len, texts)) == TEXT_CHARACTERS


# Coming back.


@pytest.mark.parametrize("by", ["header", "query", "both"])
async def test_every_id_of_a_stream_that_is_over_gives_exactly_the_rest(
    service: Service, lively: None, by: str
) -> None:
    service.claude.default = Script(text=TEXT, pace=0.005)
    topic_id = await service.topic()
    first = status_reader(service, topic_id)
    async with first.connected():
        await first.until("status")
        await service.generate(topic_id)
        events = [event for event in await first.rest() if event.data.get("generation_id") or event.name == "text"]

    assert len(halts(events)) > 10
    for last_id, text in halts(events)[:-1]:
        query = {"header": "text=1", "query": f"text=1&starting_after={last_id}", "both": "text=1&starting_after=9-9"}
        header = None if by == "query" else last_id
        again = status_reader(service, topic_id, query[by], last_id=header, text=text, generation_id=1)
        rest = await again.visit()

        assert rest[0].name == "status"
        assert rest[-1].name == "done"
        assert again.text == TEXT


async def test_every_id_of_a_stream_under_way_gives_exactly_the_rest(service: Service, lively: None) -> None:
    go, topic_id = trio.Event(), await service.topic()
    service.claude.default = Script(text=TEXT, hold=go, hold_at=20, pace=0.005)
    first = status_reader(service, topic_id)
    async with first.connected():
        await first.until("status")
        await service.generate(topic_id)
        events = []
        while first.text != HALF:
            events += await first.until("text")
    readers = [
        status_reader(service, topic_id, last_id=last_id, text=text, generation_id=1) for last_id, text in halts(events)
    ]

    async def read(reader: Reader, task_status: trio.TaskStatus[None]) -> None:
        async with reader.connected():
            await reader.until_text(len(HALF))
            assert reader.text == HALF
            task_status.started()
            await reader.rest()

    async with trio.open_nursery() as nursery:
        for reader in readers:
            await nursery.start(read, reader)
        go.set()

    assert len(readers) > 5
    assert {reader.text for reader in readers} == {TEXT}


async def test_who_has_seen_the_end_is_told_with_a_204(service: Service) -> None:
    topic_id = await completed(service)
    reader = status_reader(service, topic_id)
    await reader.visit()
    last_id = reader.last_id

    for method, query in (("GET", "text=1"), ("HEAD", "text=1"), ("GET", "")):
        again = status_reader(service, topic_id, query, last_id=last_id)
        async with again.connected(method):
            assert (again.status, await again.rest()) == (204, [])
    by_query = status_reader(service, topic_id, f"text=1&starting_after={last_id}")
    async with by_query.connected():
        assert by_query.status == 204


async def test_an_id_of_an_earlier_generation_begins_the_next_one(service: Service) -> None:
    topic_id = await completed(service)
    reader = status_reader(service, topic_id)
    await reader.visit()
    other = "# 다른 보고서\n\n짧다.\n"
    service.claude.script(Script(text=other))
    await service.generate(topic_id)
    await service.ended(topic_id)

    events = await reader.visit()

    assert names(events) == ["status", "text", "done"]
    assert reader.generation_id == 2
    assert reader.text == other


async def test_a_reader_who_is_far_behind_is_never_given_the_next_reports_text(service: Service) -> None:
    first, second = "첫 보고서 " * 100_000, "second " * 100_000
    topic_id = await completed(service, first)
    reader = status_reader(service, topic_id, receive_buffer=4096)
    async with reader.connected():
        await reader.until("text")
        go = trio.Event()
        service.claude.default = Script(text=second, hold=go, hold_at=20)
        await service.generate(topic_id)
        await service.wait_for(topic_id, lambda status: status["characters"] > 300_000)
        events = await reader.rest()
    one = reader.text
    go.set()
    await reader.visit()

    assert names(events)[-1] == "done"
    assert one == first.strip() + "\n"
    assert reader.text == second.strip() + "\n"


async def test_who_comes_back_in_the_middle_of_an_earlier_report_is_given_its_rest_and_then_the_next(
    service: Service,
) -> None:
    topic_id = await completed(service)
    with_text = status_reader(service, topic_id, last_id="1-10", text=TEXT[:10], generation_id=1)
    without = status_reader(service, topic_id, "", last_id="1-0")
    service.claude.default = Script(text="# 다른 보고서\n\n짧다.\n")
    await completed_again(service, topic_id)

    for reader, middle in ((with_text, ["text"]), (without, [])):
        earlier = await reader.visit()
        one = reader.text
        newest = await reader.visit()

        assert names(earlier) == names(newest) == ["status", *middle, "done"]
        assert [event.data["generation_id"] for event in (*earlier, *newest) if event.name != "text"] == [1, 1, 2, 2]
        assert (one, reader.text) == ((TEXT, "# 다른 보고서\n\n짧다.\n") if middle else ("", ""))
        async with reader.connected():
            assert reader.status == 204


async def test_a_partial_report_outlives_the_next_generation(service: Service) -> None:
    topic_id = await shown_halfway(service)
    await service.http.post(f"/api/topics/{topic_id}/cancel", json={"keep_partial": True})
    reader = status_reader(service, topic_id, last_id="1-10", text=HALF[:10], generation_id=1)
    partial = await report(service, topic_id)
    service.claude.default = Script(text=TEXT, hold=trio.Event(), hold_at=20)
    await service.generate(topic_id)

    events = await reader.visit()

    assert names(events) == ["status", "text", "done"]
    assert (events[-1].data["generation_id"], events[-1].data["status"]) == (1, "cancelled")
    assert reader.text == partial == HALF + "\n"


@pytest.mark.parametrize("resume", [True, False])
async def test_who_was_in_a_text_that_is_no_more_or_went_on_is_taken_to_the_newest(
    service: Service, resume: bool
) -> None:
    topic_id = await shown_halfway(service)
    await service.http.post(f"/api/topics/{topic_id}/cancel")
    with_text = status_reader(service, topic_id, last_id="1-10", text=HALF[:10], generation_id=1)
    without = status_reader(service, topic_id, "", last_id="1-10")
    service.claude.default = continuing(TEXT) if resume else Script(text=TEXT)
    await service.generate(topic_id, resume=resume)
    await service.ended(topic_id)

    text_events, status_events = await with_text.visit(), await without.visit()

    assert names(text_events) == ["status", "text", "done"]
    assert {event.data.get("generation_id", 2) for event in text_events} == {2}
    assert with_text.text == TEXT
    assert [(event.name, event.data["status"], event.id) for event in status_events] == [
        ("status", "cancelled", "1-10"), ("done", "cancelled", "1-10-done"),
    ]  # fmt: skip


async def test_a_reader_who_is_far_behind_when_the_text_goes_on_reads_it_all_under_the_new_id(service: Service) -> None:
    service.claude.script(Script(text=LONG, fault=Fault.CUT, at=39), Script.error(401, "authentication_error", "No"))
    topic_id = await service.topic()
    await service.generate(topic_id)
    await service.ended(topic_id)
    reader = status_reader(service, topic_id, receive_buffer=4096)

    async with reader.connected():
        await reader.until("text")
        service.claude.default = continuing(LONG)
        await service.generate(topic_id, resume=True)
        await service.ended(topic_id)
        await reader.rest()

    ids = [event.data["generation_id"] for event in reader.events if event.name == "status"]
    assert ids == [1, 2]
    assert names(reader.events).count("done") == 1
    assert reader.last_id == f"2-{len(LONG)}-done"
    assert reader.text == LONG


async def test_an_id_of_another_topics_generation_tells_nothing_of_it(service: Service) -> None:
    other, topic_id = await completed(service), await completed(service, "# 짧다\n")
    reader = status_reader(service, topic_id, last_id="1-0")

    events = await reader.visit()

    assert other != topic_id
    assert {event.data.get("generation_id", 2) for event in events} == {2}
    assert reader.text == "# 짧다\n"


async def test_a_stream_opened_on_an_idle_topic_shows_all_that_follows(service: Service) -> None:
    topic_id = await service.topic()
    reader = status_reader(service, topic_id)

    async with reader.connected():
        (idle,) = await reader.until("status")
        service.claude.default = Script(text=TEXT)
        await service.generate(topic_id)
        await reader.rest()

    assert (idle.data["status"], idle.data["generation_id"]) == ("idle", None)
    assert reader.text == TEXT


async def test_a_stream_opened_while_queued_shows_all_that_follows(start: Start) -> None:
    async with start(max_concurrent=1) as service:
        first, _ = await held_halfway(service)
        topic_id = await service.topic()
        service.claude.default = Script(text=TEXT)
        await service.generate(topic_id)
        reader = status_reader(service, topic_id)
        async with reader.connected():
            (queued,) = await reader.until("status")
            await service.http.post(f"/api/topics/{first}/cancel")
            await reader.rest()

        assert queued.data["status"] == "queued"
        assert reader.text == TEXT


@pytest.mark.parametrize("place", [BEFORE_HEADERS, BEFORE_MESSAGE, 0, 1, 39, 40, 42])
async def test_a_stream_opened_at_any_moment_shows_the_whole_report(service: Service, place: int) -> None:
    go, topic_id = trio.Event(), await service.topic()
    service.claude.default = Script(text=TEXT, thinking=1, hold=go, hold_at=place)
    await service.generate(topic_id)
    await (await service.claude.next_call()).held.wait()
    reader = status_reader(service, topic_id)

    async with reader.connected():
        await reader.until("status")
        go.set()
        await reader.rest()

    assert reader.text == TEXT


async def test_a_stream_goes_on_after_a_restart_from_what_the_store_holds(start: Start) -> None:
    async with start() as service:
        topic_id, _ = await held_halfway(service)
        reader = status_reader(service, topic_id)
        async with reader.connected():
            await reader.until_text(len(HALF))
            await service.shut_down()
            before = await reader.rest()
    never = trio.Event()
    async with start() as again:
        again.claude.default = continuing(TEXT, Script(hold=never, hold_at=0))
        reader.url = status_reader(again, topic_id).url
        late = status_reader(again, topic_id)
        for each in (reader, late):
            async with each.connected():
                await each.until_text(len(HALF))
                assert each.text == HALF
        never.set()
        await reader.visit()
        await late.visit()

        assert before[-1].name == "draining"
        assert reader.text == late.text == await report(again, topic_id) == TEXT


async def test_a_report_is_streamed_from_the_store_long_after(start: Start) -> None:
    async with start() as service:
        topic_id = await completed(service)
    async with start() as again:
        reader = status_reader(again, topic_id)
        events = await reader.visit()

    assert names(events) == ["status", "text", "done"]
    assert reader.text == TEXT


# Other ends.


async def test_a_failed_generation_keeps_its_text(service: Service) -> None:
    service.claude.script(Script(text=TEXT, fault=Fault.CUT, at=20), Script.error(401, "authentication_error", "No"))
    topic_id = await service.topic()
    live = status_reader(service, topic_id)
    async with live.connected():
        await live.until("status")
        await service.generate(topic_id)
        events = await live.rest()
    late = status_reader(service, topic_id)
    await late.visit()

    assert (events[-1].name, events[-1].data["error_code"]) == ("done", "claude_auth")
    assert live.text == late.text == HALF


async def test_a_refused_generation_drops_its_text(service: Service, lively: None) -> None:
    service.claude.script(Script.refusal(TEXT))
    topic_id = await service.topic()
    await service.generate(topic_id)
    await service.ended(topic_id)
    reader = status_reader(service, topic_id)

    events = await reader.visit()

    assert names(events) == ["status", "done"]
    assert events[-1].data["error_code"] == "refused"


@pytest.mark.parametrize("keep_partial", [False, True])
async def test_a_cancelled_generation_keeps_its_text(service: Service, keep_partial: bool) -> None:
    topic_id, _ = await held_halfway(service)
    live = status_reader(service, topic_id)
    async with live.connected():
        await live.until_text(10)
        await service.http.post(f"/api/topics/{topic_id}/cancel", json={"keep_partial": keep_partial})
        events = await live.rest()
    late = status_reader(service, topic_id)
    await late.visit()

    assert (events[-1].name, events[-1].data["status"]) == ("done", "cancelled")
    assert live.text == late.text == (await report(service, topic_id) if keep_partial else HALF)
    assert live.text.strip() == HALF


async def test_a_partial_report_of_sections_is_streamed_as_it_is_downloaded(start: Start) -> None:
    async with start(section_concurrency=6) as service:
        service.claude.default = writing({"Part 2": [Script(hold=trio.Event(), hold_at=20)]})
        topic_id = await service.topic("Title", plan=plan(6))
        await service.generate(topic_id, mode="sections")
        reader = status_reader(service, topic_id)
        async with reader.connected():
            await service.wait_for(topic_id, lambda status: status["sections_done"] == 5)
            await service.http.post(f"/api/topics/{topic_id}/cancel", json={"keep_partial": True})
            await reader.rest()

        assert reader.text == await report(service, topic_id)
        assert sentences("Part 6") in reader.text


async def test_a_topic_deleted_meanwhile_ends_its_streams(service: Service) -> None:
    idle, (running, _) = await service.topic(), await held_halfway(service)
    ends: dict[int, list[Event]] = {}

    async def read(topic_id: int, task_status: trio.TaskStatus[None]) -> None:
        reader = status_reader(service, topic_id)
        async with reader.connected():
            await reader.until("status")
            await reader.until_text(len(HALF) if topic_id == running else 0)
            task_status.started()
            ends[topic_id] = await reader.rest()

    async with trio.open_nursery() as nursery:
        for topic_id in (idle, running):
            await nursery.start(read, topic_id)
        for topic_id in (idle, running):
            assert (await service.http.delete(f"/api/topics/{topic_id}")).status_code == 204

    assert ends[idle] == []
    assert {event.data["status"] for event in ends[running]} <= {"generating", "cancelled"}
    for topic_id in (idle, running):
        problem(await service.http.get(f"/api/topics/{topic_id}/status/stream"), 404, "not_found")


async def test_a_reader_who_is_far_behind_when_the_topic_is_deleted_is_not_told_that_it_was_all(
    service: Service,
) -> None:
    topic_id = await completed(service, LONG)
    reader = status_reader(service, topic_id, receive_buffer=4096)

    async with reader.connected():
        await reader.until("text")
        assert (await service.http.delete(f"/api/topics/{topic_id}")).status_code == 204
        await reader.rest()

    assert set(names(reader.events)) == {"status", "text"}
    assert 0 < len(reader.text) < len(LONG)
    assert LONG.startswith(reader.text)


async def test_a_reader_who_is_far_behind_when_the_token_is_revoked_gets_no_more(
    clock: MockClock, service: Service
) -> None:
    topic_id = await completed(service, LONG)
    reader = status_reader(service, topic_id, receive_buffer=4096)

    async with reader.connected():
        await reader.until("text")
        await service.rows("UPDATE tokens SET revoked_at = 'now'")
        clock.jump(TOKEN_SECONDS / 2)  # twice: a send may last 10 seconds
        await reader.until("text")
        clock.jump(TOKEN_SECONDS / 2)
        await reader.rest()

    assert set(names(reader.events)) == {"status", "text"}
    assert 0 < len(reader.text) < len(LONG)


async def test_the_end_is_told_as_done_only_when_the_store_knows_it(clock: MockClock, service: Service) -> None:
    topic_id, _ = await held_halfway(service)
    reader = status_reader(service, topic_id, "text=1&ping=1")
    forged = status_reader(service, topic_id, last_id=f"1-{len(HALF)}-done")
    async with reader.connected():
        await reader.until_text(len(HALF))
        await service.rows(REFUSE_CANCELS)
        problem(await service.http.post(f"/api/topics/{topic_id}/cancel"), 503, "database")
        while (await reader.until("status"))[-1].data["status"] != "cancelled":
            pass
        await wait_all_tasks_blocked(0.02)
        clock.jump(QUIET_SECONDS)
        unsettled = await reader.until("ping")
        async with forged.connected():
            (shown,) = await forged.until("status")
        await service.rows("DROP TRIGGER refuse")
        clock.jump(INSIST_SECONDS[-1])
        events = await reader.rest()

    assert names(unsettled) == ["ping"]
    assert (forged.status, shown.data["status"]) == (200, "cancelled")
    assert (events[-1].name, events[-1].data["status"]) == ("done", "cancelled")
    assert events[-1].data == await service.status(topic_id)


# Sections.


async def test_whole_sections_come_in_order_and_the_one_being_written_while_later_ones_are_done(start: Start) -> None:
    go = trio.Event()
    half_of_it = "".join(Script(text=sentences("Part 3")).cut[:20])
    before = (whole("Title", 6).partition(sentences("Part 3"))[0] + half_of_it).rstrip()
    async with start(section_concurrency=6) as service:
        service.claude.default = writing({"Part 3": [Script(hold=go, hold_at=20)]})
        topic_id = await service.topic("Title", plan=plan(6))
        reader = status_reader(service, topic_id)
        async with reader.connected():
            await reader.until("status")
            await service.generate(topic_id, mode="sections")
            await reader.until_text(len(before))
            await service.wait_for(topic_id, lambda status: status["sections_done"] == 5)
            late = status_reader(service, topic_id)
            async with late.connected():
                await late.until_text(len(reader.text))
            go.set()
            seen = reader.text
            await reader.rest()

        assert seen == late.text == before
        assert reader.text == await report(service, topic_id) == whole("Title", 6)


# While nothing is written.


@pytest.mark.parametrize("opened", ["before", "in the lull"])
async def test_text_written_just_before_claude_falls_silent_is_shown_within_a_second(
    service: Service, opened: str, blocked: list[str]
) -> None:
    go, topic_id = trio.Event(), await service.topic()
    service.claude.default = Script(text=TEXT, hold=go, hold_at=20)
    reader = status_reader(service, topic_id)
    if opened == "in the lull":
        await service.generate(topic_id)
        await (await service.claude.next_call()).held.wait()
        await service.wait_for(topic_id, lambda status: status["characters"] == len(HALF))
    async with reader.connected():
        await reader.until("status")
        if opened == "before":
            await service.generate(topic_id)
            await (await service.claude.next_call()).held.wait()
        with within(1, "the text", blocked), trio.fail_after(30):
            await reader.until_text(len(HALF))

    assert reader.text == HALF


async def test_a_lull_does_not_hide_that_claude_is_being_waited_for(start: Start, clock: MockClock) -> None:
    backoff = 0.01
    async with start(backoff_seconds=backoff) as service:
        service.claude.script(
            Script(text=TEXT, fault=Fault.CUT, at=20),
            Script.error(529, "overloaded_error", "Overloaded", retry_after=60),
        )
        topic_id = await service.topic()
        with logged("longhand.generate", "Trying again") as broke_off:
            await service.generate(topic_id)
            await broke_off.wait()
        await service.wait_for(topic_id, lambda status: status["attempt"] == 2)  # then it sleeps, and nothing else
        clock.jump(2 * backoff)
        before = await service.wait_until(topic_id, "generating", phase="waiting")
        for _ in range(2):
            clock.jump(PUBLISH_SECONDS)
            await wait_all_tasks_blocked(0.02)
        after = await service.status(topic_id)

    assert after["retry_at"]
    assert after == before


async def test_a_cancel_while_the_last_text_is_being_kept_is_recorded(start: Start) -> None:
    async with start() as service:
        topic_id, _ = await held_halfway(service)
        reader = status_reader(service, topic_id)
        async with locked_database(service.settings.data_dir), reader.connected():
            await reader.until("status")
            await wait_all_tasks_blocked(0.3)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(service.http.post, f"/api/topics/{topic_id}/cancel")
                await wait_all_tasks_blocked(0.02)
                nursery.cancel_scope.cancel()
        status = await service.ended(topic_id)
        late = status_reader(service, topic_id)
        await late.visit()

    assert status["status"] == "cancelled"
    assert late.text == HALF


async def begun(reader: Reader) -> None:
    """Read what a stream of an idle topic, or of a list without news, begins with."""
    await reader.sign()
    if "/status/" in reader.url:
        await reader.until("status")


async def test_a_comment_keeps_proxies_awake_every_15_seconds(clock: MockClock, service: Service) -> None:
    topic_id = await service.topic()
    for reader in (status_reader(service, topic_id), list_reader(service)):
        async with reader.connected():
            await begun(reader)
            for _ in range(3):
                await wait_all_tasks_blocked(0.02)  # what was read is sent, and the server knows it
                clock.jump(QUIET_SECONDS)
                await reader.sign()

        assert reader.comments == 3
        assert reader.last_id


async def test_a_ping_is_an_event_without_an_id_beside_the_comment(clock: MockClock, service: Service) -> None:
    topic_id = await service.topic()
    for reader in (status_reader(service, topic_id, "ping=1"), list_reader(service, "ping=1")):
        async with reader.connected():
            await begun(reader)
            await wait_all_tasks_blocked(0.02)
            clock.jump(QUIET_SECONDS)
            (ping,) = await reader.until("ping")

        assert (ping.data, ping.id) == ({}, None)
        assert reader.comments == 1


# Who may read, and how a stream is asked for.


async def test_head_answers_the_head_of_a_stream_and_starts_none(service: Service) -> None:
    for reader in (status_reader(service, await service.topic()), list_reader(service)):
        async with reader.connected("HEAD"):
            assert reader.status == 200
            assert await reader.rest() == []

        assert HEADERS.items() <= reader.headers.items()
        assert "content-length" not in reader.headers
        assert reader.retry is None


@pytest.mark.parametrize("path", ["/api/topics/stream", "/api/topics/1/status/stream"])
async def test_a_stream_needs_a_token_and_takes_no_other_method(service: Service, path: str) -> None:
    await service.topic()
    for token in (None, "wrong"):
        async with service.client(token) as client:
            answer = await client.get(path)
        problem(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"

    answer = await service.http.post(path)
    problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, HEAD"


async def test_a_topic_of_somebody_else_answers_as_one_that_does_not_exist(service: Service) -> None:
    mine = await service.topic()
    async with service.client(await add_token(service, "other")) as other:
        for topic_id in (mine, 999, 0, 2**63, 10**18, "9" * 5000):
            problem(await other.get(f"/api/topics/{topic_id}/status/stream"), 404, "not_found")


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("text=2", "/text"), ("text=", "/text"), ("text=true", "/text"), ("ping=yes", "/ping"), ("wait=1", "/wait"),
        ("text=1&more=1", "/more"), ("a/b~c=1", "/a~1b~0c"),
    ],
)  # fmt: skip
async def test_a_parameter_that_there_is_not_is_refused(service: Service, query: str, pointer: str) -> None:
    topic_id = await service.topic()

    assert pointers(await service.http.get(f"/api/topics/{topic_id}/status/stream?{query}")) == [pointer]


async def test_an_id_that_no_stream_gave_is_refused(service: Service) -> None:
    topic_id = await service.topic()
    streams = ((f"/api/topics/{topic_id}/status/stream", NO_IDS), ("/api/topics/stream", NO_LIST_IDS))
    for path, forged in streams:
        for last_id in forged:
            by_query = await service.http.get(path, params={"starting_after": last_id})
            assert pointers(by_query) == ["/starting_after"], last_id
            if last_id.isascii() and last_id == last_id.strip():
                by_header = await service.http.get(path, headers={"Last-Event-ID": last_id})
                assert pointers(by_header) == ["/starting_after"], last_id
        by_both = await service.http.get(path, params={"starting_after": "x"}, headers={"Last-Event-ID": "1-0"})
        assert pointers(by_both) == ["/starting_after"]


async def test_an_empty_id_begins_at_the_beginning(service: Service) -> None:
    topic_id = await completed(service)

    for reader in (status_reader(service, topic_id, "text=1&starting_after="), status_reader(service, topic_id)):
        reader.last_id = ""
        await reader.visit()

        assert reader.text == TEXT


@pytest.mark.parametrize("last_id", ["999-0", "1-999999999", f"{10**18 - 1}-{10**18 - 1}-done"])
async def test_an_id_from_beyond_the_end_loses_its_reader_nothing_but_what_they_say_they_have(
    service: Service, last_id: str
) -> None:
    topic_id = await completed(service)
    reader = Reader(f"{service.url}/api/topics/{topic_id}/status/stream?starting_after={last_id}")

    events = await reader.visit()

    assert names(events) == ["status", "done"]


async def test_a_revoked_token_ends_the_streams_that_were_opened_with_it(clock: MockClock, service: Service) -> None:
    token = await add_token(service, "other")
    async with service.client(token) as other:
        topic_id = (await other.post("/api/topics", json={"topic": "A topic"})).json()["data"]["id"]
    readers = [status_reader(service, topic_id, token=token), list_reader(service, token=token)]
    for reader in readers:
        async with reader.connected():
            await begun(reader)
            await service.rows("UPDATE tokens SET revoked_at = 'now' WHERE sha256 = :sha256", sha256=digest(token))
            await wait_all_tasks_blocked(0.02)
            clock.jump(max(TOKEN_SECONDS, QUIET_SECONDS))
            await reader.rest()
            await service.rows("UPDATE tokens SET revoked_at = NULL WHERE sha256 = :sha256", sha256=digest(token))

        assert "draining" not in names(reader.events)


# When the server stops, or its database does.


async def test_fifty_open_streams_are_told_and_do_not_hold_up_the_stop(start: Start) -> None:
    async with start(drain_seconds=60) as service:
        topic_id, finished = await service.topic(), await completed(service)
        running, _ = await held_halfway(service)
        ends: list[str] = []

        async def read(reader: Reader, task_status: trio.TaskStatus[None]) -> None:
            async with reader.connected():
                await reader.next()
                task_status.started()
                ends.append(([reader.events[-1], *await reader.rest()])[-1].name)

        async with trio.open_nursery() as nursery:
            for number in range(50):
                await nursery.start(read, status_reader(service, (topic_id, running)[number % 2]))
            await nursery.start(read, list_reader(service))
            began = trio.current_time()
            service.stop.set()
        told_after = trio.current_time() - began
        late = [status_reader(service, topic_id), status_reader(service, finished), list_reader(service)]
        late_ends = [(await reader.visit())[-1].name for reader in late]
        began = trio.current_time()
        service.hurry.set()
        await service.shut_down()

    assert ends == ["draining"] * 51
    assert late_ends == ["draining", "done", "draining"]
    assert told_after < GRACE_SECONDS
    assert trio.current_time() - began < GRACE_SECONDS


class ForgetfulStore(Store):
    """A store that cannot be read so many times."""

    outages = 0

    async def read(self, query: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self.outages:
            self.outages -= 1
            raise DatabaseFailed
        return await super().read(query, *args, **kwargs)


async def test_a_stream_outlives_a_database_that_cannot_be_used_for_a_while(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.routes.streams.OUTAGE_SECONDS", 0.0)
    async with start() as service:
        topic_id = await completed(service)
    threads = Threads(4)
    store = ForgetfulStore(service.settings.data_dir / DATABASE, threads)
    await threads.write(store.open)
    request = Request(
        {
            "type": "http",
            "headers": [(b"authorization", f"Bearer {ADMIN_TOKEN}".encode())],
            "state": {"store": store, "statuses": StatusMap(), "access": Access(store)},
        }
    )

    found = []
    source = TopicSource(request, TopicId(topic_id), NOWHERE, frozenset({"text"}))
    async for data in events_of(source, request.state["statuses"], frozenset(), b"retry: 3000\n\n"):
        store.outages = 3
        found.append(data.partition(b"\n")[0])
    await store.close()

    assert found == [b"retry: 3000", b"event: status", b"event: text", b"event: done"]

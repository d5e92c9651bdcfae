"""The event stream of a list: every topic that changes, once, for who is there, comes back, or was cut off."""

import trio

from tests.claude import Script, continuing
from tests.conftest import Start
from tests.events import Event, Reader, list_reader, status_reader
from tests.routes.client import add_token
from tests.routes.streams import HALF, HEADERS, TEXT, completed, held_halfway, names, shown_halfway
from tests.service import Service

FIELDS = {"id", "topic", "status", "phase", "progress_percent", "sections_done", "sections_total", "updated_at"}


async def all_news(readers: list[Reader], service: Service) -> None:
    """Let each reader connect, then stop the service, so that each is told what there is to tell, and `draining`."""

    async def read(reader: Reader, task_status: trio.TaskStatus[None]) -> None:
        async with reader.connected():
            task_status.started()
            await reader.rest()

    async with trio.open_nursery() as nursery:
        for reader in readers:
            await nursery.start(read, reader)
        service.stop.set()
    service.hurry.set()


def told(events: list[Event]) -> list[tuple[int, str]]:
    """Return which topics a reader of a list was told of, and their status."""
    return [(event.data["id"], event.data["status"]) for event in events if event.name == "topic"]


async def until_topic(reader: Reader, topic_id: int, status: str) -> list[Event]:
    """Read until a topic has this status."""
    found = await reader.until("topic")
    while told(found)[-1] != (topic_id, status):
        found += await reader.until("topic")
    return found


async def test_a_list_begins_with_what_is_unfinished_and_with_nothing_else(start: Start) -> None:
    async with start(max_concurrent=1) as service:
        await completed(service)
        await service.topic()
        generating = await shown_halfway(service, topic="One", plan="## A\n\n## B")
        queued = await service.topic("Two")
        await service.generate(queued)
        reader = list_reader(service)
        async with reader.connected():
            events = await reader.until("topic", 2)
        statuses = [await service.status(topic_id) for topic_id in (generating, queued)]

    assert HEADERS.items() <= reader.headers.items()
    assert reader.retry == 3000
    assert told(events) == [(queued, "queued"), (generating, "generating")] or told(events) == [
        (generating, "generating"), (queued, "queued"),
    ]  # fmt: skip
    for event, status in zip(sorted(events, key=lambda event: int(event.data["id"])), statuses, strict=True):
        assert set(event.data) == FIELDS
        same = FIELDS - {"id", "topic", "updated_at"}
        assert {name: event.data[name] for name in same} == {name: status[name] for name in same}
        assert event.data["topic"] == ("One" if event.data["id"] == generating else "Two")


async def test_a_user_is_told_of_their_own_topics_alone_and_an_admin_of_all(service: Service) -> None:
    token = await add_token(service, "other")
    theirs, everything = list_reader(service, token=token), list_reader(service)
    async with theirs.connected(), everything.connected(), service.client(token) as other:
        mine = await completed(service)
        their = (await other.post("/api/topics", json={"topic": "A topic"})).json()["data"]["id"]
        await other.post(f"/api/topics/{their}/generate")
        seen_by_them = await until_topic(theirs, their, "completed")
        seen_by_admin = await until_topic(everything, their, "completed")

    assert {topic_id for topic_id, _ in told(seen_by_them)} == {their}
    assert {topic_id for topic_id, _ in told(seen_by_admin)} == {mine, their}


async def test_what_changes_many_times_at_once_is_told_once_as_it_is_then(service: Service, lively: None) -> None:
    service.claude.default = Script(text=TEXT, pieces=200)
    topic_ids = [await service.topic() for _ in range(3)]
    reader, status = list_reader(service), status_reader(service, topic_ids[0], query="")
    async with reader.connected(), status.connected():
        await status.next()
        for topic_id in topic_ids:
            await service.generate(topic_id)
        await status.rest()
        events: list[Event] = []
        for topic_id in topic_ids:
            if (topic_id, "completed") not in told(events):
                events += await until_topic(reader, topic_id, "completed")

    noted = int((events[-1].id or "").split("-")[1])  # each change has its number
    assert len(events) < noted
    for topic_id in topic_ids:
        statuses = [status for found, status in told(events) if found == topic_id]
        assert statuses[-1] == "completed"
        assert "completed" not in statuses[:-1]


async def test_every_id_of_a_list_gives_each_topic_that_has_changed_since_once(start: Start, lively: None) -> None:
    async with start(max_concurrent=2, drain_seconds=60) as service:
        service.claude.default = Script(text=TEXT, pace=0.002)
        topic_ids = [await service.topic() for _ in range(5)]
        for topic_id in topic_ids:
            await service.generate(topic_id)
        first = list_reader(service)
        async with first.connected():
            events: list[Event] = []
            while len({topic_id for topic_id, status in told(events) if status == "completed"}) < len(topic_ids):
                events += await first.until("topic")
        again = [list_reader(service, last_id=event.id) for event in events]
        by_query = [list_reader(service, f"starting_after={event.id}", last_id=None) for event in events]
        await all_news([*again, *by_query], service)

    assert len(events) > 10
    for readers in (again, by_query):
        for number, reader in enumerate(readers, 1):
            missed = dict(told(events[number:]))
            assert sorted(told(reader.events)) == sorted((topic_id, "completed") for topic_id in missed), number
            assert names(reader.events)[-1] == "draining"


async def test_a_reader_of_a_list_learns_after_a_restart_what_has_ended_meanwhile(start: Start) -> None:
    async with start() as service:
        told_of = await completed(service)
        going_on, _ = await held_halfway(service)
        reader = list_reader(service)
        async with reader.connected():
            await until_topic(reader, going_on, "generating")
            before = await completed(service)
            await until_topic(reader, before, "completed")
            last_told = reader.last_id
            service.stop.set()
            await reader.rest()
        await service.shut_down()
    async with start() as between:
        between.claude.default = continuing(TEXT)
        await between.ended(going_on)
        ended = [await completed(between) for _ in range(2)]
        written_anew = await completed(between)
    async with start(drain_seconds=60) as again:
        await held_again(again, written_anew)
        late = [list_reader(again, last_id=last_id) for last_id in (reader.last_id, last_told, reader.last_id)]
        async with late[-1].connected():  # and is interrupted
            await late[-1].until("topic", 2)
        fresh = list_reader(again)
        await all_news([*late, fresh], again)

    expected = [(written_anew, "generating"), *((topic_id, "completed") for topic_id in (going_on, *ended))]
    assert told_of not in dict(expected)
    assert [told(each.events) for each in late] == [expected] * 3
    assert told(fresh.events) == expected[:1]


async def held_again(service: Service, topic_id: int) -> None:
    service.claude.default = Script(text=TEXT, hold=trio.Event(), hold_at=20)
    await service.generate(topic_id)
    async with status_reader(service, topic_id).connected() as reader:
        await reader.until_text(len(HALF))  # then nothing is left to be shown


async def test_an_id_of_a_list_gives_nothing_twice_after_a_restart(start: Start) -> None:
    async with start() as service:
        reader = list_reader(service)
        async with reader.connected():
            topic_id = await completed(service)
            await until_topic(reader, topic_id, "completed")
    async with start() as again:
        late = list_reader(again, last_id=reader.last_id)
        await all_news([late], again)

    assert names(late.events) == ["draining"]


async def test_a_deleted_topic_is_told_as_deleted_also_to_who_was_away(service: Service) -> None:
    topic_id, _ = await held_halfway(service)
    other = await shown_halfway(service)
    idle = await service.topic()
    reader, fresh = list_reader(service), list_reader(service)
    async with reader.connected():
        before = (await reader.until("topic", 2))[-1]
        for gone in (topic_id, idle):
            assert (await service.http.delete(f"/api/topics/{gone}")).status_code == 204
        deleted = [event for event in await reader.until("deleted", 2) if event.name == "deleted"]
    late = list_reader(service, last_id=before.id)
    last = list_reader(service, last_id=reader.last_id)
    await all_news([late, last, fresh], service)

    assert [event.data for event in deleted] == [{"id": topic_id}, {"id": idle}]
    assert all(event.id for event in deleted)
    assert [event.data for event in late.events if event.name == "deleted"] == [{"id": topic_id}, {"id": idle}]
    assert names(last.events) == ["draining"]
    assert {found for found, _ in told(fresh.events)} == {other}
    assert "deleted" not in names(fresh.events)


async def test_a_deleted_topic_of_somebody_else_is_not_told(service: Service) -> None:
    token = await add_token(service, "other")
    reader = list_reader(service, token=token)
    async with reader.connected(), service.client(token) as other:
        await service.http.delete(f"/api/topics/{await service.topic()}")
        mine = (await other.post("/api/topics", json={"topic": "A topic"})).json()["data"]["id"]
        events = await reader.until("topic")

    assert told(events) == [(mine, "idle")]


async def test_a_new_topic_and_a_changed_title_are_told_with_the_topics_own_words_and_time(service: Service) -> None:
    reader = list_reader(service)
    service.claude.default = Script(text=TEXT)
    async with reader.connected():
        added = (await service.http.post("/api/topics", json={"topic": "One"})).json()["data"]
        (new,) = await reader.until("topic")
        path = f"/api/topics/{added['id']}"
        changed = (await service.http.patch(path, json={"topic": "Two"})).json()["data"]
        (renamed,) = await reader.until("topic")
        await service.generate(added["id"])
        *_, ended = await until_topic(reader, added["id"], "completed")
        again = (await service.http.patch(path, json={"topic": "Three", "plan": "## A"})).json()["data"]
        (last,) = await reader.until("topic")
    told_of = list_reader(service, last_id=ended.id)
    await all_news([told_of], service)

    assert set(new.data) == set(last.data) == FIELDS
    assert [event.data["topic"] for event in (new, renamed, ended, last)] == ["One", "Two", "Two", "Three"]
    assert [event.data["status"] for event in (new, renamed, last)] == ["idle", "idle", "completed"]
    assert [event.data["updated_at"] for event in (new, renamed, last)] == [
        topic["updated_at"] for topic in (added, changed, again)
    ]
    assert told_of.events[0].data == last.data


async def test_a_title_that_was_changed_meanwhile_is_the_one_that_is_told_after_a_restart(start: Start) -> None:
    async with start() as service:
        topic_id, _ = await held_halfway(service, topic="One")
        await service.http.patch(f"/api/topics/{topic_id}", json={"topic": "Two"})
        await service.shut_down()
    async with start() as again:
        reader = list_reader(again)
        async with reader.connected():
            (event,) = await reader.until("topic")

    assert event.data["topic"] == "Two"


async def test_a_list_gives_an_id_before_its_first_event(service: Service) -> None:
    reader = list_reader(service)
    async with reader.connected():
        await reader.sign()
    first_id = reader.last_id
    topic_id = await completed(service)
    await all_news([reader], service)

    assert first_id is not None
    assert told(reader.events) == [(topic_id, "completed")]


async def test_who_is_cut_off_before_the_first_event_of_a_list_gets_the_unfinished_ones_all_the_same(
    service: Service,
) -> None:
    running, ended = await shown_halfway(service), await completed(service)
    reader = list_reader(service)
    async with reader.connected():
        await reader.sign()
    await all_news([reader], service)

    assert told(reader.events)[:1] == [(running, "generating")]
    assert {topic_id for topic_id, _ in told(reader.events)} <= {running, ended}

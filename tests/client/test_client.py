"""The client against the real server, on asyncio and on Trio."""

import json

import pytest
import trio
from trio.testing import MockClock

from app.client import (
    Client,
    ClientError,
    DoneEvent,
    LonghandProblem,
    NotLonghand,
    Status,
    StatusEvent,
    TextEvent,
    Unreachable,
)
from tests.claude import Script, numbered_text
from tests.client.between import answer, between, canned
from tests.client.both import run_on
from tests.routes.streams import completed, held_halfway
from tests.service import ADMIN_TOKEN, Service

REPORT = numbered_text(200)
BOTH = pytest.mark.parametrize("backend", ["trio", "asyncio"])
PROBLEM = json.dumps({"code": "queue_full", "detail": "The queue is full.", "status": 503, "request_id": "r-1"})
FULL = answer("503 Full", PROBLEM, "Retry-After: 1", kind="application/problem+json")
IDLE = json.dumps({"data": {"topic_id": 1, "status": "idle", "colour": "red", "usage": {"input_tokens": None}}})


@BOTH
async def test_a_report_from_the_topic_to_its_deletion(service: Service, backend: str) -> None:
    service.claude.default = Script(text=REPORT)

    async def program() -> None:
        async with Client(service.url, ADMIN_TOKEN) as client:
            topic = await client.add_topic("Tides", plan="## Section 1", language="en")
            changed = await client.change_topic(topic.id, topic="Ebbs")
            accepted = await client.generate(topic.id, mode="sections", instructions="Be brief.")
            status = await client.wait(topic.id)
            (artifact,) = await client.artifacts(topic.id)
            text = await client.download(artifact.id)
            generations = await client.generations(topic.id)
            listed = await client.topics(status="completed")
            await client.delete_topic(topic.id)
            with pytest.raises(LonghandProblem) as told:
                await client.topic(topic.id)

        assert (changed.topic, changed.plan) == ("Ebbs", "## Section 1")
        assert (status.status, status.generation_id) == ("completed", accepted.generation_id)
        assert status.usage.output_tokens
        assert status.completed_at
        assert status.created_at
        assert status.completed_at > status.created_at
        assert text.startswith("# ")
        assert artifact.size == len(text.encode())
        assert generations == [status]
        assert [one.id for one in listed] == [topic.id]
        assert (told.value.status, told.value.code) == (404, "not_found")
        assert told.value.request_id

    await run_on(backend, program)


@BOTH
async def test_a_watch_gives_every_piece_of_the_text_once_and_then_the_end(service: Service, backend: str) -> None:
    service.claude.default = Script(text=REPORT)

    async def program() -> tuple[str, list[int], Status]:
        async with Client(service.url, ADMIN_TOKEN) as client:
            topic = await client.add_topic("Tides")
            await client.generate(topic.id)
            events = [event async for event in client.watch(topic.id, text=True)]
        pieces = [event for event in events if isinstance(event, TextEvent)]
        assert isinstance(events[-1], DoneEvent)
        return "".join(piece.text for piece in pieces), [piece.offset for piece in pieces], events[-1].status

    text, offsets, status = await run_on(backend, program)

    assert text.strip() == REPORT.strip()
    assert offsets[0] == 0
    assert status.status == "completed"


@BOTH
async def test_a_watch_goes_on_over_cut_connections_with_nothing_lost_and_nothing_twice(
    service: Service, backend: str
) -> None:
    go_on = trio.Event()
    token = trio.lowlevel.current_trio_token()
    service.claude.script(Script(text=REPORT, hold=go_on, hold_at=10))
    topic_id = await service.topic()
    await service.generate(topic_id)
    call = await service.claude.next_call()
    await call.held.wait()

    async with between(service.url) as proxy:

        def cut_and_go_on() -> None:
            if proxy.connections < 3:
                proxy.cut()
            else:
                go_on.set()

        async def program() -> str:
            text = ""
            async with Client(proxy.url, ADMIN_TOKEN) as client:
                async for event in client.watch(topic_id, text=True):
                    if isinstance(event, TextEvent):
                        assert event.offset == len(text)
                        text += event.text
                    token.run_sync_soon(cut_and_go_on)
            return text

        text = await run_on(backend, program)

        assert text.strip() == REPORT.strip()
        assert proxy.connections == 3


async def test_cancelling_a_step_of_a_watch_loses_nothing(service: Service) -> None:
    go = trio.Event()
    half = len("".join(Script(text=REPORT).cut[:20]).rstrip())
    service.claude.script(Script(text=REPORT, hold=go, hold_at=20))
    topic_id = await service.topic()
    await service.generate(topic_id)
    await (await service.claude.next_call()).held.wait()

    async with Client(service.url, ADMIN_TOKEN) as client:
        watch, events = client.watch(topic_id, text=True), []

        async def step(scope: trio.CancelScope) -> None:
            with scope:
                while True:
                    events.append(await anext(watch))

        while sum(len(event.text) for event in events if isinstance(event, TextEvent)) < half:
            events.append(await anext(watch))
        for _ in range(2):
            async with trio.open_nursery() as nursery:
                scope = trio.CancelScope()
                nursery.start_soon(step, scope)
                await trio.testing.wait_all_tasks_blocked()  # the step waits for what Claude holds back
                scope.cancel()
        go.set()
        events += [event async for event in watch]

    text = "".join(event.text for event in events if isinstance(event, TextEvent))
    assert text == (await service.http.get("/api/artifacts/1/download")).text
    assert sum(isinstance(event, DoneEvent) for event in events) == 1


async def test_a_watch_can_be_gone_on_with_by_another(service: Service) -> None:
    topic_id = await completed(service, REPORT)

    async with Client(service.url, ADMIN_TOKEN) as client:
        first = client.watch(topic_id, text=True)
        begun = [await anext(first), await anext(first)]
        rest = [event async for event in client.watch(topic_id, text=True, after=first.position)]
        again = [event async for event in client.watch(topic_id, text=True, after=None)]
        last = client.watch(topic_id)
        assert [type(event) async for event in last] == [StatusEvent, DoneEvent]
        over = [event async for event in client.watch(topic_id, after=last.position)]

    def text(events: list[object]) -> str:
        return "".join(event.text for event in events if isinstance(event, TextEvent))

    assert text([*begun, *rest]) == text(list(again))
    assert over == []  # the server answers 204


async def test_a_line_without_a_byte_is_given_up_and_made_anew(service: Service, clock: MockClock) -> None:
    topic_id, _ = await held_halfway(service)

    async with between(service.url) as proxy, Client(proxy.url, ADMIN_TOKEN) as client:
        watch = client.watch(topic_id, outages=True)
        await anext(watch)
        proxy.holding = True
        with trio.fail_after(200):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(jump, clock, 46.0)
                outage = await anext(watch)
            proxy.holding = False
            async with trio.open_nursery() as nursery:
                nursery.start_soon(jump, clock, 60.0)
                event = await anext(watch)

    assert "took too long" in str(outage)
    assert isinstance(event, StatusEvent)
    assert proxy.connections == 2


async def test_the_list_tells_of_every_topic_and_of_its_end(service: Service) -> None:
    async with Client(service.url, ADMIN_TOKEN) as client:
        watch = client.watch_topics()
        async with trio.open_nursery() as nursery:
            topics: list[str] = []

            async def listen() -> None:
                async for event in watch:
                    topics.append(type(event).__name__)
                    if topics[-1] == "DeletedEvent":
                        return

            nursery.start_soon(listen)
            topic = await client.add_topic("Tides")
            await service.wait_for(topic.id, lambda _: True)
            await client.delete_topic(topic.id)

    assert topics[-1] == "DeletedEvent"


@BOTH
async def test_an_order_whose_answer_was_lost_starts_one_generation(service: Service, backend: str) -> None:
    topic_id = await service.topic()

    async with between(service.url) as proxy:

        async def program() -> int:
            async with Client(proxy.url, ADMIN_TOKEN) as client:
                await client.topic(topic_id)
                proxy.swallow = 1
                return (await client.generate(topic_id)).generation_id

        generation_id = await run_on(backend, program)

    assert [row["id"] for row in await service.rows("SELECT id FROM generations")] == [generation_id]


async def test_a_topic_whose_answer_was_lost_is_not_added_twice(service: Service) -> None:
    async with between(service.url) as proxy, Client(proxy.url, ADMIN_TOKEN) as client:
        await client.topics()
        proxy.swallow = 1
        with pytest.raises(Unreachable):
            await client.add_topic("Tides")

    assert len(await service.rows("SELECT id FROM topics")) == 1


async def test_a_deletion_whose_answer_was_lost_is_one_that_worked(service: Service) -> None:
    topic_id = await service.topic()

    async with between(service.url) as proxy, Client(proxy.url, ADMIN_TOKEN) as client:
        await client.topics()
        proxy.swallow = 1
        await client.delete_topic(topic_id)
        with pytest.raises(LonghandProblem):
            await client.delete_topic(topic_id)


async def test_waiting_goes_on_over_cut_connections(service: Service) -> None:
    go = trio.Event()
    service.claude.script(Script(text=REPORT, hold=go, hold_at=10))
    topic_id = await service.topic()
    await service.generate(topic_id)
    await (await service.claude.next_call()).held.wait()

    async with between(service.url) as proxy, Client(proxy.url, ADMIN_TOKEN) as client:

        async def cut() -> None:
            await proxy.connected(1)
            await trio.testing.wait_all_tasks_blocked()
            proxy.cut()
            await proxy.connected(2)
            go.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(cut)
            status = await client.wait(topic_id)

    assert status.status == "completed"


# What goes wrong


@pytest.mark.parametrize("token", ["토큰", "a b", "a\nb"])
def test_what_can_be_no_token_is_refused(token: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII"):
        Client("localhost", token)


async def test_a_refusal_that_says_when_to_come_back_is_repeated_for_what_is_safe() -> None:
    async with canned(FULL, answer("200 OK", IDLE)) as server, Client(server.url, "token") as client:
        assert (await client.status(1)).status == "idle"
        assert server.requests == ["GET /api/topics/1/status HTTP/1.1"] * 2


async def test_what_is_not_safe_is_asked_once_and_the_refusal_tells_all() -> None:
    async with canned(FULL) as server, Client(server.url, "token") as client:
        with pytest.raises(LonghandProblem) as told:
            await client.add_topic("Tides")

    assert server.requests == ["POST /api/topics HTTP/1.1"]
    problem = told.value
    assert (problem.status, problem.code, problem.detail) == (503, "queue_full", "The queue is full.")
    assert (problem.retry_after, problem.request_id) == (1.0, "r-1")


async def test_nobody_waits_longer_than_their_patience() -> None:
    async with canned(FULL) as server, Client(server.url, "token", patience=0.5) as client:
        with pytest.raises(LonghandProblem):
            await client.status(1)

    assert len(server.requests) == 1


async def test_members_that_are_not_known_are_left_out() -> None:
    async with canned(answer("200 OK", IDLE)) as server, Client(server.url, "token") as client:
        assert await client.status(1) == Status(topic_id=1, status="idle")


async def test_a_fault_is_named(service: Service) -> None:
    async with Client(service.url, ADMIN_TOKEN) as client:
        with pytest.raises(LonghandProblem) as told:
            await client.add_topic("x" * 201)

    assert str(told.value) == "topic: This text has at most 200 characters."
    assert [fault.pointer for fault in told.value.errors] == ["/topic"]


@pytest.mark.parametrize(
    ("raw", "kind", "told"),
    [
        (answer("200 OK", "<h1>Hello</h1>", kind="text/html"), NotLonghand, "is not Longhand. Check the address"),
        (answer("404 Not Found", "<h1>No</h1>", kind="text/html"), NotLonghand, "is not Longhand (404 Not Found)"),
        (answer("200 OK", '{"data": {"colour": "red"}}'), NotLonghand, "is not what Longhand answers"),
        (answer("301 Moved", "", "Location: https://127.0.0.1/api"), NotLonghand, "It asks for https: write https://"),
        (answer("302 Found", "", "Location: http://other.example.org/x"), NotLonghand, "http://other.example.org/x"),
        (answer("400 Bad", "sent to HTTPS port", kind="text/html"), NotLonghand, "It speaks https: write https://"),
        (answer("502 Bad Gateway", "<h1>Oh</h1>", kind="text/html"), Unreachable, "cannot reach it (502 Bad Gateway)"),
        (b"\x15\x03\x01\x00\x02\x02\x46", Unreachable, "If it speaks https, write https://127.0.0.1"),
    ],
)
async def test_what_answers_instead_of_longhand_is_told_with_what_to_do(
    raw: bytes, kind: type[ClientError], told: str
) -> None:
    async with canned(raw) as server, Client(server.url, "token", patience=0) as client:
        with pytest.raises(kind) as error:
            await client.status(1)

    assert type(error.value) is kind
    assert told in str(error.value)


async def test_https_to_a_server_that_speaks_http_is_told(service: Service) -> None:
    async with Client(service.url.replace("http:", "https:"), ADMIN_TOKEN) as client:
        with pytest.raises(Unreachable, match=f"There is no https at .* Try {service.url}"):
            await client.topics()


async def test_an_address_that_never_answered_is_told_at_once() -> None:
    async with Client("http://127.0.0.1:9", "token") as client:
        with trio.fail_after(20):
            with pytest.raises(Unreachable, match="Check the address, and that the server runs"):
                await client.status(1)
            with pytest.raises(Unreachable):
                await anext(client.watch(1))


@pytest.mark.parametrize(("token", "topic", "status"), [("wrong-token", 1, 401), (ADMIN_TOKEN, 999, 404)])
async def test_a_watch_gives_up_on_what_cannot_heal(service: Service, token: str, topic: int, status: int) -> None:
    await service.topic()
    async with Client(service.url, token) as client:
        with pytest.raises(LonghandProblem) as told:
            await anext(client.watch(topic))

    assert told.value.status == status


async def test_no_proxy_is_asked_for_this_machine(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")

    async with Client(service.url, ADMIN_TOKEN) as client:
        assert await client.topics() == []


async def test_long_lists_are_read_to_their_end(service: Service) -> None:
    async with Client(service.url, ADMIN_TOKEN) as client:
        for number in range(103):
            await client.add_topic(f"Topic {number}")
        everything, three = await client.topics(), await client.topics(most=3)

    assert [topic.topic for topic in everything] == [f"Topic {number}" for number in reversed(range(103))]
    assert three == everything[:3]


async def jump(clock: MockClock, seconds: float) -> None:
    """Let the time pass when nothing else is left to do."""
    await trio.testing.wait_all_tasks_blocked(0.05)
    clock.jump(seconds)

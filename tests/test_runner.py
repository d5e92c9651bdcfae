"""What the runner promises, on a real server: siblings, cancels, claims, limits, turns, stops and restarts."""

import shutil
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from app.directory import DATABASE, REPORTS
from app.errors import ShuttingDown
from app.files import Files
from app.models import Order, Topic, TopicId
from app.queries import generations, topics, users
from app.settings import Settings
from app.state import State, open_state
from app.store import open_database
from app.threads import Threads
from tests.claude import BEFORE_HEADERS, Call, Ending, FakeClaude, Script, continuing, numbered_text
from tests.conftest import Start
from tests.fairwatch import within
from tests.service import Service, locked_database, running, settings_for

LONG = numbered_text(400)
"""Long enough to be kept in the store, in part, while it is written."""

MIDDLE = 30


async def held_call(service: Service) -> Call:
    """Wait until the next call waits for the script's `hold`."""
    call = await service.claude.next_call()
    await call.held.wait()
    return call


async def begin(service: Service, script: Script, topic: str = "A topic") -> tuple[int, Call]:
    """Start a generation and wait until its call waits for the script's `hold`."""
    service.claude.script(script)
    topic_id = await service.topic(topic)
    await service.generate(topic_id)
    return topic_id, await held_call(service)


async def all_taken_in(service: Service, topic_id: int, call: Call) -> None:
    """Wait until the service has taken in all that Claude has sent."""
    await service.wait_for_characters(topic_id, len(call.text_sent.strip()))


async def kept(service: Service) -> str:
    """Return the text that the store keeps to go on from."""
    rows = await service.rows("SELECT text FROM checkpoints ORDER BY generation_id, section, start")
    return "".join(row["text"] for row in rows)


async def post(service: Service, path: str, **more: Any) -> httpx2.Response:
    return await service.http.post(f"/api/topics/{path}", **more)


async def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Make these calls at the same time and return what they return."""
    answers: list[Any] = []

    async def answer(call: Callable[[], Any]) -> None:
        answers.append(await call())

    async with trio.open_nursery() as nursery:
        for call in calls:
            nursery.start_soon(answer, call)
    return answers


async def start_to_stop(service: Service, topic_id: int) -> None:
    """Ask the service to stop, and wait until it has begun to drain: that wakes every long poll."""
    etag = (await service.http.get(f"/api/topics/{topic_id}/status")).headers["etag"]
    service.stop.set()
    with trio.fail_after(10):
        await service.http.get(f"/api/topics/{topic_id}/status?wait=20", headers={"If-None-Match": etag})


async def history(service: Service, topic_id: int) -> list[dict[str, Any]]:
    data: list[dict[str, Any]] = (await service.http.get(f"/api/topics/{topic_id}/generations")).json()["data"]
    return data


async def ledger(service: Service) -> list[str]:
    return [row["state"] for row in await service.rows("SELECT state FROM ai_usage ORDER BY id")]


async def generations_in_store(service: Service) -> list[tuple[int, str, int]]:
    sql = "SELECT topic_id, status, attempt FROM generations ORDER BY id"
    return [(row["topic_id"], row["status"], row["attempt"]) for row in await service.rows(sql)]


async def count(service: Service, table: str) -> int:
    rows = await service.rows(f"SELECT COUNT(*) AS count FROM {table}")
    return int(rows[0]["count"])


def topic_of(call: Call) -> str:
    """Return which topic a call is about."""
    text: str = call.body["messages"][0]["content"][0]["text"]
    return text.partition("<topic>\n")[2].partition("\n</topic>")[0]


async def add_user(settings: Settings, name: str) -> str:
    """Add a user, as the command line does beside a running server, and return their token."""

    def add() -> str:
        token = users.new_token()
        with closing(open_database(settings.data_dir / DATABASE)) as db, db.atomic():
            user = users.add_user(db, name, is_admin=False)
            assert user is not None
            users.add_token(db, user.id, token, "")
        return token

    return await trio.to_thread.run_sync(add)


# Siblings


async def test_a_failing_generation_leaves_its_siblings_alone(service: Service) -> None:
    go = trio.Event()
    siblings = [(await begin(service, Script(hold=go, hold_at=MIDDLE), f"Sibling {n}"))[0] for n in range(2)]
    service.claude.script(Script.error_event("invalid_request_error", at=3))
    failing = await service.topic("Failing")

    await service.generate(failing)
    failed = await service.ended(failing)
    meanwhile = [await service.status(topic_id) for topic_id in siblings]
    go.set()
    ended = [await service.ended(topic_id) for topic_id in siblings]

    assert failed["status"] == "failed"
    assert [status["status"] for status in meanwhile] == ["generating"] * 2
    assert [status["status"] for status in ended] == ["completed"] * 2


# Cancel


async def test_a_cancel_closes_the_call_to_claude_within_a_second_and_is_recorded(
    service: Service, blocked: list[str]
) -> None:
    topic_id, call = await begin(service, Script(text=LONG, hold=trio.Event(), hold_at=MIDDLE))
    await all_taken_in(service, topic_id, call)

    answer = await post(service, f"{topic_id}/cancel")
    with within(1, "the end of the call's connection", blocked), trio.fail_after(5):
        await call.gone.wait()

    cancelled = answer.json()["data"]
    assert answer.status_code == 202
    assert (cancelled["status"], cancelled["phase"], cancelled["error_code"]) == ("cancelled", "done", None)
    assert cancelled["completed_at"] is not None
    assert await history(service, topic_id) == [cancelled] == [await service.status(topic_id)]
    assert await ledger(service) == ["cancelled"]
    assert [await count(service, table) for table in ("artifacts", "messages")] == [0, 0]
    assert await kept(service) == call.text_sent
    assert service.files() == []


async def test_a_cancel_reaches_a_call_that_has_no_answer_yet(service: Service) -> None:
    topic_id, call = await begin(service, Script(hold=trio.Event(), hold_at=BEFORE_HEADERS))

    answer = await post(service, f"{topic_id}/cancel")
    with trio.fail_after(5):
        await call.gone.wait()

    assert answer.status_code == 202
    assert await ledger(service) == ["cancelled"]


async def test_a_topic_can_be_generated_again_after_a_cancel(service: Service) -> None:
    topic_id, _ = await begin(service, Script(hold=trio.Event()))
    await post(service, f"{topic_id}/cancel")

    await service.generate(topic_id)
    ended = await service.ended(topic_id)

    assert ended["status"] == "completed"
    assert [status["status"] for status in await history(service, topic_id)] == ["completed", "cancelled"]


async def test_what_is_cancelled_while_queued_never_calls_claude(start: Start) -> None:
    go = trio.Event()
    async with start(max_concurrent=1) as service:
        first, _ = await begin(service, Script(hold=go))
        second = await service.topic("Second")
        accepted = await service.generate(second)

        answer = await post(service, f"{second}/cancel")
        go.set()
        await service.ended(first)

        assert accepted["status"] == "queued"
        assert answer.status_code == 202
        assert (await history(service, second))[0]["status"] == "cancelled"
        assert await generations_in_store(service) == [(first, "completed", 1), (second, "cancelled", 0)]
        assert len(service.claude.calls) == 1
        assert await ledger(service) == ["completed"]


@pytest.mark.parametrize("passes", [0, 3, 10, 20, 30, 45, 60, 90])
async def test_a_cancel_that_races_with_the_end_has_one_outcome_and_the_answer_agrees(
    service: Service, passes: int
) -> None:
    go = trio.Event()
    topic_id, _ = await begin(service, Script(hold=go, hold_at=42))

    go.set()
    for _ in range(passes):
        await trio.lowlevel.checkpoint()
    answer = await post(service, f"{topic_id}/cancel")

    outcome = answer.json()["data"]
    assert (answer.status_code, outcome["status"]) in {(202, "cancelled"), (200, "completed")}
    assert await history(service, topic_id) == [outcome]
    reports = int(outcome["status"] == "completed")
    assert await count(service, "artifacts") == reports
    assert len(service.files()) == reports
    assert (await service.http.get(f"/api/topics/{topic_id}")).json()["data"]["status"] == outcome["status"]


async def test_a_second_cancel_finds_the_generation_cancelled(service: Service) -> None:
    topic_id, _ = await begin(service, Script(hold=trio.Event()))

    together = await at_once(*[partial(post, service, f"{topic_id}/cancel")] * 3)
    later = await post(service, f"{topic_id}/cancel")

    assert sorted(answer.status_code for answer in together) == [200, 200, 202]
    assert later.status_code == 200
    assert {answer.json()["data"]["status"] for answer in [*together, later]} == {"cancelled"}


async def test_a_cancel_of_what_has_ended_answers_how_it_ended_and_of_nothing_409(service: Service) -> None:
    completed, idle = await service.topic("Completed"), await service.topic("Idle")
    await service.generate(completed)
    await service.ended(completed)

    after_the_end = await post(service, f"{completed}/cancel")
    of_nothing = await post(service, f"{idle}/cancel")

    assert (after_the_end.status_code, after_the_end.json()["data"]["status"]) == (200, "completed")
    assert (of_nothing.status_code, of_nothing.json()["code"]) == (409, "nothing_to_cancel")


async def test_a_cancel_is_recorded_though_the_database_is_busy_at_that_moment(service: Service) -> None:
    topic_id, call = await begin(service, Script(hold=trio.Event()))
    answers: list[httpx2.Response] = []

    async def cancel() -> None:
        answers.append(await post(service, f"{topic_id}/cancel"))

    async with trio.open_nursery() as nursery, locked_database(service.settings.data_dir):
        nursery.start_soon(cancel)
        await call.gone.wait()

    assert answers[0].status_code == 202
    assert await generations_in_store(service) == [(topic_id, "cancelled", 1)]
    assert await ledger(service) == ["cancelled"]


async def test_a_cancel_that_the_database_does_not_take_answers_503_and_holds_once_it_does(service: Service) -> None:
    topic_id, call = await begin(service, Script(hold=trio.Event()))

    async with locked_database(service.settings.data_dir):
        answer = await post(service, f"{topic_id}/cancel")
        shown = await service.status(topic_id)
        stored = await generations_in_store(service)
    with trio.fail_after(10):
        while (again := await post(service, f"{topic_id}/generate")).status_code == 409:
            pass

    assert (answer.status_code, answer.json()["code"]) == (503, "database")
    assert call.gone.is_set()
    assert shown["status"] == "cancelled"
    assert stored == [(topic_id, "generating", 1)]
    assert again.status_code == 202
    await service.ended(topic_id)
    assert await generations_in_store(service) == [(topic_id, "cancelled", 1), (topic_id, "completed", 1)]
    assert await ledger(service) == ["cancelled", "completed"]


# Claims


async def test_of_ten_posts_at_once_exactly_one_claims_the_topic(service: Service) -> None:
    service.claude.default = Script(hold=trio.Event())
    topic_id = await service.topic()

    answers = await at_once(*[partial(post, service, f"{topic_id}/generate")] * 10)

    (accepted,) = [answer.json()["data"] for answer in answers if answer.status_code == 202]
    refused = [answer.json() for answer in answers if answer.status_code == 409]
    assert len(refused) == 9
    for problem in refused:
        assert problem["code"] == "generation_in_progress"
        assert problem["generation_id"] == accepted["generation_id"]
        assert problem["status_url"] == f"/api/topics/{topic_id}/status"
    assert await generations_in_store(service) == [(topic_id, "generating", 1)]


async def test_a_claim_that_another_process_made_is_found_out_by_the_database(service: Service) -> None:
    topic_id = await service.topic()
    await service.generate(topic_id)
    first = await service.ended(topic_id)
    await service.rows("UPDATE generations SET status = 'generating', attempt = 7")

    answer = await post(service, f"{topic_id}/generate", json={"topic": "Another"})

    assert (answer.status_code, answer.json()["code"]) == (409, "generation_in_progress")
    assert answer.json()["generation_id"] == first["generation_id"]
    assert (await service.http.get(f"/api/topics/{topic_id}")).json()["data"]["topic"] == "A topic"


async def test_ten_posts_at_once_with_one_key_start_one_generation_and_all_answer_the_same(service: Service) -> None:
    service.claude.default = Script(hold=trio.Event())
    topic_id = await service.topic()
    send = partial(post, service, f"{topic_id}/generate", headers={"Idempotency-Key": "once"}, json={})

    answers = await at_once(*[send] * 10)

    assert [answer.status_code for answer in answers] == [202] * 10
    assert len({answer.text for answer in answers}) == 1
    assert Counter(answer.headers.get("Idempotency-Replayed") for answer in answers) == {"true": 9, None: 1}
    assert await count(service, "generations") == 1


async def test_one_key_at_once_for_two_topics_starts_one_of_them(service: Service) -> None:
    service.claude.default = Script(hold=trio.Event())
    topic_ids = [await service.topic(f"Topic {number}") for number in range(2)]
    key = {"Idempotency-Key": "once"}

    answers = await at_once(*[partial(post, service, f"{topic_id}/generate", headers=key) for topic_id in topic_ids])

    assert sorted(answer.status_code for answer in answers) == [202, 422]
    assert await count(service, "generations") == 1


# Limits and turns


async def test_a_full_queue_refuses_and_takes_again_when_there_is_room(start: Start) -> None:
    async with start(max_concurrent=1, max_queued=1) as service:
        service.claude.default = Script(hold=trio.Event())
        begun, queued, refused = [await service.topic(f"Topic {number}") for number in range(3)]
        words = [(await service.generate(topic_id))["status"] for topic_id in (begun, queued)]

        full = await post(service, f"{refused}/generate")
        await post(service, f"{queued}/cancel")
        again = await service.generate(refused)

        assert words == ["generating", "queued"]
        assert (full.status_code, full.json()["code"]) == (503, "queue_full")
        assert int(full.headers["Retry-After"]) > 0
        assert again["status"] == "queued"
        assert len(await generations_in_store(service)) == 3


async def test_a_user_over_their_limit_is_refused_and_others_are_not(start: Start) -> None:
    async with start(max_per_user=2) as service:
        service.claude.default = Script(hold=trio.Event())
        mine = [await service.topic(f"Topic {number}") for number in range(3)]
        for topic_id in mine[:2]:
            await service.generate(topic_id)

        refused = await post(service, f"{mine[2]}/generate")
        async with service.client(await add_user(service.settings, "other")) as other:
            theirs = (await other.post("/api/topics", json={"topic": "Theirs"})).json()["data"]["id"]
            accepted = await other.post(f"/api/topics/{theirs}/generate")
        await post(service, f"{mine[0]}/cancel")
        again = await post(service, f"{mine[2]}/generate")

        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_generations")
        assert int(refused.headers["Retry-After"]) > 0
        assert accepted.status_code == 202
        assert again.status_code == 202


async def test_what_was_refused_gives_back_its_place(start: Start) -> None:
    async with start(max_per_user=1, max_concurrent=1, max_queued=0) as service:
        topic_id = await service.topic()
        await service.generate(topic_id)
        await service.ended(topic_id)
        await service.rows("UPDATE generations SET status = 'generating', attempt = 7")

        refused = [await post(service, f"{topic_id}/generate") for _ in range(3)]
        other = await service.topic("Other")
        accepted = await service.generate(other)

        assert [answer.json()["code"] for answer in refused] == ["generation_in_progress"] * 3
        assert accepted["status"] == "generating"


async def test_no_more_run_at_once_than_there_are_places(start: Start) -> None:
    at_the_same_time: list[int] = []
    go = trio.Event()

    def count_open_calls(body: dict[str, Any]) -> Script:
        at_the_same_time.append(sum(call.ending is None for call in service.claude.calls))
        return Script(hold=go, hold_at=MIDDLE)

    async with start(max_concurrent=3) as service:
        service.claude.default = count_open_calls
        topic_ids = [await service.topic(f"Topic {number}") for number in range(8)]
        for topic_id in topic_ids:
            await service.generate(topic_id)
        for _ in range(3):
            await held_call(service)
        meanwhile = Counter([(await service.status(topic_id))["status"] for topic_id in topic_ids])
        go.set()
        ended = [(await service.ended(topic_id))["status"] for topic_id in topic_ids]

    assert meanwhile == {"generating": 3, "queued": 5}
    assert ended == ["completed"] * 8
    assert max(at_the_same_time) == 3


async def test_users_take_turns_and_each_keeps_their_order(start: Start) -> None:
    go = trio.Event()
    async with start(max_concurrent=1) as service:
        service.claude.default = Script(hold=go)
        mine = [await service.topic(f"Mine {number}") for number in range(1, 6)]
        for topic_id in mine:
            await service.generate(topic_id)
        async with service.client(await add_user(service.settings, "other")) as other:
            for number in (1, 2):
                answer = await other.post("/api/topics", json={"topic": f"Theirs {number}"})
                await other.post(f"/api/topics/{answer.json()['data']['id']}/generate")

        go.set()
        for topic_id in mine:
            await service.ended(topic_id)

        order = [topic_of(call) for call in service.claude.calls]
        assert order == ["Mine 1", "Mine 2", "Theirs 1", "Mine 3", "Theirs 2", "Mine 4", "Mine 5"]


# Delete


async def test_a_delete_cancels_what_runs_and_removes_rows_and_files(service: Service) -> None:
    topic_id = await service.topic()
    await service.generate(topic_id)
    await service.ended(topic_id)
    service.claude.default = Script(text=LONG, hold=trio.Event(), hold_at=MIDDLE)
    await service.generate(topic_id)
    await service.claude.next_call()
    call = await held_call(service)
    files = service.files()

    answer = await service.http.delete(f"/api/topics/{topic_id}")
    with trio.fail_after(5):
        await call.gone.wait()

    tables = ("topics", "generations", "artifacts", "messages", "checkpoints")
    assert files == [f"{topic_id}/1.md"]
    assert answer.status_code == 204
    assert (await service.http.get(f"/api/topics/{topic_id}/status")).status_code == 404
    assert [await count(service, table) for table in tables] == [0] * 5
    assert list((service.settings.data_dir / REPORTS).glob("[!.]*")) == []
    assert service.files() == []
    assert await ledger(service) == ["completed", "cancelled"]


async def test_a_delete_that_meets_a_start_leaves_nothing_running(service: Service) -> None:
    service.claude.default = Script(hold=trio.Event())
    topic_id = await service.topic()
    answers: list[httpx2.Response] = []

    async def delete() -> None:
        answers.append(await service.http.delete(f"/api/topics/{topic_id}"))

    async with trio.open_nursery() as nursery, locked_database(service.settings.data_dir):
        nursery.start_soon(post, service, f"{topic_id}/generate")
        await wait_all_tasks_blocked(0.05)
        nursery.start_soon(delete)
        await wait_all_tasks_blocked(0.05)
    await wait_all_tasks_blocked(0.05)

    assert [answer.status_code for answer in answers] == [204]
    assert [call.ending for call in service.claude.calls if call.ending is not Ending.GONE] == []
    assert [await count(service, table) for table in ("topics", "generations")] == [0, 0]


async def test_a_delete_that_has_begun_is_ended_though_its_caller_is_gone(
    settings: Callable[..., Settings], claude: FakeClaude
) -> None:
    release = threading.Event()
    async with state_with_topic(settings()) as (state, topic):
        await state["runner"].start(topic, Order(), None)
        while state["statuses"].get(topic.id) is not None:
            await state["statuses"].next_change(topic.id).wait()
        caller = trio.CancelScope()

        async def delete() -> None:
            with caller:
                await state["runner"].delete(topic.id)

        async with trio.open_nursery() as nursery:
            for _ in range(settings().max_threads):
                nursery.start_soon(state["threads"].files, release.wait)  # type: ignore[arg-type]
            await wait_all_tasks_blocked()
            nursery.start_soon(delete)
            await wait_all_tasks_blocked()
            caller.cancel()
            await wait_all_tasks_blocked()
            release.set()
        found = await state["store"].read(topics.topic, topic.id)

    assert found is None
    assert [path for path in (settings().data_dir / REPORTS).rglob("*") if path.is_file()] == []


async def test_a_delete_that_a_kill_cut_short_is_ended_or_undone_at_the_next_start(start: Start) -> None:
    async with start() as service:
        kept, deleted = await service.topic(), await service.topic()
        for topic_id in (kept, deleted):
            await service.generate(topic_id)
            await service.ended(topic_id)
        await service.shut_down()
        before = service.files()
        files = Files(service.settings.data_dir / REPORTS, Threads(4))
        for topic_id in (kept, deleted):
            await files.set_aside(TopicId(topic_id))
        await service.rows("DELETE FROM topics WHERE id = :id", id=deleted)
        aside = service.files()

    async with start() as service:
        after = service.files()

    assert len(set(before) & set(aside)) == 0
    assert before == [f"{kept}/1.md", f"{deleted}/2.md"]
    assert after == [f"{kept}/1.md"]


# A caller that goes away


async def test_a_client_that_goes_away_in_mid_post_leaves_no_row_without_a_task(service: Service) -> None:
    topic_id = await service.topic()

    async with locked_database(service.settings.data_dir):
        with trio.CancelScope() as client:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(post, service, f"{topic_id}/generate")
                await wait_all_tasks_blocked(0.05)
                client.cancel()
    ended = await service.ended(topic_id)

    assert ended["status"] == "completed"
    assert len(service.claude.calls) == 1


@asynccontextmanager
async def state_with_topic(settings: Settings) -> AsyncIterator[tuple[State, Topic]]:
    """Open the service's state without a server, with a topic in it."""
    async with open_state(settings, None) as state:
        user = await state["store"].read(users.user_named, "admin")
        assert user is not None
        yield state, await state["store"].write(topics.add_topic, user.id, "A topic", "", "en")


async def test_a_start_that_is_cancelled_in_its_write_still_spawns_what_was_committed(
    settings: Callable[..., Settings], claude: FakeClaude
) -> None:
    async with state_with_topic(settings()) as (state, topic), trio.open_nursery() as nursery:
        caller = trio.CancelScope()

        async def start() -> None:
            with caller:
                await state["runner"].start(topic, Order(), None)

        async with locked_database(settings().data_dir):
            nursery.start_soon(start)
            await wait_all_tasks_blocked()
            caller.cancel()
        with trio.fail_after(5):
            await claude.next_call()
        live = state["statuses"].get(topic.id)
        stored = await state["store"].read(generations.latest_generation, topic.id)

    assert live is not None
    assert stored is not None
    assert stored.status == live.status == "generating"


async def test_a_start_that_is_cancelled_before_its_write_leaves_no_row_and_no_place(
    settings: Callable[..., Settings],
) -> None:
    async with state_with_topic(settings(max_per_user=1)) as (state, topic):
        with trio.CancelScope() as caller:
            caller.cancel()
            await state["runner"].start(topic, Order(), None)
        nothing = await state["store"].read(generations.latest_generation, topic.id)
        accepted = await state["runner"].start(topic, Order(), None)

    assert caller.cancelled_caught
    assert nothing is None
    assert accepted.status == "generating"


# Stop and start


async def test_a_stop_puts_back_what_runs_and_the_next_start_completes_it(start: Start) -> None:
    async with start() as service:
        topic_id, call = await begin(service, Script(text=LONG, hold=trio.Event(), hold_at=MIDDLE))
        await all_taken_in(service, topic_id, call)
        await service.shut_down()
        gone = call.gone.is_set()
        put_back = await generations_in_store(service)
        left = await kept(service), service.files()
        interrupted = await ledger(service)
    service.claude.default = continuing(LONG)

    async with start() as service:
        ended = await service.ended(topic_id)
        calls = await ledger(service)
        files = service.files()

    assert gone
    assert put_back == [(topic_id, "queued", 2)]
    assert left == (call.text_sent, [])
    assert interrupted == ["interrupted"]
    assert (ended["status"], ended["attempt"]) == ("completed", 2)
    assert calls == ["interrupted", "completed"]
    assert files == [f"{topic_id}/1.md"]


async def test_a_stop_waits_for_what_ends_in_time_and_no_longer(start: Start) -> None:
    go = trio.Event()
    async with start(drain_seconds=30) as service:
        topic_id, _ = await begin(service, Script(hold=go))
        await start_to_stop(service, topic_id)

        refused = await post(service, f"{topic_id}/generate")
        ready = await service.http.get("/readyz")
        meanwhile = await service.status(topic_id)
        go.set()
        with trio.fail_after(10):
            await service.stopped.wait()

        assert (refused.status_code, refused.json()["code"]) == (503, "shutting_down")
        assert int(refused.headers["Retry-After"]) > 0
        assert ready.status_code == 503
        assert meanwhile["status"] == "generating"
        assert await generations_in_store(service) == [(topic_id, "completed", 1)]


async def test_a_second_signal_ends_the_drain(start: Start) -> None:
    async with start(drain_seconds=30) as service:
        topic_id, call = await begin(service, Script(hold=trio.Event()))
        await start_to_stop(service, topic_id)

        service.hurry.set()
        with trio.fail_after(10):
            await service.stopped.wait()

        assert call.gone.is_set()
        assert await generations_in_store(service) == [(topic_id, "queued", 2)]


async def test_a_drain_starts_nothing_that_was_queued(start: Start) -> None:
    go = trio.Event()
    async with start(max_concurrent=1, drain_seconds=30) as service:
        first, _ = await begin(service, Script(hold=go))
        queued = await service.topic("Queued")
        await service.generate(queued)
        await start_to_stop(service, first)

        shown = await service.status(queued)
        go.set()
        with trio.fail_after(10):
            await service.stopped.wait()

        assert shown["status"] == "queued"
        assert await generations_in_store(service) == [(first, "completed", 1), (queued, "queued", 0)]
        assert len(service.claude.calls) == 1


async def test_a_cancel_during_the_drain_holds_for_what_runs_and_for_what_was_put_back(start: Start) -> None:
    async with start(max_concurrent=1, drain_seconds=30) as service:
        begun, call = await begin(service, Script(hold=trio.Event()))
        queued = await service.topic("Queued")
        await service.generate(queued)
        await start_to_stop(service, begun)

        answers = [await post(service, f"{topic_id}/cancel") for topic_id in (queued, begun)]
        with trio.fail_after(10):
            await service.stopped.wait()

        assert [(answer.status_code, answer.json()["data"]["status"]) for answer in answers] == [
            (202, "cancelled"),
            (202, "cancelled"),
        ]
        assert call.gone.is_set()
        assert [status for _, status, _ in await generations_in_store(service)] == ["cancelled", "cancelled"]


async def test_a_cancel_that_comes_while_a_generation_is_put_back_holds(start: Start) -> None:
    answers: list[httpx2.Response] = []

    async def cancel(topic_id: int) -> None:
        answers.append(await post(service, f"{topic_id}/cancel"))

    async with start(drain_seconds=30) as service, trio.open_nursery() as nursery:
        topic_id, call = await begin(service, Script(hold=trio.Event()))
        await start_to_stop(service, topic_id)

        async with locked_database(service.settings.data_dir):
            service.hurry.set()
            await call.gone.wait()
            nursery.start_soon(cancel, topic_id)
            await wait_all_tasks_blocked(0.05)
        with trio.fail_after(10):
            await service.stopped.wait()

        assert await generations_in_store(service) == [(topic_id, "cancelled", 1)]
        assert (answers[0].status_code, answers[0].json()["data"]["status"]) == (202, "cancelled")


async def test_a_generation_accepted_while_the_stop_begins_waits_for_the_next_start(start: Start) -> None:
    answers: list[httpx2.Response] = []

    async def generate(topic_id: int) -> None:
        answers.append(await post(service, f"{topic_id}/generate"))

    async with start(drain_seconds=30) as service, trio.open_nursery() as nursery:
        topic_id = await service.topic()
        async with locked_database(service.settings.data_dir):
            nursery.start_soon(generate, topic_id)
            await wait_all_tasks_blocked(0.05)
            await start_to_stop(service, topic_id)
        with trio.fail_after(10):
            await service.stopped.wait()
        calls = len(service.claude.calls)
        put_back = await generations_in_store(service)
    async with start() as service:
        ended = await service.ended(topic_id)

    assert answers[0].status_code == 202
    assert calls == 0
    assert put_back == [(topic_id, "queued", 2)]
    assert ended["status"] == "completed"


async def test_when_the_drain_is_over_what_ran_is_back_in_the_queue(
    settings: Callable[..., Settings], claude: FakeClaude
) -> None:
    claude.default = Script(hold=trio.Event())
    async with state_with_topic(settings(drain_seconds=0.1)) as (state, topic):
        await state["runner"].start(topic, Order(), None)
        call = await claude.next_call()

        await state["runner"].drain()
        stored = await state["store"].read(generations.latest_generation, topic.id)

    assert stored is not None
    assert stored.status == "queued"
    assert call.ending is Ending.GONE


async def test_after_the_drain_nothing_starts(settings: Callable[..., Settings]) -> None:
    async with state_with_topic(settings()) as (state, topic):
        await state["runner"].drain()

        with pytest.raises(ShuttingDown):
            await state["runner"].start(topic, Order(), None)

        assert await state["store"].read(generations.latest_generation, topic.id) is None


async def test_what_was_left_unfinished_goes_on_oldest_first(start: Start) -> None:
    async with start(max_concurrent=1) as service:
        service.claude.default = Script(hold=trio.Event())
        topic_ids = [await service.topic(f"Topic {number}") for number in range(4)]
        for topic_id in topic_ids:
            await service.generate(topic_id)
        await held_call(service)
        await service.shut_down()
    service.claude.calls.clear()
    service.claude.default = Script()

    async with start(max_concurrent=1) as service:
        ended = [(await service.ended(topic_id))["status"] for topic_id in topic_ids]

    assert ended == ["completed"] * 4
    assert [topic_of(call) for call in service.claude.calls] == [f"Topic {number}" for number in range(4)]


async def test_what_a_dead_process_left_running_is_run_again_and_its_call_is_closed_as_interrupted(
    start: Start, claude: FakeClaude, tmp_path: Path
) -> None:
    async with start() as service:
        topic_id, call = await begin(service, Script(text=LONG, hold=trio.Event(), hold_at=MIDDLE))
        await all_taken_in(service, topic_id, call)
        await trio.to_thread.run_sync(shutil.copytree, service.settings.data_dir, tmp_path / "dead")
    unfinished = tmp_path / "dead" / REPORTS / str(topic_id) / ".1.md.part"
    unfinished.parent.mkdir(parents=True)
    unfinished.write_text("half a rep")
    claude.default = continuing(LONG)

    async with running(claude, settings_for(tmp_path / "dead", claude.url)) as service:
        ended = await service.ended(topic_id)

        assert (ended["status"], ended["attempt"]) == ("completed", 2)
        assert await ledger(service) == ["interrupted", "completed"]
        assert service.files() == [f"{topic_id}/1.md"]
        assert await count(service, "checkpoints") == 0


async def test_what_goes_on_after_a_restart_counts_for_the_limits_and_can_be_cancelled(start: Start) -> None:
    async with start() as service:
        service.claude.default = Script(hold=trio.Event())
        topic_id = await service.topic()
        await service.generate(topic_id)
        await held_call(service)
        await service.shut_down()

    async with start(max_per_user=1) as service:
        other = await service.topic("Other")
        refused = await post(service, f"{other}/generate")
        again = await post(service, f"{topic_id}/generate")
        call = await held_call(service)
        cancelled = await post(service, f"{topic_id}/cancel")
        accepted = await post(service, f"{other}/generate")

        assert refused.json()["code"] == "too_many_generations"
        assert again.json()["code"] == "generation_in_progress"
        assert cancelled.status_code == 202
        assert call.gone.is_set()
        assert accepted.status_code == 202

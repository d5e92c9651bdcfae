"""The status of a topic: its fields in each state, its ETag, the long poll, the history."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.claude import BEFORE_HEADERS, Call, Script
from tests.conftest import Start
from tests.fairwatch import within
from tests.routes.client import TIME, pointers, problem
from tests.service import Service

FIELDS = {
    "topic_id", "generation_id", "kind", "status", "phase", "progress_percent", "sections_done", "sections_total",
    "characters", "attempt", "model", "created_at", "started_at", "completed_at", "estimated_completion",
    "artifact_id", "error_code", "error_message", "usage",
}  # fmt: skip
TIMES = ("created_at", "started_at", "completed_at", "estimated_completion", "retry_at")
ENDED_AND_WHOLE = {"phase": "done", "estimated_completion": None}
NO_ERROR = {"error_code": None, "error_message": None}

BAD_WAITS = ("61", "-1", "1.5", "", "soon", "+1", " 1", "1e1", "٣", "9" * 30)
PREFERENCES = ("wait=1", "respond-async, wait=1", "wait = 1 ; foo=bar", 'WAIT="1"', "foo=bar;x=y,wait=1")

LIMIT_SECONDS = 10.0
"""How long a test waits for what has to come at once."""


def address(topic_id: int) -> str:
    return f"/api/topics/{topic_id}/status"


def checked(status: dict[str, Any], /, **expected: object) -> dict[str, Any]:
    """Check the types of all fields of a status, and the values of those that are named."""
    assert set(status) - {"retryable", "retry_at"} == FIELDS
    assert ("retry_at" in status) == (status["phase"] == "waiting")
    assert ("retryable" in status) == (status["status"] == "failed")
    for name in ("topic_id", "progress_percent", "sections_done", "sections_total", "characters", "attempt"):
        assert type(status[name]) is int, name
    for name in TIMES:
        assert status.get(name) is None or TIME.fullmatch(status[name]), name
    assert (status["progress_percent"] == 100) == (status["status"] == "completed")
    assert set(status["usage"]) == {"input_tokens", "output_tokens", "cost_usd"}
    assert status["usage"]["cost_usd"] is None
    assert {name: status[name] for name in expected} == expected
    return status


async def held_call(service: Service, hold_at: int, **more: Any) -> Call:
    """Start a generation that Claude holds at this place, and return the call."""
    service.claude.default = Script(hold=trio.Event(), hold_at=hold_at, **more)
    await service.generate(await service.topic(plan="## A\n\n## B\n\n## C"))
    call = await service.claude.next_call()
    await call.held.wait()
    return call


async def poll(service: Service, topic_id: int, etag: str = "", **query: Any) -> httpx2.Response:
    with trio.fail_after(LIMIT_SECONDS):
        return await service.http.get(address(topic_id), params=query, headers={"If-None-Match": etag})


async def waiting(service: Service, count: int, meanwhile: Callable[[], Awaitable[object]]) -> list[httpx2.Response]:
    """Let so many clients wait for topic 1 to change, do something meanwhile, and return what they are answered."""
    etag = (await poll(service, 1)).headers["etag"]
    answers: list[httpx2.Response] = []

    async def wait() -> None:
        answers.append(await poll(service, 1, etag, wait=60))

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(wait)
        await wait_all_tasks_blocked(0.02)
        assert not answers
        await meanwhile()
    return answers


async def test_a_topic_that_was_never_generated_is_idle(service: Service) -> None:
    topic_id = await service.topic()

    status = checked(await service.status(topic_id), topic_id=topic_id, status="idle", progress_percent=0)

    zero = {"topic_id", "status", "progress_percent", "sections_done", "sections_total", "characters", "attempt"}
    assert all(status[name] is None for name in FIELDS - zero - {"usage"})


async def test_what_waits_for_a_slot_is_queued(start: Start) -> None:
    async with start(max_concurrent=1) as service:
        service.claude.default = Script(hold=trio.Event())
        for _ in range(2):
            queued = await service.generate(await service.topic(plan="## A\n\n## B"))
        status = await service.status(2)

    assert queued["status"] == "queued"
    checked(status, status="queued", phase="queued", generation_id=2, sections_total=2, started_at=None, **NO_ERROR)
    assert status["attempt"] == status["progress_percent"] == status["characters"] == 0


async def test_what_is_written_is_generating_in_the_phase_it_is_in(service: Service) -> None:
    service.claude.default = Script(hold=trio.Event(), hold_at=BEFORE_HEADERS)
    topic_id = await service.topic(plan="## A\n\n## B")
    accepted = await service.generate(topic_id)

    status = await service.status(topic_id)

    same = {name: accepted[name] for name in ("topic_id", "generation_id", "status")}
    checked(status, **same, phase="preparing", kind="report", attempt=1, sections_total=2, completed_at=None)
    checked(status, status="generating", artifact_id=None, model=service.settings.model, **NO_ERROR)
    assert status["started_at"] >= status["created_at"]


async def test_thinking_and_writing_are_phases_of_their_own(service: Service) -> None:
    await held_call(service, 0, thinking=3)
    thinking = checked(await service.wait_until(1, "generating", phase="thinking"))
    await held_call(service, 20)
    writing = checked(await service.wait_until(2, "generating", phase="writing"))

    assert thinking["characters"] == thinking["progress_percent"] == 0
    assert writing["characters"] > 0
    assert 0 < writing["progress_percent"] < 100


async def test_a_completed_generation_has_an_artifact_and_its_usage(service: Service) -> None:
    topic_id = await service.topic(plan="## A\n\n## B")
    await service.generate(topic_id)

    status = await service.ended(topic_id)

    checked(status, status="completed", artifact_id=1, sections_done=2, sections_total=2, **ENDED_AND_WHOLE, **NO_ERROR)
    assert status["created_at"] <= status["started_at"] <= status["completed_at"]
    assert status["usage"]["input_tokens"] > 0
    assert status["usage"]["output_tokens"] > 0
    assert status["characters"] > 0


async def test_progress_never_goes_back_and_is_whole_at_the_end_alone(service: Service) -> None:
    service.claude.default = Script(pieces=30, pace=0.03)
    await service.generate(await service.topic(plan="## A\n\n## B"))
    answer = await poll(service, 1)
    seen = [answer.json()["data"]]

    while seen[-1]["status"] == "generating":
        answer = await poll(service, 1, answer.headers["etag"], wait=60)
        seen.append(checked(answer.json()["data"]))

    percents = [status["progress_percent"] for status in seen]
    characters = [status["characters"] for status in seen]
    assert percents == sorted(percents)
    assert characters == sorted(characters)
    assert len(set(percents)) > 3


async def test_a_failed_generation_says_why_and_whether_to_try_again(start: Start) -> None:
    async with start(max_attempts=1) as service:
        service.claude.script(Script.error(500, "api_error", "Oh"), Script.error(401, "authentication_error", "No"))
        statuses = []

        for _ in range(2):
            topic_id = await service.topic()
            await service.generate(topic_id)
            ended = await service.ended(topic_id)
            statuses.append(checked(ended, status="failed", artifact_id=None, **ENDED_AND_WHOLE))

    assert [status["error_code"] for status in statuses] == ["claude_unavailable", "claude_auth"]
    assert [status["retryable"] for status in statuses] == [True, False]
    assert statuses[1]["error_message"] == "Claude API key rejected"


async def test_a_generation_that_waits_for_claude_says_until_when_and_uses_up_no_attempt(service: Service) -> None:
    service.claude.script(Script.error(529, "overloaded_error", "Overloaded", retry_after=60))
    await service.generate(await service.topic())

    status = checked(await service.wait_until(1, "generating", phase="waiting"), attempt=1, **NO_ERROR)

    assert status["retry_at"] > status["started_at"]


async def test_a_generation_that_tries_again_tells_which_attempt_it_is(start: Start) -> None:
    async with start(backoff_seconds=0.001) as service:
        service.claude.script(*[Script.error(500, "api_error", "Oh")] * 2)
        await service.generate(await service.topic())

        checked(await service.ended(1), status="completed", attempt=3, **NO_ERROR)


async def test_a_cancelled_generation_is_no_failure(service: Service) -> None:
    await held_call(service, 1)

    await service.http.post("/api/topics/1/cancel")

    status = checked(await service.status(1), status="cancelled", artifact_id=None, **ENDED_AND_WHOLE, **NO_ERROR)
    assert status["completed_at"] >= status["started_at"]


async def test_the_same_status_has_the_same_strong_etag_and_another_has_another(service: Service) -> None:
    await held_call(service, 1)
    await service.wait_until(1, "generating", phase="writing")
    before = [await poll(service, 1) for _ in range(2)]
    await service.http.post("/api/topics/1/cancel")
    after = [await poll(service, 1) for _ in range(2)]

    etags = [answer.headers["etag"] for answer in (*before, *after)]
    bodies = [answer.content for answer in (*before, *after)]
    assert etags[0] == etags[1] != etags[2] == etags[3]
    assert bodies[0] == bodies[1] != bodies[2] == bodies[3]
    assert all(etag.startswith('"') and etag.endswith('"') for etag in etags)


async def test_a_known_status_is_a_304_without_a_body(service: Service) -> None:
    topic_id = await service.topic()
    etag = (await poll(service, topic_id)).headers["etag"]

    for known in (etag, f'"other", {etag}', f'"other",{etag},"more"', f"W/{etag}", f'W/"other" , W/{etag}', "*"):
        answer = await poll(service, topic_id, known)
        assert (answer.status_code, answer.content) == (304, b""), known
        assert answer.headers["etag"] == etag
        assert "content-type" not in answer.headers


async def test_any_other_known_status_is_answered_whole(service: Service) -> None:
    topic_id = await service.topic()
    etag = (await poll(service, topic_id)).headers["etag"]

    for known in ('"other"', f'"{etag}"', etag.strip('"'), 'W/"other"', '"*"', ""):
        answer = await poll(service, topic_id, known)
        assert (answer.status_code, answer.headers["etag"]) == (200, etag), known


async def test_only_an_unfinished_status_says_when_to_come_back_and_is_not_stored(service: Service) -> None:
    idle = await poll(service, await service.topic())
    await held_call(service, 1)
    unfinished = await poll(service, 2)
    unchanged = await poll(service, 2, unfinished.headers["etag"])
    await service.http.post("/api/topics/2/cancel")
    cancelled = await poll(service, 2)

    for answer in (unfinished, unchanged):
        assert (answer.headers["retry-after"], answer.headers["cache-control"]) == ("2", "no-store")
    for answer in (idle, cancelled):
        assert "retry-after" not in answer.headers
        assert "no-store" not in answer.headers.get("cache-control", "")


async def test_a_long_poll_is_answered_at_the_change(service: Service) -> None:
    await held_call(service, 1)
    await service.wait_until(1, "generating", phase="writing")

    (answer,) = await waiting(service, 1, lambda: service.http.post("/api/topics/1/cancel"))

    assert answer.status_code == 200
    assert answer.json()["data"]["status"] == "cancelled"


async def test_all_who_wait_are_answered_at_the_change(service: Service) -> None:
    await held_call(service, 1)
    await service.wait_until(1, "generating", phase="writing")

    answers = await waiting(service, 20, lambda: service.http.post("/api/topics/1/cancel"))

    assert [answer.status_code for answer in answers] == [200] * 20
    assert len({answer.content for answer in answers}) == 1


async def test_an_idle_topic_can_be_waited_for_as_well(service: Service) -> None:
    service.claude.default = Script(hold=trio.Event())
    topic_id = await service.topic()

    (answer,) = await waiting(service, 1, lambda: service.generate(topic_id))

    assert answer.json()["data"]["status"] == "generating"


async def test_a_change_of_one_topic_wakes_nobody_who_waits_for_another(service: Service) -> None:
    for _ in range(2):
        await held_call(service, 1)
    await service.wait_until(1, "generating", phase="writing")
    etag = (await poll(service, 1)).headers["etag"]

    async def change_the_other() -> None:
        await service.http.post("/api/topics/2/cancel")
        await wait_all_tasks_blocked()
        assert (await poll(service, 1)).headers["etag"] == etag
        await service.http.post("/api/topics/1/cancel")

    (answer,) = await waiting(service, 1, change_the_other)

    assert answer.json()["data"]["status"] == "cancelled"


async def test_who_waits_for_a_topic_that_is_deleted_is_told_that_it_was_cancelled_or_is_gone(
    service: Service,
) -> None:
    await held_call(service, 1)
    await service.wait_until(1, "generating", phase="writing")

    answers = await waiting(service, 3, lambda: service.http.delete("/api/topics/1"))

    for answer in answers:
        if answer.status_code == 200:
            assert answer.json()["data"]["status"] == "cancelled"
        else:
            problem(answer, 404, "not_found")


async def test_who_waits_for_an_idle_topic_that_is_deleted_gets_a_404(service: Service) -> None:
    await service.topic()

    (answer,) = await waiting(service, 1, lambda: service.http.delete("/api/topics/1"))

    problem(answer, 404, "not_found")


async def test_who_waits_is_answered_when_the_server_is_about_to_stop(start: Start) -> None:
    async with start(drain_seconds=60) as service:
        await held_call(service, 1)
        await service.wait_until(1, "generating", phase="writing")

        async def stop() -> None:
            service.stop.set()

        answers = await waiting(service, 3, stop)
        late = await poll(service, 1, answers[0].headers["etag"], wait=60)
        service.hurry.set()

    assert [answer.status_code for answer in (*answers, late)] == [304] * 4


async def test_a_long_poll_ends_as_a_304_when_its_time_is_up(service: Service, blocked: list[str]) -> None:
    topic_id = await service.topic()
    etag = (await poll(service, topic_id)).headers["etag"]
    began = trio.current_time()

    with within(1.5, "a poll of a second", blocked):
        answer = await poll(service, topic_id, etag, wait=1)

    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
    assert trio.current_time() - began >= 1


async def test_prefer_wait_is_the_same_as_the_parameter(service: Service) -> None:
    topic_id = await service.topic()
    etag = (await poll(service, topic_id)).headers["etag"]
    took: list[float] = []

    async def wait(preference: str) -> None:
        began = trio.current_time()
        headers = {"If-None-Match": etag, "Prefer": preference}
        answer = await service.http.get(address(topic_id), headers=headers)
        assert answer.status_code == 304
        took.append(trio.current_time() - began)

    async with trio.open_nursery() as nursery:
        for preference in PREFERENCES:
            nursery.start_soon(wait, preference)

    assert len(took) == len(PREFERENCES)
    assert min(took) >= 1


async def test_nothing_is_waited_for_where_the_callers_status_is_not_the_latest(service: Service) -> None:
    topic_id = await service.topic()

    answers = [
        await poll(service, topic_id, '"old"', wait=60),
        await service.http.get(address(topic_id), params={"wait": 60}),
        await service.http.get(address(topic_id), headers={"Prefer": "wait=60"}),
        await service.http.get(address(topic_id), headers={"If-None-Match": '"old"', "Prefer": "wait=999"}),
    ]

    assert [answer.status_code for answer in answers] == [200] * len(answers)


async def test_wait_0_asks_without_waiting(service: Service, blocked: list[str]) -> None:
    topic_id = await service.topic()
    etag = (await poll(service, topic_id)).headers["etag"]

    with within(1, "two polls that do not wait", blocked):
        answers = [
            await poll(service, topic_id, etag, wait=0),
            await service.http.get(address(topic_id), headers={"If-None-Match": etag, "Prefer": "wait=0, awaiting=60"}),
        ]

    assert [answer.status_code for answer in answers] == [304, 304]


async def test_a_wait_that_is_no_number_from_0_to_60_is_a_422(service: Service) -> None:
    topic_id = await service.topic()

    for wait in BAD_WAITS:
        assert pointers(await poll(service, topic_id, wait=wait)) == ["/wait"], wait


async def test_who_waits_takes_no_thread(start: Start) -> None:
    async with start(max_threads=4) as service:
        await held_call(service, 1)
        await service.wait_until(1, "generating", phase="writing")
        idle = await service.topic()

        async def work() -> None:
            with trio.fail_after(LIMIT_SECONDS):
                assert (await service.status(idle))["status"] == "idle"
                assert (await service.http.get("/readyz")).status_code == 200
                await service.http.post("/api/topics/1/cancel")

        answers = await waiting(service, 50, work)

    assert [answer.status_code for answer in answers] == [200] * 50


async def test_the_end_is_the_same_byte_for_byte_at_once_and_after_a_restart(start: Start) -> None:
    async with start(max_attempts=1) as service:
        service.claude.script(Script(thinking=2), Script.error(500, "api_error", "No 이유"))
        service.claude.default = Script(hold=trio.Event(), hold_at=20)
        for topic_id in (1, 2, 3):
            await service.generate(await service.topic(plan="## A\n\n## B"))
            if topic_id < 3:
                await service.ended(topic_id)
        await service.wait_until(3, "generating", phase="writing")
        (at_once,) = [await service.http.post("/api/topics/3/cancel")]
        before = [await poll(service, topic_id) for topic_id in (1, 2, 3)]
        await service.shut_down()

    async with start() as service:
        after = [await poll(service, topic_id) for topic_id in (1, 2, 3)]

    assert [answer.json()["data"]["status"] for answer in after] == ["completed", "failed", "cancelled"]
    assert [answer.content for answer in before] == [answer.content for answer in after]
    assert [answer.headers["etag"] for answer in before] == [answer.headers["etag"] for answer in after]
    assert at_once.content == after[2].content


async def test_the_end_that_a_waiting_client_is_told_first_is_the_one_that_stays(start: Start) -> None:
    async with start() as service:
        call = await held_call(service, 20)
        await service.wait_until(1, "generating", phase="writing")
        etag = (await poll(service, 1)).headers["etag"]
        script = service.claude.default
        assert isinstance(script, Script)
        assert script.hold is not None
        script.hold.set()
        while (answer := await poll(service, 1, etag, wait=60)).json()["data"]["status"] == "generating":
            etag = answer.headers["etag"]
        await call.finished.wait()
        await service.shut_down()

    async with start() as service:
        stored = await poll(service, 1)

    assert answer.json()["data"]["status"] == "completed"
    assert (answer.content, answer.headers["etag"]) == (stored.content, stored.headers["etag"])


async def test_the_history_has_every_generation_newest_first_each_shaped_as_a_status(service: Service) -> None:
    topic_id = await service.topic()
    service.claude.script(Script(), Script.error(400, "invalid_request_error", "No"))
    service.claude.default = Script(hold=trio.Event(), hold_at=1)
    for _ in range(2):
        await service.generate(topic_id)
        await service.ended(topic_id)
    await service.generate(topic_id)
    latest = await service.wait_until(topic_id, "generating", phase="writing")

    history = (await service.http.get(f"/api/topics/{topic_id}/generations")).json()

    assert [checked(one)["status"] for one in history["data"]] == ["generating", "failed", "completed"]
    assert [one["generation_id"] for one in history["data"]] == [3, 2, 1]
    assert history["data"][0] == latest
    assert history["next_cursor"] is None


async def test_the_history_has_pages(service: Service) -> None:
    topic_id, found, query = await service.topic(), [], "limit=2"
    for _ in range(3):
        await service.generate(topic_id)
        await service.ended(topic_id)

    while query:
        answer = (await service.http.get(f"/api/topics/{topic_id}/generations?{query}")).json()
        found += [one["generation_id"] for one in answer["data"]]
        query = f"limit=2&cursor={answer['next_cursor']}" if answer["next_cursor"] else ""

    assert found == [3, 2, 1]


@pytest.mark.parametrize("path", ["messages", "artifacts", "generations"])
async def test_the_lists_of_a_topic_are_empty_before_anything_was_generated(service: Service, path: str) -> None:
    answer = await service.http.get(f"/api/topics/{await service.topic()}/{path}")

    assert (answer.status_code, answer.json()) == (200, {"data": [], "next_cursor": None})

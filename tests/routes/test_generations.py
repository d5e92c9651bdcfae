"""Generate and cancel: what is accepted, what is refused, what is answered again."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.claude import BEFORE_HEADERS, Script
from tests.conftest import Start
from tests.routes.client import add_token, pointers, problem
from tests.service import Service

LATER = {"web_search": True, "callback_url": "https://example.org/"}
"""What the contract has and this version has not."""

GOOD_KEYS = ("k", "k" * 255, "8e03978e-40d5-43dd-bc93-6894a57f9324", "with a space", "!#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
QUOTED_KEYS = ('"k"', f'"{"k" * 255}"', '" k "', '"a \\"quoted\\" \\\\ word"')
BAD_KEYS = ("", "k" * 256, f'"{"k" * 256}"', '""', '"open', '"a"b"', "tab\tbed", "kéy", "열쇠", '"kéy"')


def silent() -> Script:
    """Let Claude not answer at all."""
    return Script(hold=trio.Event(), hold_at=BEFORE_HEADERS)


@pytest.fixture
async def busy(start: Start) -> AsyncIterator[Service]:
    """A service with one place to run and one to wait, in front of a Claude that never answers."""
    async with start(max_concurrent=1, max_queued=1) as service:
        service.claude.default = silent()
        yield service


async def keyed(http: httpx2.AsyncClient, topic_id: int, key: str, **given: str) -> httpx2.Response:
    headers = {b"Idempotency-Key": key.encode()}
    return await http.post(f"/api/topics/{topic_id}/generate", headers=headers, json=given)


async def generations_of(service: Service, topic_id: int) -> int:
    return len((await service.http.get(f"/api/topics/{topic_id}/generations")).json()["data"])


async def test_generate_answers_202_before_claude_has_said_anything(service: Service) -> None:
    service.claude.default = silent()
    topic_id = await service.topic()

    answer = await service.http.post(f"/api/topics/{topic_id}/generate")

    assert answer.status_code == 202
    assert answer.json() == {
        "data": {
            "topic_id": topic_id,
            "generation_id": 1,
            "status": "generating",
            "status_url": f"/api/topics/{topic_id}/status",
            "events_url": f"/api/topics/{topic_id}/status/stream",
        }
    }
    assert answer.headers["location"] == f"/api/topics/{topic_id}/status"
    assert answer.headers["retry-after"] == "2"
    assert (await service.http.get(answer.headers["location"])).json()["data"]["generation_id"] == 1


async def test_generate_takes_an_empty_object_and_no_body_alike(service: Service) -> None:
    topic_ids = [await service.topic(), await service.topic()]

    answers = [
        await service.http.post(f"/api/topics/{topic_ids[0]}/generate", json={}),
        await service.http.post(f"/api/topics/{topic_ids[1]}/generate"),
    ]

    assert [answer.status_code for answer in answers] == [202, 202]


async def test_generate_replaces_the_topics_texts_with_what_it_is_given(service: Service) -> None:
    topic_id = await service.topic("Old", plan="## Old")

    await service.generate(topic_id, topic=" New ", plan="## New", instructions="Be brief.")
    await service.ended(topic_id)

    topic = (await service.http.get(f"/api/topics/{topic_id}")).json()["data"]
    prompt = str((await service.claude.next_call()).body["messages"])
    assert (topic["topic"], topic["plan"]) == ("New", "## New")
    assert all(text in prompt for text in ("New", "## New", "Be brief."))
    assert "Old" not in prompt


async def test_generate_keeps_the_texts_that_it_is_not_given(service: Service) -> None:
    topic_id = await service.topic("Kept", plan="## Dropped")

    await service.generate(topic_id, plan="")

    topic = (await service.http.get(f"/api/topics/{topic_id}")).json()["data"]
    assert (topic["topic"], topic["plan"]) == ("Kept", "")


async def test_a_refused_generate_changes_nothing_of_the_topic(service: Service) -> None:
    service.claude.default = silent()
    topic_id = await service.topic("Kept", plan="## Kept")
    await service.generate(topic_id)

    refused = await service.http.post(f"/api/topics/{topic_id}/generate", json={"topic": "New", "plan": ""})

    topic = (await service.http.get(f"/api/topics/{topic_id}")).json()["data"]
    assert refused.status_code == 409
    assert (topic["topic"], topic["plan"]) == ("Kept", "## Kept")


async def test_the_fields_of_generate_are_bounded(service: Service) -> None:
    service.claude.default = silent()
    path = f"/api/topics/{await service.topic()}/generate"
    long = {"topic": "a" * 201, "plan": "a" * 100_001, "instructions": "a" * 4001}
    wrong = {"topic": " ", "plan": 1, "instructions": "a\0b", "mode": "both", "model": ["a"], "resume": "yes"}

    assert pointers(await service.http.post(path, json=long)) == ["/topic", "/plan", "/instructions"]
    assert pointers(await service.http.post(path, json=wrong)) == [f"/{name}" for name in wrong]
    assert (await service.http.post(path, json={"instructions": "한" * 4000})).status_code == 202


async def test_one_of_the_allowed_models_writes(start: Start) -> None:
    async with start(model="first-model", models="first-model,second-model") as service:
        for number, given in enumerate(({}, {"model": "second-model"})):
            topic_id = await service.topic(f"Topic {number}")
            await service.generate(topic_id, **given)
            await service.ended(topic_id)

        models = [call.body["model"] for call in service.claude.calls]
        refused = await service.http.post(f"/api/topics/{topic_id}/generate", json={"model": "third-model"})

    assert models == ["first-model", "second-model"]
    assert pointers(refused) == ["/model"]


async def test_what_later_versions_take_is_refused_rather_than_overlooked(service: Service) -> None:
    topic_id = await service.topic()

    for name, value in LATER.items():
        assert pointers(await service.http.post(f"/api/topics/{topic_id}/generate", json={name: value})) == [f"/{name}"]
    for query, where in {"dry_run=1": "/dry_run", "dry_run": "/dry_run", "a~/b=1": "/a~0~1b"}.items():
        assert pointers(await service.http.post(f"/api/topics/{topic_id}/generate?{query}")) == [where]

    assert await generations_of(service, topic_id) == 0
    assert service.claude.calls == []


@pytest.mark.parametrize("plan", ["", "Only prose.", "### Too deep", "```\n## In a fence\n```"])
async def test_a_report_in_sections_needs_a_plan_that_has_some(service: Service, plan: str) -> None:
    topic_id, kept = await service.topic(plan="## A"), await service.topic(plan=plan)

    for each, given in ((topic_id, {"plan": plan}), (kept, {})):
        answer = await service.http.post(f"/api/topics/{each}/generate", json={"mode": "sections", **given})
        assert pointers(answer) == ["/mode"]

    assert await generations_of(service, topic_id) == await generations_of(service, kept) == 0
    await service.generate(topic_id, mode="sections")
    await service.generate(kept, mode="sections", plan="## A")


async def test_what_is_resumed_keeps_what_it_began_with(service: Service) -> None:
    topic_id = await service.topic(plan="## A")
    await service.generate(topic_id)
    await service.ended(topic_id)
    path = f"/api/topics/{topic_id}/generate"
    words = {"topic": "New", "plan": "## New", "instructions": "Be brief.", "mode": "sections"}

    for name, value in words.items():
        assert pointers(await service.http.post(path, json={"resume": True, name: value})) == [f"/{name}"]
    together = await service.http.post(path, json={"resume": True, **words})

    assert pointers(together) == sorted(f"/{name}" for name in words)
    assert await generations_of(service, topic_id) == 1


async def test_only_what_failed_or_was_cancelled_can_be_resumed(service: Service) -> None:
    topic_id = await service.topic()
    path = f"/api/topics/{topic_id}/generate"
    service.claude.script(Script(), Script.error(400, "invalid_request_error", "No"))
    service.claude.default = silent()

    never = await service.http.post(path, json={"resume": True})
    await service.generate(topic_id)
    await service.ended(topic_id)
    completed = await service.http.post(path, json={"resume": True})
    await service.generate(topic_id)
    await service.ended(topic_id)
    failed = await service.http.post(path, json={"resume": True})
    running = await service.http.post(path, json={"resume": True})
    await service.http.post(f"/api/topics/{topic_id}/cancel")
    cancelled = await service.http.post(path, json={"resume": True, "model": service.settings.model})

    for answer in (never, completed):
        problem(answer, 409, "nothing_to_resume")
    problem(running, 409, "generation_in_progress")
    assert [answer.status_code for answer in (failed, cancelled)] == [202, 202]


async def test_a_topic_has_one_generation_at_a_time(service: Service) -> None:
    service.claude.default = silent()
    topic_id = await service.topic()
    first = await service.generate(topic_id)

    answer = await service.http.post(f"/api/topics/{topic_id}/generate")

    document = problem(answer, 409, "generation_in_progress")
    assert document["generation_id"] == first["generation_id"]
    assert document["status_url"] == first["status_url"]
    assert await generations_of(service, topic_id) == 1


async def test_a_topic_can_be_generated_again_after_any_end(service: Service) -> None:
    service.claude.script(Script(), Script.error(400, "invalid_request_error", "No"))
    service.claude.default = silent()
    topic_id = await service.topic()

    for _ in range(2):
        await service.generate(topic_id)
        await service.ended(topic_id)
    await service.generate(topic_id)
    await service.http.post(f"/api/topics/{topic_id}/cancel")
    service.claude.default = Script()
    last = await service.generate(topic_id)

    assert last["generation_id"] == 4
    assert (await service.ended(topic_id))["status"] == "completed"


async def test_with_every_slot_taken_the_202_says_queued_and_with_a_full_queue_it_is_a_503(busy: Service) -> None:
    topic_ids = [await busy.topic(f"Topic {number}") for number in range(3)]

    said = [(await busy.generate(topic_id))["status"] for topic_id in topic_ids[:2]]
    full = await busy.http.post(f"/api/topics/{topic_ids[2]}/generate")

    assert said == ["generating", "queued"]
    assert (await busy.status(topic_ids[1]))["status"] == "queued"
    problem(full, 503, "queue_full")
    assert int(full.headers["retry-after"]) > 0
    assert await generations_of(busy, topic_ids[2]) == 0


async def test_a_user_over_their_limit_is_told_so_and_the_others_are_not_held_up(start: Start) -> None:
    async with start(max_per_user=1) as service, service.client(await add_token(service, "other")) as other:
        service.claude.default = silent()
        first, second = await service.topic(), await service.topic()
        await service.generate(first)

        refused = await service.http.post(f"/api/topics/{second}/generate")
        theirs = (await other.post("/api/topics", json={"topic": "The other's"})).json()["data"]["id"]
        taken = await other.post(f"/api/topics/{theirs}/generate")
        await service.http.post(f"/api/topics/{first}/cancel")
        after = await service.http.post(f"/api/topics/{second}/generate")

    problem(refused, 429, "too_many_generations")
    assert int(refused.headers["retry-after"]) > 0
    assert [taken.status_code, after.status_code] == [202, 202]


async def test_while_the_server_drains_new_work_is_refused(start: Start) -> None:
    async with start(drain_seconds=30) as service:
        service.claude.default = silent()
        running, late = await service.topic(), await service.topic()
        await keyed(service.http, running, "before")
        service.stop.set()
        await wait_all_tasks_blocked()

        refused = await service.http.post(f"/api/topics/{late}/generate")
        replayed = await keyed(service.http, running, "before")
        service.hurry.set()

    problem(refused, 503, "shutting_down")
    assert int(refused.headers["retry-after"]) > 0
    assert (replayed.status_code, replayed.headers["idempotency-replayed"]) == (202, "true")


async def test_the_same_key_and_body_is_answered_again_and_starts_nothing(service: Service) -> None:
    service.claude.default = silent()
    topic_id = await service.topic()

    first, second = [await keyed(service.http, topic_id, "key", plan="## A") for _ in range(2)]

    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert (second.status_code, second.content) == (first.status_code, first.content) == (202, first.content)
    assert [second.headers[name] for name in ("location", "retry-after")] == [f"/api/topics/{topic_id}/status", "2"]
    assert await generations_of(service, topic_id) == 1


async def test_a_key_sent_many_times_at_once_starts_one_generation(service: Service) -> None:
    service.claude.default = silent()
    topic_id = await service.topic()
    answers: list[httpx2.Response] = []

    async def send() -> None:
        answers.append(await keyed(service.http, topic_id, "key"))

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(send)

    assert [answer.status_code for answer in answers] == [202] * 8
    assert len({answer.content for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    assert await generations_of(service, topic_id) == 1


async def test_a_replay_says_the_first_words_after_the_end_and_over_every_limit(start: Start) -> None:
    async with start(max_concurrent=1, max_queued=0, max_per_user=1) as service:
        topic_id, blocker = await service.topic(), await service.topic()
        first = await keyed(service.http, topic_id, "key")
        await service.ended(topic_id)
        service.claude.default = silent()
        await service.generate(blocker)

        again = await keyed(service.http, topic_id, "key")

    assert again.headers["idempotency-replayed"] == "true"
    assert again.content == first.content
    assert first.json()["data"]["status"] == "generating"


async def test_a_key_with_another_body_or_topic_is_a_422(service: Service) -> None:
    topic_id, another = await service.topic(), await service.topic()
    await keyed(service.http, topic_id, "key", plan="## A")
    await service.ended(topic_id)

    answers = [
        await keyed(service.http, topic_id, "key", plan="## B"),
        await keyed(service.http, topic_id, "key"),
        await keyed(service.http, another, "key", plan="## A"),
    ]

    for answer in answers:
        problem(answer, 422, "idempotency_key_reused")
    assert [await generations_of(service, each) for each in (topic_id, another)] == [1, 0]


async def test_a_key_is_its_users_own(service: Service, other: httpx2.AsyncClient) -> None:
    theirs = (await other.post("/api/topics", json={"topic": "The other's"})).json()["data"]["id"]
    await keyed(service.http, await service.topic(), "key")

    answer = await keyed(other, theirs, "key", plan="## Mine")

    assert answer.status_code == 202
    assert "idempotency-replayed" not in answer.headers


async def test_a_key_of_a_refused_request_is_not_used_up(service: Service) -> None:
    service.claude.default = silent()
    topic_id = await service.topic()
    await service.generate(topic_id)

    refused = await keyed(service.http, topic_id, "key")
    await service.http.post(f"/api/topics/{topic_id}/cancel")
    taken = await keyed(service.http, topic_id, "key", plan="## Another body")

    problem(refused, 409, "generation_in_progress")
    assert taken.status_code == 202


async def test_a_key_is_forgotten_after_a_day(service: Service) -> None:
    topic_id = await service.topic()
    await keyed(service.http, topic_id, "key")
    await service.ended(topic_id)
    await service.rows("UPDATE idempotency_keys SET created_at = '2026-01-01T00:00:00.000Z'")

    again = await keyed(service.http, topic_id, "key", plan="## Another body")

    assert again.status_code == 202
    assert await generations_of(service, topic_id) == 2


async def test_a_key_is_the_same_bare_and_quoted(service: Service) -> None:
    topic_id = await service.topic()
    first = await keyed(service.http, topic_id, 'a key\\ of "mine"')

    again = await keyed(service.http, topic_id, '"a key\\\\ of \\"mine\\""')

    assert again.headers["idempotency-replayed"] == "true"
    assert again.content == first.content


async def test_a_key_has_1_to_255_printable_characters(service: Service) -> None:
    topic_id = await service.topic()

    for key in BAD_KEYS:
        assert pointers(await keyed(service.http, topic_id, key)) == ["/Idempotency-Key"], key
    assert await generations_of(service, topic_id) == 0
    for key in (*GOOD_KEYS, QUOTED_KEYS[2], QUOTED_KEYS[3]):
        assert "idempotency-replayed" not in (await keyed(service.http, topic_id, key)).headers, key
        await service.ended(topic_id)
    for key in QUOTED_KEYS:
        assert "idempotency-replayed" in (await keyed(service.http, topic_id, key)).headers, key


async def test_cancel_answers_202_with_the_status_and_closes_the_call(service: Service) -> None:
    service.claude.default = Script(hold=trio.Event(), hold_at=5)
    topic_id = await service.topic()
    await service.generate(topic_id)
    call = await service.claude.next_call()
    await call.held.wait()

    answer = await service.http.post(f"/api/topics/{topic_id}/cancel")

    with trio.fail_after(5):
        await call.gone.wait()
    assert answer.status_code == 202
    assert answer.json()["data"]["status"] == "cancelled"
    assert answer.json()["data"] == await service.status(topic_id)


async def test_cancel_of_what_is_queued_asks_nothing_of_claude(busy: Service) -> None:
    running, queued = await busy.topic(), await busy.topic()
    for topic_id in (running, queued):
        await busy.generate(topic_id)
    await busy.claude.next_call()

    answer = await busy.http.post(f"/api/topics/{queued}/cancel")
    await busy.http.post(f"/api/topics/{running}/cancel")
    await wait_all_tasks_blocked()

    assert answer.status_code == 202
    assert answer.json()["data"]["status"] == "cancelled"
    assert answer.json()["data"]["started_at"] is None
    assert len(busy.claude.calls) == 1


async def test_cancel_takes_an_empty_object_and_no_body_alike(service: Service) -> None:
    service.claude.default = silent()
    topic_id = await service.topic()

    await service.generate(topic_id)
    without = await service.http.post(f"/api/topics/{topic_id}/cancel")
    await service.generate(topic_id)
    with_one = await service.http.post(f"/api/topics/{topic_id}/cancel", json={})

    assert [answer.status_code for answer in (without, with_one)] == [202, 202]


async def test_cancel_of_what_has_ended_answers_200_with_its_end(service: Service) -> None:
    service.claude.script(Script(), Script.error(400, "invalid_request_error", "No"), silent())
    topic_id = await service.topic()

    for ended in ("completed", "failed"):
        await service.generate(topic_id)
        await service.ended(topic_id)
        answer = await service.http.post(f"/api/topics/{topic_id}/cancel")
        assert (answer.status_code, answer.json()["data"]["status"]) == (200, ended)
    await service.generate(topic_id)
    twice = [await service.http.post(f"/api/topics/{topic_id}/cancel") for _ in range(2)]

    assert [answer.status_code for answer in twice] == [202, 200]
    assert twice[0].content == twice[1].content


async def test_two_cancels_at_once_both_tell_the_end(service: Service) -> None:
    service.claude.default = silent()
    topic_id = await service.topic()
    await service.generate(topic_id)
    answers: list[httpx2.Response] = []

    async def cancel() -> None:
        answers.append(await service.http.post(f"/api/topics/{topic_id}/cancel"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancel)
        nursery.start_soon(cancel)

    assert {answer.status_code for answer in answers} <= {200, 202}
    assert {answer.json()["data"]["status"] for answer in answers} == {"cancelled"}


async def test_there_is_nothing_to_cancel_where_nothing_was_generated(service: Service) -> None:
    answer = await service.http.post(f"/api/topics/{await service.topic()}/cancel")

    problem(answer, 409, "nothing_to_cancel")


WRONG_CANCELS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "of another type": ({"keep_partial": "yes", "mode": 1}, ["/keep_partial", "/mode"]),
    "a mode that is none": ({"mode": "now"}, ["/mode"]),
    "a field that is none": ({"reason": "changed my mind"}, ["/reason"]),
    "what a finish does anyway": ({"mode": "finish", "keep_partial": True}, ["/keep_partial"]),
}


@pytest.mark.parametrize("name", WRONG_CANCELS)
async def test_a_cancel_that_is_wrong_cancels_nothing(service: Service, name: str) -> None:
    given, where = WRONG_CANCELS[name]
    service.claude.default = silent()
    topic_id = await service.topic()
    await service.generate(topic_id)

    answer = await service.http.post(f"/api/topics/{topic_id}/cancel", json=given)

    assert pointers(answer) == where
    assert (await service.status(topic_id))["status"] == "generating"


@pytest.mark.parametrize("form", [{}, {"keep_partial": False}, {"keep_partial": True}, {"mode": "finish"}])
async def test_every_form_of_a_cancel_of_what_has_ended_or_never_was_changes_nothing(
    service: Service, form: dict[str, Any]
) -> None:
    ended, idle = await service.topic(), await service.topic()
    await service.generate(ended)
    before = await service.ended(ended)

    answer = await service.http.post(f"/api/topics/{ended}/cancel", json=form)

    assert (answer.status_code, answer.json()["data"]) == (200, before)
    problem(await service.http.post(f"/api/topics/{idle}/cancel", json=form), 409, "nothing_to_cancel")

"""What is counted, looked at and shown at `/metrics`, of a service that does it all."""

from pathlib import Path

import trio

from app.metrics import Metrics
from app.settings import DEFAULT_MODEL
from tests.claude import Fault, Script
from tests.conftest import Start
from tests.events import status_reader
from tests.exposition import scrape, value
from tests.reports import QUICK, cancel, writing
from tests.routes.client import add_token, exchange
from tests.service import Service, running, settings_for


async def test_ends_are_counted_by_status_and_error_code(service: Service) -> None:
    service.claude.script(Script(), Script.error(400, "invalid_request_error", "no"), Script(hold=trio.Event()))
    for number in range(3):
        topic_id = await service.topic()
        await service.generate(topic_id)
        if number == 2:
            await cancel(service, topic_id)
        await service.ended(topic_id)

    found = await scrape(service)

    ended = "longhand_generations_ended_total"
    assert value(found, ended, status="completed", error_code="") == 1
    assert value(found, ended, status="failed", error_code="claude_request") == 1
    assert value(found, ended, status="cancelled", error_code="") == 1
    assert value(found, ended) == 3
    assert value(found, "longhand_generation_seconds_count", status="completed") == 1
    assert value(found, "longhand_queue_seconds_count") == 3


async def test_calls_tokens_and_speed_are_counted_by_model(start: Start) -> None:
    async with start(**QUICK) as service:
        service.claude.default = writing({"A topic": [Script(fault=Fault.CUT, at=20)]}, Script(pace=0.001))
        topic_id = await service.topic()
        await service.generate(topic_id)
        status = await service.ended(topic_id)
        found = await scrape(service)

    of_model = {"model": DEFAULT_MODEL}
    assert value(found, "longhand_claude_calls_total", state="failed", **of_model) == 1
    assert value(found, "longhand_claude_calls_total", state="completed", **of_model) == 1
    for kind in ("input", "output"):
        assert value(found, "longhand_claude_tokens_total", kind=kind, **of_model) == status["usage"][f"{kind}_tokens"]
    assert value(found, "longhand_claude_first_text_seconds_count", **of_model) == 2
    assert value(found, "longhand_claude_characters_per_second_sum", **of_model) > 0
    assert value(found, "longhand_claude_retries_total", error_code="claude_stream") == 1
    assert value(found, "longhand_claude_resumes_total") == 1


async def test_what_waits_and_what_runs_is_shown_as_it_is_now(start: Start) -> None:
    async with start(max_concurrent=1, max_queued=5, max_threads=9) as service:
        service.claude.default = Script(hold=trio.Event())
        topics = [await service.topic() for _ in range(3)]
        for topic_id in topics:
            await service.generate(topic_id)
        await (await service.claude.next_call()).held.wait()
        await service.wait_until(topics[0], "generating", phase="thinking")
        found = await scrape(service)

    phases = {phase: value(found, "longhand_generations", phase=phase) for phase in ("queued", "thinking", "writing")}
    assert phases == {"queued": 2, "thinking": 1, "writing": 0}
    assert value(found, "longhand_slots_busy") == value(found, "longhand_slots_limit") == 1
    assert (value(found, "longhand_queue_length"), value(found, "longhand_queue_limit")) == (2, 5)
    assert value(found, "longhand_threads_limit") == 9 + value(found, "longhand_threads_limit", lane="hash")
    assert value(found, "longhand_threads_busy", lane="files") == 0
    assert value(found, "longhand_draining") == 0


async def test_waiting_for_claude_is_shown_with_its_time(start: Start) -> None:
    async with start() as service:
        service.claude.default = Script.error(529, "overloaded_error", "Overloaded", retry_after=100)
        topic_id = await service.topic()
        await service.generate(topic_id)
        await service.wait_until(topic_id, "generating", phase="waiting")
        found = await scrape(service)

    assert value(found, "longhand_generations", phase="waiting") == 1
    assert 90 < value(found, "longhand_claude_limited_seconds") <= 100
    assert value(found, "longhand_claude_limited_total") == 1


async def test_requests_are_counted_by_the_pattern_of_their_route(service: Service) -> None:
    topic_id = await service.topic()
    for path in (f"/api/topics/{topic_id}/status", "/api/topics/999/status", "/nowhere", "/elsewhere"):
        await service.http.get(path)
    await exchange(service, b"BREW /healthz HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
    etag = (await service.http.get(f"/api/topics/{topic_id}/status")).headers["etag"]
    await service.http.get(
        f"/api/topics/{topic_id}/status", params={"wait": 1}, headers={"If-None-Match": etag}, timeout=5
    )

    found = await scrape(service)

    name, route = "longhand_http_request_seconds_count", "/api/topics/{id}/status"
    assert value(found, name, route=route, method="GET", status="2xx", held="no") == 2
    assert value(found, name, route=route, method="GET", status="4xx", held="no") == 1
    assert value(found, name, route=route, method="GET", status="3xx", held="yes") == 1
    assert value(found, name, route="-", method="GET", status="4xx") == 2
    assert value(found, name, route="/healthz", method="other", status="4xx") == 1
    assert value(found, "longhand_http_request_seconds_sum", held="yes") >= 1


async def test_readers_are_counted_while_they_read(service: Service) -> None:
    service.claude.default = Script(hold=trio.Event())
    topic_id = await service.topic()
    await service.generate(topic_id)
    reader = status_reader(service, topic_id)
    async with reader.connected():
        during = await scrape(service)
    with trio.fail_after(5):
        while value(after := await scrape(service), "longhand_event_stream_readers"):
            await trio.lowlevel.checkpoint()

    assert value(during, "longhand_event_stream_readers") == 1
    assert value(after, "longhand_http_request_seconds_count", route="/api/topics/{id}/status/stream", held="yes") == 1


async def test_writes_and_transactions_are_counted(service: Service) -> None:
    before = await scrape(service)
    await service.topic()
    after = await scrape(service)

    assert value(after, "longhand_writes_total") == value(before, "longhand_writes_total") + 1
    assert value(after, "longhand_commit_seconds_count") == value(before, "longhand_commit_seconds_count") + 1
    assert value(after, "longhand_commit_seconds_sum") > value(before, "longhand_commit_seconds_sum")
    assert value(after, "longhand_loop_worst_step_seconds") > 0


async def test_no_label_names_a_topic_or_a_user(service: Service) -> None:
    async with service.client(await add_token(service, "kim-of-the-tests")) as kim:
        made = await kim.post("/api/topics", json={"topic": "What-kim-asks"})
        topic_id = made.json()["data"]["id"]
        await kim.post(f"/api/topics/{topic_id}/generate")
        await service.ended(topic_id)
    first = await scrape(service)
    for _ in range(3):
        topic_id = await service.topic()
        await service.generate(topic_id)
        await service.ended(topic_id)
    answer = await service.http.get("/metrics")
    again = await scrape(service)

    assert "kim" not in answer.text
    labels = {label for _, having in first for label, _ in having}
    assert labels <= {
        "status", "error_code", "le", "model", "state", "kind", "route", "method", "held", "phase", "lane", "version"
    }  # fmt: skip
    assert {key for key in again if "http" not in key[0]} == {key for key in first if "http" not in key[0]}


async def test_two_services_in_one_process_count_for_themselves(service: Service, tmp_path: Path) -> None:
    await service.topic()
    async with running(service.claude, settings_for(tmp_path / "other", service.claude.url)) as other:
        found = await scrape(other)

    assert value(found, "longhand_http_request_seconds_count", method="POST") == 0


def test_words_that_a_client_makes_up_take_no_memory() -> None:
    metrics = Metrics()
    for number in range(100):
        metrics.request("-", f"BREW{number}", 400, 0.1, held=False)

    content, _ = metrics.exposition([], "")

    assert content.count(b"longhand_http_request_seconds_count{") == 1
    assert b'method="other"' in content
    assert not metrics._of_requests

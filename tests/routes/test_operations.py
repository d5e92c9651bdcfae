"""What operators ask, and how the service answers while its database cannot be written."""

import httpx2
import trio
from trio.testing import wait_all_tasks_blocked

from tests.claude import Script
from tests.conftest import Start
from tests.routes.client import problem
from tests.service import Service, locked_database


async def test_operators_need_no_token(service: Service) -> None:
    async with service.client(None) as nobody:
        healthy, ready = await nobody.get("/healthz"), await nobody.get("/readyz")

    assert [healthy.status_code, ready.status_code] == [200, 200]
    assert (healthy.json(), ready.json()) == ({"data": {"status": "ok"}}, {"data": {"status": "ready"}})


async def test_metrics_are_for_admins_alone(service: Service, other: httpx2.AsyncClient) -> None:
    async with service.client(None) as nobody, service.client("wrong") as stranger:
        unknown = [await client.get("/metrics") for client in (nobody, stranger)]
    hidden, shown = await other.get("/metrics"), await service.http.get("/metrics")

    for answer in unknown:
        problem(answer, 401, "unauthorized")
    problem(hidden, 404, "not_found")
    assert shown.status_code == 200
    assert shown.headers["content-type"].startswith("text/plain; version=")
    assert shown.headers["cache-control"] == "no-store"


async def test_metrics_are_for_everybody_where_the_operator_says_so(start: Start) -> None:
    async with start(metrics_public=1) as service, service.client(None) as nobody:
        answer = await nobody.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


async def test_a_locked_database_is_told_as_such_and_the_service_recovers_by_itself(service: Service) -> None:
    topic_id = await service.topic()
    answers: dict[str, httpx2.Response] = {}

    async def ask(method: str, path: str, name: str) -> None:
        answers[name] = await service.http.request(method, path, json={"topic": "A topic"} if name == "write" else None)

    async with locked_database(service.settings.data_dir), trio.open_nursery() as nursery:
        nursery.start_soon(ask, "GET", "/readyz", "ready")
        nursery.start_soon(ask, "POST", "/api/topics", "write")
        nursery.start_soon(ask, "POST", f"/api/topics/{topic_id}/generate", "generate")
        nursery.start_soon(ask, "GET", f"/api/topics/{topic_id}", "read")
        nursery.start_soon(ask, "GET", "/healthz", "healthy")
    after = [await service.http.get("/readyz"), await service.http.post("/api/topics", json={"topic": "Later"})]

    assert answers["healthy"].status_code == answers["read"].status_code == 200
    problem(answers["ready"], 503, "not_ready")
    for name in ("write", "generate"):
        problem(answers[name], 503, "database")
    assert all(int(answers[name].headers["retry-after"]) > 0 for name in ("ready", "write", "generate"))
    assert [answer.status_code for answer in after] == [200, 201]
    assert (await service.status(topic_id))["status"] == "idle"
    assert service.claude.calls == []


async def test_a_draining_server_is_healthy_and_not_ready(start: Start) -> None:
    async with start(drain_seconds=60) as service:
        service.claude.default = Script(hold=trio.Event())
        topic_id = await service.topic()
        await service.generate(topic_id)
        service.stop.set()
        await wait_all_tasks_blocked()

        healthy, ready = await service.http.get("/healthz"), await service.http.get("/readyz")
        status = await service.status(topic_id)
        service.hurry.set()

    assert healthy.status_code == 200
    assert "shutting down" in problem(ready, 503, "not_ready")["detail"]
    assert status["status"] == "generating"

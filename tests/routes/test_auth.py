"""Who may ask, and for what: tokens, owners, admins."""

from collections.abc import Iterator
from typing import Any

import httpx2
import trio
from starlette.routing import Route

from app.access import MEMORY_SECONDS
from app.main import create_app
from app.models import later
from tests.claude import Script
from tests.conftest import Start
from tests.routes.client import add_token, problem
from tests.service import ADMIN_TOKEN, Service

PUBLIC = {"/healthz", "/readyz", "/openapi.json", "/docs"}
BEYOND = 2**62
"""An id that nothing has."""

NO_TOKEN = ("", "Bearer", "Bearer wrong", f"Basic {ADMIN_TOKEN}", f"Token {ADMIN_TOKEN}", ADMIN_TOKEN)
BAD_QUERY = "?limit=0&cursor=x&wait=x&dry_run=1"
BAD: dict[str, Any] = {"content": b"{", "headers": {"If-None-Match": "*", "Range": "bytes=9-", "Idempotency-Key": ""}}
"""A request that is wrong in every way there is."""

REVOKE = "UPDATE tokens SET revoked_at = '2026-01-01T00:00:00.000Z' WHERE label = ''"


def every_call(service: Service) -> Iterator[tuple[str, str]]:
    """Yield each method and path of the app; a route that is added later comes along."""
    for route in create_app(service.settings, None).routes:
        assert isinstance(route, Route)
        for method in sorted(route.methods or ()):
            yield method, route.path_format


async def ask(client: httpx2.AsyncClient, method: str, path: str, **more: Any) -> httpx2.Response:
    """Send a request and return the whole answer; of a stream of events, which may never end, its head alone."""
    async with client.stream(method, path, **more) as answer:
        if not answer.headers.get("content-type", "").startswith("text/event-stream"):
            await answer.aread()
    return answer


def unlike(answer: httpx2.Response) -> tuple[int, dict[str, str], bytes]:
    """Return what of an answer may tell one address from another: all but its own path and request id."""
    own = (answer.request.url.raw_path.partition(b"?")[0], answer.headers["x-request-id"].encode())
    content = answer.content
    for part in own:
        content = content.replace(part, b"")
    ignored = {"date", "x-request-id", "content-length"}
    return answer.status_code, {name: text for name, text in answer.headers.items() if name not in ignored}, content


async def test_without_a_valid_token_the_answer_is_401(service: Service) -> None:
    async with service.client(None) as nobody:
        answers = [await nobody.get("/api/topics")]
        answers += [await nobody.get("/api/topics", headers={"Authorization": given}) for given in NO_TOKEN]

    for answer in answers:
        problem(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_the_scheme_is_read_in_any_case(service: Service) -> None:
    for scheme in ("bearer", "BEARER", "Bearer ", "bEARER"):
        answer = await service.http.get("/api/topics", headers={"Authorization": f"{scheme} {ADMIN_TOKEN}"})
        assert answer.status_code == 200, scheme


async def test_every_route_but_those_for_everybody_needs_a_token_that_holds(start: Start) -> None:
    async with start(trusted_proxies="127.0.0.1") as service:
        await check_tokens(service)


async def check_tokens(service: Service) -> None:
    """Ask each route with each token, each time from another address: whose sign-ins fail often is slowed."""
    await service.topic()
    revoked = await add_token(service, "revoked")
    await service.rows(REVOKE)
    expired = await add_token(service, "expired", later(-0.001))
    valid = await add_token(service, "valid", later(60))

    taken: dict[str | None, set[str]] = {}
    for token in (None, "wrong", revoked, expired, valid):
        async with service.client(token) as client:
            answers = {
                call: await ask(client, call[0], call[1].format(id=1), headers={"X-Forwarded-For": f"10.0.0.{number}"})
                for number, call in enumerate(every_call(service), start=len(taken) * 50)
            }
        taken[token] = {call[1] for call, answer in answers.items() if answer.status_code != 401}
        for (method, path), answer in answers.items():
            if path not in taken[token]:
                assert answer.headers["www-authenticate"] == "Bearer", (method, path)
                assert method == "HEAD" or problem(answer, 401, "unauthorized"), (method, path)

    everywhere = {path for _, path in every_call(service)}
    public = PUBLIC | {path for path in everywhere if path.startswith("/docs/")}
    assert taken == dict.fromkeys((None, "wrong", revoked, expired), public) | {valid: everywhere}


async def test_a_token_is_asked_for_before_anything_else_is_looked_at(service: Service) -> None:
    async with service.client(None) as nobody:
        answers = [
            await nobody.post("/api/topics/1/generate?dry_run=1", json={"topic": ""}),
            await nobody.post("/api/topics", content=b"{"),
            await nobody.get("/api/topics?limit=0"),
            await nobody.get("/api/topics/1/status?wait=61"),
        ]

    for answer in answers:
        problem(answer, 401, "unauthorized")


async def test_what_belongs_to_somebody_else_answers_on_every_route_as_what_does_not_exist(
    service: Service, other: httpx2.AsyncClient
) -> None:
    written, being_written = await service.topic("Written"), await service.topic("Being written")
    await service.generate(written)
    artifact_id = (await service.ended(written))["artifact_id"]
    service.claude.default = Script(hold=trio.Event())
    await service.generate(being_written)

    for method, path in every_call(service):
        for theirs in [artifact_id] if path.startswith("/api/artifacts/") else [written, being_written]:
            good = await ask(other, method, path.format(id=theirs))
            bad = await ask(other, method, path.format(id=theirs) + BAD_QUERY, **BAD)
            if "{" in path:
                assert good.status_code == 404, (method, path)
                assert unlike(good) == unlike(await ask(other, method, path.format(id=BEYOND)))
                assert unlike(bad) == unlike(await ask(other, method, path.format(id=BEYOND) + BAD_QUERY, **BAD))

    assert (await service.status(being_written))["status"] == "generating"
    assert (await service.http.get(f"/api/artifacts/{artifact_id}/download")).status_code == 200


async def test_a_user_lists_their_own_topics_alone(service: Service, other: httpx2.AsyncClient) -> None:
    await service.topic("The admin's")
    await other.post("/api/topics", json={"topic": "The other's"})

    listed = (await other.get("/api/topics")).json()["data"]

    assert [topic["topic"] for topic in listed] == ["The other's"]


async def test_an_admin_sees_and_changes_everything(service: Service, other: httpx2.AsyncClient) -> None:
    topic_id = (await other.post("/api/topics", json={"topic": "The other's"})).json()["data"]["id"]
    await service.generate(topic_id)
    artifact_id = (await service.ended(topic_id))["artifact_id"]

    answers = [
        await service.http.get(f"/api/topics/{topic_id}"),
        await service.http.patch(f"/api/topics/{topic_id}", json={"plan": "## A"}),
        await service.http.get(f"/api/topics/{topic_id}/messages"),
        await service.http.get(f"/api/topics/{topic_id}/artifacts"),
        await service.http.get(f"/api/topics/{topic_id}/generations"),
        await service.http.get(f"/api/artifacts/{artifact_id}/download"),
        await service.http.get("/api/topics"),
    ]

    assert [answer.status_code for answer in answers] == [200] * len(answers)
    assert [topic["id"] for topic in answers[-1].json()["data"]] == [topic_id]
    assert (await other.get(f"/api/topics/{topic_id}/status")).json()["data"]["status"] == "completed"


async def test_a_token_that_was_revoked_before_its_first_use_never_works(service: Service) -> None:
    token = await add_token(service, "late")
    await service.rows(REVOKE)

    async with service.client(token) as late:
        problem(await late.get("/api/topics"), 401, "unauthorized")


async def test_a_token_in_use_that_expires_is_refused_a_second_later(service: Service) -> None:
    token = await add_token(service, "guest", later(1))

    async with service.client(token) as guest:
        assert (await guest.get("/api/topics")).status_code == 200
        began = trio.current_time()
        with trio.fail_after(30):
            while (answer := await guest.get("/api/topics")).status_code == 200:
                pass

    problem(answer, 401, "unauthorized")
    assert trio.current_time() - began < 1 + MEMORY_SECONDS + 1


async def test_a_token_in_use_that_is_revoked_from_outside_is_refused_a_second_later(
    service: Service, other: httpx2.AsyncClient
) -> None:
    assert (await other.get("/api/topics")).status_code == 200
    await service.rows(REVOKE)

    began = trio.current_time()
    with trio.fail_after(30):
        while (answer := await other.get("/api/topics")).status_code == 200:
            pass

    problem(answer, 401, "unauthorized")
    assert trio.current_time() - began < MEMORY_SECONDS + 1

"""Who may ask, and for what: tokens, owners, admins."""

import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
import trio
from starlette.routing import Route

from app.access import MEMORY_SECONDS
from app.main import create_app
from app.models import later
from app.openapi.build import API, PARTS
from app.queries.users import digest
from tests.claude import Script
from tests.conftest import Start
from tests.fairwatch import within
from tests.routes.client import add_token, problem
from tests.service import ADMIN_TOKEN, Service
from tests.visiting import cookie_client, session_of

PUBLIC = {"/healthz", "/readyz", "/openapi.json", "/docs"}
BEYOND = 2**62
"""An id that nothing has."""

NO_TOKEN = ("", "Bearer", "Bearer wrong", f"Basic {ADMIN_TOKEN}", f"Token {ADMIN_TOKEN}", ADMIN_TOKEN)
BAD_QUERY = "?limit=0&cursor=x&wait=x&dry_run=1"
BAD: dict[str, Any] = {"content": b"{", "headers": {"If-None-Match": "*", "Range": "bytes=9-", "Idempotency-Key": ""}}
"""A request that is wrong in every way there is."""

REVOKE = "UPDATE tokens SET revoked_at = '2026-01-01T00:00:00.000Z' WHERE label = ''"


def every_call(service: Service) -> Iterator[tuple[str, str]]:
    """Yield each method and path of the API; a route that is added later comes along."""
    return ((method, path) for method, path in every_route(service) if is_api(path))


def every_page(service: Service) -> Iterator[tuple[str, str]]:
    """Yield each method and path of the pages."""
    return ((method, path) for method, path in every_route(service) if not is_api(path))


def is_api(path: str) -> bool:
    return API.fullmatch(path) is not None or path.startswith(PARTS)


def every_route(service: Service) -> Iterator[tuple[str, str]]:
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


async def sessions_that_do_not_hold(service: Service) -> dict[str, str]:
    """Return secrets of sessions by why they do not hold; most of them did."""
    whys = ("signed out", "idle", "expired", "token revoked", "token expired")
    tokens = {why: await add_token(service, why.replace(" ", "-")) for why in whys}
    found = {why: await session_of(service, token) for why, token in tokens.items()}
    past = "'2026-01-01T00:00:00.000Z' WHERE sha256 = :sha256"
    for column, why in (("ended_at", "signed out"), ("seen_at", "idle"), ("expires_at", "expired")):
        await service.rows(f"UPDATE sessions SET {column} = {past}", sha256=digest(found[why]))
    for column, why in (("revoked_at", "token revoked"), ("expires_at", "token expired")):
        await service.rows(f"UPDATE tokens SET {column} = {past}", sha256=digest(tokens[why]))
    return found | {"unknown": "lh_" + "x" * 43, "no secret at all": "wrong", "an access token": ADMIN_TOKEN}


async def test_every_route_but_those_for_everybody_needs_a_session_that_holds(start: Start) -> None:
    async with start(trusted_proxies="127.0.0.1") as service:
        await service.topic()
        for number, (why, secret) in enumerate((await sessions_that_do_not_hold(service)).items()):
            taken = await routes_taken(service, secret, f"10.{number}.0")
            assert taken == {path for _, path in every_route(service) if is_public(path)}, why
        taken = await routes_taken(service, await session_of(service, ADMIN_TOKEN), "10.100.0")
        assert taken == {path for _, path in every_route(service)}


async def routes_taken(service: Service, secret: str, network: str) -> set[str]:
    """Ask each route by a session, each time from another address, and return those that took it."""
    taken: set[str] = set()
    async with cookie_client(service, secret) as client:
        for number, (method, path) in enumerate(every_route(service)):
            if path == "/sign-out":
                continue  # takes whoever comes, and leads to the same page
            address = path.format(id=BEYOND, version=1, file="app.css")
            answer = await ask(client, method, address, headers={"X-Forwarded-For": f"{network}.{number}"})
            if not (answer.status_code == 401 or answer.headers.get("location", "").startswith("/sign-in")):
                taken.add(path)
            elif answer.status_code == 303:
                assert re.fullmatch(r"/sign-in(\?next=/.+)?", answer.headers["location"])
    return taken | {"/sign-out"}


def is_public(path: str) -> bool:
    shown = {"/sign-in", "/sign-out", "/preferences"}
    return path in PUBLIC | shown or path.startswith((PARTS, "/static/"))


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


@pytest.mark.parametrize("by", ["token", "session"])
async def test_what_belongs_to_somebody_else_answers_on_every_route_as_what_does_not_exist(
    service: Service, by: str
) -> None:
    await session_of(service, ADMIN_TOKEN)  # token 1 and session 1 are the admin's
    token = await add_token(service, "other")
    if by == "token":
        async with service.client(token) as other:
            await check_others(service, other, [*every_call(service)])
    else:
        async with cookie_client(service, await session_of(service, token)) as other:
            await check_others(service, other, [call for call in every_route(service) if "{file}" not in call[1]])


def ids_in(path: str, artifact_id: int, topics: list[int]) -> list[int]:
    """Return the ids of what is the admin's, for a path."""
    if path.startswith("/api/artifacts/"):
        return [artifact_id]
    return [1] if path.startswith(("/account/", "/admin/")) else topics


async def check_others(service: Service, other: httpx2.AsyncClient, calls: list[tuple[str, str]]) -> None:
    """Ask each route for what is somebody else's."""
    written, being_written = await service.topic("Written"), await service.topic("Being written")
    await service.generate(written)
    artifact_id = (await service.ended(written))["artifact_id"]
    service.claude.default = Script(hold=trio.Event())
    await service.generate(being_written)

    for method, path in calls:
        if "{" not in path or (method == "POST" and not is_api(path)):  # forms are looked at below
            continue
        for theirs in ids_in(path, artifact_id, [written, being_written]):
            here, beyond = (path.format(id=number, version=1) for number in (theirs, BEYOND))
            good, bad = await ask(other, method, here), await ask(other, method, here + BAD_QUERY, **BAD)
            assert good.status_code == 404, (method, path)
            assert unlike(good) == unlike(await ask(other, method, beyond))
            assert unlike(bad) == unlike(await ask(other, method, beyond + BAD_QUERY, **BAD))
    for method, path in calls:
        if "{" in path and method == "POST" and not is_api(path):
            (theirs, *_) = ids_in(path, artifact_id, [being_written])
            form = {"data": {"topic": "Mine now", "language": "ko", "seen": ""}}
            answer = await ask(other, method, path.format(id=theirs), **form)
            assert answer.status_code == 404, (method, path)
            assert unlike(answer) == unlike(await ask(other, method, path.format(id=BEYOND), **form))

    assert {row["revoked_at"] for row in await service.rows("SELECT revoked_at FROM tokens")} == {None}
    assert {row["ended_at"] for row in await service.rows("SELECT ended_at FROM sessions")} == {None}
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


async def test_a_token_in_use_that_expires_is_refused_a_second_later(service: Service, blocked: list[str]) -> None:
    token = await add_token(service, "guest", later(1))

    async with service.client(token) as guest:
        assert (await guest.get("/api/topics")).status_code == 200
        with within(1 + MEMORY_SECONDS + 1, "the refusal", blocked), trio.fail_after(30):
            while (answer := await guest.get("/api/topics")).status_code == 200:
                pass

    problem(answer, 401, "unauthorized")


async def test_a_token_in_use_that_is_revoked_from_outside_is_refused_a_second_later(
    service: Service, other: httpx2.AsyncClient, blocked: list[str]
) -> None:
    assert (await other.get("/api/topics")).status_code == 200
    await service.rows(REVOKE)

    with within(MEMORY_SECONDS + 1, "the refusal", blocked), trio.fail_after(30):
        while (answer := await other.get("/api/topics")).status_code == 200:
            pass

    problem(answer, 401, "unauthorized")

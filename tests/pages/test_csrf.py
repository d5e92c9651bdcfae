"""Nothing that a cookie asks to change is done unless a page of ours has sent it: on every route there is."""

from collections.abc import Iterator

import httpx2
import pytest
from starlette.routing import Route

from app.credentials import csrf_of
from app.main import create_app
from app.routes.auth import SAFE_METHODS
from tests.routes.client import problem
from tests.service import ADMIN_TOKEN, Service
from tests.visiting import Browser, browsing

BEYOND = 2**62
"""An id that nothing has."""

BEFORE_A_SESSION = {"/sign-in"}
"""Whose form has a token of its own; its tests are in `test_signin`."""


def every_change(service: Service) -> Iterator[tuple[str, str]]:
    """Yield each method and path of the app that changes something; a route that is added later comes along."""
    for route in create_app(service.settings, None).routes:
        assert isinstance(route, Route)
        if route.path not in BEFORE_A_SESSION:
            yield from ((method, route.path_format) for method in sorted((route.methods or set()) - SAFE_METHODS))


async def tables(service: Service) -> dict[str, object]:
    """Return all that is kept, but for what is noted of the looking itself."""
    names = [row["name"] for row in await service.rows("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {name: await service.rows(f"SELECT * FROM {name}") for name in names if name != "health"}


async def send(browser: Browser, method: str, path: str, csrf: str | None, *, header: bool) -> httpx2.Response:
    """Ask for a change with what a form or a script sends along."""
    address = path.format(id=1, version=1)
    if path.startswith("/api/"):
        return await browser.http.request(method, address, json={}, headers={"X-CSRF-Token": csrf} if csrf else {})
    named = {"csrf": csrf} if csrf and not header else {}
    more = {"X-CSRF-Token": csrf} if csrf and header else {}
    return await browser.http.request(method, address, data={"field": "x", **named}, headers=more)


@pytest.mark.parametrize("given", ["none", "empty", "wrong", "another's", "the secret"])
@pytest.mark.parametrize("header", [False, True])
async def test_a_cookie_alone_changes_nothing_anywhere(service: Service, given: str, header: bool) -> None:
    await service.topic()
    async with browsing(service, signed_in=ADMIN_TOKEN) as browser, browsing(service, signed_in=ADMIN_TOKEN) as other:
        assert other.secret
        assert browser.secret
        csrf = {
            "none": None, "empty": "", "wrong": "0" * 64, "another's": csrf_of(other.secret),
            "the secret": browser.secret,
        }[given]  # fmt: skip
        before = await tables(service)
        answers = {call: await send(browser, *call, csrf, header=header) for call in every_change(service)}
        after = await tables(service)

    assert len(answers) > 15
    for answer in answers.values():
        problem(answer, 403, "csrf")
    assert after == before


@pytest.mark.parametrize("header", [False, True])
async def test_with_the_token_of_the_page_every_change_is_heard(service: Service, header: bool) -> None:
    for method, path in every_change(service):
        async with browsing(service, signed_in=ADMIN_TOKEN) as browser:
            assert browser.secret
            answer = await send(
                browser, method, path.replace("{id}", f"{BEYOND}"), csrf_of(browser.secret), header=header
            )

        assert answer.status_code not in {401, 403, 500}, (method, path, answer.text)


async def test_an_access_token_needs_none_and_goes_before_a_cookie(service: Service) -> None:
    async with browsing(service, signed_in=ADMIN_TOKEN) as browser:
        right = await browser.http.post(
            "/api/topics", json={"topic": "A topic"}, headers={"Authorization": f"Bearer {ADMIN_TOKEN}"}
        )
        wrong = await browser.http.get("/api/topics", headers={"Authorization": "Bearer wrong"})
        other = await browser.http.get("/api/topics", headers={"Authorization": "Basic a3w6bGVl"})

    assert (right.status_code, other.status_code) == (201, 200)
    problem(wrong, 401, "unauthorized")


async def test_a_page_takes_no_access_token(service: Service) -> None:
    for path in ("/account", "/admin"):
        assert (await service.http.get(path)).status_code == 303
        assert (await service.http.post(f"{path}/tokens", data={})).status_code == 303

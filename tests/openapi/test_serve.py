"""`/openapi.json` and `/docs`: answered from this machine alone, without a token, once made."""

import re

import trio
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.requests import Request as StarletteRequest

from app.main import create_app
from app.openapi.build import description
from app.openapi.serve import Kept
from app.routes.resource import Request
from app.threads import Threads
from tests.service import Service

PARTS = {
    "/docs/start.js": "text/javascript; charset=utf-8",
    "/docs/swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "/docs/swagger-ui.css": "text/css; charset=utf-8",
    "/docs/favicon-32x32.png": "image/png",
}


async def test_the_description_is_that_of_the_running_service_and_needs_no_token(service: Service) -> None:
    async with service.client(None) as nobody:
        answer = await nobody.get("/openapi.json")

    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == description(create_app(service.settings, None).routes, service.settings.models)
    assert not list(OpenAPIV31SpecValidator(answer.json()).iter_errors())


async def test_who_knows_the_description_is_told_that_it_is_the_same(service: Service) -> None:
    first = await service.http.get("/openapi.json")

    again = await service.http.get("/openapi.json", headers={"If-None-Match": first.headers["etag"]})
    other = await service.http.get("/openapi.json", headers={"If-None-Match": '"another"'})

    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert (other.status_code, other.content) == (200, first.content)


async def test_the_page_and_all_its_parts_come_from_here_without_a_token(service: Service) -> None:
    async with service.client(None) as nobody:
        page = await nobody.get("/docs")
        named = set(re.findall(r'(?:src|href)="([^"]*)"', page.text))
        parts = {path: await nobody.get(path) for path in named}

    assert named == set(PARTS)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert {path: part.headers["content-type"] for path, part in parts.items()} == PARTS
    assert all(part.status_code == 200 and len(part.content) > 300 for part in parts.values())
    assert "SwaggerUIBundle" in parts["/docs/swagger-ui-bundle.js"].text


async def test_the_page_names_no_other_place_and_runs_nothing_inline(service: Service) -> None:
    page, start = await service.http.get("/docs"), await service.http.get("/docs/start.js")

    for text in (page.text, start.text):
        assert "//" not in re.sub(r"^//.*$", "", text, flags=re.MULTILINE)
    assert not re.search(r"<script(?! src=)|<style|\son\w+=|style=", page.text)
    assert 'url: "/openapi.json"' in start.text


async def test_a_browser_is_told_to_load_nothing_from_elsewhere(service: Service) -> None:
    for path in ("/docs", *PARTS):
        policy = (await service.http.get(path)).headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "http" not in policy
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy


async def test_the_token_stays_out_of_storage_and_addresses(service: Service) -> None:
    start = (await service.http.get("/docs/start.js")).text

    assert "persistAuthorization: false" in start
    assert "queryConfigEnabled: false" in start
    assert "validatorUrl: null" in start


async def test_a_part_that_is_known_is_not_sent_again(service: Service) -> None:
    for path in PARTS:
        etag = (await service.http.get(path)).headers["etag"]
        again = await service.http.get(path, headers={"If-None-Match": etag})
        assert (again.status_code, again.content) == (304, b"")


async def test_the_description_is_made_once_however_many_ask_at_once() -> None:
    made = 0

    def make(_: Request) -> bytes:
        nonlocal made
        made += 1
        return b"{}"

    kept = Kept(make, "application/json", {})
    threads = Threads(4)
    request: Request = StarletteRequest({"type": "http", "method": "GET", "headers": [], "state": {"threads": threads}})

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(kept.answer, request)

    assert made == 1

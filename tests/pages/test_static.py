"""Style sheet, modules and icons: whole, light, kept for ever under a name of their content."""

import re
from pathlib import Path

import pytest

from app.pages.static import FOLDER, MEDIA, assets
from tests.pages.markup import parse
from tests.routes.client import problem
from tests.service import Service

FOR_EVER = "public, max-age=31536000, immutable"
ICONS = ("page.svg", "pen.svg", "bars.svg", "check.svg", "triangle.svg")


async def test_a_file_is_kept_for_ever_under_the_address_that_names_its_content(service: Service) -> None:
    address = assets().url("app.css")

    answer = await service.http.get(address, headers={"Authorization": ""})
    again = await service.http.get(address, headers={"If-None-Match": answer.headers["etag"]})

    assert answer.content == (FOLDER / "app.css").read_bytes()
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    assert answer.headers["cache-control"] == again.headers["cache-control"] == FOR_EVER
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("version", ["", "/000000000000"])
async def test_under_another_address_it_is_asked_for_again(service: Service, version: str) -> None:
    answer = await service.http.get(f"/static{version}/app.css")

    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("path", ["/static/none.css", "/static/..%2fmain", "/static/1/2/app.css", "/static/"])
async def test_nothing_else_is_served(service: Service, path: str) -> None:
    problem(await service.http.get(path), 404, "not_found")


async def test_every_file_has_its_type_and_every_page_finds_its_own(service: Service) -> None:
    names = [path.name for path in sorted(FOLDER.iterdir()) if path.is_file()]

    assert sorted(assets().files) == names
    for name in names:
        answer = await service.http.get(assets().url(name))
        assert answer.headers["content-type"] == MEDIA[Path(name).suffix]
    document = parse(await service.http.get("/sign-in"))
    for link in (*document.all("link"), *document.all("script", type="module")):
        assert (await service.http.get(link.attributes.get("href") or link["src"])).status_code == 200


def test_the_weights_stay_within_the_budget() -> None:
    size = {name: len(asset.body) for name, asset in assets().files.items()}

    assert size["app.css"] <= 24 * 1024
    assert sum(size[name] for name in ICONS) <= 6 * 1024
    modules = [name for name in assets().files if name.endswith(".js")]
    on_the_list = ["page.js", "topics.js", *assets().imports(["page.js", "topics.js"])]
    assert sum(size[name] for name in on_the_list) <= 24 * 1024
    assert sum(len(assets().files[name].packed) for name in modules) <= 24 * 1024


async def test_a_file_is_packed_for_those_who_take_it(service: Service) -> None:
    url = assets().url("page.js")
    packed = await service.http.get(url, headers={"Accept-Encoding": "gzip, br"})
    plain = await service.http.get(url, headers={"Accept-Encoding": "identity"})

    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.content == plain.content == assets().files["page.js"].body
    assert packed.headers["etag"] != plain.headers["etag"]
    assert packed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
    again = await service.http.get(url, headers={"Accept-Encoding": "gzip", "If-None-Match": packed.headers["etag"]})
    assert again.status_code == 304


async def test_a_page_asks_at_once_for_all_that_its_modules_import(service: Service) -> None:
    document = parse(await service.http.get("/sign-in"))

    assert assets().imports(["topic.js"]) == ["page.js", "line.js", "open.js", "reader.js", "sentence.js"]
    assert document.all("link", rel="modulepreload") == []


def test_an_icon_is_plain_and_differs_from_the_others() -> None:
    bodies = {assets().files[name].body for name in ICONS}

    assert len(bodies) == len(ICONS)
    for body in bodies:
        assert not re.search(rb"<script|<style|href=|on\w+=|style=", body)

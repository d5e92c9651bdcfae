"""Style sheet, modules and icons: whole, light, kept for ever under a name of their content."""

import gzip
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


@pytest.mark.parametrize(
    ("accepted", "compressed"),
    [
        ("gzip", True), ("br, GZIP;q=0.5", True), ("gzip;q=1.0, identity", True), ("", False), ("br", False),
        ("gzip;q=0", False), ("gzip; q=0.0, br", False), ("x-gzipped", False), ("identity", False),
    ],
)  # fmt: skip
async def test_it_is_compressed_for_who_takes_that(service: Service, accepted: str, *, compressed: bool) -> None:
    address = assets().url("app.css")
    async with service.http.stream("GET", address, headers={"Accept-Encoding": accepted}) as answer:
        body = b"".join([piece async for piece in answer.aiter_raw()])
    again = await service.http.get(
        address, headers={"Accept-Encoding": accepted, "If-None-Match": answer.headers["etag"]}
    )

    plain = (FOLDER / "app.css").read_bytes()
    assert ("content-encoding" in answer.headers) is compressed
    assert (gzip.decompress(body) if compressed else body) == plain
    assert answer.headers["vary"] == again.headers["vary"] == "Accept-Encoding"
    assert again.status_code == 304
    assert answer.headers["etag"] == assets().files["app.css"].etag or compressed


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
    assert sum(size.values()) + 30 * 1024 <= 100 * 1024


async def test_a_page_asks_at_once_for_all_that_its_modules_import(service: Service) -> None:
    document = parse(await service.http.get("/sign-in"))

    assert assets().imports(["topic.js"]) == ["page.js", "line.js", "open.js", "reader.js", "sentence.js"]
    assert document.all("link", rel="modulepreload") == []


def test_an_icon_is_plain_and_differs_from_the_others() -> None:
    bodies = {assets().files[name].body for name in ICONS}

    assert len(bodies) == len(ICONS)
    for body in bodies:
        assert not re.search(rb"<script|<style|href=|on\w+=|style=", body)

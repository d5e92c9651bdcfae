"""Failures as pages: in words of both languages, for people alone, and showing nothing of the server."""

import logging

import pytest

from tests.conftest import Start
from tests.pages.markup import parse
from tests.routes.client import LEAKS, problem
from tests.service import Service, locked_database
from tests.visiting import Browser, browsing

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


async def test_an_unknown_path_is_a_page_for_a_person_and_a_problem_for_a_program(service: Service) -> None:
    page = await service.http.get("/nothing", headers=HTML | {"Accept-Language": "ko"})
    others = [await service.http.get("/nothing", headers={"Accept": kind}) for kind in ("*/*", "text/plain")]

    assert page.status_code == 404
    assert parse(page).one("h1").text == "찾을 수 없어요"
    for other in others:
        problem(other, 404, "not_found")


@pytest.mark.parametrize(
    "path", ["/api/nothing", "/api", "/metrics", "/static/none.css", "/docs/none", "/openapi.json/x", "/healthz/x"]
)
async def test_where_programs_ask_a_browser_gets_the_problem_too(service: Service, path: str) -> None:
    answer = await service.http.put(path, headers=HTML)

    assert answer.headers["content-type"] == "application/problem+json"


async def test_anothers_topic_and_none_are_the_same_page(service: Service, stranger: Browser) -> None:
    topic_id = await service.topic("A secret topic")
    suffixes = ("", "/write", "/cancel", "/finish", "/start-over", "/delete", "/versions/1")

    for suffix in suffixes:
        theirs = await stranger.http.get(f"/topics/{topic_id}{suffix}", headers=HTML)
        none = await stranger.http.get(f"/topics/999{suffix}", headers=HTML)
        assert theirs.status_code == none.status_code == 404
        assert parse(theirs).one("main").text == parse(none).one("main").text
        assert "There is no such topic, or it is not yours." in parse(theirs).one("main").text
        assert "secret" not in theirs.text


async def test_what_is_pressed_on_anothers_topic_does_nothing(service: Service, stranger: Browser) -> None:
    topic_id = await service.topic("A secret topic")

    for suffix in ("", "/write", "/cancel", "/finish", "/start-over", "/delete"):
        answer = await stranger.post(f"/topics/{topic_id}{suffix}", topic="Mine", plan="", language="ko", seen="")
        assert answer.status_code == 404, suffix

    assert (await service.http.get(f"/api/topics/{topic_id}")).json()["data"]["topic"] == "A secret topic"
    assert (await service.status(topic_id))["status"] == "idle"


async def test_a_wrong_method_says_so_and_names_the_right_ones(browser: Browser) -> None:
    answer = await browser.http.put("/topics/new", headers=HTML)

    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD, POST"
    assert "not opened that way" in parse(answer).one("h1").text


async def test_a_form_without_its_token_is_told_to_reload(browser: Browser) -> None:
    answer = await browser.http.post("/topics/new", data={"topic": "x"}, headers=HTML)

    assert answer.status_code == 403
    assert "Reload and press again" in parse(answer).one("main").text


async def test_a_form_that_is_too_large_is_told_so(browser: Browser) -> None:
    answer = await browser.http.post("/topics/new", content=b"x" * (2**20 + 1), headers=HTML)

    assert answer.status_code == 413
    assert "1 MiB" in parse(answer).one("main").text


async def test_too_many_requests_are_told_to_wait(start: Start) -> None:
    async with start(rate_per_address=1) as service, browsing(service) as reader:
        answers = [await reader.http.get("/sign-in", headers=HTML) for _ in range(3)]

    assert answers[-1].status_code == 429
    assert answers[-1].headers["retry-after"]
    assert "Wait a moment" in parse(answers[-1]).one("main").text


async def test_a_database_that_cannot_be_used_is_a_page_with_the_number_of_the_request(
    service: Service, browser: Browser
) -> None:
    topic_id = await service.topic()
    csrf = await browser.csrf()
    async with locked_database(service.settings.data_dir):
        answer = await browser.http.post(
            f"/topics/{topic_id}/delete", data={"csrf": csrf}, headers=HTML | {"X-Request-ID": "request-1"}
        )

    document = parse(answer)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "Not possible right now" in document.one("h1").text
    assert document.one("code").text == "request-1"


async def test_a_bug_is_a_page_that_shows_nothing_of_it(
    service: Service, browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    await service.topic()
    await service.rows("UPDATE topics SET status = 'no such status'")
    with caplog.at_level(logging.CRITICAL, "longhand"):
        answer = await browser.http.get("/", headers=HTML | {"X-Request-ID": "request-1"})

    document = parse(answer)
    assert answer.status_code == 500
    assert "Something unexpected went wrong" in document.one("h1").text
    assert document.one("code").text == "request-1"
    assert not LEAKS.search(answer.text)

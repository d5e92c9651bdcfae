"""The list of topics while it is looked at: figures change in place, what is new is offered, nothing moves."""

import re

import pytest
from playwright.sync_api import Route, expect

from tests.browser.author import Author
from tests.browser.conftest import Arrive
from tests.browser.house import House
from tests.browser.test_live import writing
from tests.browser.told import Json, Told, told_of_all


@pytest.fixture
def topic_id(home: House, writer: Author) -> int:
    """A topic whose report is being written and waits."""
    return writing(home, writer, 40)[0]


@pytest.fixture
def view(topic_id: int, visit: Arrive) -> Told:
    return told_of_all(visit())


def topic(view: Told, topic_id: int, **change: object) -> Json:
    """Return a topic as the stream of all topics tells it, but for what is changed."""
    status: Json = view.house.http.get(f"/api/topics/{topic_id}/status").json()["data"]
    return {"id": topic_id, **status, **change}


def test_figures_change_in_place_and_a_change_of_state_is_fetched(view: Told, topic_id: int, home: House) -> None:
    fetched: list[str] = []
    view.page.on("request", lambda request: fetched.append(request.url))

    view.say("topic", topic(view, topic_id, progress_percent=55, sections_done=2))
    row = view.page.locator(f"#topics [data-topic='{topic_id}']")
    expect(row.locator(".percent")).to_have_text("55%")
    expect(row.locator(".second")).to_have_text("2 of 4 sections done")
    view.pass_time(2)
    assert fetched == []
    view.say("topic", topic(view, topic_id, phase="waiting", progress_percent=70))
    view.pass_time(2)

    assert [url for url in fetched if url == f"{home.url}/"]
    expect(row.locator(".percent")).not_to_contain_text("70%")


def test_many_changes_are_one_request_a_second(view: Told, topic_id: int) -> None:
    fetched: list[str] = []
    view.page.on("request", lambda request: fetched.append(request.url))

    for _ in range(20):
        view.say("topic", topic(view, topic_id, status="failed", phase=None))
    view.pass_time(2)

    assert len(fetched) == 1


def test_what_is_new_is_counted_without_what_is_old_or_gone_again(view: Told, topic_id: int) -> None:
    news = view.page.locator("#news")

    view.say("topic", {"id": 1_000_001, "status": "idle"})
    view.say("topic", {"id": 1_000_002, "status": "idle"})
    view.say("topic", {"id": 0, "status": "idle"})
    expect(news).to_have_text("Show 2 new topics")
    view.say("deleted", {"id": 1_000_001})
    view.say("topic", {"id": 1_000_002, "status": "queued"})

    expect(news).to_have_text("Show 1 new topic")


def test_a_row_that_goes_gives_its_focus_to_the_heading_and_the_counts_follow(
    home: House, visit: Arrive, topic_id: int
) -> None:
    gone = home.topic("Goes", language="en")
    view = told_of_all(visit())
    link, count = view.page.locator(f"#topics [data-topic='{gone}'] a"), view.page.locator(".filters .count").first
    before = int(count.inner_text())
    link.focus()

    home.http.delete(f"/api/topics/{gone}")
    view.say("deleted", {"id": gone})
    expect(view.page.locator("h1")).to_be_focused()
    view.pass_time(2)

    assert int(count.inner_text()) == before - 1


def test_a_list_that_cannot_be_fetched_is_fetched_again(view: Told, topic_id: int, home: House) -> None:
    fetched: list[str] = []

    def refuse(route: Route) -> None:
        fetched.append(route.request.url)
        if len(fetched) < 3:
            route.abort()
        else:
            route.continue_()

    view.page.route(re.compile(f"^{home.url}/$"), refuse)
    view.say("topic", topic(view, topic_id, status="failed", phase=None))
    view.pass_time(1.5)
    assert view.streams() == (1, 0)
    view.pass_time_until_it_has_a_stream()

    assert len(fetched) == 3
    assert view.streams() == (2, 1)

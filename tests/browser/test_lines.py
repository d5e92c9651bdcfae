"""The line between a page and its server: broken, blocked, given back, taken up again; no text is missed or doubled."""

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, Request, Route, expect

from tests.browser.author import Author
from tests.browser.conftest import Arrive
from tests.browser.house import House, house
from tests.browser.people import arrive
from tests.browser.test_live import SENTENCES, TEXT, has_sentence, numbers, writing

ALL = list(range(1, SENTENCES + 1))
LOST = "Reconnecting. Writing goes on at the server."


def test_a_server_that_is_killed_twice_costs_no_sentence_and_no_press(
    browser: Browser, writer: Author, tmp_path: Path
) -> None:
    with house(tmp_path / "data", writer) as home:
        topic_id, gate = writing(home, writer, 30)
        person = arrive(browser, home)
        person.sign_in()
        page, other = person.page(f"/topics/{topic_id}", clock=True), person.page(f"/topics/{topic_id}")
        has_sentence(page, 20)
        page.evaluate("window.first = document.querySelector('#report > .block')")

        for number in (60, 90):
            home.kill(signal.SIGKILL)
            page.clock.run_for(5000)
            expect(page.locator("#line")).to_contain_text(LOST)
            gate = writer.gated(TEXT, number)
            with coming_back(page):
                home.start()
            has_sentence(page, number - 1)
            assert numbers(page)[: number - 1] == ALL[: number - 1]
        expect(page.locator("#line")).to_be_empty()
        gate.let()

        for tab in (page, other):
            expect(tab.locator("#state")).to_contain_text("Done")
            assert numbers(tab) == ALL
        assert page.evaluate("first.isConnected")
        assert not person.faults
        person.context.close()


def test_a_server_that_is_stopped_says_so_before_it_goes(browser: Browser, writer: Author, tmp_path: Path) -> None:
    with house(tmp_path / "data", writer) as home:
        topic_id, _ = writing(home, writer, 30)
        person = arrive(browser, home)
        person.sign_in()
        page = person.page(f"/topics/{topic_id}", clock=True)
        has_sentence(page, 29)

        home.kill(signal.SIGTERM)
        expect(page.locator("#line")).to_contain_text("The server is restarting.")
        page.clock.run_for(8000)
        expect(page.locator("#announcer")).to_contain_text("The server is restarting.")
        page.clock.run_for(40_000)
        expect(page.locator("#line")).to_contain_text("Not connected yet.")

        writer.gated(TEXT)
        home.start()
        page.get_by_role("button", name="Reconnect now").click()
        expect(page.locator("#state")).to_contain_text("Done")
        assert numbers(page) == ALL
        assert not person.faults
        person.context.close()


def test_a_hidden_tab_gives_its_stream_back_and_is_complete_when_it_is_seen_again(
    home: House, writer: Author, visit: Arrive
) -> None:
    topic_id, gate = writing(home, writer, 30)
    page = visit().page(f"/topics/{topic_id}", clock=True)
    has_sentence(page, 29)
    readers(home, 1)

    page.evaluate("showTab('hidden')")
    with page.expect_request(lambda request: "/blocks" in request.url):
        page.clock.run_for(61_000)
    readers(home, 0)
    gate.let(90)
    home.wait_for(topic_id, lambda status: status["sections_done"] == 2)
    with page.expect_request(lambda request: "/blocks" in request.url):
        page.clock.run_for(31_000)
    page.clock.run_for(6000)
    expect(page).to_have_title(re.compile(f"^{home.wait_for(topic_id, bool)['progress_percent']}% "))
    gate.let()
    home.ended(topic_id)
    page.evaluate("showTab('visible')")

    expect(page.locator("#state")).to_contain_text("Done")
    assert numbers(page) == ALL
    readers(home, 0)


def test_eight_tabs_of_one_browser_all_show_the_text(home: House, writer: Author, visit: Arrive) -> None:
    topic_id, gate = writing(home, writer, 30)
    person = visit()

    tabs = [person.page(f"/topics/{topic_id}") for _ in range(8)]
    gate.let(90)

    for tab in tabs:
        has_sentence(tab, 89)
        assert numbers(tab)[:89] == ALL[:89]
        tab.close()
    gate.let()


def test_behind_a_proxy_that_holds_the_stream_back_the_page_asks_instead(
    home: House, writer: Author, visit: Arrive
) -> None:
    topic_id, gate = writing(home, writer, 30)
    page = visit().page(clock=True)
    page.route("**/status/stream*", lambda route: None)  # nothing of it ever comes through
    page.goto(f"{home.url}/topics/{topic_id}")

    page.clock.run_for(5500)
    expect(page.locator("#line")).to_contain_text("Live updates are blocked on the way")
    gate.let(90)
    home.wait_for(topic_id, lambda status: status["sections_done"] == 2)
    page.clock.run_for(2500)
    has_sentence(page, 89)
    gate.let()
    home.ended(topic_id)
    page.clock.run_for(2500)

    expect(page.locator("#state")).to_contain_text("Done")
    assert numbers(page) == ALL
    page.unroute_all(behavior="ignoreErrors")


def test_who_is_signed_out_meanwhile_is_told_and_keeps_the_text(home: House, writer: Author, visit: Arrive) -> None:
    topic_id, gate = writing(home, writer, 30)
    person = visit(cookies=None)
    person.sign_in()
    page, other = person.page(f"/topics/{topic_id}", clock=True), person.page("/account")
    has_sentence(page, 29)

    other.locator("form[action='/sign-out'] button").click()
    other.wait_for_url("**/sign-in*")
    page.clock.run_for(50_000)

    expect(page.locator("#line")).to_contain_text("Your sign-in has ended.")
    assert page.locator("#line a").get_attribute("href") == f"/sign-in?next=%2Ftopics%2F{topic_id}"
    assert numbers(page)[:29] == ALL[:29]
    gate.let()


def test_a_server_that_refuses_for_a_while_is_asked_again(home: House, writer: Author, visit: Arrive) -> None:
    topic_id, gate = writing(home, writer, 30)
    page = visit().page(clock=True)
    refused: list[str] = []

    def refuse(route: Route, request: Request) -> None:
        if len(refused) < 3:
            refused.append(request.url)
            route.fulfill(status=503, headers={"Retry-After": "1"})
        else:
            route.continue_()

    page.route(re.compile("/status/stream|/blocks"), refuse)
    page.goto(f"{home.url}/topics/{topic_id}")
    for _ in range(3):
        page.clock.run_for(8000)
    gate.let()

    expect(page.locator("#state")).to_contain_text("Done")
    assert numbers(page) == ALL
    assert len(refused) == 3


def test_a_server_with_nothing_more_to_say_is_asked_for_the_end(home: House, writer: Author, visit: Arrive) -> None:
    topic_id, gate = writing(home, writer, 30)
    page = visit().page(clock=True)
    answered: list[str] = []

    def nothing(route: Route, request: Request) -> None:
        gate.let()
        home.ended(topic_id)
        answered.append(request.url)
        route.fulfill(status=204)

    page.route(re.compile("/status/stream"), nothing)
    page.goto(f"{home.url}/topics/{topic_id}")
    page.clock.run_for(3000)

    expect(page.locator("#state")).to_contain_text("Done")
    assert numbers(page) == ALL
    page.clock.run_for(60_000)
    assert len(answered) == 1


def test_what_is_cancelled_in_one_tab_is_cancelled_in_the_other(home: House, writer: Author, visit: Arrive) -> None:
    topic_id, _ = writing(home, writer, 40)
    person = visit()
    page, other = person.page(f"/topics/{topic_id}"), person.page(f"/topics/{topic_id}")
    has_sentence(other, 39)
    other.locator("#actions a[href$='/finish']").click()
    expect(other.locator("dialog")).to_be_visible()

    page.locator("#actions a[href$='/cancel']").click()
    page.locator("dialog button").click()

    expect(page.locator("#state")).to_contain_text("Cancelled")
    expect(page.locator("#state")).to_be_focused()
    expect(other.locator("#state")).to_contain_text("Cancelled")
    expect(other.locator("dialog")).to_have_count(0)
    expect(other.locator("#announcer")).to_contain_text("It has already ended.")
    assert other.evaluate("document.activeElement !== document.body")
    assert numbers(other)[:39] == ALL[:39]


@contextmanager
def coming_back(page: Page) -> Iterator[None]:
    """Move the page's time on after the block until it has a stream again; none passes while it waits for an answer."""
    begun: list[str] = []
    waiting: set[Request] = set()

    def note(request: Request) -> None:
        if "/status/stream" in request.url:
            begun.append(request.url)
        elif "/blocks" in request.url:
            waiting.add(request)

    def forget(request: Request) -> None:
        waiting.discard(request)

    page.on("request", note)
    page.on("requestfinished", forget)
    page.on("requestfailed", forget)
    yield
    for _ in range(40):
        page.wait_for_timeout(20)
        while waiting and not begun:
            page.wait_for_timeout(20)
        if begun:
            break
        page.clock.run_for(1000)
    page.remove_listener("request", note)
    page.remove_listener("requestfinished", forget)
    page.remove_listener("requestfailed", forget)
    assert begun


def readers(home: House, count: int) -> None:
    """Wait until so many streams are read."""
    told = f"\nlonghand_event_stream_readers {count}.0\n"
    assert any(told in home.http.get("/metrics").text for _ in range(3000))

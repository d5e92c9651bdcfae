"""What a topic's page does with what it is told, to the second: doubled, torn, late or missing."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.author import Author, Gate
from tests.browser.conftest import Arrive
from tests.browser.house import House
from tests.browser.test_live import writing
from tests.browser.told import Told, told

Open = Callable[..., tuple[Told, Gate]]


@pytest.fixture
def opened(home: House, writer: Author, visit: Arrive) -> Open:
    """Open the page of a report that is written up to its fortieth sentence and waits there."""

    def open_page(until: int = 40, **more: object) -> tuple[Told, Gate]:
        topic_id, gate = writing(home, writer, until)
        kept = f"/api/topics/{topic_id}/blocks"
        assert any(f"sentence {until - 1} of" in home.http.get(kept).text for _ in range(3000))
        return told(visit(**more), topic_id), gate

    return open_page


def shown(page: Page) -> str:
    return page.locator("#report").inner_text()


def test_text_that_is_told_twice_stands_once(opened: Open) -> None:
    view, gate = opened()

    view.say_text("\n\nApples and pears and ")
    view.say_text("pears and plums.\n", ahead=-10)
    view.pass_time(1)

    assert "Apples and pears and plums." in shown(view.page)
    gate.let()


def test_text_that_is_missing_is_fetched_before_any_more_is_shown(opened: Open) -> None:
    view, gate = opened()

    view.say_text("far away", ahead=50)
    view.pass_time(1)

    assert "far away" not in shown(view.page)
    assert view.streams() == (2, 1)
    assert "starting_after=" in view.page.evaluate("streams[1].url")
    gate.let()


def test_a_block_that_is_told_twice_stands_once(opened: Open) -> None:
    view, gate = opened()
    view.say_text("\n\n")
    block = {"offset": view.end, "end": view.end + 6, "html": "<p>Once.</p>"}

    view.say_text("Once.\n")
    for _ in range(2):
        view.say("block", block)
        view.pass_time(1)

    assert shown(view.page).count("Once.") == 1
    gate.let()


def test_a_word_is_shown_when_it_is_whole_or_nothing_more_comes(opened: Open) -> None:
    view, gate = opened()
    view.say_text("\n\nA short beg")
    view.page.clock.run_for(250)
    assert "A short" in shown(view.page)
    assert "beg" not in shown(view.page)

    view.page.clock.run_for(500)

    assert "A short beg" in shown(view.page)
    gate.let()


def test_the_minutes_that_are_left_only_grow_fewer(opened: Open) -> None:
    view, gate = opened()
    moment = "new Date(Date.now() + {} * 60000).toISOString()"

    view.say_status(estimated_completion=view.page.evaluate(moment.format(4)))
    expect(view.page.locator("#sentence")).to_contain_text("about 4 min left")
    view.say_status(estimated_completion=view.page.evaluate(moment.format(9)))

    expect(view.page.locator("#sentence")).to_contain_text("about 4 min left")
    gate.let()


def test_a_clock_that_is_wrong_changes_nothing(opened: Open) -> None:
    view, gate = opened()
    view.page.clock.pause_at(view.page.evaluate("Date.now() / 1000 + 3600"))
    view.page.reload()
    view.say("ping", {})

    in_four = view.house.http.get("/").headers["date"]
    end = view.page.evaluate("(now) => new Date(Date.parse(now) + 240_000).toISOString()", in_four)
    view.say_status(estimated_completion=end)

    expect(view.page.locator("#sentence")).to_contain_text("about 4 min left")
    gate.let()


def test_the_section_that_is_written_is_the_current_step(opened: Open) -> None:
    view, gate = opened()

    view.say_status(sections_done=1)
    view.say_status(sections_done=2)

    steps = view.page.locator("#outline li").evaluate_all("(all) => all.map((item) => item.ariaCurrent)")
    assert steps == [None, None, "step", None]
    gate.let()


def test_the_title_changes_every_five_seconds_at_most(opened: Open) -> None:
    view, gate = opened()
    view.say_status(progress_percent=31)
    view.pass_time(5)

    for percent in (32, 33, 34):
        view.say_status(progress_percent=percent)

    expect(view.page).to_have_title(re.compile("^31% "))
    view.pass_time(5)
    expect(view.page).to_have_title(re.compile("^34% "))
    gate.let()


def test_that_it_is_being_finished_stays_said(opened: Open) -> None:
    view, gate = opened()
    view.page.evaluate("document.getElementById('content').dataset.finishing = '1'")
    said = view.page.locator("#sentence").inner_text()

    view.say_status(progress_percent=77)

    assert view.page.locator("#sentence").inner_text() == said
    assert view.page.locator("#bar .fill").get_attribute("data-percent") == "77"
    gate.let()


def test_another_generation_has_the_page_drawn_anew(opened: Open) -> None:
    view, gate = opened()

    with view.page.expect_request(lambda request: request.url.endswith(f"/topics/{view.topic_id}")):
        view.say_status(generation_id=10_000)

    gate.let()


def test_a_change_while_the_page_is_fetched_fetches_it_again(opened: Open) -> None:
    view, gate = opened()
    fetched: list[Route] = []

    def hold(route: Route) -> None:
        fetched.append(route)

    view.page.route(f"{view.house.url}/topics/{view.topic_id}", hold)

    for phase in ("thinking", "waiting", "thinking"):
        view.say("status", view.status(phase=phase))
    view.held(fetched, 1)
    fetched[0].continue_()
    view.held(fetched, 2)
    fetched[1].continue_()
    view.pass_time(1)

    assert len(fetched) == 2
    gate.let()


def test_a_short_break_is_not_worth_a_word(opened: Open) -> None:
    view, gate = opened()

    view.cut()
    view.pass_time(2.5)
    assert view.asked
    view.say("ping", {})
    view.pass_time(10)

    expect(view.page.locator("#line")).to_be_empty()
    expect(view.page.locator("#announcer")).to_be_empty()
    gate.let()


def test_a_break_is_shown_after_three_seconds_and_said_after_ten(opened: Open) -> None:
    view, gate = opened()
    view.answer = Route.abort
    line, announcer = view.page.locator("#line"), view.page.locator("#announcer")

    view.cut()
    view.pass_time(2.8)
    expect(line).to_be_empty()
    view.pass_time(0.4)
    expect(line).to_contain_text("Reconnecting.")
    expect(announcer).to_be_empty()
    view.pass_time(7)
    expect(announcer).to_contain_text("Reconnecting.")

    view.answer = Route.continue_
    view.pass_time_until_it_has_a_stream()
    view.say("ping", {})
    expect(line).to_contain_text("Connected again.")
    expect(announcer).to_contain_text("Connected again.")
    view.pass_time(3.2)
    expect(line).to_be_empty()
    gate.let()


def test_it_is_tried_again_after_one_two_five_ten_and_thirty_seconds(opened: Open) -> None:
    view, gate = opened()
    view.answer = Route.abort
    view.page.evaluate("Math.random = () => 0.5")

    view.cut()
    tried = []
    for seconds in (0.8, 0.4, 1.6, 0.6, 4.2, 1, 9, 1.2, 28, 3, 27, 3.5):
        view.pass_time(seconds)
        tried.append(len(view.asked))

    assert tried == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6]
    expect(view.page.locator("#line")).to_contain_text("Not connected yet.")
    gate.let()


def test_a_line_that_says_nothing_for_forty_five_seconds_is_lost(opened: Open) -> None:
    view, gate = opened()

    view.pass_time(40)
    view.say("ping", {})
    view.pass_time(44)
    assert view.streams() == (1, 1)
    view.pass_time(3)

    assert len(view.asked) == 1
    assert view.streams() == (2, 1)
    gate.let()


def test_what_comes_next_is_asked_for_by_the_last_events_id(opened: Open) -> None:
    view, gate = opened()
    found = view.house.http.get(f"/api/topics/{view.topic_id}/blocks").json()["data"]

    view.say("text", {"offset": view.end, "text": ""}, "7.77")
    view.answer = lambda route: route.fulfill(json={"data": found | {"id": "8.88"}})
    view.cut()
    view.pass_time(2)

    assert [url.partition("starting_after=")[2] for url in view.asked] == ["7.77"]
    assert view.page.evaluate("streams[1].url").endswith("&starting_after=8.88")
    gate.let()


def test_a_stream_that_is_blocked_is_tried_again_once_the_line_was_lost_or_the_network_came_back(opened: Open) -> None:
    view, gate = opened()
    view.cut()
    view.pass_time(8)  # the second stream says nothing
    expect(view.page.locator("#line")).to_contain_text("Live updates are blocked on the way")
    assert view.streams() == (2, 0)
    view.pass_time(10)
    assert view.streams() == (2, 0)

    view.page.evaluate("dispatchEvent(new Event('online'))")
    view.pass_time(1)
    assert view.streams() == (3, 1)
    view.pass_time(8)
    assert view.streams() == (3, 0)
    view.answer = Route.abort
    view.pass_time(3)
    view.answer = Route.continue_
    view.pass_time_until_it_has_a_stream()

    assert view.streams() == (4, 1)
    gate.let()


def test_a_restart_that_was_told_stays_told_until_the_line_is_back(opened: Open) -> None:
    view, gate = opened()
    view.answer = Route.abort

    view.say("draining", {})
    view.cut()
    view.pass_time(10)

    expect(view.page.locator("#line")).to_contain_text("The server is restarting.")
    gate.let()


@pytest.mark.parametrize(
    ("status", "words"), [(401, "Your sign-in has ended."), (404, "There is no such topic")], ids=["401", "404"]
)
def test_an_answer_that_is_final_is_told_and_nothing_more_is_asked(opened: Open, status: int, words: str) -> None:
    view, gate = opened()
    view.answer = lambda route: route.fulfill(status=status)

    view.cut()
    view.pass_time(120)

    expect(view.page.locator("#line")).to_contain_text(words)
    assert (len(view.asked), view.streams()) == (1, (1, 0))
    gate.let()


def test_who_looks_again_after_twenty_silent_seconds_is_brought_up_to_date(opened: Open) -> None:
    view, gate = opened()

    view.pass_time(15)
    view.page.evaluate("showTab('hidden'); showTab('visible')")
    view.pass_time(1)
    assert not view.asked
    view.pass_time(10)
    view.page.evaluate("showTab('hidden'); showTab('visible')")
    view.pass_time(1)

    assert len(view.asked) == 1
    assert view.streams() == (2, 1)
    gate.let()


def test_a_hidden_page_rests_after_a_minute_and_asks_every_thirty_seconds(opened: Open) -> None:
    view, gate = opened()
    view.page.evaluate("showTab('hidden')")
    for _ in range(2):
        view.pass_time(29)
        view.say("ping", {})
    assert view.streams() == (1, 1)

    view.pass_time(3)
    assert (len(view.asked), view.streams()) == (1, (1, 0))
    view.pass_time(62)
    assert (len(view.asked), view.streams()) == (3, (1, 0))
    view.page.evaluate("showTab('visible')")
    view.pass_time(1)

    assert (len(view.asked), view.streams()) == (4, (2, 1))
    gate.let()


def test_the_fifth_stream_of_a_browser_makes_the_first_ask_every_two_seconds(opened: Open) -> None:
    view, gate = opened()
    open_one = "new BroadcastChannel('longhand').postMessage({ opened: '/api/topics/0/status/stream' })"
    view.page.evaluate("""() => {
      window.heard = 0;
      new BroadcastChannel('longhand').onmessage = () => heard++;
    }""")

    for number in range(1, 5):
        assert view.streams() == (1, 1)
        view.page.evaluate(open_one)
        view.until(f"heard === {number}")
    view.pass_time(5)

    assert view.streams() == (1, 0)
    assert len(view.asked) == 3
    view.page.evaluate("showTab('visible')")
    view.pass_time(1)
    assert view.streams() == (2, 1)
    gate.let()


def test_of_two_answers_that_are_late_only_the_newer_counts(opened: Open) -> None:
    view, gate = opened()
    held: list[Route] = []
    view.answer = held.append

    view.page.evaluate("streams[0].onerror()")
    view.page.clock.run_for(1300)
    view.held(held, 1)
    view.page.evaluate("dispatchEvent(new Event('online'))")
    view.held(held, 2)
    held[1].continue_()
    view.until("streams.length === 2")
    held[0].fulfill(status=401)
    view.page.clock.run_for(10)
    view.pass_time(1)

    assert view.streams() == (2, 1)
    expect(view.page.locator("#line")).to_be_empty()
    gate.let()


def test_a_page_that_is_left_gives_its_stream_back(opened: Open) -> None:
    view, gate = opened()

    view.page.evaluate("dispatchEvent(new Event('pagehide'))")

    assert view.streams() == (1, 0)
    gate.let()

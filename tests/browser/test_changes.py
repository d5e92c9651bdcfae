"""What a topic's page becomes when its report changes: by itself, by a dialog, by another tab, while it is held."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Request, Route, expect

from tests.browser.author import Author
from tests.browser.conftest import Arrive
from tests.browser.house import House
from tests.browser.test_live import has_sentence, writing
from tests.browser.told import told

LOOK = """() => [
  document.title,
  document.querySelector('link[rel=icon]').href,
  document.getElementById('content').dataset.status,
  ...[...document.querySelectorAll('h1, #strip, #rail, #card, #report > *, time')].map((part) => part.innerText),
]"""
"""All that a person sees of a topic's page, region by region."""


def test_who_has_followed_to_the_end_sees_what_a_fresh_page_shows(home: House, writer: Author, visit: Arrive) -> None:
    topic_id, gate = writing(home, writer, 40)
    page = visit().page(f"/topics/{topic_id}")
    has_sentence(page, 39)

    gate.let()
    expect(page.locator("#state")).to_contain_text("Done")
    expect(page.locator("#bar .fill")).to_have_attribute("data-percent", "100")
    page.wait_for_function("() => !document.getElementById('bar').getAnimations({ subtree: true }).length")
    page.evaluate("(document.getElementById('state').old = true, document.dispatchEvent(new Event('stale')))")
    page.wait_for_function("() => !document.getElementById('state').old")
    expect(page.locator("#bar .fill")).to_have_attribute("data-percent", "100")
    followed = page.evaluate(LOOK)
    page.reload()

    assert page.evaluate(LOOK) == followed


def test_after_the_end_nothing_is_asked_and_no_stream_is_open(home: House, writer: Author, visit: Arrive) -> None:
    topic_id, gate = writing(home, writer, 40)
    view = told(visit(), topic_id)
    gate.let()
    home.ended(topic_id)

    view.say("done", view.status())
    expect(view.page.locator("#state")).to_contain_text("Done")
    asked: list[str] = []
    view.page.on("request", lambda request: asked.append(request.url) if "/static/" not in request.url else None)
    view.pass_time(90)

    assert view.streams() == (1, 0)
    assert asked == []


def test_while_the_view_is_held_no_change_is_fetched_and_release_shows_it(
    home: House, writer: Author, visit: Arrive
) -> None:
    topic_id, gate = writing(home, writer, 40)
    view = told(visit(), topic_id)
    fetched: list[str] = []
    view.page.on("request", lambda request: fetched.append(request.url) if is_page(request, topic_id) else None)
    view.page.locator("#hold").click()
    gate.let()
    home.ended(topic_id)

    view.say("done", view.status())
    view.cut()
    view.pass_time(10)
    assert fetched == []
    expect(view.page.locator("#state")).to_contain_text("Writing")
    assert "sentence 60 of" not in view.page.locator("#report").inner_text()
    view.page.locator("#hold").click()

    expect(view.page.locator("#state")).to_contain_text("Done")
    has_sentence(view.page, 120)


def test_a_dialog_changes_the_page_in_place_also_while_it_is_held(home: House, writer: Author, visit: Arrive) -> None:
    topic_id, _ = writing(home, writer, 40)
    page = visit().page(f"/topics/{topic_id}")
    has_sentence(page, 39)
    page.evaluate("window.same = true")
    page.locator("#hold").click()

    page.locator("#actions a[href$='/cancel']").click()
    expect(page.locator("dialog")).to_have_attribute("role", "alertdialog")
    expect(page.locator("dialog [data-close]")).to_be_focused()
    page.locator("dialog button:not([data-close])").click()

    expect(page.locator("#state")).to_contain_text("Cancelled")
    expect(page.locator("#state")).to_be_focused()
    assert page.evaluate("window.same") is True


def test_a_dialog_that_is_left_gives_the_focus_back(home: House, writer: Author, visit: Arrive) -> None:
    topic_id, gate = writing(home, writer, 40)
    page = visit().page(f"/topics/{topic_id}")
    link = page.locator("#actions a[href$='/cancel']")

    for leave in ("Escape", "Enter"):
        link.focus()
        page.keyboard.press("Enter")
        expect(page.locator("dialog [data-close]")).to_be_focused()
        page.keyboard.press(leave)
        expect(page.locator("dialog")).to_have_count(0)
        expect(link).to_be_focused()

    assert home.wait_for(topic_id, bool)["status"] == "generating"
    gate.let()


@pytest.mark.parametrize(
    "answer", [lambda route: route.abort(), lambda route: route.fulfill(status=503)], ids=["none", "503"]
)
def test_a_dialog_whose_answer_does_not_come_says_so_and_can_be_sent_again(
    home: House, writer: Author, visit: Arrive, answer: Callable[[Route], None]
) -> None:
    topic_id, _ = writing(home, writer, 40)
    page = visit().page(f"/topics/{topic_id}")
    page.locator("#actions a[href$='/cancel']").click()
    send = page.locator("dialog button:not([data-close])")

    page.route(re.compile("/cancel$"), answer)
    send.click()
    expect(page.locator("dialog [role=alert]")).to_contain_text("The server could not be reached.")
    page.unroute(re.compile("/cancel$"))
    send.click()

    expect(page.locator("#state")).to_contain_text("Cancelled")


def test_a_dialog_of_somebody_who_is_signed_out_says_so(home: House, writer: Author, visit: Arrive) -> None:
    topic_id, gate = writing(home, writer, 40)
    page = visit().page(f"/topics/{topic_id}")
    page.locator("#actions a[href$='/cancel']").click()
    expect(page.locator("dialog")).to_be_visible()

    page.context.clear_cookies()
    page.locator("dialog button:not([data-close])").click()

    expect(page.locator("dialog [role=alert]")).to_contain_text("Your sign-in has ended.")
    assert home.wait_for(topic_id, bool)["status"] == "generating"
    gate.let()


def test_a_dialog_that_cannot_be_fetched_is_a_page(home: House, writer: Author, visit: Arrive) -> None:
    topic_id, gate = writing(home, writer, 40)
    page = visit().page(f"/topics/{topic_id}")
    refused: list[str] = []

    def refuse(route: Route, request: Request) -> None:
        if refused:
            route.continue_()
        else:
            refused.append(request.url)
            route.abort()

    page.route(re.compile("/cancel$"), refuse)
    page.locator("#actions a[href$='/cancel']").click()

    page.wait_for_url("**/cancel")
    expect(page.locator("form#confirm")).to_be_visible()
    gate.let()


def test_a_dialog_for_what_has_ended_brings_the_page_up_to_date(home: House, writer: Author, visit: Arrive) -> None:
    topic_id, gate = writing(home, writer, 40)
    view = told(visit(), topic_id)
    gate.let()
    home.ended(topic_id)

    view.page.locator("#actions a[href$='/finish']").click()

    expect(view.page.locator("#announcer")).to_have_text("The report is done.")
    expect(view.page.locator("#state")).to_contain_text("Done")
    assert view.page.locator("dialog").count() == 0


def test_a_link_that_is_opened_in_another_tab_asks_nothing_here(home: House, writer: Author, visit: Arrive) -> None:
    topic_id, gate = writing(home, writer, 40)
    person = visit()
    page = person.page(f"/topics/{topic_id}")

    with person.context.expect_page() as opened:
        page.locator("#actions a[href$='/cancel']").click(modifiers=["Control"])

    expect(opened.value.locator("form#confirm")).to_be_visible()
    assert page.locator("dialog").count() == 0
    gate.let()


def test_another_tab_that_writes_it_changes_this_one_unless_something_is_unsaved(
    home: House, writer: Author, visit: Arrive
) -> None:
    topic_id = home.topic("Two tabs", plan="## One", language="en")
    person = visit()
    page, edited = (person.page(f"/topics/{topic_id}") for _ in range(2))
    edited.locator("#plan").fill("## Mine")
    fetched: list[str] = []
    edited.on("request", lambda request: fetched.append(request.url))
    heard(edited)

    gate = writer.gated("# Text\n", "")
    other = person.page(f"/topics/{topic_id}")
    other.get_by_role("button", name="Write the report").click()

    expect(page.locator("#state")).not_to_contain_text("Not written")
    edited.wait_for_function("() => window.heard > 0")
    expect(edited.locator("#plan")).to_have_value("## Mine")
    assert fetched == []
    gate.let()
    home.ended(topic_id)


def test_that_writing_has_begun_is_said_to_who_began_it(home: House, writer: Author, visit: Arrive) -> None:
    gate = writer.gated("# Text\n", "")
    topic_id = home.topic("Begun", plan="## One", language="en")
    page = visit().page(f"/topics/{topic_id}")

    page.get_by_role("button", name="Write the report").click()

    expect(page.locator("#state")).to_be_focused()
    expect(page.locator("#announcer")).to_have_text("Writing has started.")
    assert page.url == f"{home.url}/topics/{topic_id}"
    gate.let()


def is_page(request: Request, topic_id: int) -> bool:
    return request.url.endswith(f"/topics/{topic_id}")


def heard(page: Page) -> None:
    """Count in `window.heard` what other tabs tell a page."""
    page.evaluate("""() => {
      window.heard = 0;
      window.ear = new BroadcastChannel('longhand');
      ear.onmessage = () => heard++;
    }""")

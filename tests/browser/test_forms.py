"""Forms with scripts: sent once, in place where that is wished, and nothing that was typed is lost."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.author import Author
from tests.browser.conftest import Arrive
from tests.browser.house import House
from tests.browser.people import agreeing
from tests.claude import Script


@pytest.fixture
def outline(home: House, visit: Arrive) -> Page:
    """The page of a topic that is not written yet, with its outline."""
    return visit().page(f"/topics/{home.topic('An outline', plan='## One', language='en')}")


def test_an_outline_that_cannot_be_saved_says_so_and_can_be_saved_again(outline: Page) -> None:
    outline.locator("#plan").fill("## Two")
    outline.route(re.compile("/topics/"), lambda route: route.abort())
    outline.get_by_role("button", name="Save").click()
    expect(outline.locator("form [role=alert]")).to_contain_text("The server could not be reached.")

    outline.unroute(re.compile("/topics/"))
    outline.get_by_role("button", name="Save").click()

    expect(outline.locator("#announcer")).to_have_text("Saved.")
    outline.reload()
    expect(outline.locator("#plan")).to_have_value("## Two")


def test_an_outline_that_is_sent_to_be_written_is_not_asked_about(outline: Page, writer: Author) -> None:
    writer.script(Script(text="# Text\n"))
    asked = agreeing(outline)
    outline.locator("#plan").press_sequentially("\n## Two")
    outline.get_by_role("button", name="Write the report").click()

    expect(outline.locator("#state")).to_contain_text("Done")
    assert asked == []


def test_a_form_that_was_sent_can_be_sent_again_by_who_comes_back(outline: Page) -> None:
    outline.evaluate("document.querySelector('form[data-stay]').dataset.sent = '1'")
    outline.locator("#plan").fill("## Back")
    outline.get_by_role("button", name="Save").click()
    expect(outline.locator("#announcer")).to_be_empty()

    outline.evaluate("dispatchEvent(new Event('pageshow'))")
    outline.get_by_role("button", name="Save").click()

    expect(outline.locator("#announcer")).to_have_text("Saved.")


def test_characters_are_counted_as_people_count_them(home: House, visit: Arrive) -> None:
    page = visit().page("/topics/new")

    page.locator("#topic").fill("😀" * 170)

    expect(page.locator("#topic ~ .counter")).to_have_text(re.compile(r"^170\b"))


def test_a_copy_says_so_for_three_seconds_and_a_refused_one_too(home: House, writer: Author, visit: Arrive) -> None:
    writer.script(Script(text="# Copied\n"))
    topic_id = home.topic("Copied", language="en")
    home.generate(topic_id)
    home.ended(topic_id)
    page = visit(permissions=["clipboard-read", "clipboard-write"]).page(f"/topics/{topic_id}", clock=True)

    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    page.clock.run_for(3100)
    expect(page.get_by_role("button", name="Copy", exact=True)).to_be_visible()

    page.route(re.compile("/download$"), lambda route: route.abort())
    page.get_by_role("button", name="Copy", exact=True).click()
    expect(page.locator("#announcer")).to_contain_text("could not be copied")

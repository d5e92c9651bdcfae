"""Every page in every state: what axe finds, what does not fit, what the type measures."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.author import Author
from tests.browser.conftest import Arrive
from tests.browser.house import House, house
from tests.browser.people import arrive, overflow, violations
from tests.browser.scenes import ROOM, scenes, turn

PAGES = ("/", "/?status=failed", "/topics/new", "/account", "/admin", "/admin/users", "/admin/tokens", "/admin/devices",
         "/admin/health", "/nowhere")  # fmt: skip
QUESTIONS = {"writing": ("cancel", "finish"), "cancelled": ("start-over", "delete", "write")}

SPACED = """() => {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(`
    * { line-height: 1.5 !important; letter-spacing: 0.12em !important; word-spacing: 0.16em !important; }
    p { margin-bottom: 2em !important; }`);
  document.adoptedStyleSheets = [sheet];
}"""
"""What a reader may ask for by WCAG 1.4.12."""

CUT = """() => [...document.querySelectorAll('main *, header *')].filter((element) => {
  const hides = ['hidden', 'clip'].includes(getComputedStyle(element).overflowX);
  if (!hides || element.closest('.unseen') || !element.checkVisibility()) return false;
  return element.scrollWidth > element.clientWidth + 1 || element.scrollHeight > element.clientHeight + 1;
}).map((element) => element.outerHTML.slice(0, 80))"""
"""The elements whose content is cut off."""


@pytest.fixture(scope="module")
def home(writer: Author, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("house") / "data", writer, **ROOM) as running:
        yield running


@pytest.fixture(scope="module")
def people(browser: Browser, home: House, session: Any) -> Iterator[dict[str, Page]]:
    """A reader of each language, with a window of 320 pixels."""
    found = {
        language: arrive(browser, home, language=language, width=320, theme=theme, cookies=session)
        for language, theme in (("ko", "light"), ("en", "dark"))
    }
    yield {language: person.page() for language, person in found.items()}
    for person in found.values():
        person.context.close()
        assert not person.faults


def test_every_page_in_every_state_is_sound_and_fits(home: House, writer: Author, people: dict[str, Page]) -> None:
    found = scenes(home, writer)
    paths = [
        *PAGES,
        *(f"/topics/{topic_id}" for topic_id in found.values()),
        f"/topics/{found['completed']}/versions/1",
    ]
    paths += [f"/topics/{found[state]}/{name}" for state, names in QUESTIONS.items() for name in names]

    faults = [fault for path in paths for fault in of_both(people, home.url + path)]
    faults += of_both(people, f"{home.url}/topics/{turn(home, writer, found)}")

    assert not faults, "\n".join(faults)


def of_both(people: dict[str, Page], url: str) -> list[str]:
    return [fault for language, page in people.items() for fault in unsound(page, url, language)]


def unsound(page: Page, url: str, language: str) -> list[str]:
    """Return what is wrong with a page: axe looks at the small window in Korean and at the large one in English."""
    small, large = {"width": 320, "height": 640}, {"width": 1280, "height": 800}
    found = []
    for size in (small, large):
        page.set_viewport_size({"width": size["width"], "height": size["height"]})
        if size is small:
            page.goto(url)
        found += [f"{overflow(page)} too wide at {size['width']}"] if overflow(page) > 0 else []
        found += violations(page) if (size is small) == (language == "ko") else []
    page.evaluate("document.documentElement.style.fontSize = '200%'")
    page.evaluate(SPACED)
    found += [f"{overflow(page)} too wide at 200 %"] if overflow(page) > 0 else []
    found += page.evaluate(CUT)
    return [f"{url.partition('://')[2].partition('/')[2]}: {fault}" for fault in found]


def test_the_sign_in_page_and_a_dialog_are_sound(home: House, writer: Author, visit: Arrive) -> None:
    stranger = visit(cookies=None, width=320).page()
    assert unsound(stranger, f"{home.url}/sign-in?next=/topics/1", "ko") == []
    topic_id = home.topic("To be deleted", language="en")
    page = visit().page(f"/topics/{topic_id}")

    page.locator("a[data-dialog]").click()
    expect(page.get_by_role("alertdialog")).to_be_visible()

    assert violations(page) == []
    page.keyboard.press("Escape")
    expect(page.get_by_role("alertdialog")).to_have_count(0)
    assert page.evaluate("document.activeElement.hasAttribute('data-dialog')")

"""The line between a page and its server: broken, blocked, given back, taken up again; no text is missed or doubled."""

import re
import signal
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
            home.start()
            page.clock.run_for(31_000)
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

"""A report on its page while it is written: what stands, what moves, what is said aloud."""

import re
from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.author import Author, Gate
from tests.browser.conftest import Arrive
from tests.browser.house import House
from tests.claude import numbered_text, sentence_numbers

SENTENCES = 120
TEXT = numbered_text(SENTENCES)
PLAN = "\n\n".join(f"## Section {number}" for number in range(1, 5))


def writing(home: House, writer: Author, until: int | str, text: str = TEXT, **topic: str) -> tuple[int, Gate]:
    """Begin a report whose text is let through to a sentence; returns its topic when some is there."""
    gate = writer.gated(text, until)
    topic_id = home.topic(**({"topic": "Numbered", "plan": PLAN, "language": "en"} | topic))
    home.generate(topic_id)
    home.wait_for(topic_id, lambda status: status["characters"] > 0)
    return topic_id, gate


def numbers(page: Page) -> list[int]:
    """Return the numbers of the sentences that are on the page."""
    return sentence_numbers(page.locator("#report").inner_text())


def has_sentence(page: Page, number: int) -> None:
    """Wait until a sentence is on the page."""
    expect(page.locator("#report")).to_contain_text(f"This is sentence {number} of")


def top(page: Page) -> float:
    """Return where in the window the third block stands."""
    found: float = page.evaluate("document.querySelectorAll('#report > .block')[2].getBoundingClientRect().top")
    return found


def test_the_first_html_holds_all_text_so_far(home: House, writer: Author, visit: Arrive) -> None:
    topic_id, gate = writing(home, writer, 40)
    told = f"/api/topics/{topic_id}/blocks"  # what is kept; the status is a little ahead of that
    assert any("sentence 39 of" in home.http.get(told).text for _ in range(3000))

    page = visit(scripts=False).page(f"/topics/{topic_id}")

    assert numbers(page) == list(range(1, 40))
    assert page.locator("#report .block").count() >= 2
    expect(page.locator("#state")).to_contain_text("Writing")
    gate.let()


def test_what_stands_stands_to_the_end_and_the_reader_is_not_moved(home: House, writer: Author, visit: Arrive) -> None:
    topic_id, gate = writing(home, writer, 45)
    page = visit().page(f"/topics/{topic_id}")
    has_sentence(page, 30)
    page.evaluate("""() => {
      window.first = [...document.querySelectorAll('#report > .block')];
      scrollTo(0, 120);
    }""")
    before = top(page)

    for number in (60, 80, 100):
        gate.let(number)
        has_sentence(page, number - 1)
        assert top(page) == before
    gate.let()
    expect(page.locator("#state")).to_contain_text("Done")

    assert numbers(page) == list(range(1, SENTENCES + 1))
    assert page.evaluate("first.length > 1 && first.every((block) => block.isConnected)")
    assert top(page) == before
    assert page.locator("#open").count() == 0
    expect(page).to_have_title(re.compile("^Done: Numbered"))


def test_the_strip_the_outline_and_the_title_tell_how_far_it_is(home: House, writer: Author, visit: Arrive) -> None:
    topic_id, gate = writing(home, writer, 40)
    page = visit().page(f"/topics/{topic_id}", clock=True)
    gate.let(70)
    has_sentence(page, 60)
    status = home.wait_for(topic_id, lambda status: status["sections_done"] == 2)

    expect(page.locator("#sentence")).to_contain_text(f"{status['progress_percent']}%, 2 of 4 sections done")
    expect(page.locator("#bar .fill")).to_have_attribute("data-percent", str(status["progress_percent"]))
    expect(page.locator("#outline li.done")).to_have_count(2)
    expect(page.locator("#outline li.current")).to_contain_text("Section 3")
    expect(page.locator("#facts")).to_contain_text(f"{status['characters']:,} characters")
    page.clock.run_for(6000)
    expect(page).to_have_title(re.compile(f"^{status['progress_percent']}% Numbered"))
    page.clock.run_for(25_000)
    expect(page.locator("#facts")).to_contain_text(re.compile(r"last text [23]0 s ago"))
    gate.let()


def test_hold_freezes_text_and_figures_and_release_shows_all(home: House, writer: Author, visit: Arrive) -> None:
    topic_id, gate = writing(home, writer, 30)
    page = visit().page(f"/topics/{topic_id}", clock=True)
    has_sentence(page, 20)
    page.locator("#hold").click()
    expect(page.locator("#hold")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#sentence")).to_contain_text("The view is held")
    shown, percent = numbers(page), page.locator("#bar .fill").get_attribute("data-percent")

    with page.expect_event("console", lambda message: message.text == "told"):
        page.evaluate("""() => {
          const stream = new EventSource(document.querySelector('main').dataset.stream);
          stream.addEventListener('text', (event) => event.data.includes('sentence 80 ') && console.log('told'));
        }""")
        gate.let(90)
    page.clock.run_for(2000)
    assert numbers(page) == shown
    assert page.locator("#bar .fill").get_attribute("data-percent") == percent
    expect(page.locator("#hold")).to_be_focused()

    page.locator("#hold").click()
    has_sentence(page, 80)
    assert numbers(page)[:80] == list(range(1, 81))
    gate.let()


def test_a_selection_in_the_open_block_survives_the_text_that_comes(home: House, writer: Author, visit: Arrive) -> None:
    topic_id, gate = writing(home, writer, 40)
    page = visit().page(f"/topics/{topic_id}", clock=True)
    has_sentence(page, 35)
    page.evaluate("""() => {
      const text = document.createTreeWalker(document.getElementById('open'), NodeFilter.SHOW_TEXT).nextNode();
      getSelection().setBaseAndExtent(text, 5, text, 12);
      window.node = text;
    }""")
    chosen = page.evaluate("String(getSelection())")
    gate.let(100)
    home.wait_for(topic_id, lambda status: status["sections_done"] == 3)
    page.clock.run_for(5000)
    expect(page.locator("#sentence")).to_contain_text("3 of 4 sections")

    assert page.evaluate("String(getSelection())") == chosen
    assert page.evaluate("node.isConnected")
    page.evaluate("getSelection().removeAllRanges()")
    page.clock.run_for(1000)
    has_sentence(page, 95)
    gate.let()


LETTING_GO: dict[str, Callable[[Page], object]] = {
    "wheel": lambda page: page.mouse.wheel(0, -60),
    "page up": lambda page: page.keyboard.press("PageUp"),
    "home": lambda page: page.keyboard.press("Home"),
    "link": lambda page: page.evaluate("document.querySelector('#report h3').scrollIntoView()"),
    "touch": lambda page: page.evaluate("document.dispatchEvent(new Event('touchmove', { bubbles: true }))"),
    "selection": lambda page: page.evaluate("getSelection().selectAllChildren(document.querySelector('#report h3'))"),
}


def test_follow_brings_the_end_into_view_and_lets_go_at_the_first_sign(
    home: House, writer: Author, visit: Arrive
) -> None:
    topic_id, gate = writing(home, writer, 50)
    page = visit(width=360).page(f"/topics/{topic_id}", clock=True)
    has_sentence(page, 45)
    follow = page.locator("#follow")
    assert follow.get_attribute("aria-pressed") == "false"
    assert page.evaluate("scrollY") == 0

    for number, (sign, let_go) in enumerate(LETTING_GO.items()):
        page.evaluate("(getSelection().removeAllRanges(), document.getElementById('follow').click())")
        expect(follow).to_have_attribute("aria-pressed", "true")
        gate.let(52 + number * 4)
        has_sentence(page, 50 + number * 4)
        end = page.evaluate("document.getElementById('open').getBoundingClientRect().bottom / innerHeight")
        assert 0.6 < end < 0.72, (sign, end, follow.get_attribute("aria-pressed"))
        place = page.evaluate("scrollY")
        let_go(page)
        if sign not in {"touch", "selection"}:
            page.wait_for_function("(place) => scrollY < place", arg=place)
        expect(follow).to_have_attribute("aria-pressed", "false")

    page.evaluate("(getSelection().removeAllRanges(), scrollTo(0, 200))")
    place = top(page)
    gate.let(110)
    has_sentence(page, 105)
    page.clock.run_for(10_000)
    assert follow.get_attribute("aria-pressed") == "false"
    assert top(page) == place
    gate.let()
    expect(page.locator("#state")).to_contain_text("Done")
    assert top(page) == place


def test_go_to_new_text_is_offered_once_and_starts_no_following(home: House, writer: Author, visit: Arrive) -> None:
    topic_id, gate = writing(home, writer, 40)
    page = visit(width=360).page(f"/topics/{topic_id}")
    has_sentence(page, 30)

    gate.let(70)
    has_sentence(page, 60)
    expect(page.locator("#go")).to_be_visible()
    page.locator("#go").click()

    expect(page.locator("#go")).to_be_hidden()
    expect(page.locator("#report")).to_be_focused()
    assert page.evaluate("document.getElementById('open').getBoundingClientRect().bottom < innerHeight")
    assert page.locator("#follow").get_attribute("aria-pressed") == "false"
    gate.let()


def test_the_status_element_speaks_seldom_and_tells_the_end(home: House, writer: Author, visit: Arrive) -> None:
    topic_id, gate = writing(home, writer, 20)
    page = visit().page(f"/topics/{topic_id}", clock=True)
    has_sentence(page, 15)
    page.evaluate("""() => {
      window.spoken = [];
      const note = () => spoken.push(document.getElementById('announcer').textContent);
      const changes = { childList: true, characterData: true };
      new MutationObserver(note).observe(document.getElementById('announcer'), changes);
    }""")
    assert page.locator("#announcer").inner_text() == ""

    for number in (35, 65, 95):  # the second and third section are done within thirty seconds of the first
        gate.let(number)
        has_sentence(page, number - 1)
    expect(page.locator("#outline li.done")).to_have_count(3)
    page.clock.run_for(2000)
    assert page.evaluate("spoken") == ["Section 1 done, 1 of 4."]
    page.clock.run_for(30_000)
    assert page.evaluate("spoken") == ["Section 1 done, 1 of 4.", "Section 3 done, 3 of 4."]
    gate.let()
    expect(page.locator("#announcer")).to_have_text("The report is done.")

    assert page.locator("main [aria-live], main [role=log], main [aria-busy], main [role=progressbar]").count() == 0
    assert page.locator("#announcer").get_attribute("role") == "status"

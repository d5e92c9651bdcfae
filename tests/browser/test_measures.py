"""What can be measured of a page: the length of its lines, what shifts while text grows, what is sent for it."""

from typing import Any

import pytest
from playwright.sync_api import Page, Response

from tests.browser.author import Author
from tests.browser.conftest import Arrive
from tests.browser.house import House
from tests.browser.samples import ENGLISH, KOREAN
from tests.browser.test_live import has_sentence, writing
from tests.claude import Script

CHARACTERS_A_LINE = """() => {
  const counts = [];
  for (const paragraph of document.querySelectorAll('#report p')) {
    const walker = document.createTreeWalker(paragraph, NodeFilter.SHOW_TEXT), lines = [];
    while (walker.nextNode()) {
      for (let i = 0; i < walker.currentNode.length; i++) {
        const range = new Range();
        range.setStart(walker.currentNode, i);
        range.setEnd(walker.currentNode, i + 1);
        const box = range.getClientRects()[0];
        if (!box?.width) continue;
        const middle = (box.top + box.bottom) / 2, line = lines.find((other) => Math.abs(other.middle - middle) < 12);
        if (line) line.count++;
        else lines.push({ middle, count: 1 });
      }
    }
    counts.push(...lines.slice(0, -1).map((line) => line.count));
  }
  return counts;
}"""
"""How many characters stand in each line that is full: every line of a paragraph but its last."""

SHIFTS = """() => {
  window.shifts = [];
  new PerformanceObserver((list) => shifts.push(...list.getEntries().map((entry) => entry.value)))
    .observe({ type: 'layout-shift' });
}"""


@pytest.mark.parametrize(
    ("language", "sample", "least", "most"), [("ko", KOREAN, 40, 50), ("en", ENGLISH, 60, 75)], ids=["ko", "en"]
)
def test_a_line_is_as_long_as_is_good_to_read(
    home: House, writer: Author, visit: Arrive, language: str, sample: tuple[str, str], least: int, most: int
) -> None:
    plan, text = sample
    writer.script(Script(text=text))
    topic_id = home.topic("Lines", plan=plan, language=language)
    home.generate(topic_id)
    home.ended(topic_id)
    page = visit(language=language).page(f"/topics/{topic_id}")

    counts = page.evaluate(CHARACTERS_A_LINE)

    assert len(counts) >= 5
    assert least <= sum(counts) / len(counts) <= most


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_shifts_while_text_grows(home: House, writer: Author, visit: Arrive, width: int) -> None:
    topic_id, gate = writing(home, writer, 30)
    page = visit(width=width).page(f"/topics/{topic_id}")
    has_sentence(page, 29)
    page.evaluate(SHIFTS)

    for number in (50, 70, 90, 110):
        gate.let(number)
        has_sentence(page, number - 1)
    page.evaluate("new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")

    assert page.evaluate("shifts") == []
    gate.let()


def test_print_is_the_report_alone_over_the_whole_width(home: House, writer: Author, visit: Arrive) -> None:
    plan, text = ENGLISH
    writer.script(Script(text=text))
    topic_id = home.topic("On paper", plan=plan, language="en")
    home.generate(topic_id)
    home.ended(topic_id)
    page = visit(width=1280, theme="dark").page(f"/topics/{topic_id}")
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.emulate_media(media="print")

    report = page.locator("#report").bounding_box()
    assert report
    assert (report["x"], report["width"]) == (0, 1280)
    assert not [part for part in page.locator(".top, .buttons, #below, #rail").all() if part.is_visible()]
    assert page.evaluate("getComputedStyle(document.querySelector('#report .scroll')).overflowX") == "visible"
    assert page.evaluate("getComputedStyle(document.documentElement).color") == "rgb(29, 28, 26)"  # dark ink on paper


@pytest.mark.parametrize("path", ["/", "/topics/new", "/topics/{id}", "/admin"])
def test_a_page_and_all_that_it_needs_is_light(home: House, visit: Arrive, path: str) -> None:
    topic_id = home.topic("Light", plan="## A", language="en")
    page = visit().page()
    answers: list[Response] = []

    def note(answer: Response) -> None:
        answers.append(answer)

    page.on("response", note)

    page.goto(home.url + path.format(id=topic_id), wait_until="load")

    files = [answer for answer in answers if "/stream" not in answer.url]
    assert len(files) <= 10
    assert sum(weight(page, answer) for answer in files) < 100_000


def weight(page: Page, answer: Response) -> int:
    """Return how many bytes of content came for an answer, as they were sent."""
    sizes: Any = answer.request.sizes()
    return int(sizes["responseBodySize"])

"""The parts of the live page that decide: each is asked by itself, in the browser that will run it."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from app.pages.static import FOLDER

BLANK = "http://longhand.test/"
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'"

Drawn = Callable[[str], str]


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    with served(browser.new_context()) as blank:
        yield blank


@contextmanager
def served(context: BrowserContext) -> Iterator[Page]:
    """Open a page without anything, under the pages' policy, from which the modules can be imported."""
    context.route(f"{BLANK}*.js", lambda route: route.fulfill(path=FOLDER / route.request.url.removeprefix(BLANK)))
    headers = {"Content-Type": "text/html", "Content-Security-Policy": POLICY}
    context.route(
        BLANK, lambda route: route.fulfill(headers=headers, body="<!doctype html><html lang=en><main></main>")
    )
    blank = context.new_page()
    blank.goto(BLANK)
    yield blank
    context.close()


@pytest.fixture
def drawn(page: Page) -> Drawn:
    """Draw an open block and return its HTML."""

    def draw(markdown: str) -> str:
        script = """async (text) => {
          const { draw } = await import('/open.js');
          const place = document.createElement('div');
          draw(place, text);
          return place.innerHTML;
        }"""
        html: str = page.evaluate(script, markdown)
        return html

    return draw


@pytest.mark.parametrize(
    ("markdown", "html"),
    [
        ("# Title", "<h2>Title</h2>"),
        ("## Section ##", "<h3>Section</h3>"),
        ("One line\nand the next", "<p>One line\nand the next</p>"),
        ("One  \nbroken", "<p>One<br>broken</p>"),
        ("- a\n- b", "<ul><li>a</li><li>b</li></ul>"),
        ("3. c\n4. d", '<ol start="3"><li>c</li><li>d</li></ol>'),
        ("- a\n  - b\n  - c\n- d", "<ul><li>a<ul><li>b</li><li>c</li></ul></li><li>d</li></ul>"),
        ("> quoted\n> on", "<blockquote><p>quoted\non</p></blockquote>"),
        ("```py\nx = 1\n**y**", "<pre><code>x = 1\n**y</code></pre>"),
        ("---\n\nafter", "<hr><p>after</p>"),
        ("[label](https://example.org) and ![picture](x.png)", "<p><a>label</a> and <a>picture</a></p>"),
        ("a `code **x**` b", "<p>a <code>code **x**</code> b</p>"),
        (r"\*no\* 2 * 3 * 4", "<p>*no* 2 * 3 * 4</p>"),
        ("a ~~b~~ 3~5", "<p>a <s>b</s> 3~5</p>"),
        ("***both*** and *one*, a_b_c", "<p><strong><em>both</em></strong> and <em>one</em>, a_b_c</p>"),
    ],
)  # fmt: skip
def test_the_open_block_is_drawn_as_its_markdown_will_be(drawn: Drawn, markdown: str, html: str) -> None:
    assert drawn(markdown) == html


@pytest.mark.parametrize(
    ("markdown", "html"),
    [
        ("성장률은 **12.4%**가", "<p>성장률은 <strong>12.4%</strong>가</p>"),
        ("**그린(Green)**은", "<p><strong>그린(Green)</strong>은</p>"),
        ('**"인용"**이라고', '<p><strong>"인용"</strong>이라고</p>'),
        ("그린**(Green)**은", "<p>그린<strong>(Green)</strong>은</p>"),
        ("3~5개, 10~20%", "<p>3~5개, 10~20%</p>"),
    ],
)
def test_emphasis_in_the_open_block_may_stand_beside_hangul(drawn: Drawn, markdown: str, html: str) -> None:
    assert drawn(markdown) == html


@pytest.mark.parametrize(
    ("markdown", "html"),
    [
        ("A **bold wo", "<p>A <strong>bold wo</strong></p>"),
        ("A `code", "<p>A <code>code</code></p>"),
        ("A word **", "<p>A word</p>"),
        ("A word *", "<p>A word</p>"),
        ("Text\n\n##", "<p>Text</p>"),
        ("Text\n\n- ", "<p>Text</p>"),
        ("Text\n\n2.", "<p>Text</p>"),
        ("Text\n\n```js", "<p>Text</p>"),
        ("Text\n---", "<p>Text</p>"),
        ("| a | b |", '<div class="scroll"><table><thead><tr><th>a</th><th>b</th></tr></thead></table></div>'),
        ("| a | b |\n|--", '<div class="scroll"><table><thead><tr><th>a</th><th>b</th></tr></thead></table></div>'),
        (
            "| a | b |\n|---|--:|\n| 1 | **2",
            (
                '<div class="scroll"><table><thead><tr><th>a</th><th class="right">b</th></tr></thead>'
                '<tbody><tr><td>1</td><td class="right"><strong>2</strong></td></tr></tbody></table></div>'
            ),
        ),
    ],
)
def test_what_is_not_closed_yet_is_closed_for_display_and_a_lone_mark_waits(
    drawn: Drawn, markdown: str, html: str
) -> None:
    assert drawn(markdown) == html


HOSTILE = """<script>window.hit = 1</script> <img src=x onerror="window.hit = 1"> [go](javascript:window.hit=1)
<svg onload=window.hit=1> **<b onclick=1>x</b>** `<i>` [<u>](data:text/html,x)

| <script>window.hit = 1</script> |

```
<img src=x onerror="window.hit = 1">
"""


def test_hostile_markdown_is_text_in_the_open_block(page: Page, drawn: Drawn) -> None:
    html = drawn(HOSTILE)

    assert page.evaluate("window.hit") is None
    assert not any(f"<{tag}" in html for tag in ("script", "img", "svg", "b>", "b ", "i>", "u>"))
    assert "href" not in html
    assert "&lt;script&gt;window.hit = 1&lt;/script&gt;" in html


def test_what_has_been_drawn_keeps_its_nodes_while_the_text_grows(page: Page) -> None:
    kept = page.evaluate("""async () => {
      const { draw } = await import('/open.js');
      const place = document.createElement('div');
      document.body.append(place);
      const text = '- one **two** three\\n- four five\\n- six';
      draw(place, '- one **two** th');
      const nodes = [place.querySelector('li'), place.querySelector('strong'), place.querySelector('li').lastChild];
      const [, bold] = nodes;
      getSelection().selectAllChildren(bold);
      for (let end = 16; end <= text.length; end++) draw(place, text.slice(0, end));
      return [nodes.every((node) => node.isConnected), String(getSelection()), place.textContent];
    }""")

    assert kept == [True, "two", "one two threefour fivesix"]


MOMENT = "2026-03-01T12:00:00Z"
STATUS = {
    "status": "generating", "phase": "writing", "kind": "report", "progress_percent": 42, "sections_done": 2,
    "sections_total": 5, "attempt": 1, "estimated_completion": None, "retry_at": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(-5, 0), (0, 0), (59, 0), (61, 1), (170, 3), (600, 10), (700, 10), (760, 15), (1500, 25), (None, None)],
)
def test_the_minutes_left_are_whole_to_ten_then_fives(page: Page, seconds: int | None, told: int | None) -> None:
    script = """async ([seconds, moment]) => {
      const { minutes } = await import('/sentence.js');
      const now = Date.parse(moment);
      const end = seconds === null ? null : new Date(now + seconds * 1000).toISOString();
      return minutes({ estimated_completion: end }, now);
    }"""

    assert page.evaluate(script, [seconds, MOMENT]) == told


@pytest.mark.parametrize(
    ("change", "left", "told"),
    [
        ({}, 3, "part_percent 42|part_sections 2 5|part_left 3"),
        ({}, None, "part_percent 42|part_sections 2 5"),
        ({"sections_total": 0}, 0, "part_percent 42|part_left_soon"),
        ({"attempt": 2}, None, "part_percent 42|part_sections 2 5 attempt 2"),
        ({"phase": "thinking"}, 3, "sentence_thinking"),
        ({"phase": "waiting", "retry_at": "soon"}, None, "sentence_waiting @soon"),
        ({"phase": "waiting"}, None, "sentence_waiting_soon"),
    ],
)
def test_a_status_is_told_as_the_server_tells_it(
    page: Page, change: dict[str, object], left: object, told: str
) -> None:
    script = """async ([status, left]) => {
      const { sentence } = await import('/sentence.js');
      const t = (key, values) => key === 'join' ? '|' : [key, ...Object.values(values ?? {})].join(' ');
      return sentence(JSON.parse(status), t, left, (moment) => `@${moment}`).wide;
    }"""

    assert page.evaluate(script, [json.dumps(STATUS | change), left]) == told


@pytest.mark.parametrize(
    ("form", "moment", "told"),
    [
        ("day", "2026-03-01T00:30:00Z", "today"),
        ("day", "2026-02-28T14:59:00Z", "yesterday"),
        ("day", "2026-02-27T15:01:00Z", "yesterday"),
        ("day", "2026-02-27T14:59:00Z", "27 Feb"),
        ("day", "2025-12-31T12:00:00Z", "31 Dec 2025"),
        ("clock", "2026-03-01T12:05:00Z", "9:05 pm"),
        ("moment", "2026-02-28T15:00:00Z", "today 12:00 am"),
    ],
)
def test_a_moment_is_told_as_people_here_read_it(browser: Browser, form: str, moment: str, told: str) -> None:
    context = browser.new_context(timezone_id="Asia/Seoul")
    with served(context) as page:
        page.clock.set_fixed_time(MOMENT)
        script = """async ([form, moment]) => {
          const { dress } = await import('/page.js');
          const place = document.createElement('div');
          place.innerHTML = `<time datetime="${moment}" data-form="${form}">raw</time>`;
          dress(place);
          return place.textContent;
        }"""

        assert page.evaluate(script, [form, moment]) == told

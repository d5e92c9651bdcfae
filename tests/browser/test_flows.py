"""What people do with the pages, from signing in to deleting: by keyboard, by hand, with scripts off, with ill will."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import CDPSession, Page, Request, expect

from tests.browser.author import Author
from tests.browser.conftest import Arrive
from tests.browser.house import House
from tests.browser.people import agreeing
from tests.browser.scenes import HOSTILE, HOSTILE_TITLE, SAMPLE, begun
from tests.browser.test_live import has_sentence, numbers
from tests.claude import Fault, Script, numbered_text
from tests.service import ADMIN_TOKEN

TEXT = numbered_text(60)


def focused(page: Page) -> str:
    """Return what has the focus: its id, name or text; empty where nothing has."""
    found: str = page.evaluate("""() => {
      const element = document.activeElement;
      return element === document.body ? '' : element.id || element.name || element.textContent.trim();
    }""")
    return found


def tab_to(page: Page, what: str) -> None:
    """Press Tab until something has the focus; what has it on the way is never hidden under the strip."""
    for _ in range(60):
        page.keyboard.press("Tab")
        assert not covered(page), focused(page)
        if what in {focused(page), page.evaluate("document.activeElement.textContent.trim()")}:
            return
    raise AssertionError(f"{what!r} cannot be reached")


def covered(page: Page) -> bool:
    """Tell whether the strip lies over all of what has the focus."""
    found: bool = page.evaluate("""() => {
      const element = document.activeElement, strip = document.getElementById('strip');
      if (!strip || element === document.body || strip.contains(element)) return false;
      if (strip.compareDocumentPosition(element) & 2 || getComputedStyle(strip).position !== 'sticky') return false;
      const box = element.getBoundingClientRect();
      return box.height > 0 && box.bottom <= strip.getBoundingClientRect().bottom && box.bottom > 0;
    }""")
    return found


def test_the_main_flow_by_keyboard_alone(home: House, writer: Author, visit: Arrive) -> None:
    writer.gated(TEXT, 30)
    page = visit(cookies=None).page("/")
    keys = page.keyboard
    tab_to(page, "token")
    keys.type(ADMIN_TOKEN)
    keys.press("Enter")
    page.wait_for_url(f"{home.url}/")

    tab_to(page, "Skip to content")
    tab_to(page, "New topic")
    keys.press("Enter")
    page.wait_for_url("**/topics/new")
    tab_to(page, "topic")
    keys.type("Written by keyboard")
    tab_to(page, "plan")
    keys.press("Control+a")
    keys.type("## Section 1\n\n## Section 2")
    tab_to(page, "Save and write")
    keys.press("Enter")
    expect(page.locator("#state")).to_be_focused()
    has_sentence(page, 29)

    tab_to(page, "Cancel writing")
    keys.press("Enter")
    expect(page.locator("dialog")).to_have_attribute("role", "alertdialog")
    expect(page.get_by_text("Keep writing")).to_be_focused()
    keys.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
    assert focused(page) == "Cancel writing"
    keys.press("Enter")
    expect(page.get_by_text("Keep writing")).to_be_focused()
    tab_to(page, "Cancel writing")
    keys.press("Enter")
    expect(page.locator("#state")).to_contain_text("Cancelled")
    expect(page.locator("#state")).to_be_focused()
    assert not covered(page)

    writer.gated(TEXT)
    tab_to(page, "Resume")
    keys.press("Enter")
    expect(page.locator("#state")).to_contain_text("Done")
    expect(page.locator("#state")).to_be_focused()
    assert numbers(page) == list(range(1, 61))

    tab_to(page, "Delete topic")
    keys.press("Enter")
    expect(page.get_by_text("Leave it")).to_be_focused()
    tab_to(page, "Delete topic")
    keys.press("Enter")
    page.wait_for_url("**/?deleted=1")
    expect(page.locator("h1")).to_be_focused()
    expect(page.get_by_text("The topic was deleted.")).to_be_visible()


def test_a_sign_in_link_signs_in_and_its_token_stays_in_no_address(home: House, visit: Arrive) -> None:
    page = visit(cookies=None).page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{home.url}/sign-in#{ADMIN_TOKEN}")

    expect(page.locator("#token")).to_have_value(ADMIN_TOKEN)
    expect(page.locator("#token")).to_have_attribute("type", "password")
    assert page.url == f"{home.url}/sign-in"
    page.locator("#token").press("Enter")
    page.wait_for_url(f"{home.url}/")

    assert not [url for url in asked if ADMIN_TOKEN in url]
    page.go_back()
    assert ADMIN_TOKEN not in page.url


def test_an_outline_is_saved_in_place_and_another_windows_change_is_shown(home: House, visit: Arrive) -> None:
    topic_id = home.topic("An outline", plan="## One", language="en")
    person = visit()
    page, other = person.page(f"/topics/{topic_id}"), person.page(f"/topics/{topic_id}")
    page.locator("#plan").fill("## One\n\n## Two")
    page.get_by_role("button", name="Save").click()

    expect(page.locator("#announcer")).to_have_text("Saved.")
    expect(page.get_by_role("button", name="Save")).to_be_focused()
    assert home.http.get(f"/api/topics/{topic_id}").json()["data"]["plan"] == "## One\n\n## Two"
    page.locator("#plan").fill("## One\n\n## Two\n\n## Three")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#announcer")).to_have_text("Saved.")

    other.locator("#plan").fill("## Another")
    other.get_by_role("button", name="Save").click()
    expect(other.locator("#theirs")).to_have_value("## One\n\n## Two\n\n## Three")
    expect(other.locator("#plan")).to_have_value("## Another")
    assert focused(other)
    dialogs = agreeing(other)
    other.locator("#plan").press_sequentially("x")
    other.goto(home.url)
    assert dialogs == ["beforeunload"]
    page.goto(home.url)  # nothing is unsaved here, so nothing asks


def test_a_counter_shows_from_four_fifths_of_the_limit(home: House, visit: Arrive) -> None:
    page = visit(language="ko").page("/topics/new")
    page.locator("#topic").fill("가" * 159)
    expect(page.locator("#topic ~ .counter")).to_have_text("")

    page.locator("#topic").fill("가" * 163)
    expect(page.locator("#topic ~ .counter")).to_have_text("163 / 200자")
    page.locator("#plan").evaluate("(field) => (field.value = field.defaultValue)")


def test_ctrl_enter_while_hangul_is_composed_sends_once_with_the_last_syllable(home: House, visit: Arrive) -> None:
    topic_id = home.topic("조합", plan="", language="ko")
    page = visit(language="ko").page(f"/topics/{topic_id}")
    posts: list[str] = []

    def note(request: Request) -> None:
        if request.method == "POST":
            posts.append(request.post_data or "")

    page.on("request", note)
    field = page.locator("#plan")
    field.focus()
    keyboard: CDPSession = page.context.new_cdp_session(page)

    keyboard.send("Input.imeSetComposition", {"text": "하", "selectionStart": 1, "selectionEnd": 1})
    enter = {"key": "Process", "code": "Enter", "windowsVirtualKeyCode": 229, "modifiers": 2}
    keyboard.send("Input.dispatchKeyEvent", {"type": "rawKeyDown", **enter})
    page.evaluate("fetch('/healthz')")  # what was sent before is known when this is answered
    assert posts == []
    with page.expect_response(lambda response: response.request.method == "POST"):
        keyboard.send("Input.insertText", {"text": "한"})
    expect(page.locator("#announcer")).to_have_text("저장했어요.")
    field.press("Control+Enter")
    expect(page.locator("#plan")).to_have_value("한")

    assert home.http.get(f"/api/topics/{topic_id}").json()["data"]["plan"] == "한"
    assert "plan=%ED%95%9C&" in posts[0]
    assert len(posts) <= 2  # the second is the plain Ctrl+Enter


def test_a_double_press_and_a_reload_start_one_generation(home: House, writer: Author, visit: Arrive) -> None:
    gate = writer.gated(TEXT, 10)
    topic_id = home.topic("Twice", plan="## A", language="en")
    page = visit().page(f"/topics/{topic_id}")

    posts: list[str] = []

    def note(request: Request) -> None:
        if request.method == "POST":
            posts.append(request.url)

    page.on("request", note)
    page.get_by_role("button", name="Write the report").dblclick()
    has_sentence(page, 9)
    assert len(posts) == 1
    expect(page.locator("#announcer")).to_have_text("Writing has started.")
    page.reload()
    has_sentence(page, 9)
    page.go_back()
    page.goto(f"{home.url}/topics/{topic_id}")
    gate.let()
    expect(page.locator("#state")).to_contain_text("Done")

    found = home.http.get(f"/api/topics/{topic_id}/generations").json()["data"]
    assert len(found) == 1


def test_hostile_markdown_and_titles_are_text_in_every_view(home: House, writer: Author, visit: Arrive) -> None:
    topic_id = home.topic(HOSTILE_TITLE, plan="## <script>window.hit=1</script>", language="en")
    gate = writer.gated(HOSTILE * 3, "<iframe src")
    begun(home, topic_id, "writing")
    person = visit()
    page, topics = person.page(f"/topics/{topic_id}"), person.page("/")
    expect(page.locator("#report")).to_contain_text("window.hit = 1")

    def harmless() -> None:
        assert page.evaluate("window.hit") is None
        assert page.locator("#report").locator("script, img, svg, iframe, style, form, button, main").count() == 0
        assert page.locator("#report [onclick], #report [onload], #report [onerror], #report [style]").count() == 0
        for link in page.locator("#report a[href]").all():
            assert re.match(r"https?:|#fn", link.get_attribute("href") or "")

    harmless()
    gate.let()
    expect(page.locator("#state")).to_contain_text("Done")
    harmless()
    page.reload()
    harmless()
    expect(page.locator("h1")).to_have_text(HOSTILE_TITLE)
    expect(topics.locator(f"#topics [data-topic='{topic_id}']")).to_contain_text(HOSTILE_TITLE)
    page.locator("#actions a[href$='/delete']").click()
    expect(page.locator("dialog")).to_contain_text(HOSTILE_TITLE)
    assert topics.evaluate("window.hit") is None
    assert page.evaluate("window.hit") is None


def test_the_list_changes_in_place_and_never_reorders(home: House, writer: Author, visit: Arrive) -> None:
    first = home.topic("First", plan="## A\n\n## B", language="en")
    second = home.topic("Second", language="en")
    page = visit().page("/")
    order = page.locator("#topics li").evaluate_all("(rows) => rows.map((row) => row.dataset.topic)")
    row = page.locator(f"#topics [data-topic='{first}']")
    expect(row.locator(".badge")).to_have_text("Not written")

    gate = writer.gated(TEXT, 20)
    begun(home, first, "writing")
    expect(row.locator(".badge")).to_have_text("Writing")
    gate.let(40)
    expect(row.locator(".percent")).to_contain_text(re.compile(r"\d+%"))
    expect(row.locator(".second")).to_contain_text("of 2 sections done")
    gate.let()
    expect(row.locator(".badge")).to_have_text("Done")
    expect(row.locator(".percent")).to_have_text("")

    home.topic("Third", language="en")
    expect(page.locator("#news")).to_have_text("Show 1 new topic")
    home.topic("Fourth", language="en")
    expect(page.locator("#news")).to_have_text("Show 2 new topics")
    assert page.locator("#topics li").evaluate_all("(rows) => rows.map((row) => row.dataset.topic)") == order
    home.http.delete(f"/api/topics/{second}")
    expect(page.locator(f"#topics [data-topic='{second}']")).to_have_count(0)
    page.locator("#news").click()
    expect(page.locator("#topics")).to_contain_text("Fourth")


def test_every_page_reads_and_every_form_works_with_scripts_off(home: House, writer: Author, visit: Arrive) -> None:
    person = visit(cookies=None, scripts=False)
    person.sign_in()
    page = person.page("/topics/new")
    page.locator("#topic").fill("")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page).to_have_title(re.compile("^Error:"))
    page.locator("#topic").fill("Without scripts")
    page.locator("#plan").fill("## A")
    page.get_by_role("button", name="Save", exact=True).click()
    page.wait_for_url(re.compile(r"/topics/\d+"))
    page.locator("#plan").fill("## Section 1\n\n## Section 2")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Saved.")).to_be_visible()

    writer.gated(TEXT, 30)
    page.get_by_role("button", name="Write the report").click()
    expect(page.locator("#state")).to_contain_text("Writing")
    assert page.locator("[data-script]:visible").count() == 0
    topic_id = int(re.findall(r"/topics/(\d+)", page.url)[0])
    home.wait_for(topic_id, lambda status: status["characters"] > 500)
    page.reload()
    assert numbers(page)[:10] == list(range(1, 11))
    page.locator("#actions a[href$='/cancel']").click()
    page.get_by_role("button", name="Cancel writing").click()
    expect(page.locator("#state")).to_contain_text("Cancelled")

    writer.gated(TEXT)
    page.get_by_role("button", name="Resume").click()
    home.ended(topic_id)
    page.reload()
    expect(page.locator("#state")).to_contain_text("Done")
    assert numbers(page) == list(range(1, 61))
    page.locator("#actions a[href$='/delete']").click()
    page.get_by_role("button", name="Delete topic").click()
    expect(page.get_by_text("The topic was deleted.")).to_be_visible()
    page.goto(f"{home.url}/account")
    page.locator("form[action='/sign-out'] button").click()
    page.wait_for_url("**/sign-in*")


def test_the_report_is_copied_and_a_password_can_be_shown(home: House, writer: Author, visit: Arrive) -> None:
    writer.script(Script(text="# Copied\n\nWhole.\n"))
    topic_id = home.topic("Copied", language="en")
    home.generate(topic_id)
    home.ended(topic_id)
    person = visit(permissions=["clipboard-read", "clipboard-write"])
    page = person.page(f"/topics/{topic_id}")

    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_focused()
    expect(page.locator("#announcer")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == home.report(topic_id)

    stranger = visit(cookies=None).page("/sign-in")
    show = stranger.locator("[data-show=token]")
    show.click()
    expect(stranger.locator("#token")).to_have_attribute("type", "text")
    expect(show).to_have_attribute("aria-pressed", "true")
    expect(show).to_be_focused()


def refused(field: str) -> Callable[[Page], None]:
    """Press Save with a field that is not right."""

    def press(page: Page) -> None:
        page.locator(f"#{field}").fill("x" * 201)
        page.get_by_role("button", name="Save", exact=True).click()

    return press


@pytest.mark.parametrize("path", ["/topics/new", "/topics/{id}"])
def test_a_field_that_is_not_right_has_the_focus_led_to_it(home: House, visit: Arrive, path: str) -> None:
    topic_id = home.topic("Right", plan="## A", language="en")
    page = visit().page(path.format(id=topic_id))
    if path != "/topics/new":
        page.get_by_text("Topic and language").click()
    refused("topic")(page)

    expect(page.locator("#summary")).to_be_focused()
    page.locator("#summary a").click()
    expect(page.locator("#topic")).to_be_focused()
    expect(page.locator("#topic")).to_have_value("x" * 201)
    expect(page.locator("#topic")).to_have_attribute("aria-invalid", "true")
    assert page.locator("button[disabled]").count() == 0


def test_what_has_the_focus_when_a_report_fails_leaves_it_to_the_card(
    home: House, writer: Author, visit: Arrive
) -> None:
    gate = writer.gated(TEXT, 20, fault=Fault.ERROR_EVENT, at=60, error_type="authentication_error")
    topic_id = home.topic("Fails", plan="## Section 1", language="en")
    begun(home, topic_id, "writing")
    page, other = (visit().page(f"/topics/{topic_id}") for _ in range(2))
    has_sentence(page, 19)
    has_sentence(other, 19)
    page.locator("#hold").focus()
    other.locator(".back a").focus()

    gate.let()
    expect(page.locator("#card")).to_contain_text("Claude rejected the API key")
    expect(other.locator("#card")).to_contain_text("Claude rejected the API key")

    expect(page.locator("#card-title")).to_be_focused()
    expect(other.locator(".back a")).to_be_focused()
    expect(page.locator("#announcer")).to_have_text("The report failed.")
    expect(page).to_have_title(re.compile("^Failed: Fails"))
    assert numbers(page)[:19] == list(range(1, 20))


def test_the_page_speaks_the_readers_language_and_the_report_its_own(
    home: House, writer: Author, visit: Arrive
) -> None:
    writer.script(Script(text=SAMPLE))
    topic_id = home.topic("한국어 보고서", language="ko")
    home.generate(topic_id)
    home.ended(topic_id)
    page = visit(language="en").page(f"/topics/{topic_id}")

    assert page.locator("html").get_attribute("lang") == "en"
    assert page.locator("#report").get_attribute("lang") == "ko"
    assert page.locator("h1").get_attribute("lang") == "ko"
    expect(page.locator("#state")).to_contain_text("Done")
    size, leading, width = page.evaluate("""() => {
      const text = document.querySelector('#report p'), style = getComputedStyle(text);
      return [parseFloat(style.fontSize), parseFloat(style.lineHeight), text.clientWidth];
    }""")
    assert (size, round(leading / size, 2)) == (18, 1.8)
    assert width <= 34 * size
    page.get_by_role("button", name="한국어").click()
    expect(page.locator("html")).to_have_attribute("lang", "ko")
    expect(page.locator("#state")).to_contain_text("완성")

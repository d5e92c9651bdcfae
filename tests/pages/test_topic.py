"""A topic's page in each of its states: what is happening, what is kept, what it cost, what can be done."""

import json
import re

import pytest
import trio

from app.words import live
from tests.claude import FakeClaude, Script
from tests.conftest import Start
from tests.events import status_reader
from tests.pages.markup import Element, parse
from tests.service import ADMIN_TOKEN, Service
from tests.visiting import Browser, browsing, ends_of

PLAN = "## Background\n\n## Findings\n\n## Comparison\n\n## Open questions\n\n## Conclusion"
CODES = (
    "claude_timeout", "claude_unavailable", "claude_auth", "claude_request", "refused", "claude_stream", "database",
    "file_system", "internal",
)  # fmt: skip
REPORT = Script().text

FINAL = {"claude_auth", "claude_request", "refused"}
"""Failures after which the same call would fail again."""


async def show(browser: Browser, topic_id: int) -> Element:
    answer = await browser.get(f"/topics/{topic_id}")
    assert answer.status_code == 200
    return parse(answer)


def badge(document: Element) -> str:
    return document.one("h2", id="state").text


def actions(document: Element) -> list[str]:
    """Return what can be done, by its words."""
    inside = document.one("div", id="actions")
    return [element.text for element in inside.all() if element.tag in {"a", "button"}]


def main_buttons(document: Element) -> list[str]:
    return [element.text for element in document.all("", class_="main") if element.tag in {"a", "button"}]


async def half(service: Service, claude: FakeClaude, topic_id: int, text: str = REPORT) -> None:
    """Let half of a report be written, and wait until readers have it."""
    script = Script(text=text, hold=trio.Event(), hold_at=20)
    claude.script(script)
    await service.generate(topic_id)
    reader = status_reader(service, topic_id)
    async with reader.connected():
        await reader.until_text(len("".join(script.cut[:20]).rstrip()))


async def failed(
    service: Service, claude: FakeClaude, code: str, *, retryable: bool = True, characters: int = 0
) -> int:
    """Add a topic whose report has failed with a code."""
    topic_id = await service.topic("A topic", plan=PLAN)
    claude.script(Script(hold=trio.Event(), hold_at=0))
    claude.returned = len(claude.calls)
    await service.generate(topic_id)
    await claude.next_call()
    await service.http.post(f"/api/topics/{topic_id}/cancel", json={})
    await service.rows(
        "UPDATE generations SET status = 'failed', error_code = :code, error_message = 'The raw <message>',"
        " retryable = :retryable, characters = :characters, sections_done = 2 WHERE topic_id = :id",
        id=topic_id,
        code=code,
        retryable=int(retryable),
        characters=characters,
    )
    await service.rows("UPDATE topics SET status = 'failed' WHERE id = :id", id=topic_id)
    return topic_id


async def test_a_topic_that_is_not_written_has_its_outline_and_the_choices(service: Service, browser: Browser) -> None:
    topic_id = await service.topic("A topic", plan=PLAN, language="en")

    document = await show(browser, topic_id)

    assert badge(document) == "Not written"
    assert document.one("textarea", id="plan").raw == f"\n{PLAN}"
    assert [(radio["value"], "checked" in radio.attributes) for radio in document.all("input", name="mode")] == [
        ("single", True),
        ("sections", False),
    ]
    assert main_buttons(document) == ["Write the report"]
    assert document.one("main")["data-status"] == "idle"
    assert document.one("main")["data-live"] == "0"
    assert document.all("div", id="bar") == []


async def test_models_can_be_chosen_where_there_are_several(start: Start) -> None:
    models = "claude-sonnet-5-5,claude-opus-5-5"
    async with start(models=models, model="claude-opus-5-5") as service:
        topic_id = await service.topic()
        async with browsing(service, signed_in=ADMIN_TOKEN) as browser:
            options = (await show(browser, topic_id)).one("select", id="model").all("option")

    assert [(option.text, "selected" in option.attributes) for option in options] == [
        ("claude-sonnet-5-5", False),
        ("claude-opus-5-5", True),
    ]


async def test_the_contract_with_the_modules(service: Service, claude: FakeClaude, browser: Browser) -> None:
    topic_id = await service.topic("A topic", plan=PLAN, language="ko")
    await half(service, claude, topic_id)

    document = await show(browser, topic_id)

    main = document.one("main", id="content")
    assert document.one("body")["data-page"] == "topic"
    assert main["data-topic"] == main["data-generation"] == str(topic_id)
    assert main["data-stream"] == f"/api/topics/{topic_id}/status/stream?html=1&text=1&ping=1"
    assert main["data-blocks"] == f"/api/topics/{topic_id}/blocks"
    assert (main["data-status"], main["data-phase"], main["data-live"]) == ("generating", "writing", "1")
    strip = document.one("div", id="strip")
    for name in ("state", "sentence", "bar", "actions", "line"):
        assert strip.one("", id=name)
    assert strip.one("h2", id="state")["tabindex"] == "-1"
    assert document.one("div", id="bar")["aria-hidden"] == "true"
    assert document.one("p", id="line").text == ""
    announcer = document.one("div", id="announcer")
    assert (announcer["role"], announcer.text) == ("status", "")
    words = json.loads(document.one("script", id="words").raw)
    assert set(live.WORDS) <= set(words)
    for link in ("finish", "cancel"):
        assert "data-dialog" in document.one("a", href=f"/topics/{topic_id}/{link}").attributes
    report = document.one("article", id="report")
    assert report["lang"] == "ko"
    assert {"aria-live", "role", "aria-busy"} & set(report.attributes) == set()


async def test_the_first_paint_holds_all_text_so_far(service: Service, claude: FakeClaude, browser: Browser) -> None:
    topic_id = await service.topic("A topic", plan=PLAN)
    await half(service, claude, topic_id)

    document = await show(browser, topic_id)

    blocks = document.all("div", class_="block")
    ends = [int(block["data-end"]) for block in blocks]
    assert [int(block["data-offset"]) for block in blocks] == [0, *ends[:-1]]
    opened = document.one("div", id="open")
    assert int(opened["data-offset"]) == ends[-1]
    seen = ends[-1] + len(opened.raw)
    assert seen == len("".join(Script().cut[:20]).rstrip())
    assert document.one("main")["data-after"].startswith(f"1-{seen}")
    assert document.all("article", id="report")[0].all("h3")[0].text == "Background"


async def test_a_report_that_is_written_says_how_far_it_is(
    service: Service, claude: FakeClaude, browser: Browser, korean: Browser
) -> None:
    topic_id = await service.topic("A topic", plan=PLAN, language="en")
    await half(service, claude, topic_id)

    english, in_korean = await show(browser, topic_id), await show(korean, topic_id)

    assert (badge(english), badge(in_korean)) == ("Writing", "쓰는 중")
    assert re.match(r"\d+%, \d of 5 sections done", english.one("span", class_="wide").text)
    assert re.match(r"\d+% · 5개 절 중 \d개 완료", in_korean.one("span", class_="wide").text)
    assert actions(english)[-2:] == ["Finish now", "Cancel writing"]
    states = [item["class"] for item in english.one("ol", id="outline").all("li")]
    assert states == sorted(states, key=["done", "current", "todo"].index)
    assert states.count("current") == 1
    assert re.match(r"[\d,]+ characters, ([\d,]+ tokens|tokens unknown)", english.one("p", id="facts").text)
    percent = int(english.one("div", class_="fill")["data-percent"])
    assert {f"t{percent // 10}", f"u{percent % 10}"} <= set(english.one("div", class_="fill")["class"].split())
    assert english.one("title").text.startswith(f"{percent}% A topic")
    assert english.one("link", rel="icon")["href"].endswith("/pen.svg")


async def test_before_any_text_a_sentence_stands_in_its_place(
    service: Service, claude: FakeClaude, browser: Browser
) -> None:
    topic_id = await service.topic("A topic", plan=PLAN)
    claude.script(Script(hold=trio.Event(), hold_at=0, thinking=2))
    await service.generate(topic_id)
    await service.wait_until(topic_id, "generating", phase="thinking")

    document = await show(browser, topic_id)

    assert document.one("p", id="sentence").text == "Claude is thinking; no text comes meanwhile."
    assert document.one("p", id="soon").text == "The text will appear here."
    assert actions(document) == ["Cancel writing"]
    assert document.one("div", class_="fill")["data-percent"] == "0"


async def test_a_report_that_waits_for_its_turn(start: Start, claude: FakeClaude) -> None:
    async with start(max_concurrent=1) as service, browsing(service, signed_in=ADMIN_TOKEN) as browser:
        first, second = await service.topic(), await service.topic()
        await half(service, claude, first)
        await service.generate(second)

        document = await show(browser, second)

    assert badge(document) == "Queued"
    assert document.one("p", id="sentence").text.startswith("Starts as soon as a place is free.")
    assert actions(document) == ["Cancel writing"]


async def test_a_report_that_waits_for_claude_says_until_when(
    service: Service, claude: FakeClaude, browser: Browser
) -> None:
    topic_id = await service.topic("A topic", plan=PLAN)
    claude.script(Script.error(529, "overloaded_error", "Overloaded", retry_after=200))
    await service.generate(topic_id)
    await service.wait_until(topic_id, "generating", phase="waiting")

    document = await show(browser, topic_id)

    assert badge(document) == "Waiting to retry"
    assert re.fullmatch(
        r"Claude is busy; next try at \d+:\d\d [ap]m UTC\. It does not count as an attempt\.",
        document.one("p", id="sentence").text,
    )
    assert document.one("p", id="sentence").one("time")["data-form"] == "clock"
    assert document.one("title").text.startswith("Waiting to retry: A topic")
    assert document.one("link", rel="icon")["href"].endswith("/bars.svg")
    assert "0 characters" not in document.one("main").text


async def test_a_report_that_is_done_can_be_read_and_taken_along(
    service: Service, browser: Browser, korean: Browser
) -> None:
    topic_id = await service.topic("A topic", plan=PLAN, language="en")
    await service.generate(topic_id)
    status = await service.ended(topic_id)

    document, in_korean = await show(browser, topic_id), await show(korean, topic_id)

    assert (badge(document), badge(in_korean)) == ("Done", "완성")
    assert re.fullmatch(r"Done: 1,5\d\d characters in \d+ s\.", document.one("p", id="sentence").text)
    assert re.fullmatch(r"다 썼어요\. 1,5\d\d자, \d+초 걸렸어요\.", in_korean.one("p", id="sentence").text)
    download = document.one("a", href=f"/api/artifacts/{status['artifact_id']}/download")
    assert download.text == "Download Markdown"
    contents = document.one("ol", id="contents").all("a")
    assert [link.text for link in contents] == ["Background", "Findings", "Comparison", "Open questions", "Conclusion"]
    report = document.one("article", id="report")
    assert [report.one("", id=link["href"][1:]).text for link in contents] == [link.text for link in contents]
    assert document.all("div", id="open") == document.all("div", id="bar") == []
    assert document.one("main")["data-live"] == "0"
    assert document.one("title").text.startswith("Done: A topic")


async def test_a_report_that_ended_early_says_so(service: Service, claude: FakeClaude, browser: Browser) -> None:
    topic_id = await service.topic("A topic", plan=PLAN)
    await half(service, claude, topic_id)
    await service.http.post(f"/api/topics/{topic_id}/cancel", json={"mode": "finish"})
    await service.ended(topic_id)

    document = await show(browser, topic_id)

    assert badge(document) == "Ended early"
    assert document.one("p", id="sentence").text == "Not every section was written."
    assert actions(document)[0] == "Download Markdown"


@pytest.mark.parametrize("code", CODES)
async def test_each_failure_has_its_card_in_both_languages(
    service: Service, claude: FakeClaude, browser: Browser, korean: Browser, code: str
) -> None:
    topic_id = await failed(service, claude, code, retryable=code not in FINAL)

    for reader in (browser, korean):
        document = await show(reader, topic_id)
        card = document.one("section", class_="card")
        heading = card.one("h3").text
        assert code not in heading
        assert "The raw" not in heading
        assert card.one("details", class_="details").text.endswith(f"{code} The raw <message>")
        assert badge(document) in {"Failed", "실패"}
        assert len(main_buttons(document)) <= 1
        assert [element.text for element in document.all("dt")][-1] in {"Run", "작성 번호"}


@pytest.mark.parametrize(
    ("code", "characters", "first", "others"),
    [
        ("claude_stream", 8123, "Resume", ["Start over", "Edit outline"]),
        ("claude_stream", 0, "Try again", ["Edit outline"]),
        ("claude_request", 0, "Edit outline", ["Try again"]),
        ("refused", 8123, "Edit outline", ["Try again"]),
        ("claude_auth", 0, "", ["Try again", "Edit outline"]),
    ],
)
async def test_the_first_button_of_a_failure_is_what_helps(
    service: Service, claude: FakeClaude, browser: Browser, code: str, characters: int, first: str, others: list[str]
) -> None:
    topic_id = await failed(service, claude, code, retryable=code not in FINAL, characters=characters)

    document = await show(browser, topic_id)

    card = document.one("section", class_="card")
    offered = [element.text for element in card.one("div", class_="buttons").all() if element.tag in {"a", "button"}]
    assert main_buttons(document) == ([first] if first else [])
    assert [text for text in offered if text != first] == others
    kept = card.all("dd")[0].text
    assert kept == ("8,123 characters, 2 of 5 sections" if characters and code != "refused" else "none")


async def test_an_administrator_is_told_which_setting_it_is(
    service: Service, claude: FakeClaude, browser: Browser, stranger: Browser
) -> None:
    topic_id = await failed(service, claude, "claude_auth", retryable=False)
    before = (await show(browser, topic_id)).one("section", class_="card").text
    await service.rows("UPDATE topics SET user_id = (SELECT id FROM users WHERE name = 'stranger')")
    await service.rows("UPDATE generations SET user_id = (SELECT id FROM users WHERE name = 'stranger')")

    others = (await show(stranger, topic_id)).one("section", class_="card").text

    assert "Check ANTHROPIC_API_KEY." in before
    assert "Tell the administrator." in others
    assert "ANTHROPIC" not in others


async def test_unknown_tokens_are_called_unknown(service: Service, claude: FakeClaude, browser: Browser) -> None:
    topic_id = await failed(service, claude, "claude_stream")
    await service.rows("DELETE FROM ai_usage")

    facts = (await show(browser, topic_id)).all("dd")

    assert facts[1].text == "unknown"


async def test_a_cancelled_report_says_what_is_kept(
    service: Service, claude: FakeClaude, browser: Browser, korean: Browser
) -> None:
    topic_id = await service.topic("A topic", plan=PLAN)
    await half(service, claude, topic_id)
    await service.http.post(f"/api/topics/{topic_id}/cancel", json={})

    document, in_korean = await show(browser, topic_id), await show(korean, topic_id)

    assert badge(document) == "Cancelled"
    assert re.search(r"Cancelled; \d+ characters kept\.", document.one("section", class_="card").text)
    assert re.search(r"취소했어요\. \d+자를 남겨 두었어요\.", in_korean.one("section", class_="card").text)
    assert main_buttons(document) == ["Resume"]
    assert document.one("h2", class_="so-far").text == "The text so far"
    assert document.all("div", class_="block")


async def test_the_language_of_the_report_differs_from_the_pages(service: Service, browser: Browser) -> None:
    topic_id = await service.topic("주제", plan="## 서론", language="ko")
    await service.generate(topic_id)
    await service.ended(topic_id)

    document = await show(browser, topic_id)

    assert document.one("html")["lang"] == "en"
    assert document.one("article", id="report")["lang"] == document.one("h1")["lang"] == "ko"


async def test_hostile_markdown_shows_as_text(service: Service, claude: FakeClaude, browser: Browser) -> None:
    hostile = "# <script>alert(1)</script>\n\n<img src=x onerror=alert(1)> [x](javascript:alert(1)) {{ 7 * 7 }}\n\nMore"
    topic_id = await service.topic("A topic")
    claude.script(Script(text=hostile))
    await service.generate(topic_id)
    await service.ended(topic_id)

    document = await show(browser, topic_id)

    report = document.one("article", id="report")
    assert report.all("img") == report.all("script") == []
    assert not [link for link in report.all("a") if link.attributes.get("href", "").startswith("javascript")]
    assert "{{ 7 * 7 }}" in report.text
    assert "alert(1)" in report.text


async def test_a_page_of_a_topic_that_is_deleted_meanwhile_is_there_or_a_404(
    service: Service, browser: Browser
) -> None:
    topic_id = await service.topic("A topic", plan=PLAN)
    await service.generate(topic_id)
    await service.ended(topic_id)
    paths = [f"/topics/{topic_id}{what}" for what in ("", "/versions/1", "/write", "/start-over", "/delete")]

    ends = await ends_of(browser.http, paths, lambda: service.http.delete(f"/api/topics/{topic_id}"))

    assert ends == dict.fromkeys(paths, 404)

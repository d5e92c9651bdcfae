"""The list of topics, and the form of a new one, as a browser without scripts uses them."""

import re
from pathlib import Path

import pytest
import trio

from app.settings import load_settings
from tests.claude import FakeClaude, Script
from tests.pages.markup import Element, button, fields, parse, press
from tests.service import ADMIN_TOKEN, Service, locked_database, running
from tests.visiting import Browser, browsing

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)> '\"&amp; {{ 7 * 7 }}"
PLAN = "## Introduction\n\n## Findings\n\n## Conclusion"


async def new_form(browser: Browser) -> Element:
    return parse(await browser.get("/topics/new")).one("form", id="new-form")


def rows(document: Element) -> list[tuple[str, str]]:
    """Return title and badge of each row."""
    return [
        (row.one("a", class_="row-title").text, row.one("span", class_="badge").text)
        for row in document.one("ul", id="topics").all("li")
    ]


async def test_without_topics_the_list_says_how_to_begin(browser: Browser, korean: Browser) -> None:
    english, in_korean = parse(await browser.get("/")), parse(await korean.get("/"))

    assert "No topics yet. Start with what the report should be about." in english.one("main").text
    assert "아직 주제가 없어요." in in_korean.one("main").text
    assert english.one("a", href="/topics/new").text == "New topic"
    assert english.all("nav", class_="filters") == []


async def test_the_list_shows_the_newest_first_with_state_and_second_line(
    service: Service, claude: FakeClaude, browser: Browser, korean: Browser
) -> None:
    ids = [await service.topic(f"Topic {number}", plan=PLAN) for number in range(4)]
    await service.generate(ids[0])
    await service.ended(ids[0])
    claude.script(Script.refusal())
    await service.generate(ids[1])
    await service.ended(ids[1])
    claude.script(Script(hold=trio.Event(), hold_at=20))
    await service.generate(ids[2])
    await service.wait_for_characters(ids[2], 100)

    document = parse(await browser.get("/"))

    assert rows(document) == [
        ("Topic 3", "Not written"),
        ("Topic 2", "Writing"),
        ("Topic 1", "Failed"),
        ("Topic 0", "Done"),
    ]
    _, writing, failed, done = document.one("ul", id="topics").all("li")
    assert (writing["data-topic"], writing["data-status"]) == (str(ids[2]), "generating")
    assert re.fullmatch(r"\d+%", writing.one("span", class_="percent").text)
    assert "3 sections done" in writing.one("p", class_="second").text
    assert failed.one("p", class_="second").text.startswith("Claude declined to write this report, today ")
    assert done.one("p", class_="second").text.startswith("1,5")
    assert done.one("time")["datetime"].endswith("Z")
    assert document.one("main")["data-stream"] == "/api/topics/stream?ping=1"
    assert [badge for _, badge in rows(parse(await korean.get("/")))] == ["작성 전", "쓰는 중", "실패", "완성"]


async def test_filters_have_counts_and_say_which_one_is_chosen(
    service: Service, claude: FakeClaude, browser: Browser
) -> None:
    ids = [await service.topic(f"Topic {number}") for number in range(3)]
    claude.script(Script.refusal())
    await service.generate(ids[0])
    await service.ended(ids[0])

    document = parse(await browser.get("/?status=failed"))
    empty = parse(await browser.get("/?status=queued"))

    filters = document.one("nav", class_="filters").all("a")
    assert [link.text for link in filters] == ["All 3", "Not written 2", "Failed 1"]
    assert [link.text for link in filters if "aria-current" in link.attributes] == ["Failed 1"]
    assert rows(document) == [("Topic 0", "Failed")]
    assert "No topics in this state." in empty.one("main").text
    assert "Queued 0" in empty.one("nav", class_="filters").text


async def test_older_topics_are_a_page_further(service: Service, browser: Browser) -> None:
    for number in range(45):
        await service.topic(f"Topic {number}")

    titles, path, pages = [], "/?status=idle", 0
    while path:
        document = parse(await browser.get(path))
        titles += [title for title, _ in rows(document)]
        older = [link["href"] for link in document.all("a", class_="button") if link.text == "Show older topics"]
        path, pages = older[0] if older else "", pages + 1

    assert titles == [f"Topic {number}" for number in reversed(range(45))]
    assert pages == 3
    assert [link["href"] for link in document.all("a") if link.text == "Back to the newest"] == ["/?status=idle"]


async def test_a_list_holds_what_is_ones_own(service: Service, stranger: Browser) -> None:
    await service.topic("The admin's")
    await press(stranger, form := await new_form(stranger), button(form, "Save"), topic="Mine")

    document = parse(await stranger.get("/"))

    assert rows(document) == [("Mine", "Not written")]
    assert document.one("nav", class_="filters").all("a")[0].text == "All 1"


@pytest.mark.parametrize("query", ["status=none", "cursor=none", "limit=0"])
async def test_a_list_that_there_is_not_is_an_error_page(browser: Browser, query: str) -> None:
    answer = await browser.http.get(f"/?{query}", headers={"Accept": "text/html"})

    assert answer.status_code == 422
    assert "could not be understood" in parse(answer).one("h1").text


async def test_what_users_write_shows_as_text(service: Service, browser: Browser) -> None:
    topic_id = await service.topic(HOSTILE, plan=HOSTILE)

    in_list, alone = parse(await browser.get("/")), parse(await browser.get(f"/topics/{topic_id}"))
    asked = parse(await browser.get(f"/topics/{topic_id}/delete"))

    assert rows(in_list)[0][0] == HOSTILE
    assert alone.one("h1").text == HOSTILE
    assert alone.one("textarea", id="plan").raw == f"\n{HOSTILE}"
    assert alone.one("input", id="topic")["value"] == HOSTILE
    assert HOSTILE in asked.one("p", id="confirm-text").text
    for document in (in_list, alone, asked):
        assert document.all("img") == []


async def test_a_new_topic_begins_with_an_outline_to_edit_in_the_readers_language(
    browser: Browser, korean: Browser
) -> None:
    english, in_korean = fields(await new_form(browser)), fields(await new_form(korean))

    assert english["plan"].startswith("## Introduction\r\n- ")
    assert english["language"] == "en"
    assert in_korean["plan"].startswith("## 서론\r\n- ")
    assert in_korean["language"] == "ko"


async def test_a_topic_is_saved_with_what_was_written(service: Service, browser: Browser) -> None:
    form = await new_form(browser)

    answer = await press(browser, form, button(form, "Save"), topic=" A topic ", plan="## One\r\n\r\n## Two\r\n")

    topic_id = int(answer.headers["location"].removesuffix("#state").rpartition("/")[2])
    topic = (await service.http.get(f"/api/topics/{topic_id}")).json()["data"]
    assert answer.status_code == 303
    assert (topic["topic"], topic["plan"], topic["language"]) == ("A topic", "## One\n\n## Two", "en")
    assert topic["status"] == "idle"


async def test_an_outline_that_nobody_touched_takes_the_reports_language(service: Service, browser: Browser) -> None:
    form = await new_form(browser)

    answer = await press(browser, form, button(form, "Save"), topic="주제", language="ko")

    topic = (await service.http.get(f"/api{answer.headers['location'].removesuffix('#state')}")).json()["data"]
    assert topic["plan"].startswith("## 서론\n- ")


async def test_save_and_write_starts_one_generation_however_often_it_is_pressed(
    service: Service, browser: Browser
) -> None:
    form = await new_form(browser)
    pressed = button(form, "Save and write")

    answers = [await press(browser, form, pressed, topic="A topic") for _ in range(3)]

    assert {(answer.status_code, answer.headers["location"]) for answer in answers} == {(303, "/topics/1#state")}
    assert (await service.ended(1))["generation_id"] == 1
    assert len((await service.http.get("/api/topics")).json()["data"]) == 1
    assert len((await service.http.get("/api/topics/1/generations")).json()["data"]) == 1


async def test_a_double_press_saves_one_topic_and_another_form_another(service: Service, browser: Browser) -> None:
    form = await new_form(browser)
    for _ in range(2):
        await press(browser, form, button(form, "Save"), topic="A topic")

    reused = await press(browser, form, button(form, "Save"), topic="Another topic")
    again = await new_form(browser)
    await press(browser, again, button(again, "Save"), topic="A topic")

    assert reused.status_code == 422
    assert "This was sent before." in parse(reused).one("form", id="new-form").text
    assert len((await service.http.get("/api/topics")).json()["data"]) == 2


@pytest.mark.parametrize(
    ("field", "value", "english", "korean_text"),
    [
        ("topic", " ", "Enter a topic.", "주제를 적어 주세요."),
        (
            "topic",
            "x" * 214,
            "A topic has at most 200 characters; this one has 214.",
            "주제는 200자까지 쓸 수 있어요. 지금 214자예요.",
        ),
        (
            "plan",
            "x" * 100_001,
            "An outline has at most 100,000 characters; this one has 100,001.",
            "개요는 100,000자까지 쓸 수 있어요. 지금 100,001자예요.",
        ),
        ("language", "x x", "Enter a language tag such as ko or en-GB.", "ko나 en-GB 같은 언어 태그를 적어 주세요."),
        (
            "topic",
            "a\x07b",
            "There is a character in it that cannot be kept. Remove it and save again.",
            "쓸 수 없는 문자가 들어 있어요. 지우고 다시 저장해 주세요.",
        ),
    ],
)
async def test_a_fault_stands_in_the_summary_and_at_its_field_and_what_was_written_stays(
    browser: Browser, korean: Browser, field: str, value: str, english: str, korean_text: str
) -> None:
    for reader, sentence, prefix in ((browser, english, "Error: "), (korean, korean_text, "오류: ")):
        form = await new_form(reader)
        given = {"topic": "A topic", "plan": "## Kept"} | {field: value}
        answer = await press(reader, form, form.all("button")[0], **given)

        document = parse(answer)
        control = document.one("", id=field)
        assert answer.status_code == 422
        assert document.one("title").text.startswith(prefix)
        summary = document.one("div", id="summary")
        assert [(link["href"], link.text) for link in summary.all("a")] == [(f"#{field}", sentence)]
        assert document.one("p", id=f"{field}-error").text == sentence
        assert control["aria-invalid"] == "true"
        assert f"{field}-error" in control["aria-describedby"].split()
        kept = fields(document.one("form", id="new-form"))
        assert {name: kept[name].replace("\r\n", "\n") for name in given} == given
        assert [element for element in document.all() if "disabled" in element.attributes] == []


async def test_what_cannot_be_saved_now_is_said_beside_the_button_and_stays(service: Service) -> None:
    async with browsing(service, signed_in=ADMIN_TOKEN) as browser:
        form = await new_form(browser)
        async with locked_database(service.settings.data_dir):
            answer = await press(browser, form, button(form, "Save"), topic="A topic")

    document = parse(answer)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert document.one("p", role="alert").text == "It cannot be saved right now. Press again in a moment."
    assert document.one("input", id="topic")["value"] == "A topic"


async def test_the_page_says_that_the_built_in_writer_serves(claude: FakeClaude, tmp_path: Path) -> None:
    offline = load_settings({"LONGHAND_DATA_DIR": str(tmp_path / "data"), "LONGHAND_ADMIN_TOKEN": ADMIN_TOKEN})

    async with running(claude, offline) as service, browsing(service, signed_in=ADMIN_TOKEN) as browser:
        told = parse(await browser.get("/")).one("p", class_="notice").text

    assert told == "No API key is set; the built-in writer makes practice drafts."


async def test_with_a_key_it_says_nothing_of_that(browser: Browser) -> None:
    assert parse(await browser.get("/")).all("p", class_="notice") == []


async def test_a_list_of_long_rows_stays_within_its_weight(service: Service, browser: Browser, korean: Browser) -> None:
    for number in range(25):
        await service.topic(f"{number} " + "전기차 충전 인프라의 지역 격차와 과제 " * 3)

    for reader in (browser, korean):
        assert len((await reader.get("/")).content) <= 30 * 1024

"""The forms of a topic, pressed as a browser without scripts does: outline, writing, resuming, confirmations."""

import httpx2
import pytest
import trio

from tests.claude import FakeClaude, Script
from tests.conftest import Start
from tests.pages.markup import Element, button, fields, parse, press
from tests.pages.test_topic import PLAN, failed, half, show
from tests.service import ADMIN_TOKEN, Service, locked_database
from tests.visiting import Browser, browsing


async def plan_form(browser: Browser, path: str) -> Element:
    return parse(await browser.get(path)).one("form", id="plan-form")


async def topic_of(service: Service, topic_id: int) -> dict[str, object]:
    found: dict[str, object] = (await service.http.get(f"/api/topics/{topic_id}")).json()["data"]
    return found


async def generations(service: Service, topic_id: int) -> list[dict[str, object]]:
    found: list[dict[str, object]] = (await service.http.get(f"/api/topics/{topic_id}/generations")).json()["data"]
    return found


async def test_an_outline_is_saved_and_said_to_be(service: Service, browser: Browser) -> None:
    topic_id = await service.topic("A topic", plan=PLAN)
    form = await plan_form(browser, f"/topics/{topic_id}")

    answer = await press(browser, form, button(form, "Save"), plan="## One", topic="Another name", language="en")
    after = parse(await browser.get(answer.headers["location"]))

    topic = await topic_of(service, topic_id)
    assert answer.status_code == 303
    assert (topic["topic"], topic["plan"], topic["language"]) == ("Another name", "## One", "en")
    assert "Saved." in after.one("form", id="plan-form").text


async def test_an_outline_changed_elsewhere_is_not_overwritten_and_both_texts_are_shown(
    service: Service, browser: Browser, korean: Browser
) -> None:
    topic_id = await service.topic("A topic", plan=PLAN)
    form = await plan_form(browser, f"/topics/{topic_id}")
    await service.http.patch(f"/api/topics/{topic_id}", json={"plan": "## Theirs"})

    answer = await press(browser, form, button(form, "Save"), plan="## Mine")
    kept = (await topic_of(service, topic_id))["plan"]
    document = parse(answer)
    again = document.one("form", id="plan-form")
    settled = await press(browser, again, button(again, "Save"), plan="## Both")

    assert answer.status_code == 409
    assert kept == "## Theirs"
    assert document.one("textarea", id="theirs").text == "## Theirs"
    assert document.one("textarea", id="plan").text == "## Mine"
    assert "changed in another window" in document.one("p", role="alert").text
    assert settled.status_code == 303
    assert (await topic_of(service, topic_id))["plan"] == "## Both"


async def test_writing_with_an_outline_changed_elsewhere_starts_nothing(service: Service, browser: Browser) -> None:
    topic_id = await service.topic("A topic", plan=PLAN)
    form = await plan_form(browser, f"/topics/{topic_id}")
    await service.http.patch(f"/api/topics/{topic_id}", json={"plan": "## Theirs"})

    answer = await press(browser, form, button(form, "Write the report"), plan="## Mine")

    assert answer.status_code == 409
    assert await generations(service, topic_id) == []


async def test_what_happens_to_a_report_meanwhile_is_no_change_of_its_outline(
    service: Service, claude: FakeClaude, browser: Browser
) -> None:
    topic_id = await service.topic("A topic", plan=PLAN)
    form = await plan_form(browser, f"/topics/{topic_id}")
    await service.generate(topic_id)
    await service.ended(topic_id)

    answer = await press(browser, form, button(form, "Save"), plan="## Mine")

    assert answer.status_code == 303
    assert (await topic_of(service, topic_id))["plan"] == "## Mine"


async def test_a_report_is_written_as_it_was_asked_for(start: Start, claude: FakeClaude) -> None:
    models = "claude-sonnet-5-5,claude-opus-5-5"
    async with start(models=models) as service, browsing(service, signed_in=ADMIN_TOKEN) as browser:
        topic_id = await service.topic("A topic", plan=PLAN)
        form = await plan_form(browser, f"/topics/{topic_id}")
        chosen = {"plan": "## One\r\n\r\n## Two", "mode": "sections", "model": "claude-opus-5-5"}
        answer = await press(browser, form, button(form, "Write the report"), **chosen, instructions="Be brief")
        await service.ended(topic_id)
        (row,) = await service.rows("SELECT plan, mode, model, instructions FROM generations")

    assert (answer.status_code, answer.headers["location"]) == (303, f"/topics/{topic_id}#state")
    assert row == {
        "plan": "## One\n\n## Two",
        "mode": "sections",
        "model": "claude-opus-5-5",
        "instructions": "Be brief",
    }


async def test_a_double_press_and_a_reload_start_one_generation(service: Service, browser: Browser) -> None:
    topic_id = await service.topic("A topic")
    form = await plan_form(browser, f"/topics/{topic_id}")
    pressed = button(form, "Write the report")

    answers = [await press(browser, form, pressed, plan=PLAN)]
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(keep, answers, browser, form, pressed)
    await service.ended(topic_id)
    answers.append(await press(browser, form, pressed, plan=PLAN))

    assert {answer.status_code for answer in answers} == {303}
    assert len(await generations(service, topic_id)) == 1


async def keep(answers: list[httpx2.Response], browser: Browser, form: Element, pressed: Element) -> None:
    answers.append(await press(browser, form, pressed, plan=PLAN))


async def test_another_form_starts_another_generation(service: Service, browser: Browser) -> None:
    topic_id = await service.topic("A topic", plan=PLAN)
    form = await plan_form(browser, f"/topics/{topic_id}")
    await press(browser, form, button(form, "Write the report"))
    await service.ended(topic_id)

    again = await plan_form(browser, f"/topics/{topic_id}/write")
    await press(browser, again, button(again, "Write a new version"))
    await service.ended(topic_id)

    assert len(await generations(service, topic_id)) == 2
    versions = (await show(browser, topic_id)).one("ol", class_="versions").all("a")
    assert [link.text for link in versions] == ["Version 2", "Version 1"]


async def test_what_is_being_written_is_shown_and_no_error(
    service: Service, claude: FakeClaude, browser: Browser
) -> None:
    topic_id = await service.topic("A topic", plan=PLAN)
    form = await plan_form(browser, f"/topics/{topic_id}")
    await half(service, claude, topic_id)

    answer = await press(browser, form, button(form, "Write the report"))
    asked = await browser.get(f"/topics/{topic_id}/write")

    assert (answer.status_code, answer.headers["location"]) == (303, f"/topics/{topic_id}#state")
    assert (asked.status_code, asked.headers["location"]) == (303, f"/topics/{topic_id}")
    assert len(await generations(service, topic_id)) == 1


async def test_a_full_queue_is_said_beside_the_button_and_the_choices_stay(start: Start, claude: FakeClaude) -> None:
    async with start(max_concurrent=1, max_queued=0) as service:
        first, second = await service.topic(), await service.topic("A topic", plan=PLAN)
        await half(service, claude, first)
        async with browsing(service, signed_in=ADMIN_TOKEN) as browser:
            form = await plan_form(browser, f"/topics/{second}")
            answer = await press(
                browser, form, button(form, "Write the report"), instructions="Be brief", plan="## Kept"
            )

    document = parse(answer)
    again = fields(document.one("form", id="plan-form"))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
    assert document.one("p", role="alert").text == "The queue is full. Try again in 30 seconds."
    assert (again["instructions"], again["plan"]) == ("Be brief", "## Kept")
    assert again["key"] != fields(form)["key"]


async def test_too_many_at_once_is_said_in_the_readers_language(start: Start, claude: FakeClaude) -> None:
    async with start(max_per_user=1) as service:
        first, second = await service.topic(), await service.topic("A topic", plan=PLAN)
        await half(service, claude, first)
        async with browsing(service, signed_in=ADMIN_TOKEN, **{"Accept-Language": "ko"}) as browser:
            form = await plan_form(browser, f"/topics/{second}")
            answer = await press(browser, form, button(form, "보고서 쓰기"))

    assert answer.status_code == 429
    assert parse(answer).one("p", role="alert").text.startswith("한꺼번에 쓸 수 있는 보고서 수를 넘었어요.")


@pytest.mark.parametrize(
    ("given", "field", "sentence"),
    [
        (
            {"mode": "sections", "plan": "No headings"},
            "mode",
            "To write section by section, the outline needs headings",
        ),
        ({"mode": "backwards"}, "mode", "To write section by section"),
        ({"model": "another"}, "model", "This model is not one of those offered."),
        ({"instructions": "x" * 4001}, "instructions", "Instructions have at most 4,000 characters; these have 4,001."),
        ({"topic": ""}, "topic", "Enter a topic."),
    ],
)
async def test_a_fault_of_the_choices_stands_at_its_field(
    start: Start, given: dict[str, str], field: str, sentence: str
) -> None:
    async with start(models="claude-sonnet-5-5,claude-opus-5-5") as service:
        topic_id = await service.topic("A topic", plan=PLAN)
        async with browsing(service, signed_in=ADMIN_TOKEN) as browser:
            form = await plan_form(browser, f"/topics/{topic_id}")
            answer = await press(browser, form, button(form, "Write the report"), **given)

    document = parse(answer)
    assert answer.status_code == 422
    assert document.one("title").text.startswith("Error: ")
    assert document.one("div", id="summary").one("a")["href"] == f"#{field}"
    assert document.one("div", id="summary").one("a").text.startswith(sentence)
    assert document.one("p", id=f"{field}-error").text.startswith(sentence)
    assert document.all("", id=field)[0]["aria-invalid"] == "true"


async def test_a_report_that_broke_off_is_gone_on_with(service: Service, claude: FakeClaude, browser: Browser) -> None:
    topic_id = await service.topic("A topic", plan=PLAN)
    await half(service, claude, topic_id)
    await service.http.post(f"/api/topics/{topic_id}/cancel", json={})
    card = (await show(browser, topic_id)).one("section", class_="card")
    form = card.one("form", action=f"/topics/{topic_id}/write")

    answers = [await press(browser, form, button(form, "Resume")) for _ in range(2)]
    await service.ended(topic_id)

    assert {answer.status_code for answer in answers} == {303}
    assert len(await generations(service, topic_id)) == 2
    assert "assistant" in [turn["role"] for turn in claude.calls[-1].body["messages"]]


async def test_an_answer_to_resuming_stands_in_the_card(start: Start, claude: FakeClaude) -> None:
    async with start(max_per_user=1) as service:
        topic_id = await failed(service, claude, "claude_stream")
        other = await service.topic()
        await half(service, claude, other)
        async with browsing(service, signed_in=ADMIN_TOKEN) as browser:
            form = (await show(browser, topic_id)).one("section", class_="card").one("form")
            answer = await press(browser, form, button(form, "Try again"))

    alert = parse(answer).one("section", class_="card").one("p", role="alert")
    assert answer.status_code == 429
    assert alert.text.startswith("That is more reports at once than you may have.")


async def ask(browser: Browser, topic_id: int, what: str) -> Element:
    return parse(await browser.get(f"/topics/{topic_id}/{what}"))


@pytest.mark.parametrize("keep_text", [True, False])
async def test_cancelling_asks_first_and_keeps_what_is_ticked(
    service: Service, claude: FakeClaude, browser: Browser, keep_text: bool
) -> None:
    topic_id = await service.topic("A topic", plan=PLAN)
    await half(service, claude, topic_id)

    asked = await ask(browser, topic_id, "cancel")
    still = await service.status(topic_id)
    form = asked.one("form", id="confirm")
    sent = {name: value for name, value in fields(form).items() if keep_text or name != "keep"}
    answer = await browser.http.post(form["action"], data=sent)

    status = await service.status(topic_id)
    assert asked.one("h1").text == "Cancel writing?"
    assert f"Keep the {still['characters']} characters" in form.text
    assert still["status"] == "generating"
    assert (answer.status_code, answer.headers["location"]) == (303, f"/topics/{topic_id}#state")
    assert (status["status"], status["artifact_id"] is not None) == ("cancelled", keep_text)


async def test_the_least_destructive_button_comes_first_and_none_says_only_cancel(
    service: Service, claude: FakeClaude, browser: Browser, korean: Browser
) -> None:
    topic_id = await service.topic("A topic", plan=PLAN)
    await half(service, claude, topic_id)

    for reader in (browser, korean):
        for what in ("cancel", "finish", "start-over", "delete"):
            form = (await ask(reader, topic_id, what)).one("form", id="confirm")
            first, second = form.one("div", class_="buttons").all()
            assert (first.tag, first["href"], second.tag) == ("a", f"/topics/{topic_id}", "button")
            assert "autofocus" in first.attributes
            assert not {first.text, second.text} & {"취소", "Cancel"}


async def test_finishing_asks_first_and_ends_the_report_early(
    service: Service, claude: FakeClaude, browser: Browser
) -> None:
    topic_id = await service.topic("A topic", plan=PLAN)
    await half(service, claude, topic_id)

    asked = await ask(browser, topic_id, "finish")
    form = asked.one("form", id="confirm")
    await press(browser, form, button(form, "Finish now"))

    assert asked.one("p", id="confirm-text").text.endswith("sections left are not.")
    assert (await service.ended(topic_id))["status"] == "completed"


async def test_a_report_that_is_being_finished_says_so_and_is_not_asked_again(
    service: Service, claude: FakeClaude, browser: Browser
) -> None:
    topic_id = await service.topic("A topic", plan=PLAN)
    await half(service, claude, topic_id)
    written = (await service.status(topic_id))["characters"]
    claude.script(Script(text="The rest of it. " * 40, hold=trio.Event(), hold_at=30))

    await browser.post(f"/topics/{topic_id}/finish")
    await service.wait_for_characters(topic_id, written + 100)
    document = await show(browser, topic_id)

    offered = [link.text for link in document.one("div", id="actions").all("a")]
    assert "Finish now" not in offered
    assert document.one("main")["data-phase"] == "writing"
    assert document.one("span", class_="wide").text.startswith("Finishing here: ")


@pytest.mark.parametrize("what", ["cancel", "finish"])
async def test_what_has_ended_meanwhile_is_said_and_stays(service: Service, browser: Browser, what: str) -> None:
    topic_id = await service.topic("A topic")
    await service.generate(topic_id)
    before = await service.ended(topic_id)

    asked = await ask(browser, topic_id, what)
    answer = await browser.post(f"/topics/{topic_id}/{what}")

    assert asked.one("h1").text == "It has already ended."
    assert answer.status_code == 303
    assert await service.status(topic_id) == before


@pytest.mark.parametrize("what", ["cancel", "finish"])
async def test_where_nothing_was_ever_written_nothing_ends(service: Service, browser: Browser, what: str) -> None:
    topic_id = await service.topic("A topic")

    answer = await browser.post(f"/topics/{topic_id}/{what}")

    assert (answer.status_code, answer.headers["location"]) == (303, f"/topics/{topic_id}#state")


async def test_starting_over_writes_anew_as_it_was_asked_for(
    service: Service, claude: FakeClaude, browser: Browser
) -> None:
    topic_id = await service.topic("A topic", plan=PLAN)
    claude.script(Script(hold=trio.Event(), hold_at=20))
    await service.generate(topic_id, instructions="Be brief", mode="single")
    await service.wait_for_characters(topic_id, 700)
    await service.http.post(f"/api/topics/{topic_id}/cancel", json={})

    form = (await ask(browser, topic_id, "start-over")).one("form", id="confirm")
    answers = [await press(browser, form, button(form, "Start over")) for _ in range(2)]
    await service.ended(topic_id)

    first, second = await service.rows("SELECT instructions, mode, resumes FROM generations ORDER BY id")
    assert {answer.status_code for answer in answers} == {303}
    assert "not used, and the report is paid for from the beginning." in form.text
    assert (second["instructions"], second["mode"], second["resumes"]) == (first["instructions"], first["mode"], 0)


async def test_deleting_asks_first_and_says_what_goes(service: Service, browser: Browser, korean: Browser) -> None:
    topic_id = await service.topic("A topic", plan=PLAN)
    for _ in range(2):
        await service.generate(topic_id)
        await service.ended(topic_id)

    asked, in_korean = await ask(browser, topic_id, "delete"), await ask(korean, topic_id, "delete")
    form = asked.one("form", id="confirm")
    answer = await press(browser, form, button(form, "Delete topic"))
    after = parse(await browser.get(answer.headers["location"]))

    assert "“A topic” and its 2 reports are removed for good" in asked.one("p", id="confirm-text").text
    assert "'A topic' 주제와 보고서 2개를 지우고" in in_korean.one("p", id="confirm-text").text
    assert answer.status_code == 303
    assert "The topic was deleted." in after.one("main").text
    assert (await service.http.get(f"/api/topics/{topic_id}")).status_code == 404


async def test_a_confirmation_that_cannot_be_carried_out_now_asks_again(
    service: Service, claude: FakeClaude, browser: Browser
) -> None:
    topic_id = await failed(service, claude, "claude_stream")
    form = (await ask(browser, topic_id, "start-over")).one("form", id="confirm")

    async with locked_database(service.settings.data_dir):
        answer = await press(browser, form, button(form, "Start over"))

    assert answer.status_code == 503
    assert parse(answer).one("p", role="alert").text == "It cannot be saved right now. Press again in a moment."


async def test_an_older_version_can_be_read(service: Service, claude: FakeClaude, browser: Browser) -> None:
    topic_id = await service.topic("A topic", language="en")
    for text in ("# First\n\nThe first text.\n\n## Part", "# Second\n\nThe second text."):
        claude.script(Script(text=text))
        await service.generate(topic_id)
        await service.ended(topic_id)

    older, newest = await ask(browser, topic_id, "versions/1"), await ask(browser, topic_id, "versions/2")
    missing = await browser.http.get(f"/topics/{topic_id}/versions/3", headers={"Accept": "text/html"})

    assert "The first text." in older.one("article", id="report").text
    assert "The second text." in newest.one("article", id="report").text
    assert "This is an older version." in older.one("main").text
    assert "older version" not in newest.one("main").text
    assert "version 1 of 2" in older.one("main").text
    assert older.one("ol", class_="versions").one("a", aria_current="page").text == "Version 1"
    assert older.one("ol", id="contents").text == "Part"
    assert older.one("a", href="/api/artifacts/1/download")
    assert missing.status_code == 404

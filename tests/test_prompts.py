"""What Claude is asked: whole, in tags that no text can break out of."""

import re
from dataclasses import replace
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.models import Generation, GenerationId, Kind, Mode, StatusName, Tokens, TopicId, UserId
from app.prompts import (
    BRIEF_REPORT,
    CLOSING_SECTION,
    FINISH,
    FINISH_SECTION,
    GO_ON,
    MAX_TOKENS,
    ONE_SECTION,
    QUOTED_ENDING,
    SYSTEM,
    WHOLE,
    Prompt,
    brief,
    closing_prompt,
    conclusion,
    finish_prompt,
    question,
    report_prompt,
    section_prompt,
    tagged,
)

GENERATION = Generation(
    id=GenerationId(7), topic_id=TopicId(1), user_id=UserId(3), kind=Kind.REPORT, status=StatusName.GENERATING,
    topic="수소 경제", plan="## 하나\n## 둘", language="ko", instructions="짧게 & 쉽게", model="a-model",
    mode=Mode.SINGLE, attempt=1, retries=0, resumes=0, finish=False, partial=False, characters=0,
    expected_characters=1000, sections_done=0,
    sections_total=2, progress_percent=0, artifact_id=None, error_code=None, error_message=None,
    retryable=None, created_at="", started_at=None, completed_at=None, tokens=Tokens(),
)  # fmt: skip

TAG = re.compile(r"</?[a-z]+>")

texts = st.text() | st.text("</>&;gtl topicoutline\n") | st.sampled_from(
    ["</topic>", "</outline>\n<instructions>", "&lt;/topic&gt;", "<topic", "</ topic >", "<<topic>>"]
)  # fmt: skip


def test_a_brief_holds_topic_outline_instructions_and_language_each_in_its_tags() -> None:
    assert brief(GENERATION) == (
        "<topic>\n수소 경제\n</topic>\n\n"
        "<outline>\n## 하나\n## 둘\n</outline>\n\n"
        "<instructions>\n짧게 &amp; 쉽게\n</instructions>\n\n"
        "Write the report in the language with the BCP 47 tag <language>ko</language>."
    )


def test_what_was_not_given_is_left_out_of_a_brief() -> None:
    told = brief(replace(GENERATION, plan="", instructions=""))

    assert TAG.findall(told) == ["<topic>", "</topic>", "<language>", "</language>"]


@given(texts, texts, texts)
def test_no_text_can_break_out_of_its_tags(topic: str, plan: str, instructions: str) -> None:
    told = brief(replace(GENERATION, topic=topic, plan=plan, instructions=instructions))

    tags = ["topic", *(["outline"] if plan else []), *(["instructions"] if instructions else []), "language"]
    assert TAG.findall(told) == [tag for name in tags for tag in (f"<{name}>", f"</{name}>")]
    assert told.count("<") == told.count(">") == 2 * len(tags)


@given(texts)
def test_a_tagged_text_can_be_read_back(text: str) -> None:
    told = tagged("topic", text)

    assert unescape(told.removeprefix("<topic>\n").removesuffix("\n</topic>")) == text


def test_a_report_is_asked_for_in_one_turn_under_the_rules() -> None:
    prompt = report_prompt(GENERATION)

    assert (prompt.brief, prompt.task) == (brief(GENERATION), WHOLE)
    assert (prompt.written, prompt.go_on) == ("", "")
    assert (prompt.model, prompt.system, prompt.max_tokens) == ("a-model", SYSTEM, MAX_TOKENS)


PROMPTS: dict[str, Prompt] = {
    "report": report_prompt(GENERATION),
    "section": section_prompt(GENERATION, "하나"),
    "another section": section_prompt(GENERATION, "둘"),
    "finish": finish_prompt(GENERATION),
    "finish a section": finish_prompt(GENERATION, "하나"),
    "closing": closing_prompt(GENERATION, "# 수소 경제"),
}


@pytest.mark.parametrize("name", PROMPTS)
def test_all_calls_of_a_report_share_what_can_be_cached(name: str) -> None:
    prompt = PROMPTS[name]

    assert (prompt.model, prompt.system, prompt.brief) == ("a-model", SYSTEM, brief(GENERATION))
    assert prompt.task


def test_a_section_is_asked_for_by_its_heading() -> None:
    task = section_prompt(GENERATION, "하나 & <둘>").task

    assert task == ONE_SECTION.replace("{heading}", "하나 &amp; &lt;둘&gt;")
    assert "<section>하나 &amp; &lt;둘&gt;</section>" in task


def test_a_closing_section_is_asked_for_with_the_report_that_it_closes() -> None:
    task = closing_prompt(GENERATION, "# 수소\n\n</report> & more").task

    assert "<section>맺음말</section>" in task
    assert task == (
        CLOSING_SECTION.replace("{heading}", "맺음말") + "\n\n<report>\n# 수소\n\n&lt;/report&gt; &amp; more\n</report>"
    )


@pytest.mark.parametrize(
    ("language", "heading"),
    [("ko", "맺음말"), ("KO-kr", "맺음말"), ("de-AT", "Schluss"), ("en", "Conclusion"), ("kok", "Conclusion")],
)
def test_a_closing_section_is_headed_in_the_language_of_the_report(language: str, heading: str) -> None:
    assert conclusion(language) == heading


# Going on


@pytest.mark.parametrize(
    ("name", "go_on"),
    [
        ("report", GO_ON),
        ("section", GO_ON),
        ("closing", GO_ON),
        ("finish", FINISH),
        ("finish a section", FINISH_SECTION),
    ],
)
def test_what_is_gone_on_from_is_sent_whole_and_quoted_where_it_ends(name: str, go_on: str) -> None:
    written = "x" * QUOTED_ENDING + "It costs < 5 & more {ending}, </ending> it" + " " * 3 + "s" * 150

    prompt = PROMPTS[name].after(written)

    ending = written[-QUOTED_ENDING:].replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert prompt.written == written
    assert prompt.go_on == go_on.replace("{ending}", ending)
    assert replace(prompt, written="", go_on="") == replace(PROMPTS[name], go_on="")


def test_where_nothing_is_written_nothing_is_gone_on_from() -> None:
    assert report_prompt(GENERATION).after("") == report_prompt(GENERATION)
    assert finish_prompt(GENERATION).after("").task == BRIEF_REPORT


def test_the_rules_name_the_tags_of_the_brief() -> None:
    assert set(re.findall(r"<([a-z]+)>", SYSTEM)) == {"topic", "outline", "instructions"}


def test_the_question_is_what_the_user_said_and_nothing_else() -> None:
    assert question(GENERATION) == "수소 경제\n\n## 하나\n## 둘\n\n짧게 & 쉽게"
    assert question(replace(GENERATION, plan="", instructions="")) == "수소 경제"

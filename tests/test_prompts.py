"""What Claude is asked: whole, in tags that no text can break out of."""

import re
from dataclasses import replace
from html import unescape

from hypothesis import given
from hypothesis import strategies as st

from app.models import Generation, GenerationId, Kind, StatusName, Tokens, TopicId, UserId
from app.prompts import MAX_TOKENS, SYSTEM, brief, question, report_prompt, tagged

GENERATION = Generation(
    id=GenerationId(7), topic_id=TopicId(1), user_id=UserId(3), kind=Kind.REPORT, status=StatusName.GENERATING,
    topic="수소 경제", plan="## 하나\n## 둘", language="ko", instructions="짧게 & 쉽게", model="a-model", attempt=1,
    characters=0, expected_characters=1000, sections_done=0, sections_total=2, progress_percent=0, artifact_id=None,
    error_code=None, error_message=None, retryable=None, created_at="", started_at=None, completed_at=None,
    tokens=Tokens(),
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

    assert prompt.messages == (("user", brief(GENERATION)),)
    assert (prompt.model, prompt.system, prompt.max_tokens) == ("a-model", SYSTEM, MAX_TOKENS)


def test_the_rules_name_the_tags_of_the_brief() -> None:
    assert set(re.findall(r"<([a-z]+)>", SYSTEM)) == {"topic", "outline", "instructions"}


def test_the_question_is_what_the_user_said_and_nothing_else() -> None:
    assert question(GENERATION) == "수소 경제\n\n## 하나\n## 둘\n\n짧게 & 쉽게"
    assert question(replace(GENERATION, plan="", instructions="")) == "수소 경제"

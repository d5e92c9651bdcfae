"""What is cleared of secrets, and what is not touched."""

import json
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.queries.users import new_token
from app.redact import MARKS, MASK, SHAPES, Redactor

KEY = "the\"key'of\\the tests"
FORMS: list[Callable[[str], str]] = [str, json.dumps, repr, quote]

SHAPED = [
    "sk-ant-api03-Ab_c-d",
    "Authorization: Bearer abc.def",
    "authorization=Basic dXNlcjpwdw==",
    "(b'authorization', b'Bearer abc')",
    '{"Authorization": "Bearer abc"}',
    json.dumps(json.dumps({"x-api-key": "abc.def"})),
    "x-api-key: abc.def",
    "Cookie: session=abc.def; other=abc.def",
    "bearer abc.def",
    "GET /api/topics?token=abc.def&x=1",
    "postgresql://kim:abc.def@db/longhand",
]

PLAIN = [
    "GET /api/topics/1/status 200 0.4ms request_id=0123456789abcdef",
    "What is this? A question.",
    "The basics of hydrogen",
    "Running on http://127.0.0.1:8000 (CTRL + C to quit)",
    "[BACKGROUND] Report generation started topic=1 generation=2",
]


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_is_replaced_in_whatever_form_it_is_quoted(form: Callable[[str], str]) -> None:
    text = Redactor([KEY])(f"before {form(KEY)} after")

    assert MASK in text
    assert text.startswith("before ")
    assert text.endswith(" after")
    assert not any(other(KEY).strip("'\"") in text for other in FORMS)


def test_a_secret_that_begins_with_another_one_leaves_no_rest() -> None:
    assert Redactor(["secret-key", "secret-key-long"])("secret-key-long") == MASK


def test_what_is_too_short_for_a_secret_blots_out_no_words() -> None:
    assert Redactor(["none", ""])("There is none.") == "There is none."


@pytest.mark.parametrize("text", SHAPED)
def test_what_has_the_shape_of_a_secret_is_replaced(text: str) -> None:
    cleared = Redactor()(text)

    assert MASK in cleared
    assert not any(part in cleared for part in ("abc", "dXNl", "sk-ant", "lh_"))


@pytest.mark.parametrize("text", PLAIN)
def test_plain_words_stay(text: str) -> None:
    assert Redactor(["a-key-of-the-tests"])(text) == text


@pytest.mark.parametrize("text", SHAPED)
def test_a_line_of_json_stays_one(text: str) -> None:
    line = json.dumps({"event": text, "exception": f'"{text}"', "route": "/x"})

    assert json.loads(Redactor([KEY])(line))["route"] == "/x"


def test_an_access_token_of_ours_is_replaced() -> None:
    assert Redactor()(f"token={new_token()} is wrong") == f"token={MASK} is wrong"


@given(st.text(alphabet="aB_-:=?&@/'\"\\ .bearerbasicookie", max_size=40))
def test_nothing_is_overlooked_for_its_marks(text: str) -> None:
    assert not SHAPES.search(text) or any(mark in text.lower() for mark in MARKS)

"""What is read of a request is read, or refused with a problem, whatever it is."""

import json
import re
import unicodedata
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.requests import Request as StarletteRequest
from starlette.types import Message

from app.errors import Invalid, Problem
from app.feed import Mark
from app.models import GenerationId, TopicId
from app.problems import problem_response
from app.routes.body import MAX_DEPTH, Body, body
from app.routes.events import NOWHERE, POSITION, Position, position_of
from app.routes.generations import CancelRequest, GenerateRequest, idempotency_key
from app.routes.news import MARK, _mark
from app.routes.paging import DEFAULT_LIMIT, MAX_LIMIT, Page, page
from app.routes.resource import Request
from app.routes.status import MAX_WAIT, _wait_seconds, matches
from app.routes.topics import NewTopic, TopicChange

ANYTHING = settings(deadline=None)
FIELDS = ("topic", "plan", "language", "instructions", "mode", "model", "resume", "keep_partial", "x", "\ud800", "\0")
BODIES: tuple[type[Body], ...] = (NewTopic, TopicChange, GenerateRequest, CancelRequest)
ETAG = '"0123456789abcdef0123456789abcdef"'

header_text = st.text(st.characters(max_codepoint=255))
ids = st.integers(0, 10**18 - 1)
tags = st.from_regex(r'(W/)?"[!#-+\--~]{0,8}"', fullmatch=True).filter(lambda tag: tag.removeprefix("W/") != ETAG)


def request(query: dict[str, str] | bytes = b"", content: bytes = b"", **headers: str) -> Request:
    """Make a request as the server hands it on; header names have `_` for `-`."""

    async def receive() -> Message:
        return {"type": "http.request", "body": content, "more_body": False}

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "raw_path": b"/",
        "query_string": query if isinstance(query, bytes) else urlencode(query, errors="surrogatepass").encode(),
        "headers": [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()],
    }
    return StarletteRequest(scope, receive)


# Waiting


@given(header_text)
def test_any_preference_is_a_wait_within_bounds_or_none(given_header: str) -> None:
    assert 0 <= _wait_seconds(request(prefer=given_header)) <= MAX_WAIT


@given(
    st.integers(0, 10**9 - 1), st.sampled_from(["wait={}", 'Wait="{}"', "respond-async, wait = {}", "wait={};x=1, y"])
)
def test_a_preferred_wait_is_cut_at_the_longest(seconds: int, form: str) -> None:
    assert _wait_seconds(request(prefer=form.format(seconds))) == min(seconds, MAX_WAIT)


@given(st.text() | st.integers(-5, 200).map(str), header_text)
@example("٥", "")
@example("0060", "wait=5")
def test_a_wait_of_the_query_is_taken_or_refused_and_goes_before_the_header(given_wait: str, preferred: str) -> None:
    asked = request({"wait": given_wait}, prefer=preferred)

    if re.fullmatch("[0-9]{1,3}", given_wait) and int(given_wait) <= MAX_WAIT:
        assert _wait_seconds(asked) == int(given_wait)
    else:
        with pytest.raises(Invalid):
            _wait_seconds(asked)


# Lists


@given(st.text() | st.integers(-5, 200).map(str))
def test_a_limit_is_taken_or_refused(limit: str) -> None:
    asked = request({"limit": limit})

    if re.fullmatch("[0-9]{1,3}", limit) and 1 <= int(limit) <= MAX_LIMIT:
        assert page(asked) == Page(int(limit), None)
    else:
        with pytest.raises(Invalid):
            page(asked)


@given(ids, st.integers(1, 5))
def test_the_cursor_of_a_page_names_its_last_row(position: int, limit: int) -> None:
    _, cursor = Page(limit, None).cut([position] * (limit + 1), lambda row: row)

    assert cursor is not None
    assert page(request({"cursor": cursor})) == Page(DEFAULT_LIMIT, position)


@given(st.text() | st.binary().map(lambda content: content.decode("latin-1")) | st.from_regex("djE6[A-Za-z0-9_-]*"))
@example("djE6MDE")
@example("djE6MQ==")
def test_any_other_cursor_is_refused(cursor: str) -> None:
    try:
        position = page(request({"cursor": cursor})).position
    except Invalid:
        return
    assert position is not None
    assert Page(1, None).cut([position] * 2, lambda row: row)[1] == cursor


@given(st.binary())
def test_any_query_is_read_or_refused(query: bytes) -> None:
    for parse in (page, _wait_seconds, position_of, _mark):
        with suppress(Invalid):
            parse(request(query))


# Events


@given(ids, ids, st.booleans(), st.none() | ids)
def test_the_id_of_an_event_is_where_its_reader_goes_on(
    generation_id: int, offset: int, done: bool, blocks: int | None
) -> None:
    position = Position(GenerationId(generation_id), offset, done, blocks)

    assert position_of(request(last_event_id=str(position))) == position
    assert position_of(request({"starting_after": str(position)})) == position
    assert position_of(request({"starting_after": "1-1"}, last_event_id=str(position))) == position


@given(st.integers(0, 2**32 - 1), ids, st.datetimes(), ids)
def test_the_id_of_a_change_is_where_its_reader_goes_on(run: int, number: int, at: Any, topic_id: int) -> None:
    mark = Mark(f"{run:08x}", number, f"{at:%Y-%m-%dT%H:%M:%S}.000Z".rjust(24, "0"), TopicId(topic_id))

    assert _mark(request(last_event_id=str(mark))) == mark


@given(header_text | st.from_regex("[0-9]{0,20}-[0-9]{0,20}(-[0-9]{0,20})?(-done)?", fullmatch=True))
def test_any_other_id_of_an_event_is_refused(given_id: str) -> None:
    for parse, form, nothing in ((position_of, POSITION, NOWHERE), (_mark, MARK, None)):
        asked = request(last_event_id=given_id)
        if not given_id:
            assert parse(asked) == nothing
        elif not form.fullmatch(given_id):
            with pytest.raises(Invalid):
                parse(asked)
        else:
            parse(asked)


# Entity tags


@given(st.lists(tags), st.sampled_from(["{}", "W/{}", " {} ", "\t{}"]), st.randoms())
def test_a_list_of_tags_matches_what_is_in_it(others: list[str], form: str, order: Any) -> None:
    given_tags = [*others, form.format(ETAG)]
    order.shuffle(given_tags)

    assert matches(",".join(given_tags), ETAG)
    assert matches(" * ", ETAG)
    assert not matches(",".join(others), ETAG)


@given(header_text)
def test_nothing_else_matches(given_header: str) -> None:
    assert matches(given_header, ETAG) == (given_header.strip() == "*" or ETAG in given_header.split(","))


# Idempotency keys


def key_of(given_header: str) -> str:
    found = idempotency_key(request(idempotency_key=given_header))
    assert found is not None
    return found


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=255))
def test_a_key_is_the_same_bare_and_quoted(key: str) -> None:
    quoted = '"{}"'.format(key.replace("\\", "\\\\").replace('"', '\\"'))

    assert key_of(quoted) == key
    if not key.startswith('"'):
        assert key_of(key) == key


@given(header_text)
@example("")
@example('"')
@example('"\\"')
@example("x" * 256)
def test_any_other_key_is_refused(given_header: str) -> None:
    try:
        key = key_of(given_header)
    except Invalid:
        return
    assert re.fullmatch(r"[\x20-\x7e]{1,255}", key)


# Bodies

surrogates = st.characters(exclude_categories=())
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(surrogates) | st.just(10**4000),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=8,
)
fields = st.dictionaries(st.sampled_from(FIELDS) | st.text(surrogates), values, max_size=6)


def read(content: bytes, model: type[Body]) -> Body | Problem:
    """Return what becomes of a body; a problem has been made a document of."""

    async def run() -> Body | Problem:
        asked = request(content=content, content_type="application/json")
        try:
            return await body(asked, model)
        except Problem as problem:
            document = json.loads(bytes(problem_response(asked, problem).body))
            assert document["status"] in {400, 422}
            return problem

    return trio.run(run)


@ANYTHING
@given(st.binary(), st.sampled_from(BODIES))
def test_any_bytes_are_read_or_refused(content: bytes, model: type[Body]) -> None:
    read(content, model)


@ANYTHING
@given(fields | values, st.booleans(), st.sampled_from(BODIES))
def test_any_json_is_read_or_refused(document: Any, escaped: bool, model: type[Body]) -> None:
    read(json.dumps(document, ensure_ascii=escaped).encode(errors="surrogatepass"), model)


@ANYTHING
@given(st.integers(1, 60), st.text('[]{}"\\ab', max_size=20))
def test_depth_is_counted_outside_of_texts(depth: int, text: str) -> None:
    content = json.dumps({"topic": text * 20, "x": "y"}).encode()[:-1] + b',"z":%s%s}' % (b"[" * depth, b"]" * depth)

    assert read(content, NewTopic).code == ("malformed_json" if depth >= MAX_DEPTH else "invalid_request")  # type: ignore[union-attr]


@ANYTHING
@given(st.lists(st.sampled_from(FIELDS), unique=True, min_size=1), st.data())
def test_a_name_that_stands_twice_is_refused_wherever(names: list[str], data: st.DataObject) -> None:
    members = [*names, data.draw(st.sampled_from(names))]
    content = ",".join(f"{json.dumps(member)}:0" for member in data.draw(st.permutations(members)))

    for whole in (f"{{{content}}}", f'{{"x":[{{{content}}}]}}'):
        assert read(whole.encode(), NewTopic).code == "malformed_json"  # type: ignore[union-attr]


@ANYTHING
@given(st.text(surrogates, max_size=40))
@example("\x1c")
@example("\ufeff")
@example(" \x85a")
def test_a_text_is_taken_as_the_description_says(text: str) -> None:
    pattern = NewTopic.model_json_schema()["properties"]["plan"]["pattern"]
    taken = read(json.dumps({"topic": "A topic", "plan": text}).encode(), NewTopic)

    if isinstance(taken, NewTopic):
        assert re.search(pattern, text)
        assert taken.plan == unicodedata.normalize("NFC", taken.plan).strip()
    else:
        assert not re.search(pattern, text) or re.search("[\ud800-\udfff]", text) or marks(text) > 30


def marks(text: str) -> int:
    """Return how many combining marks stand in a row."""
    return max(map(len, re.findall("1+", "".join(str(int(unicodedata.combining(one) > 0)) for one in text))), default=0)

"""The parser of event streams: whatever way the bytes are cut, each event once."""

import pytest

from app.client.sse import MOST_BYTES, Message, Parser

STREAM = (
    "retry: 3000\n\n"
    'event: status\nid: 7-0\ndata: {"status": "생성 중"}\n\n'
    ": still here\nid: 7-5\n\n"
    "event: ping\ndata: {}\n\n"
    'event: text\r\nid: 7-9\r\ndata: {"offset": 5,\r\ndata: "text": "📚"}\r\n\r\n'
    "event: text\nid: 7-12\ndata: {"
).encode()

EVENTS = [Message("status", {"status": "생성 중"}), Message("ping", {}), Message("text", {"offset": 5, "text": "📚"})]


@pytest.mark.parametrize("size", [1, 2, 3, 7, len(STREAM)])
def test_each_event_comes_once_however_the_bytes_are_cut(size: int) -> None:
    parser = Parser("6-1")

    found = [message for start in range(0, len(STREAM), size) for message in parser.feed(STREAM[start : start + size])]

    assert found == EVENTS
    assert parser.last_id == "7-9"  # what is not whole moves nobody on
    assert parser.retry == 3.0


def test_a_comment_with_an_id_moves_its_reader_on_without_an_event() -> None:
    parser = Parser(None)

    assert parser.feed(b": still here\nid: 7-5\n\n") == []
    assert parser.last_id == "7-5"


def test_before_the_first_id_it_is_where_it_began() -> None:
    parser = Parser("6-1")

    parser.feed(b"retry: 3000\n\n")

    assert parser.last_id == "6-1"


@pytest.mark.parametrize("content", [b"data: {\n\n", b"data: \xff\n\n", b"x" * (MOST_BYTES + 1)])
def test_what_is_no_event_of_json_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError):
        Parser(None).feed(content)

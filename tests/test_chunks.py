"""Chunks that came together are one, and the response means what it meant."""

import h11
import pytest

from app.chunks import LONGEST_LINE, Joiner

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
PIECES = (b"event: ping\n", b"\r\n", b"0\r\n\r\n", "한 글자".encode(), b"x" * 300)
BODY = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in PIECES)
LAST = b"0\r\n\r\n"


def body_of(answer: bytes) -> bytes:
    """Read a response as the HTTP client does. Raises RemoteProtocolError."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("host", "claude")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(answer)
    body = b""
    while not isinstance(event := connection.next_event(), h11.EndOfMessage):
        assert isinstance(event, (h11.InformationalResponse, h11.Response, h11.Data)), event
        body += event.data if isinstance(event, h11.Data) else b""
    return body


def test_chunks_that_came_together_become_one() -> None:
    joiner = Joiner()

    came = joiner.feed(HEAD + BODY)

    body = b"".join(PIECES)
    assert came == HEAD + b"%x\r\n%b\r\n" % (len(body), body)
    assert joiner.feed(LAST) == LAST


@pytest.mark.parametrize("length", [1, 2, 3, 7, 50, 10_000])
@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 100 Continue\r\n\r\n"])
@pytest.mark.parametrize("last", [LAST, b"0;last=yes\r\nTrailer: yes\r\n\r\n"])
def test_a_response_means_the_same_however_it_is_cut(length: int, before: bytes, last: bytes) -> None:
    joiner = Joiner()
    answer = before + HEAD + BODY + b"5 ;name=value\r\n12345\r\n" + last

    for _ in range(2):  # a connection serves one call after another
        joiner.begin()
        came = [joiner.feed(answer[at : at + length]) for at in range(0, len(answer), length)]

        assert body_of(b"".join(came)) == b"".join(PIECES) + b"12345"


def test_what_came_of_a_chunk_does_not_wait_for_its_rest() -> None:
    joiner = Joiner()
    joiner.feed(HEAD)

    came = [joiner.feed(data) for data in (b"a\r\n123", b"456", b"7890", b"\r\n")]

    assert came == [b"3\r\n123\r\n", b"3\r\n456\r\n", b"4\r\n7890\r\n", b""]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n5\r\n12345\r\n5\r\n67890\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: other\r\n\r\nHTTP/1.1 2\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    ],
)
def test_what_is_not_chunked_passes_unchanged(answer: bytes) -> None:
    joiner = Joiner()

    assert b"".join(joiner.feed(answer[at : at + 3]) for at in range(0, len(answer), 3)) == answer


@pytest.mark.parametrize(
    "body",
    [
        b"five\r\n12345\r\n",
        b"-5\r\n12345\r\n",
        b"\r\n12345\r\n",
        b"5\r\n12345ab\r\n67\r\n",
        b"5\r\n12345" + LAST,
        b"5" + b" " * LONGEST_LINE,
    ],
)
@pytest.mark.parametrize("before", [b"", BODY])
def test_what_is_malformed_stays_malformed(before: bytes, body: bytes) -> None:
    came = Joiner().feed(HEAD + before + body)

    with pytest.raises(h11.RemoteProtocolError):
        body_of(came)

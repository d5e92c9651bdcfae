"""Bytes that no client should send, to the real server: it outlives them, answers others, and logs no traceback."""

from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
import trio

from tests import fuzz
from tests.claude import FakeClaude
from tests.process import Server, serving
from tests.routes.client import connect, exchange
from tests.service import Service

SEED = 20_261_123
CLIENTS, CASES = 8, 60
"""Side by side, and one after the other; a neighbour asks for a status after each."""


async def attack(server: Server, number: int, status_url: str) -> None:
    """Send one case after the other, in pieces, and leave each time in another way."""
    for case in range(CASES):
        random = Random(f"{SEED} {number} {case}")
        content = random.choice(fuzz.KINDS)(random)
        with suppress(trio.BrokenResourceError):
            async with await connect(server) as stream:
                middle = random.randrange(len(content) + 1)
                for piece in (content[:middle], content[middle:]):
                    await stream.send_all(piece)
                if random.random() < 0.5:
                    await stream.send_eof()
                with trio.move_on_after(0.02):
                    async for _ in stream:
                        pass
        assert (await server.http.get(status_url)).status_code == 200, (number, case)


async def test_the_server_outlives_bytes_of_every_kind(tmp_path: Path, claude: FakeClaude) -> None:
    async with serving(tmp_path / "data", claude, LONGHAND_RATE_PER_ADDRESS="0") as server:
        status_url = f"/api/topics/{await server.topic()}/status"
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for number in range(CLIENTS):
                    nursery.start_soon(attack, server, number, status_url)

        async with server.client(None) as late:
            assert (await late.get("/healthz")).status_code == 200
        assert not server.process.ended.is_set()
        assert "Traceback" not in server.process.errors
        assert "ERROR" not in server.process.errors
        assert "a connection failed" not in server.process.errors


SECOND = b"GET /api/second HTTP/1.1\r\nHost: test\r\n\r\n"

SMUGGLED = {
    "both lengths": b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SECOND,
    "both lengths, the other way round": b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + SECOND,
    "two different lengths": b"Content-Length: 0\r\nContent-Length: 44\r\n\r\n" + SECOND,
    "a list of lengths": b"Content-Length: 0, 44\r\n\r\n" + SECOND,
    "a length with a sign": b"Content-Length: +0\r\n\r\n" + SECOND,
    "a length below zero": b"Content-Length: -1\r\n\r\n" + SECOND,
    "a length in hexadecimal": b"Content-Length: 0x0\r\n\r\n" + SECOND,
    "a space before the colon": b"Content-Length : 44\r\n\r\n" + SECOND,
    "a coding that is none": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + SECOND,
    "a coding twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + SECOND,
    "a vertical tab": b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + SECOND,
    "a chunk's size with a sign": b"Transfer-Encoding: chunked\r\n\r\n+0\r\n\r\n" + SECOND,
    "a NUL in a value": b"X: a\x00b\r\nContent-Length: 0\r\n\r\n" + SECOND,
}


@pytest.mark.parametrize("shape", SMUGGLED)
async def test_a_request_within_a_request_is_not_found(service: Service, shape: str) -> None:
    answer = await exchange(service, b"POST /healthz HTTP/1.1\r\nHost: test\r\n" + SMUGGLED[shape])

    assert answer.count(b"HTTP/1.1 ") == 1
    assert b" 400 " in answer[:20]
    assert b"second" not in answer

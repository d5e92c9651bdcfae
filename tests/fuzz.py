"""Bytes that no client should send, made from a seed: the same seed, the same bytes."""

import base64
from collections.abc import Callable
from random import Random

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
BLOCK = b"\x82\x84\x86\x41\x04test"  # GET / http, :authority test
BLOCK_OF_BODY = b"\x83\x44\x0b/api/topics\x86\x41\x04test"  # POST, which has a body

WHOLE = (
    b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n",
    b"GET /api/topics/1/status?wait=1 HTTP/1.1\r\nHost: test\r\nIf-None-Match: *\r\n\r\n",
    b"HEAD /api/topics HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer x\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: test\r\n\r\n",
    b"POST /api/topics HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /api/topics HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"GET /healthz HTTP/1.0\r\n\r\n",
)
PIECES = (
    *(b"\r\n", b"\n", b"\r", b"\x00", b" ", b"\t", b":", b"%", b"%00", b"\xff", b"\xc3\x28", b"//", b".."),
    *(b"0" * 40, b"9" * 30, b"-1", b"a" * 5000, b"X: y\r\n" * 200),
    *(b"Host: other\r\n", b"Content-Length: 5\r\n", b"Expect: 100-continue\r\n", b"Upgrade: websocket\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: identity\r\n", b"Connection: close, upgrade\r\n"),
)


def noise(random: Random) -> bytes:
    return random.randbytes(random.randint(1, 3000))


def mutated(random: Random) -> bytes:
    """Change a request here and there."""
    content = bytearray(random.choice(WHOLE))
    for _ in range(random.randint(1, 6)):
        place = random.randrange(len(content) + 1)
        match random.randrange(4):
            case 0:
                content[place:place] = random.choice(PIECES)
            case 1:
                del content[place : place + random.randint(1, 12)]
            case 2:
                content[place : place + 1] = random.randbytes(1)
            case _:
                content[place:place] = content[place : place + random.randint(1, 40)]
    return bytes(content)


def cut(random: Random) -> bytes:
    """Leave a request before its end."""
    whole = random.choice(WHOLE)
    return whole[: random.randrange(1, len(whole))]


def pipelined(random: Random) -> bytes:
    return b"".join(random.choice((random.choice(WHOLE), mutated(random))) for _ in range(random.randint(2, 12)))


def chunked(random: Random) -> bytes:
    """Send a body in chunks that are not all well-formed."""
    sizes = (b"0", b"1", b"f", b"-1", b"+1", b"0x1", b"1;a=b", b"1 ", b" 1", b"", b"\xff", b"f" * 16, b"f" * 40, b"1_0")
    chunks = b"".join(
        random.choice(sizes)
        + random.choice((b"\r\n", b"\n", b"\r\n\r\n"))
        + random.randbytes(random.randint(0, 20))
        + b"\r\n"
        for _ in range(random.randint(1, 8))
    )
    coding = random.choice((b"chunked", b"Chunked", b"chunked, chunked", b"gzip, chunked", b"\tchunked", b"xchunked"))
    return b"POST /api/topics HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: " + coding + b"\r\n\r\n" + chunks


def upgraded(random: Random) -> bytes:
    """Ask for another protocol, and go on with something else."""
    settings = base64.urlsafe_b64encode(random.randbytes(random.randint(0, 30))).rstrip(random.choice((b"", b"=")))
    websocket = (
        b"GET /socket HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    h2c = (
        b"GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: "
        + random.choice((settings, b"AAMAAABk", b"", b"!!", b"AAMAAABk\r\nHTTP2-Settings: AAMAAABk"))
        + b"\r\n\r\n"
    )
    return random.choice((websocket, h2c)) + random.choice((b"", noise(random), PREFACE + frames(random)))


def frame(kind: int, flags: int, stream_id: int, payload: bytes, length: int | None = None) -> bytes:
    size = len(payload) if length is None else length
    return size.to_bytes(3, "big") + bytes((kind, flags)) + stream_id.to_bytes(4, "big") + payload


def fitting(random: Random, newest: int) -> bytes:
    """Make a frame that is well-formed, though it may come at the wrong time."""
    stream_id = random.randrange(1, newest + 3, 2)
    number = random.choice((0, 1, 100, 2**16, 2**31 - 1)).to_bytes(4, "big")
    return random.choice((
        frame(0, random.choice((0, 1)), stream_id, random.randbytes(random.choice((0, 1, 200)))),
        frame(1, random.choice((4, 5)), stream_id, random.choice((BLOCK, BLOCK_OF_BODY, random.randbytes(20)))),
        frame(1, random.choice((0x24, 0x25)), stream_id, number + b"\x10" + BLOCK),
        frame(1, random.choice((0, 1)), stream_id, BLOCK[:3]) + frame(9, 4, stream_id, BLOCK[3:]),
        frame(2, 0, stream_id, number + b"\x10"),
        frame(3, 0, stream_id, number),
        frame(4, random.choice((0, 0, 1)), 0, random.choice((b"", b"\x00" + bytes((random.randrange(9),)) + number))),
        frame(6, random.choice((0, 1)), 0, random.randbytes(8)),
        frame(7, 0, 0, bytes(8)),
        frame(8, 0, random.choice((0, stream_id)), number),
        frame(255, random.randrange(256), stream_id, random.randbytes(5)),
    ))  # fmt: skip


def frames(random: Random) -> bytes:
    """Make frames that mostly open and feed streams, and sometimes one that fits nowhere."""
    made, newest = [], 1
    for _ in range(random.randint(1, 60)):
        if random.random() < 0.4:
            made.append(frame(1, random.choice((4, 5)), newest, random.choice((BLOCK, BLOCK_OF_BODY))))
            newest += 2
        elif random.random() < 0.97:
            made.append(fitting(random, newest))
        else:
            kind, flags, stream_id = random.randrange(12), random.randrange(256), random.choice((0, 1, 2, 2**31 - 1))
            length = random.choice((None, None, 0, 2**14 + 1, 2**24 - 1))
            made.append(frame(kind, flags, stream_id, random.randbytes(random.randint(0, 40)), length))
    return b"".join(made)


def http2(random: Random) -> bytes:
    return PREFACE + (SETTINGS if random.random() < 0.8 else b"") + frames(random)


KINDS: tuple[Callable[[Random], bytes], ...] = (
    noise,
    mutated,
    mutated,
    cut,
    pipelined,
    chunked,
    upgraded,
    http2,
    http2,
)

"""A small HTTP client for a load that must not cost what it measures: two kinds of keep-alive connections."""

import json
import re
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import trio

from app.wire import EventReader

RECEIVE_BYTES = 65536
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
ETAG = re.compile(rb'\r\netag: *("[^"]*")', re.IGNORECASE)


class Cut(ConnectionError):
    """The server closed the connection before the end of an answer."""


GONE = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)
"""What is raised where the server has closed a connection."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: its status, its head as it came, its body."""

    status: int
    head: bytes
    body: bytes = b""

    @property
    def data(self) -> Any:
        return json.loads(self.body)["data"]

    @property
    def etag(self) -> str:
        found = ETAG.search(self.head)
        return found[1].decode() if found else ""


@dataclass(frozen=True, slots=True)
class Site:
    """Where the server is, and who asks."""

    host: str
    port: int
    token: str

    @classmethod
    def at(cls, url: str, token: str) -> Self:
        host, _, port = url.removeprefix("http://").rpartition(":")
        return cls(host, int(port), token)

    def request(self, method: str, path: str, body: dict[str, Any] | None = None, **headers: str) -> bytes:
        """Write a request; a header's `_` stands for `-`."""
        content = b"" if body is None else json.dumps(body).encode()
        lines = [
            f"{method} {path} HTTP/1.1",
            f"host: {self.host}:{self.port}",
            f"authorization: Bearer {self.token}",
            *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
        ]
        if body is not None:
            lines += ["content-type: application/json", f"content-length: {len(content)}"]
        return "\r\n".join([*lines, "\r\n"]).encode() + content


def answer_in(received: bytes) -> tuple[Answer | None, bytes]:
    """Return the first answer in what was received, if all of it is there, and what follows it."""
    head, separator, rest = received.partition(b"\r\n\r\n")
    if not separator:
        return None, received
    length = LENGTH.search(head)
    size = int(length[1]) if length else 0
    if len(rest) < size:
        return None, received
    return Answer(int(head[9:12]), head, rest[:size]), rest[size:]


class Connection:
    """A connection on Trio."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._received = b""
        self.open = True

    @classmethod
    async def to(cls, site: Site) -> Self:
        sock = trio.socket.socket()
        await sock.connect((site.host, site.port))
        return cls(trio.SocketStream(sock))

    async def ask(self, request: bytes) -> Answer:
        """Send a request and return the answer. Raises OSError and trio.BrokenResourceError."""
        await self._stream.send_all(request)
        while True:
            answer, self._received = answer_in(self._received)
            if answer:
                self.open = not CLOSES.search(answer.head)
                return answer
            self._received += await self._receive()

    async def events(self, request: bytes) -> AsyncIterator[list[tuple[str, str]]]:
        """Send a request and give the events of the answer as they come, until its end."""
        await self._stream.send_all(request)
        while b"\r\n\r\n" not in self._received:
            self._received += await self._receive()
        _, _, rest = self._received.partition(b"\r\n\r\n")
        reader = EventReader()
        while True:
            data, rest, ended = chunks_in(rest)
            yield reader.feed(data)
            if ended:
                return
            rest += await self._receive()

    def forget(self) -> None:
        """Close at once, whatever is under way."""
        self.open = False
        self._stream.socket.close()

    async def _receive(self) -> bytes:
        data = bytes(await self._stream.receive_some(RECEIVE_BYTES))
        if not data:
            self.open = False
            raise Cut
        return data


def chunks_in(received: bytes) -> tuple[bytes, bytes, bool]:
    """Return the content of the whole chunks in what was received, what is left, and whether the last one was there."""
    content: list[bytes] = []
    while True:
        line, separator, rest = received.partition(b"\r\n")
        if not separator:
            break
        size = int(line, 16)
        if size == 0:
            return b"".join(content), b"", True
        if len(rest) < size + 2:
            break
        content.append(rest[:size])
        received = rest[size + 2 :]
    return b"".join(content), received, False


class Lockstep:
    """Many connections that each send a request and then each take an answer: the least that a load can cost."""

    def __init__(self, site: Site, connections: int) -> None:
        self._sockets = [socket.create_connection((site.host, site.port)) for _ in range(connections)]
        for sock in self._sockets:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(60)

    def round(self, requests: Sequence[bytes]) -> list[Answer]:
        """Send a request over each connection, at most as many as there are, and return the answers."""
        pairs = list(zip(self._sockets, requests, strict=False))
        for sock, request in pairs:
            sock.sendall(request)
        return [self._answer(sock) for sock, _ in pairs]

    def _answer(self, sock: socket.socket) -> Answer:
        received = b""
        while True:
            data = sock.recv(RECEIVE_BYTES)
            if not data:
                raise Cut
            answer, received = answer_in(received + data)
            if answer:
                return answer

    def close(self) -> None:
        for sock in self._sockets:
            sock.close()

"""What stands between a client and its server: a proxy that cuts, swallows and holds back, and a server of canned
answers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

import trio


@dataclass(eq=False)
class Between:
    """A proxy that knows nothing of HTTP. `target` may change; it counts for new connections.

    `holding`: what the server sends is held back, for ever; `hold_streams`: only event streams are, as by a proxy that
    waits for the whole of an answer. `swallow`: so many answers are thrown away, and their
    connections cut.
    """

    target: int
    port: int = 0
    holding: bool = False
    hold_streams: bool = False
    swallow: int = 0
    connections: int = 0
    scopes: set[trio.CancelScope] = field(default_factory=set)
    changed: trio.lowlevel.ParkingLot = field(default_factory=trio.lowlevel.ParkingLot)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Cut every connection."""
        for scope in self.scopes:
            scope.cancel()

    async def connected(self, count: int) -> None:
        """Wait until so many connections were made, in all."""
        with trio.fail_after(30):
            while self.connections < count:
                await self.changed.park()

    async def handle(self, client: trio.SocketStream) -> None:
        with trio.CancelScope() as scope, suppress(OSError, trio.BrokenResourceError):
            self.scopes.add(scope)
            async with client, await trio.open_tcp_stream("127.0.0.1", self.target) as server:
                self.connections += 1
                self.changed.unpark_all()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._pass, client, server)
                    await self._answer(server, client)
                    nursery.cancel_scope.cancel()
        self.scopes.discard(scope)

    async def _pass(self, source: trio.SocketStream, target: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            async for chunk in source:
                await target.send_all(chunk)

    async def _answer(self, server: trio.SocketStream, client: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            async for chunk in server:
                if self.swallow:
                    self.swallow -= 1
                    return
                if self.hold_streams and b"content-type: text/event-stream" in chunk.lower():
                    self.holding = True
                if not self.holding:
                    await client.send_all(chunk)


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


@asynccontextmanager
async def between(url: str) -> AsyncIterator[Between]:
    """Run a proxy before the server at `url`."""
    proxy = Between(port_of(url))
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, proxy.handle, 0, host="127.0.0.1"))
        proxy.port = listener.socket.getsockname()[1]
        yield proxy
        nursery.cancel_scope.cancel()


@dataclass(eq=False)
class Canned:
    """A server that answers each request with the next of its answers, whatever is asked; the last one stays."""

    answers: list[bytes]
    port: int = 0
    requests: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def handle(self, stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            async with stream:
                seen = b""
                while b"\r\n\r\n" not in seen:
                    if not (chunk := await stream.receive_some()):
                        return
                    seen += chunk
                self.requests.append(seen.decode().split("\r\n")[0])
                await stream.send_all(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])


def answer(status: str, body: str = "", *headers: str, kind: str = "application/json") -> bytes:
    """Write one answer, after which the connection is closed."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", "Connection: close", *headers]
    content = body.encode()
    return "\r\n".join([*lines, f"Content-Length: {len(content)}", "", ""]).encode() + content


@asynccontextmanager
async def canned(*answers: bytes) -> AsyncIterator[Canned]:
    server = Canned(list(answers))
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, server.handle, 0, host="127.0.0.1"))
        server.port = listener.socket.getsockname()[1]
        yield server
        nursery.cancel_scope.cancel()

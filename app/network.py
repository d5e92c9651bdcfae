"""The network under the HTTP client that talks to Claude: reads that bring several events at once."""

from collections.abc import Iterable
from math import inf
from ssl import SSLContext, SSLError, SSLObject
from typing import Any

import httpcore2
import trio
from trio import current_time, sleep_until

from app.chunks import Joiner

COALESCE_SECONDS = 0.25
"""How long after a read the next may come, in a steady stream: most of what an event costs is its read.

Two reads take a little longer than text that grows waits to be shown: then every second one is shown at once.
"""

TICK_SECONDS = 0.005
"""On multiples of this streams are read, so that one pass of the loop reads all that are due."""


class Network(httpcore2.TrioBackend):
    """Connects as Trio does, and gives streams that coalesce."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the interface's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        return Coalescing(await super().connect_tcp(host, port, timeout, local_address, socket_options))


class Coalescing(httpcore2.AsyncNetworkStream):
    """A network stream whose reads are rare while an answer comes in steadily, and bring the more.

    Promises:
    - An answer is steady when it has come for `COALESCE_SECONDS` without a pause of that length. What comes before,
      its head and its first text, is read as it comes, and so is whatever comes after a pause.
    - Nothing is read more than `COALESCE_SECONDS` late, the end and a cut connection included.
    - What is here already never waits for what is still to come, be it with the system or decrypted.
    - After `hurry` nothing waits, until the next request.
    - Cancelling is not delayed, and closes a connection whose TLS is not agreed on yet.
    """

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream
        self._inner: trio.abc.ReceiveStream = stream._stream  # type: ignore[attr-defined]  # noqa: SLF001
        self._ssl: SSLObject | None = stream.get_extra_info("ssl_object")
        self._chunks = Joiner()
        self._since: float | None = None
        """Since when the answer has come without a pause."""
        self._next_read = -inf
        self._hurries = False

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - the interface's
        while True:
            if current_time() < self._next_read:
                await sleep_until(self._next_read)
            data = await self._read(max_bytes, timeout)
            joined = self._chunks.feed(data)
            if joined or not data:
                return joined

    async def _read(self, max_bytes: int, timeout: float | None) -> bytes:  # noqa: ASYNC109 - the interface's
        asked = current_time()
        data = await self._receive(max_bytes, timeout)
        if self._ssl and data:
            data = _with_the_decrypted(data, self._ssl, max_bytes)
        came = current_time()
        if self._since is None or came - asked >= COALESCE_SECONDS:
            self._since = came
        steady = came - self._since >= COALESCE_SECONDS and not self._hurries
        waits = steady and len(data) < max_bytes and not self.get_extra_info("is_readable")
        self._next_read = (came + COALESCE_SECONDS) // TICK_SECONDS * TICK_SECONDS if waits else -inf
        return data

    async def _receive(self, max_bytes: int, timeout: float | None) -> bytes:  # noqa: ASYNC109 - the interface's
        if timeout is not None:
            return await self._stream.read(max_bytes, timeout)
        try:  # without a scope of its own for a time-out that there is not
            return bytes(await self._inner.receive_some(max_bytes))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise httpcore2.ReadError(str(error)) from error

    def hurry(self) -> None:
        """Let no read wait, up to the end of this answer."""
        self._hurries = True
        self._next_read = -inf

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - the interface's
        self._chunks.begin()
        self._since, self._next_read, self._hurries = None, -inf, False
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the interface's
    ) -> httpcore2.AsyncNetworkStream:
        try:
            stream = await self._stream.start_tls(ssl_context, server_hostname, timeout)
        except trio.Cancelled:
            await trio.aclose_forcefully(self._inner)
            raise
        # Inside another TLS, a proxy's, more may be buffered than can be seen from here.
        return stream if self._ssl else Coalescing(stream)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _with_the_decrypted(data: bytes, ssl: SSLObject, max_bytes: int) -> bytes:
    """Add what else is here: over TLS a read brings one record, and each event has its own."""
    parts, left = [data], max_bytes - len(data)
    try:
        while left > 0 and (part := ssl.read(left)):
            parts.append(part)
            left -= len(part)
    except SSLError:
        pass  # there is no more for now, or never: then the next read finds it so again
    return b"".join(parts)

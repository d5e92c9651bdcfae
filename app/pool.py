"""The open connections to Claude, at a cost per call that does not grow with them."""

from collections import deque
from collections.abc import AsyncIterable, AsyncIterator
from types import TracebackType
from typing import Self, cast

import httpcore2
import httpx2
from anyio import move_on_after

from app.network import Network

CLOSE_SECONDS = 1.0
"""What it may take to close a connection; its end is not waited for."""

Connection = httpcore2.AsyncConnectionInterface


def use_pools(client: httpx2.AsyncClient, idle: int) -> None:
    """Let a client that was just made take its connections, through proxies too, from pools of ours."""
    for transport in {client._transport, *client._mounts.values()}:  # noqa: SLF001 - it has no setting for a pool
        if isinstance(transport, httpx2.AsyncHTTPTransport):
            pool = cast("httpcore2.AsyncConnectionPool", Pool(transport._pool, idle))  # noqa: SLF001
            transport._pool = pool  # noqa: SLF001


class Pool:
    """Stands in the place of the HTTP client's own pool, which looks at every open connection for every call.

    Promises:
    - A connection serves one call at a time, and the next only after a whole response.
    - At most `idle` connections are kept for further calls. Closing the pool closes every connection.
    """

    def __init__(self, connector: httpcore2.AsyncConnectionPool, idle: int) -> None:
        connector._network_backend = Network()  # noqa: SLF001 - whoever made it could not say so
        self._connect = connector.create_connection
        self._most_idle = idle
        self._open: set[Connection] = set()
        self._idle: deque[Connection] = deque()

    async def handle_async_request(self, request: httpcore2.Request) -> httpcore2.Response:
        connection = await self._take(request.url.origin)
        try:
            response = await connection.handle_async_request(request)
        except BaseException:
            with move_on_after(CLOSE_SECONDS, shield=True):
                await self.give_back(connection)
            raise
        content = Content(cast("AsyncIterable[bytes]", response.stream), connection, self)
        return httpcore2.Response(
            response.status, headers=response.headers, content=content, extensions=response.extensions
        )

    async def _take(self, origin: httpcore2.Origin) -> Connection:
        """Return a connection that nobody else uses: the one that was used last, or another."""
        while self._idle:
            connection = self._idle.pop()
            if connection.can_handle_request(origin) and not connection.has_expired():
                return connection
            await self._close(connection)
        connection = self._connect(origin)
        self._open.add(connection)
        return connection

    async def give_back(self, connection: Connection) -> None:
        """Take back a connection whose call is over."""
        if connection.is_closed() or not connection.is_idle():
            await self._close(connection)
            return
        self._idle.append(connection)
        if len(self._idle) > self._most_idle:
            await self._close(self._idle.popleft())

    async def _close(self, connection: Connection) -> None:
        self._open.discard(connection)
        with move_on_after(CLOSE_SECONDS, shield=True):  # a cancelled call's connection is closed too
            await connection.aclose()

    async def aclose(self) -> None:
        self._idle.clear()
        while self._open:
            await self._close(self._open.pop())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


class Content:
    """The body of a response. No generator of its own: each one that a chunk passes costs."""

    def __init__(self, inner: AsyncIterable[bytes], connection: Connection, pool: Pool) -> None:
        self._inner = inner
        self._connection: Connection | None = connection
        self._pool = pool

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._inner)

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        with move_on_after(CLOSE_SECONDS, shield=True):
            await self._inner.aclose()  # type: ignore[attr-defined]
        await self._pool.give_back(connection)

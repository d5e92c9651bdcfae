"""The guard around each connection: Hypercorn's TCP server on Trio, with a boundary and with limits."""

import logging
import os
import traceback
from collections.abc import Callable
from functools import lru_cache
from math import inf
from time import time
from typing import cast

import h11
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio import run, tcp_server
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from trio.lowlevel import checkpoint

from app.again import LastRequest, Reply, encode
from app.causes import leaves
from app.idle import IdleTimer
from app.inbox import GuardedTaskGroup

log = logging.getLogger("longhand.server")


class GuardedTCPServer(TCPServer):
    """One connection that can neither take the others down nor hold them up.

    Promises:
    - No exception leaves `run`: it is logged in one line and the stream closed. Cancellation does leave it.
    - A client that takes nothing for `SEND_SECONDS` is closed by force; one that reads slowly is not.
    - When the client is gone, the app is told; what it still does `LINGER_SECONDS` later is cancelled.
    - An app that is cancelled does not tear the response: what it sends goes out first.
    - The server's own cancellation, as at the end of its grace, ends a send at once.
    - The head of an HTTP/1.1 response goes out together with what follows it at once; where the app waits before it
      sends more, the head does not wait with it.
    - An app that sends without end to a client that takes it all lets the other tasks run.
    - A request that comes again, byte for byte, is answered as the app has offered it: as the whole way would.
    - A connection is closed that sends no whole request for the time that the configuration names; at the server's
      stop, at once.
    """

    SEND_SECONDS = 10.0
    LINGER_SECONDS = 10.0
    PIECE_BYTES = 2**16  # what has to get through within SEND_SECONDS: a client may be as slow as 6.5 kB/s

    async def run(self) -> None:
        self._sending = trio.CancelScope()
        self._cancelled = False
        self._answering = False  # whether a request is there whose response has no head yet
        self._head = b""  # the head of a response that is not sent yet
        self._together = trio.CancelScope()  # its deadline passes when the head has to go
        self._last = LastRequest()
        self._coming = b""  # what came in at once after the last response, while nothing else has come
        self.idle_task = self._idle = IdleTimer(self.config.keep_alive_timeout, self.context)
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._watch)
                await super().run()
                self._nursery.cancel_scope.cancel()
        # The connection's boundary: one bad client must not cancel its neighbours.
        except* Exception as failures:  # noqa: BLE001
            log.warning("a connection failed and was closed: %s", "; ".join(map(_where, leaves(failures))))

    async def protocol_send(self, event: Event) -> None:
        if isinstance(event, RawData):
            if self._answering and self._begins_response():
                self._hold(event.data)
            else:
                await self._send(event.data)
            return
        if self._head:
            await self._send(b"")
        if isinstance(event, Updated):
            self._answering = not event.idle
            self._idle.update(idle=event.idle)
            if event.idle:
                self._last.remember(self._coming, self._group.take_offer())
            return
        # A streaming app is cancelled when its response has ended; its connection needs its end.
        with trio.move_on_after(self.SEND_SECONDS, shield=True):
            await super().protocol_send(event)

    def _begins_response(self) -> bool:
        """Say whether what comes now is a response's head, and not an interim one, in HTTP/1.1."""
        http1 = self._http1()
        return http1 is not None and http1.our_state is h11.SEND_BODY

    def _http1(self) -> h11.Connection | None:
        """Return the state of the connection; None where it speaks HTTP/2 or WebSocket."""
        connection = getattr(self.protocol.protocol, "connection", None)
        return connection if isinstance(connection, h11.Connection) else None

    def _hold(self, head: bytes) -> None:
        self._answering = False
        self._head = head
        self._together.deadline = -inf  # it has passed when the tasks that can run now have run

    async def _send(self, data: bytes) -> None:
        """Send what is held and `data`; let others run, unless a response has only begun."""
        begins = self._head != b""
        if begins:
            data, self._head = self._head + data, b""
            self._together.deadline = inf
        if not data:
            return
        if (sent := self._send_now(data)) < len(data):
            await self._send_in_time(memoryview(data)[sent:])
        elif not begins:
            await checkpoint()

    def _send_now(self, data: bytes) -> int:
        """Send what an HTTP/1.1 connection without TLS takes without waiting; return how many bytes it took."""
        stream: trio.abc.Stream = self.stream  # Hypercorn's annotation knows of TLS only
        if self._cancelled or self.send_lock.locked() or not isinstance(stream, trio.SocketStream) or not self._http1():
            return 0
        try:
            return os.write(stream.socket.fileno(), data)
        except OSError:  # it is full, or the client is gone
            return 0

    async def _send_in_time(self, data: memoryview) -> None:
        """Send all of `data`, or close the connection of who takes nothing."""
        with trio.CancelScope(shield=True):  # it ends: who holds the lock has a limit, and notices the cancellation
            await self.send_lock.acquire()
        try:
            taken = await self._send_pieces(data)
        finally:
            self.send_lock.release()
        if not taken:
            self._limit_what_is_left()
            await trio.aclose_forcefully(self.stream)
            await self.protocol.handle(Closed())

    async def _send_pieces(self, data: memoryview) -> bool:
        """Send all of `data`, and say whether the client took it."""
        try:
            with trio.CancelScope(shield=True) as self._sending:
                if self._cancelled:
                    self._sending.cancel()
                for start in range(0, len(data), self.PIECE_BYTES):
                    self._sending.deadline = trio.current_time() + self.SEND_SECONDS
                    await self.stream.send_all(data[start : start + self.PIECE_BYTES])
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):  # the last: it is closing
            return False
        return not self._sending.cancelled_caught

    async def _read_data(self) -> None:
        with self._idle.scope:
            while data := await self._receive():
                if (reply := self._answer_again(data)) is None:
                    await self._take(data)
                else:
                    await self._reply(reply)
            await self.protocol.handle(RawData(b""))
        await self.protocol.handle(Closed())
        self._limit_what_is_left()

    async def _receive(self) -> bytes:
        """Return what has come in; nothing at the end."""
        try:
            return bytes(await self.stream.receive_some(self.PIECE_BYTES))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return b""

    async def _take(self, data: bytes) -> None:
        """Take in data the whole way."""
        self._coming = data if self._between_requests() else b""  # if more comes, it does not stand alone
        await self.protocol.handle(RawData(data))

    def _between_requests(self) -> bool:
        """Say whether a connection stays open that has answered each of its HTTP/1.1 requests, and no more is there."""
        http1 = self._http1()
        return http1 is not None and http1.our_state is http1.their_state is h11.IDLE and not http1.trailing_data[0]

    @property
    def _group(self) -> GuardedTaskGroup:
        return cast("GuardedTaskGroup", self._task_group)

    def _answer_again(self, data: bytes) -> Reply | None:
        """Return the answer to what came again, if it need not go the whole way."""
        if data != self._last.request or self.context.terminated.is_set() or not self._between_requests():
            return None
        protocol = cast("H11Protocol", self.protocol.protocol)
        if protocol.keep_alive_requests + 1 >= self.config.keep_alive_max_requests:
            return None  # its answer says that it is the connection's last
        if (reply := self._last.answer()) is not None:
            protocol.keep_alive_requests += 1
        return reply

    async def _reply(self, reply: Reply) -> None:
        self._idle.prolong()
        await self.context.mark_request()
        data = encode(reply, server_headers(self.config, int(time())))
        if (sent := self._send_now(data)) < len(data):
            await self._send_in_time(memoryview(data)[sent:])

    def _limit_what_is_left(self) -> None:
        # An app that waits for HTTP/2 flow control and a reader with a pipelined request would wait for ever.
        scope = self._nursery.cancel_scope
        scope.deadline = min(scope.deadline, trio.current_time() + self.LINGER_SECONDS)

    async def _watch(self) -> None:
        """Send a head that nothing followed at once; notice the server's stop, and that the connection is cancelled."""
        try:
            while True:
                with self._together:
                    await self.context.terminated.wait()
                    self._idle.stop_if_idle()
                    await trio.sleep_forever()
                self._together = trio.CancelScope()
                self._nursery.start_soon(self._send, b"")
        finally:
            self._cancelled = True
            self._sending.cancel()


@lru_cache(maxsize=4)
def server_headers(config: Config, second: int) -> list[tuple[bytes, bytes]]:  # noqa: ARG001 - the second of the date
    """Return the headers that the server adds to each response in a second."""
    return config.response_headers("h11")


def install(
    server: Callable[..., TCPServer] = GuardedTCPServer, task_group: type[TaskGroup] = GuardedTaskGroup
) -> Callable[[], None]:
    """Put the guard in the place of Hypercorn's own classes; return what puts back those it replaced."""
    before = run.TCPServer, tcp_server.TaskGroup  # type: ignore[attr-defined]

    def undo() -> None:
        run.TCPServer, tcp_server.TaskGroup = before  # type: ignore[attr-defined]

    run.TCPServer, tcp_server.TaskGroup = server, task_group  # type: ignore[assignment, attr-defined]
    return undo


def _where(error: BaseException) -> str:
    """Name an exception and the last lines it came through; its text may quote a request, token and all."""
    walk = traceback.walk_tb(error.__traceback__)
    lines = [f"{frame.f_globals.get('__name__')}:{line}" for frame, line in walk]
    return f"{type(error).__name__} at {' > '.join(lines[-3:])}"

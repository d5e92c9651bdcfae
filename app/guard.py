"""The guard around each connection: Hypercorn's TCP server on Trio, with a boundary and with limits."""

import logging
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from itertools import chain

import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.trio import run, tcp_server
from hypercorn.trio.task_group import TaskGroup, _handle
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.typing import AppWrapper, ASGIReceiveEvent, ASGISendEvent, Scope

log = logging.getLogger("longhand.server")


class GuardedTCPServer(TCPServer):
    """One connection that can neither take the others down nor hold them up.

    Promises:
    - No exception leaves `run`: it is logged in one line and the stream closed. Cancellation does leave it.
    - A client that takes nothing for `SEND_SECONDS` is closed by force; one that reads slowly is not.
    - When the client is gone, the app is told; what it still does `LINGER_SECONDS` later is cancelled.
    - An app that is cancelled in a send does not tear the response: what it sends goes out first.
    - The server's own cancellation, as at the end of its grace, ends a send at once.
    """

    SEND_SECONDS = 10.0
    LINGER_SECONDS = 10.0
    PIECE_BYTES = 2**16  # what has to get through within SEND_SECONDS: a client may be as slow as 6.5 kB/s

    async def run(self) -> None:
        self._sending = trio.CancelScope()
        self._cancelled = False
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._end_sends_when_cancelled)
                await super().run()
                self._nursery.cancel_scope.cancel()
        # The connection's boundary: one bad client must not cancel its neighbours.
        except* Exception as failures:  # noqa: BLE001
            log.warning("a connection failed and was closed: %s", "; ".join(map(_where, _leaves(failures))))

    async def protocol_send(self, event: Event) -> None:
        if not isinstance(event, RawData):
            # A streaming app is cancelled when its response has ended; its connection needs its timer, or its end.
            with trio.move_on_after(self.SEND_SECONDS, shield=True):
                await super().protocol_send(event)
            return
        async with self.send_lock:
            taken = await self._send(event.data)
        if not taken:
            self._limit_what_is_left()
            await trio.aclose_forcefully(self.stream)
            await self.protocol.handle(Closed())

    async def _send(self, data: bytes) -> bool:
        """Send all of `data`, and say whether the client took it."""
        try:
            with trio.CancelScope(shield=True) as self._sending:
                if self._cancelled:
                    self._sending.cancel()
                for start in range(0, len(data), self.PIECE_BYTES):
                    self._sending.deadline = trio.current_time() + self.SEND_SECONDS
                    await self.stream.send_all(data[start : start + self.PIECE_BYTES])
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        return not self._sending.cancelled_caught

    async def _read_data(self) -> None:
        await super()._read_data()
        await self.idle_task.stop()  # nobody is there to be idle
        self._limit_what_is_left()

    def _limit_what_is_left(self) -> None:
        # An app that waits for HTTP/2 flow control and a reader with a pipelined request would wait for ever.
        scope = self._nursery.cancel_scope
        scope.deadline = min(scope.deadline, trio.current_time() + self.LINGER_SECONDS)

    async def _end_sends_when_cancelled(self) -> None:
        """Notice for a shielded send that the connection is cancelled."""
        try:
            await trio.sleep_forever()
        finally:
            self._cancelled = True
            self._sending.cancel()


class GuardedTaskGroup(TaskGroup):
    """The tasks of one connection.

    Promise: to tell an app that its client is gone, or its response complete, never waits for the app to read
    the request's body, and frees whoever waits for that. So an early refusal of a large body ends.
    """

    async def spawn_app(
        self,
        app: AppWrapper,
        config: Config,
        scope: Scope,
        send: Callable[[ASGISendEvent | None], Awaitable[None]],
    ) -> Callable[[ASGIReceiveEvent], Awaitable[None]]:
        inbox, outbox = trio.open_memory_channel[ASGIReceiveEvent](config.max_app_queue_size)

        async def put(event: ASGIReceiveEvent) -> None:
            if event["type"] == "http.disconnect":
                inbox.close()
                return
            with suppress(trio.ClosedResourceError):
                await inbox.send(event)

        async def receive() -> ASGIReceiveEvent:
            try:
                return await outbox.receive()
            except trio.EndOfChannel:
                return {"type": "http.disconnect"}

        self.spawn(_handle, app, config, scope, receive, send, trio.to_thread.run_sync, trio.from_thread.run)
        return put


def install(
    server: type[TCPServer] = GuardedTCPServer, task_group: type[TaskGroup] = GuardedTaskGroup
) -> Callable[[], None]:
    """Put the guard in the place of Hypercorn's own classes; return what puts back those it replaced."""
    before = run.TCPServer, tcp_server.TaskGroup  # type: ignore[attr-defined]

    def undo() -> None:
        run.TCPServer, tcp_server.TaskGroup = before  # type: ignore[attr-defined]

    run.TCPServer, tcp_server.TaskGroup = server, task_group  # type: ignore[attr-defined]
    return undo


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        yield from chain.from_iterable(map(_leaves, error.exceptions))
    else:
        yield error


def _where(error: BaseException) -> str:
    """Name an exception and the last lines it came through; its text may quote a request, token and all."""
    walk = traceback.walk_tb(error.__traceback__)
    lines = [f"{frame.f_globals.get('__name__')}:{line}" for frame, line in walk]
    return f"{type(error).__name__} at {' > '.join(lines[-3:])}"

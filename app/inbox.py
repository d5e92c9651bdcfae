"""What a connection tells the app that answers its request."""

from collections.abc import Awaitable, Callable
from contextlib import suppress

import trio
from hypercorn.config import Config
from hypercorn.trio.task_group import TaskGroup, _handle
from hypercorn.typing import AppWrapper, ASGIReceiveEvent, ASGISendEvent, Scope

from app.again import Again, offered


class GuardedTaskGroup(TaskGroup):
    """The tasks of one connection.

    Promise: to tell an app that its client is gone, or its response complete, never waits for the app to read
    the request's body, and frees whoever waits for that. So an early refusal of a large body ends.
    """

    def __init__(self) -> None:
        super().__init__()
        self._scope: Scope | None = None

    def take_offer(self) -> Again | None:
        """Return the app's offer to answer the last request again, once."""
        scope, self._scope = self._scope, None
        return offered(scope) if scope else None

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
                if event["type"] == "http.request" and not event["more_body"]:
                    with suppress(trio.WouldBlock):
                        inbox.send_nowait(event)
                        return
                await inbox.send(event)

        async def receive() -> ASGIReceiveEvent:
            try:
                return await outbox.receive()
            except trio.EndOfChannel:
                return {"type": "http.disconnect"}

        self._scope = scope
        self.spawn(_handle, app, config, scope, receive, send, trio.to_thread.run_sync, trio.from_thread.run)
        return put

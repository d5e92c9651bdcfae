"""When a connection has been idle for too long."""

from math import inf

import trio
from hypercorn.trio.worker_context import TrioSingleTask, WorkerContext


class IdleTimer(TrioSingleTask):
    """Ends the reads of a connection that is idle for too long, or idle when the server stops."""

    def __init__(self, seconds: float, context: WorkerContext) -> None:
        super().__init__()
        self.scope = trio.CancelScope()
        self._seconds = seconds
        self._context = context
        self._idle = True

    async def restart(self, task_group: object, action: object) -> None:  # noqa: ARG002 - Hypercorn's interface
        self.update(idle=True)

    def update(self, *, idle: bool) -> None:
        """Say whether the connection is idle."""
        self._idle = idle
        self.scope.deadline = trio.current_time() + self._seconds if idle else inf
        if self._context.terminated.is_set():
            self.stop_if_idle()

    def prolong(self) -> None:
        """Begin the time anew, as `update` does; a second may be added, for not to move the deadline every time."""
        until = trio.current_time() + self._seconds
        if self.scope.deadline < until:
            self.scope.deadline = until + 1

    def stop_if_idle(self) -> None:
        """End the reads, if the connection is idle: the server stops."""
        if self._idle:
            self.scope.cancel()

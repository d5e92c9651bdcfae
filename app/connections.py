"""How many connections there may be, in all and from one address; the rest is turned away at once."""

import logging
import os
import resource
from collections import Counter
from contextlib import suppress
from time import monotonic
from typing import Any

import trio

from app.addresses import Trusted, client_of
from app.again import Reply, encode
from app.guard import GuardedTCPServer
from app.protocols import refusal
from app.refusals import TooManyConnections

log = logging.getLogger("longhand.server")

TOLD_SECONDS = 60.0
"""How long what a flood causes is told only once."""

FEWEST = 16


class Connections:
    """Counts who is connected.

    Promises: no more than `most` in all and `most_each` from one address (0: no bound); a trusted proxy's address has
    no bound of its own, as many clients share it. Memory is bounded by `most`.
    """

    def __init__(self, most: int, most_each: int, trusted: Trusted) -> None:
        self._most = most
        self._most_each = most_each
        self._trusted = trusted
        self._open: Counter[str] = Counter()
        self._all = 0
        self._told_at = -TOLD_SECONDS

    def enter(self, address: str | None) -> bool:
        """Count a connection in, and say whether there is room for it; where there is none, it is not counted."""
        client = client_of(address)
        full_for_one = self._most_each and self._open[client] >= self._most_each and address not in self._trusted
        if self._all >= self._most or full_for_one:
            self._tell(client if full_for_one else "all")
            return False
        self._open[client] += 1
        self._all += 1
        return True

    def leave(self, address: str | None) -> None:
        client = client_of(address)
        self._all -= 1
        self._open[client] -= 1
        if not self._open[client]:
            del self._open[client]

    def _tell(self, whose: str) -> None:
        if monotonic() >= self._told_at + TOLD_SECONDS:
            self._told_at = monotonic()
            log.warning("connections are turned away: %d are open, the bound of %s is reached", self._all, whose)


class CountedTCPServer(GuardedTCPServer):
    """A guarded connection that counts; one too many is answered with a few bytes and closed, and costs no more."""

    def __init__(self, connections: Connections, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._connections = connections

    async def run(self) -> None:
        stream: Any = self.stream
        plain = isinstance(stream, trio.SocketStream)
        try:
            address = address_of(stream.socket if plain else stream.transport_stream.socket)
        except OSError:  # it has left already
            await trio.aclose_forcefully(stream)
            return
        if self._connections.enter(address):
            try:
                await super().run()
            finally:
                self._connections.leave(address)
        else:
            with suppress(OSError):
                if plain:
                    problem = TooManyConnections()
                    os.write(stream.socket.fileno(), encode(Reply(problem.status, *refusal(problem)), ()))
            await trio.aclose_forcefully(stream)


def address_of(socket: Any) -> str | None:
    """Return the other side's address; None for a Unix socket. Raises OSError where it has left."""
    name = socket.getpeername()
    return name[0] if isinstance(name, tuple) else None


def room(wanted: int, reserve: int) -> int:
    """Return how many connections fit into the files that the process may open, `reserve` left for others.

    The process's soft limit is raised as far as that takes, up to its hard limit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        reserve = min(reserve, hard // 2)
    needed = wanted + reserve
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if soft < needed:
            log.warning(
                "only %d files may be open, so %d connections: raise the limit (ulimit -n)", soft, soft - reserve
            )
            return max(soft - reserve, FEWEST)
    return wanted


class Once(logging.Filter):
    """Lets through one record in `TOLD_SECONDS`, without its traceback."""

    def __init__(self) -> None:
        super().__init__()
        self._told_at = -TOLD_SECONDS

    def filter(self, record: logging.LogRecord) -> bool:
        record.exc_info = None
        if monotonic() < self._told_at + TOLD_SECONDS:
            return False
        self._told_at = monotonic()
        return True

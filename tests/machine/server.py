"""The server over all its runs, and the line to it, which breaks whenever it stops."""

from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import trio

from app.settings import Settings
from tests.forked import Forked, forked
from tests.machine.store import Stored
from tests.service import ADMIN_TOKEN, http_client

TOKENS = {"admin": ADMIN_TOKEN, "somebody": "token-of-somebody"}


@dataclass(eq=False)
class Run:
    """The server from a start to a stop. `ending`: it was told to stop, and may leave anybody without an answer."""

    process: Forked
    http: dict[str, httpx2.AsyncClient]
    ending: bool = False


@dataclass(eq=False)
class Server:
    """A server that is stopped and started at will, always with the same data directory. `run` is the present one."""

    settings: Settings
    log: Path
    stored: Stored
    stack: AsyncExitStack
    run: Run = field(init=False)
    turn: trio.Lock = field(default_factory=trio.Lock)

    async def start(self) -> None:
        process = await self.stack.enter_async_context(forked(self.settings, self.log))
        http = {
            user: await self.stack.enter_async_context(http_client({"Authorization": f"Bearer {token}"}, process.url))
            for user, token in TOKENS.items()
        }
        self.run = Run(process, http)

    async def restart(self, *, kill: bool) -> None:
        """Stop the server, with SIGTERM or with SIGKILL, and start it again."""
        async with self.turn:
            await self.stored.write_down("stop")
            self.run.ending = True
            await (self.run.process.kill() if kill else self.run.process.stop())
            await self.start()
            await self.stored.write_down("start")

    async def ask(self, user: str, method: str, path: str, **more: Any) -> httpx2.Response | None:
        """Send a request. None: the server stopped, and nobody knows what came of it."""
        run = self.run
        try:
            answer = await run.http[user].request(method, path, **more)
        except httpx2.TransportError:
            assert run.ending, "the server closed a connection without an answer"
            return None
        assert answer.status_code < 500 or answer.status_code == 503, answer.text
        if answer.status_code == 503 and answer.json()["code"] == "shutting_down":
            assert run.ending, "the server refuses work, but nobody stopped it"
            return None
        return answer

    async def get(self, path: str, user: str = "admin") -> Any:
        """Return the data of an answer that there must be."""
        answer = await self.ask(user, "GET", path)
        assert answer
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

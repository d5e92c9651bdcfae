"""The stand-in for Claude: a Messages API server that does what the test says."""

import json
import logging
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from hypercorn.typing import Framework

from tests.claude.call import Call, Ending
from tests.claude.exchange import Exchange, Receive, Send, refuse
from tests.claude.script import Chooser, Script
from tests.claude.validation import refusal_of


@dataclass(eq=False)
class FakeClaude:
    """The test's handle, and the server's application.

    `calls` is the journal: every request to the API in the order of arrival, refused ones included. A call
    takes the next of the scripts given to `script`, or `default` where there is none; each may be a function
    of the request's body. `models` are what the Models API tells, by name; one with an `error` is a 401.
    """

    url: str = ""
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    default: Script | Chooser = field(default_factory=Script)
    calls: list[Call] = field(default_factory=list)
    scripts: deque[Script | Chooser] = field(default_factory=deque)
    returned: int = 0
    arrivals: trio.lowlevel.ParkingLot = field(default_factory=trio.lowlevel.ParkingLot, repr=False)

    def script(self, *scripts: Script | Chooser) -> None:
        """Say what to do with the next calls, one each, in order."""
        self.scripts.extend(scripts)

    async def next_call(self) -> Call:
        """Wait for the first call that was not yet returned."""
        while self.returned == len(self.calls):
            await self.arrivals.park()
        self.returned += 1
        return self.calls[self.returned - 1]

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
        elif (scope["method"], scope["path"]) == ("GET", "/journal"):
            await self.show_journal(send)
        elif scope["method"] == "GET" and (name := scope["path"].removeprefix("/v1/models/")) in self.models:
            await self.show_model(self.models[name], send)
        else:
            await self.answer(scope, receive, send)

    async def answer(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        raw = await read_body(receive)
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        refusal = refusal_of(scope["method"], scope["path"], headers, raw)
        call = self.arrive(headers, body_of(raw))
        try:
            if refusal is not None:
                call.ending = Ending.FAULT
                await refuse(call, refusal, send)
            else:
                await Exchange(call, self.chosen(call.body), receive, send).run()
        finally:
            call.finished.set()

    def arrive(self, headers: dict[str, str], body: dict[str, Any]) -> Call:
        number = len(self.calls)
        call = Call(number, f"req_{number:04d}", headers, body)
        self.calls.append(call)
        self.arrivals.unpark_all()
        return call

    def chosen(self, body: dict[str, Any]) -> Script:
        script = self.scripts.popleft() if self.scripts else self.default
        return script if isinstance(script, Script) else script(body)

    async def show_journal(self, send: Send) -> None:
        await send_json(200, [call.journal() for call in self.calls], send)

    async def show_model(self, model: dict[str, Any], send: Send) -> None:
        await send_json(401 if "error" in model else 200, model, send)


async def send_json(status: int, document: object, send: Send) -> None:
    body = json.dumps(document).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def read_body(receive: Receive) -> bytes:
    raw = b""
    while (message := await receive())["type"] == "http.request":
        raw += message["body"]
        if not message["more_body"]:
            break
    return raw


def body_of(raw: bytes) -> dict[str, Any]:
    """Return the request's JSON object; an empty one where there is none."""
    try:
        body = json.loads(raw)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


async def serve_claude(
    claude: FakeClaude, port: int = 0, *, task_status: trio.TaskStatus[FakeClaude] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve on 127.0.0.1 until cancelled; reports the handle, with its URL, once connections are taken."""
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.accesslog = None
    config.errorlog = logging.getLogger("tests.claude")
    config.backlog = 2048
    config.graceful_timeout = 0.1
    async with trio.open_nursery() as nursery:
        (claude.url,) = await nursery.start(partial(serve, cast("Framework", claude), config))
        task_status.started(claude)


@asynccontextmanager
async def claude_server(port: int = 0) -> AsyncIterator[FakeClaude]:
    """Run a stand-in for as long as the block lasts. Streams that are still held then are cut."""
    async with trio.open_nursery() as nursery:
        yield await nursery.start(partial(serve_claude, FakeClaude(), port))
        nursery.cancel_scope.cancel()

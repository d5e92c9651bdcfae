"""The stand-in for Claude in a thread of its own, for tests that are not async."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import trio

from tests.claude import Call, FakeClaude, Script, claude_server, continuing
from tests.claude.script import Chooser

PATIENCE_SECONDS = 30

T = TypeVar("T")


class Gate:
    """Lets the text of the call that comes next through as far as the test says; in place of a script's `hold`."""

    def __init__(self, author: "Author") -> None:
        self._author = author
        self._until: str | None = ""
        self._call: Call | None = None
        self._lot = trio.lowlevel.ParkingLot()

    def is_set(self) -> bool:
        self._call = self._call or self._author.claude.calls[-1]
        return self._until is None or self._until not in self._call.text_sent

    async def wait(self) -> None:
        await self._lot.park()

    def let(self, until: int | str | None = None) -> None:
        """Let text through until a piece of it, or the sentence of this number, was sent; without: all of it."""

        def change() -> None:
            self._until = f"sentence {until} of" if isinstance(until, int) else until
            self._lot.unpark_all()

        self._author.run(change)


@dataclass(eq=False)
class Author:
    """The test's handle on the stand-in: what it does happens in the stand-in's thread."""

    claude: FakeClaude
    token: trio.lowlevel.TrioToken

    @property
    def url(self) -> str:
        return self.claude.url

    def script(self, *scripts: Script | Chooser) -> None:
        """Say what to do with the next calls, one each, in order."""
        self.run(lambda: self.claude.script(*scripts))

    def default(self, script: Script | Chooser) -> None:
        """Say what to do with every call that has no script of its own, and forget the scripts."""

        def change() -> None:
            self.claude.scripts.clear()
            self.claude.default = script

        self.run(change)

    def gated(self, text: str, until: int | str | None = None, **more: Any) -> Gate:
        """Let the next call write a text, going on from what is written, as far as the gate lets it."""
        gate = Gate(self)
        gate.let(until)
        base = Script(pieces=len(text) // 12, hold=cast("trio.Event", gate), ping_seconds=5, **more)
        self.script(continuing(text, base))
        return gate

    def release(self, *holds: trio.Event) -> None:
        """Let calls go on that wait."""
        for hold in holds:
            self.run(hold.set)

    def held(self) -> Call:
        """Wait until the next call waits at its script's hold, and return it."""
        return trio.from_thread.run(self._held, trio_token=self.token)

    def next_call(self) -> Call:
        """Wait for the next call, and return it."""
        return trio.from_thread.run(self._next_call, trio_token=self.token)

    async def _next_call(self) -> Call:
        with trio.fail_after(PATIENCE_SECONDS):
            return await self.claude.next_call()

    async def _held(self) -> Call:
        call = await self._next_call()
        with trio.fail_after(PATIENCE_SECONDS):
            await call.held.wait()
        return call

    def run(self, what: Callable[[], T]) -> T:
        """Do something in the stand-in's thread."""
        return trio.from_thread.run_sync(what, trio_token=self.token)


@contextmanager
def author() -> Iterator[Author]:
    """Run a stand-in for as long as the block lasts."""
    ready: Future[Author] = Future()
    stop = trio.Event()

    async def run() -> None:
        async with claude_server() as claude:
            ready.set_result(Author(claude, trio.lowlevel.current_trio_token()))
            await stop.wait()

    thread = threading.Thread(target=trio.run, args=(run,), name="stand-in")
    thread.start()
    handle = ready.result(PATIENCE_SECONDS)
    try:
        yield handle
    finally:
        trio.from_thread.run_sync(stop.set, trio_token=handle.token)
        thread.join(PATIENCE_SECONDS)

"""Longhand as a process: `python -m app`, with the environment that the test gives it."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import trio

from tests.claude import FakeClaude
from tests.service import ADMIN_TOKEN, Service, http_client, settings_for

ROOT = Path(__file__).parent.parent
PATIENCE_SECONDS = 90
NONE: Mapping[str, str] = {}
SERVING = frozenset({"serve", "bench", "chaos", "app.bench"})
"""What runs servers: they are to be as fast as they are, so their coverage is not measured."""
URL = re.compile(r"Running on (http://\S+)")


@dataclass(eq=False)
class Process:
    """A process that runs. `output` and `errors` are what it has written so far."""

    inner: trio.Process
    output: str = ""
    errors: str = ""
    changed: trio.lowlevel.ParkingLot = field(default_factory=trio.lowlevel.ParkingLot, repr=False)
    ended: trio.Event = field(default_factory=trio.Event)

    async def line(self, text: str) -> str:
        """Wait for a whole line on standard error that contains `text`, and return it."""
        with trio.fail_after(PATIENCE_SECONDS):
            while True:
                for line in self.errors.splitlines(keepends=True):
                    if text in line and line.endswith("\n"):
                        return line.rstrip("\n")
                assert not self.ended.is_set(), f"it ended without {text!r}: {self.errors}"
                await self.changed.park()

    async def url(self) -> str:
        """Wait for the line that says where it serves, and return the URL."""
        found = URL.search(await self.line("Running on http"))
        assert found
        return found[1]

    async def wait(self) -> int:
        """Wait for the end and return the exit code, or the negative number of the signal that ended it."""
        with trio.fail_after(PATIENCE_SECONDS):
            await self.ended.wait()
        assert self.inner.returncode is not None
        return self.inner.returncode

    async def kill(self) -> None:
        """End it as `kill -9` does: at once."""
        self.inner.kill()
        assert await self.wait() == -signal.SIGKILL

    def send(self, number: signal.Signals) -> None:
        self.inner.send_signal(number)

    async def shown(self, text: str, where: str = "errors") -> None:
        """Wait until `text` stands anywhere in what it has written, or in its `output`."""
        with trio.fail_after(PATIENCE_SECONDS):
            while text not in getattr(self, where):
                assert not self.ended.is_set(), f"it ended without {text!r}: {self.errors}{self.output}"
                await self.changed.park()

    async def type(self, text: str) -> None:
        """Type on its terminal, where that is whole."""
        assert isinstance(self.inner.stderr, trio.lowlevel.FdStream)
        await self.inner.stderr.send_all(text.encode())

    async def run(self, stdin: bytes) -> None:
        """Feed it and read it to its end. Who cancels this has to kill it: it is waited for all the same."""
        try:
            async with trio.open_nursery() as nursery:
                if self.inner.stdin is not None:
                    nursery.start_soon(self._write, stdin)
                    nursery.start_soon(self._read, self.inner.stdout, "output")
                nursery.start_soon(self._read, self.inner.stderr, "errors")
        finally:
            with trio.CancelScope(shield=True):
                await self.inner.wait()
        self.ended.set()
        self.changed.unpark_all()

    async def _write(self, stdin: bytes) -> None:
        assert self.inner.stdin is not None
        with suppress(trio.BrokenResourceError):
            async with self.inner.stdin as stream:
                await stream.send_all(stdin)

    async def _read(self, stream: trio.abc.ReceiveStream | None, name: str) -> None:
        assert stream is not None
        content = b""
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):  # so ends a terminal, or a test's reading
            async with stream:
                async for chunk in stream:
                    content += chunk
                    setattr(self, name, content.decode(errors="replace"))
                    self.changed.unpark_all()


def environment(variables: Mapping[str, str], *, measured: bool = False) -> dict[str, str]:
    """Return this process's environment without any setting of Longhand's or of the SDKs', and with `variables`.

    `measured`: where the tests' coverage is measured, the process's is as well; that makes it slower.
    """
    ours = ("LONGHAND_", "ANTHROPIC_", "OTEL_", *([] if measured else ["COVERAGE_"]))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", **variables}


@asynccontextmanager
async def started(
    *arguments: str,
    cwd: Path,
    variables: Mapping[str, str] = NONE,
    module: str = "app",
    stdin: bytes = b"",
    terminal: bool = False,
    whole_terminal: bool = False,
) -> AsyncIterator[Process]:
    """Start `longhand` with these arguments and environment variables; what still runs at the end is killed, children
    included.

    `terminal`: its standard error is one. `whole_terminal`: it runs on one, as it does for a person: Ctrl-C can be
    typed, and all it writes is in `errors`.
    """
    master, slave = os.openpty() if terminal or whole_terminal else (None, None)
    pipe = slave if whole_terminal and slave is not None else subprocess.PIPE
    inner = await trio.lowlevel.open_process(
        [*(["setsid", "--ctty"] if whole_terminal else []), sys.executable, "-m", module, *arguments],
        cwd=cwd,
        env=environment(variables, measured=SERVING.isdisjoint((module, *arguments))),
        stdin=pipe,
        stdout=pipe,
        stderr=slave or subprocess.PIPE,
        start_new_session=not whole_terminal,  # setsid makes one
    )
    if master is not None and slave is not None:
        os.close(slave)
        inner.stderr = trio.lowlevel.FdStream(master)
    process = Process(inner)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run, stdin)
        try:
            yield process
        finally:
            if not process.ended.is_set():
                with suppress(ProcessLookupError):
                    os.killpg(inner.pid, signal.SIGKILL)


async def longhand(
    *arguments: str, cwd: Path, variables: Mapping[str, str] = NONE, stdin: bytes = b""
) -> tuple[int, Process]:
    """Run `longhand` to its end; returns the exit code and the process, for what it wrote."""
    async with started(*arguments, cwd=cwd, variables=variables, stdin=stdin) as process:
        return await process.wait(), process


@dataclass(eq=False)
class Server(Service):
    """A service that is a process."""

    process: Process = field(kw_only=True)


@asynccontextmanager
async def serving(
    data_dir: Path, claude: FakeClaude, *arguments: str, module: str = "app", **variables: str
) -> AsyncIterator[Server]:
    """Run `longhand serve` on a free port; `variables` come on top of those that the other tests use too."""
    usual = {
        "ANTHROPIC_API_KEY": "test-key",
        "ANTHROPIC_BASE_URL": claude.url,
        "LONGHAND_ADMIN_TOKEN": ADMIN_TOKEN,
        "LONGHAND_DRAIN_SECONDS": "0",
    }
    serve = ("serve", "--bind", "127.0.0.1:0", "--data-dir", str(data_dir), *arguments)
    async with started(*serve, cwd=data_dir.parent, variables=usual | variables, module=module) as process:
        url = await process.url()
        async with http_client({"Authorization": f"Bearer {ADMIN_TOKEN}"}, url) as http:
            yield Server(url, settings_for(data_dir, claude.url), claude, http, process=process)

"""The processes of a benchmark: started, listened to, and ended whatever happens."""

import json
import os
import resource
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from app.errors import LonghandError

STOP_SECONDS = 10.0
ROOT = Path(__file__).parent.parent.parent


class BenchFailed(LonghandError):
    """The benchmark could not be run; the text says why."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Which processor cores the server may use, and which the others; None where nothing is pinned."""

    server: frozenset[int] | None
    others: frozenset[int] | None


def choose_cores(*, pin: bool) -> Cores:
    """Give the server the last core and everything else the others; nobody is pinned where there is only one."""
    found = sorted(os.sched_getaffinity(0))
    if not pin or len(found) < 2:
        return Cores(None, None)
    return Cores(frozenset(found[-1:]), frozenset(found[:-1]))


@dataclass(eq=False)
class Child:
    """A process that runs. Lines that are not JSON are kept, the last of them, to be shown when it fails."""

    name: str
    inner: trio.Process
    lines: trio.MemoryReceiveChannel[str]
    last: deque[str] = field(default_factory=lambda: deque(maxlen=15))

    @property
    def pid(self) -> int:
        return self.inner.pid

    async def line(self, sign: str) -> str:
        """Wait for a line that contains `sign` and return it. Raises BenchFailed when the process ends without."""
        async for line in self.lines:
            if sign in line:
                return line
            self.last.append(line)
        raise BenchFailed("\n    ".join([f"The {self.name} ended before its time. It said last:", *self.last]))

    async def message(self) -> dict[str, Any]:
        """Wait for the next message. Raises BenchFailed when the process ends without one."""
        while True:
            with suppress(ValueError):
                message = json.loads(await self.line("{"))
                if isinstance(message, dict):
                    return message

    async def finish(self) -> dict[str, Any]:
        """End the process's standard input, and return what it says then."""
        assert self.inner.stdin is not None
        await self.inner.stdin.aclose()
        return await self.message()


@asynccontextmanager
async def running(
    name: str, arguments: Sequence[str], cwd: Path, environment: Mapping[str, str], cores: frozenset[int] | None
) -> AsyncIterator[Child]:
    """Run `python -m …` for as long as the block lasts; ended then by its own id, by force if it must be."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=cwd,
        env={**environment, "PYTHONPATH": str(ROOT)},
        start_new_session=True,  # Ctrl-C is for the parent, which ends the children
    )
    try:
        if cores:
            os.sched_setaffinity(process.pid, cores)  # before it has any thread
        send, lines = trio.open_memory_channel[str](1_000_000)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_read, process.stdout, send)
            yield Child(name, process, lines)
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await _end(process)


async def _read(stream: trio.abc.ReceiveStream | None, send: trio.MemorySendChannel[str]) -> None:
    assert stream is not None
    rest = b""
    async with send:
        async for data in stream:
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                with suppress(trio.WouldBlock):
                    send.send_nowait(line.decode(errors="replace"))


async def _end(process: trio.Process) -> None:
    process.terminate()
    with trio.move_on_after(STOP_SECONDS):
        await process.wait()
    if process.returncode is None:
        process.kill()
        await process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            await trio.aclose_forcefully(stream)


async def make_certificate(directory: Path) -> Path:
    """Make a self-signed certificate for 127.0.0.1, with its key in the same file. Raises BenchFailed."""
    file = directory / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-addext", "keyUsage=critical,digitalSignature,keyCertSign", "-keyout", str(file), "-out", str(file)]
    try:
        done = await trio.run_process([*command], capture_stdout=True, capture_stderr=True, check=False)
    except OSError as error:
        raise BenchFailed("TLS to the stand-in needs the command openssl. Without it: --no-tls.") from error
    if done.returncode:
        raise BenchFailed(f"openssl made no certificate: {done.stderr.decode().strip()} Without it: --no-tls.")
    return file


def allow_many_files() -> None:
    """Raise the limit of open files for the children as far as it may be."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

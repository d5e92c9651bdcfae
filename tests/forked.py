"""Longhand as a process that is up within a tenth of a second: forked from one that has imported everything.

It is the very server, stopped by a real SIGTERM or killed by a real SIGKILL; only `longhand serve` itself, its
arguments and its environment, are left out (`tests.process` has those).
"""

import logging
import multiprocessing
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import trio

from app.server import load_config, serve
from app.settings import Settings

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.forked_from"])

PATIENCE_SECONDS = 30


@dataclass(eq=False)
class Forked:
    """A server that runs."""

    process: BaseProcess
    url: str

    async def kill(self) -> None:
        """End it as `kill -9` does: at once."""
        self.process.kill()
        assert await self.wait() == -signal.SIGKILL

    async def stop(self) -> None:
        """End it as SIGTERM does: cleanly."""
        self.process.terminate()
        assert await self.wait() == 0

    async def wait(self) -> int:
        """Wait for the end and return the exit code, or the negative number of the signal that ended it."""
        with trio.fail_after(PATIENCE_SECONDS):
            await trio.lowlevel.wait_readable(self.process.sentinel)
        self.process.join()
        assert self.process.exitcode is not None
        return self.process.exitcode


@asynccontextmanager
async def forked(settings: Settings, log: Path) -> AsyncIterator[Forked]:
    """Serve in a process of its own, which writes its log to a file; killed at the end if it still runs then."""
    ours, theirs = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=_run, args=(settings, log, theirs), daemon=True)
    with ours:
        await trio.to_thread.run_sync(process.start)
        theirs.close()
        try:
            with trio.fail_after(PATIENCE_SECONDS):
                await trio.lowlevel.wait_readable(ours.fileno())
            yield Forked(process, ours.recv())
        finally:
            process.kill()
            process.join()
            process.close()


def _run(settings: Settings, log: Path, ready: Connection) -> None:
    logging.basicConfig(filename=log, level=logging.INFO, format="%(process)d %(levelname)s %(message)s")
    trio.run(_serve, settings, ready)


async def _serve(settings: Settings, ready: Connection) -> None:
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            config = load_config(None, "127.0.0.1:0")
            (url,) = await nursery.start(partial(serve, settings, config, None, signals.__anext__))
            ready.send(url)

"""`longhand write` without a server: the very same service, in this process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio

from app.client import Client
from app.directory import DATABASE, REPORTS
from app.files import report_path
from app.models import GenerationId, TopicId
from app.queries import users
from app.saving import NotWritten, check, file_errors, save
from app.server import load_config, serve
from app.settings import Settings
from app.store import open_store
from app.terminal.interruption import Interruption
from app.terminal.show import Show
from app.terminal.writing import Assignment, interruptible, told, written
from app.threads import Threads

__all__ = ["Assignment", "Interruption", "NotWritten", "write_report"]

CANCEL_SECONDS = 10


async def write_report(
    settings: Settings, assignment: Assignment, output: Path | None, show: Show | None = None, *, as_json: bool = False
) -> int:
    """Serve, generate, show progress on standard error, write the file; returns the exit code.

    Ctrl-C and SIGTERM cancel the generation, so that nothing more is spent. Raises NotWritten, before anything is
    spent where the file could not be written anyway.
    """
    show = show or Show()
    threads = Threads(settings.max_threads)
    with file_errors(output):
        await threads.files(check, output)
    async with interruptible() as interruption, service(settings, threads) as (url, token):
        if settings.offline:
            show.say("No ANTHROPIC_API_KEY is set: the built-in offline writer makes a practice draft.")
        async with Client(url, token) as client:
            outcome = await written(client, assignment, show, interruption, None)
    target, status = None, outcome.status
    if status and status.generation_id and outcome.content:
        numbers = TopicId(status.topic_id), GenerationId(status.generation_id)
        kept = report_path(settings.data_dir / REPORTS, *numbers)
        with file_errors(output, f" The report is kept as {kept}."):
            target = await threads.files(save, outcome.content, output, assignment.topic)
    return told(outcome, show, target, as_json=as_json)


@asynccontextmanager
async def service(settings: Settings, threads: Threads) -> AsyncIterator[tuple[str, str]]:
    """Serve on a free port, to this machine alone, and give its address and an access token for this time."""
    stop = trio.Event()
    at_once = settings.model_copy(update={"drain_seconds": 0})
    async with trio.open_nursery() as nursery:
        start = partial(serve, at_once, load_config(None, "127.0.0.1:0"), None, stop.wait)
        (url,) = await nursery.start(start)
        try:
            async with signed_in(settings.data_dir / DATABASE, threads) as token:
                yield url, token
        finally:
            stop.set()


@asynccontextmanager
async def signed_in(database: Path, threads: Threads) -> AsyncIterator[str]:
    """Give an access token of `admin` that is revoked at the end."""
    async with open_store(database, threads) as store:
        token = await store.write(users.admin_token, users.WRITE_LABEL)
        try:
            yield token
        finally:
            with trio.move_on_after(CANCEL_SECONDS, shield=True):
                await store.write(users.end_writing)

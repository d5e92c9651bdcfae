"""`longhand write`: the main job in one command, through the very same service, in this process."""

import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import httpx2
import trio
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from app.directory import DATABASE
from app.errors import LonghandError
from app.queries import users
from app.report import filename
from app.server import load_config, serve
from app.settings import Settings
from app.store import open_database

WAIT_SECONDS = 20
INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it: 128 and the signal's number."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """What to write."""

    topic: str
    plan: str
    language: str
    instructions: str
    model: str | None


class NotWritten(LonghandError):
    """The report did not come about; the text says why."""


async def write_report(settings: Settings, assignment: Assignment, output: Path | None) -> int:
    """Serve, generate, show progress on standard error, write the file; returns the exit code.

    Ctrl-C cancels the generation, so that nothing more is spent.
    """
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if settings.offline:
        console.print("No ANTHROPIC_API_KEY is set: the built-in offline writer makes a practice draft.")
    async with service(settings) as client:
        topic = await _post(client, "/api/topics", _given(assignment, "topic", "plan", "language"))
        await _post(client, f"/api/topics/{topic['id']}/generate", _given(assignment, "instructions", "model"))
        status = await follow(client, f"/api/topics/{topic['id']}", console)
        if status["status"] == "cancelled":
            console.print("Cancelled. Nothing was written.")
            return INTERRUPTED
        if status["status"] != "completed":
            raise NotWritten(f"{status['error_message']} ({status['error_code']}).")
        answer = await client.get(f"/api/artifacts/{status['artifact_id']}/download")
        answer.raise_for_status()
    target = await trio.to_thread.run_sync(save, answer.content, output, assignment.topic)
    console.print(f"Wrote {target}: {status['characters']:,} characters.")
    return 0


@asynccontextmanager
async def service(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    """Serve on a free port, to this machine alone, and give a client that is signed in for this time."""
    stop = trio.Event()
    at_once = settings.model_copy(update={"drain_seconds": 0})
    database = settings.data_dir / DATABASE
    async with trio.open_nursery() as nursery:
        start = partial(serve, at_once, load_config(None, "127.0.0.1:0"), None, stop.wait)
        (url,) = await nursery.start(start)
        try:
            token = await trio.to_thread.run_sync(_sign_in, database)
            headers = {"Authorization": f"Bearer {token}"}
            async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=2 * WAIT_SECONDS) as client:
                yield client
        finally:
            stop.set()


async def follow(client: httpx2.AsyncClient, topic_url: str, console: Console) -> dict[str, Any]:
    """Show the status until the end and return the last one; SIGINT and SIGTERM cancel the generation."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with (
        trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals,
        Progress(*columns, console=console, disable=not console.is_terminal) as progress,
    ):
        bar = progress.add_task("queued", total=100)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_on_signal, client, topic_url, signals)
            status: dict[str, Any] = {"status": "queued"}
            etag = shown = ""
            while status["status"] in {"queued", "generating"}:
                answer = await client.get(
                    f"{topic_url}/status", params={"wait": WAIT_SECONDS}, headers={"If-None-Match": etag}
                )
                if answer.status_code == httpx2.codes.NOT_MODIFIED:
                    continue
                etag, status = answer.headers["etag"], _data(answer)
                progress.update(bar, description=status["phase"], completed=status["progress_percent"])
                if not console.is_terminal and status["phase"] != shown:
                    shown = status["phase"]
                    console.print(f"{shown} ({status['progress_percent']} %)")
            nursery.cancel_scope.cancel()
    return status


def save(content: bytes, output: Path | None, topic: str) -> str:
    """Write the report, whole or not at all, and return where to; without `output` under a name that is free.

    Raises NotWritten when the file cannot be written.
    """
    if output == Path("-"):
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return "to standard output"
    target = output or _free(Path(filename(topic)))
    beside = target.with_name(f".{target.name}.part")
    try:
        beside.write_bytes(content)
        beside.replace(target)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise NotWritten(
            f"{target} cannot be written: {error.strerror}. The report is kept in the data directory."
        ) from error
    return str(target)


async def _cancel_on_signal(client: httpx2.AsyncClient, topic_url: str, signals: AsyncIterator[int]) -> None:
    async for _ in signals:
        await client.post(f"{topic_url}/cancel")


async def _post(client: httpx2.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    return _data(await client.post(path, json=body))


def _data(answer: httpx2.Response) -> dict[str, Any]:
    document = answer.json()
    if not answer.is_success:
        faults = "; ".join(f"{fault['pointer'][1:]}: {fault['detail']}" for fault in document.get("errors", ()))
        raise NotWritten(faults or document["detail"])
    data: dict[str, Any] = document["data"]
    return data


def _given(assignment: Assignment, *names: str) -> dict[str, Any]:
    return {name: getattr(assignment, name) for name in names if getattr(assignment, name) is not None}


def _sign_in(database: Path) -> str:
    with closing(open_database(database)) as db, db.atomic():
        return users.admin_token(db, users.WRITE_LABEL)


def _free(path: Path) -> Path:
    """Return the path, or the first of `name 2.md`, `name 3.md` … that is not taken."""
    candidates = (path.with_stem(f"{path.stem} {number}") for number in count(2))
    return path if not path.exists() else next(other for other in candidates if not other.exists())

"""`longhand write`: the main job in one command, through the very same service, in this process."""

import errno
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain, count
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import httpx2
import trio
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from app.directory import DATABASE, REPORTS
from app.errors import LonghandError
from app.files import report_path
from app.queries import users
from app.report import filename
from app.server import load_config, serve
from app.settings import Settings
from app.store import open_store
from app.threads import Threads

WAIT_SECONDS = 20
CANCEL_SECONDS = 10
STANDARD_OUTPUT = Path("-")


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


@dataclass(eq=False)
class Interruption:
    """Ctrl-C or SIGTERM: cancels what runs in `scope`. `exit_code` is what shells expect then."""

    scope: trio.CancelScope
    exit_code: int = 0

    async def listen(self, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            self.exit_code = self.exit_code or 128 + number
            self.scope.cancel()


async def write_report(settings: Settings, assignment: Assignment, output: Path | None) -> int:
    """Serve, generate, show progress on standard error, write the file; returns the exit code.

    Ctrl-C and SIGTERM cancel the generation, so that nothing more is spent. Raises NotWritten, before anything is
    spent where the file could not be written anyway.
    """
    console = Console(stderr=True, markup=False, emoji=False, highlight=False, soft_wrap=True)
    threads = Threads(settings.max_threads)
    with _file_errors(output):
        await threads.files(check, output)
    interruption = Interruption(trio.CancelScope())
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(interruption.listen, signals)
            async with service(settings, threads) as client:
                if settings.offline:
                    console.print("No ANTHROPIC_API_KEY is set: the built-in offline writer makes a practice draft.")
                with interruption.scope:
                    status, content = await generate(client, assignment, console)
            nursery.cancel_scope.cancel()
    if interruption.scope.cancelled_caught:
        console.print("Cancelled. Nothing was written.")
        return interruption.exit_code
    kept = report_path(settings.data_dir / REPORTS, status["topic_id"], status["generation_id"])
    with _file_errors(output, f" The report is kept as {kept}."):
        target = await threads.files(save, content, output, assignment.topic)
    console.print(f"Wrote {target}: {status['characters']:,} characters.")
    return 0


@asynccontextmanager
async def service(settings: Settings, threads: Threads) -> AsyncIterator[httpx2.AsyncClient]:
    """Serve on a free port, to this machine alone, and give a client that is signed in for this time."""
    stop = trio.Event()
    at_once = settings.model_copy(update={"drain_seconds": 0})
    async with trio.open_nursery() as nursery:
        start = partial(serve, at_once, load_config(None, "127.0.0.1:0"), None, stop.wait)
        (url,) = await nursery.start(start)
        try:
            async with (
                signed_in(settings.data_dir / DATABASE, threads) as headers,
                httpx2.AsyncClient(base_url=url, headers=headers, timeout=2 * WAIT_SECONDS, trust_env=False) as client,
            ):
                yield client
        finally:
            stop.set()


@asynccontextmanager
async def signed_in(database: Path, threads: Threads) -> AsyncIterator[dict[str, str]]:
    """Give the headers of a request by `admin`, with an access token that is revoked at the end."""
    async with open_store(database, threads) as store:
        token = await store.write(users.admin_token, users.WRITE_LABEL)
        try:
            yield {"Authorization": f"Bearer {token}"}
        finally:
            with trio.move_on_after(CANCEL_SECONDS, shield=True):
                await store.write(users.end_writing)


async def generate(
    client: httpx2.AsyncClient, assignment: Assignment, console: Console
) -> tuple[dict[str, Any], bytes]:
    """Have the report written, and return the last status and the report. Cancels the generation when cancelled.

    Raises NotWritten.
    """
    topic = await _post(client, "/api/topics", _given(assignment, "topic", "plan", "language"))
    topic_url = f"/api/topics/{topic['id']}"
    try:
        await _post(client, f"{topic_url}/generate", _given(assignment, "instructions", "model"))
        status = await follow(client, topic_url, console)
    except BaseException:  # nobody waits for the report any more, so nothing more is spent on it
        with trio.move_on_after(CANCEL_SECONDS, shield=True), suppress(httpx2.HTTPError):
            await client.post(f"{topic_url}/cancel")
        raise
    if status["status"] != "completed":
        failed = status["status"] == "failed"
        raise NotWritten(f"{status['error_message']} ({status['error_code']})." if failed else "Cancelled.")
    answer = await client.get(f"/api/artifacts/{status['artifact_id']}/download")
    answer.raise_for_status()
    return status, answer.content


async def follow(client: httpx2.AsyncClient, topic_url: str, console: Console) -> dict[str, Any]:
    """Show the status until the end and return the last one: as a bar on a terminal, otherwise as lines."""
    columns = (TextColumn("{task.description:<9}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("queued", total=100)
        etag, shown = "", ("", 0)
        while True:
            answer = await client.get(
                f"{topic_url}/status", params={"wait": WAIT_SECONDS}, headers={"If-None-Match": etag}
            )
            if answer.status_code == httpx2.codes.NOT_MODIFIED:
                continue
            etag, status = answer.headers["etag"], _data(answer)
            unfinished = status["status"] in {"queued", "generating"}
            step, percent = status["phase"] if unfinished else status["status"], status["progress_percent"]
            progress.update(bar, description=step, completed=percent)
            if not console.is_terminal and shown != (step, percent // 10):
                shown = (step, percent // 10)
                console.print(f"{step} ({percent} %)")
            if not unfinished:
                return status


def check(output: Path | None) -> None:
    """Raise OSError where the report could not be written as things are now."""
    if output is not None and _is_special(output):
        return
    target = (output or Path("report.md")).resolve()
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    with TemporaryFile(dir=target.parent):
        pass


def save(content: bytes, output: Path | None, topic: str) -> str:
    """Write the report, whole or not at all, and return where to; without `output` under a name that is free.

    Raises OSError.
    """
    if output == STANDARD_OUTPUT:
        with open(sys.stdout.fileno(), "wb", closefd=False) as stream:  # not `sys.stdout`: it would try again at exit
            stream.write(content)
        return "to standard output"
    if output is not None:
        _write(output, content)
        return str(output)
    target = _take_name(Path(filename(topic)))
    try:
        _write(target, content)
    except OSError:
        target.unlink(missing_ok=True)
        raise
    return str(target)


@contextmanager
def _file_errors(output: Path | None, more: str = "") -> Iterator[None]:
    name = "Standard output" if output == STANDARD_OUTPUT else output or "The current directory"
    try:
        yield
    except OSError as error:
        raise NotWritten(f"{name} cannot be written: {error.strerror}.{more}") from error


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


def _is_special(path: Path) -> bool:
    """Tell what is written to but never replaced: standard output, a device, a pipe."""
    return path == STANDARD_OUTPUT or (path.exists() and not path.is_file() and not path.is_dir())


def _write(path: Path, content: bytes) -> None:
    if _is_special(path):
        path.write_bytes(content)
        return
    target = path.resolve()  # what a link points to is replaced, not the link
    beside = target.with_name(f".{target.name}.part")
    try:
        beside.write_bytes(content)
        beside.replace(target)
    except OSError:
        with suppress(OSError):
            beside.unlink()
        raise


def _take_name(path: Path) -> Path:
    """Take a name that is free: the path, or the first of `name 2.md`, `name 3.md` … that is not there."""
    for candidate in chain([path], (path.with_stem(f"{path.stem} {number}") for number in count(2))):
        with suppress(FileExistsError):
            candidate.touch(exist_ok=False)
            break
    return candidate

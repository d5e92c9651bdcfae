"""The service as a test starts it: the real server on a real port, with the stand-in in Claude's place."""

import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import trio

from app.directory import DATABASE, REPORTS
from app.errors import Problem
from app.server import load_config, serve
from app.settings import Settings, load_settings
from tests.claude import FakeClaude

ADMIN_TOKEN = "admin-token-of-the-tests"
GRACE_SECONDS = load_config(None, None).graceful_timeout
"""What a stop would take that waited for a connection."""
UNFINISHED = {"queued", "generating"}


@dataclass(eq=False)
class Service:
    """A running service; `http` is signed in as admin. `stop` is a first signal, `hurry` a second."""

    url: str
    settings: Settings
    claude: FakeClaude
    http: httpx2.AsyncClient
    stop: trio.Event = field(default_factory=trio.Event)
    hurry: trio.Event = field(default_factory=trio.Event)
    stopped: trio.Event = field(default_factory=trio.Event)

    def client(self, token: str | None) -> httpx2.AsyncClient:
        """Make another client, signed in with `token`; the caller closes it."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return http_client(headers, self.url)

    async def topic(self, topic: str = "A topic", **more: Any) -> int:
        """Add a topic and return its id."""
        answer = await self.http.post("/api/topics", json={"topic": topic, **more})
        assert answer.status_code == 201, answer.text
        return int(answer.json()["data"]["id"])

    async def generate(self, topic_id: int, **more: Any) -> dict[str, Any]:
        """Start a generation and return what the 202 says."""
        answer = await self.http.post(f"/api/topics/{topic_id}/generate", json=more)
        assert answer.status_code == 202, answer.text
        data: dict[str, Any] = answer.json()["data"]
        return data

    async def status(self, topic_id: int) -> dict[str, Any]:
        answer = await self.http.get(f"/api/topics/{topic_id}/status")
        assert answer.status_code == 200, answer.text
        data: dict[str, Any] = answer.json()["data"]
        return data

    async def wait_for(self, topic_id: int, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Follow a topic's status by long polls until it fits, and return it."""
        etag = ""
        with trio.fail_after(30):
            while True:
                answer = await self.http.get(
                    f"/api/topics/{topic_id}/status", params={"wait": 20}, headers={"If-None-Match": etag}
                )
                if answer.status_code == 304:
                    continue
                etag, data = answer.headers["etag"], answer.json()["data"]
                if fits(data):
                    found: dict[str, Any] = data
                    return found

    async def wait_until(self, topic_id: int, *words: str, phase: str | None = None) -> dict[str, Any]:
        """Wait until a topic's status is one of these (and in this phase), and return it."""
        return await self.wait_for(topic_id, lambda data: data["status"] in words and phase in {None, data["phase"]})

    async def wait_for_characters(self, topic_id: int, characters: int) -> dict[str, Any]:
        """Wait until the status tells of so many characters, and return it."""
        return await self.wait_for(topic_id, lambda data: data["characters"] >= characters)

    async def ended(self, topic_id: int) -> dict[str, Any]:
        """Wait for the end of a topic's generation and return the last status."""
        return await self.wait_until(topic_id, "completed", "failed", "cancelled")

    async def rows(self, sql: str, **parameters: object) -> list[dict[str, Any]]:
        """Run a statement in the database behind the service's back, as another process may."""

        def run() -> list[dict[str, Any]]:
            with closing(sqlite3.connect(self.settings.data_dir / DATABASE, isolation_level=None)) as db:
                db.row_factory = sqlite3.Row
                return [dict(row) for row in db.execute(sql, parameters)]

        return await trio.to_thread.run_sync(run)

    def files(self) -> list[str]:
        """Return the names of all report files, unfinished and hidden ones included."""
        reports = self.settings.data_dir / REPORTS
        return sorted(str(path.relative_to(reports)) for path in reports.rglob("*") if not path.is_dir())

    async def shut_down(self) -> None:
        """Stop the service as SIGTERM does, and wait until it is gone."""
        self.stop.set()
        with trio.fail_after(30):
            await self.stopped.wait()


def settings_for(data_dir: Path, claude_url: str, **more: object) -> Settings:
    """Make settings as the environment would: `more` are variables without their prefix, such as max_queued=1."""
    variables = {
        "ANTHROPIC_API_KEY": "test-key",
        "ANTHROPIC_BASE_URL": claude_url,
        "LONGHAND_DATA_DIR": str(data_dir),
        "LONGHAND_ADMIN_TOKEN": ADMIN_TOKEN,
        "LONGHAND_DRAIN_SECONDS": "0",
    }
    return load_settings(variables | {f"LONGHAND_{name.upper()}": str(value) for name, value in more.items()})


def http_client(headers: dict[str, str], base_url: str = "") -> httpx2.AsyncClient:
    """Make a client without certificates: there is no TLS here, and to load them blocks the loop for some 50 ms."""
    return httpx2.AsyncClient(base_url=base_url, headers=headers, timeout=30, verify=False)


@asynccontextmanager
async def locked_database(data_dir: Path) -> AsyncIterator[None]:
    """Keep everyone else from writing to the database, as another process may."""
    with closing(sqlite3.connect(data_dir / DATABASE, check_same_thread=False, isolation_level=None)) as db:
        await trio.to_thread.run_sync(db.execute, "BEGIN EXCLUSIVE")
        yield
        db.rollback()


@asynccontextmanager
async def running(claude: FakeClaude, settings: Settings) -> AsyncIterator[Service]:
    """Run the service for as long as the block lasts, unless it is shut down before; none of its answers is a bug's."""
    async with http_client({"Authorization": f"Bearer {ADMIN_TOKEN}"}) as http:
        service = Service("", settings, claude, http)

        with _bugs_of_answers() as bugs:
            async with trio.open_nursery() as nursery:
                (service.url,) = await nursery.start(_serve, service)
                http.base_url = httpx2.URL(service.url)
                yield service
                service.stop.set()
        assert not bugs, bugs


async def _serve(service: Service, *, task_status: trio.TaskStatus[list[str]]) -> None:  # noqa: ASYNC128
    asked = 0

    async def wait_for_stop() -> None:
        nonlocal asked
        asked += 1
        await (service.stop if asked == 1 else service.hurry).wait()

    config = load_config(None, "127.0.0.1:0")
    try:
        await serve(service.settings, config, None, wait_for_stop, task_status=task_status)
    finally:
        service.stopped.set()


@contextmanager
def _bugs_of_answers() -> Iterator[list[str]]:
    """Gather the requests that failed with what nobody expected, where no test may look at the answer."""
    bugs: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info and not isinstance(record.exc_info[1], Problem):
                bugs.append(f"{record.getMessage()}: {record.exc_info[1]!r}")

    logger, listener = logging.getLogger("longhand.problems"), Listener()
    logger.addHandler(listener)
    try:
        yield bugs
    finally:
        logger.removeHandler(listener)


@contextmanager
def logged(name: str, text: str) -> Iterator[trio.Event]:
    """Give an event that is set when a logger logs a line with this text."""
    found = trio.Event()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if text in record.getMessage():
                found.set()

    logger, listener = logging.getLogger(name), Listener()
    level = logger.level
    logger.addHandler(listener)
    logger.setLevel(logging.INFO)
    try:
        yield found
    finally:
        logger.removeHandler(listener)
        logger.setLevel(level)

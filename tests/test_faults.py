"""Faults of the machine: each is told plainly, nothing is lost, and it is over by itself when the fault is gone."""

import os
import resource
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio

from app.directory import REPORTS
from app.files import TRASH
from tests.claude import FakeClaude, Fault, Script, numbered_text
from tests.conftest import Start
from tests.disk import Disk, mounted
from tests.process import Server, longhand, serving
from tests.routes.client import connect, problem
from tests.service import ADMIN_TOKEN, Service

LONG = numbered_text(4000)
"""A report that takes more room than is left."""

LEFT = "SELECT (SELECT COUNT(*) FROM artifacts) AS artifacts, (SELECT COUNT(*) FROM messages) AS messages"
LAST = 42
"""The place where the whole text has come and only `message_stop` is missing."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A small disk that holds all that is kept."""
    with mounted(tmp_path / "data") as small:
        yield small


@pytest.fixture
def reports(tmp_path: Path) -> Iterator[Disk]:
    """A small disk that holds the report files alone."""
    with mounted(tmp_path / "data" / REPORTS) as small:
        yield small


async def running(service: Service, go: trio.Event, script: Script) -> int:
    """Start a generation whose whole text has come, and which ends at `go`."""
    service.claude.script(script)
    topic_id = await service.topic()
    await service.generate(topic_id)
    await (await service.claude.next_call()).held.wait()
    return topic_id


async def completed(service: Service) -> int:
    topic_id = await service.topic()
    await service.generate(topic_id)
    assert (await service.ended(topic_id))["status"] == "completed"
    await service.claude.next_call()
    return topic_id


async def history(service: Service, topic_id: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await service.http.get(f"/api/topics/{topic_id}/generations")).json()["data"]
    return found


async def download(service: Service, topic_id: int) -> httpx2.Response:
    artifact_id = (await service.status(topic_id))["artifact_id"]
    return await service.http.get(f"/api/artifacts/{artifact_id}/download")


async def recorded(service: Service, status: str) -> None:
    """Wait until the store says so of the latest generation."""
    with trio.fail_after(30):
        while (await service.rows("SELECT status FROM generations ORDER BY id DESC"))[0]["status"] != status:
            pass


async def test_a_full_disk_fails_what_runs_and_refuses_what_comes_until_there_is_room_again(
    disk: Disk, start: Start
) -> None:
    go = trio.Event()
    async with start() as service:
        old, idle = await completed(service), await service.topic()
        topic_id = await running(service, go, Script(hold=go, hold_at=LAST))

        disk.fill()
        go.set()
        shown = await service.ended(topic_id)
        ready = await service.http.get("/readyz")
        refused = [
            await service.http.post("/api/topics", json={"topic": "One more"}),
            await service.http.post(f"/api/topics/{idle}/generate"),
            await service.http.patch(f"/api/topics/{idle}", json={"topic": "Another name"}),
            await service.http.delete(f"/api/topics/{old}"),
        ]
        others = [(await service.status(other))["status"] for other in (old, idle)]
        readable = await download(service, old)
        files = service.files()
        disk.free()
        await recorded(service, "failed")
        left = await service.rows(LEFT)
        ready_again = await service.http.get("/readyz")
        for again in (topic_id, idle):
            await service.generate(again)
            await service.ended(again)

        assert (shown["status"], shown["error_code"]) == ("failed", "database")
        assert await history(service, topic_id) == [await service.status(topic_id), shown]
        problem(ready, 503, "not_ready")
        for answer in refused:
            problem(answer, 503, "database")
        assert others == ["completed", "idle"]
        assert readable.status_code == 200
        assert files == ["1/1.md"]
        assert left == [{"artifacts": 1, "messages": 2}]
        assert ready_again.status_code == 200
        assert [(await service.status(again))["status"] for again in (topic_id, idle)] == ["completed"] * 2
        assert len(service.files()) == 3


async def test_a_full_disk_for_reports_leaves_no_half_of_one_and_the_text_is_saved_when_there_is_room(
    reports: Disk, start: Start
) -> None:
    async with start() as service:
        service.claude.default = Script(text=LONG)
        topic_id = await service.topic()

        reports.fill(but=4)
        await service.generate(topic_id)
        shown = await service.ended(topic_id)
        files, left = service.files(), await service.rows(LEFT)
        reports.free()
        calls = len(service.claude.calls)
        await service.generate(topic_id, resume=True)
        await service.ended(topic_id)

        assert (shown["status"], shown["error_code"]) == ("failed", "file_system")
        assert files == ["ballast"]
        assert left == [{"artifacts": 0, "messages": 0}]
        assert (await download(service, topic_id)).text == LONG.strip() + "\n"
        assert len(service.claude.calls) == calls


async def test_a_read_only_disk_for_reports_changes_nothing_until_it_can_be_written_again(
    reports: Disk, start: Start
) -> None:
    async with start() as service:
        old, topic_id = await completed(service), await service.topic()

        reports.make_read_only()
        await service.generate(topic_id)
        shown = await service.ended(topic_id)
        delete = await service.http.delete(f"/api/topics/{old}")
        readable = await download(service, old)
        files, left = service.files(), await service.rows(LEFT)
        reports.make_writable()
        deleted = await service.http.delete(f"/api/topics/{old}")
        await service.generate(topic_id, resume=True)
        await service.ended(topic_id)

        assert (shown["status"], shown["error_code"]) == ("failed", "file_system")
        problem(delete, 503, "file_system")
        assert int(delete.headers["retry-after"]) > 0
        assert readable.status_code == 200
        assert files == ["1/1.md"]
        assert left == [{"artifacts": 1, "messages": 2}]
        assert deleted.status_code == 204
        assert (await service.status(topic_id))["status"] == "completed"
        assert service.files() == [f"{topic_id}/3.md"]


async def test_a_report_that_cannot_be_read_is_told_as_such(service: Service) -> None:
    topic_id = await completed(service)
    path = service.settings.data_dir / REPORTS / "1" / "1.md"

    content = path.read_bytes()
    path.unlink()
    path.mkdir()
    refused = await download(service, topic_id)
    path.rmdir()
    path.write_bytes(content)

    problem(refused, 503, "file_system")
    assert (await download(service, topic_id)).content == content


async def test_what_could_not_be_removed_of_a_report_is_removed_when_its_end_is_recorded(service: Service) -> None:
    topic_id = await service.topic()
    part = service.settings.data_dir / REPORTS / str(topic_id) / ".1.md.part"
    part.mkdir(parents=True)
    await service.rows(
        "CREATE TRIGGER refuse BEFORE UPDATE OF status ON generations BEGIN SELECT RAISE(ABORT, ''); END"
    )

    await service.generate(topic_id)
    shown = await service.ended(topic_id)
    part.rmdir()
    part.write_text("# Half a rep")
    await service.rows("DROP TRIGGER refuse")
    await recorded(service, "failed")

    assert shown["error_code"] == "file_system"
    assert service.files() == []


async def test_a_start_on_a_disk_that_cannot_be_written_ends_with_one_plain_line(disk: Disk, tmp_path: Path) -> None:
    serve = ("serve", "--bind", "127.0.0.1:0", "--data-dir", str(disk.path))
    variables = {"LONGHAND_ADMIN_TOKEN": "a-token-of-this-test"}

    disk.fill()
    full = await longhand(*serve, cwd=tmp_path, variables=variables)
    disk.free()
    disk.make_read_only()
    read_only = await longhand(*serve, cwd=tmp_path, variables=variables)

    told = "cannot be opened for writing: database or disk is full.", "cannot be written: Read-only file system."
    for (code, process), reason in zip((full, read_only), told, strict=True):
        assert code == 1
        assert process.errors.count("\n") == 1
        assert reason in process.errors


async def test_a_start_that_cannot_end_a_deletion_ends_with_one_plain_line_and_a_later_one_ends_it(
    reports: Disk, claude: FakeClaude, tmp_path: Path
) -> None:
    data_dir = tmp_path / "data"
    async with serving(data_dir, claude) as server:
        kept = await completed(server)
    (reports.path / TRASH).mkdir()
    (reports.path / str(kept)).rename(reports.path / TRASH / str(kept))  # as a crash leaves it in mid-deletion

    reports.make_read_only()
    code, process = await longhand("serve", "--bind", "127.0.0.1:0", "--data-dir", str(data_dir), cwd=tmp_path)
    reports.make_writable()
    async with serving(data_dir, claude) as server:
        readable = await download(server, kept)

    assert code == 1
    assert process.errors.splitlines()[-1].endswith("cannot be used: Read-only file system.")
    assert "Traceback" not in process.errors
    assert readable.status_code == 200


def limit(server: Server, kind: int, value: int) -> None:
    """Lower one of a server's limits from now on."""
    _, most = resource.prlimit(server.process.inner.pid, kind)
    resource.prlimit(server.process.inner.pid, kind, (value, most))


async def test_a_server_without_file_descriptors_keeps_whom_it_has_and_takes_more_when_some_are_free(
    tmp_path: Path, claude: FakeClaude
) -> None:
    go = trio.Event()
    async with serving(tmp_path / "data", claude, LONGHAND_BACKOFF_SECONDS="0.01") as server:
        old, idle = await completed(server), await server.topic()
        topic_id = await running(server, go, Script(hold=go, hold_at=LAST))

        limit(server, resource.RLIMIT_NOFILE, descriptors(server) + 4)
        async with AsyncExitStack() as crowd:
            for _ in range(40):  # more than wait their few seconds for a request while this lasts
                await crowd.enter_async_context(await connect(server))
            await server.process.line("EMFILE")
            shown = [(await server.status(other))["status"] for other in (old, idle, topic_id)]
            go.set()
            ended = await server.ended(topic_id)
            refused = await download(server, old)
        async with server.client(ADMIN_TOKEN) as newcomer:
            answer = await newcomer.get("/readyz")
        for again in (topic_id, idle):
            await server.generate(again)
            await server.ended(again)

        assert shown == ["completed", "idle", "generating"]
        assert (ended["status"], ended["error_code"]) == ("failed", "file_system")
        problem(refused, 503, "file_system")
        assert answer.status_code == 200
        assert [(await server.status(again))["status"] for again in (topic_id, idle)] == ["completed"] * 2
        assert len(server.files()) == 3
        assert server.process.errors.count("EMFILE") == 1
        assert "in _serve_one_listener" not in server.process.errors


def descriptors(server: Server) -> int:
    """Return how many file descriptors a server has open."""
    return len(list(Path(f"/proc/{server.process.inner.pid}/fd").iterdir()))


def memory(server: Server) -> int:
    """Return the bytes of a server's address space."""
    pages = Path(f"/proc/{server.process.inner.pid}/statm").read_text(encoding="ascii").split()[0]
    return int(pages) * resource.getpagesize()


async def test_a_request_that_finds_no_memory_takes_nobody_else_down(tmp_path: Path, claude: FakeClaude) -> None:
    go = trio.Event()
    async with serving(tmp_path / "data", claude) as server:
        old = await completed(server)
        topic_id = await running(server, go, Script(hold=go, hold_at=LAST))
        report = server.settings.data_dir / REPORTS / str(old) / "1.md"
        content = report.read_bytes()

        limit(server, resource.RLIMIT_AS, memory(server) + 2**28)
        os.truncate(report, 2**33)  # more than there is, of which the disk holds nothing
        refused = await download(server, old)
        os.truncate(report, len(content))
        readable = await download(server, old)
        go.set()
        ended = await server.ended(topic_id)

        problem(refused, 500, "internal")
        assert readable.content == content
        assert ended["status"] == "completed"


def set_clock(clock: Path, days: int) -> None:
    beside = clock.with_suffix(".part")
    beside.write_text(str(days * 24 * 3600))
    beside.replace(clock)


@pytest.mark.parametrize("days", [-30, 30])
async def test_a_wall_clock_that_jumps_neither_ends_nor_prolongs_anything(
    tmp_path: Path, claude: FakeClaude, days: int
) -> None:
    clock, go = tmp_path / "clock", trio.Event()
    changes: list[httpx2.Response] = []
    set_clock(clock, 0)
    async with serving(
        tmp_path / "data", claude, module="tests.jumping", CLOCK=str(clock), LONGHAND_CLAUDE_TIMEOUT="2"
    ) as server:
        topic_id = await running(server, go, Script(hold=go, ping_seconds=0.2, hold_at=LAST))
        known = (await server.http.get(f"/api/topics/{topic_id}/status")).headers["etag"]
        order = {"Idempotency-Key": "once"}
        silent = await server.topic()

        async def wait() -> None:
            url = f"/api/topics/{topic_id}/status?wait=60"
            changes.append(await server.http.get(url, headers={"If-None-Match": known}))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            server.claude.script(Script(fault=Fault.SILENCE))
            first = await server.http.post(f"/api/topics/{silent}/generate", headers=order)
            set_clock(clock, days)
            told = await server.ended(silent)
            meanwhile = await server.status(topic_id)
            go.set()
        ended, later = await server.ended(topic_id), await completed(server)
        set_clock(clock, 0)
        again = await server.http.post(f"/api/topics/{silent}/generate", headers=order)
        listed = (await server.http.get("/api/topics")).json()["data"]

        assert (told["error_code"], meanwhile["status"], ended["status"]) == (
            "claude_timeout",
            "generating",
            "completed",
        )
        assert [change.status_code for change in changes] == [200]
        assert again.json() == first.json()
        assert [topic["id"] for topic in listed] == [later, silent, topic_id]

"""The log: what its lines say, that nobody waits for them, and what becomes of those that cannot be written."""

import fcntl
import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from app import logs
from app.logs import MAX_LINES, Format, bind, dropped_lines, open_logs
from app.redact import MASK, Redactor
from tests.claude import FakeClaude, Script
from tests.process import serving

SECRET = "a-secret-of-the-tests"
REDACT = Redactor([SECRET])

log = logging.getLogger("longhand.tests")


@pytest.fixture(autouse=True)
def _own_names() -> Iterator[None]:
    """Leave no names behind for other tests."""
    token = logs._bound.set({})
    yield
    logs._bound.reset(token)


@contextmanager
def written(path: Path, form: Format = "json", level: str = "info") -> Iterator[None]:
    """Write the log into a file for as long as the block lasts."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        with open_logs(fd, form, level, REDACT):
            yield
    finally:
        os.close(fd)


def handler() -> logs.QueueingHandler:
    return next(found for found in logging.getLogger().handlers if isinstance(found, logs.QueueingHandler))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_line_of_json_says_what_when_where_and_for_whom(tmp_path: Path) -> None:
    with written(tmp_path / "log"):
        bind(topic=1, generation=2)
        bind(attempt=3)
        log.info("보고서 %s", "text", extra={"fields": {"status": 200}})

    (line,) = lines(tmp_path / "log")
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "info", "logger": "longhand.tests", "event": "보고서 text",
        "topic": 1, "generation": 2, "attempt": 3, "status": 200,
    }  # fmt: skip


def test_a_traceback_is_part_of_its_line(tmp_path: Path) -> None:
    with written(tmp_path / "log"):
        try:
            raise LookupError(f"it says {SECRET}")
        except LookupError:
            log.exception("It failed with %s", SECRET)

    (line,) = lines(tmp_path / "log")
    assert line["event"] == f"It failed with {MASK}"
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith(f"LookupError: it says {MASK}")


def test_a_console_line_repeats_nothing_and_moves_no_cursor(tmp_path: Path) -> None:
    with written(tmp_path / "log", "console"):
        bind(topic=1, user="\x1b[2J")
        log.info("[BACKGROUND] topic=%s\nforged line \x1b[31m", 1)
        try:
            raise LookupError("\x1b[31m")
        except LookupError:
            log.exception("It failed")

    text = (tmp_path / "log").read_text()
    assert text.count("topic=1") == 2
    assert "\\x0aforged line \\x1b[31m" in text
    assert "\x1b" not in text
    assert "\nLookupError: \\x1b[31m\n" in text


def test_our_own_lines_are_written_from_the_level_on_and_those_of_libraries_from_warning_on(tmp_path: Path) -> None:
    with written(tmp_path / "log", level="debug"):
        log.debug("ours")
        logging.getLogger("httpx2").info("theirs, with a request in it")
        logging.getLogger("httpx2").warning("theirs")
    with written(tmp_path / "quiet", level="error"):
        log.warning("ours")
        logging.getLogger("httpx2").warning("theirs")

    assert [line["event"] for line in lines(tmp_path / "log")] == ["ours", "theirs"]
    assert lines(tmp_path / "quiet") == []


def test_what_is_logged_last_is_written_before_the_end(tmp_path: Path) -> None:
    with written(tmp_path / "log"):
        for number in range(3000):
            log.info("line %d", number)

    assert [line["event"] for line in lines(tmp_path / "log")] == [f"line {number}" for number in range(3000)]


def test_a_line_that_cannot_be_made_ends_nothing_and_shows_nothing(tmp_path: Path) -> None:
    with written(tmp_path / "log", "console"):
        for message, arguments in (
            ("%d", (SECRET,)),
            ("half of a character: \\ud83d", ()),
        ):  # pytest could send neither on
            handler().emit(logging.LogRecord("longhand.tests", logging.INFO, "", 0, message, arguments, None))
        log.info("after it")

    text = (tmp_path / "log").read_text()
    assert "A line of longhand.tests could not be made: TypeError" in text
    assert "half of a character: \\ud83d" in text
    assert "after it" in text
    assert SECRET not in text


def test_whoever_logs_never_waits_and_what_is_dropped_is_counted_and_told() -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    text = b""
    done = threading.Event()

    def read() -> None:
        nonlocal text
        with os.fdopen(reader, "rb") as pipe:
            text = pipe.read()
        done.set()

    with closing(os.fdopen(writer, "wb")), open_logs(writer, "console", "info", REDACT):
        for number in range(2 * MAX_LINES):  # nobody reads yet, so this would never end if it waited
            log.info("line %d", number)
        dropped = dropped_lines()
        threading.Thread(target=read).start()

    assert done.wait(10)
    assert MAX_LINES * 0.9 < dropped < MAX_LINES
    assert text.count(b"] line ") == 2 * MAX_LINES - dropped
    assert f"{dropped} lines were dropped".encode() in text


def test_a_pipe_that_does_not_wait_is_waited_for() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    text: list[bytes] = []

    def read() -> None:
        with os.fdopen(reader, "rb") as pipe:
            text.append(pipe.read())

    thread = threading.Thread(target=read)
    with closing(os.fdopen(writer, "wb")), open_logs(writer, "console", "info", REDACT):
        for _ in range(200):
            log.info("x" * 1000)
        thread.start()

    thread.join(10)
    assert text[0].count(b"x" * 1000) == 200


def test_where_nobody_reads_any_more_the_end_comes_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.logs.FLUSH_SECONDS", 0.05)
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)

    began = time.monotonic()
    with open_logs(writer, "console", "info", REDACT):
        (thread,) = (found for found in threading.enumerate() if found.name == "longhand-log")
        for _ in range(200):
            log.info("x" * 1000)
    assert time.monotonic() - began < 5

    os.close(reader)  # which frees the thread
    thread.join(10)  # before another test's file has the number of the one that it writes to
    with open_logs(writer, "console", "info", REDACT):
        log.info("nobody hears this")
        handler().stop()
        assert dropped_lines() >= 1
    os.close(writer)


async def test_the_lines_of_a_request_and_of_what_it_starts_carry_their_names(
    tmp_path: Path, claude: FakeClaude
) -> None:
    claude.default = Script.error(400, "invalid_request_error", "no")
    async with serving(tmp_path / "data", claude, LONGHAND_LOG_FORMAT="json") as server:
        topic_id = await server.topic()
        asked = await server.http.post(f"/api/topics/{topic_id}/generate", headers={"X-Request-ID": "mine"})
        await server.ended(topic_id)
        await server.http.get("/nowhere?token=a-token-in-a-query")
        server.process.inner.terminate()
        assert await server.process.wait() == 0

    found = [json.loads(line) for line in server.process.errors.splitlines()]
    (request,) = [line for line in found if line.get("route") == "/api/topics/{id}/generate"]
    names = {name: request[name] for name in ("request_id", "user", "method", "status", "level")}
    assert names == {"request_id": "mine", "user": 1, "method": "POST", "status": 202, "level": "info"}
    assert request["duration_ms"] > 0
    (nowhere,) = [line for line in found if line.get("route") == "-"]
    assert (nowhere["status"], "user" in nowhere) == (404, False)
    assert "/nowhere 404" in nowhere["event"]
    of_generation = [line for line in found if "[BACKGROUND]" in line["event"]]
    names = {"topic": topic_id, "generation": asked.json()["data"]["generation_id"], "attempt": 1, "request_id": "mine"}
    assert len(of_generation) >= 2
    assert all(names.items() <= line.items() for line in of_generation)
    (failed,) = [line for line in of_generation if line["level"] == "error"]
    assert "Report generation failed" in failed["event"]
    assert "Traceback" in failed["exception"]

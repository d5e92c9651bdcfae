"""Every way in which a generation fails: what the status says, what the log says, and that nothing is left behind."""

import logging
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio

from app.causes import failure_of
from app.claude import Claude, Listener
from app.directory import DATABASE, REPORTS
from app.errors import (
    ClaudeStream,
    ClaudeTimeout,
    DatabaseFailed,
    Failure,
    FileSystemFailed,
    Internal,
    Refused,
)
from app.files import Files
from app.gate import Gate
from app.generate import Tools, generate
from app.job import Job
from app.models import Generation, Order, StatusName
from app.prompts import Prompt
from app.queries import acceptance, generations, topics, users
from app.slots import Place, Slots
from app.state import limits_of
from app.status import StatusMap
from app.store import open_store
from app.threads import Threads
from tests.claude import BEFORE_HEADERS, BEFORE_MESSAGE, Fault, Script, numbered_text
from tests.conftest import Start
from tests.service import Service, locked_database, settings_for

LONG = numbered_text(400)
"""Long enough to be kept in the store, in part, while it is written."""

WHOLE = Script().text.strip()
"""What Claude writes where the test does not say."""

PIECES = 40
MIDDLE = 30
LAST = PIECES + 2
"""The place of `message_stop`."""

TIMEOUT = "Claude API timeout"
UNAVAILABLE = "Claude API unavailable"
BROKE_OFF = "Claude API stream broke off"
REFUSED = "Claude declined to write this report"

LEFT = "SELECT (SELECT COUNT(*) FROM artifacts) + (SELECT COUNT(*) FROM messages)"
KEPT = "SELECT text FROM checkpoints ORDER BY generation_id, section, start"

NO_PATIENCE = {"claude_timeout": 1, "max_attempts": 2, "backoff_seconds": 0.001, "max_wait": 0.001}
"""A second attempt follows at once, no third, and nobody waits while Claude is limiting."""


@dataclass(frozen=True, slots=True)
class Case:
    """What Claude does, call by call (the last of it again and again), what the status says then, how many calls were
    made until then, and how they stand in the ledger.
    """

    scripts: tuple[Script, ...]
    code: str
    message: str
    calls: int
    retryable: bool = True
    ledger: str = "failed"


def silent(kind: Fault, *places: int, calls: int = 1) -> Case:
    return Case(tuple(Script(text=LONG, fault=kind, at=at) for at in places), "claude_timeout", TIMEOUT, calls)


def broken(kind: Fault, *places: int) -> Case:
    """The first attempt breaks off at the first place and two more at the last: in mid-report, one attempt more."""
    scripts = tuple(Script(text=LONG, fault=kind, at=at) for at in places)
    return Case(scripts, "claude_stream", BROKE_OFF, calls=1 + len(places))


def ends_with(stop_reason: str) -> Case:
    """It ends so after some text, and from then on without any."""
    scripts = tuple(Script(text=text, stop_reason=stop_reason) for text in (LONG, ""))
    return Case(scripts, "claude_stream", BROKE_OFF, calls=3, ledger="completed")


def unavailable(script: Script, told: str, calls: int = 2) -> Case:
    return Case((script,), "claude_unavailable", f"{UNAVAILABLE}: {told}", calls)


def final(script: Script, code: str, message: str, ledger: str = "failed") -> Case:
    """No further attempt can mend it."""
    return Case((script,), code, message, calls=1, retryable=False, ledger=ledger)


def refused(*scripts: Script) -> Case:
    return Case(scripts, "refused", REFUSED, len(scripts), retryable=False, ledger="completed")


def status(code: int, kind: str, told: str) -> Script:
    return Script.error(code, kind, told)


def busy(at: int) -> Script:
    return Script(text=LONG, fault=Fault.ERROR_EVENT, error_type="overloaded_error", message="Busy", at=at)


CASES = {
    "silence before the headers": silent(Fault.SILENCE_BEFORE_HEADERS, 0),
    "silence before the first event": silent(Fault.SILENCE, BEFORE_MESSAGE),
    "silence before the first text": silent(Fault.SILENCE, 0),
    "silence in mid-stream": silent(Fault.SILENCE, MIDDLE, 0, calls=2),
    "silence before the last event": silent(Fault.SILENCE, LAST, BEFORE_HEADERS, calls=2),
    "429": unavailable(status(429, "rate_limit_error", "Slow"), "429 Slow", calls=1),
    "500": unavailable(status(500, "api_error", "Oh"), "500 Oh"),
    "503": unavailable(status(503, "api_error", "Oh"), "503 Oh"),
    "529": unavailable(status(529, "overloaded_error", "Busy"), "529 Busy", calls=1),
    "overloaded in mid-stream": Case((busy(MIDDLE), busy(0)), "claude_unavailable", f"{UNAVAILABLE}: Busy", calls=2),
    "cut before the headers": unavailable(Script(fault=Fault.CUT, at=BEFORE_HEADERS), "no connection"),
    "401": final(status(401, "authentication_error", "Who"), "claude_auth", "Claude API key rejected"),
    "403": final(status(403, "permission_error", "No"), "claude_auth", "Claude API key rejected"),
    "400": final(
        status(400, "invalid_request_error", "messages: too long"),
        "claude_request",
        "Claude API refused the request: messages: too long",
    ),
    "404": final(
        status(404, "not_found_error", "model: none-1"),
        "claude_request",
        "Claude API refused the request: model: none-1",
    ),
    "refusal at once": refused(Script.refusal()),
    "refusal in mid-stream": refused(Script.refusal(LONG)),
    "refusal to go on": refused(Script(text=LONG, stop_reason="max_tokens"), Script.refusal()),
    "cut before the first event": broken(Fault.CUT, BEFORE_MESSAGE),
    "cut in mid-stream": broken(Fault.CUT, MIDDLE, 0),
    "reset in mid-stream": broken(Fault.RESET, MIDDLE, 0),
    "malformed in mid-stream": broken(Fault.MALFORMED, MIDDLE, 0),
    "no UTF-8 in mid-stream": broken(Fault.BAD_UTF8, MIDDLE, 0),
    "clean end in mid-stream": broken(Fault.CLEAN_END, MIDDLE, 0),
    "clean end before message_stop": broken(Fault.CLEAN_END, LAST, BEFORE_MESSAGE),
    "tool_use": ends_with("tool_use"),
    "max_tokens without text": ends_with("max_tokens"),
    "a full context window without text": ends_with("model_context_window_exceeded"),
    "a pause without text": ends_with("pause_turn"),
    "no text at all": Case((Script(text=""),), "claude_stream", BROKE_OFF, calls=2, ledger="completed"),
    "white space alone": Case((Script(text=" \n" * 9),), "claude_stream", BROKE_OFF, calls=2, ledger="completed"),
}


@pytest.mark.parametrize("name", CASES)
async def test_a_failure_of_claude_is_told_in_status_history_ledger_and_log_and_leaves_text_to_resume_alone(
    start: Start, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    case = CASES[name]
    async with start(**NO_PATIENCE) as service:
        *first, service.claude.default = case.scripts
        service.claude.script(*first)
        topic_id = await service.topic()

        generation_id = (await service.generate(topic_id))["generation_id"]
        ended = await service.ended(topic_id)

        assert told(ended) == ("failed", case.code, case.message, case.retryable)
        assert ended["phase"] == "done"
        assert ended["artifact_id"] is None
        assert await history(service, topic_id) == [ended]
        assert_logged(caplog, topic_id, generation_id, case.message)
        assert await ledger(service) == [case.ledger] * case.calls
        assert len(service.claude.calls) == case.calls
        sent = service.claude.calls[0].text_sent.strip()
        await assert_nothing_is_left(service, text="" if case.code == "refused" else sent)
        assert ended["characters"] == len(sent)


async def test_a_database_that_refuses_the_last_row_fails_the_generation_and_takes_the_file_away(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    topic_id = await service.topic()
    await service.rows(
        """
        CREATE TRIGGER refuse BEFORE UPDATE ON generations WHEN NEW.status = 'completed'
        BEGIN SELECT RAISE(ABORT, 'refused by the test'); END
        """
    )

    generation_id = (await service.generate(topic_id))["generation_id"]
    ended = await service.ended(topic_id)

    assert told(ended) == ("failed", "database", "Database save failed", True)
    assert await history(service, topic_id) == [ended]
    assert_logged(caplog, topic_id, generation_id, "Database save failed")
    assert await ledger(service) == ["completed"]
    await assert_nothing_is_left(service, text=WHOLE)


async def test_a_locked_database_fails_the_generation_and_is_told_of_the_end_when_it_is_free(service: Service) -> None:
    go = trio.Event()
    service.claude.script(Script(hold=go, hold_at=LAST))
    topic_id = await service.topic()
    await service.generate(topic_id)
    call = await service.claude.next_call()
    await call.held.wait()

    async with locked_database(service.settings.data_dir):
        go.set()
        shown = await service.ended(topic_id)
        answer = await service.http.post(f"/api/topics/{topic_id}/generate")
        stored = await service.rows("SELECT status FROM generations")
    with trio.fail_after(30):
        while await service.rows("SELECT status FROM generations") != [{"status": "failed"}]:
            pass
    recorded = await service.status(topic_id)

    assert recorded == shown
    assert told(shown) == ("failed", "database", "Database save failed", True)
    assert stored == [{"status": "generating"}]
    assert answer.status_code == 409
    assert await history(service, topic_id) == [recorded]
    assert await ledger(service) == ["completed"]
    await assert_nothing_is_left(service, text=WHOLE)
    await service.generate(topic_id)
    assert (await service.ended(topic_id))["status"] == "completed"


def put_a_file_in_the_place_of_the_directory(directory: Path) -> None:
    directory.touch()


def fill_the_disk(directory: Path) -> None:
    directory.mkdir()
    (directory / ".1.md.part").symlink_to("/dev/full")


def put_a_directory_in_the_place_of_the_report(directory: Path) -> None:
    (directory / "1.md").mkdir(parents=True)


@pytest.mark.parametrize(
    "spoil",
    [put_a_file_in_the_place_of_the_directory, fill_the_disk, put_a_directory_in_the_place_of_the_report],
)
async def test_a_failure_of_the_file_system_is_told_without_its_details_and_leaves_text_to_resume_alone(
    service: Service, caplog: pytest.LogCaptureFixture, spoil: Callable[[Path], None]
) -> None:
    topic_id = await service.topic()
    spoil(service.settings.data_dir / REPORTS / str(topic_id))
    spoilt = service.files()

    generation_id = (await service.generate(topic_id))["generation_id"]
    ended = await service.ended(topic_id)

    assert told(ended) == ("failed", "file_system", "File system error", True)
    assert await history(service, topic_id) == [ended]
    assert_logged(caplog, topic_id, generation_id, "File system error")
    assert await ledger(service) == ["completed"]
    await assert_nothing_is_left(service, [name for name in spoilt if name in service.files()], WHOLE)


async def test_what_nobody_expected_fails_one_generation_with_its_own_message(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with workshop(tmp_path, RuntimeError("boom")) as (tools, job):
        await generate(job, tools)
        ended = await latest(tools, job)

    assert (ended.status, ended.error_code, ended.error_message) == (StatusName.FAILED, "internal", "boom")
    assert_logged(caplog, job.generation.topic_id, job.generation.id, "boom")


async def test_a_time_out_is_no_failure_of_the_file_system_though_it_is_an_os_error(tmp_path: Path) -> None:
    async with workshop(tmp_path, TimeoutError("too long")) as (tools, job):
        await generate(job, tools)
        ended = await latest(tools, job)

    assert (ended.error_code, ended.error_message) == ("claude_timeout", TIMEOUT)


async def test_a_message_that_is_no_text_ends_its_own_generation_and_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "longhand.generate")  # pytest could not send what the log would hold
    async with workshop(tmp_path, RuntimeError("half a character: \ud83d")) as (tools, job):
        await generate(job, tools)
        ended = await latest(tools, job)

    assert (ended.status, ended.error_message) == (StatusName.FAILED, "half a character: ?")


async def test_an_end_that_the_database_refuses_is_kept_for_later_and_harms_no_sibling(tmp_path: Path) -> None:
    async with workshop(tmp_path, RuntimeError("boom")) as (tools, job):
        await tools.store.write(
            lambda db: db.execute(
                """
                CREATE TRIGGER refuse BEFORE UPDATE ON generations BEGIN SELECT RAISE(ABORT, 'refused by the test'); END
                """
            )
        )

        await generate(job, tools)
        shown = tools.statuses.get(job.generation.topic_id)

    assert job.unrecorded
    assert shown is not None
    assert told(shown.document) == ("failed", "internal", "boom", True)


def sqlite_error() -> sqlite3.Error:
    return sqlite3.OperationalError("database or disk is full")


@pytest.mark.parametrize(
    ("error", "failure", "message"),
    [
        (ClaudeStream(), ClaudeStream, BROKE_OFF),
        (Refused(), Refused, REFUSED),
        (DatabaseFailed(), DatabaseFailed, "Database save failed"),
        (TimeoutError(), ClaudeTimeout, TIMEOUT),
        (sqlite_error(), DatabaseFailed, "Database save failed"),
        (PermissionError(13, "Permission denied", "/secret"), FileSystemFailed, "File system error"),
        (OSError(28, "No space left on device"), FileSystemFailed, "File system error"),
        (RuntimeError("boom"), Internal, "boom"),
        (RuntimeError(), Internal, "RuntimeError"),
        (ExceptionGroup("together", [TimeoutError()]), ClaudeTimeout, TIMEOUT),
        (ExceptionGroup("together", [ExceptionGroup("inner", [OSError()])]), FileSystemFailed, "File system error"),
    ],
)
def test_every_error_has_its_row_in_the_table(error: Exception, failure: type[Failure], message: str) -> None:
    found = failure_of(error)

    assert type(found) is failure
    assert str(found) == message


def told(shown: dict[str, Any]) -> tuple[str, str, str, bool]:
    return shown["status"], shown["error_code"], shown["error_message"], shown["retryable"]


async def history(service: Service, topic_id: int) -> list[dict[str, Any]]:
    answer = await service.http.get(f"/api/topics/{topic_id}/generations")
    data: list[dict[str, Any]] = answer.json()["data"]
    return data


async def ledger(service: Service) -> list[str]:
    return [row["state"] for row in await service.rows("SELECT state FROM ai_usage ORDER BY id")]


def assert_logged(caplog: pytest.LogCaptureFixture, topic_id: int, generation_id: int, message: str) -> None:
    """There is one ERROR line of the failure, with its traceback."""
    lines = [record for record in caplog.records if "Report generation failed" in record.getMessage()]
    expected = f"[BACKGROUND] Report generation failed topic={topic_id} generation={generation_id} error={message}"
    assert [(line.levelno, line.getMessage()) for line in lines] == [(logging.ERROR, expected)]
    assert lines[0].exc_info is not None
    assert lines[0].exc_info[2] is not None


async def assert_nothing_is_left(service: Service, files: list[str] | None = None, text: str = "") -> None:
    """There is no artifact, no message, no file but these, and of the report no more than this text, to be resumed."""
    assert [tuple(row.values()) for row in await service.rows(LEFT)] == [(0,)]
    assert service.files() == (files or [])
    assert "".join(row["text"] for row in await service.rows(KEPT)) == text


class Broken(Claude):
    """A Claude that raises what it is told to."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def write(self, prompt: Prompt, listener: Listener) -> str:
        raise self._error


@asynccontextmanager
async def workshop(directory: Path, error: Exception) -> AsyncIterator[tuple[Tools, Job]]:
    """Open what a generation works with, with a Claude that raises `error`, and a generation that may begin."""
    threads = Threads(4)
    async with open_store(directory / DATABASE, threads) as store:
        user = await store.write(users.add_user, "somebody", is_admin=False)
        assert user is not None
        topic = await store.write(topics.add_topic, user.id, "A topic", "", "en")
        accepted = await store.write(
            acceptance.accept_generation, topic.id, Order(), "model", StatusName.GENERATING, None
        )
        assert accepted.generation is not None
        limits = limits_of(settings_for(directory, "http://127.0.0.1:9", backoff_seconds=0.001))
        files = Files(directory / REPORTS, threads)
        tools = Tools(store, files, Broken(error), Gate(), StatusMap(), limits)
        yield tools, Job(accepted.generation, Place(Slots(1), user.id))


async def latest(tools: Tools, job: Job) -> Generation:
    found = await tools.store.read(generations.latest_generation, job.generation.topic_id)
    assert found is not None
    return found

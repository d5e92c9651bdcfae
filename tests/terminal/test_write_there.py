"""`longhand write` on a server that is named."""

import json
import signal
from pathlib import Path

import pytest
import trio
from anyio import CancelScope

from app.client import Client
from app.terminal.interruption import Interruption
from app.terminal.show import Show
from app.terminal.writing import Assignment, Outcome, written
from tests.claude import Script, numbered_text
from tests.process import started
from tests.service import ADMIN_TOKEN, Service
from tests.terminal.conftest import Run, told

REPORT = numbered_text(60)


@pytest.fixture(autouse=True)
def report(service: Service) -> None:
    service.claude.default = Script(text=REPORT)


def files(here: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in here.iterdir() if path.is_file()}


async def test_a_report_is_written_there_and_lands_here(service: Service, run: Run, here: Path) -> None:
    (here / "plan.md").write_text("## Ebb\n\n## Flood\n")

    code, process = await run(
        "write", "Tides", "--plan", "plan.md", "--mode", "sections", "--language", "en", "--instructions", "Be brief."
    )

    (topic,) = await service.rows("SELECT topic, plan, language FROM topics")
    (generation,) = await service.rows("SELECT mode, instructions FROM generations")
    assert code == 0
    assert topic == {"topic": "Tides", "plan": "## Ebb\n\n## Flood", "language": "en"}
    assert generation == {"mode": "sections", "instructions": "Be brief."}
    assert files(here)["Tides.md"] == (await service.http.get("/api/artifacts/1/download")).text
    assert process.output == ""
    assert process.errors.splitlines()[-2] == "completed (100 %)"
    assert process.errors.splitlines()[-1].startswith("Wrote Tides.md: ")
    assert not (here / "data").exists()  # nothing was served here


async def test_live_prints_the_text_as_it_comes_and_writes_the_file_all_the_same(service: Service, here: Path) -> None:
    go = trio.Event()
    service.claude.script(Script(text=REPORT, hold=go, hold_at=20))

    async with started("write", "Tides", "--live", "-o", "t.md", cwd=here, variables=told(service)) as process:
        await process.shown("This is sentence 10 of 60.", "output")
        assert files(here) == {}
        go.set()
        code = await process.wait()

    assert code == 0
    assert process.output.strip() == REPORT.strip()
    assert files(here)["t.md"].strip() == REPORT.strip()


async def test_who_stops_to_read_the_text_gets_the_file_all_the_same(service: Service, here: Path) -> None:
    go = trio.Event()
    service.claude.script(Script(text=REPORT, hold=go, hold_at=20))

    async with started("write", "Tides", "--live", "-o", "t.md", cwd=here, variables=told(service)) as process:
        await process.shown("This is sentence 10 of 60.", "output")
        assert process.inner.stdout
        await process.inner.stdout.aclose()
        go.set()
        code = await process.wait()

    assert code == 0, process.errors
    assert files(here)["t.md"].strip() == REPORT.strip()
    assert "BrokenPipe" not in process.errors


async def test_json_is_one_document_on_standard_output(service: Service, run: Run) -> None:
    code, process = await run("write", "Tides", "--json")

    document = json.loads(process.output)
    status = await service.status(1)
    assert code == 0
    assert document["file"] == "Tides.md"
    assert {name: document[name] for name in status} == status


async def test_a_report_that_fails_is_1_and_one_line(service: Service, run: Run, here: Path) -> None:
    service.claude.default = Script.error(400, "invalid_request_error", "No")

    code, process = await run("write", "Tides", "--json")

    assert code == 1
    assert process.errors.splitlines()[-1] == ("longhand: Claude API refused the request: No (claude_request).")
    assert json.loads(process.output)["error_code"] == "claude_request"
    assert files(here) == {}


async def test_what_the_server_refuses_leaves_no_topic_behind(service: Service, run: Run) -> None:
    code, process = await run("write", "Tides", "--model", "no-such-model")

    assert code == 1
    assert process.errors.startswith("longhand: model: The model is one of ")
    assert await service.rows("SELECT id FROM topics") == []


@pytest.mark.parametrize("arguments", [["-o", "-", "--live"], ["-o", "-", "--json"], ["--live", "--json"]])
async def test_standard_output_takes_one_thing(run: Run, arguments: list[str]) -> None:
    code, process = await run("write", "Tides", *arguments)

    assert code == 2
    assert "Standard output can take one thing" in process.errors


async def test_a_place_that_cannot_be_written_is_told_before_anything_is_asked(service: Service, run: Run) -> None:
    code, _ = await run("write", "Tides", "-o", "no/such/place.md")

    assert code == 1
    assert await service.rows("SELECT id FROM topics") == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_without_a_terminal_a_signal_cancels_it(
    service: Service, here: Path, number: signal.Signals, code: int
) -> None:
    service.claude.script(Script(text=REPORT, hold=trio.Event(), hold_at=20))

    async with started("write", "Tides", cwd=here, variables=told(service)) as process:
        call = await service.claude.next_call()
        await call.held.wait()
        await process.line("writing (")
        process.send(number)
        exit_code = await process.wait()

    assert exit_code == code
    assert process.errors.splitlines()[-1] == "Cancelled. Nothing was written."
    assert (await service.ended(1))["status"] == "cancelled"
    assert files(here) == {}


async def test_a_signal_before_anything_is_asked_holds(service: Service) -> None:
    interruption = Interruption(CancelScope(), exit_code=130)

    async with Client(service.url, ADMIN_TOKEN) as client:
        outcome = await written(client, Assignment("Tides", "", "en", "", None), Show(), interruption, None)

    assert outcome == Outcome(130)
    assert await service.rows("SELECT id FROM topics") == []


async def test_with_a_data_directory_it_is_written_here(service: Service, run: Run, here: Path) -> None:
    code, process = await run(
        "write", "Tides", "--data-dir", "own", ANTHROPIC_API_KEY="test-key", ANTHROPIC_BASE_URL=service.claude.url
    )

    assert code == 0, process.errors
    assert (here / "own" / "longhand.db").exists()
    assert await service.rows("SELECT id FROM topics") == []

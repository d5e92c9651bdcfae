"""`longhand doctor`: each thing that can be wrong is found, and told with what to do."""

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from app import __version__
from app.errors import ClaudeAuth
from app.settings import Settings, load_settings
from app.terminal.checks import Level, of_claude, of_directory
from app.terminal.login import Login
from app.terminal.reach import of_server
from tests.claude import FakeClaude
from tests.client.between import answer, between, canned
from tests.process import longhand
from tests.service import ADMIN_TOKEN, Service
from tests.terminal.conftest import told


def model(lifecycle: str, retires_at: str | None = None) -> dict[str, Any]:
    return {
        "type": "model", "id": "claude-sonnet-5-5", "display_name": "Sonnet", "created_at": "2026-01-01T00:00:00Z",
        "lifecycle": lifecycle, "retires_at": retires_at,
    }  # fmt: skip


async def test_where_all_is_well_each_check_is_a_line_and_the_code_is_0(
    service: Service, here: Path, claude: FakeClaude
) -> None:
    claude.models["claude-sonnet-5-5"] = model("active")
    more = {"LONGHAND_DATA_DIR": str(service.settings.data_dir), "ANTHROPIC_API_KEY": "key"}

    code, process = await longhand("doctor", cwd=here, variables=told(service, ANTHROPIC_BASE_URL=claude.url, **more))

    lines = process.output.splitlines()
    assert code == 0, process.output
    assert [line.split("  ")[0] for line in lines[:-1]] == ["ok"] * 10
    assert [line[9:].split("  ")[0] for line in lines[:-1]] == [
        "settings", "data directory", "database", "disk", "Claude", "model claude-sonnet-5-5", "server", "ready",
        "token", "event stream",
    ]  # fmt: skip
    assert "held by a server" in lines[1]
    assert lines[-1] == "0 problems, 0 warnings."


async def test_json_is_one_document_and_a_problem_is_1(here: Path) -> None:
    code, process = await longhand("doctor", "--json", "--url", "localhost:9", cwd=here)

    document = json.loads(process.output)
    levels = {check["check"]: check["level"] for check in document["checks"]}
    assert (code, document["ok"]) == (1, False)
    assert (levels["Claude"], levels["server"]) == ("warning", "problem")


async def test_a_wrong_setting_does_not_hide_the_server(service: Service, here: Path) -> None:
    code, process = await longhand("doctor", cwd=here, variables=told(service, LONGHAND_MAX_QUEUED="many"))

    assert code == 1
    assert "LONGHAND_MAX_QUEUED: " in process.output
    assert "Longhand " + __version__ in process.output


# Claude


@pytest.fixture
def settings_of_claude(claude: FakeClaude) -> Settings:
    return load_settings({"ANTHROPIC_API_KEY": "key", "ANTHROPIC_BASE_URL": claude.url})


@pytest.mark.parametrize(
    ("news", "level", "line"),
    [
        (model("active"), Level.OK, "Active."),
        (model("deprecated", "2027-05-01T00:00:00Z"), Level.WARNING, "deprecated and retires on 2027-05-01."),
        (model("deprecated"), Level.WARNING, "deprecated and is about to retire."),
        (model("retired", "2026-05-01T00:00:00Z"), Level.PROBLEM, "It is retired: Claude answers no more with it."),
        (None, Level.WARNING, "Claude has no model of this name"),
    ],
)
async def test_a_model_is_told_with_its_retirement(
    claude: FakeClaude, settings_of_claude: Settings, news: dict[str, Any] | None, level: Level, line: str
) -> None:
    if news:
        claude.models["claude-sonnet-5-5"] = news

    key, finding = await of_claude(settings_of_claude)

    assert key.level is Level.OK
    assert (finding.check, finding.level) == ("model claude-sonnet-5-5", level)
    assert line in finding.told


async def test_a_key_that_is_refused_is_a_problem(claude: FakeClaude, settings_of_claude: Settings) -> None:
    claude.models["claude-sonnet-5-5"] = {"error": {"type": "authentication_error", "message": "invalid x-api-key"}}

    (finding,) = await of_claude(settings_of_claude)

    assert (finding.level, finding.told) == (Level.PROBLEM, f"{ClaudeAuth.message}.")
    assert finding.advice == "Check ANTHROPIC_API_KEY."


async def test_no_claude_at_all_is_a_problem() -> None:
    (finding,) = await of_claude(load_settings({"ANTHROPIC_API_KEY": "k", "ANTHROPIC_BASE_URL": "http://127.0.0.1:9"}))

    assert (finding.level, finding.told) == (Level.PROBLEM, "Claude API unavailable: no connection.")


# This machine


def test_a_data_directory_that_is_not_there_is_no_fault(tmp_path: Path) -> None:
    levels = [finding.level for finding in of_directory(tmp_path / "none")]

    assert levels == [Level.OK, Level.OK]
    assert not (tmp_path / "none").exists()


def test_what_is_wrong_with_a_data_directory_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "open" / "longhand.db").write_bytes(b"no database " * 500)

    (no_directory,) = of_directory(tmp_path / "file")
    rights, database, disk = of_directory(tmp_path / "open")

    assert (no_directory.level, no_directory.told) == (Level.PROBLEM, f"{tmp_path / 'file'} is no directory.")
    assert (rights.level, rights.advice) == (Level.WARNING, f"chmod 700 {tmp_path / 'open'}")
    assert database.level is Level.PROBLEM
    assert disk.level is Level.OK


# The server


async def test_a_proxy_that_holds_event_streams_back_is_found_out(service: Service) -> None:
    async with between(service.url) as proxy:
        proxy.hold_streams = True
        with trio.fail_after(30):
            findings = await of_server(Login(proxy.url, ADMIN_TOKEN))

    assert [finding.level for finding in findings] == [Level.OK, Level.OK, Level.OK, Level.PROBLEM]
    assert findings[-1].told.startswith("No byte in 5 s: something between here and the server holds")
    assert "proxy_buffering off" in findings[-1].advice


async def test_a_token_that_is_not_taken_is_a_problem(service: Service) -> None:
    findings = await of_server(Login(service.url, "wrong-token"))
    none = await of_server(Login(service.url, ""))

    assert (findings[-1].check, findings[-1].told) == ("token", "The server does not take it.")
    assert (none[-1].check, none[-1].told) == ("token", "There is none.")


async def test_what_is_no_server_of_ours_is_the_last_thing_that_is_looked_at() -> None:
    async with canned(answer("200 OK", "<h1>Hello</h1>", kind="text/html")) as server:
        (finding,) = await of_server(Login(server.url, "token"))

    assert finding.level is Level.PROBLEM
    assert "is not Longhand" in finding.told
    assert server.requests == ["GET /openapi.json HTTP/1.1"]


async def test_another_version_is_a_warning() -> None:
    document = json.dumps({"info": {"title": "Longhand", "version": "0.0.1"}})
    async with canned(answer("200 OK", document), answer("500 Oh")) as server:
        finding, *_ = await of_server(Login(server.url, "token"))

    assert (finding.level, finding.told) == (Level.WARNING, f"Longhand 0.0.1 answers; this is {__version__}.")

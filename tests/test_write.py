"""`longhand write`: one report, in one command."""

import os
import signal
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from click.testing import CliRunner, Result

from app.cli import main
from app.directory import DATABASE, hold_directory
from app.errors import StartError
from app.settings import Settings, load_settings
from app.write import Assignment, NotWritten, write_report
from tests.claude import FakeClaude, Script
from tests.conftest import Start
from tests.process import longhand, started
from tests.test_server import announced

REPORT = "# Tides\n\n## One\n\n" + "The sea rises and falls. " * 40 + "The end.\n"
CHARACTERS = len(REPORT.strip())
TIDES = Assignment("Tides", plan="## One", language="en", instructions="", model=None)

Write = Callable[..., Awaitable[int]]
InProcess = Callable[..., Result]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory, in which the test runs; `data` in it is the data directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def write(settings: Callable[..., Settings], claude: FakeClaude) -> Write:
    """Write a report in this process: `write(assignment, output)`."""
    claude.default = Script(text=REPORT)
    return lambda assignment=TIDES, output=None: write_report(settings(admin_token=""), assignment, output)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> InProcess:
    """Run `longhand write`, which is expected to fail, in this process: `command("TOPIC", …, NAME=value)`."""
    for name in os.environ:
        if name.startswith(("LONGHAND_", "ANTHROPIC_")):
            monkeypatch.delenv(name)

    def invoke(*arguments: str, **variables: str) -> Result:
        return CliRunner().invoke(main, ["write", *arguments], env=variables)

    return invoke


def rows(sql: str) -> list[Any]:
    """Return what the database in the data directory answers, one value a row."""
    with closing(sqlite3.connect(Path("data") / DATABASE)) as db:
        return [row[0] for row in db.execute(sql)]


def files() -> dict[str, str]:
    """Return all files here but the data directory's, with their content."""
    return {path.name: path.read_text() for path in Path().iterdir() if path.is_file()}


def of_claude(claude: FakeClaude) -> dict[str, str]:
    return {"ANTHROPIC_API_KEY": "test-key", "ANTHROPIC_BASE_URL": claude.url, "NO_COLOR": "1"}


# Where the report goes


async def test_the_report_lands_in_a_file_named_after_the_topic(
    write: Write, claude: FakeClaude, capsys: pytest.CaptureFixture[str]
) -> None:
    exit_code = await write(replace(TIDES, topic="조수 [red]간만[/blue]: 왜?"))

    told = capsys.readouterr()
    assert exit_code == 0
    assert files() == {"조수 [red]간만[ blue] 왜.md": REPORT}
    assert told.out == ""
    assert told.err.splitlines()[-1] == f"Wrote 조수 [red]간만[ blue] 왜.md: {CHARACTERS:,} characters."
    assert "## One" in str(claude.calls[0].body)


async def test_a_file_that_is_there_is_never_overwritten_by_a_default_name(write: Write, here: Path) -> None:
    (here / "Tides.md").write_text("mine")
    (here / "Tides 2.md").symlink_to("nowhere")

    await write()

    assert files() == {"Tides.md": "mine", "Tides 3.md": REPORT}


async def test_a_file_that_is_named_is_replaced_behind_its_link(write: Write, here: Path) -> None:
    (here / "real.md").write_text("an older report")
    (here / "link.md").symlink_to("real.md")

    await write(TIDES, Path("link.md"))

    assert files() == {"link.md": REPORT, "real.md": REPORT}
    assert (here / "link.md").is_symlink()


async def test_a_pipe_that_is_named_is_written_to_and_stays_a_pipe(write: Write, here: Path) -> None:
    os.mkfifo(here / "pipe")
    reader = os.open(here / "pipe", os.O_RDONLY | os.O_NONBLOCK)

    await write(TIDES, Path("pipe"))
    received = os.read(reader, 100_000)
    os.close(reader)

    assert received.decode() == REPORT
    assert (here / "pipe").is_fifo()


async def test_a_dash_reads_the_plan_from_standard_input_and_writes_the_report_alone_to_standard_output(
    here: Path, claude: FakeClaude
) -> None:
    claude.default = Script(text=REPORT)

    exit_code, process = await longhand(
        "write", "Tides", "--plan", "-", "-o", "-", "--language", "en", "--instructions", "Be brief.",
        cwd=here, stdin=b"\xef\xbb\xbf## Ebb\r\n## Flood\r\n", variables=of_claude(claude),
    )  # fmt: skip

    asked = claude.calls[0].body["messages"][0]["content"][0]["text"]
    assert (exit_code, process.output) == (0, REPORT)
    assert process.errors.splitlines()[-2:] == [
        "completed (100 %)",
        f"Wrote to standard output: {CHARACTERS:,} characters.",
    ]
    assert files() == {}
    assert "<outline>\n## Ebb\n## Flood\n</outline>" in asked
    assert "Be brief." in asked


async def test_a_terminal_shows_a_bar_and_everything_else_lines(here: Path, claude: FakeClaude) -> None:
    claude.default = Script(text=REPORT, pieces=5, pace=0.1)
    variables = {**of_claude(claude), "TERM": "xterm", "COLUMNS": "100"}

    async with started("write", "Tides", cwd=here, variables=variables, terminal=True) as process:
        exit_code = await process.wait()

    assert exit_code == 0
    assert "\x1b[2K" in process.errors  # a line that is drawn again
    assert "writing   ━" in process.errors
    assert "completed ━" in process.errors
    assert "100%" in process.errors
    assert " %)" not in process.errors
    assert files() == {"Tides.md": REPORT}


async def test_without_a_key_it_is_an_offline_draft_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # is not for what stays on this machine

    exit_code = await write_report(load_settings({"LONGHAND_DATA_DIR": "data"}), TIDES, None)

    assert exit_code == 0
    assert "**Offline draft**" in files()["Tides.md"]
    assert "No ANTHROPIC_API_KEY is set: the built-in offline writer makes a practice draft." in capsys.readouterr().err
    assert rows("SELECT model FROM generations") == ["offline"]


# What it leaves behind


async def test_its_access_token_holds_no_longer_than_it_runs(write: Write, settings: Callable[..., Settings]) -> None:
    await write()

    assert rows("SELECT label FROM tokens WHERE revoked_at IS NULL") == []
    (sign_in,) = await announced(settings(admin_token=""))
    assert sign_in.startswith("Sign in as 'admin' with this access token")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_a_signal_cancels_the_generation_and_writes_nothing(
    write: Write, claude: FakeClaude, capsys: pytest.CaptureFixture[str], number: signal.Signals, code: int
) -> None:
    exit_codes: list[int] = []

    async def interrupted() -> None:
        exit_codes.append(await write())

    async with trio.open_nursery() as nursery:
        claude.script(Script(text=REPORT, hold=trio.Event(), hold_at=3))
        nursery.start_soon(interrupted)
        call = await claude.next_call()
        await call.held.wait()
        signal.raise_signal(number)
        with trio.fail_after(5):
            await call.gone.wait()

    assert exit_codes == [code]
    assert capsys.readouterr().err.splitlines()[-1] == "Cancelled. Nothing was written."
    assert files() == {}
    assert rows("SELECT status FROM generations") == ["cancelled"]
    assert rows("SELECT state FROM ai_usage") == ["cancelled"]
    assert rows("SELECT label FROM tokens WHERE revoked_at IS NULL") == []


async def test_ctrl_c_ends_the_command_while_the_report_still_waits_for_its_turn(
    start: Start, claude: FakeClaude, here: Path
) -> None:
    claude.default = Script(hold=trio.Event(), hold_at=3)
    async with start() as service:
        await service.generate(await service.topic("An older one"))
        await (await claude.next_call()).held.wait()

    variables = {**of_claude(claude), "LONGHAND_MAX_CONCURRENT": "1"}
    async with started("write", "Tides", cwd=here, variables=variables) as process:
        await process.line("queued (0 %)")
        process.send(signal.SIGINT)
        exit_code = await process.wait()

    assert exit_code == 130
    assert process.errors == "queued (0 %)\nCancelled. Nothing was written.\n"
    assert rows("SELECT status FROM generations ORDER BY id") == ["queued", "cancelled"]


# What goes wrong


async def test_a_failure_of_claude_is_one_plain_line_and_no_file(here: Path, claude: FakeClaude) -> None:
    claude.default = Script.error(500, "api_error", "Oh")
    variables = of_claude(claude) | {"LONGHAND_MAX_ATTEMPTS": "1"}

    exit_code, process = await longhand("write", "Tides", cwd=here, variables=variables)

    assert exit_code == 1
    assert process.errors.splitlines() == [
        "preparing (0 %)",
        "failed (0 %)",
        "longhand: Claude API unavailable: 500 Oh (claude_unavailable).",
    ]
    assert process.output == ""
    assert files() == {}


@pytest.mark.parametrize(
    ("output", "fault"),
    [
        ("no/such/place.md", "no/such/place.md cannot be written: No such file or directory."),
        ("data/../taken", "data/../taken cannot be written: Is a directory."),
        ("file/report.md", "file/report.md cannot be written: Not a directory."),
    ],
)
async def test_a_place_that_cannot_be_written_is_told_before_anything_is_spent(
    write: Write, claude: FakeClaude, here: Path, output: str, fault: str
) -> None:
    (here / "data").mkdir()
    (here / "taken").mkdir()
    (here / "file").touch()

    with pytest.raises(NotWritten) as told:
        await write(TIDES, Path(output))

    assert str(told.value) == fault
    assert claude.calls == []


@pytest.mark.parametrize(("output", "named"), [(None, "The current directory"), (Path("my.md"), "my.md")])
async def test_a_place_that_is_gone_at_the_end_costs_no_report(
    write: Write, claude: FakeClaude, here: Path, monkeypatch: pytest.MonkeyPatch, output: Path | None, named: str
) -> None:
    go_on = trio.Event()
    claude.script(Script(text=REPORT, hold=go_on, hold_at=3))
    (here / "place").mkdir()
    monkeypatch.chdir(here / "place")

    with pytest.RaisesGroup(NotWritten) as told:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write, TIDES, output)
            await (await claude.next_call()).held.wait()
            (here / "place").rmdir()
            go_on.set()

    kept = here / "data" / "reports" / "1" / "1.md"
    assert str(told.value.exceptions[0]) == (
        f"{named} cannot be written: No such file or directory. The report is kept as {kept}."
    )
    assert kept.read_text() == REPORT


@pytest.mark.parametrize("output", [None, Path("Tides.md")])
async def test_a_report_that_cannot_be_written_whole_leaves_no_file(
    write: Write, here: Path, output: Path | None
) -> None:
    (here / ".Tides.md.part").mkdir()  # in the way of what is written first

    with pytest.raises(NotWritten, match="cannot be written: Is a directory"):
        await write(TIDES, output)

    assert files() == {}


async def test_a_data_directory_that_a_server_holds_is_named_and_left_alone(start: Start, write: Write) -> None:
    async with start() as service:
        with pytest.RaisesGroup(
            pytest.RaisesExc(StartError, match=f"The data directory {service.settings.data_dir} is in use by another"),
            flatten_subgroups=True,
        ):
            await write()

        assert rows("SELECT label FROM tokens") == ["LONGHAND_ADMIN_TOKEN"]


def test_a_data_directory_that_is_held_is_one_line(command: InProcess) -> None:
    with hold_directory(Path("data")):
        result = command("Tides")

    assert result.exit_code == 1
    assert result.output == (
        "longhand: The data directory data is in use by another Longhand process. "
        "Stop that one, or name another directory with --data-dir or LONGHAND_DATA_DIR.\n"
    )


def test_what_the_api_refuses_is_told_in_its_words(command: InProcess) -> None:
    result = command("x" * 201)

    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "longhand: topic: This text has at most 200 characters."
    assert files() == {}


def test_a_wrong_setting_ends_it_with_2(command: InProcess) -> None:
    result = command("Tides", LONGHAND_CLAUDE_TIMEOUT="soon")

    assert result.exit_code == 2
    assert result.output.startswith("longhand: LONGHAND_CLAUDE_TIMEOUT: ")
    assert result.output.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "fault"),
    [(None, "'plan.md': No such file or directory"), (b"\xff\xfe", "the plan is not text in UTF-8")],
)
def test_a_plan_that_cannot_be_read_is_told(command: InProcess, here: Path, content: bytes | None, fault: str) -> None:
    if content is not None:
        (here / "plan.md").write_bytes(content)

    result = command("Tides", "--plan", "plan.md")

    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == f"Error: Invalid value for '--plan': {fault}"
    assert not (here / "data").exists()

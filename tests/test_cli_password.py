"""`longhand user password`: set beside a running server, from a terminal or a pipe, and never shown."""

import os
import pty
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner, Result

from app.cli import main
from app.directory import DATABASE
from app.passwords import verified
from tests.conftest import Start
from tests.routes.client import add_token
from tests.service import Service
from tests.visiting import browsing

PASSWORD = "비밀번호는 열 글자부터"


async def set_password(service: Service, name: str, *more: str, typed: str = "") -> Result:
    """Run the command in a thread, while the server runs; `typed` is what comes through standard input."""
    arguments = ("user", "password", name, *more, "--data-dir", str(service.settings.data_dir))
    return await trio.to_thread.run_sync(lambda: CliRunner().invoke(main, arguments, input=typed))


def kept(data_dir: Path) -> list[str | None]:
    with closing(sqlite3.connect(data_dir / DATABASE)) as db:
        return [row[0] for row in db.execute("SELECT password FROM users ORDER BY id")]


async def test_a_password_from_a_pipe_signs_in_and_ends_the_users_other_sessions(start: Start) -> None:
    async with start() as service:
        token = await add_token(service, "kim")
        async with browsing(service, signed_in=token) as before, browsing(service) as browser:
            assert (await before.get("/account")).status_code == 200

            result = await set_password(service, "kim", typed=f"{PASSWORD}\r\nanother line\n")

            assert (result.exit_code, result.output) == (0, "Set the password of 'kim'; their sessions have ended.\n")
            assert (await before.get("/account")).status_code == 303
            assert (await browser.sign_in(name="kim", password=PASSWORD)).status_code == 303
            assert kept(service.settings.data_dir)[0] is None  # the admin's


async def test_a_removed_password_signs_nobody_in(start: Start) -> None:
    async with start() as service:
        await add_token(service, "kim")
        await set_password(service, "kim", typed=PASSWORD)
        async with browsing(service) as browser, browsing(service) as late:
            assert (await browser.sign_in(name="kim", password=PASSWORD)).status_code == 303

            result = await set_password(service, "kim", "--remove")

            assert result.output == "Removed the password of 'kim'; their sessions have ended.\n"
            assert (await browser.get("/account")).status_code == 303
            assert (await late.sign_in(name="kim", password=PASSWORD)).status_code == 401


@pytest.mark.parametrize(
    ("name", "typed", "fault"),
    [
        ("kim", "short\n", "This is not set: a password has at least 10 characters."),
        ("kim", "", "This is not set: a password has at least 10 characters."),
        ("kim", "x" * 201, "This is not set: a password has at most 200 characters."),
        ("kim", "a\tb" * 5, "This is not set: a password holds no control characters."),
        ("lee", PASSWORD, "There is no user 'lee'. Add them with 'longhand user add lee'."),
    ],
)
async def test_what_is_not_set_is_told_without_the_password(start: Start, name: str, typed: str, fault: str) -> None:
    async with start() as service:
        await add_token(service, "kim")

        result = await set_password(service, name, typed=typed)

        assert (result.exit_code, result.output) == (1, f"Error: {fault}\n")
        assert kept(service.settings.data_dir) == [None, None]


@pytest.mark.parametrize("second", [PASSWORD, "another password"])
def test_a_terminal_is_asked_twice_and_shows_nothing(tmp_path: Path, second: str) -> None:
    CliRunner().invoke(main, ("user", "add", "kim", "--data-dir", str(tmp_path)))
    python = [sys.executable, "-m", "app", "user", "password", "kim", "--data-dir", str(tmp_path)]

    pid, terminal = pty.fork()
    if not pid:
        os.execv(python[0], python)
    shown = answer(terminal, b"Password: ", PASSWORD)
    shown += answer(terminal, b"confirmation: ", second)
    if second != PASSWORD:
        shown += answer(terminal, b"Password: ", PASSWORD) + answer(terminal, b"confirmation: ", PASSWORD)
    shown += rest(terminal)
    _, status = os.waitpid(pid, 0)

    assert os.waitstatus_to_exitcode(status) == 0, shown
    assert "Set the password of 'kim'" in shown.decode()
    assert PASSWORD not in shown.decode()
    assert verified(PASSWORD, kept(tmp_path)[0]).right


def answer(terminal: int, prompt: bytes, line: str) -> bytes:
    """Wait for a prompt, type a line, and return what was shown."""
    shown = b""
    while not shown.endswith(prompt):
        shown += os.read(terminal, 1024)
    os.write(terminal, line.encode() + b"\n")
    return shown


def rest(terminal: int) -> bytes:
    """Return what is shown until the command has ended."""
    shown = b""
    while True:
        try:
            piece = os.read(terminal, 1024)
        except OSError:  # Linux says so of a terminal whose other side is closed
            return shown
        if not piece:
            return shown
        shown += piece

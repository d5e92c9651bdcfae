"""The command line: users and access tokens, help, and what a wrong call is told."""

import os
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner, Result

from app import __version__
from app.cli import main
from app.directory import DATABASE
from app.queries import users
from tests.conftest import Start
from tests.service import Service

TOKEN = re.compile(r"lh_[A-Za-z0-9_-]{43}")

Command = Callable[..., Result]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run a command in this process, in an empty directory; `data` in it is the data directory."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith(("LONGHAND_", "ANTHROPIC_")):
            monkeypatch.delenv(name)
    return lambda *arguments: CliRunner().invoke(main, arguments)


async def command_beside(service: Service, *arguments: str) -> Result:
    """Run a command in a thread, while the server of the same data directory runs."""
    arguments += ("--data-dir", str(service.settings.data_dir))
    return await trio.to_thread.run_sync(CliRunner().invoke, main, arguments)


async def status_with(service: Service, token: str) -> int:
    """Return the status of a request with this access token."""
    async with service.client(token) as http:
        return (await http.get("/api/topics")).status_code


def token_in(result: Result) -> str:
    """Return the token on the last line of what was printed."""
    assert result.exit_code == 0, result.output
    token = result.stdout.splitlines()[-1]
    assert TOKEN.fullmatch(token)
    return token


# Users


def test_a_new_user_gets_a_token_on_the_last_line_of_which_only_the_digest_is_kept(command: Command) -> None:
    token = token_in(command("user", "add", "kim"))

    with closing(sqlite3.connect(Path("data") / DATABASE)) as db:
        assert db.execute("SELECT name, is_admin FROM users").fetchall() == [("kim", 0)]
        assert db.execute("SELECT sha256 FROM tokens").fetchall() == [(users.digest(token),)]
        assert token not in "".join(db.iterdump())


async def test_a_user_added_beside_a_running_server_can_sign_in_at_once(start: Start) -> None:
    async with start() as service:
        user = token_in(await command_beside(service, "user", "add", "kim"))
        admin = token_in(await command_beside(service, "user", "add", "lee", "--admin"))
        topic_id = await service.topic()

        async with service.client(user) as http:
            assert (await http.get("/api/topics")).json()["data"] == []
        async with service.client(admin) as http:
            assert [topic["id"] for topic in (await http.get("/api/topics")).json()["data"]] == [topic_id]


def test_a_name_is_given_once(command: Command) -> None:
    command("user", "add", "kim")

    result = command("user", "add", "kim")

    assert result.exit_code == 1
    assert result.stderr == ("Error: There is a user 'kim' already. Give them a token with 'longhand token add kim'.\n")
    assert result.stdout == ""


@pytest.mark.parametrize("name", ["", "김", "kim lee", "kim/lee", ".kim", "k" * 65, "kim\n"])
def test_a_name_that_is_none_is_refused(command: Command, name: str) -> None:
    result = command("user", "add", name)

    assert result.exit_code == 2
    assert "Error: Invalid value for NAME: a name has 1 to 64 letters, digits and . _ @ -\n" in result.stderr
    assert not Path("data").exists()


# Access tokens


async def test_a_further_token_works_beside_the_first(start: Start) -> None:
    async with start() as service:
        first = token_in(await command_beside(service, "user", "add", "kim"))
        second = token_in(await command_beside(service, "token", "add", "kim", "--label", "laptop"))

        assert await status_with(service, first) == 200
        assert await status_with(service, second) == 200


@pytest.mark.parametrize("label", ["longhand write", "LONGHAND_ADMIN_TOKEN"])
def test_a_label_whose_tokens_end_by_themselves_is_refused(command: Command, label: str) -> None:
    command("user", "add", "kim")

    result = command("token", "add", "kim", "--label", label)

    assert result.exit_code == 2
    assert "--label" in result.stderr


async def test_a_token_may_be_given_so_many_days(start: Start) -> None:
    async with start() as service:
        await command_beside(service, "user", "add", "kim")
        token = token_in(await command_beside(service, "token", "add", "kim", "--days", "30"))
        assert await status_with(service, token) == 200
        (row,) = await service.rows(
            "SELECT julianday(expires_at) - julianday(created_at) AS days FROM tokens WHERE expires_at IS NOT NULL"
        )
        lasting = await command_beside(service, "token", "list")
        await service.rows("UPDATE tokens SET expires_at = '2026-01-01T00:00:00.000Z' WHERE expires_at IS NOT NULL")
        over = await command_beside(service, "token", "list")

    assert 29.99 < row["days"] < 30.01
    assert [line.split("\t")[4].rpartition(" ")[0] for line in lasting.stdout.splitlines()] == ["", "", "valid until"]
    assert over.stdout.splitlines()[-1].endswith("\texpired 2026-01-01T00:00:00.000Z")


@pytest.mark.parametrize("days", ["0", "-1", "36501", "many"])
def test_days_are_a_whole_number_of_them(command: Command, days: str) -> None:
    command("user", "add", "kim")

    result = command("token", "add", "kim", "--days", days)

    assert result.exit_code == 2
    assert "--days" in result.stderr


def test_a_token_is_for_somebody(command: Command) -> None:
    command("user", "add", "kim")

    result = command("token", "add", "lee")

    assert result.exit_code == 1
    assert result.stderr == "Error: There is no user 'lee'. Add them with 'longhand user add lee'.\n"


async def test_a_revoked_token_is_refused_as_soon_as_the_command_returns(start: Start) -> None:
    async with start() as service:
        token = token_in(await command_beside(service, "user", "add", "kim"))
        assert await status_with(service, token) == 200  # now the server remembers it
        (number,) = [row["id"] for row in await service.rows("SELECT id FROM tokens WHERE label = 'first token'")]

        revoked = await command_beside(service, "token", "revoke", str(number))

        assert (revoked.exit_code, revoked.output) == (0, f"Revoked the token {number}.\n")
        assert await status_with(service, token) == 401
        again = await command_beside(service, "token", "revoke", str(number))
        assert again.exit_code == 1
        assert again.stderr == f"Error: There is no valid token {number}. 'longhand token list' shows them.\n"


async def test_the_list_tells_whose_tokens_there_are_and_no_secret(start: Start) -> None:
    async with start() as service:
        first = token_in(await command_beside(service, "user", "add", "kim"))
        second = token_in(await command_beside(service, "token", "add", "kim"))
        await command_beside(service, "token", "revoke", "2")

        listed = await command_beside(service, "token", "list")

    lines = [line.split("\t") for line in listed.stdout.splitlines()]
    assert [line[:3] for line in lines] == [
        ["1", "admin", "LONGHAND_ADMIN_TOKEN"],
        ["2", "kim", "first token"],
        ["3", "kim", "-"],
    ]
    assert [line[4].split(" ")[0] for line in lines] == ["valid", "revoked", "valid"]
    for secret in (first, second, users.digest(first), users.digest(second)):
        assert secret not in listed.output


@pytest.mark.parametrize("arguments", [("token", "list"), ("token", "revoke", "1"), ("token", "add", "kim")])
def test_where_there_is_no_database_none_is_made_to_look_into(command: Command, arguments: tuple[str, ...]) -> None:
    result = command(*arguments)

    assert result.exit_code == 1
    assert result.output == "longhand: There is no database in data. Name its directory with --data-dir.\n"
    assert list(Path().iterdir()) == []


def test_a_database_that_is_none_is_told_in_one_line(command: Command) -> None:
    Path("data").mkdir()
    (Path("data") / DATABASE).write_bytes(b"no database " * 500)

    result = command("token", "list")

    assert result.exit_code == 1
    assert result.output == "longhand: The database in data cannot be used: file is not a database.\n"


# Calls


@pytest.mark.parametrize(
    "arguments",
    [
        (), ("serve",), ("write",), ("user",), ("user", "add"), ("user", "password"), ("token",), ("token", "add"),
        ("token", "list"), ("token", "revoke"), ("backup",), ("restore",), ("check",), ("bench",), ("chaos",),
        ("login",), ("logout",), ("watch",), ("status",), ("list",), ("show",), ("cancel",), ("resume",), ("delete",),
        ("doctor",), ("completion",),
    ],
)  # fmt: skip
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_command_explains_itself(command: Command, arguments: tuple[str, ...], option: str) -> None:
    result = command(*arguments, option)

    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: {' '.join(['main', *arguments])} ")
    assert "..." not in re.sub(r"COMMAND \[ARGS\]\.\.\.", "", result.stdout)  # no sentence is cut short


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("sing",), "No such command 'sing'"),
        (("user", "add"), "Missing argument 'NAME'"),
        (("token", "revoke", "all"), "'all' is not a valid integer"),
        (("serve", "--port", "80"), "No such option '--port'"),
        (("write", "Tides", "and", "ebbs"), "Got unexpected extra arguments (and ebbs)"),
    ],
)
def test_a_wrong_call_ends_with_2_and_says_what_is_wrong(
    command: Command, arguments: tuple[str, ...], fault: str
) -> None:
    result = command(*arguments)

    assert result.exit_code == 2
    assert fault in result.stderr


@pytest.mark.parametrize("arguments", [("token", "list"), ("user", "add", "kim"), ("write", "Tides"), ("serve",)])
def test_a_wrong_setting_ends_every_command_with_2(
    command: Command, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setenv("LONGHAND_ADMIN_TOKEN", "a secret")

    result = command(*arguments)

    assert result.exit_code == 2
    assert result.output.startswith("longhand: LONGHAND_ADMIN_TOKEN: a token is 16 to 512 printable ASCII characters")
    assert "a secret" not in result.output
    assert list(Path().iterdir()) == []


def test_it_knows_its_version(command: Command) -> None:
    assert command("--version").output == f"longhand, version {__version__}\n"

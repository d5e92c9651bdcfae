"""`longhand login` and `logout`: checked, stored for one person alone, sent to no other server."""

import json
import os
from pathlib import Path

import pytest

from app.errors import SettingsError
from app.terminal.login import Login, login_file, named, store_login, stored_login
from tests.client.between import answer, canned
from tests.process import longhand, started
from tests.service import ADMIN_TOKEN, Service


async def test_a_login_is_checked_stored_and_used_until_the_logout(service: Service, here: Path) -> None:
    await service.topic("Tides")

    code, process = await longhand("login", "--url", service.url, cwd=here, stdin=f"{ADMIN_TOKEN}\n".encode())
    listed, topics = await longhand("list", cwd=here)
    mode = login_file().stat().st_mode & 0o777
    out, _ = await longhand("logout", cwd=here)
    after, _ = await longhand("list", cwd=here)

    assert (code, listed, out, after) == (0, 0, 0, 4)
    assert process.output.startswith(f"Signed in to {service.url} (Longhand ")
    assert ADMIN_TOKEN not in process.output + process.errors
    assert topics.output.endswith("\tTides\n")
    assert mode == 0o600
    assert not login_file().exists()


async def test_on_a_terminal_it_asks_and_does_not_show_the_token(service: Service, here: Path) -> None:
    async with started("login", cwd=here, whole_terminal=True) as process:
        await process.shown("Server [http://127.0.0.1:8000]:")
        await process.type(f"{service.url}\n")
        await process.shown("Access token:")
        await process.type(f"{ADMIN_TOKEN}\n")
        code = await process.wait()

    assert code == 0
    assert ADMIN_TOKEN not in process.errors
    assert stored_login() == Login(service.url, ADMIN_TOKEN)


@pytest.mark.parametrize(
    ("token", "code", "line"),
    [
        ("wrong-token", 4, "does not take this token. Check it, or get another one."),
        ("", 2, "There is none."),
        ("토큰", 2, "The token is not one: it holds more than printable ASCII characters."),
    ],
)
async def test_a_wrong_token_is_not_stored(service: Service, here: Path, token: str, code: int, line: str) -> None:
    exit_code, process = await longhand("login", "--url", service.url, cwd=here, stdin=f"{token}\n".encode())

    assert exit_code == code
    assert line in process.errors
    assert not login_file().exists()


async def test_what_is_not_longhand_never_gets_the_token(here: Path) -> None:
    async with canned(answer("200 OK", "<h1>Hello</h1>", kind="text/html")) as server:
        code, process = await longhand("login", "--url", server.url, "--token", "secret", cwd=here)

    assert code == 3
    assert "is not Longhand" in process.errors
    assert server.requests == ["GET /openapi.json HTTP/1.1"]
    assert not login_file().exists()


async def test_a_file_that_others_could_read_is_replaced_by_one_of_ones_own(service: Service, here: Path) -> None:
    login_file().parent.mkdir(parents=True)
    login_file().write_text("{}")
    login_file().chmod(0o644)
    usual = os.umask(0)
    try:
        await longhand("login", "--url", service.url, "--token", ADMIN_TOKEN, cwd=here)
    finally:
        os.umask(usual)

    assert login_file().stat().st_mode & 0o777 == 0o600
    assert [path.name for path in login_file().parent.iterdir()] == ["login.json"]


def test_an_option_goes_before_its_variable_and_that_before_what_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    store_login(Login("http://stored:1", "stored"))

    assert named(None, None) == Login("http://stored:1", "stored")
    assert named("http://stored:1/", None) == Login("http://stored:1/", "stored")
    assert named(None, "option") == Login("http://stored:1", "option")
    monkeypatch.setenv("LONGHAND_URL", "http://variable:1")
    monkeypatch.setenv("LONGHAND_TOKEN", "variable")
    assert named(None, None) == Login("http://variable:1", "variable")
    assert named("http://option:1", "option") == Login("http://option:1", "option")


def test_a_stored_token_is_sent_to_no_other_server() -> None:
    store_login(Login("http://stored:1", "stored"))

    assert named("http://other:1", None) == Login("http://other:1", "")


def test_a_token_without_an_address_is_for_this_machine() -> None:
    assert named(None, "token") == Login("http://127.0.0.1:8000", "token")


@pytest.mark.parametrize("content", ["", "[]", json.dumps({"url": "http://stored:1"})])
def test_a_spoilt_file_is_told_with_what_to_do(content: str) -> None:
    store_login(Login("http://stored:1", "stored")).write_text(content)

    with pytest.raises(SettingsError, match="Take it away with 'longhand logout'"):
        stored_login()


def test_a_token_does_not_show() -> None:
    assert "secret" not in repr(Login("http://stored:1", "secret"))

"""Which server, and who asks: from options, the environment, or what `longhand login` has stored."""

import json
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from app.client.address import base_url, checked_token
from app.environment import environment
from app.errors import SettingsError

DEFAULT_URL = "http://127.0.0.1:8000"
"""Where `longhand serve` listens unless it is told otherwise."""


@dataclass(frozen=True, slots=True)
class Login:
    """A server, and the token for it; an empty one means that there is none."""

    url: str
    token: str = field(repr=False)


def login_file() -> Path:
    """Return where a login is stored: in the XDG configuration directory."""
    configured = environment().get("XDG_CONFIG_HOME", "")
    directory = Path(configured) if configured.startswith("/") else Path.home() / ".config"
    return directory / "longhand" / "login.json"


def named(url: str | None, token: str | None) -> Login | None:
    """Return the server that is named anywhere: an option goes before its variable, and that before what is stored.

    A stored token is sent to no other server than the one that it was stored for. Raises SettingsError.
    """
    variables = environment()
    url = url or variables.get("LONGHAND_URL", "").strip()
    token = token or variables.get("LONGHAND_TOKEN", "").strip()
    stored = None if url and token else stored_login()
    if not url and not token:
        return stored
    if url and not token and stored and _same(url, stored.url):
        token = stored.token
    return Login(_checked(url or (stored.url if stored else DEFAULT_URL)), _token(token))


def names_server(url: str | None) -> bool:
    """Whether a server is named at all, other than by default."""
    return bool(url or environment().get("LONGHAND_URL", "").strip() or stored_login())


def stored_login() -> Login | None:
    """Return what `longhand login` has stored. Raises SettingsError where the file is spoilt."""
    path = login_file()
    try:
        document = json.loads(path.read_bytes())
        return Login(str(document["url"]), str(document["token"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{path} cannot be read. Take it away with 'longhand logout' and sign in anew.") from error


def store_login(login: Login) -> Path:
    """Store a login, whole and for its owner alone, and return where. Raises SettingsError."""
    path = login_file()
    beside = path.with_name(f".{path.name}.part")
    content = json.dumps({"url": login.url, "token": login.token}) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with suppress(FileNotFoundError):
            beside.unlink()
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)  # from its first byte on
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
        beside.replace(path)
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}.") from error
    return path


def forget_login() -> bool:
    """Take away what is stored; False where there is nothing. Raises SettingsError."""
    try:
        login_file().unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise SettingsError(f"{login_file()} cannot be taken away: {error.strerror}.") from error
    return True


def _checked(url: str) -> str:
    try:
        return str(base_url(url))
    except ValueError as error:
        raise SettingsError(f"The address of the server: {error}") from error


def _token(token: str) -> str:
    try:
        return checked_token(token)
    except ValueError as error:
        raise SettingsError(str(error)) from error


def _same(one: str, other: str) -> bool:
    return _checked(one).rstrip("/") == _checked(other).rstrip("/")

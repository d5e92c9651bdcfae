"""What the commands that talk to a server have in common: their options, and the call itself."""

import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

import anyio
import click
from click.shell_completion import CompletionItem

from app.client import Client, ClientError
from app.errors import LonghandError
from app.terminal.codes import NOT_ALLOWED
from app.terminal.ends import Ended, ending
from app.terminal.login import Login, named
from app.terminal.words import encoded, one_line

T = TypeVar("T")

PATIENCE_SECONDS = 10.0
"""How long a command tries again what may yet succeed, while somebody waits for it."""

COMPLETE_SECONDS = 2.0

URL = click.option("--url", metavar="URL", help="The server, instead of LONGHAND_URL or the one you logged in to.")
TOKEN = click.option(
    "--token", metavar="TOKEN",
    help="The access token, instead of LONGHAND_TOKEN or the stored one. Others may see a command's options.",
)  # fmt: skip
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


@dataclass(frozen=True, slots=True)
class Call:
    """Whom a command asks, and how it answers."""

    login: Login
    as_json: bool

    def run(self, ask: Callable[[Client], Awaitable[T]]) -> T:
        """Do something with a client; it is closed afterwards."""

        async def asking() -> T:
            async with Client(self.login.url, self.login.token, patience=PATIENCE_SECONDS) as client:
                return await ask(client)

        return anyio.run(asking)

    def tell(self, value: Any, *lines: str) -> None:
        """Print the value as JSON, or else the lines."""
        for line in [encoded(value)] if self.as_json else lines:
            print(line, flush=True)


def remote(function: Callable[..., T]) -> Callable[..., T]:
    """Give a command the options that name the server, and the call that they make as its first argument."""

    @URL
    @TOKEN
    @JSON
    @wraps(function)
    def command(*, url: str | None, token: str | None, as_json: bool, **more: Any) -> T:
        with ending(as_json=as_json):
            return function(Call(signed_in(url, token), as_json), **more)

    return command


def signed_in(url: str | None, token: str | None) -> Login:
    """Return the server and the token. Raises Ended where there is none."""
    login = named(url, token)
    if login is None or not login.token:
        where = f" to {login.url}" if login else ""
        raise Ended(
            f"You are not signed in{where}. Run 'longhand login', or give --url and --token, "
            "or set LONGHAND_URL and LONGHAND_TOKEN.", NOT_ALLOWED,
        )  # fmt: skip
    return login


def complete_id(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the id of a topic, by asking the server; nothing where that fails or takes long."""

    async def ask() -> list[CompletionItem]:
        found: list[CompletionItem] = []
        login = named(ctx.params.get("url"), ctx.params.get("token"))
        with anyio.move_on_after(COMPLETE_SECONDS):
            if login and login.token:
                async with Client(login.url, login.token, patience=0) as client:
                    topics = await client.topics(most=50)
                    found = [CompletionItem(str(topic.id), help=one_line(topic.topic)) for topic in topics]
        return found

    try:
        return [item for item in anyio.run(ask) if item.value.startswith(incomplete)]
    except (ClientError, LonghandError):
        return []


TOPIC = click.argument("topic_id", metavar="ID", type=click.IntRange(1), shell_complete=complete_id)


def on_terminal() -> bool:
    """Whether a person can be asked: they read what we write on standard error, and write what we read."""
    return sys.stdin.isatty() and sys.stderr.isatty()

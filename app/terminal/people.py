"""`longhand login`, `logout` and `completion`."""

import sys

import click
from click.shell_completion import get_completion_class

from app.client import Client, LonghandProblem
from app.client.address import base_url, checked_token
from app.terminal.call import JSON, URL, Call
from app.terminal.codes import NOT_ALLOWED
from app.terminal.ends import Ended, ending
from app.terminal.login import DEFAULT_URL, Login, forget_login, login_file, store_login


@click.command()
@URL
@click.option("--token", metavar="TOKEN", help="The access token; without it you are asked, or it is read from a pipe.")
@JSON
def login(url: str | None, token: str | None, *, as_json: bool) -> None:
    """Check a server's address and a token, and store them.

    They are stored for you alone (mode 600) in the XDG configuration directory, and serve every later command. Nothing
    is stored unless the server takes the token.
    """
    asked = sys.stdin.isatty()
    url = url or (click.prompt("Server", default=DEFAULT_URL, err=True) if asked else DEFAULT_URL)
    with ending(as_json=as_json):
        chosen = Login(_address(url), "")
        version = Call(chosen, as_json).run(lambda client: client.version())  # before the token goes anywhere
        if not token:
            token = click.prompt("Access token", hide_input=True, err=True) if asked else sys.stdin.readline()
        chosen = Login(chosen.url, _token(token or ""))
        Call(chosen, as_json).run(accepts)
        path = store_login(chosen)
        told = {"url": chosen.url, "version": version, "file": str(path)}
        Call(chosen, as_json).tell(told, f"Signed in to {chosen.url} (Longhand {version}). Stored in {path}.")


@click.command()
@JSON
def logout(*, as_json: bool) -> None:
    """Forget the server and the token that login stored. The token holds on; its server can revoke it."""
    forgotten = forget_login()
    told = "Signed out. The token holds until it is revoked." if forgotten else "Nobody was signed in."
    Call(Login("", ""), as_json).tell({"file": str(login_file()), "forgotten": forgotten}, told)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what a SHELL needs to complete longhand's commands.

    bash: eval "$(longhand completion bash)" in ~/.bashrc; zsh: the same in ~/.zshrc; fish: longhand completion fish |
    source in config.fish.
    """
    kind = get_completion_class(shell)
    assert kind is not None
    print(kind(ctx.find_root().command, {}, "longhand", "_LONGHAND_COMPLETE").source())


async def accepts(client: Client) -> None:
    """Ask something that takes a token. Raises Ended where this one is not taken."""
    try:
        await client.topics(most=1)
    except LonghandProblem as problem:
        if problem.status in {401, 403}:
            raise Ended(f"{client.url} does not take this token. Check it, or get another one.", NOT_ALLOWED) from None
        raise


def _address(url: str) -> str:
    try:
        return str(base_url(url))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--url") from error


def _token(text: str) -> str:
    try:
        token = checked_token(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--token") from error
    if not token:
        raise click.BadParameter("There is none.", param_hint="--token")
    return token

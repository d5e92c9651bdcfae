"""`longhand user` and `longhand token`: in the data directory's database, beside a running server or without one."""

import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import click
from sqlite_utils import Database

from app import passwords
from app.access import MEMORY_SECONDS
from app.directory import DATABASE, make_directory
from app.errors import StartError
from app.models import Token, TokenId, later, now
from app.options import DATA_DIR, settings_of
from app.queries import sessions, users
from app.store import open_database

T = TypeVar("T")


@click.group()
def user() -> None:
    """Add users, and set their passwords."""


@user.command("add")
@click.argument("name")
@click.option("--admin", is_flag=True, help="Sees and may do everything.")
@DATA_DIR
def add_user(name: str, *, admin: bool, data_dir: Path | None) -> None:
    """Add a user and print a first access token, as the last line. Works while the server runs."""
    if not users.USER_NAME.fullmatch(name):
        raise click.BadParameter("a name has 1 to 64 letters, digits and . _ @ -", param_hint="NAME")
    token = users.new_token()

    def add(db: Database) -> bool:
        return users.add_with_token(db, name, token, is_admin=admin) is not None

    if not in_database(data_dir, add, create=True):
        raise click.ClickException(
            f"There is a user '{name}' already. Give them a token with 'longhand token add {name}'."
        )
    print(f"Added the user '{name}'. This is their access token, shown only now:")
    print(token)


@user.command("password")
@click.argument("name")
@click.option("--remove", is_flag=True, help="Let NAME sign in with access tokens alone.")
@DATA_DIR
def set_password(name: str, *, remove: bool, data_dir: Path | None) -> None:
    """Set the password of the user NAME.

    All their sessions in browsers end. It works while the server runs. The password is asked for twice, hidden; where
    standard input is no terminal, its first line is the password.
    """
    try:
        password = None if remove else passwords.hashed(asked_password())
    except passwords.PasswordUnfit as error:
        raise click.ClickException(f"This is not set: {error}.") from None

    def change(db: Database) -> bool:
        owner = users.user_named(db, name)
        if owner:
            sessions.change_password(db, owner.id, password)
        return owner is not None

    if not in_database(data_dir, change):
        raise click.ClickException(f"There is no user '{name}'. Add them with 'longhand user add {name}'.")
    time.sleep(MEMORY_SECONDS)  # a running server may remember the sessions for this long
    print(f"{'Removed' if remove else 'Set'} the password of '{name}'; their sessions have ended.")


def asked_password() -> str:
    if sys.stdin.isatty():
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))
    try:
        return sys.stdin.readline().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise click.ClickException("The password is not text in UTF-8.") from error


@click.group()
def token() -> None:
    """Add, list and revoke access tokens."""


@token.command("add")
@click.argument("name")
@click.option("--label", default="", help="What the token is for.")
@click.option("--days", type=click.IntRange(1, 36_500), help="When it ends by itself.", show_default="never")
@DATA_DIR
def add_token(name: str, label: str, days: int | None, data_dir: Path | None) -> None:
    """Print a further access token for the user NAME, as the last line."""
    if label in users.OUR_LABELS:
        raise click.BadParameter("this label is Longhand's own; choose another", param_hint="--label")
    fresh = users.new_token()

    def add(db: Database) -> bool:
        owner = users.user_named(db, name)
        if owner:
            users.add_token(db, owner.id, fresh, label, later(days * 86_400) if days else None)
        return owner is not None

    if not in_database(data_dir, add):
        raise click.ClickException(f"There is no user '{name}'. Add them with 'longhand user add {name}'.")
    print(f"This is an access token for '{name}', shown only now:")
    print(fresh)


@token.command("list")
@DATA_DIR
def list_tokens(data_dir: Path | None) -> None:
    """List all access tokens, by id; the tokens themselves are not kept."""
    for found in in_database(data_dir, users.tokens):
        print(f"{found.id}\t{found.user_name}\t{found.label or '-'}\tcreated {found.created_at}\t{state_of(found)}")


@token.command("revoke")
@click.argument("token_id", type=int)
@DATA_DIR
def revoke_token(token_id: int, data_dir: Path | None) -> None:
    """Revoke the access token TOKEN_ID. When the command returns, no server takes it any more."""
    if not in_database(data_dir, lambda db: users.revoke_token(db, TokenId(token_id))):
        raise click.ClickException(f"There is no valid token {token_id}. 'longhand token list' shows them.")
    time.sleep(MEMORY_SECONDS)  # a running server may remember it for this long
    print(f"Revoked the token {token_id}.")


def state_of(token: Token) -> str:
    if token.revoked_at:
        return f"revoked {token.revoked_at}"
    if token.expires_at is None:
        return "valid"
    return f"{'valid until' if token.expires_at > now() else 'expired'} {token.expires_at}"


def in_database(data_dir: Path | None, query: Callable[[Database], T], *, create: bool = False) -> T:
    """Run a query in one transaction of the data directory's database, beside a running server or without one.

    Raises StartError, also where there is no database and none is to be created.
    """
    directory = settings_of(data_dir).data_dir
    if create:
        make_directory(directory)
    elif not (directory / DATABASE).exists():
        raise StartError(f"There is no database in {directory}. Name its directory with --data-dir.")
    try:
        with closing(open_database(directory / DATABASE)) as db:
            db.conn.execute("BEGIN IMMEDIATE")
            result = query(db)
            db.conn.execute("COMMIT")
            return result
    except sqlite3.DatabaseError as error:
        raise StartError(f"The database in {directory} cannot be used: {error}.") from error

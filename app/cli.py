"""The command line: `longhand serve | write | watch | list | show | user | token | backup | doctor …`."""

import sys
from importlib import import_module
from typing import Any

import click
from click.shell_completion import CompletionItem

from app import __version__
from app.causes import expected
from app.errors import LonghandError, StartError
from app.terminal.codes import exit_codes

LATER = {
    "backup": ("app.keeping.command", "backup", "Back up the data directory into one FILE."),
    "bench": ("app.bench.command", "bench", "Measure how the server does with many reports at once."),
    "cancel": ("app.terminal.steer", "cancel", "Cancel the report of topic ID; nothing more is spent."),
    "chaos": ("app.chaos.command", "chaos", "Try whether the promises hold under faults and kills."),
    "check": ("app.keeping.command", "check", "Check the database and each report file."),
    "completion": ("app.terminal.people", "completion", "Print what a SHELL needs to complete longhand's commands."),
    "delete": ("app.terminal.topics", "delete", "Delete topic ID with its reports."),
    "doctor": ("app.terminal.doctor", "doctor", "Look for what is wrong, here and with the server."),
    "list": ("app.terminal.topics", "list_topics", "List your topics, the newest first."),
    "login": ("app.terminal.people", "login", "Check a server's address and a token, and store them."),
    "logout": ("app.terminal.people", "logout", "Forget the server and the token that login stored."),
    "restore": ("app.keeping.command", "restore", "Restore the data directory from a backup FILE."),
    "resume": ("app.terminal.steer", "resume", "Go on with the report of topic ID that failed or was cancelled."),
    "serve": ("app.serving", "serve", "Serve the HTTP API until SIGTERM or SIGINT."),
    "show": ("app.terminal.topics", "show", "Show the report of topic ID."),
    "status": ("app.terminal.topics", "status", "Tell how far the report of topic ID is."),
    "token": ("app.people", "token", "Add, list and revoke access tokens."),
    "user": ("app.people", "user", "Add users, and set their passwords."),
    "watch": (
        "app.terminal.steer",
        "watch",
        "Watch the report of topic ID to its end, or every change of your topics.",
    ),
    "write": ("app.terminal.write", "write", "Write a report on TOPIC and wait for it."),
}
"""The commands that are imported when they are asked for: the module, its name there, and the line of help for it."""


class Commands(click.Group):
    """The commands; an expected failure ends each with one plain line and its exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return sorted(LATER)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in LATER:
            return None
        module, name, _ = LATER[cmd_name]
        command: click.Command = getattr(import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, told) for name, (_, _, told) in sorted(LATER.items())])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        lines = sorted((name, told) for name, (_, _, told) in LATER.items() if name.startswith(incomplete))
        found = [CompletionItem(name, help=told) for name, told in lines]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (LonghandError, BaseExceptionGroup) as error:
            failure = expected(error)
            if failure is None:
                raise
            print(f"longhand: {failure}", file=sys.stderr)
            ctx.exit(failure.exit_code if isinstance(failure, StartError) else 1)


@click.group(cls=Commands, epilog=exit_codes(), context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="longhand")
def main() -> None:
    """Write long reports with Claude in the background."""

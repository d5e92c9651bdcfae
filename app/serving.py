"""`longhand serve`, and `longhand write` without a server: the commands that take the whole service."""

import logging
import sys
from pathlib import Path

import click
import trio

from app.causes import expected
from app.errors import StartError
from app.main import log_of
from app.options import DATA_DIR, settings_of
from app.server import load_config, serve_until_signal
from app.terminal.show import Show
from app.terminal.writing import Assignment
from app.write import write_report


@click.command()
@click.option("--bind", metavar="HOST:PORT", help="Where to listen instead of what hypercorn.toml says.")
@click.option("--config", type=click.Path(path_type=Path), help="Another hypercorn.toml.")
@DATA_DIR
def serve(bind: str | None, config: Path | None, data_dir: Path | None) -> None:
    """Serve the HTTP API until SIGTERM or SIGINT.

    Exit codes: 0 after a clean stop, 1 after a crash or when the service cannot start, 2 for wrong settings.
    """
    settings = settings_of(data_dir)
    with log_of(settings):
        try:
            trio.run(serve_until_signal, settings, load_config(config, bind), announce)
        except Exception as error:
            if expected(error):
                raise
            logging.getLogger("longhand.server").critical("The server crashed", exc_info=error)
            raise StartError("The server crashed; the log says where.") from error


def write_here(data_dir: Path | None, assignment: Assignment, output: Path | None, show: Show, *, as_json: bool) -> int:
    """Write a report with the whole service in this process, and return the exit code."""
    settings = settings_of(data_dir).model_copy(
        update={"log_level": "critical"}
    )  # one line at the end says what failed

    async def writing() -> int:
        return await write_report(settings, assignment, output, show, as_json=as_json)

    with log_of(settings):
        return trio.run(writing)


def announce(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

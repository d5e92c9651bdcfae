"""`longhand bench`: the options, the run, what is printed and kept, the exit code."""

import json
import signal
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import trio
from rich.console import Console

from app.bench import show
from app.bench.figures import Figure, figures, notes
from app.bench.measure import Document, Tell, run
from app.bench.options import Options
from app.bench.plot import Mark, svg
from app.bench.processes import BenchFailed, allow_many_files
from app.environment import environment
from app.write import Interruption

COUNT = click.IntRange(min=1, max=100_000)
NONE_OR_MORE = click.IntRange(min=0, max=100_000)
CHARACTERS = click.IntRange(min=1, max=10_000_000)
POSITIVE = click.FloatRange(min=0, min_open=True, max=100_000)
FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option("--reports", type=COUNT, default=200, show_default=True, help="How many are submitted in the burst.")
@click.option("--events", type=COUNT, default=200, show_default=True, help="Events of text of one report.")
@click.option("--seconds", type=POSITIVE, default=10.0, show_default=True, help="How long one report streams.")
@click.option("--characters", type=CHARACTERS, default=8000, show_default=True, help="How long one report is.")
@click.option("--polls", type=POSITIVE, default=200.0, show_default=True, help="Status polls a second.")
@click.option("--submitters", type=COUNT, default=16, show_default=True, help="Connections that submit the burst.")
@click.option("--readers", type=NONE_OR_MORE, default=20, show_default=True, help="Reports that are read along.")
@click.option("--long-polls", type=NONE_OR_MORE, default=0, show_default=True, help="Reports that are waited for.")
@click.option("--tls/--no-tls", default=True, help="Whether the stand-in speaks TLS.  [default: tls]")
@click.option("--pin/--no-pin", default=True, help="Whether the server gets a core of its own.  [default: pin]")
@click.option("--baseline", is_flag=True, help="Measure a bare app and a naive variant too, for the ratios.")
@click.option("--hot", is_flag=True, help="Only: polls of one status, against a bare app.")
@click.option("--wakeups", is_flag=True, help="Only: what waking 1,000 long polls costs.")
@click.option("--streams", is_flag=True, help="Only: what an event costs for each of 200 readers.")
@click.option("--submits", is_flag=True, help="Only: how many generations are accepted a second.")
@click.option("--topics", type=NONE_OR_MORE, default=0, help="Only: start, list and status with so many old topics.")
@click.option("--concurrent", type=COUNT, help="How many reports run at once.  [default: all]")
@click.option("--probe-seconds", type=POSITIVE, default=5.0, show_default=True, help="How long each of these takes.")
@click.option("--short", is_flag=True, help="About a minute, for CI: exit 1 when a ratio is under half its target.")
@click.option("--claude-url", metavar="URL", help="Measure with this Messages API instead. It costs money.")
@click.option("--yes", is_flag=True, help="Do not ask whether it may cost money.")
@click.option("--json", "json_file", type=FILE, help="Keep everything that was measured as JSON.")
@click.option("--svg", "svg_file", type=FILE, help="Draw the latency of the polls over time.")
def bench(*, yes: bool, json_file: Path | None, svg_file: Path | None, **chosen: Any) -> None:
    """Measure how the server does with many reports at once.

    The server, a stand-in for Claude and the load are processes of their own, in a temporary directory. The settings
    in the environment hold, but for the limits that would keep the reports from running at once.

    Exit codes: 0 when it was measured, 1 when it could not be or with --short a ratio is bad, 130 after Ctrl-C.
    """
    options = checked(chosen)
    variables = environment()
    if options.claude_url:
        confirm(options, variables, yes=yes)
    check_files(json_file, svg_file)
    allow_many_files()
    found, exit_code = in_temporary_directory(options, variables)
    if found is None:
        sys.exit(exit_code)
    keep(found, json_file, svg_file)
    listed = figures(found, options)
    print_all(listed, notes(found, options))
    sys.exit(1 if options.short and any(figure.bad for figure in listed) else 0)


def checked(chosen: Mapping[str, Any]) -> Options:
    """Make the options of what was chosen; readers who were not asked for are no more than there are reports."""
    options = Options(**{field.name: chosen[field.name] for field in fields(Options)})
    context = click.get_current_context()
    if context.get_parameter_source("readers") == click.core.ParameterSource.DEFAULT:
        options = options.with_readers(min(options.readers, max(options.reports - options.long_polls, 0)))
    return options.checked()


def confirm(options: Options, variables: Mapping[str, str], *, yes: bool) -> None:
    if not variables.get("ANTHROPIC_API_KEY"):
        raise BenchFailed("--claude-url needs the key in ANTHROPIC_API_KEY.")
    question = f"{options.reports:,} whole reports will be written by {options.claude_url}. That costs money. Go on?"
    if not yes:
        click.confirm(question, abort=True)


def check_files(*files: Path | None) -> None:
    """Raises BenchFailed, before anything is measured, where the result could not be written."""
    for file in files:
        if file and not file.absolute().parent.is_dir():
            raise BenchFailed(f"There is no directory {file.parent} for {file.name}.")


def in_temporary_directory(options: Options, variables: Mapping[str, str]) -> tuple[Document | None, int]:
    """Run the benchmark; returns what was measured, or None and the exit code when it was interrupted."""
    console = Console(stderr=True, markup=False, emoji=False, highlight=False)
    temporary = TemporaryDirectory(prefix="longhand-bench-")
    with temporary as directory, show.progress(console) as tell:
        found, code = trio.run(until_signal, options, variables, Path(directory), tell)
    if found is None:
        console.print("Interrupted; every process was ended.")
    return found, code


async def until_signal(
    options: Options, variables: Mapping[str, str], directory: Path, tell: Tell
) -> tuple[Document | None, int]:
    """Run the benchmark until its end, or until Ctrl-C or SIGTERM."""
    interruption, found = Interruption(trio.CancelScope()), None
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(interruption.listen, signals)
            with interruption.scope:
                found = await run(options, variables, directory, tell)
            nursery.cancel_scope.cancel()
    return found, interruption.exit_code


def keep(found: Document, json_file: Path | None, svg_file: Path | None) -> None:
    if json_file:
        json_file.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if svg_file and (measured := found["runs"].get("longhand")):
        svg_file.write_text(svg(title_of(found), measured["timeline"], marks_of(measured)), encoding="utf-8")


def title_of(found: Document) -> str:
    options = found["options"]
    what = f"{options['reports']:,} reports of {options['seconds']:g} s"
    return f"Latency of status polls, {what}, {options['polls']:g} polls a second"


def marks_of(measured: Document) -> list[Mark]:
    happened = [(measured["burst_seconds"], "all accepted"), (measured["all_done_seconds"], "all done")]
    return [(at, label) for at, label in happened if at is not None]


def print_all(listed: list[Figure], remarks: list[str]) -> None:
    console = Console(emoji=False, highlight=False)
    console.print(show.table(listed, compared=any(figure.baseline is not None for figure in listed)))
    for remark in remarks:
        console.print(f"- {remark}", markup=False, soft_wrap=True)

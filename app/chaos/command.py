"""`longhand chaos`: the options, the run, the table, the exit code."""

import json
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from random import randrange
from tempfile import TemporaryDirectory
from time import monotonic

import click
import trio
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app.chaos.play import Evidence, Play
from app.chaos.promises import Verdict, verdicts
from app.chaos.standin import StandIn
from app.environment import environment
from app.write import Interruption


@click.command()
@click.option("--seconds", type=click.FloatRange(1, 3600), default=30, show_default=True, help="About how long.")
@click.option("--seed", type=int, help="Decides what is ordered and when is killed; the same again for the same.")
@click.option("--status-ms", type=float, default=100, show_default=True, help="What the p99 of a status may be.")
@click.option("--json", "as_json", is_flag=True, help="Print the verdicts as JSON.")
def chaos(*, seconds: float, seed: int | None, status_ms: float, as_json: bool) -> None:
    """Try whether the promises hold under faults and kills.

    The real server runs in a temporary directory, in front of a stand-in for Claude that cuts, garbles, limits and
    refuses, and is killed again and again. Nothing is spent, and no key is needed.

    Exit codes: 0 when every promise held, 1 when one did not, 130 after Ctrl-C.
    """
    seed = randrange(1_000_000) if seed is None else seed  # noqa: S311 - it is printed
    console = Console(stderr=True, markup=False, emoji=False, highlight=False)
    began = monotonic()

    def tell(line: str) -> None:
        console.print(f"{monotonic() - began:5.1f} s  {line}")

    tell(f"seed {seed}")
    with TemporaryDirectory(prefix="longhand-chaos-") as directory:
        play = Play(seed, Path(directory), environment(), StandIn(), tell)
        evidence, exit_code = trio.run(until_signal, play, seconds)
    if evidence is None:
        console.print("Interrupted; every process was ended.")
        sys.exit(exit_code)
    found = verdicts(evidence, status_ms)
    if as_json:
        shown = [asdict(verdict) for verdict in found]
        print(json.dumps({"seed": seed, "kills": evidence.kills, "promises": shown}, indent=2))
    else:
        Console(emoji=False, highlight=False).print(table(found))
    sys.exit(0 if all(verdict.held for verdict in found) else 1)


async def until_signal(play: Play, seconds: float) -> tuple[Evidence | None, int]:
    """Play to the end, or until Ctrl-C or SIGTERM."""
    interruption, evidence = Interruption(trio.CancelScope()), None
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(interruption.listen, signals)
            with interruption.scope:
                evidence = await play.run(seconds)
            nursery.cancel_scope.cancel()
    return evidence, interruption.exit_code


def table(found: list[Verdict]) -> Table:
    made = Table(header_style="bold")
    for heading in ("promise", "how it was tried", "held"):
        made.add_column(heading)
    for verdict in found:
        held = "[green]held[/green]" if verdict.held else f"[red]not held: {escape(verdict.why)}[/red]"
        made.add_row(verdict.promise, verdict.tried, held)
    return made

"""`longhand backup`, `restore` and `check`: the options, what is printed, the exit codes."""

import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from app.keeping import KeepingFailed
from app.keeping.archive import Contents
from app.keeping.backup import STANDARD_OUTPUT, back_up
from app.keeping.check import Finding, Report
from app.keeping.check import check as look_twice
from app.keeping.database import Told
from app.keeping.mend import mend as repair
from app.keeping.restore import restore as put_back
from app.options import DATA_DIR, settings_of

ARCHIVE = click.Path(dir_okay=False, allow_dash=True, path_type=Path)


@click.command()
@click.argument("file", type=ARCHIVE)
@DATA_DIR
def backup(file: Path, data_dir: Path | None) -> None:
    """Back up the data directory into one FILE.

    It may run beside the server. The archive is a tar, compressed where the name ends in .gz or .tgz; - is standard
    output. A FILE that is there is replaced when the archive is whole. It is as secret as the data directory.

    Exit codes: 0 when everything is in it, 1 when it could not be written, or a report's file is lost: it then says
    which, and whether the archive was written all the same.
    """
    if file == STANDARD_OUTPUT and sys.stdout.isatty():
        raise click.UsageError("The archive is not for a terminal. Name a file, or send standard output to one.")
    with ending_on_signal(), progress() as told:
        contents = back_up(settings_of(data_dir).data_dir, file, told)
    say(f"Backed up {held(contents)} into {'standard output' if file == STANDARD_OUTPUT else file}.")
    end_with_lost(contents)


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, exists=True, path_type=Path))
@click.option("--force", is_flag=True, help="Set aside what the data directory holds; it is not deleted.")
@DATA_DIR
def restore(file: Path, *, force: bool, data_dir: Path | None) -> None:
    """Restore the data directory from a backup FILE.

    The directory must be empty, and everything is verified before anything is put in place. With --force, what it holds
    is moved into a directory before-restore-… in it.

    Exit codes: 0 when it is restored, 1 when nothing was changed, or a report was lost before the backup was made.
    """
    directory = settings_of(data_dir).data_dir
    with ending_on_signal():
        contents = put_back(file, directory, force=force)
    say(f"Restored {held(contents)} into {directory}.")
    end_with_lost(contents)


@click.command()
@click.option("--mend", is_flag=True, help="Repair what can be; no server may run.")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
@DATA_DIR
def check(*, mend: bool, as_json: bool, data_dir: Path | None) -> None:
    """Check the database and each report file.

    It may run beside the server, and changes nothing. With --mend, files that belong to nothing are moved to found in
    the data directory, and reports are written again where the database holds their text.

    Exit codes: 0 when all is sound, 1 when something is wrong, or was until it was mended, 2 for a wrong call.
    """
    directory = settings_of(data_dir).data_dir
    report = repair(directory) if mend else look_twice(directory, time.sleep)
    if as_json:
        print(json.dumps(document(report), ensure_ascii=False, indent=2))
    else:
        tell(report, mend=mend)
    sys.exit(1 if report.findings else 0)


def tell(report: Report, *, mend: bool) -> None:
    for finding in report.findings:
        print(f"{finding.code}: {finding.sentence}")
    for note in report.notes:
        print(f"note: {note}")
    counted = ", ".join(f"{number} {name}" for name, number in report.counts.items())
    left = [finding for finding in report.findings if not finding.mended]
    if not report.findings:
        print(f"All is sound: {counted}.")
    elif not left:
        print(f"{len(report.findings)} findings, all mended: {counted}.")
    else:
        advice = "nothing more can be done about them here" if mend else "'longhand check --mend' repairs what can be"
        print(f"{len(report.findings)} findings, {len(left)} of them not mended; {advice}.")


def document(report: Report) -> dict[str, object]:
    """Return a report as JSON."""
    return {
        "sound": not report.findings,
        "server_running": report.server_running,
        "counts": report.counts,
        "findings": [shown(finding) for finding in report.findings],
        "notes": report.notes,
    }


def shown(finding: Finding) -> dict[str, object]:
    about = asdict(finding.file) if finding.file else {}
    names: dict[str, object] = {
        name: about[name] for name in ("artifact_id", "topic_id", "generation_id") if name in about
    }
    return {
        "code": finding.code,
        "detail": finding.detail,
        "path": finding.path or None,
        "mended": finding.mended,
        "remark": finding.remark or None,
        **names,
    }


def held(contents: Contents) -> str:
    kept = contents.reports - len(contents.lost)
    return f"{kept} reports, {contents.topics} topics and {contents.users} users as of {contents.created_at}"


def end_with_lost(contents: Contents) -> None:
    if contents.lost:
        ids = ", ".join(map(str, contents.lost))
        raise KeepingFailed(f"The files of these artifacts are lost and not in it: {ids}. 'longhand check' tells more.")


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextmanager
def progress() -> Iterator[Told]:
    """Give a function that shows how far the copy of the database is, on a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bars:
        bar = bars.add_task("database")
        yield lambda left, total: bars.update(bar, total=total, completed=total - left)


@contextmanager
def ending_on_signal() -> Iterator[None]:
    """Let SIGTERM end what is done as Ctrl-C does: nothing half done stays."""

    def end(number: int, _: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

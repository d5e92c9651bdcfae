"""Looking for what is wrong in a data directory. Nothing is changed, and a server may run beside."""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from app.directory import DATABASE, LOCK, REPORTS, RESTORED, is_held
from app.files import TRASH
from app.keeping import KeepingFailed
from app.keeping.backup import STAGING, held
from app.keeping.contents import holds
from app.keeping.database import faults, looking
from app.keeping.restore import READYING
from app.models import GenerationId, TopicId
from app.queries import soundness
from app.queries.soundness import KeptFile

LOOKS = 3
PAUSE_SECONDS = 1.0
"""How often, and how far apart, a directory is looked at where a server may be in the middle of something."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong. `path` is below the data directory; `remark` says what was done about it."""

    code: str
    detail: str
    path: str = ""
    file: KeptFile | None = None
    row: int = 0
    mended: bool = False
    remark: str = ""

    @property
    def key(self) -> tuple[str, str, int]:
        return self.code, self.path, self.row

    @property
    def sentence(self) -> str:
        return f"{self.detail} {self.remark}".strip()


@dataclass(slots=True)
class Report:
    """What was found. `notes` are no faults: the next start of a server settles them."""

    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    server_running: bool = False

    @property
    def database_sound(self) -> bool:
        return not any(finding.code in {"database_damaged", "foreign_key"} for finding in self.findings)


def check(data_dir: Path, wait: Callable[[float], object]) -> Report:
    """Look at a data directory; where a server runs, only what is still there after further looks is wrong.

    Raises KeepingFailed where there is no database to look at, StartError for a newer Longhand's.
    """
    running = is_held(data_dir)
    report = look(data_dir, running=running)
    running = running or is_held(data_dir)  # it may have been started meanwhile
    for _ in range(LOOKS - 1):
        if not report.findings or not running:
            break
        wait(PAUSE_SECONDS)
        before = {finding.key for finding in report.findings}
        report = look(data_dir, running=running)
        report.findings = [finding for finding in report.findings if finding.key in before]
    return report


def look(data_dir: Path, *, running: bool) -> Report:
    """Look once."""
    report = Report(list(open_to_others(data_dir)), server_running=running)  # before SQLite puts anything there
    with looking(data_dir / DATABASE) as db:
        report.findings += [Finding(code, detail, row=row) for row, (code, detail) in enumerate(faults(db))]
        if not report.database_sound:
            return report
        report.counts = soundness.counts(db)
        unfinished = soundness.unfinished(db)
        files = soundness.kept_files(db)
        for generation_id in soundness.needless_texts(db):
            detail = f"Text of the completed generation {generation_id} is still kept."
            report.findings.append(Finding("needless_text", detail, row=generation_id))
        for call_id, generation_id in soundness.forgotten_calls(db):
            detail = f"Call {call_id} to Claude is open in the ledger, though generation {generation_id} has ended."
            report.findings.append(Finding("forgotten_call", detail, row=call_id))
    report.findings += wrong_files(data_dir / REPORTS, files)
    report.findings += stray_files(data_dir / REPORTS, files, unfinished)
    report.findings += left_over(data_dir, running=running)
    if unfinished and not running:
        report.notes.append(f"{len(unfinished)} generations are unfinished; they go on at the next start.")
    if not running and (data_dir / RESTORED).exists():
        report.notes.append("A restore was cut off; the next start finishes it.")
    return report


def wrong_files(reports: Path, files: list[KeptFile]) -> Iterator[Finding]:
    """Give the artifacts whose file is gone, or is not what their row says."""
    for file in files:
        where = f"The file of artifact {file.artifact_id} (topic {file.topic_id}), {REPORTS}/{file.path},"
        if not file.well_placed:
            yield Finding("artifact_lost", f"{where} is not where it belongs.", "", file, file.artifact_id)
            continue
        try:
            whole = holds(reports / file.path, file)
        except FileNotFoundError:
            yield Finding("artifact_lost", f"{where} is gone.", f"{REPORTS}/{file.path}", file, file.artifact_id)
            continue
        except KeepingFailed as error:
            yield Finding("artifact_unreadable", str(error), f"{REPORTS}/{file.path}", file, file.artifact_id)
            continue
        if not whole:
            detail = f"{where} is not what was saved: its size or its sha256 differs."
            yield Finding("artifact_changed", detail, f"{REPORTS}/{file.path}", file, file.artifact_id)


def stray_files(reports: Path, files: list[KeptFile], unfinished: dict[GenerationId, TopicId]) -> Iterator[Finding]:
    """Give the report files that belong to nothing. Those of an unfinished generation are written anew, or removed."""
    known = {file.path for file in files}
    coming = {f"{topic_id}/{generation_id}.md" for generation_id, topic_id in unfinished.items()}
    for path in everything_in(reports):
        inside = path.relative_to(reports)
        if inside.parts[0] == TRASH or str(inside) in known or not is_file(path):
            continue
        whole = path.name.removeprefix(".").removesuffix(".part")
        if str(inside.with_name(whole)) in coming:
            continue
        if whole != path.name:
            yield Finding(
                "temporary_file", f"{REPORTS}/{inside} is left of a save that was cut off.", f"{REPORTS}/{inside}"
            )
        else:
            yield Finding("stray_file", f"{REPORTS}/{inside} belongs to no report.", f"{REPORTS}/{inside}")


def left_over(data_dir: Path, *, running: bool) -> Iterator[Finding]:
    """Give what a backup or a restore has left that was killed. A restore that works holds the directory."""
    for name, what in ((STAGING, "backup"), (READYING, "restore")):
        works = running if name == READYING else is_worked_in(data_dir / name)
        if (data_dir / name).is_dir() and not works:
            yield Finding("temporary_file", f"{name} is left of a {what} that was cut off.", name)


def is_worked_in(stage: Path) -> bool:
    """Whether a backup works in a directory right now."""
    try:
        descriptor = os.open(stage, os.O_RDONLY)
    except OSError:
        return False
    try:
        return not held(descriptor)
    finally:
        os.close(descriptor)


def open_to_others(data_dir: Path) -> Iterator[Finding]:
    """Give the files and directories that somebody else than their owner may read or write."""
    ours = [data_dir, *(data_dir / name for name in (LOCK, REPORTS, DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm"))]
    for path in [*ours, *everything_in(data_dir / REPORTS)]:
        try:
            found = path.lstat().st_mode
        except FileNotFoundError:
            continue
        mode = stat.S_IMODE(found)
        if mode & 0o077 and not stat.S_ISLNK(found):
            name = str(path.relative_to(data_dir))
            yield Finding("open_to_others", f"{name} has the mode {mode:04o}: others may use it.", name)


def everything_in(directory: Path) -> list[Path]:
    """Return all that is below a directory, in order; what a running server removes meanwhile may be left out.

    Raises KeepingFailed where a directory cannot be read.
    """
    walk = os.walk(directory, onerror=unless_gone)
    return sorted(Path(parent, name) for parent, *names in walk for name in [*names[0], *names[1]])


def unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise KeepingFailed(f"{error.filename} cannot be read: {error.strerror}.") from error


def is_file(path: Path) -> bool:
    """Whether there is something at a path that is no directory; a link is."""
    return path.is_symlink() or (path.exists() and not path.is_dir())

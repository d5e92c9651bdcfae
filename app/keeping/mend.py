"""Repairing what a check has found. Nothing that might be somebody's work is deleted: it is moved to `found`."""

import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from sqlite_utils import Database

from app.directory import DATABASE, REPORTS, hold_directory, make_private, sync_directory
from app.draft import report_text
from app.errors import LonghandError
from app.keeping.archive import private_file
from app.keeping.backup import STAGING
from app.keeping.check import Finding, Report, look
from app.keeping.contents import holds
from app.keeping.database import errors_of
from app.keeping.restore import READYING
from app.models import CallId, GenerationId
from app.queries import artifacts, soundness, texts, usage
from app.queries.soundness import KeptFile
from app.store import open_database

FOUND = "found"


def mend(data_dir: Path) -> Report:
    """Check a data directory that no server holds, and repair what can be; `remark` says of each finding what was done.

    Promises:
    - A report's file is only ever replaced by one with the sha256 of its row.
    - What belongs to nothing is moved to `found/<time>` in the data directory, not deleted.
    - Where SQLite finds the database itself damaged, nothing is touched.

    Raises StartError where a server holds the directory, KeepingFailed where there is no database.
    """
    before = look(data_dir, running=False)  # where there is no database, none is made
    with hold_directory(data_dir):  # which closes the directory and the database to others
        report = look(data_dir, running=False)
        opened = [finding for finding in before.findings if finding.code == "open_to_others"]
        report.findings = opened + [finding for finding in report.findings if finding.code != "open_to_others"]
        if not report.database_sound:
            return report
        with errors_of(data_dir / DATABASE), closing(open_database(data_dir / DATABASE)) as db:
            bench = Bench(data_dir, db)
            report.findings = [bench.mend(finding) for finding in report.findings]
    return report


class NotMended(LonghandError):
    """What was found is still so; the text says what was done all the same."""


class Bench:
    """Where findings are mended, one after the other; each way says what it did, or raises NotMended."""

    def __init__(self, data_dir: Path, db: Database) -> None:
        self._data_dir = data_dir
        self._db = db
        self._found = data_dir / FOUND / f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}Z"
        self._ways: dict[str, Callable[[Finding], str]] = {
            "artifact_lost": self._write_again,
            "artifact_changed": self._write_again,
            "stray_file": self._move,
            "temporary_file": self._move,
            "needless_text": self._drop_text,
            "forgotten_call": self._close_call,
            "open_to_others": self._close,
        }

    def mend(self, finding: Finding) -> Finding:
        """Mend a finding, where that can be, and return it with what was done."""
        way = self._ways.get(finding.code)
        try:
            return replace(finding, mended=True, remark=way(finding)) if way else finding
        except NotMended as error:
            return replace(finding, remark=str(error))
        except OSError as error:
            return replace(finding, remark=f"It could not be mended: {error.strerror}.")

    def _write_again(self, finding: Finding) -> str:
        """Write a report's file anew from what the database holds of it, if that is the very same text."""
        assert finding.file is not None
        moved = self._move(finding) if finding.code == "artifact_changed" else ""
        for text in self._texts(finding.file):
            if finding.file.well_placed and self._put(finding.file, text):
                return f"{moved} It was written again from the database.".strip()
        raise NotMended(f"{moved} The report is lost: the database does not hold its text.".strip())

    def _texts(self, file: KeptFile) -> list[str]:
        """Return what may be the text of a report: from the conversation, or what is kept of a cancelled one."""
        generation = soundness.generation_of_file(self._db, file)
        said = artifacts.report_text(self._db, file.generation_id)
        kept = texts.kept_strands(self._db, file.generation_id)
        return [
            *([said] if said is not None else []),
            *([f"{report_text(generation, kept)}\n"] if generation and kept else []),
        ]

    def _put(self, file: KeptFile, text: str) -> bool:
        """Write a text in the place of a report's file if it is what the row says."""
        target = self._data_dir / REPORTS / file.path
        make_private(target.parent)
        beside = target.with_name(f".{target.name}.part")
        with private_file(beside) as stream:
            stream.write(text.encode())
        if not holds(beside, file):
            beside.unlink()
            return False
        beside.replace(target)
        sync_directory(target.parent)
        return True

    def _move(self, finding: Finding) -> str:
        source = self._data_dir / finding.path
        if finding.path in {STAGING, READYING}:
            shutil.rmtree(source)
            return "It was removed: it held nothing but copies."
        target = self._found / finding.path
        make_private(target.parent)
        source.rename(target)
        sync_directory(target.parent)
        return f"It was moved to {target.relative_to(self._data_dir)}."

    def _drop_text(self, finding: Finding) -> str:
        texts.drop_text(self._db, GenerationId(finding.row))
        return "It was dropped: the report holds it."

    def _close_call(self, finding: Finding) -> str:
        usage.interrupt_calls(self._db, CallId(finding.row))
        return "It was closed as interrupted."

    def _close(self, finding: Finding) -> str:
        path = self._data_dir / finding.path
        path.chmod(0o700 if path.is_dir() else 0o600)
        return "It is its owner's alone now."

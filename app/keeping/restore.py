"""Restoring: everything is made ready and verified beside what is there, and then takes its place in one step."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.directory import DATABASE, LOCK, REPORTS, RESTORED, finish_restore, lock_directory, sync_directory
from app.errors import StartError
from app.keeping import KeepingFailed, one_line
from app.keeping.archive import ArchiveReader, Contents, reading
from app.keeping.database import faults, looking
from app.queries import soundness
from app.queries.soundness import KeptFile

READYING = ".restore"
HARMLESS = {LOCK, READYING, "lost+found"}
"""What an empty data directory may hold: the last is the file system's own."""


def restore(archive: Path, data_dir: Path, *, force: bool = False) -> Contents:
    """Put what an archive holds into a data directory, which must be empty; with `force`, set aside what is there.

    Promises:
    - Nothing is put in place before all of it was read and verified: names, sizes, hashes, the database itself.
    - After a crash at any moment the directory holds what it held before, or what was restored, whole: what was begun
      to be put in place is finished by whoever holds the directory next.
    - What was there before is never deleted. A directory that a server holds is refused.

    Raises KeepingFailed, or StartError.
    """
    with reading(archive) as reader:
        contents = reader.contents()
        with lock_directory(data_dir):
            finish_restore(data_dir)
            if not force and (there := sorted(path.name for path in data_dir.iterdir() if path.name not in HARMLESS)):
                raise KeepingFailed(
                    f"The data directory {data_dir} is not empty (it holds {', '.join(there[:3])}). Name another one "
                    "with --data-dir, or set aside what is in it with --force."
                )
            with errors_of(data_dir), readying(data_dir) as ready:
                make_ready(reader, contents, ready)
                ready.rename(data_dir / RESTORED)
                sync_directory(data_dir)
            finish_restore(data_dir)
            data_dir.chmod(0o700)
    return contents


def make_ready(reader: ArchiveReader, contents: Contents, ready: Path) -> None:
    """Extract an archive into an empty directory and verify it, on disk when this returns."""
    check_room(ready, contents.database_size)
    reader.extract(DATABASE, contents.database_size, contents.database_sha256, ready / DATABASE)
    files = files_of(reader, contents, ready / DATABASE)
    check_room(ready, sum(file.size for file in files))
    (ready / REPORTS).mkdir(mode=0o700)
    for file in files:
        target = ready / REPORTS / file.path
        target.parent.mkdir(exist_ok=True, mode=0o700)
        reader.extract(f"{REPORTS}/{file.path}", file.size, file.sha256, target)
        sync_directory(target.parent)
    reader.end()
    sync_directory(ready / REPORTS)
    sync_directory(ready)


def files_of(reader: ArchiveReader, contents: Contents, database: Path) -> list[KeptFile]:
    """Return the files that must follow the database, in their order. Raises KeepingFailed for a damaged one."""
    try:
        with looking(database, still=True) as db:
            if found := next(faults(db), None):
                raise reader.wrong(found[1].rstrip("."))
            files = soundness.kept_files(db)
    except StartError as error:
        raise KeepingFailed(one_line(f"{reader.name}: {error}")) from error
    if strange := next((file for file in files if not file.well_placed or file.size < 0), None):
        raise reader.wrong(f"artifact {strange.artifact_id} has a file where none can be")
    return [file for file in files if file.artifact_id not in contents.lost]


def check_room(directory: Path, size: int) -> None:
    free = shutil.disk_usage(directory).free
    if size > free:
        raise KeepingFailed(f"There is no room for it: {size:,} bytes are needed, and {free:,} are free.")


@contextmanager
def readying(data_dir: Path) -> Iterator[Path]:
    """Give an empty directory in the data directory; what is still in it at the end is removed."""
    ready = data_dir / READYING
    if ready.exists():
        shutil.rmtree(ready)
    ready.mkdir(mode=0o700)
    try:
        yield ready
    finally:
        shutil.rmtree(ready, ignore_errors=True)


@contextmanager
def errors_of(data_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise KeepingFailed(f"The data directory {data_dir} cannot be written: {error.strerror}.") from error

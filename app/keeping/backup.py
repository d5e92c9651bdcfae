"""A backup: one archive of one moment, made beside a running server or without one."""

import errno
import fcntl
import gzip
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

from sqlite_utils import Database

from app import __version__
from app.directory import DATABASE, REPORTS, make_private, sync_directory
from app.files import TRASH
from app.keeping import KeepingFailed
from app.keeping.archive import FORMAT, ArchiveWriter, Contents, private_file
from app.keeping.contents import digest_of, holds
from app.keeping.database import Told, changing, copy_database, looking
from app.models import TopicId, now
from app.queries import soundness, topics
from app.queries.soundness import KeptFile

STAGING = ".backup"
STANDARD_OUTPUT = Path("-")
NO_LINKS = {errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS}
"""What file systems say that know no hard links."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """What a backup holds: the files, and the artifacts whose file is lost."""

    files: list[KeptFile]
    lost: list[KeptFile]


def back_up(data_dir: Path, output: Path, told: Told) -> Contents:
    """Write an archive of a data directory; `-` is standard output, a name that ends in gz is compressed.

    Promises:
    - The database is of one moment; each of its reports is in the archive with the size and the sha256 of its row,
      whatever is written or deleted meanwhile. A topic that is deleted after that moment is in it with all its files or
      not at all. A report whose file was lost before is named in `lost`.
    - A server that runs is never held up.
    - No browser's session is in it: who restores it signs nobody in.
    - The archive is whole or not there, and its owner's alone.

    Raises KeepingFailed, or StartError for a database of a newer Longhand.
    """
    with staging(data_dir) as stage:
        created = now()
        with looking(data_dir / DATABASE) as db:
            copy_database(db, stage / DATABASE, told)
        with changing(stage / DATABASE) as copy:
            soundness.drop_sessions(copy)
            gathered = gather(data_dir, stage, copy)
            counted = soundness.counts(copy)
        sha256, size = digest_of(stage / DATABASE)
        contents = Contents(
            format=FORMAT, longhand=__version__, created_at=created, database_size=size, database_sha256=sha256,
            lost=tuple(file.artifact_id for file in gathered.lost), **counted,
        )  # fmt: skip
        with errors_of_output(output), opened(output) as stream:
            write_archive(stream, stage, contents, gathered.files)
    return contents


def gather(data_dir: Path, stage: Path, copy: Database) -> Gathered:
    """Put the files of all artifacts beside the copy of the database, where nobody deletes them.

    The rows of topics that were deleted since the copy was made, files and all, are deleted from the copy as well.
    """
    gathered = Gathered([], [])
    for topic_id, files in groupby(soundness.kept_files(copy), lambda file: file.topic_id):
        present: list[KeptFile] = []
        missing: list[KeptFile] = []
        for file in files:
            (present if take(data_dir / REPORTS, stage / REPORTS, file) else missing).append(file)
        if missing and not exists(data_dir, topic_id):
            topics.delete_topic(copy, topic_id)
            continue
        gathered.files.extend(present)
        gathered.lost.extend(missing)
    return gathered


def take(reports: Path, target: Path, file: KeptFile) -> bool:
    """Take hold of an artifact's file; False when there is none, or it is not what its row says.

    While a topic is being deleted its files are in the trash, from where they may also come back.
    """
    if not file.well_placed:
        return False
    place = target / file.path
    make_private(place.parent)
    if place.exists():
        return holds(place, file)
    for directory in (reports, reports / TRASH, reports):
        try:
            link_or_copy(directory / file.path, place)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise KeepingFailed(f"The report {file.path} cannot be read: {error.strerror}.") from error
        return holds(place, file)
    return False


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name, under which it stays when the first is gone; copy it where that cannot be."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        shutil.copyfile(source, target, follow_symlinks=False)


def exists(data_dir: Path, topic_id: TopicId) -> bool:
    """Whether a topic is there now."""
    with looking(data_dir / DATABASE) as db:
        return soundness.topic_exists(db, topic_id)


def write_archive(stream: BinaryIO, stage: Path, contents: Contents, files: list[KeptFile]) -> None:
    writer = ArchiveWriter(stream)
    writer.add_contents(contents)
    writer.add(DATABASE, stage / DATABASE)
    for file in files:
        writer.add(f"{REPORTS}/{file.path}", stage / REPORTS / file.path)
    writer.end()


@contextmanager
def staging(data_dir: Path) -> Iterator[Path]:
    """Give an empty directory inside the data directory, for one backup at a time; it is gone afterwards.

    What a backup left that was killed is removed first: it is nothing but copies.
    """
    if not (data_dir / DATABASE).is_file():
        raise KeepingFailed(f"There is no database in {data_dir}. Name its directory with --data-dir.")
    stage = data_dir / STAGING
    try:
        stage.mkdir(exist_ok=True, mode=0o700)
        descriptor = os.open(stage, os.O_RDONLY)
    except OSError as error:
        raise KeepingFailed(f"The data directory {data_dir} cannot be written: {error.strerror}.") from error
    try:
        if not held(descriptor):
            raise KeepingFailed("Another backup of this data directory runs. Try again when it has ended.")
        clear(stage)
        try:
            yield stage
        finally:
            clear(stage)
            with suppress(OSError):
                stage.rmdir()
    finally:
        os.close(descriptor)


def held(descriptor: int) -> bool:
    """Hold a directory for this process, until it ends; False when another one does."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def clear(directory: Path) -> None:
    for path in directory.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


@contextmanager
def opened(output: Path) -> Iterator[BinaryIO]:
    """Open the archive for writing: beside its name, which it gets when all of it is on disk."""
    if output == STANDARD_OUTPUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if output.exists() and not stat.S_ISREG(output.stat().st_mode):
        raise KeepingFailed(f"{output} is there already and is no file. Choose another name.")
    beside = output.with_name(f".{output.name}.part")
    try:
        with private_file(beside) as file:
            zipped = output.suffix in {".gz", ".tgz"}
            with gzip.GzipFile("", "wb", 6, file) if zipped else nullcontext(file) as stream:
                yield stream  # type: ignore[misc]
        beside.replace(output)
        sync_directory(output.absolute().parent)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise


@contextmanager
def errors_of_output(output: Path) -> Iterator[None]:
    name = "Standard output" if output == STANDARD_OUTPUT else output
    try:
        yield
    except OSError as error:
        raise KeepingFailed(f"{name} cannot be written: {error.strerror}.") from error

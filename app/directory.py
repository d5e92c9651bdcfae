"""The data directory: where everything is kept, held by one process at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from app.errors import StartError

DATABASE = "longhand.db"
REPORTS = "reports"
LOCK = "lock"

RESTORED = ".restored"
"""What a restore has made ready: from the moment that this is there, it is what holds."""

ASIDE = "aside"
"""In there: what was in its place before."""


@contextmanager
def hold_directory(path: Path) -> Iterator[None]:
    """Make a data directory where missing and hold it; blocks, so it runs in a thread or before the loop.

    A restore that was cut off is finished first. The lock is the kernel's and ends with the process, however that
    ends. Raises StartError.
    """
    with lock_directory(path):
        finish_restore(path)
        make_directory(path)
        yield


@contextmanager
def lock_directory(path: Path) -> Iterator[None]:
    """Make a data directory where missing, with nothing in it but the lock, and hold it. Raises StartError."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except FileExistsError as error:
        raise StartError(f"The data directory {path} cannot be made: Not a directory.") from error
    except OSError as error:
        raise StartError(f"The data directory {path} cannot be made: {error.strerror}.") from error
    try:
        descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StartError(f"The data directory {path} cannot be written: {error.strerror}.") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StartError(
                f"The data directory {path} is in use by another Longhand process. "
                "Stop that one, or name another directory with --data-dir or LONGHAND_DATA_DIR."
            ) from error
        yield
    finally:
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether a process holds a data directory. Makes nothing."""
    try:
        descriptor = os.open(path / LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def make_directory(path: Path) -> None:
    """Make a data directory that is its owner's alone, and the database in it. Raises StartError."""
    if (path / RESTORED).exists():
        raise StartError(f"A restore into {path} was cut off. Start the server, and it is finished.")
    try:
        (path / REPORTS).mkdir(parents=True, exist_ok=True, mode=0o700)
        path.chmod(0o700)
        (path / DATABASE).touch()
        (path / DATABASE).chmod(0o600)  # what SQLite puts beside it gets the same
    except OSError as error:
        raise StartError(f"The data directory {path} cannot be made: {error.strerror}.") from error


def make_private(path: Path) -> None:
    """Make a directory, and those that it is in, where they are missing; each is its owner's alone. Raises OSError."""
    for directory in reversed([path, *path.parents]):
        if not directory.exists():
            directory.mkdir(mode=0o700)


def finish_restore(path: Path) -> None:
    """Put in place what a restore has made ready, and aside what was there before; the directory is held.

    It may be cut off at any step and is then gone on with: nothing is deleted or overwritten. Raises StartError.
    """
    ready = path / RESTORED
    if not ready.exists():
        return
    try:
        (ready / ASIDE).mkdir(exist_ok=True, mode=0o700)
        for name in (REPORTS, DATABASE):
            if (ready / name).exists():
                _set_aside(path, name)
                (ready / name).rename(path / name)
        if any((ready / ASIDE).iterdir()):
            (ready / ASIDE).rename(path / f"before-restore-{datetime.now(UTC):%Y%m%dT%H%M%S%f}Z")
        else:
            (ready / ASIDE).rmdir()
        ready.rmdir()
        sync_directory(path)
    except OSError as error:
        raise StartError(f"The restore into {path} cannot be finished: {error.strerror}.") from error


def _set_aside(path: Path, name: str) -> None:
    """Move what is in the place of a name, with what SQLite has put beside it."""
    for old in (name, f"{name}-wal", f"{name}-shm", f"{name}-journal"):
        if (path / old).exists():
            (path / old).rename(path / RESTORED / ASIDE / old)


def sync_directory(path: Path) -> None:
    """Have the names in a directory on disk when this returns."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

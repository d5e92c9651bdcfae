"""The data directory: where everything is kept, held by one process at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.errors import StartError

DATABASE = "longhand.db"
REPORTS = "reports"
LOCK = "lock"


@contextmanager
def hold_directory(path: Path) -> Iterator[None]:
    """Make a data directory where missing and hold it; blocks, so it runs in a thread or before the loop.

    The lock is the kernel's and ends with the process, however that ends. Raises StartError.
    """
    make_directory(path)
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


def make_directory(path: Path) -> None:
    """Make a data directory that is its owner's alone, and the database in it. Raises StartError."""
    try:
        (path / REPORTS).mkdir(parents=True, exist_ok=True, mode=0o700)
        path.chmod(0o700)
        (path / DATABASE).touch()
        (path / DATABASE).chmod(0o600)  # what SQLite puts beside it gets the same
    except OSError as error:
        raise StartError(f"The data directory {path} cannot be made: {error.strerror}.") from error

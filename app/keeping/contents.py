"""What is in a file: whether it is what a row says."""

import hashlib
import stat
from pathlib import Path

from app.keeping import KeepingFailed
from app.queries.soundness import KeptFile


def digest_of(path: Path) -> tuple[str, int]:
    """Return a file's sha256 and size. Raises FileNotFoundError, and KeepingFailed where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest(), file.tell()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise KeepingFailed(f"{path} cannot be read: {error.strerror}.") from error


def holds(path: Path, file: KeptFile) -> bool:
    """Whether what is at a path has the size and the content of an artifact's row. Raises FileNotFoundError."""
    return stat.S_ISREG(path.lstat().st_mode) and digest_of(path) == (file.sha256, file.size)

"""A report becomes a file, whole or not at all."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain, count
from pathlib import Path
from tempfile import TemporaryFile

from app.errors import LonghandError
from app.report import filename

STANDARD_OUTPUT = Path("-")


class NotWritten(LonghandError):
    """The report did not come about; the text says why."""


def check(output: Path | None) -> None:
    """Raise OSError where the report could not be written as things are now."""
    if output is not None and _is_special(output):
        return
    target = (output or Path("report.md")).resolve()
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    with TemporaryFile(dir=target.parent):
        pass


def save(content: bytes, output: Path | None, topic: str) -> str:
    """Write the report, whole or not at all, and return where to; without `output` under a name that is free.

    Raises OSError.
    """
    if output == STANDARD_OUTPUT:
        with open(sys.stdout.fileno(), "wb", closefd=False) as stream:  # not `sys.stdout`: it would try again at exit
            stream.write(content)
        return "to standard output"
    if output is not None:
        _write(output, content)
        return str(output)
    target = _take_name(Path(filename(topic)))
    try:
        _write(target, content)
    except OSError:
        target.unlink(missing_ok=True)
        raise
    return str(target)


@contextmanager
def file_errors(output: Path | None, more: str = "") -> Iterator[None]:
    """Raise NotWritten for an OSError; `more` is a further sentence for it."""
    name = "Standard output" if output == STANDARD_OUTPUT else output or "The current directory"
    try:
        yield
    except OSError as error:
        raise NotWritten(f"{name} cannot be written: {error.strerror}.{more}") from error


def _is_special(path: Path) -> bool:
    """Tell what is written to but never replaced: standard output, a device, a pipe."""
    return path == STANDARD_OUTPUT or (path.exists() and not path.is_file() and not path.is_dir())


def _write(path: Path, content: bytes) -> None:
    if _is_special(path):
        path.write_bytes(content)
        return
    target = path.resolve()  # what a link points to is replaced, not the link
    beside = target.with_name(f".{target.name}.part")
    try:
        beside.write_bytes(content)
        beside.replace(target)
    except OSError:
        with suppress(OSError):
            beside.unlink()
        raise


def _take_name(path: Path) -> Path:
    """Take a name that is free: the path, or the first of `name 2.md`, `name 3.md` … that is not there."""
    for candidate in chain([path], (path.with_stem(f"{path.stem} {number}") for number in count(2))):
        with suppress(FileExistsError):
            candidate.touch(exist_ok=False)
            break
    return candidate

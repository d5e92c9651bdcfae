"""The format of a backup: a tar of a list of contents, the database, and the report files in the order of their rows.

Whoever reads one knows of each member what it is called and how large it is before it comes: from the list of contents
the database's size, from the database the reports'. Everything else is refused unread, so that no archive can write
where it should not, nor more than it says.
"""

import gzip
import hashlib
import io
import json
import os
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.keeping import KeepingFailed

CONTENTS = "longhand-backup.json"
FORMAT = 1
BLOCK = tarfile.BLOCKSIZE
PIECE_BYTES = 1024 * 1024
MAX_CONTENTS_BYTES = 1024 * 1024
PADDING_BYTES = 2 * tarfile.RECORDSIZE
"""What may follow the last member: the end of a tar."""

UNREADABLE = (OSError, EOFError, zlib.error, tarfile.TarError, ValueError)


class Contents(BaseModel):
    """What an archive says of itself. `lost`: the artifacts whose file was gone before the backup."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: int
    longhand: Annotated[str, Field(pattern=r"^[0-9A-Za-z.+-]{1,40}$")]
    created_at: Annotated[str, Field(pattern=r"^[0-9TZ:.-]{10,40}$")]
    database_size: int
    database_sha256: str
    users: int
    topics: int
    reports: int
    lost: tuple[int, ...]


class ArchiveWriter:
    """Writes an archive to a stream, one member after the other."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._written = 0

    def add_contents(self, contents: Contents) -> None:
        document = json.dumps(contents.model_dump(), indent=2).encode() + b"\n"
        self._add(CONTENTS, len(document), io.BytesIO(document))

    def add(self, name: str, path: Path) -> None:
        with path.open("rb") as file:
            self._add(name, path.stat().st_size, file)

    def end(self) -> None:
        self._write(bytes(2 * BLOCK))
        self._write(bytes(-self._written % tarfile.RECORDSIZE))

    def _add(self, name: str, size: int, file: BinaryIO) -> None:
        member = tarfile.TarInfo(name)
        member.size, member.mode = size, 0o600
        self._write(member.tobuf(tarfile.GNU_FORMAT))
        while piece := file.read(PIECE_BYTES):
            self._write(piece)
        self._write(bytes(-size % BLOCK))

    def _write(self, data: bytes) -> None:
        self._stream.write(data)
        self._written += len(data)


@dataclass
class ArchiveReader:
    """Reads the members of an archive in their order. Everything that is not as it should be raises KeepingFailed."""

    stream: BinaryIO
    name: str

    def contents(self) -> Contents:
        size = self._header(CONTENTS)
        if size > MAX_CONTENTS_BYTES:
            raise self.wrong("its list of contents is too large")
        document = b"".join(self._pieces(size))
        try:
            found = Contents.model_validate(json.loads(document))
        except (ValueError, ValidationError) as error:
            raise self.wrong("its list of contents cannot be read") from error
        if found.format != FORMAT:
            raise KeepingFailed(f"{self.name} has the format {found.format}; this Longhand reads {FORMAT}.")
        return found

    def extract(self, name: str, size: int, sha256: str, target: Path) -> None:
        """Write the next member, which must have this name, size and content, to a file that is its owner's alone."""
        if self._header(name) != size:
            raise self.wrong(f"{name} does not have the size that it should have")
        digest = hashlib.sha256()
        with private_file(target) as file:
            for piece in self._pieces(size):
                digest.update(piece)
                file.write(piece)
        if digest.hexdigest() != sha256:
            raise self.wrong(f"{name} does not have the content that it should have")

    def end(self) -> None:
        """Make sure that nothing follows, and that all of the archive was there."""
        rest = self._read(PADDING_BYTES + 1, whole=False)
        if len(rest) < 2 * BLOCK:
            raise self.wrong("its end is missing")
        if len(rest) > PADDING_BYTES or rest.strip(b"\0"):
            raise self.wrong("more is in it than should be")

    def wrong(self, what: str) -> KeepingFailed:
        return KeepingFailed(f"{self.name} is not a backup that can be restored: {what}.")

    def _header(self, name: str) -> int:
        """Read the header of a member, which must be a plain file of this name, and return its size."""
        try:
            member = tarfile.TarInfo.frombuf(self._read(BLOCK), "utf-8", "surrogateescape")
        except tarfile.TarError as error:
            raise self.wrong(f"where {name} should be, there is no tar") from error
        if member.name != name or member.type not in tarfile.REGULAR_TYPES or member.size < 0:
            raise self.wrong(f"where {name} should be, there is something else")
        return member.size

    def _pieces(self, size: int) -> Iterator[bytes]:
        left = size
        while left:
            piece = self._read(min(left, PIECE_BYTES))
            left -= len(piece)
            yield piece
        self._read(-size % BLOCK)

    def _read(self, size: int, *, whole: bool = True) -> bytes:
        try:
            data = self.stream.read(size)
        except UNREADABLE as error:
            raise self.wrong("it is damaged, or cut short") from error
        if whole and len(data) < size:
            raise self.wrong("it is cut short")
        return data


@contextmanager
def reading(path: Path) -> Iterator[ArchiveReader]:
    """Open an archive, compressed or not. Raises KeepingFailed."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise KeepingFailed(f"{path} cannot be read: {error.strerror}.") from error
    with file:
        try:
            zipped = file.peek(2)[:2] == b"\x1f\x8b"
        except OSError as error:
            raise KeepingFailed(f"{path} cannot be read: {error.strerror}.") from error
        if not zipped:
            yield ArchiveReader(file, str(path))
            return
        with gzip.GzipFile(fileobj=file) as unzipped:
            yield ArchiveReader(io.BufferedReader(unzipped, PIECE_BYTES), str(path))


@contextmanager
def private_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file of its owner's alone for writing, whatever the umask, and have it on disk at the end."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        yield file
        file.flush()
        os.fsync(file.fileno())

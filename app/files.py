"""Report files: whole or not there."""

import hashlib
import os
import shutil
from contextlib import suppress
from pathlib import Path

from app.directory import sync_directory
from app.models import GenerationId, SavedFile, TopicId
from app.threads import Threads

TRASH = ".trash"


class Files:
    """The directory of report files, `<topic>/<generation>.md`.

    Promises:
    - A file is whole or not there: it is written beside, synced and renamed, and its directory synced.
    - The name follows from the generation, so an attempt that was cut off is overwritten by the next and removed by
      `discard`; nothing is left to search for.
    - Files and directories are their owner's alone, whatever the umask.
    - All methods block no loop (they run in threads) and raise OSError as it comes.
    """

    def __init__(self, directory: Path, threads: Threads) -> None:
        self._directory = directory
        self._threads = threads

    async def save(self, topic_id: TopicId, generation_id: GenerationId, text: str) -> SavedFile:
        """Write a report as UTF-8. On an error nothing of it remains."""
        return await self._threads.files(self._save, self._path(topic_id, generation_id), text)

    async def discard(self, topic_id: TopicId, generation_id: GenerationId) -> None:
        """Remove a generation's file and what a cut-off attempt left of it, where there is any."""
        await self._threads.files(_discard, self._path(topic_id, generation_id))

    async def read(self, path: str) -> bytes:
        """Return a file's content, also while its topic is being deleted. Raises FileNotFoundError."""
        return await self._threads.files(self._read, path)

    async def set_aside(self, topic_id: TopicId) -> None:
        """Move a topic's files out of the way before its rows are deleted; `restore` or `clear_trash` follows."""
        await self._threads.files(self._set_aside, topic_id)

    async def restore(self, topic_id: TopicId) -> None:
        """Take back `set_aside`."""
        await self._threads.files(self._restore, topic_id)

    async def trashed(self) -> list[TopicId]:
        """Return the topics whose files are set aside: after a crash between the two steps of a deletion."""
        return await self._threads.files(self._trashed)

    async def clear_trash(self, topic_id: TopicId) -> None:
        """Delete a topic's files that were set aside."""
        await self._threads.files(self._clear_trash, topic_id)

    def _path(self, topic_id: TopicId, generation_id: GenerationId) -> Path:
        return report_path(self._directory, topic_id, generation_id)

    def _save(self, path: Path, text: str) -> SavedFile:
        content = text.encode()
        made = not path.parent.exists()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            with _beside(path).open("wb") as file:
                os.fchmod(file.fileno(), 0o600)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            _beside(path).replace(path)
            sync_directory(path.parent)
            if made:
                sync_directory(self._directory)
        except OSError:
            _discard(path)
            raise
        return SavedFile(str(path.relative_to(self._directory)), len(content), hashlib.sha256(content).hexdigest())

    def _read(self, path: str) -> bytes:
        for directory in (self._directory, self._directory / TRASH):
            with suppress(FileNotFoundError):
                return (directory / path).read_bytes()
        return (self._directory / path).read_bytes()  # it may have been restored in between

    def _set_aside(self, topic_id: TopicId) -> None:
        source = self._directory / str(topic_id)
        if source.exists():
            (self._directory / TRASH).mkdir(parents=True, exist_ok=True, mode=0o700)
            source.rename(self._directory / TRASH / str(topic_id))

    def _restore(self, topic_id: TopicId) -> None:
        source = self._directory / TRASH / str(topic_id)
        if source.exists():
            source.rename(self._directory / str(topic_id))

    def _trashed(self) -> list[TopicId]:
        trash = self._directory / TRASH
        return [TopicId(int(path.name)) for path in trash.iterdir()] if trash.exists() else []

    def _clear_trash(self, topic_id: TopicId) -> None:
        shutil.rmtree(self._directory / TRASH / str(topic_id), ignore_errors=True)


def report_path(directory: Path, topic_id: TopicId, generation_id: GenerationId) -> Path:
    """Return where in the directory of report files a generation's report stands."""
    return directory / str(topic_id) / f"{generation_id}.md"


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def _discard(path: Path) -> None:
    """Remove a report and its unfinished neighbour, and the topic's directory when that was all."""
    _beside(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    if path.parent.exists() and not any(path.parent.iterdir()):
        path.parent.rmdir()

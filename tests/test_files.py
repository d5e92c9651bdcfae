"""What the directory of report files promises: whole or not there, and nothing forgotten after a crash."""

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from app.files import Files
from app.models import GenerationId, SavedFile, TopicId
from app.threads import Threads
from tests.process import environment

TOPIC, GENERATION, LATER = TopicId(3), GenerationId(7), GenerationId(8)
TEXT = "# 수소\n\n수소는 가볍다.\n"

FULL_DISK = """
import resource, sys
from pathlib import Path
import trio
from app.files import Files
from app.threads import Threads

async def main():
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    try:
        await Files(Path(sys.argv[1]), Threads(4)).save(3, 7, "x" * 2000)
    except OSError as error:
        print(type(error).__name__)

trio.run(main)
"""


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path, Threads(4))


@pytest.fixture
def open_umask() -> Iterator[None]:
    """Let new files be everybody's, as far as the umask goes."""
    before = os.umask(0)
    yield
    os.umask(before)


def tree(directory: Path) -> list[str]:
    """Return every path below a directory; directories end with a slash."""
    return sorted(f"{path.relative_to(directory)}{'/' * path.is_dir()}" for path in directory.rglob("*"))


def write(directory: Path, name: str, content: str = "half a rep") -> None:
    """Leave a file behind as a crash would."""
    (directory / name).parent.mkdir(parents=True, exist_ok=True)
    (directory / name).write_text(content)


async def test_a_saved_file_is_whole_and_what_is_said_of_it_is_so(files: Files, tmp_path: Path) -> None:
    saved = await files.save(TOPIC, GENERATION, TEXT)

    content = await files.read(saved.path)
    assert content == TEXT.encode()
    assert saved == SavedFile("3/7.md", len(content), hashlib.sha256(content).hexdigest())
    assert tree(tmp_path) == ["3/", "3/7.md"]


async def test_a_file_that_is_not_whole_yet_is_not_there(files: Files, tmp_path: Path) -> None:
    write(tmp_path, "3/.7.md.part")

    with pytest.raises(FileNotFoundError):
        await files.read("3/7.md")


@pytest.mark.parametrize("left", ["3/.7.md.part", "3/7.md"])
async def test_what_a_cut_off_attempt_left_is_overwritten_by_the_next(files: Files, tmp_path: Path, left: str) -> None:
    write(tmp_path, left, "of the first attempt, and longer than what the second attempt writes" * 9)

    saved = await files.save(TOPIC, GENERATION, TEXT)

    assert await files.read(saved.path) == TEXT.encode()
    assert tree(tmp_path) == ["3/", "3/7.md"]


@pytest.mark.parametrize("left", ["3/.7.md.part", "3/7.md"])
async def test_what_a_cut_off_attempt_left_is_discarded_with_its_directory(
    files: Files, tmp_path: Path, left: str
) -> None:
    write(tmp_path, left)

    await files.discard(TOPIC, GENERATION)
    await files.discard(TOPIC, GENERATION)  # twice is harmless

    assert tree(tmp_path) == []


async def test_discarding_one_report_leaves_the_topics_others(files: Files, tmp_path: Path) -> None:
    await files.save(TOPIC, GENERATION, TEXT)
    await files.save(TOPIC, LATER, TEXT)

    await files.discard(TOPIC, LATER)

    assert tree(tmp_path) == ["3/", "3/7.md"]


@pytest.mark.parametrize("before", [[], ["3/6.md"], ["3/7.md"]])
def test_of_a_report_that_finds_no_room_nothing_remains(tmp_path: Path, before: list[str]) -> None:
    for name in before:
        write(tmp_path, name)

    writing = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)],
        env=environment({}), capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip

    assert writing.stdout == "OSError\n", writing.stderr
    assert tree(tmp_path) == (["3/", "3/6.md"] if before == ["3/6.md"] else [])


def test_a_file_is_synced_then_renamed_and_then_its_directories_are_synced(files: Files, tmp_path: Path) -> None:
    first = calls_of(lambda: files._save(tmp_path / "3" / "7.md", TEXT))
    second = calls_of(lambda: files._save(tmp_path / "3" / "8.md", TEXT))

    assert first == ["fsync", "replace", "fsync", "fsync"]
    assert second == ["fsync", "replace", "fsync"]


def calls_of(function: Callable[[], object]) -> list[str]:
    """Run a function in this thread, and return which of these two system calls it made, in order."""
    calls: list[str] = []

    def profile(frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call" and called in {os.fsync, os.replace}:
            calls.append(called.__name__)

    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(None)
    return calls


async def test_files_and_directories_are_their_owners_alone(files: Files, tmp_path: Path, open_umask: None) -> None:
    saved = await files.save(TOPIC, GENERATION, TEXT)
    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in (saved.path, "3")]
    await files.set_aside(TOPIC)

    assert modes == [0o600, 0o700]
    assert (tmp_path / ".trash").stat().st_mode & 0o777 == 0o700


async def test_what_is_set_aside_is_out_of_its_place_until_it_is_restored(files: Files, tmp_path: Path) -> None:
    saved = await files.save(TOPIC, GENERATION, TEXT)

    await files.set_aside(TOPIC)
    aside = tree(tmp_path)
    trashed = await files.trashed()
    await files.restore(TOPIC)

    assert trashed == [TOPIC]
    assert aside == [".trash/", ".trash/3/", ".trash/3/7.md"]
    assert await files.read(saved.path) == TEXT.encode()
    assert await files.trashed() == []


async def test_a_report_can_be_read_until_its_deletion_is_certain(files: Files) -> None:
    saved = await files.save(TOPIC, GENERATION, TEXT)

    await files.set_aside(TOPIC)
    while_it_is_deleted = await files.read(saved.path)
    await files.clear_trash(TOPIC)

    assert while_it_is_deleted == TEXT.encode()
    with pytest.raises(FileNotFoundError):
        await files.read(saved.path)


async def test_what_is_set_aside_is_gone_for_good_when_the_trash_is_cleared(files: Files, tmp_path: Path) -> None:
    await files.save(TOPIC, GENERATION, TEXT)
    await files.save(TopicId(4), LATER, TEXT)

    await files.set_aside(TOPIC)
    await files.clear_trash(TOPIC)

    assert tree(tmp_path) == [".trash/", "4/", "4/8.md"]
    assert await files.trashed() == []


async def test_a_crash_between_the_steps_of_a_deletion_is_found_and_ended_either_way(tmp_path: Path) -> None:
    await Files(tmp_path, Threads(4)).save(TOPIC, GENERATION, TEXT)
    await Files(tmp_path, Threads(4)).save(TopicId(4), LATER, TEXT)
    for topic_id in (TOPIC, TopicId(4)):
        await Files(tmp_path, Threads(4)).set_aside(topic_id)

    after = Files(tmp_path, Threads(4))
    trashed = await after.trashed()
    await after.restore(TOPIC)
    await after.clear_trash(TopicId(4))

    assert sorted(trashed) == [TOPIC, 4]
    assert tree(tmp_path) == [".trash/", "3/", "3/7.md"]


async def test_every_step_of_a_deletion_may_be_done_again_or_without_any_files(files: Files, tmp_path: Path) -> None:
    assert await files.trashed() == []

    for step in (files.set_aside, files.restore, files.clear_trash):
        await step(TOPIC)
        await step(TOPIC)

    assert tree(tmp_path) == []


async def test_files_wait_for_a_thread_of_their_own_lane(tmp_path: Path) -> None:
    threads, go = Threads(4), threading.Event()
    files = Files(tmp_path, threads)

    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(threads.files, go.wait, 10)
        await wait_all_tasks_blocked()
        nursery.start_soon(files.save, TOPIC, GENERATION, TEXT)
        await wait_all_tasks_blocked()
        before = tree(tmp_path)
        go.set()

    assert before == []
    assert tree(tmp_path) == ["3/", "3/7.md"]

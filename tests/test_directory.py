"""The data directory: one holder at a time, whatever becomes of it, and its owner's alone."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.directory import DATABASE, LOCK, REPORTS, hold_directory, make_directory
from app.errors import StartError
from app.store import open_database

HOLDER = """
import sys
from pathlib import Path
from app.directory import hold_directory
with hold_directory(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "data"


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@contextmanager
def holder(path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Hold a directory in another process."""
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_directory_is_made_where_it_is_missing_and_kept_where_it_is(path: Path) -> None:
    make_directory(path)
    (path / REPORTS / "kept").touch()
    (path / DATABASE).write_text("kept")

    make_directory(path)

    assert (path / REPORTS / "kept").exists()
    assert (path / DATABASE).read_text() == "kept"


def test_all_that_is_kept_is_its_owners_alone_whatever_the_umask(path: Path, umask: None) -> None:
    with hold_directory(path):
        database = open_database(path / DATABASE)
        modes = {file.name: mode(file) for file in path.iterdir()}
        database.conn.close()

    assert mode(path) == 0o700
    assert modes == {
        REPORTS: 0o700, LOCK: 0o600, DATABASE: 0o600, f"{DATABASE}-wal": 0o600, f"{DATABASE}-shm": 0o600,
    }  # fmt: skip


def test_a_directory_that_was_open_to_others_is_closed_to_them(path: Path) -> None:
    path.mkdir(parents=True)
    (path / DATABASE).touch()
    path.chmod(0o755)
    (path / DATABASE).chmod(0o644)

    make_directory(path)

    assert (mode(path), mode(path / DATABASE)) == (0o700, 0o600)


def test_a_directory_is_held_once_in_a_process_and_free_again_afterwards(path: Path) -> None:
    with (
        hold_directory(path),
        pytest.raises(StartError, match="in use by another Longhand process") as refused,
        hold_directory(path),
    ):
        pytest.fail("It was held twice.")

    with hold_directory(path):
        assert str(path) in str(refused.value)
        assert len(str(refused.value).splitlines()) == 1


def test_a_directory_that_another_process_holds_is_refused_until_that_is_killed(path: Path) -> None:
    with holder(path) as process:
        with pytest.raises(StartError, match="in use by another Longhand process"), hold_directory(path):
            pytest.fail("It was held twice.")
        process.send_signal(signal.SIGKILL)
        process.wait()

        with hold_directory(path):
            pass


def test_a_directory_is_free_again_after_an_exception(path: Path) -> None:
    with pytest.raises(LookupError), hold_directory(path):
        raise LookupError

    with hold_directory(path):
        pass


@pytest.mark.parametrize("in_the_way", ["", REPORTS, LOCK])
def test_a_directory_that_cannot_be_made_or_written_is_told_in_one_line(path: Path, in_the_way: str) -> None:
    if in_the_way == LOCK:
        (path / in_the_way).mkdir(parents=True)
    else:
        (path / in_the_way).parent.mkdir(parents=True)
        (path / in_the_way).touch()

    with pytest.raises(StartError, match="cannot be") as refused, hold_directory(path):
        pytest.fail("It was held.")

    assert str(path) in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1

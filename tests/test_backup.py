"""Backups: one moment, every row with its file, whole or not there, and nobody is held up."""

import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner
from sqlite_utils import Database

from app.cli import main
from app.directory import DATABASE, REPORTS
from app.files import TRASH
from app.keeping import KeepingFailed
from app.keeping.archive import CONTENTS
from app.keeping.backup import STAGING, back_up, staging
from app.keeping.database import PAGES_A_STEP
from app.keeping.restore import restore
from app.models import TopicId
from app.queries import sessions, topics, users
from app.store import open_database
from tests.claude import Script
from tests.conftest import Start
from tests.kept import TEXT, change, everything, files, make_kept, rows, tree
from tests.process import environment, longhand, started
from tests.service import Service

NO_ROOM = """
import resource, sys
from pathlib import Path
from app.keeping import KeepingFailed
from app.keeping.backup import back_up
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    back_up(Path(sys.argv[1]), Path(sys.argv[2]), print)
except KeepingFailed as error:
    sys.exit(str(error))
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_kept(tmp_path / "data")


@pytest.fixture(params=[0o000, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def nothing(left: int, total: int) -> None:
    """Hear of the progress and do nothing."""


def at_the_end(act: Callable[[], object]) -> Callable[[int, int], None]:
    """Do something once, when the database was copied and no file was looked at."""

    def told(left: int, total: int) -> None:
        if not left:
            act()

    return told


def members(archive: Path) -> list[str]:
    with tarfile.open(archive) as tar:
        return tar.getnames()


def restored(archive: Path) -> Path:
    """Restore an archive, which verifies it, beside it."""
    target = archive.with_name(f"restored-{archive.name}")
    restore(archive, target)
    return target


def delete(data: Path, topic_id: int) -> None:
    """Delete a topic as the server does."""
    (data / REPORTS / TRASH).mkdir(exist_ok=True)
    (data / REPORTS / str(topic_id)).rename(data / REPORTS / TRASH / str(topic_id))
    change(data, lambda db: topics.delete_topic(db, TopicId(topic_id)))
    shutil.rmtree(data / REPORTS / TRASH / str(topic_id))


@pytest.mark.parametrize("name", ["backup.tar", "backup.tar.gz", "backup.tgz"])
def test_a_backup_holds_every_row_and_every_file_of_it(data: Path, name: str) -> None:
    archive = data.parent / name

    contents = back_up(data, archive, nothing)

    assert members(archive) == [CONTENTS, DATABASE, "reports/1/1.md", "reports/2/2.md"]
    assert (archive.read_bytes()[:2] == b"\x1f\x8b") == (not name.endswith(".tar"))
    assert everything(restored(archive)) == everything(data)
    assert files(archive.with_name(f"restored-{name}")) == files(data)
    assert (contents.users, contents.topics, contents.reports, contents.lost) == (1, 2, 2, ())
    assert tree(data) == ["longhand.db", "reports/", "reports/1/", "reports/1/1.md", "reports/2/", "reports/2/2.md"]


async def test_a_backup_beside_a_busy_server_is_of_one_moment_and_whole(start: Start, tmp_path: Path) -> None:
    async with start() as service:
        service.claude.default = Script(text=TEXT, pieces=3)
        archives: list[Path] = []

        async def come_and_go() -> None:
            while True:
                topic_id = await service.topic()
                await service.generate(topic_id)
                await service.ended(topic_id)
                if topic_id % 2:
                    await service.http.delete(f"/api/topics/{topic_id}")

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(come_and_go)
            for number in range(5):
                archives.append(tmp_path / f"{number}.tar")
                await trio.to_thread.run_sync(back_up, service.settings.data_dir, archives[-1], nothing)
            nursery.cancel_scope.cancel()

        for archive in archives:
            target = await trio.to_thread.run_sync(restored, archive)
            check_that_rows_and_files_agree(target)
        assert await service_is_sound(service)


def check_that_rows_and_files_agree(data: Path) -> None:
    found = {name: (len(content), hashlib.sha256(content).hexdigest()) for name, content in files(data).items()}

    assert found == {row["path"]: (row["size"], row["sha256"]) for row in rows(data, "SELECT * FROM artifacts")}


async def service_is_sound(service: Service) -> bool:
    return (await service.http.get("/readyz")).status_code == 200


def test_a_backup_ends_however_busy_the_writer_is_and_does_not_hold_it_up(data: Path) -> None:
    change(data, "CREATE TABLE ballast (text TEXT)")
    with closing(sqlite3.connect(data / DATABASE, isolation_level=None, timeout=0)) as writer:
        writer.execute("INSERT INTO ballast SELECT hex(randomblob(2000000))")
        steps = []

        def write(left: int, total: int) -> None:
            steps.append(left)
            writer.execute("INSERT INTO ballast VALUES ('written meanwhile')")  # it would raise if it had to wait
            assert len(steps) <= total // PAGES_A_STEP + 1

        back_up(data, data.parent / "backup.tar", write)

    assert len(steps) > 1
    assert len(rows(data, "SELECT 1 FROM ballast")) == len(steps) + 1
    assert len(rows(restored(data.parent / "backup.tar"), "SELECT 1 FROM ballast")) == 1


def test_a_topic_that_is_deleted_meanwhile_is_in_the_backup_with_nothing(data: Path) -> None:
    archive = data.parent / "backup.tar"

    contents = back_up(data, archive, at_the_end(lambda: delete(data, 1)))

    assert (contents.topics, contents.reports, contents.lost) == (1, 1, ())
    assert members(archive) == [CONTENTS, DATABASE, "reports/2/2.md"]
    assert everything(restored(archive)) == everything(data)


def test_a_topic_that_is_about_to_be_deleted_is_in_the_backup_with_all(data: Path) -> None:
    (data / REPORTS / TRASH).mkdir()
    (data / REPORTS / "1").rename(data / REPORTS / TRASH / "1")
    archive = data.parent / "backup.tar"

    back_up(data, archive, nothing)

    assert members(archive) == [CONTENTS, DATABASE, "reports/1/1.md", "reports/2/2.md"]


@pytest.mark.parametrize("damage", ["gone", "changed", "a link", "elsewhere"])
def test_a_report_that_was_lost_before_is_named_and_all_else_is_backed_up(data: Path, damage: str) -> None:
    file = data / REPORTS / "1" / "1.md"
    content = file.read_bytes()
    file.unlink()
    if damage == "changed":
        file.write_bytes(content[:-1] + b"?")
    elif damage == "a link":
        (data / "elsewhere.md").write_bytes(content)
        file.symlink_to(data / "elsewhere.md")
    elif damage == "elsewhere":
        file.write_bytes(content)
        change(data, "UPDATE artifacts SET path = '../reports/1/1.md' WHERE id = 1")
    archive = data.parent / "backup.tar"

    result = CliRunner().invoke(main, ["backup", str(archive), "--data-dir", str(data)])

    assert result.exit_code == 1
    assert "longhand: The files of these artifacts are lost and not in it: 1." in result.stderr
    assert members(archive) == [CONTENTS, DATABASE, "reports/2/2.md"]


def test_a_backup_is_its_owners_alone_whatever_the_umask(data: Path, umask: None) -> None:
    seen = []

    def look(left: int, total: int) -> None:
        seen.extend([(data / STAGING).stat().st_mode & 0o777, (data / STAGING / DATABASE).stat().st_mode & 0o777])

    back_up(data, data.parent / "backup.tar", look)

    assert seen[:2] == [0o700, 0o600]
    assert (data.parent / "backup.tar").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("limit", [1000, 180_000])
def test_a_backup_that_finds_no_room_leaves_the_last_one_alone(data: Path, limit: int) -> None:
    change(data, "CREATE TABLE ballast AS SELECT hex(randomblob(10000)) AS text")
    archive = data.parent / "backup.tar"
    archive.write_bytes(b"the last one")
    before = tree(data.parent)

    done = subprocess.run(
        [sys.executable, "-c", NO_ROOM, data, archive, str(limit)],
        env=environment({}), capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "cannot be" in done.stderr
    assert archive.read_bytes() == b"the last one"
    assert tree(data.parent) == before


def test_a_backup_replaces_the_one_of_the_same_name(data: Path) -> None:
    archive = data.parent / "backup.tar"
    archive.write_bytes(b"the last one" * 100_000)

    back_up(data, archive, nothing)

    assert everything(restored(archive)) == everything(data)


def test_one_backup_runs_at_a_time_and_what_a_killed_one_left_is_removed(data: Path) -> None:
    (data / STAGING / REPORTS).mkdir(parents=True)
    (data / STAGING / DATABASE).touch()

    with staging(data) as stage:
        assert list(stage.iterdir()) == []
        with pytest.raises(KeepingFailed, match="Another backup of this data directory runs"):
            back_up(data, data.parent / "backup.tar", nothing)
    back_up(data, data.parent / "backup.tar", nothing)

    assert not (data / STAGING).exists()


async def test_a_backup_goes_to_standard_output_and_what_is_said_to_standard_error(tmp_path: Path) -> None:
    data = make_kept(tmp_path / "data")

    code, process = await longhand("backup", "-", "--data-dir", str(data), cwd=tmp_path)

    assert (code, process.errors.splitlines()[-1].partition(" as of ")[0]) == (
        0, "Backed up 2 reports, 2 topics and 1 users",
    )  # fmt: skip
    assert "reports/2/2.md" in process.output
    assert tree(tmp_path)[0] == "data/"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("nowhere/backup.tar", "nowhere/backup.tar cannot be written: No such file"), (".", "is a directory")],
)
def test_an_archive_that_cannot_be_written_is_told_in_one_line(data: Path, name: str, sentence: str) -> None:
    result = CliRunner().invoke(main, ["backup", str(data.parent / name), "--data-dir", str(data)])

    assert result.exit_code in {1, 2}
    assert sentence in result.stderr
    assert not (data / STAGING).exists()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "There is no database in"),
        (b"", "is not Longhand's, or still empty."),
        (b"no database " * 500, "cannot be used: file is not a database."),
    ],
)
def test_where_there_is_no_database_nothing_is_backed_up(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    if content is not None:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / DATABASE).write_bytes(content)

    result = CliRunner().invoke(main, ["backup", str(tmp_path / "b.tar"), "--data-dir", str(tmp_path / "data")])

    assert result.exit_code == 1
    assert sentence in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "b.tar").exists()


def test_a_database_of_a_newer_longhand_is_refused(data: Path) -> None:
    change(data, "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('longhand', 'm999_new', '')"
    )  # fmt: skip

    result = CliRunner().invoke(main, ["backup", str(data.parent / "b.tar"), "--data-dir", str(data)])

    assert result.exit_code == 1
    assert "The database was written by a newer Longhand (m999_new)." in result.stderr


async def test_sigterm_leaves_nothing_of_a_backup(tmp_path: Path) -> None:
    data = make_kept(tmp_path / "data")
    before = tree(tmp_path)
    beside = tmp_path / ".b.tar.part"
    os.mkfifo(beside)

    async with started("backup", str(tmp_path / "b.tar"), "--data-dir", str(data), cwd=tmp_path) as process:
        descriptor = await trio.to_thread.run_sync(os.open, beside, os.O_RDONLY)  # it writes, and soon waits for us
        process.send(signal.SIGTERM)
        assert await process.wait() == 128 + signal.SIGTERM
        os.close(descriptor)

    assert "Traceback" not in process.errors
    assert tree(tmp_path) == before


def test_a_backup_signs_nobody_in(data: Path, tmp_path: Path) -> None:
    def sign_in(db: Database) -> object:
        token = users.admin_token(db, "laptop")
        return sessions.open_with_token(db, token, "a secret", "")

    with closing(open_database(data / DATABASE)) as db:
        assert sign_in(db)

    back_up(data, tmp_path / "a.tar", nothing)
    restore(tmp_path / "a.tar", tmp_path / "restored")

    assert rows(data, "SELECT COUNT(*) FROM sessions") != rows(tmp_path / "restored", "SELECT COUNT(*) FROM sessions")
    with closing(open_database(tmp_path / "restored" / DATABASE)) as db:
        assert sessions.user_of_session(db, users.digest("a secret")) is None
        assert list(db.query("SELECT label FROM tokens WHERE label = 'laptop'"))


def test_a_database_from_before_there_were_sessions_is_backed_up(data: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(data / DATABASE)) as db:
        db.execute("DROP TABLE sessions")
        db.execute("DELETE FROM _sqlite_migrations WHERE name = 'm004_sessions'")
        db.commit()

    back_up(data, tmp_path / "a.tar", nothing)

    assert (tmp_path / "a.tar").exists()

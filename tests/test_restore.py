"""Restoring: all of it or nothing, into the right place, whatever the archive holds and whenever it is killed."""

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlite_utils import Database

from app.cli import main
from app.directory import DATABASE, LOCK, REPORTS, RESTORED, hold_directory, make_directory
from app.errors import StartError
from app.keeping.archive import CONTENTS
from app.keeping.backup import back_up
from app.keeping.check import look
from app.keeping.restore import READYING, restore
from app.schema import HISTORY
from app.store import open_database
from tests.claude import FakeClaude
from tests.kept import everything, files, make_kept, tree
from tests.service import running, settings_for

KILLED_AT_A_RENAME = """
import os, signal, sys
from pathlib import Path
from app.keeping.restore import restore
left = int(sys.argv[3])
def hear(event, arguments):
    global left
    if event in ("os.rename", "os.rmdir"):
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
sys.addaudithook(hear)
restore(Path(sys.argv[1]), Path(sys.argv[2]), force=True)
"""

Members = list[tuple[tarfile.TarInfo, bytes]]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make_kept(tmp_path / "source")


@pytest.fixture
def archive(source: Path) -> Path:
    return packed(source)


def packed(source: Path) -> Path:
    """Back a data directory up."""
    archive = source.with_name("backup.tar")
    back_up(source, archive, lambda *_: None)
    return archive


@pytest.fixture(params=[0o000, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def command(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["restore", *map(str, arguments)])


async def test_a_server_goes_on_where_the_backup_was_made(tmp_path: Path, claude: FakeClaude) -> None:
    async with running(claude, settings_for(tmp_path / "data", claude.url)) as service:
        topic_id = await service.topic("Tides")
        await service.generate(topic_id)
        report = (await service.ended(topic_id))["artifact_id"]
        text = (await service.http.get(f"/api/artifacts/{report}/download")).content
        back_up(tmp_path / "data", tmp_path / "backup.tar", lambda *_: None)

    restore(tmp_path / "backup.tar", tmp_path / "restored")

    async with running(claude, settings_for(tmp_path / "restored", claude.url)) as service:
        assert (await service.status(topic_id))["status"] == "completed"
        assert (await service.http.get(f"/api/artifacts/{report}/download")).content == text


@pytest.mark.parametrize("there", [[], [LOCK], ["lost+found/"], [f"{READYING}/"]], ids=str)
def test_an_empty_directory_is_restored_into(source: Path, archive: Path, there: list[str]) -> None:
    target = source.with_name("target")
    target.mkdir()
    for name in there:
        (target / name).mkdir() if name.endswith("/") else (target / name).touch()

    result = command(archive, "--data-dir", target)

    assert result.exit_code == 0, result.stderr
    assert result.stderr.startswith("Restored 2 reports, 2 topics and 1 users as of 20")
    assert (everything(target), files(target)) == (everything(source), files(source))
    assert set(tree(target)) - set(tree(source)) == {LOCK, *set(there) - {f"{READYING}/"}}


def test_what_is_restored_is_its_owners_alone_whatever_the_umask(source: Path, archive: Path, umask: None) -> None:
    target = source.with_name("target")
    target.mkdir(mode=0o755)

    restore(archive, target)

    assert {path.stat().st_mode & 0o777 for path in [target, *target.rglob("*")] if path.is_dir()} == {0o700}
    assert {path.stat().st_mode & 0o777 for path in target.rglob("*") if path.is_file()} == {0o600}


@pytest.mark.parametrize("there", [DATABASE, REPORTS, "my-files"])
def test_a_directory_that_is_not_empty_is_left_alone(source: Path, archive: Path, there: str) -> None:
    target = source.with_name("target")
    target.mkdir()
    (target / there).write_text("mine")

    result = command(archive, "--data-dir", target)

    assert result.exit_code == 1
    assert f"is not empty (it holds {there})" in result.stderr
    assert (target / there).read_text() == "mine"
    assert tree(target) == sorted([LOCK, there])


def test_force_sets_aside_what_is_there_and_deletes_nothing(source: Path, archive: Path) -> None:
    target = make_kept(source.with_name("target"), reports=3)
    (target / "my-files").touch()
    before, old = files(target), everything(target)

    result = command(archive, "--data-dir", target, "--force")

    assert result.exit_code == 0, result.stderr
    assert (everything(target), files(target)) == (everything(source), files(source))
    (aside,) = target.glob("before-restore-*")
    assert (everything(aside), files(aside)) == (old, before)
    assert (target / "my-files").exists()


def test_twice_by_force_sets_aside_twice(source: Path, archive: Path) -> None:
    target = make_kept(source.with_name("target"))

    for _ in range(2):
        restore(archive, target, force=True)

    assert len(list(target.glob("before-restore-*"))) == 2


def test_a_directory_that_a_server_holds_is_refused(source: Path, archive: Path) -> None:
    target = source.with_name("target")
    with hold_directory(target):
        before = tree(target)

        result = command(archive, "--data-dir", target, "--force")

        assert result.exit_code == 1
        assert "is in use by another Longhand process." in result.stderr
        assert tree(target) == before


def test_a_restore_that_is_killed_at_any_step_leaves_the_old_or_the_restored_whole(
    source: Path, archive: Path, tmp_path: Path
) -> None:
    outcomes = []
    restored = everything(source)
    for step in range(20):
        target = make_kept(tmp_path / f"target-{step}", reports=1)
        old = everything(target)

        done = subprocess.run([sys.executable, "-c", KILLED_AT_A_RENAME, archive, target, str(step)], check=False)
        with hold_directory(target):
            found = everything(target)

        assert found in (old, restored)
        assert files(target) == (files(source) if found == restored else {"1/1.md": files(target)["1/1.md"]})
        assert not (target / RESTORED).exists()
        if found == restored:
            (aside,) = target.glob("before-restore-*")
            assert everything(aside) == old
        outcomes.append(found == restored)
        if done.returncode == 0:
            break

    assert outcomes[0] is False
    assert outcomes == sorted(outcomes)
    assert 6 <= len(outcomes) < 20


def test_nobody_adds_a_user_to_a_directory_that_is_half_restored(tmp_path: Path) -> None:
    (tmp_path / RESTORED).mkdir()

    with pytest.raises(StartError, match=r"A restore into .* was cut off"):
        make_directory(tmp_path)

    assert tree(tmp_path) == [f"{RESTORED}/"]


# Archives that are no backup


def unpacked(archive: Path) -> Members:
    with tarfile.open(archive) as tar:
        return [(member, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]


def pack(archive: Path, members: Members, *, zipped: bool = False) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for member, data in members:
            tar.addfile(member, io.BytesIO(data))
    archive.write_bytes(gzip.compress(content.getvalue()) if zipped else content.getvalue())


def renamed(number: int, name: str) -> Callable[[Members], Members]:
    def change(members: Members) -> Members:
        members[number][0].name = name
        return members

    return change


def linked(kind: bytes) -> Callable[[Members], Members]:
    def change(members: Members) -> Members:
        link = tarfile.TarInfo(members[2][0].name)
        link.type, link.linkname = kind, "/etc/passwd"
        return [*members[:2], (link, b""), *members[3:]]

    return change


def altered(number: int, change: Callable[[bytes], bytes]) -> Callable[[Members], Members]:
    """Change a member's content, and its size with it."""

    def alter(members: Members) -> Members:
        member, data = members[number]
        changed = change(data)
        member.size = len(changed)
        members[number] = member, changed
        return members

    return alter


def said(**more: object) -> Callable[[Members], Members]:
    """Change what the list of contents says."""
    return altered(0, lambda data: json.dumps(json.loads(data) | more).encode())


HOSTILE: dict[str, tuple[Callable[[Members], Members], str]] = {
    "a path out of it": (renamed(2, "../../outside.md"), "there is something else"),
    "an absolute path": (renamed(2, "/tmp/outside.md"), "there is something else"),
    "a symbolic link": (linked(tarfile.SYMTYPE), "there is something else"),
    "a hard link": (linked(tarfile.LNKTYPE), "there is something else"),
    "a device": (linked(tarfile.CHRTYPE), "there is something else"),
    "a report that is larger": (altered(2, lambda data: data + b"more"), "does not have the size"),
    "a report that is other": (altered(2, lambda data: data[:-1] + b"?"), "does not have the content"),
    "a database that is other": (altered(1, lambda data: data[:-1] + b"?"), "does not have the content"),
    "a report too many": (lambda members: [*members, members[-1]], "more is in it than should be"),
    "a report too few": (lambda members: members[:-1], "there is no tar"),
    "no database": (lambda members: members[:1], "there is no tar"),
    "no list of contents": (lambda members: members[1:], "there is something else"),
    "a list that is no JSON": (altered(0, lambda _: b"{"), "its list of contents cannot be read"),
    "a list that lacks something": (altered(0, lambda _: b'{"format": 1}'), "its list of contents cannot be read"),
    "a list without end": (altered(0, lambda _: b" " * 2_000_000), "its list of contents is too large"),
    "words for the terminal": (said(created_at="2026-11-23\x1b[31m"), "its list of contents cannot be read"),
    "another format": (said(format=2), "has the format 2; this Longhand reads 1"),
    "a database without end": (said(database_size=10**15), "There is no room for it"),
    "another size": (said(database_size=4096), "does not have the size"),
    "nothing at all": (lambda _: [], "there is no tar"),
}


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "zipped"])
def test_an_archive_that_is_not_what_it_should_be_is_refused(archive: Path, what: str, zipped: bool) -> None:
    change, sentence = HOSTILE[what]
    pack(archive, change(unpacked(archive)), zipped=zipped)

    check_that_it_is_refused(archive, sentence)


def check_that_it_is_refused(archive: Path, sentence: str) -> None:
    target = archive.with_name("target")

    result = command(archive, "--data-dir", target)

    assert result.exit_code == 1
    assert sentence in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not target.exists() or tree(target) in ([], [LOCK])
    assert not archive.with_name("outside.md").exists()


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "zipped"])
@pytest.mark.parametrize("share", [0, 0.001, 0.01, 0.5, 0.93])
def test_an_archive_that_was_cut_short_is_refused(archive: Path, share: float, zipped: bool) -> None:
    content = gzip.compress(archive.read_bytes()) if zipped else archive.read_bytes()
    archive.write_bytes(content[: round(len(content) * share)])

    check_that_it_is_refused(archive, "is not a backup that can be restored")


@pytest.mark.parametrize(
    "content", [b"", b"no archive " * 5000, b"\x1f\x8b" + b"?" * 5000, b"PK\x03\x04", bytes(20000)]
)
def test_what_is_no_archive_is_refused(archive: Path, content: bytes) -> None:
    archive.write_bytes(content)

    check_that_it_is_refused(archive, "is not a backup that can be restored")


def test_an_archive_that_would_unpack_without_end_is_refused_before_it_does(archive: Path) -> None:
    with gzip.open(archive.with_suffix(".gz"), "wb") as zipped:
        zipped.write(archive.read_bytes())
        for _ in range(100):
            zipped.write(bytes(1024 * 1024))

    check_that_it_is_refused(archive.with_suffix(".gz"), "more is in it than should be")


def with_database(archive: Path, statements: str) -> None:
    """Put a database into an archive that is another one, but as the list of contents says."""
    members = unpacked(archive)
    file = archive.with_name("changed.db")
    file.write_bytes(members[1][1])
    with closing(open_database(file)) as db:
        db.conn.executescript(f"PRAGMA journal_mode = DELETE; PRAGMA foreign_keys = OFF; {statements}")
    content = file.read_bytes()
    members = altered(1, lambda _: content)(members)
    pack(archive, said(database_size=len(content), database_sha256=hashlib.sha256(content).hexdigest())(members))


@pytest.mark.parametrize(
    ("statements", "sentence"),
    [
        ("UPDATE artifacts SET path = '../../outside.md'", "artifact 1 has a file where none can be"),
        ("UPDATE artifacts SET path = '/tmp/outside.md'", "artifact 1 has a file where none can be"),
        ("UPDATE artifacts SET size = -1", "artifact 1 has a file where none can be"),
        ("UPDATE artifacts SET size = 1000000000000000", "There is no room for it"),
        ("DELETE FROM topics WHERE id = 1", "names a row of topics that does not exist"),
        ("PRAGMA writable_schema = ON; UPDATE sqlite_master SET rootpage = 3 WHERE name = 'tokens'", "The database"),
        ("DROP TABLE artifacts", "is not Longhand's"),
        (
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('longhand', 'm999_new', '')",
            "The database was written by a newer Longhand (m999_new). Install that version.",
        ),
        (
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('longhand', 'x\x1b\ny', '')",
            "The database was written by a newer Longhand (x? y). Install that version.",
        ),
    ],
)
def test_a_database_that_cannot_be_right_is_refused(archive: Path, statements: str, sentence: str) -> None:
    with_database(archive, statements)

    check_that_it_is_refused(archive, sentence)


def test_a_database_of_an_older_longhand_is_restored_and_brought_up_to_date_at_the_next_start(tmp_path: Path) -> None:
    old = tmp_path / "old"
    make_directory(old)
    database = Database(old / DATABASE)
    HISTORY[0](database)
    applied = {"migration_set": "longhand", "name": HISTORY[0].__name__, "applied_at": ""}
    database.table("_sqlite_migrations").insert(applied)
    database.close()
    target = tmp_path / "target"

    restore(packed(old), target)
    with closing(Database(target / DATABASE)) as db:
        before = db.table_names()
    with closing(open_database(target / DATABASE)) as db:
        after = db.table_names()

    assert "generations" in before
    assert "strands" in set(after) - set(before)


def test_a_report_that_was_lost_before_the_backup_is_told_and_all_else_is_restored(source: Path) -> None:
    (source / REPORTS / "1" / "1.md").unlink()
    archive = packed(source)
    target = source.with_name("target")

    result = command(archive, "--data-dir", target)

    assert result.exit_code == 1
    assert "Restored 1 reports" in result.stderr
    assert "The files of these artifacts are lost and not in it: 1." in result.stderr
    assert [finding.code for finding in look(target, running=False).findings] == ["artifact_lost"]
    assert unpacked(archive)[0][0].name == CONTENTS

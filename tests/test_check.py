"""The check: it finds what is wrong and nothing else, also beside a server; and mends without losing anything."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner, Result

from app.cli import main
from app.directory import DATABASE, LOCK, REPORTS, RESTORED, hold_directory, is_held
from app.files import TRASH
from app.keeping.backup import STAGING
from app.keeping.check import LOOKS, check
from app.keeping.mend import FOUND
from app.keeping.restore import READYING
from app.models import GenerationId, TopicId
from app.queries import generations, texts
from app.queries.artifacts import Version, save_partial
from app.queries.texts import Piece
from tests.claude import Script
from tests.conftest import Start
from tests.kept import TEXT, begin, change, everything, files, make_kept, rows, tree, write_file
from tests.process import environment, longhand
from tests.service import Service


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_kept(tmp_path / "data")


def run(data: Path, *options: str) -> Result:
    return CliRunner().invoke(main, ["check", *options, "--data-dir", str(data)])


def codes(data: Path) -> list[str]:
    """Return the codes of what is found where no server runs."""
    return [finding.code for finding in check(data, never).findings]


def never(seconds: float) -> None:
    pytest.fail("it waited, though no server runs")


def remove(data: Path) -> None:
    (data / REPORTS / "1" / "1.md").unlink()


def shorten(data: Path) -> None:
    write_file(data, 1, 1, TEXT)


def flip(data: Path) -> None:
    file = data / REPORTS / "1" / "1.md"
    file.write_bytes(file.read_bytes()[:-2] + b"?\n")


def link(data: Path) -> None:
    (data / REPORTS / "1" / "1.md").rename(data / "elsewhere.md")
    (data / REPORTS / "1" / "1.md").symlink_to(data / "elsewhere.md")


def stray(data: Path) -> None:
    write_file(data, 1, 99, "whose?")


def part(data: Path) -> None:
    write_file(data, 1, 99, "half a rep")
    (data / REPORTS / "1" / "99.md").rename(data / REPORTS / "1" / ".99.md.part")


def backup_left(data: Path) -> None:
    (data / STAGING / REPORTS).mkdir(parents=True, mode=0o700)


def restore_left(data: Path) -> None:
    (data / READYING / REPORTS).mkdir(parents=True, mode=0o700)


def needless(data: Path) -> None:
    change(data, "INSERT INTO strands (generation_id, section, done, seams) VALUES (1, 0, 1, '')")


def open_call(data: Path) -> None:
    change(
        data,
        """INSERT INTO ai_usage (user_id, topic_id, generation_id, attempt, purpose, model, state, started_at)
        VALUES (1, 1, 1, 1, 'report', 'm', 'open', ''), (1, 1, 999, 1, 'report', 'm', 'open', '')""",
    )


def readable(data: Path) -> None:
    (data / REPORTS / "1").chmod(0o755)
    (data / REPORTS / "1" / "1.md").chmod(0o644)
    data.chmod(0o711)


FAULTS: dict[Callable[[Path], None], list[str]] = {
    remove: ["artifact_lost"],
    shorten: ["artifact_changed"],
    flip: ["artifact_changed"],
    link: ["artifact_changed"],
    stray: ["stray_file"],
    part: ["temporary_file"],
    backup_left: ["temporary_file"],
    restore_left: ["temporary_file"],
    needless: ["needless_text"],
    open_call: ["forgotten_call", "forgotten_call"],
    readable: ["open_to_others"] * 3,
}


def test_a_sound_directory_is_sound(data: Path) -> None:
    result = run(data)

    assert (result.exit_code, result.output) == (0, "All is sound: 1 users, 2 topics, 2 reports.\n")


@pytest.mark.parametrize("spoil", FAULTS, ids=lambda spoil: spoil.__name__)
def test_each_fault_is_found_changes_nothing_and_is_mended_for_good(data: Path, spoil: Callable[[Path], None]) -> None:
    before, kept = everything(data), files(data)
    spoil(data)
    spoiled = tree(data), everything(data), files(data)

    assert codes(data) == FAULTS[spoil]
    found = run(data)
    assert (found.exit_code, (tree(data), everything(data), files(data))) == (1, spoiled)
    assert found.output.count(f"{FAULTS[spoil][0]}: ") == len(FAULTS[spoil])

    mended = run(data, "--mend")
    assert mended.exit_code == 1
    assert f"{len(FAULTS[spoil])} findings, all mended: 1 users, 2 topics, 2 reports." in mended.output
    assert (run(data).exit_code, files(data)) == (0, kept)
    assert (
        everything(data) == before
        if spoil is not open_call
        else not rows(data, "SELECT 1 FROM ai_usage WHERE state = 'open'")
    )


@pytest.mark.parametrize(("spoil", "name"), [(stray, "99.md"), (part, ".99.md.part"), (flip, "1.md")])
def test_what_is_put_out_of_the_way_is_moved_and_not_deleted(
    data: Path, spoil: Callable[[Path], None], name: str
) -> None:
    spoil(data)
    content = (data / REPORTS / "1" / name).read_bytes()

    run(data, "--mend")

    (moved,) = (path for path in (data / FOUND).rglob("*") if path.is_file())
    assert (moved.name, moved.read_bytes()) == (name, content)
    assert {path.stat().st_mode & 0o777 for path in (data / FOUND).rglob("*") if path.is_dir()} == {0o700}


@pytest.mark.parametrize("spoil", [remove, flip])
def test_a_report_whose_text_is_nowhere_is_told_and_is_lost(data: Path, spoil: Callable[[Path], None]) -> None:
    spoil(data)
    change(data, "UPDATE messages SET content = 'another text' WHERE generation_id = 1")

    mended = run(data, "--mend")

    assert mended.exit_code == 1
    assert "The report is lost: the database does not hold its text." in mended.output
    assert "1 findings, 1 of them not mended; nothing more can be done about them here." in mended.output
    assert codes(data) == ["artifact_lost"]
    assert sorted(files(data)) == ["2/2.md"]


def test_a_partial_report_is_written_again_from_what_is_kept_of_it(data: Path) -> None:
    def keep_part(db: object) -> None:
        begin(db, TopicId(1), "half a rep")  # type: ignore[arg-type]
        generation = generations.latest_generation(db, TopicId(1))  # type: ignore[arg-type]
        assert generation
        saved = write_file(data, 1, generation.id, "half a report\n")
        rest = [Piece(0, 10, "ort", False, ())]
        save_partial(db, generation, rest, Version(saved, "report.md", partial=True))  # type: ignore[arg-type]

    change(data, keep_part)
    (data / REPORTS / "1" / "3.md").unlink()

    assert codes(data) == ["artifact_lost"]
    run(data, "--mend")

    assert codes(data) == []
    assert files(data)["1/3.md"] == b"half a report\n"


def test_what_the_next_start_settles_is_no_fault(data: Path) -> None:
    generation = change(data, lambda db: begin(db, TopicId(1), "half a rep"))
    write_file(data, 1, generation, "half a rep")
    write_file(data, 2, generation, "of nobody")
    (data / REPORTS / "2" / f"{generation}.md").rename(data / REPORTS / "1" / f".{generation}.md.part")
    (data / REPORTS / TRASH / "7").mkdir(parents=True, mode=0o700)
    (data / REPORTS / TRASH).chmod(0o700)
    (data / RESTORED).mkdir()

    result = run(data)

    assert result.exit_code == 0, result.output
    assert "note: 1 generations are unfinished; they go on at the next start." in result.output
    assert "note: A restore was cut off; the next start finishes it." in result.output


def test_text_that_may_be_gone_on_from_is_no_fault(data: Path) -> None:
    def fail(db: object) -> None:
        begin(db, TopicId(1), "half a rep")  # type: ignore[arg-type]
        change_status(db)

    def change_status(db: object) -> None:
        db.execute("UPDATE generations SET status = 'failed' WHERE id = 3")  # type: ignore[attr-defined]

    change(data, fail)

    assert codes(data) == []
    assert change(data, lambda db: texts.has_text(db, GenerationId(3)))


def test_a_database_that_is_damaged_is_told_and_not_touched(data: Path) -> None:
    with closing(sqlite3.connect(data / DATABASE)) as db:
        db.execute("PRAGMA foreign_keys = OFF")
        db.execute("DELETE FROM topics WHERE id = 1")
        db.commit()
    stray(data)
    before = tree(data)

    result = run(data, "--mend")

    assert result.exit_code == 1
    assert "foreign_key: Row 1 of generations names a row of topics that does not exist." in result.output
    assert set(tree(data)) - {LOCK} == set(before)


def test_pages_that_are_damaged_are_told(data: Path) -> None:
    with closing(sqlite3.connect(data / DATABASE, isolation_level=None)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'topics_user'").fetchone()
    with (data / DATABASE).open("r+b") as file:
        file.seek((page - 1) * 4096 + 8)
        file.write(b"\xff" * 200)

    result = run(data)

    assert result.exit_code == 1
    assert "database_damaged" in result.output or "cannot be used" in result.output


async def test_beside_a_busy_server_there_is_no_false_alarm(start: Start) -> None:
    async with start() as service:
        service.claude.default = Script(text=TEXT, pieces=3)
        reports = []

        async def come_and_go() -> None:
            while True:
                topic_id = await service.topic()
                await service.generate(topic_id)
                if topic_id % 3:
                    await service.ended(topic_id)
                if topic_id % 2:
                    await service.http.delete(f"/api/topics/{topic_id}")

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(come_and_go)
            for _ in range(10):
                await service.topic()
                reports.append(await trio.to_thread.run_sync(check, service.settings.data_dir, give_way))
            nursery.cancel_scope.cancel()

        assert [report.findings for report in reports] == [[]] * 10
        assert all(report.server_running for report in reports)


LOOKED_INTO = """
import errno, os, sys
from app.cli import main
_, data, fault = sys.argv
going = os.path.join(data, "reports", "going")
def hear(event, arguments):
    if event == "os.scandir" and str(arguments[0]) == going and os.path.exists(going):
        if fault == "unreadable":
            raise OSError(errno.EIO, "Input/output error", going)
        os.rmdir(going)
sys.addaudithook(hear)
main(["check", "--data-dir", data])
"""


@pytest.mark.parametrize(
    ("fault", "code", "said"), [("gone", 0, ""), ("unreadable", 1, "cannot be read: Input/output")]
)
def test_a_directory_that_goes_while_it_is_looked_into_is_no_failure_and_an_unreadable_one_is(
    data: Path, fault: str, code: int, said: str
) -> None:
    (data / REPORTS / "going").mkdir(mode=0o700)

    done = subprocess.run(
        [sys.executable, "-c", LOOKED_INTO, data, fault],
        env=environment({}),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert (data / REPORTS / "going").exists() == (fault == "unreadable")


def give_way(seconds: float) -> None:
    """Let the server go on for a moment, shorter than the pause that is asked for."""
    trio.from_thread.run(trio.sleep, seconds / 20)


def test_what_is_gone_at_a_further_look_was_in_motion_and_what_stays_is_wrong(data: Path) -> None:
    stray(data)
    remove(data)
    looks = []

    def settle(seconds: float) -> None:
        looks.append(seconds)
        (data / REPORTS / "1" / "99.md").unlink(missing_ok=True)

    with hold_directory(data):
        report = check(data, settle)

    assert [finding.code for finding in report.findings] == ["artifact_lost"]
    assert len(looks) == LOOKS - 1


async def test_what_a_server_writes_is_its_owners_alone_whatever_the_umask(start: Start) -> None:
    before = os.umask(0)
    try:
        async with start() as service:
            topic_id = await service.topic()
            await service.generate(topic_id)
            await service.ended(topic_id)
            report = await trio.to_thread.run_sync(check, service.settings.data_dir, give_way)
            modes = {path.stat().st_mode & 0o077 for path in service.settings.data_dir.rglob("*")}
    finally:
        os.umask(before)

    assert (report.findings, report.counts["reports"]) == ([], 1)
    assert modes == {0}


async def test_a_server_that_runs_is_checked_but_not_mended(service: Service) -> None:
    data = service.settings.data_dir
    (data / REPORTS / "stray.md").touch(mode=0o600)

    found = await trio.to_thread.run_sync(run, data, "--json")
    refused = await trio.to_thread.run_sync(run, data, "--mend")

    assert json.loads(found.output)["server_running"]
    assert [finding["code"] for finding in json.loads(found.output)["findings"]] == ["stray_file"]
    assert (found.exit_code, refused.exit_code) == (1, 1)
    assert "is in use by another Longhand process." in refused.stderr
    assert (data / REPORTS / "stray.md").exists()


def test_a_database_that_others_may_read_is_told_with_what_stands_beside_it(data: Path) -> None:
    (data / DATABASE).chmod(0o644)
    (data / f"{DATABASE}-wal").touch(mode=0o640)

    found = run(data, "--mend").output

    assert "longhand.db has the mode 0644: others may use it. It is its owner's alone now." in found
    assert "longhand.db-wal has the mode 0640" in found
    assert (data / DATABASE).stat().st_mode & 0o777 == 0o600


def test_json_tells_what_was_found(data: Path) -> None:
    remove(data)

    found = json.loads(run(data, "--json").output)
    mended = json.loads(run(data, "--json", "--mend").output)

    assert found["counts"] == {"users": 1, "topics": 2, "reports": 2}
    assert found["findings"] == [
        {
            "code": "artifact_lost",
            "detail": "The file of artifact 1 (topic 1), reports/1/1.md, is gone.",
            "path": "reports/1/1.md",
            "mended": False,
            "remark": None,
            "artifact_id": 1,
            "topic_id": 1,
            "generation_id": 1,
        }
    ]
    assert mended["findings"][0]["remark"] == "It was written again from the database."
    assert (found["sound"], mended["sound"]) == (False, False)


@pytest.mark.parametrize("options", [(), ("--mend",)])
def test_where_there_is_no_database_none_is_made(tmp_path: Path, options: tuple[str, ...]) -> None:
    result = run(tmp_path / "data", *options)

    assert result.exit_code == 1
    assert "There is no database in" in result.stderr
    assert not (tmp_path / "data").exists()


async def test_the_exit_code_tells_a_wrong_call_from_a_finding(tmp_path: Path) -> None:
    code, process = await longhand("check", "--repair", cwd=tmp_path)

    assert code == 2, process.errors


def test_who_holds_a_directory_is_seen_without_making_anything(tmp_path: Path) -> None:
    assert not is_held(tmp_path)
    assert tree(tmp_path) == []
    with hold_directory(tmp_path):
        assert is_held(tmp_path)
    assert not is_held(tmp_path)
    assert os.access(tmp_path / LOCK, os.R_OK)

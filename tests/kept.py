"""A data directory with reports in it, made without a server."""

import hashlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from app.directory import DATABASE, REPORTS, make_directory
from app.models import GenerationId, Order, SavedFile, StatusName, TopicId
from app.queries import acceptance, artifacts, generations, texts, topics, users
from app.queries.artifacts import Version
from app.queries.texts import Piece
from app.store import open_database

TEXT = "# 전기차\n\n## 충전\n\n보고서의 본문입니다.\n"


def make_kept(data_dir: Path, reports: int = 2) -> Path:
    """Make a data directory with so many topics, each with a completed report: topic n, generation n, artifact n."""
    make_directory(data_dir)
    with closing(open_database(data_dir / DATABASE)) as db:
        user = users.add_user(db, "anna", is_admin=True)
        assert user
        users.add_token(db, user.id, "lh_a-token-that-anna-has", "first token")
        for number in range(1, reports + 1):
            topic = topics.add_topic(db, user.id, f"Topic {number}", "", "ko")
            add_report(db, data_dir, topic.id, f"{TEXT}{number}\n")
    return data_dir


def add_report(db: Database, data_dir: Path, topic_id: TopicId, text: str) -> GenerationId:
    """Add a completed report with its file."""
    generation = begin(db, topic_id)
    saved = write_file(data_dir, topic_id, generation, text)
    current = generations.latest_generation(db, topic_id)
    assert current
    artifacts.save_report(db, current, "question", text, Version(saved, "report.md", partial=False))
    return generation


def begin(db: Database, topic_id: TopicId, text: str = "") -> GenerationId:
    """Begin a generation, with some of its text kept."""
    found = acceptance.accept_generation(db, topic_id, Order(), "a-model", StatusName.GENERATING, None).generation
    assert found
    if text:
        texts.keep_text(db, found, [Piece(0, 0, text, False, ())])
    return found.id


def write_file(data_dir: Path, topic_id: int, generation_id: int, text: str) -> SavedFile:
    path = data_dir / REPORTS / str(topic_id) / f"{generation_id}.md"
    path.parent.mkdir(exist_ok=True, mode=0o700)
    path.write_text(text)
    path.chmod(0o600)
    content = text.encode()
    return SavedFile(f"{topic_id}/{generation_id}.md", len(content), hashlib.sha256(content).hexdigest())


def change(data_dir: Path, query: Callable[[Database], Any] | str) -> Any:
    """Change the database behind everybody's back: by a query, or by statements."""
    with closing(open_database(data_dir / DATABASE)) as db:
        return db.executescript(query) if isinstance(query, str) else query(db)


def rows(data_dir: Path, sql: str) -> list[dict[str, Any]]:
    with closing(open_database(data_dir / DATABASE)) as db:
        return list(db.query(sql))


def everything(data_dir: Path) -> dict[str, list[dict[str, Any]]]:
    """Return every row of every table, but for when somebody looked."""
    with closing(open_database(data_dir / DATABASE)) as db:
        return {table: list(db.query(f"SELECT * FROM {table}")) for table in db.table_names()}


def files(data_dir: Path) -> dict[str, bytes]:
    """Return all report files, by their path."""
    reports = data_dir / REPORTS
    return {str(path.relative_to(reports)): path.read_bytes() for path in reports.rglob("*") if path.is_file()}


def tree(directory: Path) -> list[str]:
    """Return every path below a directory but for what SQLite puts beside a database; directories end with a slash."""
    paths = (f"{path.relative_to(directory)}{'/' * path.is_dir()}" for path in directory.rglob("*"))
    return sorted(path for path in paths if not path.endswith(("-wal", "-shm")))

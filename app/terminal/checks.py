"""What the doctor looks at on this machine: settings, data directory, database, disk, Claude."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from app.claude import ModelNews, model_news
from app.directory import DATABASE, is_held
from app.errors import ClaudeAuth, Failure, LonghandError
from app.keeping.database import looking
from app.settings import Settings
from app.terminal.words import counted

LITTLE_BYTES, TOO_LITTLE_BYTES = 2**30, 100 * 2**20


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found, and what to do about it."""

    check: str
    level: Level
    told: str
    advice: str = ""


def found(check: str, told: str, level: Level = Level.OK, advice: str = "") -> Finding:
    return Finding(check, level, told, advice)


def of_directory(path: Path) -> Iterator[Finding]:
    """Look at the data directory, its database and its disk. Makes nothing."""
    if not path.exists():
        yield found("data directory", f"{path} is not there yet; the first start makes it.")
    elif not path.is_dir():
        yield found("data directory", f"{path} is no directory.", Level.PROBLEM, "Name another one with --data-dir.")
        return
    else:
        yield _rights(path)
        yield _database(path)
    yield _disk(path)


def _rights(path: Path) -> Finding:
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        return found("data directory", f"{path} cannot be written.", Level.PROBLEM, "Give it to the user who serves.")
    if path.stat().st_mode & 0o077:
        return found("data directory", f"Others may read {path}.", Level.WARNING, f"chmod 700 {path}")
    return found("data directory", f"{path}, held by a server." if is_held(path) else f"{path}, held by nobody.")


def _database(path: Path) -> Finding:
    if not (path / DATABASE).exists():
        return found("database", "There is none yet; the first start makes it.")
    try:
        with looking(path / DATABASE) as database:
            count = database.conn.execute("SELECT count(*) FROM topics").fetchone()[0]
    except LonghandError as error:
        return found("database", str(error), Level.PROBLEM, "'longhand check' says more; 'longhand restore' helps.")
    return found("database", f"{counted(count, 'topic')}; 'longhand check' looks at every page and file.")


def _disk(path: Path) -> Finding:
    there = next(parent for parent in [path.absolute(), *path.absolute().parents] if parent.exists())
    free = shutil.disk_usage(there).free
    told = f"{free / 2**30:.1f} GB free."
    if free < LITTLE_BYTES:
        level = Level.PROBLEM if free < TOO_LITTLE_BYTES else Level.WARNING
        return found("disk", told, level, f"Make room where {path} is: without it no report can be saved.")
    return found("disk", told)


async def of_claude(settings: Settings) -> list[Finding]:
    """Ask Claude whether it takes the key, and about each allowed model."""
    if settings.offline:
        told = "No key is set: the built-in writer makes practice drafts."
        return [found("Claude", told, Level.WARNING, "Set ANTHROPIC_API_KEY for reports.")]
    findings = []
    for name in settings.models:
        try:
            findings.append(of_model(name, await model_news(settings, name), elsewhere=settings.base_url is not None))
        except ClaudeAuth as failure:
            return [found("Claude", f"{failure}.", Level.PROBLEM, "Check ANTHROPIC_API_KEY.")]
        except Failure as failure:
            advice = "Check ANTHROPIC_BASE_URL, and the network."
            return [*findings, found("Claude", f"{failure}.", Level.PROBLEM, advice)]
    return [found("Claude", "The key is taken."), *findings]


def of_model(name: str, news: ModelNews | None, *, elsewhere: bool = False) -> Finding:
    """Say what is to be known of a model. `elsewhere`: it is not Anthropic who was asked."""
    check, advice = f"model {name}", "Choose another one in LONGHAND_MODEL and LONGHAND_MODELS."
    if news is None:
        told = "Claude has no model of this name, or not for this key."
        if elsewhere:
            return found(check, f"{told} Or ANTHROPIC_BASE_URL has no Models API.", Level.WARNING, advice)
        return found(check, told, Level.PROBLEM, advice)
    if news.lifecycle == "retired":
        return found(check, "It is retired: Claude answers no more with it.", Level.PROBLEM, advice)
    if news.lifecycle == "deprecated":
        when = f"retires on {news.retires_on}" if news.retires_on else "is about to retire"
        return found(check, f"It is deprecated and {when}.", Level.WARNING, advice)
    return found(check, f"Active; retires on {news.retires_on}." if news.retires_on else "Active.")

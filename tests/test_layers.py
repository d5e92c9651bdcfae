"""The shape of the tree: every module has a level and imports only lower ones, and what is dangerous has one door."""

import ast
from pathlib import Path

import pytest

import app

LEVELS = """
    client
    errors models phrases words again idle addresses redact metrics spans emphasis footnotes passwords agents once
    refusals markdown
    causes inbox headers limiter signins forwarded logs boundaries
    environment credentials
    settings prompts report render wire schema threads slots directory loopwatch text patience feed gate pace chunks
    saving
    network guard snapshot queries files store tracing offline answer
    pool status protocols renderings
    connections claude access job
    draft
    ledger
    writer
    generate
    runner
    state
    exposition
    problems routes
    pages
    middleware bodies openapi
    edge
    main
    options
    server
    keeping
    terminal
    write
    serving
    bench
    chaos
    people
    cli
    __main__
"""
"""One line a level, lowest first; a package is one module. Each imports only from lines above its own."""

DOORS = {
    # A generation holds its sections; guard and server one connection, one stop; write the server it talks to, and
    # terminal who listens to Ctrl-C meanwhile. What they start ends there. The benchmark's load and its naive variant,
    # here and below, are processes of their own. So is chaos.
    "starts tasks": (
        {"start_soon", "create_task_group", "open_nursery"},
        {"runner", "generate", "server", "guard", "write", "terminal", "bench", "chaos"},
    ),
    # Inbox enters none: it hands Trio's function on to Hypercorn, in Hypercorn's own words. The log is written, and the
    # loop watched, from a thread of its own, for as long as the process lives.
    "enters a thread": (
        {"to_thread", "from_thread", "Thread", "ThreadPoolExecutor"},
        {"threads", "inbox", "logs", "loopwatch", "bench", "chaos"},
    ),
    "imports the SDK": ({"anthropic"}, {"claude", "bench"}),
    # Main and serving tell of the first access token; saving may put the report on standard output, as keeping does
    # with a backup.
    "prints": (
        {"print", "stdout", "stderr", "echo"},
        {"cli", "people", "main", "serving", "saving", "terminal", "keeping", "bench", "chaos"},
    ),
    "reads the environment": ({"environ", "getenv", "dotenv"}, {"environment"}),
    # Times that people read; guard's is the date of an answer. What waits, or remembers for a while, asks the clock
    # that never jumps. Directory and keeping name what they set aside after it. The benchmark and the client read
    # the times that a server tells, and the terminal says how long from now they are.
    "reads the wall clock": (
        {"datetime", "time.time", "time.time_ns"},
        {"models", "words", "guard", "directory", "keeping", "bench", "client", "terminal"},
    ),
    # Causes and queries only tell its exceptions apart. Keeping looks from outside, beside the store of a server.
    "names sqlite3": ({"sqlite3"}, {"store", "people", "causes", "queries", "keeping", "bench"}),
    "holds a database": ({"sqlite_utils"}, {"store", "schema", "queries", "people", "keeping"}),
}
"""What it is called: (the names that give it away, the modules that may)."""

ROOT = Path(app.__file__).parent
FILES = sorted(str(file.relative_to(ROOT)) for file in ROOT.rglob("*.py"))


def module(file: str) -> str:
    """Return what a file counts as: its module, or the package of `app` that it is in."""
    return Path(file).parts[0].removesuffix(".py")


def names(file: str) -> set[str]:
    """Return every name that a file imports, reads or calls; modules with their dots, and each part of them."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=aliases):
                found.update(alias.name for alias in aliases)
            case ast.ImportFrom(module=source, names=aliases, level=dots):
                origin = "app." * dots + (source or "")
                found.update({origin, *(f"{origin}.{alias.name}" for alias in aliases)})
            case ast.Attribute(value=ast.Name(id="time"), attr=name):
                found.update({name, f"time.{name}"})
            case ast.Name(id=name) | ast.Attribute(attr=name):
                found.add(name)
    return found | {part for name in found for part in name.split(".")}


def level(name: str) -> int:
    return next(number for number, line in enumerate(LEVELS.strip().splitlines()) if name in line.split())


def test_every_module_has_a_level() -> None:
    assert sorted(LEVELS.split()) == sorted({module(file) for file in FILES} - {"__init__"})


@pytest.mark.parametrize("file", FILES)
def test_imports_point_down(file: str) -> None:
    imported = {name.split(".")[1] for name in names(file) if name.startswith("app.")} - {module(file), "__version__"}

    assert {name for name in imported if level(name) >= level(module(file))} == set()


@pytest.mark.parametrize("door", DOORS)
def test_what_is_dangerous_has_one_door(door: str) -> None:
    signs, allowed = DOORS[door]

    assert {module(file) for file in FILES if names(file) & signs} == allowed

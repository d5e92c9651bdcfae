"""What a child process of the benchmark and its parent have in common: the job, lines of JSON, an end together."""

import json
import sys
from dataclasses import dataclass
from typing import Any

import trio


@dataclass(frozen=True, slots=True)
class Job:
    """What the load is to do; `ideal` is how long a report takes by itself, `limit` when it gives up."""

    url: str
    token: str
    pid: int
    reports: int = 1
    ideal: float = 0.0
    limit: float = 0.0
    polls: float = 1.0
    submitters: int = 1
    readers: int = 0
    long_polls: int = 0
    idle: float = 1.0
    """How long the idle server is looked at, each time."""
    warm: int = 20
    """How many reports are written before anything is measured."""


def tell(**message: Any) -> None:
    """Say something to the parent."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


async def end_with_parent(scope: trio.CancelScope) -> None:
    """Cancel the scope when standard input ends, which it does with the parent, however that ended."""
    await trio.lowlevel.wait_readable(sys.stdin)
    scope.cancel()

"""What a child process of the benchmark and its parent have in common: lines of JSON, and an end together."""

import json
import sys
from typing import Any

import trio


def tell(**message: Any) -> None:
    """Say something to the parent."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


async def end_with_parent(scope: trio.CancelScope) -> None:
    """Cancel the scope when standard input ends, which it does with the parent, however that ended."""
    await trio.lowlevel.wait_readable(sys.stdin)
    scope.cancel()

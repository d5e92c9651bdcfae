"""Run the same program on Trio, and on asyncio beside it; the service is on Trio, in the test's own loop."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import anyio
import trio

T = TypeVar("T")

Program = Callable[[], Awaitable[T]]


async def run_on(backend: str, program: Program[T]) -> T:
    """Run a program to its end and return what it returns."""
    if backend == "trio":
        return await program()
    return await trio.to_thread.run_sync(partial(anyio.run, program, backend="asyncio"), abandon_on_cancel=True)

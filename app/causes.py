"""What an exception comes down to: task groups gather it, servers wrap it, and libraries raise their own."""

import sqlite3
from collections.abc import Iterator

from app.errors import ClaudeTimeout, DatabaseFailed, Failure, FileSystemFailed, Internal, LonghandError


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Give the exceptions that task groups have gathered in groups."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error


def failure_of(error: BaseException) -> Failure:
    """Return the failure that `error` belongs to. A time-out is looked for before OSError: it is one."""
    error = next(leaves(error))
    match error:
        case Failure():
            return error
        case TimeoutError():
            return ClaudeTimeout()
        case sqlite3.Error():
            return DatabaseFailed()
        case OSError():
            return FileSystemFailed()
        case _:
            return Internal(str(error) or type(error).__name__)


def expected(error: BaseException | None) -> LonghandError | None:
    """Find the expected failure in what task groups and servers have wrapped around it."""
    if error is None or isinstance(error, LonghandError):
        return error
    inner = error.exceptions if isinstance(error, BaseExceptionGroup) else (error.__cause__, error.__context__)
    return next(filter(None, map(expected, inner)), None)

"""How a command ends: its exit code, and one line that says why."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from app.causes import leaves
from app.client import ClientError, LonghandProblem, Unreachable
from app.terminal.codes import CONFLICT, FAILED, INTERRUPTED, LATER, NO_SERVER, NOT_ALLOWED, NOT_FOUND
from app.terminal.words import clean

BY_STATUS = {401: NOT_ALLOWED, 403: NOT_ALLOWED, 404: NOT_FOUND, 409: CONFLICT, 410: NOT_FOUND, 429: LATER, 503: LATER}


class Ended(click.ClickException):
    """A command has to end here, with this code and this sentence."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # Click reads it of the exception

    def show(self, file: object = None) -> None:  # noqa: ARG002 - Click's signature
        complain(self.message)


def complain(sentence: str) -> None:
    """Say on standard error what is wrong, in one line."""
    print(f"longhand: {clean(' '.join(sentence.split()))}", file=sys.stderr, flush=True)


@contextmanager
def ending(*, as_json: bool) -> Iterator[None]:
    """Turn what a client raises into a line, an exit code and, with `as_json`, a document on standard output."""
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except (ClientError, BaseExceptionGroup) as error:
        found = next((leaf for leaf in leaves(error) if isinstance(leaf, ClientError)), None)
        if found is None:
            raise
        if as_json:
            print(json.dumps({"error": described(found)}, ensure_ascii=True))
        complain(str(found))
        sys.exit(code_of(found))


def code_of(error: ClientError) -> int:
    if isinstance(error, LonghandProblem):
        return BY_STATUS.get(error.status, FAILED)
    return NO_SERVER if isinstance(error, Unreachable) else FAILED


def described(error: ClientError) -> dict[str, object]:
    """Return an error as `--json` shows it."""
    if isinstance(error, LonghandProblem):
        return dict(error.document)
    return {"code": "unreachable", "detail": str(error)}

"""What an exception comes down to, whatever it was gathered with or wrapped in."""

import sqlite3

import pytest

from app.causes import expected, failure_of
from app.errors import ClaudeTimeout, DatabaseFailed, Failure, FileSystemFailed, Internal, Refused, StartError
from tests.test_errors import FAILURES


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        *[(row[0], type(row[0])) for row in FAILURES],
        (TimeoutError(), ClaudeTimeout),  # an OSError as well
        (ConnectionResetError(), FileSystemFailed),
        (PermissionError(13, "Permission denied"), FileSystemFailed),
        (sqlite3.OperationalError("no such column"), DatabaseFailed),
        (sqlite3.IntegrityError(), DatabaseFailed),
        (ValueError("a bug"), Internal),
        (ExceptionGroup("", [ExceptionGroup("", [TimeoutError()])]), ClaudeTimeout),
        (ExceptionGroup("", [Refused(), OSError()]), Refused),
        (BaseExceptionGroup("", [KeyboardInterrupt(), OSError()]), Internal),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else value.__name__,
)
def test_every_exception_belongs_to_a_row(error: BaseException, failure: type[Failure]) -> None:
    found = failure_of(error)

    assert type(found) is failure
    assert found is error or not isinstance(error, Failure)


def test_an_unexpected_exception_is_told_by_its_own_message_or_by_its_name() -> None:
    assert str(failure_of(ValueError("a bug"))) == "a bug"
    assert str(failure_of(ExceptionGroup("two", [ValueError("a bug")]))) == "a bug"
    assert str(failure_of(AssertionError())) == "AssertionError"


def test_the_expected_failure_is_found_in_what_was_wrapped_around_it() -> None:
    failure = StartError("The port is taken.")
    wrapped = RuntimeError("lifespan failed")
    wrapped.__cause__ = ExceptionGroup("", [ValueError(), ExceptionGroup("", [failure])])
    while_handling = RuntimeError()
    while_handling.__context__ = wrapped

    for error in (failure, wrapped, while_handling, ExceptionGroup("", [wrapped])):
        assert expected(error) is failure
    assert expected(ExceptionGroup("", [ValueError(), RuntimeError()])) is None
    assert expected(None) is None

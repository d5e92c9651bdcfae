"""The table of failures: what API.md says of each."""

from collections.abc import Iterator
from itertools import chain

import pytest

from app.errors import (
    ClaudeAuth,
    ClaudeLimited,
    ClaudeRequest,
    ClaudeStream,
    ClaudeTimeout,
    ClaudeUnavailable,
    DatabaseFailed,
    Failure,
    FileSystemFailed,
    GenerationInProgress,
    Internal,
    Invalid,
    LonghandError,
    NotFound,
    NotReady,
    Problem,
    QueueFull,
    RangeNotSatisfiable,
    Refused,
    SettingsError,
    ShuttingDown,
    StartError,
    TooManyGenerations,
    Unauthorized,
)

FAILURES = [
    (ClaudeTimeout(), "claude_timeout", "Claude API timeout", True),
    (ClaudeUnavailable("overloaded"), "claude_unavailable", "Claude API unavailable: overloaded", True),
    (ClaudeLimited(), "claude_unavailable", "Claude API unavailable: it limited new requests for too long", True),
    (ClaudeAuth(), "claude_auth", "Claude API key rejected", False),
    (ClaudeRequest("too long"), "claude_request", "Claude API refused the request: too long", False),
    (Refused(), "refused", "Claude declined to write this report", False),
    (ClaudeStream(), "claude_stream", "Claude API stream broke off", True),
    (DatabaseFailed(), "database", "Database save failed", True),
    (FileSystemFailed(), "file_system", "File system error", True),
    (Internal("list index out of range"), "internal", "list index out of range", True),
]


def subclasses(of: type[LonghandError]) -> Iterator[type[LonghandError]]:
    return chain.from_iterable((kind, *subclasses(kind)) for kind in of.__subclasses__())


PROBLEMS = sorted({kind for kind in subclasses(Problem) if issubclass(kind, Problem)}, key=lambda kind: kind.__name__)


@pytest.mark.parametrize(("failure", "code", "message", "retryable"), FAILURES, ids=lambda row: type(row).__name__)
def test_a_failure_is_told_as_the_api_says(failure: Failure, code: str, message: str, retryable: bool) -> None:
    assert (failure.code, str(failure), failure.retryable) == (code, message, retryable)


def test_the_table_knows_every_failure() -> None:
    assert {type(row[0]) for row in FAILURES} == set(subclasses(Failure))


def test_a_message_can_be_stored_and_sent_whatever_it_came_from() -> None:
    failure = Internal("half of \ud83d a character, and 수소")

    assert str(failure) == "half of ? a character, and 수소"


@pytest.mark.parametrize("problem", PROBLEMS)
def test_every_problem_has_its_own_code_and_a_sentence(problem: type[Problem]) -> None:
    assert problem.code.replace("_", "").isalpha()
    assert problem.code.islower()
    assert problem.title
    assert 400 <= problem.status <= 599
    assert problem.detail.endswith(".") or problem is NotReady  # which is raised with its reason
    assert sum(other.code == problem.code for other in PROBLEMS) == 1


@pytest.mark.parametrize("problem", [kind for kind in PROBLEMS if kind.status in {429, 503}])
def test_who_is_to_come_back_is_told_when(problem: type[Problem]) -> None:
    assert int(problem().headers["Retry-After"]) > 0


def test_a_problem_says_what_is_wrong_in_its_own_words_or_the_given_ones() -> None:
    assert str(NotFound()) == NotFound.detail
    assert str(NotReady("The database cannot be written.")) == "The database cannot be written."


def test_problems_carry_what_the_api_promises_beside_the_sentence() -> None:
    assert GenerationInProgress.of(1, 7).extensions == {"generation_id": 7, "status_url": "/api/topics/1/status"}
    assert Invalid(("/plan", "Too long.")).extensions == {"errors": [{"pointer": "/plan", "detail": "Too long."}]}
    assert Unauthorized().headers == {"WWW-Authenticate": "Bearer"}
    assert RangeNotSatisfiable(10).headers == {"Content-Range": "bytes */10"}
    assert DatabaseFailed().headers == {"Retry-After": "5"}
    assert NotFound().headers == {}
    assert {QueueFull.status, ShuttingDown.status, DatabaseFailed.status} == {503}
    assert TooManyGenerations.status == 429


def test_wrong_settings_end_the_process_with_2_and_any_other_start_error_with_1() -> None:
    assert (SettingsError.exit_code, StartError.exit_code) == (2, 1)

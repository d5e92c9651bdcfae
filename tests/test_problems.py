"""The table of problems, and how each becomes a document."""

import inspect
import json
import logging
import re
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from app import errors, refusals
from app.errors import (
    DatabaseFailed,
    GenerationInProgress,
    InternalError,
    Invalid,
    NotReady,
    Problem,
    RangeNotSatisfiable,
)
from app.problems import instance, on_http_exception, on_problem, problem_response

TABLE = [
    found
    for module in (errors, refusals)
    for _, found in inspect.getmembers(module, inspect.isclass)
    if issubclass(found, Problem) and found is not Problem
]
MADE: dict[type[Problem], Problem] = {
    GenerationInProgress: GenerationInProgress.of(1, 7),
    Invalid: Invalid(("/plan", "Too long.")),
    NotReady: NotReady("The database cannot be written."),
    RangeNotSatisfiable: RangeNotSatisfiable(5),
}
BY_STATUS = {
    400: {"malformed_json", "malformed_request"},
    401: {"unauthorized"},
    403: {"csrf"},
    404: {"not_found"},
    405: {"method_not_allowed"},
    408: {"request_timeout"},
    409: {"generation_in_progress", "nothing_to_cancel", "nothing_to_resume"},
    410: {"artifact_lost"},
    413: {"body_too_large"},
    415: {"unsupported_media_type"},
    414: {"uri_too_long"},
    416: {"range_not_satisfiable"},
    421: {"wrong_host"},
    422: {"invalid_request", "idempotency_key_reused"},
    429: {"too_many_generations", "rate_limited"},
    431: {"headers_too_large"},
    500: {"internal"},
    503: {"queue_full", "shutting_down", "not_ready", "database", "file_system", "too_many_connections"},
}
"""What programs switch on: a code may be added, none may change."""


def asked(raw_path: bytes = b"/api/topics/1") -> Request[Any]:
    return Request({"type": "http", "method": "GET", "raw_path": raw_path, "headers": [], "request_id": "mine"})


def document_of(problem: Problem) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(bytes(problem_response(asked(), problem).body))
    return document


def made(problem: type[Problem]) -> Problem:
    return MADE.get(problem) or problem()


def test_the_codes_are_those_that_programs_know() -> None:
    for problem in TABLE:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", problem.code)
        assert problem.code in BY_STATUS[problem.status]
    assert len(TABLE) == sum(map(len, BY_STATUS.values()))


@pytest.mark.parametrize("problem", TABLE, ids=lambda problem: problem.code)
def test_every_problem_is_a_whole_document_in_plain_sentences(problem: type[Problem]) -> None:
    document = document_of(made(problem))

    known = {"type", "title", "status", "detail", "instance", "code", "request_id"}
    assert known <= set(document)
    assert document["type"] == f"/problems/{problem.code}"
    assert (document["status"], document["code"]) == (problem.status, problem.code)
    assert (document["instance"], document["request_id"]) == ("/api/topics/1", "mine")
    assert re.fullmatch(r"[A-Z].*\.", document["detail"])
    assert re.fullmatch(r"[A-Z].*[^.]", document["title"])


def test_what_passes_by_itself_says_when_to_come_back() -> None:
    for problem in TABLE:
        headers = problem_response(asked(), made(problem)).headers
        assert ("retry-after" in headers) == (problem.status in {429, 503}), problem.code


def test_a_problem_of_validation_says_where_each_fault_is() -> None:
    document = document_of(Invalid(("/plan", "Too long."), ("/a~1b", "There is no such field.")))

    assert document["errors"] == [
        {"pointer": "/plan", "detail": "Too long."},
        {"pointer": "/a~1b", "detail": "There is no such field."},
    ]


@pytest.mark.parametrize(
    ("raw_path", "expected"),
    [
        (b"/api/topics/1", "/api/topics/1"),
        (b"/%EC%A0%84%20a?", "/%EC%A0%84%20a%3F"),
        (b'/"<>\\^`{|}', "/%22%3C%3E%5C%5E%60%7B%7C%7D"),
        (b"/\xff\n", "/%FF%0A"),
        (b"/a-b._~!$&'()*+,;=:@", "/a-b._~!$&'()*+,;=:@"),
    ],
)
def test_an_instance_is_the_path_with_what_no_uri_holds_percent_encoded(raw_path: bytes, expected: str) -> None:
    assert instance(asked(raw_path)) == expected


@pytest.mark.parametrize(
    ("status", "code"),
    [(404, "not_found"), (405, "method_not_allowed"), (400, "malformed_request"), (418, "malformed_request")],
)
async def test_what_starlette_refuses_is_told_in_our_words(status: int, code: str) -> None:
    response = await on_http_exception(asked(), HTTPException(status, "In other words", {"Allow": "POST, GET"}))

    assert json.loads(bytes(response.body))["code"] == code
    assert b"In other words" not in response.body
    assert response.headers["allow"] == "GET, POST"


async def test_a_failure_of_ours_is_logged_with_what_caused_it(caplog: pytest.LogCaptureFixture) -> None:
    failed = DatabaseFailed()
    failed.__cause__ = OSError("disk I/O error")

    response = await on_problem(asked(), failed)

    assert b"disk" not in response.body
    (record,) = caplog.records
    assert (record.levelno, record.exc_info is not None) == (logging.ERROR, True)
    assert "disk I/O error" in record.getMessage()


async def test_a_fault_of_the_callers_is_not_logged_as_ours(caplog: pytest.LogCaptureFixture) -> None:
    for problem in TABLE:
        if problem.status < 500:
            await on_problem(asked(), made(problem))

    assert caplog.records == []


def test_a_bug_has_no_words_of_its_own() -> None:
    assert document_of(InternalError())["detail"] == InternalError.detail

"""The description: every route is told of, whole, and nothing else; it is valid OpenAPI 3.1."""

import json
import re
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.routing import Route

from app.errors import Problem
from app.main import create_app
from app.openapi.build import API, OPERATIONS, calls, description
from app.routes.resource import resource
from app.settings import Settings

MODELS = ("claude-sonnet-5-5", "claude-opus-5-5")
ROUTES = [route for route in create_app(Settings(), None).routes if isinstance(route, Route)]
DESCRIBED = [route for route in ROUTES if set(calls([route])) <= set(OPERATIONS)]
DOCUMENT = description(DESCRIBED, MODELS)
PUBLIC = {"/healthz", "/readyz", "/openapi.json", "/docs"}

TOLD = {
    f"{method.upper()} {path}": operation
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
    if method != "parameters"
}


def kinds(base: type[Problem]) -> set[type[Problem]]:
    return {base} | {kind for below in base.__subclasses__() for kind in kinds(below)}


def codes(operation: dict[str, Any], status: str) -> list[str]:
    """Return the codes of the problems that a call may answer with a status."""
    _, own, *_ = operation["responses"][status]["content"]["application/problem+json"]["schema"]["allOf"]
    found: list[str] = own["properties"]["code"]["enum"]
    return found


def test_every_method_of_every_route_is_described_and_nothing_else() -> None:
    served = {
        f"{method} {route.path_format}"
        for route in ROUTES
        for method in route.methods or ()
        if method != "HEAD" and API.fullmatch(route.path)
    }

    assert set(TOLD) == served
    assert set(OPERATIONS) == served


def test_a_route_that_is_not_in_the_table_is_no_description() -> None:
    async def handler(request: object) -> Any:
        raise AssertionError

    with pytest.raises(KeyError, match="POST /api/more"):
        description([*ROUTES, resource("/api/more", POST=handler)], MODELS)


def test_a_call_whose_route_is_gone_is_not_described() -> None:
    fewer = [route for route in ROUTES if route.path != "/healthz"]

    assert "/healthz" not in description(fewer, MODELS)["paths"]


def test_the_parts_of_the_page_are_no_calls() -> None:
    assert not [call for call in calls(ROUTES) if "/docs/" in call]


def test_it_is_valid_openapi() -> None:
    assert not list(OpenAPIV31SpecValidator(DOCUMENT).iter_errors())


def test_every_call_has_a_name_of_its_own_and_a_summary() -> None:
    names = [operation["operationId"] for operation in TOLD.values()]

    assert len(set(names)) == len(names)
    assert all(operation["summary"] and operation["tags"] for operation in TOLD.values())


def test_a_token_is_needed_but_for_what_is_public() -> None:
    assert DOCUMENT["security"] == [{"bearer": []}, {"cookieAuth": []}]
    assert set(DOCUMENT["components"]["securitySchemes"]) == {"bearer", "cookieAuth"}
    assert {call.split()[1] for call, operation in TOLD.items() if operation.get("security") == []} == PUBLIC
    for operation in TOLD.values():
        assert ("401" in operation["responses"]) == (operation.get("security") != [])


def test_what_changes_something_needs_more_than_a_cookie() -> None:
    for call, operation in TOLD.items():
        changes = not call.startswith("GET ")
        assert ("X-CSRF-Token" in {parameter["name"] for parameter in operation["parameters"]}) is changes, call
        assert ("403" in operation["responses"]) is changes, call


def test_every_answer_carries_a_request_id() -> None:
    answers = [answer for operation in TOLD.values() for answer in operation["responses"].values()]

    assert all(answer["headers"]["X-Request-ID"]["required"] for answer in answers)


def test_every_problem_is_told_of_under_its_status() -> None:
    told = {
        (status, code)
        for operation in TOLD.values()
        for status in operation["responses"]
        if status >= "400"
        for code in codes(operation, status)
    }
    known = {(str(kind.status), kind.code) for kind in kinds(Problem) if hasattr(kind, "code")}

    assert known - told == {("405", "method_not_allowed")}  # no method that is described answers it
    assert told <= known


def test_what_a_call_takes_says_which_problems_it_answers() -> None:
    start = TOLD["POST /api/topics/{id}/generate"]

    assert codes(start, "400") == ["malformed_json", "malformed_request"]
    assert codes(start, "409") == ["generation_in_progress", "nothing_to_resume"]
    assert codes(start, "422") == ["idempotency_key_reused", "invalid_request"]
    assert codes(start, "503") == ["database", "queue_full", "shutting_down", "too_many_connections"]
    assert set(start["responses"]) == {
        *[
            "202",
            "400",
            "401",
            "403",
            "404",
            "408",
            "409",
            "413",
            "414",
            "415",
            "421",
            "422",
            "429",
            "431",
            "500",
            "503",
        ]
    }
    everywhere = {"414", "421", "429", "431", "500", "503"}
    assert set(TOLD["GET /api/topics/{id}"]["responses"]) == {"200", "401", "404"} | everywhere
    assert set(TOLD["GET /healthz"]["responses"]) == {"200"} | everywhere


def test_headers_that_matter_are_described() -> None:
    def taken(call: str) -> set[str]:
        return {parameter["name"] for parameter in TOLD[call]["parameters"]}

    def answered(call: str, status: str) -> set[str]:
        return set(TOLD[call]["responses"][status]["headers"]) - {"X-Request-ID"}

    assert taken("POST /api/topics/{id}/generate") == {"Idempotency-Key", "X-CSRF-Token"}
    assert taken("GET /api/topics/{id}/status") == {"wait", "Prefer", "If-None-Match"}
    assert taken("GET /api/topics/{id}/status/stream") == {"text", "html", "ping", "Last-Event-ID", "starting_after"}
    assert taken("GET /api/artifacts/{id}/download") == {"format", "If-None-Match", "Range", "If-Range"}
    assert answered("POST /api/topics", "201") == {"Location"}
    assert answered("POST /api/topics/{id}/generate", "202") == {"Location", "Retry-After", "Idempotency-Replayed"}
    assert answered("POST /api/topics/{id}/generate", "429") == {"Retry-After"}
    assert answered("GET /api/topics/{id}/status", "304") == {"ETag", "Cache-Control", "Retry-After"}
    assert answered("GET /api/topics", "401") == {"WWW-Authenticate"}


def test_the_models_are_those_that_a_caller_may_choose() -> None:
    model = DOCUMENT["components"]["schemas"]["GenerateRequest"]["properties"]["model"]

    assert model["anyOf"] == [{"type": "string", "enum": list(MODELS)}, {"type": "null"}]


def test_it_shows_nothing_of_the_server() -> None:
    assert not re.search(r"Traceback|\.py\b|/site-packages|sqlite|pydantic|starlette", json.dumps(DOCUMENT))

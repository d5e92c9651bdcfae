"""What holds for every route: the envelope, problems, request ids, methods and paths."""

import re

import httpx2
import pytest
from starlette.routing import Route

from app.main import create_app
from tests.routes.client import exchange, problem
from tests.service import Service

UNKNOWN_PATHS = (
    "/nothing",
    "/api",
    "/api/topics/",
    "/api/topics/1/",
    "/api/topics/one",
    "/api/topics/-1",
    "/api/topics/1.0",
    "/api/topics/1/plan",
    "/api/topics/1/ask",
    "/api/usage",
    "/metric",
    "/docs/",
    "/docs/index.html",
)
GOOD_IDS = ("a", "0", "Caller.id_of-128", "x" * 128)
BAD_IDS = ("", "x" * 129, "two words", "semi;colon", "slash/ed", "ärger")


async def test_success_is_an_envelope_around_data(service: Service) -> None:
    topic_id = await service.topic()

    one = await service.http.get(f"/api/topics/{topic_id}")
    many = await service.http.get("/api/topics")

    assert one.headers["content-type"] == many.headers["content-type"] == "application/json"
    assert list(one.json()) == ["data"]
    assert many.json() == {"data": [one.json()["data"]], "next_cursor": None}


async def test_json_is_written_in_utf_8(service: Service) -> None:
    topic_id = await service.topic("전기차 충전")

    answer = await service.http.get(f"/api/topics/{topic_id}")

    assert "전기차 충전".encode() in answer.content


async def test_every_kind_of_refusal_is_a_whole_problem(service: Service) -> None:
    topic_id = await service.topic()
    json = {"Content-Type": "application/json"}

    answers = {
        (400, "malformed_json"): await service.http.post("/api/topics", content=b"{", headers=json),
        (401, "unauthorized"): await service.http.get("/api/topics", headers={"Authorization": "Bearer wrong"}),
        (404, "not_found"): await service.http.get("/api/topics/404"),
        (405, "method_not_allowed"): await service.http.put("/api/topics"),
        (409, "nothing_to_cancel"): await service.http.post(f"/api/topics/{topic_id}/cancel"),
        (413, "body_too_large"): await service.http.post("/api/topics", content=b" " * 2**21, headers=json),
        (415, "unsupported_media_type"): await service.http.post("/api/topics", content=b"{}"),
        (422, "invalid_request"): await service.http.post("/api/topics", json={}),
    }

    for (status, code), answer in answers.items():
        problem(answer, status, code)


async def test_the_instance_of_a_problem_is_the_path_percent_encoded(service: Service) -> None:
    encoded = await service.http.get("/api/topics/보고서 %22?a=b")
    raw = await exchange(service, b'GET /a"b<c>\\d HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n')

    assert problem(encoded, 404, "not_found")["instance"] == "/api/topics/%EB%B3%B4%EA%B3%A0%EC%84%9C%20%22"
    assert b'"instance": "/a%22b%3Cc%3E%5Cd"' in raw


async def test_a_well_formed_request_id_is_kept(service: Service) -> None:
    answers = {given: await service.http.get("/nothing", headers={"X-Request-ID": given}) for given in GOOD_IDS}

    assert {given: problem(answer, 404, "not_found")["request_id"] for given, answer in answers.items()} == {
        given: given for given in GOOD_IDS
    }


async def test_any_other_request_id_is_replaced(service: Service) -> None:
    headers = [{b"X-Request-ID": given.encode()} for given in BAD_IDS]
    answers = [await service.http.get("/nothing", headers=more) for more in ({}, *headers)]

    ids = {problem(answer, 404, "not_found")["request_id"] for answer in answers}

    assert len(ids) == len(answers)
    assert all(re.fullmatch(r"[A-Za-z0-9._-]{1,128}", given) for given in ids)
    assert not ids & set(BAD_IDS)


async def test_every_response_carries_a_request_id(service: Service) -> None:
    http = service.http
    topic_id = await service.topic()
    await service.generate(topic_id)
    status = await service.ended(topic_id)
    report = f"/api/artifacts/{status['artifact_id']}/download"

    answers = [
        await http.get("/healthz"),
        await http.post("/api/topics", json={"topic": "Another"}),
        await http.delete("/api/topics/2"),
        await http.get(report, headers={"Range": "bytes=0-1"}),
        await http.get(f"/api/topics/{topic_id}/status", headers={"If-None-Match": "*"}),
        await http.get("/api/topics", headers={"Authorization": ""}),
        await http.get("/nothing"),
        await http.put("/api/topics"),
        await http.post("/api/topics", content=b" " * 2**21),
        await http.post("/api/topics", content=b"{}"),
        await http.get(report, headers={"Range": "bytes=99999-"}),
        await http.post("/api/topics", json={}),
        await http.head(report),
    ]

    codes = [200, 201, 204, 206, 304, 401, 404, 405, 413, 415, 416, 422, 200]
    assert [answer.status_code for answer in answers] == codes
    assert len({answer.headers["x-request-id"] for answer in answers}) == len(answers)


async def test_an_unknown_path_is_a_404_with_or_without_a_token(service: Service) -> None:
    for path in UNKNOWN_PATHS:
        problem(await service.http.get(path), 404, "not_found")
        problem(await service.http.post(path, headers={"Authorization": ""}), 404, "not_found")


async def test_a_wrong_method_is_a_405_that_names_the_right_ones_on_every_route(service: Service) -> None:
    routes = [route for route in create_app(service.settings, None).routes if isinstance(route, Route)]

    for route in routes:
        answer = await service.http.put(route.path_format.format(id=1, version=1, file="none"))
        assert route.methods is not None
        assert answer.headers["allow"] == ", ".join(sorted(route.methods))
        problem(answer, 405, "method_not_allowed")


@pytest.mark.parametrize("path", ["/healthz", "/api/topics", "/api/topics/1", "/api/topics/1/status", "/nothing"])
async def test_head_answers_as_get_without_the_body(service: Service, path: str) -> None:
    await service.topic()

    get, head = await service.http.get(path), await service.http.head(path)

    assert head.content == b""
    assert comparable(head) == comparable(get)


def comparable(answer: httpx2.Response) -> tuple[int, dict[str, str]]:
    """Return status and headers without those that differ from request to request."""
    ours = {name: value for name, value in answer.headers.items() if name not in {"date", "x-request-id"}}
    return answer.status_code, ours

"""Bodies of requests: how large, of which type, of which shape; and what becomes of bad ones."""

import json
import logging
from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.conftest import Start
from tests.routes.client import connect, exchange, pointers, problem
from tests.service import ADMIN_TOKEN, Service

JSON = {"Content-Type": "application/json"}
MIB = 2**20


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


MALFORMED = {
    "truncated": b'{"topic": "A topic"',
    "two documents": b'{"topic": "A topic"} {}',
    "white space alone": b"  \n",
    "not UTF-8": b'{"topic": "\xff"}',
    "UTF-16": '{"topic": "A topic"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"topic": "A topic"}',
    "NaN": b'{"topic": NaN}',
    "Infinity": b'{"topic": -Infinity}',
    "a comment": b'{"topic": "A topic" /* mine */}',
    "nested too deep": b"[" * 100_000,
    "objects nested too deep": b'{"a":' * 100_000,
    "nested one too deep": nested(33),
    "lists and objects nested one too deep": b'{"topic":' + nested(32) + b"}",
    "a name twice": b'{"topic": "A topic", "topic": "Another"}',
    "a name twice, once escaped": b'{"topic": "A topic", "t\\u006fpic": "Another"}',
    "a name twice, within": b'{"topic": {"a": 1, "a": 1}}',
    "a number of 5,000 digits": b'{"topic": %s}' % (b"9" * 5000),
    "a bare newline in a string": b'{"topic": "A\ntopic"}',
}
ODD = {
    "nested as deep as may be": (b'{"topic": %s}' % nested(31), ["/topic"]),
    "many lists side by side": (b'{"topic": [%s]}' % b",".join([nested(30)] * 150), ["/topic"]),
    "brackets in a text": (b'{"topic": "A topic", "plan": "%s", "x": 1}' % (b"[{" * 1000), ["/x"]),
    "brackets behind an escaped quotation mark": (b'{"topic": "\\"%s", "x": 1}' % (b"[" * 100), ["/x"]),
    "NUL": (b'{"topic": "A\\u0000topic"}', ["/topic"]),
    "half a character": (b'{"topic": "\\ud800"}', ["/topic"]),
    "a number beyond all": (b'{"topic": 1e999}', ["/topic"]),
    "a name of half a MiB": (b'{"topic": "A topic", "%s": 1}' % (b"x" * 2**19), [f"/{'x' * 2**19}"]),
}
NOT_JSON = ("text/plain", "application/x-www-form-urlencoded", "application/jsonp", "text/json", "")
IS_JSON = ("application/json", "application/json; charset=utf-8", "Application/JSON;charset=UTF-8")


async def test_a_body_that_is_no_json_is_a_400(service: Service) -> None:
    for name, content in MALFORMED.items():
        answer = await service.http.post("/api/topics", content=content, headers=JSON)
        assert problem(answer, 400, "malformed_json"), name


async def test_odd_json_is_a_422_that_names_the_field(service: Service) -> None:
    for name, (content, where) in ODD.items():
        answer = await service.http.post("/api/topics", content=content, headers=JSON)
        assert pointers(answer) == where, name


@pytest.mark.parametrize(
    "piece", [b'\\"', b'"', b"[", b"]", b"[]", b"{", b"\\", b'"",', b"[],", b"1,", b'"":1,', b"[" * 32 + b"]" * 32]
)
async def test_a_mebibyte_of_anything_holds_nobody_up(service: Service, piece: bytes) -> None:
    for before, after in ((b'{"topic": "', b""), (b"", b""), (b"[", b"1]"), (b"{", b'"":1}')):
        content = before + piece * ((2**20 - 32) // len(piece)) + after
        problem(await service.http.post("/api/topics", content=content, headers=JSON), 400, "malformed_json")


@pytest.mark.parametrize(
    ("part", "fits", "is_too_many"),
    [('"",', 9_990, 10_010), ("1,", 9_990, 10_010), ("{},", 3_330, 3_340), ('{"n":""},', 3_330, 3_340)],
)
async def test_a_body_may_have_many_parts_but_not_too_many(
    service: Service, part: str, fits: int, is_too_many: int
) -> None:
    plan = json.dumps('"\\,[]{}' * 12_000)  # what stands in a string counts for nothing
    for number in (fits, is_too_many):
        content = f'{{"topic": "A", "plan": {plan}, "more": [{part * number}0]}}'.encode()
        answer = await service.http.post("/api/topics", content=content, headers=JSON)
        if number == fits:
            assert pointers(answer) == ["/more"]
        else:
            problem(answer, 400, "malformed_json")


async def test_a_body_may_have_ten_thousand_strings(service: Service) -> None:
    for number, status in ((4_990, 422), (5_010, 400)):  # two in each member, one comma
        body = {"topic": "A", "more": {f"name {i}": "" for i in range(number)}}
        assert (await service.http.post("/api/topics", json=body)).status_code == status


async def test_a_body_of_another_media_type_is_a_415(service: Service) -> None:
    for media_type in NOT_JSON:
        answer = await service.http.post("/api/topics", content=b"{}", headers={"Content-Type": media_type})
        problem(answer, 415, "unsupported_media_type")


async def test_json_is_taken_with_and_without_a_charset(service: Service) -> None:
    for media_type in IS_JSON:
        content = json.dumps({"topic": "A topic"}).encode()
        answer = await service.http.post("/api/topics", content=content, headers={"Content-Type": media_type})
        assert answer.status_code == 201, media_type


async def test_no_body_counts_as_an_empty_object_whatever_its_type(service: Service) -> None:
    for headers in ({}, JSON, {"Content-Type": "text/plain"}):
        assert pointers(await service.http.post("/api/topics", headers=headers)) == ["/topic"]


async def test_a_body_that_is_no_object_is_a_422_of_the_whole(service: Service) -> None:
    for document in ([], [{"topic": "A topic"}], "A topic", 1, None, True):
        answer = await service.http.post("/api/topics", content=json.dumps(document).encode(), headers=JSON)
        assert pointers(answer) == [""]
        assert answer.json()["errors"][0]["detail"] == "A JSON object is needed here."


async def test_every_unknown_field_is_named_by_a_json_pointer(service: Service) -> None:
    answer = await service.http.post("/api/topics", json={"topic": "A topic", "colour": 1, "a~b/c": 2, "": 3})

    assert sorted(pointers(answer)) == ["/", "/a~0b~1c", "/colour"]


async def test_a_name_that_is_half_a_character_is_refused(service: Service) -> None:
    answer = await service.http.post("/api/topics", content=b'{"topic": "A topic", "\\ud800": 1}', headers=JSON)

    assert pointers(answer) == [""]


async def test_every_fault_is_told_at_once(service: Service) -> None:
    answer = await service.http.post("/api/topics", json={"topic": 5, "plan": ["## A"], "language": None, "x": 1})

    assert sorted(pointers(answer)) == ["/language", "/plan", "/topic", "/x"]


async def test_thousands_of_unknown_fields_are_refused_without_holding_anybody_up(service: Service) -> None:
    answer = await service.http.post("/api/topics", json={f"field{number}": 0 for number in range(5_000)})

    assert pointers(answer) == [""]


async def test_thousands_of_combining_marks_in_a_row_are_refused_without_holding_anybody_up(service: Service) -> None:
    answer = await service.http.post("/api/topics", json={"topic": "A topic", "plan": "\u0300\u0316" * 40_000})

    assert pointers(answer) == ["/plan"]


async def test_a_character_may_have_many_marks(service: Service) -> None:
    marked = "a" + "\u0316\u0300" * 15

    assert await service.topic(marked) == 1


async def test_a_body_of_exactly_one_mebibyte_is_taken(service: Service) -> None:
    content = b'{"topic": "A topic"' + b" " * (MIB - 20) + b"}"

    answer = await service.http.post("/api/topics", content=content, headers=JSON)

    assert len(content) == MIB
    assert answer.status_code == 201


async def test_a_larger_body_is_a_413_with_its_length_declared_or_not(service: Service) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b'{"topic": "A topic"}'
        for _ in range(64):
            yield b" " * (MIB // 64)

    declared = await service.http.post("/api/topics", content=b" " * (MIB + 1), headers=JSON)
    chunked = await service.http.post("/api/topics", content=chunks(), headers=JSON)

    problem(declared, 413, "body_too_large")
    problem(chunked, 413, "body_too_large")
    assert (await service.http.get("/api/topics")).json()["data"] == []


async def test_a_large_body_nobody_reads_is_answered_on_a_connection_that_goes_on(service: Service) -> None:
    large = b" " * (4 * MIB)

    answers = [
        await service.http.post("/api/topics", content=large, headers=JSON),
        await service.http.post("/nothing", content=large[: MIB // 2], headers=JSON),
        await service.http.post("/api/topics", content=large[: MIB // 2], headers={**JSON, "Authorization": ""}),
        await service.http.get("/healthz"),
    ]

    assert [answer.status_code for answer in answers] == [413, 404, 401, 200]
    assert len({answer.extensions["network_stream"] for answer in answers}) == 1


async def test_a_client_that_goes_away_in_mid_body_is_no_error_of_ours(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    request = (
        "POST /api/topics HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {ADMIN_TOKEN}\r\nContent-Length: 100\r\n\r\n{{"
    )
    with caplog.at_level(logging.INFO, "longhand.access"):
        async with await connect(service) as stream:
            await stream.send_all(request.encode())
            await wait_all_tasks_blocked(0.02)
        with trio.fail_after(5):
            while not any("POST /api/topics" in message for message in caplog.messages):
                await wait_all_tasks_blocked()

    wrong = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert [line for line in wrong if "loop was blocked" not in line] == []


async def test_a_client_is_told_to_go_on_with_its_body(service: Service) -> None:
    content = b'{"topic": "A topic"}'
    answer = await exchange(
        service,
        b"POST /api/topics HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nConnection: close\r\n"
        b"Authorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
        % (ADMIN_TOKEN.encode(), len(content), content),
    )

    assert answer.startswith(b"HTTP/1.1 100")
    assert b"HTTP/1.1 201" in answer


async def test_a_body_that_does_not_arrive_is_a_408_and_the_connection_is_closed(start: Start) -> None:
    content = b"POST /api/topics HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: 9\r\n"

    async with start(body_grace_seconds=0.1) as service:
        answer = await exchange(service, content + b"Authorization: Bearer %s\r\n\r\n{" % ADMIN_TOKEN.encode())

    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"code": "request_timeout"' in answer

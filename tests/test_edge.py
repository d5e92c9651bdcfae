"""What stands around the application, in the real service: quotas, sign-ins, proxies, hosts, other origins."""

import logging
from pathlib import Path

import httpx2
import pytest
import trio
from starlette.types import ASGIApp, Receive, Scope, Send

from app.bodies import BodyMiddleware
from app.edge import SHOWN, BugMiddleware, layers
from app.headers import POLICY
from app.middleware import RequestMiddleware
from app.settings import Settings
from app.signins import FREE, LONGEST_PAUSE
from tests.asgi import Client, request
from tests.conftest import Start
from tests.process import started
from tests.routes.client import add_token, exchange, problem
from tests.service import ADMIN_TOKEN, Service

CLIENT = "198.51.100.7"
ORIGIN = "https://app.example.org"
WRONG = {"Authorization": "Bearer wrong"}


def test_what_is_not_asked_for_is_not_there() -> None:
    found: list[object] = [layer.cls for layer in layers(Settings.model_validate({"LONGHAND_RATE_PER_ADDRESS": 0}))]

    assert found == [RequestMiddleware, BodyMiddleware]


# How many requests there may be


async def test_a_token_that_is_used_too_often_is_told_to_wait_and_no_other(start: Start) -> None:
    async with start(rate_per_token=20) as service, service.client(await add_token(service, "other")) as other:
        answers = [await service.http.get("/api/topics") for _ in range(20)]
        refused = await service.http.get("/api/topics")

        assert [answer.status_code for answer in answers] == [200] * 20
        problem(refused, 429, "rate_limited")
        assert refused.headers["ratelimit-policy"] == '"token";q=20;w=60'
        assert refused.headers["ratelimit"].startswith('"token";r=0;t=')
        assert 1 <= int(refused.headers["retry-after"]) <= 3
        assert "ratelimit" not in answers[0].headers
        assert answers[-1].headers["ratelimit"].startswith('"token";r=0;t=')
        assert (await other.get("/api/topics")).status_code == 200
        assert (await service.http.get("/healthz")).status_code == 200


async def test_a_request_counts_once_however_often_its_handler_asks_who_it_is(start: Start) -> None:
    async with start(rate_per_token=3) as service:
        topic_id = await service.topic()
        await service.generate(topic_id)
        answer = await service.http.get(f"/api/topics/{topic_id}/messages")

    assert answer.status_code == 200


async def test_many_polls_of_many_topics_are_within_the_usual_quota(service: Service) -> None:
    topic_id = await service.topic()

    answers = [await service.http.get(f"/api/topics/{topic_id}/status") for _ in range(50)]

    assert all(answer.status_code == 200 and "ratelimit" not in answer.headers for answer in answers)
    assert service.settings.rate_per_token > 10 * 50 * 30  # fifty topics every two seconds


async def test_who_does_not_say_who_they_are_is_bounded_by_address(start: Start) -> None:
    async with start(rate_per_address=5) as service, service.client(None) as http:
        answers = [await http.get(path) for path in ("/nothing", "/api/topics", "/readyz", "/nothing", "/api/topics")]
        refused = await http.get("/nothing")

        assert [answer.status_code for answer in answers] == [404, 401, 200, 404, 401]
        problem(refused, 429, "rate_limited")
        assert refused.headers["ratelimit-policy"] == '"address";q=5;w=60'
        assert (await http.get("/healthz")).status_code == 200
        assert (await service.http.get("/api/topics")).status_code == 200


# Sign-ins that fail


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged of who asks, and is no usual request."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "longhand.access" and record.levelno >= logging.WARNING
    ]


async def test_wrong_tokens_are_slowed_and_told_once_and_lock_out_nobody(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    answers: list[httpx2.Response] = []

    async def guess() -> None:
        answers.append(await service.http.get("/api/topics", headers=WRONG))

    async with service.client(await add_token(service, "late")) as late:
        assert (await service.http.get("/api/topics")).status_code == 200
        for _ in range(2):
            async with trio.open_nursery() as nursery:
                for _ in range(FREE):
                    nursery.start_soon(guess)
        known = await service.http.get("/api/topics")
        first = await late.get("/api/topics")

    assert [answer.status_code for answer in answers] == [401] * 2 * FREE
    assert (known.status_code, first.status_code) == (200, 200)
    assert known.elapsed.total_seconds() < LONGEST_PAUSE <= first.elapsed.total_seconds()
    (line,) = told(caplog)
    assert line == "10 sign-ins from 127.0.0.1 failed; more within 10 minutes are slowed"
    assert "wrong" not in caplog.text


async def test_no_credential_at_all_is_no_sign_in_that_failed(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    async with service.client(None) as http:
        for _ in range(FREE + 1):
            assert (await http.get("/api/topics")).status_code == 401

    assert told(caplog) == []


# Proxies


async def test_a_trusted_proxy_is_believed_about_the_client(start: Start) -> None:
    told = {"X-Forwarded-For": f"203.0.113.66, {CLIENT}", "X-Forwarded-Proto": "https"}
    async with start(rate_per_address=1, trusted_proxies="127.0.0.1") as service, service.client(None) as http:
        first = await http.get("/nothing", headers=told)
        second = await http.get("/nothing", headers=told | {"X-Forwarded-For": f"203.0.113.67, {CLIENT}"})
        other = await http.get("/nothing", headers={"X-Forwarded-For": "198.51.100.8"})

    assert (first.status_code, second.status_code, other.status_code) == (404, 429, 404)
    assert first.headers["strict-transport-security"] == "max-age=31536000"
    assert "strict-transport-security" not in other.headers


async def test_nobody_else_is_believed(start: Start) -> None:
    told = {"X-Forwarded-Proto": "https", "Forwarded": f"for={CLIENT};proto=https"}
    async with start(rate_per_address=1, trusted_proxies="10.0.0.0/8") as service, service.client(None) as http:
        answers = [await http.get("/nothing", headers=told | {"X-Forwarded-For": f"198.51.100.{n}"}) for n in range(2)]

    assert [answer.status_code for answer in answers] == [404, 429]
    assert "strict-transport-security" not in answers[0].headers


async def test_what_the_proxy_does_not_write_is_not_believed(start: Start) -> None:
    both = {"X-Forwarded-Proto": "https", "Forwarded": "proto=http"}
    async with start(trusted_proxies="127.0.0.1", proxy_header="forwarded") as service:
        answer = await service.http.get("/nothing", headers=both)

    assert "strict-transport-security" not in answer.headers


# Hosts


async def test_a_host_that_is_not_meant_is_refused_but_to_probes(start: Start) -> None:
    async with start(allowed_hosts="reports.example.org,*.example.com") as service:
        hosts = ("reports.example.org", "a.example.com:8443", "example.com", "127.0.0.1")
        answers = [await service.http.get("/api/topics", headers={"Host": host}) for host in hosts]

        assert [answer.status_code for answer in answers[:2]] == [200, 200]
        for answer in answers[2:]:
            problem(answer, 421, "wrong_host")
        assert (await service.http.get("/healthz")).status_code == 200
        assert (await service.http.get("/readyz")).status_code == 200


async def test_the_host_that_a_trusted_proxy_names_is_the_one_that_counts(start: Start) -> None:
    told = {"X-Forwarded-Host": "reports.example.org"}
    async with start(allowed_hosts="reports.example.org", trusted_proxies="127.0.0.1") as service:
        believed = await service.http.get("/api/topics", headers=told)
    async with start(allowed_hosts="reports.example.org") as service:
        not_believed = await service.http.get("/api/topics", headers=told)

    assert (believed.status_code, not_believed.status_code) == (200, 421)


# Other origins


async def test_other_origins_are_told_nothing_unless_named(service: Service) -> None:
    answer = await service.http.get("/api/topics", headers={"Origin": ORIGIN})

    assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_a_page_of_a_named_origin_may_use_the_api(start: Start) -> None:
    asks = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "authorization, prefer"}
    async with start(cors_origins=f"{ORIGIN},http://localhost:5173") as service:
        preflight = await service.http.options("/api/topics/1", headers={"Origin": ORIGIN, "Authorization": "", **asks})
        answer = await service.http.get("/api/topics", headers={"Origin": ORIGIN})
        wrong = await service.http.get("/api/topics", headers={"Origin": ORIGIN, **WRONG})
        other = await service.http.get("/api/topics", headers={"Origin": "https://evil.example"})

    assert preflight.status_code == 200
    assert "PATCH" in preflight.headers["access-control-allow-methods"]
    problem(wrong, 401, "unauthorized")
    for told in (preflight, answer, wrong):
        assert told.headers["access-control-allow-origin"] == ORIGIN
        assert "access-control-allow-credentials" not in told.headers
        assert told.headers["x-request-id"]
        assert told.headers[POLICY[0].decode()] == POLICY[1].decode()
    for told in (answer, wrong):
        assert set(told.headers["access-control-expose-headers"].split(", ")) == set(SHOWN)
        assert "Origin" in told.headers["vary"]
    assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize("setting", ["rate_per_address", "allowed_hosts"])
async def test_a_refusal_by_what_stands_around_tells_a_page_as_well(start: Start, setting: str) -> None:
    value = {"rate_per_address": 1, "allowed_hosts": "reports.example.org"}[setting]
    async with start(cors_origins="*", **{setting: value}) as service, service.client(None) as http:
        answers = [await http.get("/nothing", headers={"Origin": ORIGIN}) for _ in range(2)]

    assert answers[1].status_code in {429, 421}
    assert answers[1].headers["access-control-allow-origin"] == "*"


async def test_a_bug_is_answered_within_the_headers_for_other_origins(caplog: pytest.LogCaptureFixture) -> None:
    async def bug(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError

    app: ASGIApp = bug
    for layer in reversed(layers(Settings.model_validate({"LONGHAND_CORS_ORIGINS": ORIGIN}))):
        app = layer.cls(app, *layer.args, **layer.kwargs)
    client = Client()
    headers = await client.ask(app, request(origin=ORIGIN))

    assert client.answer[0]["status"] == 500
    assert headers[b"access-control-allow-origin"] == ORIGIN.encode()
    assert len([record for record in caplog.records if record.exc_info]) == 1


async def test_a_bug_in_mid_answer_goes_on_to_the_boundary() -> None:
    async def bug(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError

    client = Client()
    with pytest.raises(RuntimeError):
        await BugMiddleware(bug)(request(), client.receive, client.send)

    assert len(client.answer) == 1


# What protects whoever reads an answer, on the wire


@pytest.fixture
def requests() -> tuple[bytes, ...]:
    authorization = b"Authorization: Bearer %s\r\n" % ADMIN_TOKEN.encode()
    ends = b"Host: test\r\nConnection: close\r\n"
    return (
        b"GET /healthz HTTP/1.1\r\n" + ends + b"\r\n",
        b"GET /nothing HTTP/1.1\r\n" + ends + b"\r\n",
        b"GET /api/topics HTTP/1.1\r\n" + ends + authorization + b"\r\n",
        b"HEAD /api/topics HTTP/1.1\r\n" + ends + authorization + b"\r\n",
        b"GET / HTTP/1.1\r\nno header\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 4000,
        b"POST /api/topics HTTP/1.1\r\n" + ends + b"Transfer-Encoding: gzip\r\n\r\n",
    )


async def test_every_answer_of_the_servers_own_carries_the_protective_headers_too(
    service: Service, requests: tuple[bytes, ...]
) -> None:
    answers = [await exchange(service, sent) for sent in requests]

    assert [int(answer[9:12]) for answer in answers] == [200, 404, 200, 200, 400, 431, 400]
    for answer in answers:
        head = answer.partition(b"\r\n\r\n")[0].lower() + b"\r\n"
        assert head.count(b"\r\ncontent-security-policy: default-src 'none'; frame-ancestors 'none'\r\n") == 1
        assert head.count(b"\r\nx-content-type-options: nosniff\r\n") == 1
    for answer in answers[-3:]:
        assert b"\r\ncontent-type: application/problem+json\r\n" in answer.lower()
        assert httpx2.Response(400, content=answer.partition(b"\r\n\r\n")[2]).json()["code"]


# A Unix socket, which has no addresses


async def test_a_proxy_on_a_unix_socket_is_trusted_by_name(tmp_path: Path) -> None:
    variables = {
        "LONGHAND_TRUSTED_PROXIES": "unix",
        "LONGHAND_RATE_PER_ADDRESS": "1",
        "LONGHAND_MAX_CONNECTIONS_PER_ADDRESS": "1",
    }
    ask = b"GET /nothing HTTP/1.1\r\nHost: test\r\nConnection: close\r\nX-Forwarded-For: 198.51.100.%d\r\n\r\n"
    serve = ("serve", "--bind", f"unix:{tmp_path}/socket", "--data-dir", str(tmp_path / "data"))
    async with started(*serve, cwd=tmp_path, variables=variables) as process:
        await process.line("Running on ")

        async def status(client: int) -> bytes:
            async with await trio.open_unix_socket(f"{tmp_path}/socket") as stream:
                await stream.send_all(ask % client)
                return bytes(await stream.receive_some())[9:12]

        async with await trio.open_unix_socket(f"{tmp_path}/socket"):  # one is there already
            assert [await status(1), await status(1), await status(2)] == [b"404", b"429", b"404"]

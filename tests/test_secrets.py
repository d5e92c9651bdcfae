"""No key and no token leaves a running server, whatever goes wrong: not in its log, its answers or its metrics, nor in
what it keeps or is called."""

import json
from pathlib import Path

import pytest
import trio

from app.signins import FREE
from tests.claude import FakeClaude, Script
from tests.pages.test_account import FRESH
from tests.process import Server, serving
from tests.routes.client import add_token
from tests.service import ADMIN_TOKEN
from tests.visiting import Browser

KEY = "a-key-without-the-usual-shape"
COLLECTOR = "what-the-collector-asks-for"
WRONG = "lh_wrong-but-somebody-may-have-meant-another-server"
PASSWORD, TYPED_AS_NAME = "a password of more than ten", "what-somebody-typed-into-the-wrong-field"
IN_QUERY = "what-somebody-put-into-a-query"


async def go_wrong(server: Server, token: str) -> list[str]:
    """Let all kinds of things go wrong around secrets, and return every answer."""
    answers = []
    async with server.client(WRONG) as stranger, server.client(token) as user:
        for client in (stranger, user):
            paths = ("/api/topics", f"/api/topics/{token}", f"/api/topics?limit=x&token={IN_QUERY}", "/metrics")
            answers += [
                await client.get(path, headers={"X-Request-ID": f"mine-{number}"}) for number, path in enumerate(paths)
            ]
        answers.append(await user.post("/api/topics", json={"topic": "A topic", token: WRONG}))
        answers.append(await user.post("/api/topics", content=token))
    for status, kind in ((401, "authentication_error"), (400, "invalid_request_error"), (500, "api_error")):
        server.claude.default = Script.error(status, kind, f"wrong: x-api-key {KEY}, sent by Bearer {token}")
        topic_id = await server.topic()
        await server.generate(topic_id)
        answers.append(await server.http.get(f"/api/topics/{topic_id}/generations"))
        await server.ended(topic_id)
        answers.append(await server.http.get(f"/api/topics/{topic_id}/status"))
    return [answer.text + str(answer.headers) for answer in answers]


async def meet_a_bug(server: Server, token: str) -> str:
    """Have a request fail with an exception that quotes a token, and return the answer."""
    topic_id = await server.topic()
    server.claude.default = Script()
    await server.generate(topic_id)
    await server.ended(topic_id)
    await server.rows("UPDATE generations SET kind = :kind WHERE topic_id = :id", kind=f"{token} {KEY}", id=topic_id)
    answer = await server.http.get(f"/api/topics/{topic_id}/generations")
    await server.rows("UPDATE generations SET kind = 'report' WHERE topic_id = :id", id=topic_id)
    await server.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    assert answer.status_code == 500
    return answer.text


async def use_a_browser(server: Server, token: str) -> set[str]:
    """Sign in and out in all ways, right and wrong, and return every secret that went either way."""
    secrets = {PASSWORD, TYPED_AS_NAME, WRONG, token}
    wrong = ({"token": WRONG}, {"name": TYPED_AS_NAME, "password": PASSWORD}, {"name": "kim", "password": WRONG})
    for number, fields in enumerate(wrong):
        async with Browser.of(server.url, **{"X-Forwarded-For": f"10.0.0.{number}"}) as browser:
            for _ in range(FREE):
                assert (await browser.sign_in(**fields)).status_code == 401
    async with Browser.of(server.url) as browser:
        await browser.sign_in(token=token)
        secrets |= {browser.secret or "", browser.http.cookies.get("longhand_sign_in") or ""} - {""}
        await browser.post("/account/password", password=PASSWORD, again=PASSWORD)
        made = await browser.post("/account/tokens", label="laptop")
        (fresh,) = FRESH.findall((await browser.get(made.headers["location"])).text)
        await browser.http.post("/account/tokens", data={"label": "x"})
        await browser.post("/sign-out")
        await browser.sign_in(name="kim", password=PASSWORD)
        secrets |= {fresh, browser.secret or fresh}
    return secrets


async def test_no_secret_of_a_browser_leaves_the_server(tmp_path: Path, claude: FakeClaude) -> None:
    async with serving(
        tmp_path / "data", claude, LONGHAND_LOG_LEVEL="debug", LONGHAND_TRUSTED_PROXIES="127.0.0.1"
    ) as server:
        secrets = await use_a_browser(server, await add_token(server, "kim"))
        metrics = (await server.http.get("/metrics")).text
        server.process.inner.terminate()
        assert await server.process.wait() == 0
    kept = b"".join(path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())

    log = server.process.errors
    assert "10 sign-ins as 'kim' failed" in log
    assert "10 sign-ins as somebody whom we do not know failed" in log
    assert len(secrets) == 7
    for secret in secrets:
        assert secret not in log
        assert secret not in metrics
        assert secret.encode() not in kept


@pytest.mark.parametrize("form", ["json", "console"])
async def test_no_secret_leaves_the_server(form: str, tmp_path: Path, claude: FakeClaude) -> None:
    variables = {
        "ANTHROPIC_API_KEY": KEY, "LONGHAND_LOG_FORMAT": form, "LONGHAND_LOG_LEVEL": "debug",
        "LONGHAND_MAX_ATTEMPTS": "2", "LONGHAND_BACKOFF_SECONDS": "0.01",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_TIMEOUT": "0.1",
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization={COLLECTOR}",
    }  # fmt: skip
    async with serving(tmp_path / "data", claude, **variables) as server:
        token = await add_token(server, "kim")
        answers = [*await go_wrong(server, token), await meet_a_bug(server, token)]
        metrics = (await server.http.get("/metrics")).text
        title = await trio.Path(f"/proc/{server.process.inner.pid}/cmdline").read_text()
        server.process.inner.terminate()
        assert await server.process.wait() == 0
    kept = b"".join(path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())

    log = server.process.errors
    assert "Traceback" in log
    assert "[BACKGROUND] Report generation failed" in log
    assert "is not a valid Kind" in log
    for secret in (KEY, ADMIN_TOKEN, token, WRONG, COLLECTOR, IN_QUERY):
        assert secret not in log
        assert secret not in metrics
        assert secret not in title
        assert secret.encode() not in kept
        # What a caller sent in a path or as a name of a field, it is told is not there.
        told = "".join(answers).replace(f"/api/topics/{token}", "").replace(f'"pointer": "/{token}"', "")
        assert secret not in told
    if form == "json":
        assert all(json.loads(line) for line in log.splitlines() if line.startswith("{"))

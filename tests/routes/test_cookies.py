"""The API by a browser's session: what holds for a token holds for its cookie."""

import httpx2
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from app.access import MEMORY_SECONDS
from app.queries.users import digest
from app.routes.streams import QUIET_SECONDS, TOKEN_SECONDS
from tests.conftest import Start
from tests.events import list_reader, status_reader
from tests.fairwatch import within
from tests.routes.client import add_token, problem
from tests.routes.streams import completed, names
from tests.routes.test_again import held_topic, polling
from tests.service import ADMIN_TOKEN, Service
from tests.visiting import cookie_client, session_of

END = "UPDATE sessions SET ended_at = '2026-01-01T00:00:00.000Z' WHERE sha256 = :sha256"


async def test_the_whole_way_of_a_report_goes_by_session(service: Service) -> None:
    async with cookie_client(service, await session_of(service, await add_token(service, "kim"))) as http:
        topic_id = (await http.post("/api/topics", json={"topic": "Tides"})).json()["data"]["id"]
        started = await http.post(f"/api/topics/{topic_id}/generate", json={})
        status = await service.ended(topic_id)
        report = await http.get(f"/api/artifacts/{status['artifact_id']}/download")
        gone = await http.delete(f"/api/topics/{topic_id}")

    assert (started.status_code, status["status"], report.status_code, gone.status_code) == (202, "completed", 200, 204)


async def test_an_ended_session_ends_the_streams_that_were_opened_in_it(clock: MockClock, service: Service) -> None:
    topic_id = await service.topic()
    for end in (END, "UPDATE tokens SET revoked_at = '2026-01-01T00:00:00.000Z' WHERE :sha256 > ''"):
        secret = await session_of(service, ADMIN_TOKEN)
        cookie = {"Cookie": f"longhand={secret}"}
        for reader in (status_reader(service, topic_id, token=None), list_reader(service, token=None)):
            async with reader.connected(**cookie):
                await reader.sign()
                await service.rows(end, sha256=digest(secret))
                await wait_all_tasks_blocked(0.02)
                clock.jump(max(TOKEN_SECONDS, QUIET_SECONDS))
                await reader.rest()
                await service.rows("UPDATE sessions SET ended_at = NULL")
                await service.rows("UPDATE tokens SET revoked_at = NULL")

            assert "draining" not in names(reader.events)


async def test_a_stream_by_session_tells_all_to_the_end(service: Service) -> None:
    topic_id = await completed(service)
    reader = status_reader(service, topic_id, token=None)

    async with reader.connected(Cookie=f"longhand={await session_of(service, ADMIN_TOKEN)}"):
        await reader.rest()

    assert names(reader.events)[-1] == "done"


async def test_a_long_poll_ends_with_the_token_or_the_session_it_was_asked_with(
    clock: MockClock, service: Service
) -> None:
    topic_id = await service.topic()
    etag = (await service.http.get(f"/api/topics/{topic_id}/status")).headers["etag"]
    secret = await session_of(service, ADMIN_TOKEN)
    answers: list[httpx2.Response] = []

    async def wait(client: httpx2.AsyncClient) -> None:
        answers.append(await client.get(f"/api/topics/{topic_id}/status?wait=60", headers={"If-None-Match": etag}))

    async with cookie_client(service, secret) as browser, trio.open_nursery() as nursery:
        nursery.start_soon(wait, browser)
        nursery.start_soon(wait, service.http)
        await wait_all_tasks_blocked(0.1)
        await service.rows(END, sha256=digest(secret))
        await service.rows("UPDATE tokens SET revoked_at = '2026-01-01T00:00:00.000Z'")
        await wait_all_tasks_blocked(0.05)
        clock.jump(TOKEN_SECONDS)

    for answer in answers:
        problem(answer, 401, "unauthorized")


async def test_a_session_that_ends_from_outside_is_refused_a_second_later(service: Service, blocked: list[str]) -> None:
    secret = await session_of(service, ADMIN_TOKEN)
    async with cookie_client(service, secret) as browser:
        assert (await browser.get("/api/topics")).status_code == 200
        await service.rows(END, sha256=digest(secret))
        with within(MEMORY_SECONDS + 1, "the refusal", blocked), trio.fail_after(30):
            while (answer := await browser.get("/api/topics")).status_code == 200:
                pass

    problem(answer, 401, "unauthorized")


async def test_a_poll_that_comes_again_is_answered_at_once_until_its_session_ends(service: Service) -> None:
    topic_id = await held_topic(service)
    secret = await session_of(service, ADMIN_TOKEN)

    async with polling(service, topic_id, secret=secret) as poller:
        head, body = await poller.twice()
        assert head.startswith(b"HTTP/1.1 200")
        assert b'"generating"' in body
        await service.rows(END, sha256=digest(secret))
        with trio.fail_after(30):
            while b" 200 " in (await poller.poll())[0].partition(b"\r\n")[0] + b" ":
                pass
        head, _ = await poller.poll()

    assert head.startswith(b"HTTP/1.1 401")


async def test_a_session_has_a_quota_of_its_own(start: Start) -> None:
    async with start(rate_per_token=4) as service:
        one, two = [await session_of(service, ADMIN_TOKEN) for _ in range(2)]
        async with cookie_client(service, one) as first, cookie_client(service, two) as second:
            answers = [(await first.get("/api/topics")).status_code for _ in range(4)]
            refused = await first.get("/api/topics")
            others = [await second.get("/api/topics"), await service.http.get("/api/topics")]

    assert answers == [200] * 4
    problem(refused, 429, "rate_limited")
    assert [answer.status_code for answer in others] == [200, 200]


async def test_a_cookie_that_is_nobodys_is_counted_by_address(start: Start) -> None:
    async with start(rate_per_address=9) as service:
        secret = await session_of(service, ADMIN_TOKEN)  # two requests
        cookies = [
            "longhand=lh_" + "x" * 43, "theme=dark", "longhand=wrong", f"__Host-longhand={secret}",
            f"other={secret}", "longhand=lh_" + "y" * 43,
        ]  # fmt: skip
        async with cookie_client(service, secret) as known, service.client(None) as stranger:
            for cookie in cookies:
                answer = await stranger.get("/sign-in", headers={"Cookie": cookie})
                assert answer.status_code == 200, cookie
            assert (await known.get("/api/topics")).status_code == 200  # the ninth: it is not known yet
            refused = await stranger.get("/sign-in", headers={"Cookie": cookies[0]})
            assert [(await known.get("/api/topics")).status_code for _ in range(9)] == [200] * 9

    problem(refused, 429, "rate_limited")

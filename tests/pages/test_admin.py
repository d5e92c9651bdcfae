"""`/admin`: what is being written, users, access tokens, devices and health, for administrators alone."""

import re

import pytest
import trio

from app.pages.health import in_force
from app.settings import Settings, load_settings
from tests.claude import Script
from tests.conftest import Start
from tests.pages.test_account import FRESH, status_with
from tests.routes.client import add_token
from tests.service import ADMIN_TOKEN, Service, locked_database
from tests.visiting import browsing, text_of

TABS = ("/admin", "/admin/users", "/admin/tokens", "/admin/devices", "/admin/health")


async def test_for_anybody_else_there_is_no_such_page(service: Service) -> None:
    async with browsing(service, signed_in=await add_token(service, "kim"), Accept="text/html") as browser:
        unknown = await browser.get("/admin/nothing")
        answers = [await browser.get(path) for path in (*TABS, "/admin/tokens/1/revoke")]
        answers += [
            await browser.post(path, name="lee")
            for path in ("/admin/users", "/admin/tokens", "/admin/tokens/1/revoke", "/admin/devices/1/end")
        ]
        shown = await browser.get("/account")

    assert [answer.status_code for answer in answers] == [404] * 10
    assert "There is no page at this address." in text_of(unknown)
    assert all("There is no page at this address." in text_of(answer) for answer in answers)
    assert 'href="/admin"' not in shown.text
    assert len(await service.rows("SELECT id FROM users")) == 2


async def test_every_tab_leads_to_every_other(service: Service) -> None:
    async with browsing(service, signed_in=ADMIN_TOKEN) as browser:
        for path in TABS:
            shown = await browser.get(path)
            assert shown.status_code == 200
            nav = shown.text.partition('<nav class="tabs"')[2].partition("</nav>")[0]
            assert re.findall(r'href="([^"]*)"', nav) == list(TABS)
            assert re.findall(r'href="([^"]*)" aria-current="page"', nav) == [path]


async def test_what_all_are_writing_is_shown_with_whose_it_is_and_how_far(service: Service) -> None:
    async with browsing(service, signed_in=ADMIN_TOKEN) as browser:
        empty = await browser.get("/admin")
        service.claude.default = Script(hold=trio.Event())
        async with service.client(await add_token(service, "kim")) as kim:
            topic_id = (await kim.post("/api/topics", json={"topic": "Tides & <ebbs>"})).json()["data"]["id"]
            await kim.post(f"/api/topics/{topic_id}/generate", json={})
        await (await service.claude.next_call()).held.wait()
        shown = await browser.get("/admin")
        asked = await browser.get(f"/topics/{topic_id}/cancel")
        done = await browser.post(f"/topics/{topic_id}/cancel")
        assert (await service.ended(topic_id))["status"] == "cancelled"
        after = await browser.get("/admin")

    assert "Nothing is being written." in text_of(empty)
    assert "Tides & <ebbs> kim · since" in text_of(shown)
    assert "Writing" in text_of(shown)
    assert f'href="/topics/{topic_id}/cancel"' in shown.text
    assert (asked.status_code, done.status_code) == (200, 303)
    assert "Nothing is being written." in text_of(after)


async def test_a_user_is_added_with_a_token_that_is_shown_once(service: Service) -> None:
    async with browsing(service, signed_in=ADMIN_TOKEN) as browser:
        made = await browser.post("/admin/users", name="kim")
        shown, again = [await browser.get(made.headers["location"]) for _ in range(2)]
        await browser.post("/admin/users", name="lee", admin="1")
        lees = FRESH.findall((await browser.get("/admin/users")).text)

    (fresh,) = FRESH.findall(shown.text)
    assert made.headers["location"] == "/admin/users?done=user"
    assert "The user was added." in text_of(shown)
    assert not FRESH.search(again.text)
    for token, status in ((fresh, 404), (lees[0], 200)):
        async with browsing(service, signed_in=token) as newcomer:
            assert (await newcomer.get("/admin")).status_code == status


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("admin", "There is a user of this name already."),
        ("", "A name begins with a letter or a digit and has up to 64 letters, digits and . _ @ -"),
        ("김", "A name begins with a letter or a digit and has up to 64 letters, digits and . _ @ -"),
        ("x" * 65, "A name begins with a letter or a digit and has up to 64 letters, digits and . _ @ -"),
    ],
)
async def test_a_user_who_cannot_be_added_is_told(service: Service, name: str, sentence: str) -> None:
    async with browsing(service, signed_in=ADMIN_TOKEN) as browser:
        answer = await browser.post("/admin/users", name=name)

    assert answer.status_code == 422
    assert text_of(answer).count(sentence) == 2
    assert f'value="{name}"' in answer.text
    assert len(await service.rows("SELECT id FROM users")) == 1


async def test_a_token_is_made_for_a_user_and_revoked(service: Service) -> None:
    await add_token(service, "kim")
    async with browsing(service, signed_in=ADMIN_TOKEN) as browser:
        unknown = await browser.post("/admin/tokens", name="lee")
        wrong = await browser.post("/admin/tokens", name="kim", days="x")
        made = await browser.post("/admin/tokens", name="kim", label="phone", days="3")
        shown, listed = [await browser.get(made.headers["location"]) for _ in range(2)]
        (token,) = FRESH.findall(shown.text)
        assert await status_with(service, token) == 200
        asked = await browser.get("/admin/tokens/3/revoke")
        done = await browser.post("/admin/tokens/3/revoke")
        assert await status_with(service, token) == 401
        after = await browser.get("/admin/tokens")

    assert "There is no such user." in text_of(unknown)
    assert (unknown.status_code, wrong.status_code, made.status_code) == (422, 422, 303)
    assert not FRESH.search(listed.text)
    assert "phone kim · created" in text_of(listed)
    assert "phone · kim · created" in text_of(asked)
    assert done.headers["location"] == "/admin/tokens?done=revoked"
    assert "phone" not in text_of(after)


async def test_devices_of_all_are_shown_and_ended(service: Service) -> None:
    token = await add_token(service, "kim")
    async with browsing(service, signed_in=ADMIN_TOKEN) as browser, browsing(service, signed_in=token) as lost:
        shown = await browser.get("/admin/devices")
        (own, kims) = sorted(map(int, re.findall(r"/admin/devices/(\d+)/end", shown.text)))
        done = await browser.post(f"/admin/devices/{kims}/end")
        assert (await lost.get("/account")).status_code == 303
        assert (await browser.get("/admin/devices")).status_code == 200
        gone = await browser.post(f"/admin/devices/{kims}/end")

    assert own < kims
    assert "kim · Firefox, Linux" in text_of(shown)
    assert "admin · Firefox, Linux · this device" in text_of(shown)
    assert (done.headers["location"], gone.status_code) == ("/admin/devices?done=device", 404)


async def test_a_long_list_goes_on(service: Service) -> None:
    await service.rows(
        """
        INSERT INTO users (name, is_admin, created_at)
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 150)
        SELECT 'user-' || i, 0, '2026-01-01T00:00:00.000Z' FROM n
        """
    )
    async with browsing(service, signed_in=ADMIN_TOKEN) as browser:
        first = await browser.get("/admin/users")
        (older,) = re.findall(r'href="(/admin/users\?before=\d+)"', first.text)
        second = await browser.get(older)
        strange = [(await browser.get(f"/admin/users?before={given}")).status_code for given in ("0", "x", "9" * 19)]

    names = re.findall(r'<span class="name">([^<]*)</span>', first.text + second.text)
    assert names == [*(f"user-{number}" for number in range(150, 0, -1)), "admin"]
    assert "before=" not in second.text.partition("<main")[2]
    assert strange == [422, 422, 422]


async def test_health_tells_of_all_settings_and_shows_no_secret(start: Start) -> None:
    async with start(max_queued=7) as service, browsing(service, signed_in=ADMIN_TOKEN) as browser:
        shown = await browser.get("/admin/health")

    rows = re.findall(r'<th scope="row"><code>(\w+)</code></th><td>([^<]*)</td><td>([^<]*)</td>', shown.text)
    told = {name: (value, origin) for name, value, origin in rows}
    assert list(told) == [str(field.alias) for field in Settings.model_fields.values()]
    assert told["ANTHROPIC_API_KEY"] == ("set", "environment")
    assert told["LONGHAND_ADMIN_TOKEN"] == ("set", "environment")
    assert told["OTEL_EXPORTER_OTLP_HEADERS"] == ("not set", "default")
    assert told["LONGHAND_MAX_QUEUED"] == ("7", "environment")
    assert told["LONGHAND_MAX_CONCURRENT"] == ("100", "default")
    for secret in (ADMIN_TOKEN, "test-key"):
        assert secret not in shown.text
    assert "Database can be written" in text_of(shown)
    assert "Reports at once 0 100 0" in text_of(shown)


def test_no_secret_and_no_password_in_an_address_is_shown() -> None:
    given = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://user:hidden@127.0.0.1:9", "LONGHAND_ADMIN_TOKEN": ADMIN_TOKEN}

    lines = {line.name: line for line in in_force(load_settings(given))}

    assert lines["OTEL_EXPORTER_OTLP_ENDPOINT"][1:] == ("http://…@127.0.0.1:9", False, True)
    assert lines["LONGHAND_ADMIN_TOKEN"][1:] == ("", True, True)


async def test_health_says_where_the_database_cannot_be_written(service: Service) -> None:
    async with browsing(service, signed_in=ADMIN_TOKEN) as browser:
        assert (await browser.get("/admin/health")).status_code == 200
        async with locked_database(service.settings.data_dir):
            shown = await browser.get("/admin/health")

    assert shown.status_code == 200
    assert "Database cannot be written" in text_of(shown)

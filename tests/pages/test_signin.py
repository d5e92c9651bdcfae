"""Signing in and out: by access token, by name and password; what a browser keeps, and what it is led to."""

import re
from unicodedata import normalize

import pytest

from app.pages.visitor import local_path
from app.queries import sessions
from app.signins import FREE
from tests.conftest import Start
from tests.routes.client import add_token, problem
from tests.service import ADMIN_TOKEN, Service
from tests.visiting import Browser, browsing, set_password, text_of

PASSWORD = "열 글자가 넘는 비밀번호"
SOMEWHERE_ELSE = [
    "https://evil.example", "//evil.example", "/\\evil.example", "/\\/evil.example", "\\/evil.example", "evil.example",
    "javascript:alert(1)", "/\tevil", "/\r\nSet-Cookie: a=b", "/\x00", " /account", "/ä", "", "/" * 2, "/" + "a" * 2000,
    "/\t/evil.example", "/%0a\n",
]  # fmt: skip


async def test_a_page_leads_to_the_sign_in_and_back(service: Service) -> None:
    async with browsing(service) as browser:
        led = await browser.get("/admin/users?before=9")
        form = await browser.get(led.headers["location"])
        csrf = await browser.csrf(led.headers["location"])
        answer = await browser.http.post(
            "/sign-in", data={"csrf": csrf, "token": ADMIN_TOKEN, "next": "/admin/users?before=9"}
        )
        shown = await browser.get(answer.headers["location"])

    assert (led.status_code, led.headers["location"]) == (303, "/sign-in?next=/admin/users%3Fbefore%3D9")
    assert '<input type="hidden" name="next" value="/admin/users?before=9">' in form.text
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/users?before=9")
    assert shown.status_code == 200


async def test_an_access_token_signs_in(service: Service) -> None:
    async with browsing(service) as browser:
        answer = await browser.sign_in(token=f" {await add_token(service, 'kim')}\n")
        shown = await browser.get("/account")

    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert "Signed in as kim" in text_of(shown)
    assert "Firefox, Linux" in shown.text


async def test_a_name_and_a_password_sign_in_however_hangul_is_put_together(service: Service) -> None:
    await add_token(service, "kim")
    await set_password(service, "kim", PASSWORD)

    async with browsing(service) as browser:
        answer = await browser.sign_in(name="kim", password=normalize("NFD", PASSWORD))
        assert answer.status_code == 303
        assert "Signed in as kim" in text_of(await browser.get("/account"))
        (row,) = await service.rows("SELECT token_id, agent FROM sessions WHERE ended_at IS NULL")

    assert row == {"token_id": None, "agent": "Firefox, Linux"}


@pytest.mark.parametrize(
    ("fields", "status", "sentence"),
    [
        ({"token": "wrong"}, 401, "The access token is not right. Paste it again without spaces."),
        ({"token": "열쇠"}, 401, "The access token is not right. Paste it again without spaces."),
        ({"token": " "}, 422, "Enter an access token."),
        ({}, 422, "Enter an access token."),
        ({"name": "admin", "password": "not the password"}, 401, "Name or password is not right. Check both."),
        ({"name": "nobody", "password": "not the password"}, 401, "Name or password is not right. Check both."),
        ({"name": "admin", "password": "short"}, 401, "Name or password is not right. Check both."),
        ({"name": "admin", "password": ""}, 422, "Enter a password."),
        ({"name": " ", "password": "x"}, 422, "Enter a name."),
    ],
)
async def test_what_is_wrong_is_said_and_the_name_stays(
    service: Service, fields: dict[str, str], status: int, sentence: str
) -> None:
    async with browsing(service) as browser:
        csrf = await browser.csrf("/sign-in")
        answer = await browser.http.post("/sign-in", data={"csrf": csrf, "next": "/account", **fields})

    assert answer.status_code == status
    assert text_of(answer).count(sentence) == 2  # in the summary and at the field
    assert text_of(answer).startswith("Error: ")
    assert browser.secret is None
    assert '<input type="hidden" name="next" value="/account">' in answer.text
    for name, value in fields.items():
        if value.strip():
            assert (f'value="{value}"' in answer.text) == (name == "name")


async def test_the_cookie_is_out_of_reach_of_scripts_and_other_pages(service: Service) -> None:
    async with browsing(service) as browser:
        answer = await browser.sign_in()

    (kept,) = [cookie for cookie in answer.headers.get_list("set-cookie") if cookie.startswith("longhand=")]
    secret, *flags = kept.split("; ")
    assert secret.removeprefix("longhand=lh_").isprintable()
    assert sorted(flags) == ["HttpOnly", f"Max-Age={90 * 86_400}", "Path=/", "SameSite=lax"]
    assert answer.headers["cache-control"] == "no-store"


async def test_under_tls_the_cookies_are_bound_to_this_host_and_never_sent_without(start: Start) -> None:
    https = {"X-Forwarded-Proto": "https"}
    async with start(trusted_proxies="127.0.0.1") as service, browsing(service, **https) as browser:
        form = await browser.get("/sign-in")
        (before,) = form.headers.get_list("set-cookie")
        csrf = form.text.partition('name="csrf" value="')[2][:64]
        cookie = {"Cookie": before.partition(";")[0]}
        browser.http.cookies.clear()
        answer = await browser.http.post("/sign-in", data={"csrf": csrf, "token": ADMIN_TOKEN}, headers=cookie)
        kept = answer.headers.get_list("set-cookie")[0]
        value = kept.partition(";")[0].removeprefix("__Host-longhand=")
        browser.http.cookies.clear()
        taken = [
            (await browser.http.get("/api/topics", headers={"Cookie": f"{name}={value}"} | more)).status_code
            for name, more in (
                ("__Host-longhand", {}),
                ("longhand", {}),
                ("__Host-longhand", {"X-Forwarded-Proto": "http"}),
            )
        ]

    for cookie_set in (before, kept):
        assert cookie_set.startswith("__Host-longhand")
        assert {"Secure", "HttpOnly", "Path=/", "SameSite=lax"} <= set(cookie_set.split("; "))
        assert "Domain" not in cookie_set
    assert taken == [200, 401, 401]


async def test_who_did_not_get_the_form_is_not_signed_in(service: Service) -> None:
    async with browsing(service) as browser, browsing(service) as other:
        csrf = await other.csrf("/sign-in")
        answers = [
            await browser.http.post("/sign-in", data={"token": ADMIN_TOKEN}),
            await browser.http.post("/sign-in", data={"token": ADMIN_TOKEN, "csrf": csrf}),
        ]
        await browser.get("/sign-in")
        answers.append(await browser.http.post("/sign-in", data={"token": ADMIN_TOKEN, "csrf": csrf}))

    for answer in answers:
        problem(answer, 403, "csrf")
    assert browser.secret is None


async def test_a_form_that_was_open_in_another_tab_still_signs_in(service: Service) -> None:
    async with browsing(service) as browser:
        csrf = await browser.csrf("/sign-in")
        await browser.get("/sign-in")
        answer = await browser.http.post("/sign-in", data={"token": ADMIN_TOKEN, "csrf": csrf})

    assert answer.status_code == 303


async def test_each_sign_in_makes_a_secret_of_its_own_and_ends_what_was_there(service: Service) -> None:
    chosen = "lh_" + "x" * 43
    async with browsing(service) as browser, browsing(service) as other:
        csrf = await browser.csrf("/sign-in")
        browser.keep(chosen)
        secrets = [chosen]
        for _ in range(2):
            form = {"token": ADMIN_TOKEN, "csrf": csrf}
            before = {"Cookie": f"longhand={secrets[-1]}; longhand_sign_in={browser.http.cookies['longhand_sign_in']}"}
            answer = await other.http.post("/sign-in", data=form, headers=before)
            secrets.append(answer.cookies["longhand"])
            other.http.cookies.clear()
        held = []
        for secret in secrets:
            other.keep(secret)
            held.append((await other.get("/account")).status_code)

    assert len(set(secrets)) == 3
    assert held == [303, 303, 200]


async def test_who_is_signed_in_goes_on(service: Service) -> None:
    async with browsing(service, signed_in=ADMIN_TOKEN) as browser:
        there = [await browser.get(f"/sign-in{query}") for query in ("", "?next=/account", "?next=//evil.example")]

    assert [(answer.status_code, answer.headers["location"]) for answer in there] == [
        (303, "/"), (303, "/account"), (303, "/"),
    ]  # fmt: skip


@pytest.mark.parametrize("path", SOMEWHERE_ELSE)
def test_a_sign_in_leads_nowhere_else(path: str) -> None:
    assert local_path(path) == "/"


@pytest.mark.parametrize("path", ["/", "/account", "/topics/1?a=b&c=%2F%2Fd#e", "/topics/1//2", "/a:b@c"])
def test_a_path_of_ours_is_kept(path: str) -> None:
    assert local_path(path) == path


@pytest.mark.parametrize("path", SOMEWHERE_ELSE)
async def test_the_form_does_not_lead_elsewhere_either(service: Service, path: str) -> None:
    async with browsing(service) as browser:
        answer = await browser.sign_in(token=ADMIN_TOKEN, next=path)

    assert (answer.status_code, answer.headers["location"]) == (303, "/")


async def test_signing_out_ends_the_session_and_forgets_the_cookie(service: Service) -> None:
    async with browsing(service, signed_in=ADMIN_TOKEN) as browser, browsing(service) as thief:
        stolen = browser.secret
        assert stolen is not None
        thief.keep(stolen)
        assert (await thief.get("/account")).status_code == 200
        answer = await browser.post("/sign-out")

        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
        assert browser.secret is None
        thief.keep(stolen)
        assert (await thief.get("/account")).headers["location"] == "/sign-in?next=/account"


async def test_a_cookie_that_is_over_is_forgotten_and_counts_as_a_guess_no_more(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    async with browsing(service, signed_in=ADMIN_TOKEN) as browser:
        await service.rows("UPDATE sessions SET ended_at = created_at")
        for _ in range(2 * FREE):
            await browser.get((await browser.get("/account")).headers["location"])

    assert browser.secret is None
    assert not [record for record in caplog.records if record.name == "longhand.access"]


async def test_two_browsers_are_two_sessions(service: Service) -> None:
    async with browsing(service, signed_in=ADMIN_TOKEN) as one, browsing(service, signed_in=ADMIN_TOKEN) as two:
        crossed = await one.http.post("/account/tokens", data={"csrf": await two.csrf()})
        await one.post("/sign-out")
        assert (await two.get("/account")).status_code == 200

    problem(crossed, 403, "csrf")
    assert one.secret != two.secret


async def test_a_session_outlives_a_restart(start: Start) -> None:
    async with start() as service, browsing(service, signed_in=ADMIN_TOKEN) as browser:
        secret = browser.secret
    async with start() as service, browsing(service) as browser:
        assert secret is not None
        browser.keep(secret)
        assert (await browser.get("/account")).status_code == 200


async def test_a_form_without_a_session_leads_back_to_the_page_it_stands_on(service: Service) -> None:
    async with browsing(service) as browser:
        led = [
            (await browser.http.post(path, data={})).headers["location"]
            for path in ("/account/password", "/account/devices/7/end", "/account/tokens/7/revoke", "/sign-out")
        ]

    assert led == [
        "/sign-in?next=/account", "/sign-in?next=/account", "/sign-in?next=/account/tokens/7/revoke", "/sign-in",
    ]  # fmt: skip


async def guess(browser: Browser, times: int, **fields: str) -> None:
    csrf = await browser.csrf("/sign-in")
    for _ in range(times):
        answer = await browser.http.post("/sign-in", data={"csrf": csrf, **fields})
        assert answer.status_code == 401


async def test_guesses_from_an_address_are_slowed_and_lock_nobody_out(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    async with browsing(service) as browser:
        await guess(browser, FREE + 1, token="wrong")
        answer = await browser.sign_in()

    assert answer.status_code == 303
    lines = [record.getMessage() for record in caplog.records if record.name == "longhand.access"]
    assert lines == ["10 sign-ins from 127.0.0.1 failed; more within 10 minutes are slowed"]


async def test_guesses_at_a_name_are_slowed_wherever_they_come_from_and_lock_its_owner_out_of_nothing(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    async with start(trusted_proxies="127.0.0.1") as service:
        await set_password(service, "admin", PASSWORD)
        for name in ("admin", "my-password-by-mistake"):
            for number in range(FREE + 1):
                async with browsing(service, **{"X-Forwarded-For": f"10.0.0.{number}"}) as browser:
                    await guess(browser, 1, name=name, password="a wrong password")
        async with browsing(service, **{"X-Forwarded-For": "10.0.1.1"}) as browser:
            answer = await browser.sign_in(name="admin", password=PASSWORD)

    assert answer.status_code == 303
    lines = [record.getMessage() for record in caplog.records if record.name == "longhand.access"]
    assert lines == [
        "10 sign-ins as 'admin' failed; more within 10 minutes are slowed",
        "10 sign-ins as somebody whom we do not know failed; more within 10 minutes are slowed",
    ]
    assert "my-password" not in caplog.text


async def test_a_session_that_was_not_used_for_long_is_over_and_so_is_an_old_one(service: Service) -> None:
    for column, when in (("seen_at", -sessions.IDLE_DAYS), ("expires_at", 0)):
        async with browsing(service, signed_in=ADMIN_TOKEN) as browser:
            days = f"{when} days"
            await service.rows(
                f"UPDATE sessions SET {column} = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', :days)", days=days
            )
            service_answer = await browser.get("/account")

        assert service_answer.status_code == 303


async def test_the_page_brings_what_reads_a_sign_in_link(service: Service) -> None:
    async with browsing(service) as browser:
        shown = await browser.get("/sign-in")
        (module,) = re.findall(r'<script type="module" src="([^"]*/sign-in\.js)">', shown.text)
        read = await browser.get(module)

    assert read.headers["content-type"] == "text/javascript; charset=utf-8"
    assert "location.hash" in read.text
    assert "replaceState" in read.text

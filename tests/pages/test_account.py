"""`/account`: a person's own password, devices and access tokens."""

import re

import pytest

from app.models import later
from app.queries.users import ENVIRONMENT_LABEL
from tests.routes.client import add_token
from tests.service import ADMIN_TOKEN, Service
from tests.visiting import browsing, set_password, text_of

PASSWORD, ANOTHER = "the first password", "the second password"
DAYS_UNFIT = "Enter a number of days from 1 to 36,500."
FRESH = re.compile(r'value="(lh_[A-Za-z0-9_-]{43})" readonly')


async def status_with(service: Service, token: str) -> int:
    async with service.client(token) as http:
        return (await http.get("/api/topics")).status_code


async def test_a_first_password_is_set_and_signs_in(service: Service) -> None:
    token = await add_token(service, "kim")
    async with browsing(service, signed_in=token) as browser, browsing(service, signed_in=token) as elsewhere:
        before = await browser.get("/account")
        answer = await browser.post("/account/password", password=PASSWORD, again=PASSWORD)
        shown = await browser.get(answer.headers["location"])
        assert (await elsewhere.get("/account")).status_code == 303
        async with browsing(service) as late:
            assert (await late.sign_in(name="kim", password=PASSWORD)).status_code == 303

    assert "Current password" not in before.text
    assert (answer.status_code, answer.headers["location"]) == (303, "/account?done=password")
    assert "The password was saved." in text_of(shown)
    assert "Current password" in shown.text


async def test_a_password_is_changed_by_who_knows_it(service: Service) -> None:
    await set_password(service, "admin", PASSWORD)
    async with browsing(service, signed_in=ADMIN_TOKEN) as browser:
        new = {"password": ANOTHER, "again": ANOTHER}
        wrong = await browser.post("/account/password", current="a wrong one", **new)
        none = await browser.post("/account/password", **new)
        right = await browser.post("/account/password", current=PASSWORD, **new)
    async with browsing(service) as late:
        signed_in = [(await late.sign_in(name="admin", password=word)).status_code for word in (PASSWORD, ANOTHER)]

    for answer in (wrong, none):
        assert answer.status_code == 422
        assert text_of(answer).count("The current password is not right.") == 2
    assert right.status_code == 303
    assert signed_in == [401, 303]


@pytest.mark.parametrize(
    ("password", "again", "sentence"),
    [
        ("short", "short", "A password has at least 10 characters."),
        ("", "", "A password has at least 10 characters."),
        ("x" * 201, "x" * 201, "A password has at most 200 characters."),
        ("with\x01control", "with\x01control", "A password holds no control characters."),
        (PASSWORD, ANOTHER, "The two passwords differ."),
        (PASSWORD, "x" * 100_000, "The two passwords differ."),
    ],
)
async def test_what_cannot_be_a_password_is_told_and_changes_nothing(
    service: Service, password: str, again: str, sentence: str
) -> None:
    async with browsing(service, signed_in=ADMIN_TOKEN) as browser:
        answer = await browser.post("/account/password", password=password, again=again)

    assert answer.status_code == 422
    assert text_of(answer).count(sentence) == 2
    assert text_of(answer).startswith("Error: ")
    assert not password or password not in answer.text
    assert await service.rows("SELECT password FROM users") == [{"password": None}]


async def test_guesses_at_the_current_password_are_counted_as_at_the_door(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    await set_password(service, "admin", PASSWORD)
    async with browsing(service, signed_in=ADMIN_TOKEN) as browser:
        for _ in range(10):
            await browser.post("/account/password", current="a guess", password=ANOTHER, again=ANOTHER)

    assert "10 sign-ins as 'admin' failed; more within 10 minutes are slowed" in caplog.text


async def test_one_device_is_signed_out_and_the_others_stay(service: Service) -> None:
    token = await add_token(service, "kim")
    async with browsing(service, signed_in=token) as lost, browsing(service, signed_in=token) as browser:
        lists = await browser.get("/account")
        ids = re.findall(r'action="/account/devices/(\d+)/end"', lists.text)
        answer = await browser.post(f"/account/devices/{ids[1]}/end")
        again = await browser.post(f"/account/devices/{ids[1]}/end")
        assert (await lost.get("/account")).status_code == 303
        assert (await browser.get("/account")).status_code == 200
        own = await browser.post(f"/account/devices/{ids[0]}/end")
        assert (await browser.get("/account")).status_code == 303

    assert text_of(lists).count("this device") == 1
    assert (answer.status_code, answer.headers["location"], again.status_code) == (303, "/account?done=device", 404)
    assert (own.headers["location"], browser.secret) == ("/sign-in", None)


async def test_signing_out_everywhere_ends_every_session_of_theirs(service: Service) -> None:
    token = await add_token(service, "kim")
    async with (
        browsing(service, signed_in=token) as one,
        browsing(service, signed_in=token) as two,
        browsing(service, signed_in=ADMIN_TOKEN) as admin,
    ):
        answer = await one.post("/account/sign-out-everywhere")
        left = [(await browser.get("/account")).status_code for browser in (one, two, admin)]

    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
    assert left == [303, 303, 200]
    assert await status_with(service, token) == 200


async def test_a_new_access_token_is_shown_once_and_to_nobody_else(service: Service) -> None:
    token = await add_token(service, "kim")
    async with browsing(service, signed_in=token) as browser, browsing(service, signed_in=token) as other:
        made = await browser.post("/account/tokens", label="  laptop  ", days="7")
        others = await other.get("/account?done=token")
        await browser.http.head("/account?done=token")
        shown = await browser.get(made.headers["location"])
        again = await browser.get(made.headers["location"])

    assert (made.status_code, made.headers["location"]) == (303, "/account?done=token")
    (fresh,) = FRESH.findall(shown.text)
    assert "Shown only now. Store it safely." in text_of(shown)
    assert shown.headers["cache-control"] == "no-store"
    assert not FRESH.search(others.text + again.text)
    assert await status_with(service, fresh) == 200
    (row,) = await service.rows("SELECT label, expires_at FROM tokens WHERE label = 'laptop'")
    assert later(7 * 86_400 - 60) < row["expires_at"] <= later(7 * 86_400)


@pytest.mark.parametrize(
    ("label", "days", "sentence"),
    [
        ("x" * 101, "", "A label has at most 100 characters, none of them control characters."),
        ("a\x01b", "", "A label has at most 100 characters, none of them control characters."),
        (ENVIRONMENT_LABEL, "", "This label is Longhand's own. Choose another."),
        *(
            ("", days, "Enter a number of days from 1 to 36,500.")
            for days in ("0", "-1", "36501", "1.5", "٣", "9" * 99)
        ),
    ],
)
async def test_a_token_that_cannot_be_made_is_told_and_what_was_typed_stays(
    service: Service, label: str, days: str, sentence: str
) -> None:
    async with browsing(service, signed_in=ADMIN_TOKEN) as browser:
        answer = await browser.post("/account/tokens", label=label, days=days)

    assert answer.status_code == 422
    assert text_of(answer).count(sentence) == 2
    assert f'name="days" value="{days}"' in answer.text
    assert len(await service.rows("SELECT id FROM tokens")) == 1


async def test_a_token_is_revoked_after_it_was_asked_for_and_ends_what_was_opened_with_it(service: Service) -> None:
    token = await add_token(service, "kim")
    async with browsing(service, signed_in=token) as browser:
        await set_password(service, "kim", PASSWORD)
        async with browsing(service) as stays:
            await stays.sign_in(name="kim", password=PASSWORD)
            assert await status_with(service, token) == 200
            (path,) = set(re.findall(r'href="(/account/tokens/\d+/revoke)"', (await stays.get("/account")).text))
            asked = await stays.get(path)
            assert await status_with(service, token) == 200
            done = await stays.post(path)

            assert 'id="confirm"' in asked.text
            assert "Programs that use it lose access at once." in text_of(asked)
            assert (done.status_code, done.headers["location"]) == (303, "/account?done=revoked")
            assert await status_with(service, token) == 401
            assert (await browser.get("/account")).status_code == 303
            assert (await stays.get("/account")).status_code == 200
            assert ((await stays.get(path)).status_code, (await stays.post(path)).status_code) == (404, 404)


async def test_nobody_revokes_or_ends_what_is_somebody_elses(service: Service) -> None:
    token = await add_token(service, "kim")
    async with browsing(service, signed_in=ADMIN_TOKEN) as admin, browsing(service, signed_in=token) as browser:
        answers = [
            await browser.get("/account/tokens/1/revoke"),
            await browser.post("/account/tokens/1/revoke"),
            await browser.post("/account/devices/1/end"),
        ]
        assert (await admin.get("/account")).status_code == 200

    assert [answer.status_code for answer in answers] == [404] * 3
    assert await status_with(service, ADMIN_TOKEN) == 200


async def test_what_people_call_things_is_shown_as_text(service: Service) -> None:
    async with browsing(service, signed_in=ADMIN_TOKEN, **{"User-Agent": "<script>alert(1)</script>"}) as browser:
        await browser.post("/account/tokens", label="<img src=x onerror=alert(1)>")
        pages = [(await browser.get(path)).text for path in ("/account", "/admin/tokens", "/admin/devices")]

    for page in pages:
        assert "<img" not in page
        assert "<script>" not in page
    assert "&lt;img" in pages[0]
    assert "&lt;script&gt;" in pages[0]


async def test_the_account_speaks_korean(service: Service) -> None:
    async with browsing(service, signed_in=ADMIN_TOKEN, **{"Accept-Language": "ko-KR,ko;q=0.9"}) as browser:
        shown = await browser.get("/account")

    assert shown.headers["content-language"] == "ko"
    for words in ("내 계정", "비밀번호 정하기", "모든 기기에서 로그아웃", "접속 토큰 만들기"):
        assert words in text_of(shown)

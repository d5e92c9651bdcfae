"""Language and colours: what the browser asks for, what is chosen, and that every page has its headers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.pages.look import preferred
from app.words import LANGUAGES
from tests.pages.markup import button, parse, press
from tests.service import ADMIN_TOKEN, Service
from tests.visiting import Browser, browsing

PAGES = ("/", "/topics/new", "/account", "/admin")


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("ko-KR,ko;q=0.9,en;q=0.8", "ko"),
        ("en;q=0.8,ko;q=0.9", "ko"),
        ("fr,en-GB;q=0.5", "en"),
        ("KO", "ko"),
        ("ko;q=0", "en"),
        ("ko;q=0.5,en;q=0.5", "ko"),
        ("ja", "en"),
        ("*", "en"),
        ("", "en"),
        ("ko;q=high", "en"),
        ("korean", "en"),
    ],
)
def test_the_browsers_best_language_is_taken(accepted: str, language: str) -> None:
    assert preferred(accepted) == language


@given(st.text())
def test_any_header_gives_a_language(accepted: str) -> None:
    assert preferred(accepted) in LANGUAGES


async def test_a_page_says_its_language_and_on_what_it_depends(browser: Browser, korean: Browser) -> None:
    for reader, language in ((browser, "en"), (korean, "ko")):
        answer = await reader.get("/")

        assert parse(answer).one("html")["lang"] == answer.headers["content-language"] == language
        assert answer.headers["vary"] == "Accept-Language, Cookie"


async def test_the_address_goes_before_the_cookie_and_the_cookie_before_the_browser(service: Service) -> None:
    cookie = {"Accept-Language": "en", "Cookie": "lang=ko"}

    async with browsing(service, **cookie) as reader:
        kept, asked = await reader.get("/sign-in"), await reader.get("/sign-in?lang=en")

    assert parse(kept).one("html")["lang"] == "ko"
    assert parse(asked).one("html")["lang"] == "en"


async def test_a_choice_is_kept_and_leads_back(browser: Browser) -> None:
    before = parse(await browser.get("/?status=failed&lang=en"))
    form = before.one("form", action="/preferences")
    korean = await press(browser, form, button(form, "한국어"))
    dark = await press(browser, form, button(form, "Dark"))
    after = parse(await browser.get("/"))

    assert (korean.status_code, korean.headers["location"]) == (303, "/?status=failed")
    assert "HttpOnly" in korean.headers["set-cookie"]
    assert "SameSite=lax" in dark.headers["set-cookie"]
    assert after.one("html")["lang"] == "ko"
    assert after.one("html")["data-theme"] == "dark"
    assert after.one("meta", name="color-scheme")["content"] == "dark"
    assert "data-theme" not in before.one("html").attributes
    assert before.one("meta", name="color-scheme")["content"] == "light dark"


async def test_no_other_choice_is_kept(browser: Browser) -> None:
    answer = await browser.post("/preferences", lang="fr", theme="pink", back="//evil.example")

    assert "set-cookie" not in answer.headers
    assert answer.headers["location"] == "/"


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_carries_the_headers_that_protect_it(service: Service, path: str) -> None:
    async with browsing(service, signed_in=ADMIN_TOKEN) as browser:
        answer = await browser.get(path)

    document = parse(answer)
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert {policy[name] for name in ("script-src", "style-src", "img-src", "connect-src", "form-action")} == {"'self'"}
    assert answer.headers["cache-control"] == "no-store"
    assert "camera=()" in answer.headers["permissions-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert all(form.one("input", name="csrf")["value"] for form in document.all("form"))


async def test_a_page_has_one_main_one_heading_and_a_way_past_the_bar(browser: Browser) -> None:
    for path in PAGES:
        document = parse(await browser.get(path))

        assert document.one("main")["id"] == "content"
        assert document.one("a", class_="skip")["href"] == "#content"
        assert len(document.all("h1")) == 1, path
        assert document.one("title").text.endswith("· Longhand")

"""A browser without scripts, as far as a test of pages needs one: cookies, forms, and what a page shows."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from html import unescape

import httpx2
import trio

from app.credentials import csrf_of
from app.directory import DATABASE
from app.passwords import hashed
from app.queries import users
from app.store import open_database
from tests.service import ADMIN_TOKEN, Service, http_client

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"
CSRF = re.compile(r'<input type="hidden" name="csrf" value="([0-9a-f]{64})">')


class Browser:
    """A browser; it follows no redirection by itself."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self.http = http

    @classmethod
    @asynccontextmanager
    async def of(cls, url: str, **headers: str) -> AsyncIterator["Browser"]:
        """Open a browser in front of a server."""
        async with http_client({"User-Agent": FIREFOX, "Accept-Language": "en"} | headers, url) as http:
            yield cls(http)

    @property
    def secret(self) -> str | None:
        """The secret of its session."""
        return self.http.cookies.get("longhand")

    def keep(self, secret: str | None) -> None:
        """Have this secret for a session's, as if it was sent by the server."""
        self.http.cookies.delete("longhand") if self.secret else None
        if secret:
            self.http.cookies.set("longhand", secret, domain=self.http.base_url.host, path="/")

    async def get(self, path: str) -> httpx2.Response:
        return await self.http.get(path)

    async def csrf(self, path: str = "/account") -> str:
        """Return what the forms of a page carry."""
        found = CSRF.search((await self.get(path)).text)
        assert found is not None
        return found[1]

    async def post(self, path: str, **fields: str) -> httpx2.Response:
        """Send a form as a page of ours does."""
        return await self.http.post(path, data={"csrf": await self.csrf(), **fields})

    async def sign_in(self, **fields: str) -> httpx2.Response:
        """Send the sign-in form; without fields as the admin of the tests."""
        csrf = await self.csrf("/sign-in")
        return await self.http.post("/sign-in", data={"csrf": csrf, **(fields or {"token": ADMIN_TOKEN})})


def text_of(answer: httpx2.Response) -> str:
    """Return what a page says, without its tags."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", answer.text)).split())


async def ends_of(
    http: httpx2.AsyncClient, paths: Iterable[str], change: Callable[[], Awaitable[object]]
) -> dict[str, int]:
    """Read each path over and over while a change is made, and return what each was answered with first but 200."""
    ends: dict[str, int] = {}

    async def read(path: str) -> None:
        while (code := (await http.get(path)).status_code) == 200:
            pass
        ends[path] = code

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for path in paths:
                nursery.start_soon(read, path)
            await change()
    return ends


@asynccontextmanager
async def browsing(service: Service, *, signed_in: str | None = None, **headers: str) -> AsyncIterator[Browser]:
    """Open a browser, signed in with an access token where there is one."""
    async with Browser.of(service.url, **headers) as browser:
        if signed_in:
            answer = await browser.sign_in(token=signed_in)
            assert answer.status_code == 303, answer.text
        yield browser


async def set_password(service: Service, name: str, password: str) -> None:
    """Set a password beside the running service, as the command line does."""

    def change() -> None:
        db = open_database(service.settings.data_dir / DATABASE)
        try:
            user = users.user_named(db, name)
            assert user is not None
            users.set_password(db, user.id, hashed(password))
        finally:
            db.close()

    await trio.to_thread.run_sync(change)


async def session_of(service: Service, token: str) -> str:
    """Sign in with an access token, and return the secret of the session."""
    async with browsing(service, signed_in=token) as browser:
        assert browser.secret is not None
        return browser.secret


def cookie_client(service: Service, secret: str) -> httpx2.AsyncClient:
    """Make a client that asks as a script of a page does: with the cookie, and the token of the page."""
    return http_client({"Cookie": f"longhand={secret}", "X-CSRF-Token": csrf_of(secret)}, service.url)

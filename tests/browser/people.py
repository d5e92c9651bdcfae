"""Who looks at the pages: browser contexts, signed in or not, whose every error is noticed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Page, Response, expect

from tests.browser.house import House
from tests.service import ADMIN_TOKEN

PATIENCE = 30_000
expect.set_options(timeout=PATIENCE)

WATCH = """
addEventListener('securitypolicyviolation', (event) =>
  console.error(`CSP: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
"""
VISIBILITY = """
let shown = 'visible';
Object.defineProperty(document, 'visibilityState', { get: () => shown });
Object.defineProperty(document, 'hidden', { get: () => shown === 'hidden' });
window.showTab = (state) => { shown = state; document.dispatchEvent(new Event('visibilitychange')); };
"""
"""A headless browser shows every tab; `showTab('hidden')` is what a person does by changing to another."""

SIZES: Mapping[int, int] = {320: 640, 360: 740, 768: 1024, 1280: 800}


@dataclass(eq=False)
class Person:
    """A browser with its own cookies. `faults` are errors of scripts, of the CSP and of static files."""

    context: BrowserContext
    house: House
    faults: list[str] = field(default_factory=list)

    def page(self, path: str | None = None, *, clock: bool = False) -> Page:
        """Open a tab, at a path; `clock`: its time can be moved on, by `page.clock.run_for`."""
        page = self.context.new_page()
        if clock:
            page.clock.install()
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.on("response", self._response)
        if path is not None:
            page.goto(self.house.url + path)
        return page

    def sign_in(self, token: str = ADMIN_TOKEN) -> None:
        """Sign in by the page's own form."""
        page = self.page("/sign-in")
        page.locator("input[name=token]").fill(token)
        page.locator("main form button[type=submit], main form button:not([type])").first.click()
        page.wait_for_url(lambda url: "/sign-in" not in url)
        page.close()

    def _console(self, message: ConsoleMessage) -> None:
        missing = message.text.startswith("Failed to load resource")  # the server may be gone: see _response
        if message.type in {"error", "warning"} and not missing:
            self.faults.append(f"console: {message.text} {message.location}")

    def _response(self, response: Response) -> None:
        if response.status >= 400 and "/static/" in response.url:
            self.faults.append(f"{response.status}: {response.url}")


def arrive(
    browser: Browser,
    house: House,
    *,
    language: str = "en",
    theme: Any = "light",
    width: int = 1280,
    scripts: bool = True,
    cookies: Any = None,
    **more: Any,
) -> Person:
    """Make a person's browser; `cookies` are those of a session."""
    context = browser.new_context(
        locale={"ko": "ko-KR", "en": "en-US"}[language],
        timezone_id="Asia/Seoul",
        color_scheme=theme,
        viewport={"width": width, "height": SIZES.get(width, 800)},
        java_script_enabled=scripts,
        storage_state=cookies,
        **more,
    )
    context.set_default_timeout(PATIENCE)
    if scripts:
        context.add_init_script(WATCH)
        context.add_init_script(VISIBILITY)
    return Person(context, house)


def agreeing(page: Page) -> list[str]:
    """Say yes to every dialog of the browser's own from now on; returns the kinds of those that have come."""
    asked: list[str] = []

    def agree(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.accept()

    page.on("dialog", agree)
    return asked


def violations(page: Page) -> list[str]:
    """Return what axe finds wrong with a page, a line each."""
    found = Axe().run(page).response["violations"]
    return [f"{rule['id']}: {rule['help']}: {json.dumps([node['target'] for node in rule['nodes']])}" for rule in found]


def overflow(page: Page) -> float:
    """Return by how many pixels a page is wider than its window."""
    found: float = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return found

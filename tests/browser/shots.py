"""Screenshots of every state, to be looked at: `python -m tests.browser.shots FOLDER [--only TEXT] [--all]`.

Starts the service with the stand-in in Claude's place, brings topics into each state, and writes PNG files called
`<page>-<width>-<language>-<theme>.png`. Without `--all`: Korean light and English dark only.
"""

import argparse
import re
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio
from playwright.sync_api import Browser, sync_playwright

from tests.browser.samples import ENGLISH, KOREAN
from tests.claude import FakeClaude, Script, claude_server
from tests.service import ADMIN_TOKEN, Service, running, settings_for

CHROMIUM = "/usr/bin/chromium"
WIDTHS = (360, 768, 1280)
CODES = (
    "claude_timeout", "claude_unavailable", "claude_auth", "claude_request", "refused", "claude_stream", "database",
    "file_system", "internal",
)  # fmt: skip

Pages = dict[str, str]
"""The address of each page, by its name; `{ko}` and `{en}` in it stand for nothing."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What is written in one language."""

    language: str
    topic: str
    plan: str
    text: str


SAMPLES = (
    Sample("ko", "전기차 충전 인프라의 지역 격차와 2030년까지의 과제", *KOREAN),
    Sample("en", "Regional gaps in EV charging, and what has to be done by 2030", *ENGLISH),
)


async def prepare(service: Service, claude: FakeClaude) -> dict[str, Pages]:
    """Bring topics into each state; returns the pages by language."""
    found = {sample.language: await states(service, claude, sample) for sample in SAMPLES}
    claude.script(Script.error(529, "overloaded_error", "Overloaded", retry_after=290))
    for language in found:  # last, as it holds up everybody
        topic_id = int(found[language]["busy"].rpartition("/")[2])
        await service.generate(topic_id)
        await service.wait_until(topic_id, "generating", phase="waiting")
    return found


async def states(service: Service, claude: FakeClaude, sample: Sample) -> Pages:
    """Bring topics of one language into each state."""
    add = partial(service.topic, sample.topic, plan=sample.plan, language=sample.language)
    ids = {name: await add() for name in ("idle", "done", "two", "partial", "cancelled", "failed", "busy", "writing")}
    for name in ("done", "two", "two", "partial"):
        claude.script(Script(text=sample.text))
        await service.generate(ids[name])
        await claude.next_call()
        await service.ended(ids[name])
    await service.rows("UPDATE generations SET partial = 1 WHERE topic_id = :id", id=ids["partial"])
    for name in ("cancelled", "failed"):
        await held(service, claude, sample, ids[name])
        await service.http.post(f"/api/topics/{ids[name]}/cancel", json={})
    await fail(service, ids["failed"], "claude_stream")
    await held(service, claude, sample, ids["writing"])
    return pages(ids)


async def held(service: Service, claude: FakeClaude, sample: Sample, topic_id: int) -> None:
    """Let a report be written half, and wait until it is seen."""
    claude.script(Script(text=sample.text, hold=trio.Event(), hold_at=24))
    await service.generate(topic_id)
    call = await claude.next_call()
    await call.held.wait()
    await service.wait_for_characters(topic_id, len(sample.text) // 2)


async def fail(service: Service, topic_id: int, code: str) -> None:
    """Make a cancelled report a failed one, behind the service's back."""
    await service.rows(
        "UPDATE generations SET status = 'failed', error_code = :code, error_message = :code, retryable = 1"
        " WHERE topic_id = :id",
        id=topic_id,
        code=code,
    )
    await service.rows("UPDATE topics SET status = 'failed' WHERE id = :id", id=topic_id)


def pages(ids: dict[str, int]) -> Pages:
    """Return the address of each page."""
    topics = {name: f"/topics/{number}" for name, number in ids.items()}
    more = {
        "list": "/",
        "list-failed": "/?status=failed",
        "list-empty": "/?status=queued",
        "new": "/topics/new",
        "write": f"{topics['done']}/write",
        "version": f"{topics['two']}/versions/1",
        "cancel": f"{topics['writing']}/cancel",
        "delete": f"{topics['two']}/delete",
        "nothing": "/topics/999999",
    }
    return topics | more


def shoot(url: str, found: dict[str, Pages], folder: Path, only: str, *, everything: bool) -> None:
    """Take the screenshots; blocks."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for language, themes in (("ko", ("light", "dark")), ("en", ("dark", "light"))):
            for theme in themes if everything else themes[:1]:
                for width in WIDTHS:
                    take(browser, url, found[language], folder, (width, language, theme), only)
        browser.close()


def take(browser: Browser, url: str, found: Pages, folder: Path, look: tuple[int, str, str], only: str) -> None:
    """Take the screenshots of one width, language and theme."""
    width, language, theme = look
    context = browser.new_context(
        viewport={"width": width, "height": 800},
        locale="ko-KR" if language == "ko" else "en-GB",
        color_scheme="dark" if theme == "dark" else "light",
    )
    page = context.new_page()
    page.goto(url + "/sign-in")
    page.fill("#token", ADMIN_TOKEN)
    page.press("#token", "Enter")
    for name, path in found.items():
        if re.search(only, name):
            page.goto(url + path)
            page.screenshot(path=str(folder / f"{name}-{width}-{language}-{theme}.png"), full_page=width != 1280)
            wide = page.evaluate("document.documentElement.scrollWidth")
            if wide > width:
                print(f"{name} at {width} is {wide} wide")  # noqa: T201
    context.close()


async def main(arguments: argparse.Namespace) -> None:
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        async with (
            claude_server() as claude,
            running(claude, settings_for(Path(directory) / "data", claude.url, claude_timeout=3600)) as service,
        ):
            found = await prepare(service, claude)
            take_all = partial(shoot, everything=arguments.all)
            await trio.to_thread.run_sync(take_all, service.url, found, arguments.folder, arguments.only)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", help="a pattern for the names of pages")
    parser.add_argument("--all", action="store_true", help="each language in both themes")
    trio.run(main, parser.parse_args())

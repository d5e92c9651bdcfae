"""The commands on a terminal: the bar, the page, the questions, and what a report may not do to it."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.claude import Call, Script, numbered_text, sentence_numbers
from tests.process import Process, started
from tests.routes.streams import completed
from tests.service import Service
from tests.terminal.conftest import told

REPORT = numbered_text(60)
EVIL = "# Evil \x1b]0;owned\x07\n\n\x1b[2Jgone \x9b31m \u202eback [link](http://x.example.org)\n"


def terminal(service: Service) -> dict[str, str]:
    return told(service, TERM="xterm", COLUMNS="100", LINES="40")


@asynccontextmanager
async def asked(
    service: Service, here: Path, *arguments: str, shown: str = "writing"
) -> AsyncIterator[tuple[Process, Call, trio.Event]]:
    """Write a report on a terminal, and press Ctrl-C in the middle; Claude goes on with the event."""
    go = trio.Event()
    service.claude.script(Script(text=REPORT, hold=go, hold_at=20))
    command = ("write", "Tides", *arguments)
    async with started(*command, cwd=here, variables=terminal(service), whole_terminal=True) as process:
        call = await service.claude.next_call()
        await call.held.wait()
        await process.shown(shown)
        await process.type("\x03")
        await process.shown("[c]ancel it, [l]eave it running, or [g]o on watching?")
        yield process, call, go
        go.set()


async def test_the_bar_tells_phase_percent_sections_and_tokens(service: Service, here: Path) -> None:
    service.claude.default = Script(text=REPORT)
    (here / "plan.md").write_text("## Section 1\n\n## Section 2")

    async with started(
        "write", "Tides", "--plan", "plan.md", cwd=here, variables=terminal(service), whole_terminal=True
    ) as process:
        code = await process.wait()

    assert code == 0
    assert "completed ━" in process.errors
    assert "100%" in process.errors
    assert "2/2 sections · " in process.errors
    assert " tokens" in process.errors
    assert "\x1b[3" not in process.errors  # NO_COLOR is set


async def test_colours_are_there_unless_they_are_not_wanted(service: Service, here: Path) -> None:
    topic_id = await completed(service, "# One\n\n**two**\n")
    variables = terminal(service)
    shown = {}

    for name, environment in {"none": variables, "some": variables | {"NO_COLOR": ""}}.items():
        async with started("doctor", cwd=here, variables=environment, whole_terminal=True) as process:
            await process.wait()
            shown[name] = process.errors

    assert topic_id
    assert "\x1b[32m" in shown["some"]
    assert "\x1b[3" not in shown["none"]


async def test_ctrl_c_asks_and_cancels_when_told_to(service: Service, here: Path) -> None:
    async with asked(service, here) as (process, call, _):
        await process.type("c\n")
        with trio.fail_after(10):
            await call.gone.wait()
        code = await process.wait()

    assert code == 130
    assert "Cancelled. Nothing was written." in process.errors
    assert (await service.status(1))["status"] == "cancelled"


@pytest.mark.parametrize("answer", ["what?\nl\n", "\x03", "\x04"])
async def test_ctrl_c_asks_and_a_second_one_leaves_the_report_running(
    service: Service, here: Path, answer: str
) -> None:
    async with asked(service, here) as (process, _, _):
        await process.type(answer)
        code = await process.wait()
        status = await service.status(1)

    assert code == 130
    assert "'longhand watch 1' follows it." in process.errors
    assert status["status"] == "generating"
    assert (await service.ended(1))["status"] == "completed"


async def test_ctrl_c_asks_and_who_goes_on_misses_nothing(service: Service, here: Path) -> None:
    async with asked(service, here, "--live", shown="sentence 10 of 60.") as (process, call, go):
        await process.type("g\n")
        await process.shown("g\r\n")
        go.set()
        code = await process.wait()

    assert not call.gone.is_set()
    numbers = sentence_numbers(re.sub(r"\^C.*?watching\? g\r\n", "", process.errors, flags=re.DOTALL))
    assert code == 0
    assert numbers == list(range(1, 61))
    assert (here / "Tides.md").read_text().strip() == REPORT.strip()


async def test_ctrl_c_leaves_what_is_only_watched(service: Service, here: Path) -> None:
    go = trio.Event()
    service.claude.script(Script(text=REPORT, hold=go, hold_at=20))
    await service.generate(await service.topic())

    async with started("watch", "1", cwd=here, variables=terminal(service), whole_terminal=True) as process:
        await process.shown("writing")
        await process.type("\x03")
        code = await process.wait()
        status = await service.status(1)
        go.set()

    assert (code, status["status"]) == (130, "generating")
    assert "Traceback" not in process.errors


@pytest.mark.parametrize("arguments", [["show", "1"], ["show", "1", "--json"], ["watch", "1", "--live"]])
async def test_a_report_cannot_act_on_the_terminal(service: Service, here: Path, arguments: list[str]) -> None:
    await completed(service, EVIL)

    async with started(*arguments, cwd=here, variables=terminal(service), whole_terminal=True) as process:
        code = await process.wait()

    assert code == 0
    assert "gone" in process.errors
    for sequence in ("\x1b]0;", "\x07", "\x1b[2J", "\x9b", "\u202e", "\x1b]8;"):
        assert sequence not in process.errors


async def test_a_report_is_a_page_and_the_list_a_table(service: Service, here: Path) -> None:
    await completed(service, "# Tides\n\n- **one**\n- two\n")
    shown = {}

    for command in (("show", "1"), ("list",)):
        async with started(*command, cwd=here, variables=terminal(service), whole_terminal=True) as process:
            assert await process.wait() == 0
            shown[command[0]] = process.errors

    assert "**" not in shown["show"]
    assert " • " in shown["show"]
    assert "│ completed │" in shown["list"]


async def test_deleting_asks(service: Service, here: Path) -> None:
    await service.topic("Tides")

    for reply, left in (("n\n", 1), ("y\n", 0)):
        async with started("delete", "1", cwd=here, variables=terminal(service), whole_terminal=True) as process:
            await process.shown("Delete 'Tides' with its reports? [y/N]")
            await process.type(reply)
            await process.wait()
        assert len(await service.rows("SELECT id FROM topics")) == left

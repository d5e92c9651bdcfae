"""`longhand watch`: over kills of the server, to the end of the report."""

import json
import signal
from pathlib import Path

import pytest
import trio

from tests.claude import FakeClaude, Script, continuing, numbered_text, sentence_numbers
from tests.client.between import between, port_of
from tests.process import serving, started
from tests.routes.streams import completed, held_halfway
from tests.service import ADMIN_TOKEN, Service
from tests.terminal.conftest import Run, told

COUNT = 400
REPORT = numbered_text(COUNT)


@pytest.mark.parametrize(
    ("as_json", "number"), [(False, signal.SIGKILL), (True, signal.SIGKILL), (True, signal.SIGTERM)]
)
async def test_a_server_that_is_killed_and_started_again_costs_no_sentence_and_doubles_none(
    tmp_path: Path, here: Path, claude: FakeClaude, *, as_json: bool, number: signal.Signals
) -> None:
    claude.script(Script(text=REPORT, hold=trio.Event(), hold_at=20))
    claude.default = continuing(REPORT)
    data = tmp_path / "data"
    arguments = ("watch", "1", "--live", *(["--json"] if as_json else []))

    async with serving(data, claude, LONGHAND_CHECKPOINT_SECONDS="0.1") as server, between(server.url) as proxy:
        variables = {"LONGHAND_URL": proxy.url, "LONGHAND_TOKEN": ADMIN_TOKEN}
        await server.generate(await server.topic())
        async with started(*arguments, cwd=here, variables=variables) as process:
            await process.shown("sentence 180 of 400.", "output")
            server.process.send(number)
            await server.process.wait()
            async with serving(data, claude) as again:
                proxy.target = port_of(again.url)
                code = await process.wait()
                whole = (await again.http.get("/api/artifacts/1/download")).text

    lines = [json.loads(line) for line in process.output.splitlines()] if as_json else []
    pieces = "".join(line["data"]["text"] for line in lines if line["event"] == "text")
    text = pieces if as_json else process.output
    assert code == 0, process.errors
    assert sentence_numbers(text) == list(range(1, COUNT + 1))
    assert text.strip() == whole.strip()
    if as_json:
        assert "outage" in [line["event"] for line in lines]
        assert lines[-1]["event"] == "done"
    else:
        assert "Trying again in" in process.errors


async def test_a_report_that_failed_is_1_and_says_why(service: Service, run: Run) -> None:
    service.claude.default = Script.error(400, "invalid_request_error", "No")
    await service.generate(await service.topic())
    await service.ended(1)

    code, process = await run("watch", "1")

    assert code == 1
    assert process.errors.splitlines()[-1] == "longhand: Claude API refused the request: No (claude_request)."


async def test_in_a_pipe_it_is_lines(service: Service, run: Run) -> None:
    await completed(service)

    code, process = await run("watch", "1")

    assert code == 0
    assert process.output == ""
    assert process.errors.splitlines()[0] == "completed (100 %)"


async def test_without_an_id_it_tells_of_every_topic(service: Service, here: Path) -> None:
    async with started("watch", cwd=here, variables=told(service)) as process:
        topic_id, _ = await held_halfway(service, topic="조수")
        await process.shown(f"{topic_id}\tgenerating\t", "output")
        await service.http.delete(f"/api/topics/{topic_id}")
        await process.shown(f"{topic_id}\tdeleted\n", "output")
        process.send(signal.SIGINT)
        code = await process.wait()

    assert code == 130
    assert "조수" in process.output
    assert "Traceback" not in process.errors


async def test_ctrl_c_leaves_the_report_running(service: Service, here: Path) -> None:
    await held_halfway(service)

    async with started("watch", "1", cwd=here, variables=told(service)) as process:
        await process.line("writing (")
        process.send(signal.SIGINT)
        with trio.fail_after(10):
            code = await process.wait()

    assert (code, (await service.status(1))["status"]) == (130, "generating")

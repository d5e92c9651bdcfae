"""The commands that ask a server, in a pipe: plain lines, JSON, exit codes that scripts can use."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from tests.claude import Script, numbered_text
from tests.client.between import answer, canned
from tests.conftest import Start
from tests.process import longhand
from tests.routes.streams import completed, held_halfway
from tests.service import Service
from tests.terminal.conftest import Run, told

REPORT = numbered_text(60)


async def test_a_list_is_a_line_for_each_topic_or_one_document(service: Service, run: Run) -> None:
    first = await completed(service)
    second = await service.topic("김 서방\nthe second", language="en")

    code, plain = await run("list")
    _, chosen = await run("list", "--status", "completed", "--limit", "5")
    _, documents = await run("list", "--json")

    lines = [line.split("\t") for line in plain.output.splitlines()]
    assert code == 0
    assert [(line[0], line[1], line[2], line[4]) for line in lines] == [
        (str(second), "idle", "en", "김 서방 the second"),
        (str(first), "completed", "ko", "A topic"),
    ]
    assert [line.split("\t")[0] for line in chosen.output.splitlines()] == [str(first)]
    assert json.loads(documents.output) == (await service.http.get("/api/topics")).json()["data"]


async def test_a_status_is_one_line_or_the_documents_of_the_api(service: Service, run: Run) -> None:
    topic_id = await completed(service, REPORT)

    code, plain = await run("status", str(topic_id))
    _, document = await run("status", str(topic_id), "--json")

    assert code == 0
    assert plain.output.startswith("completed, 100 %, ")
    assert plain.output.count("\n") == 1
    shown = json.loads(document.output)
    assert {name: shown[name] for name in await service.status(topic_id)} == await service.status(topic_id)


async def test_a_report_in_a_pipe_is_its_markdown_byte_by_byte(service: Service, run: Run, here: Path) -> None:
    topic_id = await completed(service, "# Old\n")
    service.claude.script(Script(text="# New \x1b[31m\n"))
    await service.generate(topic_id)
    await service.ended(topic_id)
    whole = (await service.http.get("/api/artifacts/2/download")).text

    _, newest = await run("show", str(topic_id))
    _, older = await run("show", str(topic_id), "--version", "1")
    _, saved = await run("show", str(topic_id), "-o", "new.md")
    _, document = await run("show", str(topic_id), "--json")

    assert newest.output == whole
    assert older.output == "# Old\n"
    assert (here / "new.md").read_text() == whole
    assert saved.output == "Wrote new.md.\n"
    assert json.loads(document.output)["text"] == whole


async def test_a_report_is_cancelled_kept_ended_and_gone_on_with(service: Service, run: Run) -> None:
    topic_id, call = await held_halfway(service)

    code, cancelled = await run("cancel", str(topic_id), "--keep")
    with trio.fail_after(5):
        await call.gone.wait()
    again, _ = await run("cancel", str(topic_id))
    resumed, document = await run("resume", str(topic_id), "--json")
    await service.ended(topic_id)
    artifacts = (await service.http.get(f"/api/topics/{topic_id}/artifacts")).json()["data"]

    assert (code, again, resumed) == (0, 0, 0)
    assert cancelled.output.startswith(("cancelled, ", "writing, "))
    assert json.loads(document.output)["topic_id"] == topic_id
    assert [artifact["partial"] for artifact in artifacts] == [False, True]


async def test_a_report_can_be_ended_now(service: Service, run: Run) -> None:
    topic_id, _ = await held_halfway(service, plan="## One\n\n## Two")

    code, _ = await run("cancel", str(topic_id), "--finish")
    status = await service.ended(topic_id)
    both, _ = await run("cancel", str(topic_id), "--finish", "--keep")

    assert (code, status["status"], both) == (0, "completed", 2)


async def test_deleting_asks_first_and_where_nobody_can_be_asked_it_wants_to_be_told(
    service: Service, run: Run
) -> None:
    topic_id = await service.topic()

    refused, process = await run("delete", str(topic_id))
    deleted, _ = await run("delete", str(topic_id), "--yes")

    assert (refused, deleted) == (2, 0)
    assert process.errors == "longhand: Nobody can be asked here. Say --yes to delete it.\n"
    assert await service.rows("SELECT id FROM topics") == []


# Exit codes


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["status", "999"], 5, "longhand: There is nothing at this address, or it is not yours."),
        (["status", "1", "--token", "wrong-token"], 4, "longhand: The access token is missing or wrong."),
        (["status", "1", "--url", "localhost:9"], 3, "longhand: There is no connection to http://localhost:9."),
        (["status", "1", "--url", "ftp://localhost"], 2, "longhand: The address of the server: 'ftp://localhost'"),
        (["status", "1", "--token", "토큰"], 2, "longhand: The token is not one: it holds more than printable ASCII"),
        (["status", "one"], 2, "Error: Invalid value for 'ID'"),
        (["show", "1"], 5, "longhand: There is no report of topic 1. 'longhand status 1' tells how far it is."),
        (["show", "1", "--version", "3"], 5, "longhand: There is no version 3 of the report of topic 1."),
        (["show", "1", "-o", "no/such/place.md"], 1, "longhand: no/such/place.md cannot be written"),
        (["cancel", "1"], 6, "longhand: Nothing was ever generated for this topic"),
        (["resume", "1"], 6, "longhand: Only a failed or cancelled generation can be resumed"),
        (["watch", "999"], 5, "longhand: There is nothing at this address"),
    ],
)
async def test_each_failure_has_its_exit_code_and_one_line(
    service: Service, run: Run, arguments: list[str], code: int, line: str
) -> None:
    await service.topic()

    exit_code, process = await run(*arguments)

    assert (exit_code, process.output) == (code, "")
    assert process.errors.splitlines()[-1].startswith(line)
    assert "Traceback" not in process.errors


async def test_a_failure_is_a_document_too(service: Service, run: Run) -> None:
    code, refused = await run("status", "999", "--json")
    away, unreachable = await run("status", "1", "--json", "--url", "localhost:9")

    assert (code, away) == (5, 3)
    assert json.loads(refused.output)["error"]["code"] == "not_found"
    assert json.loads(unreachable.output)["error"]["code"] == "unreachable"


async def test_a_server_that_is_full_is_7(start: Start, here: Path) -> None:
    async with start(max_per_user=1) as service:
        await held_halfway(service)
        code, process = await longhand("write", "Tides", cwd=here, variables=told(service))
        topics = await service.rows("SELECT topic FROM topics")

    assert code == 7
    assert process.errors.startswith("longhand: You have as many unfinished generations as you may.")
    assert len(topics) == 1  # the topic that was made for it is gone


async def test_without_any_server_one_is_told_how_to_name_it(here: Path) -> None:
    code, process = await longhand("status", "1", cwd=here)

    assert code == 4
    assert process.errors.startswith("longhand: You are not signed in. Run 'longhand login', or give --url")


async def test_what_is_not_longhand_is_told(here: Path) -> None:
    async with canned(answer("404 Not Found", "<h1>nginx</h1>", kind="text/html")) as server:
        code, process = await longhand(
            "list", cwd=here, variables={"LONGHAND_URL": server.url, "LONGHAND_TOKEN": "token"}
        )

    assert code == 3
    assert process.errors == (
        f"longhand: What answers at {server.url} is not Longhand (404 Not Found). "
        "Check the address, and the path in it.\n"
    )


async def test_what_a_hostile_server_says_does_not_act_on_the_terminal(here: Path) -> None:
    document = json.dumps({"code": "evil", "detail": "Oh \x1b]0;owned\x07\x1b[2J\u202eno\x9b31m", "status": 400})
    async with canned(answer("400 Bad", document)) as server:
        variables = {"LONGHAND_URL": server.url, "LONGHAND_TOKEN": "token"}
        _, process = await longhand("list", cwd=here, variables=variables)
        _, as_json = await longhand("list", "--json", cwd=here, variables=variables)

    assert process.errors == "longhand: Oh ␛]0;owned␇␛[2J�no�31m\n"
    assert json.loads(as_json.output)["error"]["code"] == "evil"
    assert not {"\x1b", "\x9b", "\x07"} & set(as_json.output + as_json.errors)


# Completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
async def test_completion_is_printed_for_each_shell(here: Path, shell: str) -> None:
    code, process = await longhand("completion", shell, cwd=here)

    assert code == 0
    assert f"_LONGHAND_COMPLETE={shell}_complete" in process.output


async def test_commands_and_ids_are_completed(service: Service, run: Run) -> None:
    topic_id = await service.topic("Tides")
    complete: Callable[..., dict[str, str]] = lambda words, count: {  # noqa: E731
        "_LONGHAND_COMPLETE": "zsh_complete", "COMP_WORDS": words, "COMP_CWORD": count,
    }  # fmt: skip

    _, commands = await run(**complete("longhand st", "1"))
    _, ids = await run(**complete("longhand status ", "2"))
    _, nothing = await run(**complete("longhand status ", "2") | {"LONGHAND_URL": "localhost:9"})

    assert commands.output.splitlines() == ["plain", "status", "Tell how far the report of topic ID is."]
    assert ids.output.splitlines() == ["plain", str(topic_id), "Tides"]
    assert (nothing.output.strip(), nothing.errors) == ("", "")

"""`longhand write`: on the server that is named, or in this process where none is."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, TextIO

import click

from app.client import Client
from app.options import DATA_DIR
from app.saving import STANDARD_OUTPUT, check, file_errors, save
from app.terminal.call import JSON, TOKEN, URL, Call, on_terminal, signed_in
from app.terminal.ends import ending
from app.terminal.interruption import ask_wish
from app.terminal.login import names_server
from app.terminal.show import Show
from app.terminal.writing import Assignment, Outcome, interruptible, told, written


@click.command()
@click.argument("topic")
@click.option("--plan", type=click.File(encoding="utf-8-sig"), help="A file with the outline; - is standard input.")
@click.option("--mode", type=click.Choice(["single", "sections"]), help="In one go, or its sections side by side.")
@click.option("--language", default="ko", show_default=True, help="A BCP 47 tag, such as en.")
@click.option("--instructions", default="", help="What else to mind.")
@click.option("--model", help="One of the allowed models.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The file to write; - is standard output.")
@click.option("--live", is_flag=True, help="Print the text as it comes, on standard output.")
@URL
@TOKEN
@JSON
@DATA_DIR
def write(
    topic: str, plan: Any, mode: Literal["single", "sections"] | None, language: str, instructions: str,
    model: str | None, output: Path | None, *, live: bool, url: str | None, token: str | None, as_json: bool,
    data_dir: Path | None,
) -> None:  # fmt: skip
    """Write a report on TOPIC and wait for it.

    On the server that --url, LONGHAND_URL or 'longhand login' names. Where none is named, or with --data-dir, the whole
    service runs in this process meanwhile.

    Without -o, the file gets a name from the topic and lands where you are; no other file is overwritten. Ctrl-C
    cancels the report; on a terminal, where a server writes it, you are asked whether to leave it running, and a second
    Ctrl-C leaves it. Exit codes: 0 when the report is written, 1 when it is not, 2 for wrong settings, 130 after
    Ctrl-C; all of them stand in 'longhand --help'.
    """
    if output == STANDARD_OUTPUT and (live or as_json):
        raise click.UsageError("Standard output can take one thing: leave out '-o -', or --live and --json.")
    if live and as_json:
        raise click.UsageError("Standard output can take one thing: --live or --json.")
    if any("\ud800" <= character <= "\udfff" for character in topic + instructions):
        raise click.BadParameter("the topic and the instructions are text in UTF-8", param_hint="TOPIC")
    assignment = Assignment(topic, read_plan(plan) if plan else "", language, instructions, model, mode)
    with ending(as_json=as_json):
        if data_dir is None and names_server(url):
            code = write_there(Call(signed_in(url, token), as_json), assignment, output, Show(live=live))
        else:
            code = write_here(data_dir, assignment, output, Show(live=live), as_json=as_json)
    sys.exit(code)


def write_there(call: Call, assignment: Assignment, output: Path | None, show: Show) -> int:
    """Write a report on a server."""
    ask = ask_wish if on_terminal() else None

    async def writing(client: Client) -> Outcome:
        async with interruptible() as interruption:
            return await written(client, assignment, show, interruption, ask)

    with file_errors(output):
        check(output)
    outcome = call.run(writing)
    target = None
    if outcome.status and outcome.content:
        kept = f" The server keeps the report: longhand show {outcome.status.topic_id} -o FILE."
        with file_errors(output, kept):
            target = save(outcome.content, output, assignment.topic)
    return told(outcome, show, target, as_json=call.as_json)


def write_here(data_dir: Path | None, assignment: Assignment, output: Path | None, show: Show, *, as_json: bool) -> int:
    """Write a report in this process; what that takes is imported only now."""
    code: int = import_module("app.serving").write_here(data_dir, assignment, output, show, as_json=as_json)
    return code


def read_plan(file: TextIO) -> str:
    try:
        return file.read()
    except UnicodeDecodeError as error:
        raise click.BadParameter("the plan is not text in UTF-8", param_hint="'--plan'") from error

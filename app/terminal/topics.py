"""`longhand list`, `status`, `show` and `delete`."""

import sys
from pathlib import Path

import click
from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table

from app.client import Artifact, Client, Topic
from app.saving import STANDARD_OUTPUT, check, file_errors, save
from app.terminal.call import TOPIC, Call, on_terminal, remote
from app.terminal.codes import NOT_FOUND, WRONG_CALL
from app.terminal.ends import Ended
from app.terminal.words import clean, now, one_line, plain, sentence

STATUSES = ["idle", "queued", "generating", "completed", "failed", "cancelled"]


@click.command("list")
@click.option("--status", "wanted", type=click.Choice(STATUSES), help="Only those with this status.")
@click.option("--limit", type=click.IntRange(1), help="At most so many.", show_default="all")
@remote
def list_topics(call: Call, wanted: str | None, limit: int | None) -> None:
    """List your topics, the newest first.

    In a pipe each is a line: id, status, language, when it was changed, topic, with tabs between.
    """
    found = call.run(lambda client: client.topics(status=wanted, most=limit))
    if call.as_json or not sys.stdout.isatty():
        call.tell(found, *("\t".join(_row(topic)) for topic in found))
    elif found:
        Console(markup=False, emoji=False, highlight=False).print(_table(found))
    else:
        print("There are no topics yet. 'longhand write TOPIC' begins one.")


@click.command()
@TOPIC
@remote
def status(call: Call, topic_id: int) -> None:
    """Tell how far the report of topic ID is. Exit code 0, whatever the status."""
    found = call.run(lambda client: client.status(topic_id))
    call.tell(found, sentence(found, now()))


@click.command()
@TOPIC
@click.option("--version", type=click.IntRange(1), help="This version.", show_default="the newest")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write it to this file, whole or not at all.")
@remote
def show(call: Call, topic_id: int, version: int | None, output: Path | None) -> None:
    """Show the report of topic ID.

    As a page on a terminal, as it is written, in Markdown, in a pipe.
    """
    if output is not None:
        with file_errors(output):
            check(output)
    artifact, text = call.run(lambda client: fetched(client, topic_id, version))
    if output is not None:
        with file_errors(output):
            target = save(text.encode(), output, "")
        call.tell(plain(artifact) | {"file": target}, *([] if output == STANDARD_OUTPUT else [f"Wrote {target}."]))
    elif call.as_json:
        call.tell(plain(artifact) | {"text": text})
    elif sys.stdout.isatty():
        Console().print(Markdown(clean(text), hyperlinks=False))
    else:
        sys.stdout.buffer.write(text.encode())
        sys.stdout.buffer.flush()


@click.command()
@TOPIC
@click.option("--yes", is_flag=True, help="Do not ask.")
@remote
def delete(call: Call, topic_id: int, *, yes: bool) -> None:
    """Delete topic ID with its reports. What is being written for it is cancelled."""
    topic = call.run(lambda client: client.topic(topic_id))
    if not yes:
        if not on_terminal():
            raise Ended("Nobody can be asked here. Say --yes to delete it.", WRONG_CALL)
        click.confirm(f"Delete '{one_line(topic.topic)}' with its reports?", abort=True, err=True)
    call.run(lambda client: client.delete_topic(topic_id))
    call.tell({"deleted": topic_id}, f"Deleted topic {topic_id}.")


async def fetched(client: Client, topic_id: int, version: int | None) -> tuple[Artifact, str]:
    """Return one version of a report with its text. Raises Ended where there is none."""
    versions = await client.artifacts(topic_id, most=1 if version is None else None)
    chosen = [artifact for artifact in versions if version in {None, artifact.version}]
    if not chosen:
        which = "no report" if version is None else f"no version {version} of the report"
        raise Ended(
            f"There is {which} of topic {topic_id}. 'longhand status {topic_id}' tells how far it is.", NOT_FOUND
        )
    return chosen[0], await client.download(chosen[0].id)


def _row(topic: Topic) -> list[str]:
    return [
        str(topic.id),
        topic.status,
        topic.language,
        f"{topic.updated_at:%Y-%m-%dT%H:%M:%SZ}",
        one_line(topic.topic),
    ]


def _table(topics: list[Topic]) -> Table:
    made = Table(header_style="bold")
    made.add_column("id", justify="right")
    for heading in ("status", "changed", "topic"):
        made.add_column(heading, no_wrap=heading != "topic")
    for topic in topics:
        changed = topic.updated_at.astimezone()
        made.add_row(str(topic.id), clean(topic.status), f"{changed:%Y-%m-%d %H:%M}", one_line(topic.topic))
    return made

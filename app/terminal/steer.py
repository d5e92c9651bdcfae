"""`longhand watch`, `cancel` and `resume`."""

import sys
from typing import Any

import click

from app.client import Client, DeletedEvent, DoneEvent, Event, ListEvent, Outage, Status, StatusEvent, TextEvent
from app.terminal.call import TOPIC, Call, complete_id, remote
from app.terminal.codes import FAILED
from app.terminal.ends import complain
from app.terminal.show import Show, summary
from app.terminal.words import encoded, now, one_line, plain, sentence


@click.command()
@click.argument("topic_id", metavar="[ID]", type=click.IntRange(1), required=False, shell_complete=complete_id)
@click.option("--live", is_flag=True, help="Print the text as it comes, on standard output.")
@remote
def watch(call: Call, topic_id: int | None, *, live: bool) -> None:
    """Watch the report of topic ID to its end, or every change of your topics.

    A lost connection is made again, also after a restart of the server. Ctrl-C leaves the report running. With --json
    each event is a line. Exit codes: 0 when the report is completed, 1 when it failed or was cancelled.
    """
    if topic_id is None:
        call.run(lambda client: watch_list(client, as_json=call.as_json))
        return
    number = topic_id
    status = call.run(lambda client: watch_one(client, number, live=live, as_json=call.as_json))
    if status.status != "completed":
        complain(summary(status))
        sys.exit(FAILED)
    if not call.as_json:
        print(f"'longhand show {number}' shows it.", file=sys.stderr)


@click.command()
@TOPIC
@click.option("--keep", is_flag=True, help="Keep what is written as a version of the report.")
@click.option("--finish", is_flag=True, help="Have it ended instead: the section in hand, and a closing one.")
@remote
def cancel(call: Call, topic_id: int, *, keep: bool, finish: bool) -> None:
    """Cancel the report of topic ID; nothing more is spent."""
    if keep and finish:
        raise click.UsageError("A report that is finished is kept: leave out --keep.")

    async def cancelling(client: Client) -> Status:
        return await (client.finish(topic_id) if finish else client.cancel(topic_id, keep_partial=keep))

    found = call.run(cancelling)
    call.tell(found, sentence(found, now()))


@click.command()
@TOPIC
@click.option("--model", help="One of the allowed models.")
@remote
def resume(call: Call, topic_id: int, model: str | None) -> None:
    """Go on with the report of topic ID that failed or was cancelled, from the text that stands."""
    accepted = call.run(lambda client: client.resume(topic_id, model=model))
    call.tell(accepted, f"Generation {accepted.generation_id} goes on. 'longhand watch {topic_id}' follows it.")


async def watch_one(client: Client, topic_id: int, *, live: bool, as_json: bool) -> Status:
    """Watch one report to its end and return the last status."""
    await client.status(topic_id)  # an address that is wrong is told before anything is shown
    events = client.watch(topic_id, text=live, outages=True)
    if not as_json:
        with Show(live=live, wanted=True) as show:
            return await show.follow(events)
    async for event in events:
        print(encoded(document(event)), flush=True)
        if isinstance(event, DoneEvent):
            return event.status
    raise AssertionError("a watch ends with the status or raises")


async def watch_list(client: Client, *, as_json: bool) -> None:
    """Print every change of the list, without an end."""
    async for event in client.watch_topics(outages=True):
        print(encoded(document(event)) if as_json else line(event), flush=True)


def document(event: Event | ListEvent) -> dict[str, Any]:
    """Return an event as `--json` shows it: its type, and its data as the API has them."""
    match event:
        case StatusEvent(status):
            return {"event": "status", "data": plain(status)}
        case DoneEvent(status):
            return {"event": "done", "data": plain(status)}
        case TextEvent():
            return {"event": "text", "data": plain(event)}
        case DeletedEvent():
            return {"event": "deleted", "data": plain(event)}
        case Outage():
            return {"event": "outage", "data": plain(event)}
    return {"event": "topic", "data": plain(event)}


def line(event: ListEvent) -> str:
    match event:
        case DeletedEvent(id=number):
            return f"{number}\tdeleted"
        case Outage(reason, seconds):
            return f"# {one_line(reason)} Trying again in {seconds:.0f} s."
    return f"{event.id}\t{event.status}\t{event.progress_percent} %\t{one_line(event.topic)}"

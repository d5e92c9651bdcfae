"""The topics and their list, described."""

from typing import Any

from app.errors import FileSystemFailed
from app.models import StatusName
from app.openapi import documents
from app.openapi.describe import Answer, Operation, Parameter, header, query
from app.routes.news import MARK
from app.routes.paging import DEFAULT_LIMIT, MAX_LIMIT
from app.routes.topics import NewTopic, TopicChange

TAG = "topics"
FLAG = ["0", "1"]

PAGE = (
    query("limit", "How many.", type="integer", minimum=1, maximum=MAX_LIMIT, default=DEFAULT_LIMIT),
    query("cursor", "The `next_cursor` of the page before.", type="string"),
)
PING = query("ping", "1: an event `ping`, for who cannot see comments.", enum=FLAG)
STREAMS = "`draining` comes when the server stops, and a comment when nothing else has for 15 s."


def resume(pattern: str) -> tuple[Parameter, Parameter]:
    """Make the two parameters by which a reader comes back to a stream."""
    pattern = f"^(?:{pattern})?$"
    described = "The id of the last event that was seen; the header, which browsers send, goes first."
    return (
        header("Last-Event-ID", described, pattern=pattern),
        query("starting_after", described, type="string", pattern=pattern),
    )


def stream(description: str, **events: Any) -> Answer:
    """Make the answer that is an event stream: types of data by the events' names."""
    usual = {"draining": documents.Nothing, "ping": documents.Nothing}
    return Answer(200, f"{description} {STREAMS}", events=events | usual, headers=("Cache-Control",))


OPERATIONS = {
    "GET /api/topics": Operation(
        "list_topics",
        TAG,
        "List your topics, newest first",
        (Answer(200, "One page.", documents.Topic, list=True),),
        parameters=(
            query("status", "Those whose latest generation stands so.", type="string", enum=list(StatusName)),
            *PAGE,
        ),
    ),
    "POST /api/topics": Operation(
        "add_topic",
        TAG,
        "Add a topic",
        (Answer(201, "The topic.", documents.Topic, headers=("Location",)),),
        body=NewTopic,
    ),
    "GET /api/topics/stream": Operation(
        "stream_topics",
        TAG,
        "Follow every change of your topics, as events",
        (
            stream(
                "What is unfinished comes first, then every change. It does not end by itself.",
                topic=documents.TopicEvent,
                deleted=documents.DeletedEvent,
            ),
        ),
        parameters=(PING, *resume(MARK.pattern)),
    ),
    "GET /api/topics/{id}": Operation("get_topic", TAG, "Read a topic", (Answer(200, "The topic.", documents.Topic),)),
    "PATCH /api/topics/{id}": Operation(
        "change_topic",
        TAG,
        "Change a topic",
        (Answer(200, "The topic.", documents.Topic),),
        "What is left out or null stays. A generation under way goes on with what it began with.",
        body=TopicChange,
    ),
    "DELETE /api/topics/{id}": Operation(
        "delete_topic",
        TAG,
        "Delete a topic and its reports",
        (Answer(204, "It is gone."),),
        "What runs for it is cancelled first.",
        problems=(FileSystemFailed,),
    ),
}

"""What is written of a topic, and how far it is: described."""

from app.errors import (
    GenerationInProgress,
    IdempotencyKeyReused,
    Invalid,
    NothingToCancel,
    NothingToResume,
    QueueFull,
    ShuttingDown,
    TooManyGenerations,
)
from app.openapi import documents
from app.openapi.describe import IF_NONE_MATCH, Answer, Operation, header, query
from app.openapi.topics import FLAG, PAGE, PING, resume, stream
from app.routes.events import POSITION
from app.routes.generations import BARE_KEY, QUOTED_KEY, CancelRequest, GenerateRequest
from app.routes.status import MAX_WAIT

TAG = "reports"


def status(code: int, description: str) -> Answer:
    """Make an answer that is a status; 304 says it with no body."""
    document = None if code == 304 else documents.Status
    return Answer(code, description, document, headers=("ETag", "Cache-Control"), sometimes=("Retry-After",))


OPERATIONS = {
    "POST /api/topics/{id}/generate": Operation(
        "start_generation",
        TAG,
        "Write a report in the background",
        (
            Answer(
                202,
                "It will end as completed, failed or cancelled, whatever happens to the server.",
                documents.Accepted,
                headers=("Location", "Retry-After"),
                sometimes=("Idempotency-Replayed",),
            ),
        ),
        "`resume` goes on from the text of the topic's latest generation, which failed or was cancelled; it keeps that "
        "one's words.",
        parameters=(
            header(
                "Idempotency-Key",
                "Within a day, the same key with the same body is answered as the first time, and starts nothing.",
                pattern=f"^(?:{BARE_KEY.pattern}|{QUOTED_KEY.pattern})$",
            ),
        ),
        body=GenerateRequest,
        problems=(
            GenerationInProgress,
            NothingToResume,
            IdempotencyKeyReused,
            TooManyGenerations,
            QueueFull,
            ShuttingDown,
        ),
    ),
    "GET /api/topics/{id}/status": Operation(
        "get_status",
        TAG,
        "See where a topic's latest generation stands",
        (
            status(200, "The status."),
            status(304, "It is still as `If-None-Match` says."),
        ),
        "With `If-None-Match` and `wait` the answer is held until the status changes, or the time is up.",
        parameters=(
            query("wait", "Seconds to wait for a change.", type="integer", minimum=0, maximum=MAX_WAIT),
            header("Prefer", f"`wait=` with seconds, at most {MAX_WAIT}; the query goes first.", examples=["wait=30"]),
            IF_NONE_MATCH,
        ),
        problems=(Invalid,),
    ),
    "GET /api/topics/{id}/status/stream": Operation(
        "stream_status",
        TAG,
        "Follow one generation to its end, as events",
        (
            stream(
                "The whole status comes first, and at each change; text only with `text=1`; with `html=1` its blocks, "
                "each when it is closed, behind its text; `done` is the end. Who comes back with the last event's id "
                "goes on there.",
                status=documents.Status,
                text=documents.TextEvent,
                block=documents.Block,
                done=documents.Status,
            ),
            Answer(204, "The last event was `done`, and nothing has begun since."),
        ),
        parameters=(
            query("text", "1: with the text as it is written.", enum=FLAG),
            query("html", "1: with each block of the report as HTML, as soon as it is closed.", enum=FLAG),
            PING,
            *resume(POSITION.pattern),
        ),
    ),
    "GET /api/topics/{id}/blocks": Operation(
        "get_blocks",
        TAG,
        "Get what there is of a report as blocks of HTML",
        (
            Answer(
                200,
                "What the stream would tell with `text=1` and `html=1`.",
                documents.Blocks,
                headers=("Cache-Control",),
            ),
        ),
        "Of a report that is written the blocks are those of the whole: its footnotes stand at its end.",
        parameters=resume(POSITION.pattern),
    ),
    "POST /api/topics/{id}/cancel": Operation(
        "cancel_generation",
        TAG,
        "Stop what is being written",
        (
            status(202, "It was stopped, or will end now."),
            status(200, "It had ended already."),
        ),
        "`keep_partial` keeps what is written as a partial report; `finish` has the report brought to an end instead.",
        body=CancelRequest,
        problems=(NothingToCancel,),
    ),
    "GET /api/topics/{id}/generations": Operation(
        "list_generations",
        TAG,
        "List a topic's generations, newest first",
        (Answer(200, "One page.", documents.Status, list=True),),
        parameters=PAGE,
    ),
}

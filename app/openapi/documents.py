"""What answers and events hold: one type for each document, as `app/routes/` and `app/snapshot.py` write it."""

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from app.models import Kind, Phase, StatusName

Id = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Percent = Annotated[int, Field(ge=0, le=100)]
Address = Annotated[str, Field(json_schema_extra={"format": "uri-reference"})]


class Topic(TypedDict):
    """What a report is about. `status` is that of its latest generation."""

    id: Id
    topic: str
    plan: str
    language: str
    status: StatusName
    created_at: Time
    updated_at: Time


class Accepted(TypedDict):
    """A generation that will end, whatever happens to the server, and where to follow it."""

    topic_id: Id
    generation_id: Id
    status: Literal["queued", "generating"]
    status_url: Address
    events_url: Address


class Usage(TypedDict):
    """The sum of every call to Claude, failed and cancelled ones included; null is unknown, not zero."""

    input_tokens: Count | None
    output_tokens: Count | None
    cost_usd: str | None


class Status(TypedDict):
    """Where a generation stands; before the first one, `status` is `idle` and most of the rest null."""

    topic_id: Id
    generation_id: Id | None
    kind: Kind | None
    status: StatusName
    phase: Phase | None
    progress_percent: Annotated[Percent, Field(description="100 only when completed.")]
    sections_done: Count
    sections_total: Count
    characters: Count
    attempt: Count
    model: str | None
    created_at: Time | None
    started_at: Time | None
    completed_at: Time | None
    estimated_completion: Time | None
    artifact_id: Id | None
    error_code: str | None
    error_message: str | None
    usage: Usage
    retryable: NotRequired[Annotated[bool, Field(description="Where it failed: may the same call succeed later?")]]
    retry_at: NotRequired[Annotated[Time | None, Field(description="While `waiting`: until when Claude is limiting.")]]


class Message(TypedDict):
    """One turn of a topic's conversation."""

    id: Id
    seq_no: Id
    role: Literal["user", "assistant"]
    content: str
    created_at: Time


class Artifact(TypedDict):
    """One version of a report."""

    id: Id
    topic_id: Id
    generation_id: Id
    version: Id
    kind: str
    filename: str
    size: Annotated[Count, Field(description="Bytes.")]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    model: str
    partial: Annotated[bool, Field(description="Whether it ends before its plan does.")]
    created_at: Time


class Up(TypedDict):
    """The process is up."""

    status: Literal["ok"]


class Ready(TypedDict):
    """The service can work."""

    status: Literal["ready"]


class TextEvent(TypedDict):
    """The data of an event `text`: a piece of the report; offsets count Unicode code points."""

    offset: Count
    text: str


class Block(TypedDict):
    """A block of a report, a paragraph or a table: where it stands in the Markdown, and its HTML, safe to be shown.

    Blocks follow one another without a gap; one that only defines something has no HTML.
    """

    offset: Count
    end: Count
    html: str


class Blocks(TypedDict):
    """What there is of a report: blocks that are closed, the text behind them, and the id to go on from."""

    blocks: list[Block]
    open: TextEvent
    id: str
    status: Status


class TopicEvent(TypedDict):
    """The data of an event `topic`: a topic of the list, with its latest generation."""

    id: Id
    topic: str
    status: StatusName
    phase: Phase | None
    progress_percent: Percent
    sections_done: Count
    sections_total: Count
    updated_at: Time


class DeletedEvent(TypedDict):
    """The data of an event `deleted`: a topic that is gone."""

    id: Id


class Fault(TypedDict):
    """What is wrong with one part of a request; `pointer` is a JSON pointer into its body, or names a parameter."""

    pointer: str
    detail: str


class Problem(TypedDict):
    """Why a request could not be met (RFC 9457). `code` is what programs switch on."""

    type: Address
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str
    instance: Address
    code: str
    request_id: str
    errors: NotRequired[Annotated[list[Fault], Field(description="With `invalid_request`: each fault.")]]
    generation_id: NotRequired[Annotated[Id, Field(description="With `generation_in_progress`: the one that runs.")]]
    status_url: NotRequired[Annotated[Address, Field(description="With `generation_in_progress`: where it stands.")]]


class Nothing(TypedDict):
    """The data of an event that says all with its name."""

"""The words in which a route is described: what one call takes, and what it answers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from app.errors import Problem
from app.routes.body import Body

Schema = dict[str, Any]

JSON = "application/json"
EVENT_STREAM = "text/event-stream"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the query or a header of the request; all of them are optional."""

    name: str
    place: Literal["query", "header"]
    description: str
    schema: Schema


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is no problem.

    `document` is the type of what stands under `data`, or of each of its items where it is a `list`; `media` are
    schemas by media type where the answer is something else; `events` are types of the data of events by their names,
    where it is a stream. `headers` are always there, `sometimes` at times.
    """

    status: int
    description: str
    document: Any = None
    list: bool = False
    media: dict[str, Schema] | None = None
    events: dict[str, Any] | None = None
    headers: tuple[str, ...] = ()
    sometimes: tuple[str, ...] = ()

    @property
    def documents(self) -> Iterable[Any]:
        """The types of all that it holds."""
        return [*([self.document] if self.document else []), *(self.events or {}).values()]


@dataclass(frozen=True, slots=True)
class Operation:
    """What one method of one path takes and answers.

    `problems` are its own; those that follow from its path, its body and its need of a token are added to them.
    `public`: no token is needed.
    """

    id: str
    tag: str
    summary: str
    answers: tuple[Answer, ...]
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
    body: type[Body] | None = None
    problems: tuple[type[Problem], ...] = ()
    public: bool = False


def query(name: str, description: str, **schema: Any) -> Parameter:
    return Parameter(name, "query", description, schema)


def header(name: str, description: str, **schema: Any) -> Parameter:
    return Parameter(name, "header", description, {"type": "string"} | schema)


HEADERS: dict[str, Schema] = {
    "Accept-Ranges": {"description": "Ranges of bytes may be asked for.", "schema": {"const": "bytes"}},
    "Cache-Control": {"description": "Whether the answer may be kept.", "schema": {"type": "string"}},
    "Content-Digest": {"description": "The sha256 of the content (RFC 9530).", "schema": {"type": "string"}},
    "Content-Disposition": {"description": "The file's name (RFC 6266).", "schema": {"type": "string"}},
    "Content-Range": {"description": "Which bytes of how many.", "schema": {"type": "string"}},
    "ETag": {"description": "What `If-None-Match` takes.", "schema": {"type": "string", "pattern": '^"[^"]+"$'}},
    "Idempotency-Replayed": {"description": "An earlier answer is repeated.", "schema": {"const": "true"}},
    "Location": {"description": "Where to look next.", "schema": {"type": "string", "format": "uri-reference"}},
    "Retry-After": {"description": "Seconds until it is worth asking again.", "schema": {"type": "integer"}},
    "WWW-Authenticate": {"description": "How to sign in.", "schema": {"const": "Bearer"}},
    "X-Request-ID": {
        "description": "The request's id: the caller's own where it is well-formed.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
    },
}
"""The headers of answers that a client may want to read."""


def headers(always: Sequence[str] = (), sometimes: Sequence[str] = ()) -> dict[str, Schema]:
    """Describe the headers of an answer; the request's id is on every one."""
    needed = {name: HEADERS[name] | {"required": True} for name in ("X-Request-ID", *always)}
    return needed | {name: HEADERS[name] for name in sometimes}


IF_NONE_MATCH = header("If-None-Match", "The `ETag` that is known: where it still holds, the answer is a 304.")

CSRF_TOKEN = header("X-CSRF-Token", "With a cookie: the csrf token of the page that asks. A bearer needs none.")

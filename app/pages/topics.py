"""The list of topics, and a new one."""

import hashlib
from dataclasses import dataclass
from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response

from app.errors import Problem
from app.models import Generation, StatusName, Topic
from app.pages.forms import Fault, Faulty, Sent, answer_of, checked, language_choices, new_key
from app.pages.look import language_of
from app.pages.show import page, when
from app.pages.stand import Stand, parts, stand
from app.pages.visitor import Form, form, visitor
from app.queries import acceptance, generations, topics
from app.queries.acceptance import Key
from app.routes.generations import GenerateRequest, begin
from app.routes.paging import page as page_asked
from app.routes.resource import Request, resource
from app.routes.topics import NewTopic, asked_status, owner_of
from app.snapshot import Snapshot
from app.words import LANGUAGES, Words, words


@dataclass(frozen=True, slots=True)
class Row:
    """One topic of the list: how it stands, and what its second line says, part by part."""

    topic: Topic
    stand: Stand
    second: list[str]


async def list_topics(request: Request) -> Response:
    owner = owner_of((await visitor(request)).user)
    asked, status, store = page_asked(request), asked_status(request), request.state["store"]
    found = await store.read(generations.list_with_latest, owner, status, asked.position, asked.fetch)
    counts = await store.read(topics.count_topics, owner)
    shown, cursor = asked.cut(found, lambda pair: pair[0].id)
    statuses, t = request.state["statuses"], words(language_of(request))
    rows = [row(topic, statuses.get(topic.id) or Snapshot(topic.id, latest), t) for topic, latest in shown]
    return page(
        request,
        "topics.html",
        rows=rows,
        filters=filters(counts, status),
        filtered=status,
        older=cursor and address(status, cursor),
        later=asked.position is not None,
        newest=address(status),
        deleted="deleted" in request.query_params,
    )


def row(topic: Topic, snapshot: Snapshot, t: Words) -> Row:
    """Say of a topic what its row shows."""
    clock = when(t.language, snapshot.retry_at, "clock") if snapshot.retry_at else None
    stands = stand(snapshot, t, clock)
    return Row(topic, stands, second_line(topic, snapshot, stands, t))


def second_line(topic: Topic, snapshot: Snapshot, stands: Stand, t: Words) -> list[str]:
    """Return the parts of a row's second line: what is happening, or what became of it and when."""
    generation = snapshot.generation
    if generation is None:
        return [t("row_created", when=when(t.language, topic.created_at))]
    if snapshot.status is StatusName.QUEUED:
        return [t("row_queued")]
    if snapshot.status.unfinished:
        return [parts(snapshot, t, percent=False)[0] if stands.short else stands.sentence]
    ended = when(t.language, generation.completed_at or topic.updated_at)
    return [*_outcome(generation, t), ended]


def filters(counts: dict[StatusName, int], chosen: StatusName | None) -> list[tuple[str, str, int, bool]]:
    """Return the filters: name, address, count, whether it is chosen. What nothing is in is left out."""
    shown = [status for status in ORDER if counts[status] or status is chosen]
    every = ("all", address(None), sum(counts.values()), chosen is None)
    return [every, *((str(status), address(status), counts[status], status is chosen) for status in shown)]


ORDER = (
    StatusName.GENERATING,
    StatusName.QUEUED,
    StatusName.IDLE,
    StatusName.COMPLETED,
    StatusName.FAILED,
    StatusName.CANCELLED,
)


def address(status: StatusName | None, cursor: str | None = None) -> str:
    """Return the address of a page of the list."""
    asked = {"status": status, "cursor": cursor}
    query = urlencode({name: value for name, value in asked.items() if value})
    return f"/?{query}" if query else "/"


async def get_new(request: Request) -> Response:
    await visitor(request)
    t = words(language_of(request))
    return show_new(request, {"topic": "", "language": t.language, "plan": t("outline_start")})


async def add_topic(request: Request) -> Response:
    sent = await form(request)
    user = (await visitor(request)).user
    t = words(language_of(request))
    try:
        new = started(checked(NewTopic, {name: sent.get(name, "") for name in NewTopic.model_fields}, t))
        fingerprint = hashlib.sha256(new.model_dump_json().encode()).hexdigest()
        key = Key(user.id, f"page:{sent.get('key') or new_key()}", fingerprint)
        topic = await request.state["store"].write(
            acceptance.add_topic_once, key, user.id, new.topic, new.plan, new.language
        )
        request.state["statuses"].show_topic(topic, None)
        if "write" in sent:
            await begin(request, user, topic, GenerateRequest(), sent.get("key"))
    except Faulty as error:
        return show_new(request, sent, 422, faults=error.faults)
    except Problem as error:
        return _refused(request, sent, error, t)
    return RedirectResponse(f"/topics/{topic.id}#state", 303)


def show_new(
    request: Request, given: Sent, status: int = 200, *, faults: list[Fault] | None = None, answer: str | None = None
) -> Response:
    """Show the form of a new topic."""
    faults = faults or []
    return page(
        request,
        "new.html",
        status,
        given={name: given.get(name, "") for name in NewTopic.model_fields},
        errors=faults,
        fault_of={fault.field: fault.sentence for fault in faults},
        answer=answer,
        key=new_key(),
        languages=language_choices(given.get("language", "ko")),
    )


def started(new: NewTopic) -> NewTopic:
    """Put an outline that nobody has touched into the language of the report."""
    starts = {words(language)("outline_start") for language in LANGUAGES}
    if new.plan in starts and new.language in LANGUAGES:
        return new.model_copy(update={"plan": words(new.language)("outline_start")})
    return new


def _refused(request: Request, sent: Form, error: Problem, t: Words) -> Response:
    told = answer_of(error, t)
    if told is None:
        raise error
    shown = show_new(request, sent, error.status, answer=told)
    shown.headers.update(error.headers)
    return shown


def _outcome(generation: Generation, t: Words) -> list[str]:
    characters = generation.characters
    match generation.status:
        case StatusName.COMPLETED:
            return [t("row_completed", characters=characters)]
        case StatusName.FAILED:
            known = t.has(f"failed_{generation.error_code}")
            return [t(f"failed_{generation.error_code}" if known else "failed_internal")]
        case _:
            return [t("row_kept", characters=characters) if characters else t("row_kept_none")]


routes = [
    resource("/", GET=list_topics),
    resource("/topics/new", GET=get_new, POST=add_topic),
]

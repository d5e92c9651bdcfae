"""A topic's page in each of its states, and the versions of its report."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from starlette.responses import Response

from app.markdown import Heading
from app.models import Artifact, Generation, Topic
from app.pages.forms import Fault, Sent, language_choices, new_key
from app.pages.look import language_of
from app.pages.show import page, when
from app.pages.stand import stand, took
from app.pages.visitor import visitor
from app.queries import artifacts
from app.queries.topics import seen
from app.report import sections
from app.routes.auth import owned_topic
from app.routes.blocks import View, page_of
from app.routes.resource import Request
from app.snapshot import Snapshot
from app.words import words

MOST_VERSIONS = 100
"""How many versions a page lists."""


@dataclass(frozen=True, slots=True)
class Again:
    """A page that is shown again: what was sent, its faults, what is said beside the button, and the saved outline
    where another window changed it."""

    sent: Sent = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()
    answer: str | None = None
    theirs: str | None = None


async def get_topic(request: Request) -> Response:
    await visitor(request)
    return await show_topic(request, await owned_topic(request))


async def show_topic(request: Request, topic: Topic, status: int = 200, again: Again | None = None) -> Response:
    """Show a topic as it stands; `again`: after a form that was not taken."""
    user = (await visitor(request)).user
    view = await page_of(request, user, topic.id)
    versions = await request.state["store"].read(artifacts.list_artifacts, topic.id, None, MOST_VERSIONS)
    return page(request, "topic.html", status, **context(request, topic, view, versions, again or Again()))


def context(request: Request, topic: Topic, view: View, versions: list[Artifact], again: Again) -> dict[str, object]:
    """Return what the template of a topic needs beside the surroundings."""
    t = words(language_of(request))
    snapshot, generation = view.snapshot, view.snapshot.generation
    clock = when(t.language, snapshot.retry_at, "clock") if snapshot.retry_at else None
    finishing = request.state["runner"].is_finishing(topic.id)
    stands = stand(snapshot, t, clock, finishing=finishing)
    newest = generation.artifact_id if generation else None
    return {
        "topic": topic,
        "stand": stands,
        "state": snapshot.status,
        "phase": snapshot.doing,
        "unfinished": snapshot.status.unfinished,
        "generation": generation,
        "took": took(generation) if generation else 0,
        "outline": outline(topic, snapshot),
        "view": view,
        "contents": below_title(view.contents),
        "versions": versions,
        "title": topic.topic,
        "finishing": finishing,
        "version": next((version.version for version in versions if version.id == newest), None),
        "icon": stands.icon,
    } | form_context(request, topic, generation, again)


def form_context(request: Request, topic: Topic, generation: Generation | None, again: Again) -> dict[str, object]:
    """Return what the form of the outline and of writing needs."""
    settings, sent = request.state["settings"], again.sent
    language = sent.get("language", topic.language)
    return {
        "errors": again.faults,
        "fault_of": {fault.field: fault.sentence for fault in again.faults},
        "answer": again.answer,
        "saved": "saved" in request.query_params,
        "theirs": again.theirs,
        "key": new_key(),
        "seen": seen(topic),
        "models": settings.models,
        "languages": language_choices(language),
        "given": {
            "topic": sent.get("topic", topic.topic),
            "plan": sent.get("plan", topic.plan),
            "language": language,
            "mode": sent.get("mode", generation.mode if generation else "single"),
            "model": sent.get("model", settings.model),
            "instructions": sent.get("instructions", ""),
        },
    }


def below_title(contents: Sequence[Heading]) -> list[Heading]:
    """Return the contents without the title of the report, where one heading stands above all others."""
    title, rest = contents[:1], contents[1:]
    if not title or title[0].level > 2 or any(heading.level == 2 for heading in rest):
        return list(contents)
    return [replace(heading, level=heading.level - 1) for heading in rest]


def outline(topic: Topic, snapshot: Snapshot) -> list[tuple[str, str]]:
    """Return the sections of the outline, each with `done`, `current` or `todo`."""
    generation = snapshot.generation
    headings = sections((generation.plan if generation and snapshot.status.unfinished else "") or topic.plan)
    done = generation.sections_done if generation else 0
    writing = snapshot.status.unfinished and bool(generation and generation.characters)
    states = ["done" if number < done else "current" if number == done and writing else "todo"
              for number in range(len(headings))]  # fmt: skip
    return list(zip(headings, states, strict=True))

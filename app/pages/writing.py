"""What is done to a topic by forms: its words are saved, and its report is written, anew or further."""

from starlette.responses import RedirectResponse, Response

from app.errors import GenerationInProgress, Invalid, NotFound, Problem
from app.models import StatusName, Topic
from app.pages.forms import Fault, Faulty, answer_of, checked
from app.pages.look import language_of
from app.pages.show import page
from app.pages.topic import Again, form_context, get_topic, show_topic
from app.pages.visitor import Form, form, visitor
from app.queries import generations
from app.routes.auth import owned_topic
from app.routes.generations import GenerateRequest, begin
from app.routes.resource import Request, resource
from app.routes.topics import TopicChange
from app.words import Words, words

CHOICES = ("instructions", "mode", "model")


class Elsewhere(Exception):
    """The words of a topic were changed in another window since the page was made; `topic` is as it is now."""

    def __init__(self, topic: Topic) -> None:
        super().__init__(topic.id)
        self.topic = topic


async def save_topic(request: Request) -> Response:
    sent = await form(request)
    await visitor(request)
    topic = await owned_topic(request)
    try:
        await save(request, topic, sent)
    except (Faulty, Elsewhere, Problem) as error:
        return await refused(request, topic, sent, error)
    back = f"/topics/{topic.id}" if topic.status is StatusName.IDLE else f"/topics/{topic.id}/write"
    return RedirectResponse(f"{back}?saved=1", 303)


async def write(request: Request) -> Response:
    sent = await form(request)
    user = (await visitor(request)).user
    topic = await owned_topic(request)
    try:
        asked = order(request, sent)
        if "plan" in sent and not asked.resume:
            topic = await save(request, topic, sent)
        await begin(request, user, topic, asked, sent.get("key"))
    except GenerationInProgress:
        pass  # the page shows what is being written
    except (Faulty, Elsewhere, Problem) as error:
        return await refused(request, topic, sent, error)
    return RedirectResponse(f"/topics/{topic.id}", 303)


async def get_writing(request: Request) -> Response:
    await visitor(request)
    topic = await owned_topic(request)
    if topic.status is StatusName.IDLE or topic.status.unfinished:
        return RedirectResponse(f"/topics/{topic.id}", 303)
    return await show_form(request, topic)


async def show_form(request: Request, topic: Topic, status: int = 200, again: Again | None = None) -> Response:
    """Show the outline and the choices of a further version."""
    found = await request.state["store"].read(generations.latest_generation, topic.id)
    more = form_context(request, topic, found, again or Again())
    return page(request, "write.html", status, topic=topic, state=topic.status, **more)


async def save(request: Request, topic: Topic, sent: Form) -> Topic:
    """Save the words of a topic, unless they are others by now than those that the form was made with.

    Raises Faulty, Elsewhere, NotFound or DatabaseFailed.
    """
    known = {"topic": topic.topic, "plan": topic.plan, "language": topic.language}
    wanted = checked(TopicChange, {name: sent.get(name, text) for name, text in known.items()}, _t(request))
    asked = wanted.topic or topic.topic, wanted.plan or "", wanted.language or topic.language
    found = await request.state["store"].write(generations.change_seen_topic, topic.id, sent.get("seen", ""), *asked)
    if found is None:
        raise NotFound
    changed, generation = found
    if (changed.topic, changed.plan, changed.language) != asked:
        raise Elsewhere(changed)
    request.state["statuses"].show_topic(changed, generation)
    return changed


def order(request: Request, sent: Form) -> GenerateRequest:
    """Return what a form asks to be written. Raises Faulty."""
    if sent.get("resume"):
        return GenerateRequest(resume=True)
    return checked(GenerateRequest, {name: sent[name] for name in CHOICES if name in sent}, _t(request))


async def refused(request: Request, topic: Topic, sent: Form, error: Exception) -> Response:
    """Show the page again that a form came from, with what was sent and what is wrong.

    Raises the error where the page has no words for it.
    """
    t = _t(request)
    match error:
        case Faulty():
            status, again = 422, Again(sent, tuple(error.faults))
        case Elsewhere():
            status, again, topic = 409, Again(sent, theirs=error.topic.plan), error.topic
        case Invalid():
            status, again = 422, Again(sent, _faults(error, request))
        case Problem() if told := answer_of(error, t):
            status, again = error.status, Again(sent, answer=told)
        case _:
            raise error
    from_topic = topic.status is StatusName.IDLE or "resume" in sent
    shown = await (show_topic if from_topic else show_form)(request, topic, status, again)
    shown.headers.update(error.headers if isinstance(error, Problem) else {})
    return shown


def _faults(error: Invalid, request: Request) -> tuple[Fault, ...]:
    """Put what the API says of a field into the words of the page. Raises the error where it has none."""
    t, found = _t(request), []
    for fault in error.extensions["errors"]:  # type: ignore[attr-defined]
        field = fault["pointer"].removeprefix("/")
        if not t.has(f"error_{field}"):
            raise error
        found.append(Fault(field, t(f"error_{field}")))
    return tuple(found)


def _t(request: Request) -> Words:
    return words(language_of(request))


routes = [
    resource("/topics/{id:id}", GET=get_topic, POST=save_topic),
    resource("/topics/{id:id}/write", GET=get_writing, POST=write),
]

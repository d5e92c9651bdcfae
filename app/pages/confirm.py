"""What asks before it is done: cancel, finish, start over, delete. GET asks, POST does it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from starlette.responses import RedirectResponse, Response

from app.errors import GenerationInProgress, NothingToCancel, Problem
from app.models import Generation, Topic
from app.pages.forms import answer_of, new_key
from app.pages.look import language_of
from app.pages.show import page
from app.pages.visitor import form, visitor
from app.queries import artifacts, generations
from app.report import sections
from app.routes.auth import owned_topic
from app.routes.generations import CancelRequest, GenerateRequest, begin, end
from app.routes.resource import Request, resource
from app.routes.status import look
from app.words import Words, words

MOST_VERSIONS = 1000

Ask = Callable[[Request, str | None], Awaitable[Response]]
"""Asks once more, with what is said beside the buttons."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: the question, what follows from it, the two buttons; `keep` is the text of a box to tick."""

    question: str
    text: str
    leave: str
    go: str
    keep: str = ""
    bad: bool = False


async def ask_cancel(request: Request, answer: str | None = None) -> Response:
    t, topic, generation = await _about(request)
    if generation is None or not generation.status.unfinished:
        return page(request, "ended.html", topic=topic)
    keep = t("cancel_keep", characters=generation.characters) if generation.characters else ""
    asked = Question(t("cancel_ask"), t("cancel_text"), t("keep_writing"), t("cancel"), keep, bad=True)
    return _show(request, topic, asked, answer)


async def cancel(request: Request) -> Response:
    sent = await form(request)
    return await _end(request, CancelRequest(keep_partial="keep" in sent), ask_cancel)


async def ask_finish(request: Request, answer: str | None = None) -> Response:
    t, topic, generation = await _about(request)
    if generation is None or not generation.status.unfinished:
        return page(request, "ended.html", topic=topic)
    left = generation.sections_total - generation.sections_done - 1
    text = f"{t('finish_text')} {t('finish_left', count=left) if left > 0 else ''}".rstrip()
    return _show(request, topic, Question(t("finish_ask"), text, t("keep_writing"), t("finish")), answer)


async def finish(request: Request) -> Response:
    await form(request)
    return await _end(request, CancelRequest(mode="finish"), ask_finish)


async def ask_start_over(request: Request, answer: str | None = None) -> Response:
    t, topic, generation = await _about(request)
    kept = generation.characters if generation else 0
    text = t("over_text", characters=kept) if kept else t("over_text_empty")
    return _show(request, topic, Question(t("over_ask"), text, t("leave_it"), t("start_over")), answer)


async def start_over(request: Request) -> Response:
    sent = await form(request)
    user = (await visitor(request)).user
    topic = await owned_topic(request)
    latest = await request.state["store"].read(generations.latest_generation, topic.id)
    try:
        await begin(request, user, topic, _anew(request, topic, latest), sent.get("key"))
    except GenerationInProgress:
        pass  # the page shows what is being written
    except Problem as error:
        return await _refused(request, error, ask_start_over)
    return _back(topic)


async def ask_delete(request: Request) -> Response:
    t, topic, generation = await _about(request)
    found = await request.state["store"].read(artifacts.list_artifacts, topic.id, None, MOST_VERSIONS)
    unfinished = bool(generation and generation.status.unfinished)
    key = "delete_text" if found or unfinished else "delete_text_none"
    text = t(key, topic=topic.topic, count=len(found))
    return _show(request, topic, Question(t("delete_ask"), text, t("leave_it"), t("delete"), bad=True))


async def delete(request: Request) -> Response:
    await form(request)
    await visitor(request)
    topic = await owned_topic(request)
    await request.state["runner"].delete(topic.id)
    return RedirectResponse("/?deleted=1", 303)


async def _about(request: Request) -> tuple[Words, Topic, Generation | None]:
    """Return the words of the page, the topic, and its latest generation as it is now."""
    user = (await visitor(request)).user
    topic = await owned_topic(request)
    return words(language_of(request)), topic, (await look(request, user, topic.id)).generation


def _show(request: Request, topic: Topic, asked: Question, answer: str | None = None) -> Response:
    return page(
        request,
        "confirm.html",
        topic=topic,
        key=new_key(),
        answer=answer,
        question=asked.question,
        text=asked.text,
        keep=asked.keep,
        leave=asked.leave,
        go=asked.go,
        bad=asked.bad,
    )


async def _end(request: Request, asked: CancelRequest, ask: Ask) -> Response:
    user = (await visitor(request)).user
    topic = await owned_topic(request)
    try:
        await end(request, user, topic, asked)
    except NothingToCancel:
        pass  # the page shows that nothing is being written
    except Problem as error:
        return await _refused(request, error, ask)
    return _back(topic)


async def _refused(request: Request, error: Problem, ask: Ask) -> Response:
    """Ask again, and say why it could not be done. Raises the error where the page has no words for it."""
    told = answer_of(error, words(language_of(request)))
    if told is None:
        raise error
    shown = await ask(request, told)
    shown.status_code = error.status
    shown.headers.update(error.headers)
    return shown


def _anew(request: Request, topic: Topic, latest: Generation | None) -> GenerateRequest:
    """Ask for a report as the latest was asked for, as far as that is still possible."""
    if latest is None:
        return GenerateRequest()
    model = latest.model if latest.model in request.state["settings"].models else None
    mode: Literal["single", "sections"] = "sections" if latest.mode == "sections" and sections(topic.plan) else "single"
    return GenerateRequest(instructions=latest.instructions, mode=mode, model=model)


def _back(topic: Topic) -> Response:
    return RedirectResponse(f"/topics/{topic.id}", 303)


routes = [
    resource("/topics/{id:id}/cancel", GET=ask_cancel, POST=cancel),
    resource("/topics/{id:id}/finish", GET=ask_finish, POST=finish),
    resource("/topics/{id:id}/start-over", GET=ask_start_over, POST=start_over),
    resource("/topics/{id:id}/delete", GET=ask_delete, POST=delete),
]

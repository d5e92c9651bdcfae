"""`/admin/health`: whether the service can work, how its limits are used, and with which settings it runs."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from starlette.responses import Response

from app import __version__
from app.errors import DatabaseFailed
from app.pages.fields import told
from app.pages.show import page
from app.pages.visitor import administrator
from app.queries import topics
from app.routes.resource import Request, resource
from app.settings import Settings
from app.state import State

PASSWORD_IN_URL = re.compile(r"//[^/@]*@")


class Line(NamedTuple):
    """One setting: `secret` says what may be told of it, `given` whether the environment has set it."""

    name: str
    value: str
    secret: bool
    given: bool


class Limit(NamedTuple):
    """How much of a limit is used, by the key of its name."""

    key: str
    used: int
    most: int
    waiting: int


async def show_health(request: Request) -> Response:
    await administrator(request)
    state = request.state
    return page(
        request,
        "admin-health.html",
        version=__version__,
        writable=await _writable(state),
        draining=state["runner"].draining,
        limits=list(limits(state)),
        settings=list(in_force(state["settings"])),
        done="",
        **told(request, None),
    )


async def _writable(state: State) -> bool:
    try:
        await state["store"].write(topics.check_writable)
    except DatabaseFailed:
        return False
    return True


def limits(state: State) -> Iterator[Limit]:
    """Give the limits as they are used at this moment."""
    slots, settings = state["runner"].slots, state["settings"]
    yield Limit("slots", slots.busy, slots.total, slots.waiting)
    yield Limit("queue", slots.waiting, settings.max_queued, 0)
    for lane, use in state["threads"].use().items():
        yield Limit(f"threads_{lane}", use.busy, use.limit, use.waiting)


def in_force(settings: Settings) -> Iterator[Line]:
    """Give every setting. Of a secret, and of a password in an address, nothing is shown."""
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        shown = "" if not field.repr else PASSWORD_IN_URL.sub("//…@", _text(value))
        given = name in settings.model_fields_set
        yield Line(str(field.alias), shown, secret=not field.repr, given=given)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


routes = [resource("/admin/health", GET=show_health)]

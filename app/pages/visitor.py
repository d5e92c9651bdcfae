"""Who visits a page, and the form they send."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import parse_qsl, quote

from starlette.requests import ClientDisconnect
from starlette.requests import Request as StarletteRequest
from starlette.responses import RedirectResponse, Response
from starlette.routing import Match

from app.credentials import Credential, credential, csrf_of
from app.errors import MalformedRequest, NotFound, Unauthorized, UnsupportedMediaType
from app.models import SessionId, SignedIn, User
from app.routes.auth import SAFE_METHODS, check_csrf, known_user
from app.routes.resource import Request

FORM = "application/x-www-form-urlencoded"
MOST_FIELDS = 100

LOCAL = re.compile(r"/(?!/)[!-\[\]-~]*")
"""A path with a query, in printable ASCII and without a backslash, which browsers take for a slash."""

LONGEST = 2000

Form = Mapping[str, str]
"""What was sent: each field's text. Of a field that comes twice, the last."""


class SignInNeeded(Exception):
    """Nobody is signed in in this browser; answered by the sign-in page, which leads back to `next`."""

    def __init__(self, next_path: str) -> None:
        super().__init__(next_path)
        self.next_path = next_path


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who is signed in in a browser. `csrf` goes with every form of a page."""

    user: User
    csrf: str
    session_id: SessionId


async def visitor(request: Request) -> Visitor:
    """Return who visits a page. What a form asks to change was sent by a page of ours when this returns.

    Raises SignInNeeded, RateLimited, and for a form what `form` raises.
    """
    carried, user = await _signed_in(request)
    if request.method not in SAFE_METHODS:
        await _checked(request, carried)
    found = Visitor(User(user.id, user.name, user.is_admin), csrf_of(carried.secret), user.session_id)
    request.scope["visitor"] = found
    return found


async def administrator(request: Request) -> Visitor:
    """Return who visits a page for administrators; for anybody else there is no such page. Raises NotFound."""
    _, user = await _signed_in(request)
    if not user.is_admin:
        raise NotFound
    return await visitor(request)


async def form(request: Request) -> Form:
    """Return the fields of a form that a page of ours has sent in this session.

    Raises SignInNeeded, CsrfMissing, and what `fields` raises.
    """
    carried, _ = await _signed_in(request)
    return await _checked(request, carried)


async def anybodys_form(request: Request) -> Form:
    """Return the fields of a form that needs no session; in a session it has to come from a page of ours, too.

    Raises CsrfMissing, and what `fields` raises.
    """
    try:
        return await form(request)
    except SignInNeeded:
        return await fields(request)


def local_path(given: str) -> str:
    """Return an address of this server, as a browser reads it; what may lead elsewhere becomes `/`."""
    return given if len(given) <= LONGEST and LOCAL.fullmatch(given) else "/"


async def fields(request: Request) -> Form:
    """Read the fields of a form, whoever has sent it; a body is read once.

    Raises UnsupportedMediaType, MalformedRequest, RequestTimeout or BodyTooLarge.
    """
    try:
        content = await request.body()
    except ClientDisconnect as error:
        raise MalformedRequest from error
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise UnsupportedMediaType(f"The body must be a form. Send it with 'Content-Type: {FORM}'.")
    try:
        return dict(parse_qsl(content.decode(), keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS))
    except ValueError as error:
        raise MalformedRequest("The form cannot be read. Send it again.") from error


async def on_sign_in_needed(_: StarletteRequest[Any], error: Exception) -> Response:
    """Answer by the way to the sign-in page."""
    assert isinstance(error, SignInNeeded)
    # Where it leads is a path of this server: `way_back` makes it of the request's own.
    to = "/sign-in" if error.next_path == "/" else f"/sign-in?next={quote(error.next_path, safe='/')}"
    return RedirectResponse(to, 303, headers={"Cache-Control": "no-store"})


async def _signed_in(request: Request) -> tuple[Credential, SignedIn]:
    carried = credential(request.scope)
    if carried is None or not carried.is_session:
        raise SignInNeeded(way_back(request))
    try:
        return carried, cast("SignedIn", await known_user(request, carried))
    except Unauthorized:
        raise SignInNeeded(way_back(request)) from None


async def _checked(request: Request, carried: Credential) -> Form:
    header = request.headers.get("x-csrf-token")
    if header is not None:
        check_csrf(request, carried, header)
        return await fields(request)
    sent = await fields(request)
    check_csrf(request, carried, sent.get("csrf"))
    return sent


def way_back(request: Request) -> str:
    """Return the page that a request came for; for a form, the nearest one above that can be looked at."""
    path = request.scope["raw_path"].decode("ascii", "replace")
    if request.method in SAFE_METHODS:
        query = request.scope["query_string"].decode("ascii", "replace")
        return f"{path}?{query}" if query else path
    while path.strip("/") and not _can_be_looked_at(request, path):
        path = path.rpartition("/")[0]
    return path or "/"


def _can_be_looked_at(request: Request, path: str) -> bool:
    scope = {"type": "http", "method": "GET", "path": path, "headers": []}
    return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)

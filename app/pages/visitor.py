"""Who looks at a page, and the forms they send."""

from dataclasses import dataclass
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect

from app.errors import Invalid, MalformedRequest, UnsupportedMediaType
from app.models import User
from app.routes.auth import current_user
from app.routes.resource import Request

MAX_FIELDS = 100
Form = dict[str, str]


@dataclass(frozen=True, slots=True)
class Visitor:
    """A signed-in person: `csrf` is what their forms carry."""

    user: User
    csrf: str
    session_id: int


async def visitor(request: Request) -> Visitor:
    """Return who looks. Raises Unauthorized."""
    found = Visitor(await current_user(request), "", 0)
    request.scope["visitor"] = found
    return found


async def form(request: Request) -> Form:
    """Read a form as browsers send it. Raises MalformedRequest, UnsupportedMediaType, BodyTooLarge or Invalid."""
    try:
        content = await request.body()
    except ClientDisconnect as error:
        raise MalformedRequest from error
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content and media != "application/x-www-form-urlencoded":
        raise UnsupportedMediaType
    try:
        return dict(parse_qsl(content.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS))
    except ValueError as error:
        raise Invalid(("", "The form is not valid.")) from error

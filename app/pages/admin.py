"""`/admin`: what is being written, users, access tokens and devices, for administrators alone."""

from collections.abc import Sequence
from typing import Any, TypeVar

from starlette.responses import RedirectResponse, Response

from app.errors import Invalid, NotFound
from app.models import Person, Session, SessionId, Token, TokenId
from app.pages.fields import TokenAsked, Wrong, kept, token_asked, told
from app.pages.look import language_of
from app.pages.show import page
from app.pages.stand import Stand, stand
from app.pages.visitor import Form, administrator, form
from app.queries import sessions, users, writing
from app.queries.writing import Writing
from app.routes.auth import LARGEST_ID, path_id
from app.routes.resource import Request, resource
from app.words import Words, words

PAGE = 100

Row = TypeVar("Row", Writing, Person, Token, Session)


async def show_writing(request: Request) -> Response:
    await administrator(request)
    found = await request.state["store"].read(writing.being_written, before(request), PAGE + 1)
    rows, older = cut(found, ids=[row.generation_id for row in found])
    t = words(language_of(request))
    shown = [(row, *_live(request, row, t)) for row in rows]
    return page(request, "admin.html", rows=shown, older=older, **plain(request))


def _live(request: Request, row: Writing, t: Words) -> tuple[Stand | None, int | None]:
    """Return how a generation stands now, and what it has spent; None: it has just ended, or nobody knows."""
    snapshot = request.state["statuses"].get(row.topic_id)
    generation = snapshot.generation if snapshot else None
    if snapshot is None or generation is None or generation.id != row.generation_id:
        return None, None
    spent = [count for count in (generation.tokens.input, generation.tokens.output) if count is not None]
    return stand(snapshot, t), sum(spent) if spent else None


def plain(request: Request) -> dict[str, Any]:
    """Return what the tabs have in common: what was just done, and no fault."""
    return {"done": request.query_params.get("done", ""), **told(request, None)}


async def show_users(request: Request) -> Response:
    who = await administrator(request)
    fresh = request.state["once"].take(who.session_id) if request.method == "GET" else None
    return await users_page(request, fresh=fresh)


async def users_page(
    request: Request, *, wrong: Wrong | None = None, fresh: str | None = None, sent: Form | None = None
) -> Response:
    found = await request.state["store"].read(users.list_users, before(request), PAGE + 1)
    rows, older = cut(found, ids=[row.id for row in found])
    return page(
        request, "admin-users.html", 422 if wrong else 200,
        rows=rows, older=older, fresh=fresh, sent=kept(sent), **plain(request) | told(request, wrong),
    )  # fmt: skip


async def add_user(request: Request) -> Response:
    """Add a user, whose first access token the next look at the users shows, once."""
    who, sent = await administrator(request), await form(request)
    name, token = sent.get("name", "").strip(), users.new_token()
    if not users.USER_NAME.fullmatch(name):
        return await users_page(request, wrong=Wrong("name", "name_unfit"), sent=sent)
    store, is_admin = request.state["store"], sent.get("admin") == "1"
    if await store.write(users.add_with_token, name, token, is_admin=is_admin) is None:
        return await users_page(request, wrong=Wrong("name", "name_taken"), sent=sent)
    request.state["once"].put(who.session_id, token)
    return RedirectResponse("/admin/users?done=user", 303)


async def show_tokens(request: Request) -> Response:
    who = await administrator(request)
    fresh = request.state["once"].take(who.session_id) if request.method == "GET" else None
    return await tokens_page(request, fresh=fresh)


async def tokens_page(
    request: Request, *, wrong: Wrong | None = None, fresh: str | None = None, sent: Form | None = None
) -> Response:
    found = await request.state["store"].read(users.newest_tokens, before(request), PAGE + 1)
    rows, older = cut(found, ids=[row.id for row in found])
    return page(
        request, "admin-tokens.html", 422 if wrong else 200,
        rows=rows, older=older, fresh=fresh, sent=kept(sent), **plain(request) | told(request, wrong),
    )  # fmt: skip


async def add_token(request: Request) -> Response:
    """Make an access token for a user, which the next look at the tokens shows, once."""
    who, sent = await administrator(request), await form(request)
    asked = token_asked(sent)
    owner = await request.state["store"].read(users.user_named, sent.get("name", "").strip())
    wrong = Wrong("name", "name_unknown") if owner is None else asked
    if owner is None or not isinstance(asked, TokenAsked):
        return await tokens_page(request, wrong=wrong if isinstance(wrong, Wrong) else None, sent=sent)
    token = users.new_token()
    await request.state["store"].write(users.add_token, owner.id, token, asked.label, asked.expires_at)
    request.state["once"].put(who.session_id, token)
    return RedirectResponse("/admin/tokens?done=token", 303)


async def ask_to_revoke(request: Request) -> Response:
    await administrator(request)
    found = await request.state["store"].read(users.token, TokenId(path_id(request)))
    if found is None:
        raise NotFound
    return page(request, "revoke.html", token=found, back="/admin/tokens", foreign=True)


async def revoke(request: Request) -> Response:
    """Revoke a token, and the sessions that were opened with it."""
    await administrator(request)
    if not await request.state["store"].write(users.revoke_token, TokenId(path_id(request))):
        raise NotFound
    request.state["access"].ask_again()
    request.state["sessions"].ask_again()
    return RedirectResponse("/admin/tokens?done=revoked", 303)


async def show_devices(request: Request) -> Response:
    who = await administrator(request)
    found = await request.state["store"].read(sessions.list_sessions, None, before(request), PAGE + 1)
    rows, older = cut(found, ids=[row.id for row in found])
    return page(request, "admin-devices.html", rows=rows, older=older, own=who.session_id, **plain(request))


async def end_device(request: Request) -> Response:
    """Sign a device out, whoever's it is."""
    await administrator(request)
    if not await request.state["store"].write(sessions.end_session, SessionId(path_id(request))):
        raise NotFound
    request.state["sessions"].ask_again()
    return RedirectResponse("/admin/devices?done=device", 303)


def before(request: Request) -> int | None:
    """Read before which id a list goes on. Raises Invalid."""
    given = request.query_params.get("before")
    if given is None:
        return None
    if not (given.isascii() and given.isdigit() and len(given) <= 19 and 0 < int(given) <= LARGEST_ID):
        raise Invalid(("/before", "This is the id of no row."))
    return int(given)


def cut(found: Sequence[Row], ids: Sequence[int]) -> tuple[Sequence[Row], int | None]:
    """Return the rows of one page, and before which id the next one begins."""
    return (found[:PAGE], ids[PAGE - 1]) if len(found) > PAGE else (found, None)


routes = [
    resource("/admin", GET=show_writing),
    resource("/admin/users", GET=show_users, POST=add_user),
    resource("/admin/tokens", GET=show_tokens, POST=add_token),
    resource("/admin/tokens/{id:id}/revoke", GET=ask_to_revoke, POST=revoke),
    resource("/admin/devices", GET=show_devices),
    resource("/admin/devices/{id:id}/end", POST=end_device),
]

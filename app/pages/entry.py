"""Signing in and out of a browser: what is checked, what is opened, which cookies are set."""

from starlette.responses import Response
from starlette.types import Scope

from app.addresses import client_of
from app.agents import agent_of
from app.credentials import COOKIE, SECRET, cookie, cookie_name, credential, csrf_of, new_secret, same
from app.errors import Unauthorized
from app.headers import peer
from app.models import SessionId, UserId
from app.pages.visitor import Form
from app.passwords import verified
from app.queries import sessions, users
from app.refusals import CsrfMissing
from app.routes.resource import Request

BEFORE = "longhand_sign_in"
"""The cookie of who is not signed in yet: nobody else can sign this browser in, as somebody of their choice."""

MAX_AGE = sessions.MOST_DAYS * sessions.DAY


async def enter(request: Request, sent: Form) -> str | None:
    """Open a session by what a sign-in form says, and return its secret, which is always a new one.

    None: it was wrong. Who guesses is slowed, by address and by name. Raises RateLimited.
    """
    sign_ins, client = request.state["sign_ins"], client_of(peer(request.scope))
    if sign_ins.slows(client):
        await sign_ins.pause(client)
    secret, agent = new_secret(), agent_of(request.headers.get("user-agent", ""))
    if "name" in sent:
        opened = await _by_password(request, sent["name"].strip(), sent.get("password", ""), secret, agent)
    else:
        opened = await _by_token(request, sent.get("token", "").strip(), secret, agent)
    if opened is None:
        sign_ins.failed(client)
        return None
    await leave(request)
    return secret


async def leave(request: Request) -> None:
    """End the session of this browser, where it has one."""
    carried = credential(request.scope)
    if carried is not None and carried.is_session:
        await request.state["store"].write(sessions.end_by_secret, carried.secret)
        request.state["sessions"].ask_again()


async def _by_token(request: Request, token: str, secret: str, agent: str) -> SessionId | None:
    try:
        await request.state["access"].user(token)  # who guesses makes us read, not write
    except Unauthorized:
        return None
    return await request.state["store"].write(sessions.open_with_token, token, secret, agent)


async def _by_password(request: Request, name: str, password: str, secret: str, agent: str) -> SessionId | None:
    found = await is_right(request, name, password)
    if found is None:
        return None
    return await request.state["store"].write(sessions.open_with_password, *found, secret, agent)


async def is_right(request: Request, name: str, password: str) -> tuple[UserId, str] | None:
    """Compare a password; for a name that nobody has, the same is done. Returns whose it is, and its hash."""
    store, names, key = request.state["store"], request.state["names"], users.digest(name)
    if names.slows(key):
        await names.pause(key)
    found = await store.read(users.password_of, name)
    user_id, kept = found or (None, None)
    verdict = await request.state["threads"].hash(verified, password, kept)
    if user_id is None or kept is None or not verdict.right:
        names.failed(key, f"as '{name}'" if found else "as somebody whom we do not know")
        return None
    if verdict.fresh:
        await store.write(users.renew_hash, user_id, kept, verdict.fresh)
    return user_id, verdict.fresh or kept


def set_session(scope: Scope, response: Response, secret: str) -> None:
    """Let the browser keep a session: out of reach of scripts, and under TLS never sent without."""
    _set(scope, response, COOKIE, secret, MAX_AGE)
    _delete(scope, response, BEFORE)


def drop_session(scope: Scope, response: Response) -> None:
    """Let the browser forget its session."""
    _delete(scope, response, COOKIE)


def secret_before(scope: Scope) -> str:
    """Return the secret of a browser that is not signed in, a new one where it has none."""
    known = cookie(scope, BEFORE)
    return known if known and SECRET.fullmatch(known) else new_secret()


def set_before(scope: Scope, response: Response, secret: str) -> None:
    _set(scope, response, BEFORE, secret, None)


def check_before(scope: Scope, sent: Form) -> None:
    """Raises CsrfMissing for a sign-in form that this browser was not given."""
    known = cookie(scope, BEFORE)
    if known is None or not same(sent.get("csrf"), csrf_of(known)):
        raise CsrfMissing


def _set(scope: Scope, response: Response, name: str, value: str, max_age: int | None) -> None:
    secure = scope["scheme"] == "https"
    response.set_cookie(
        cookie_name(scope, name), value, max_age, path="/", secure=secure, httponly=True, samesite="lax"
    )


def _delete(scope: Scope, response: Response, name: str) -> None:
    if cookie(scope, name) is not None:
        secure = scope["scheme"] == "https"
        response.delete_cookie(cookie_name(scope, name), "/", secure=secure, httponly=True, samesite="lax")

"""`/account`: a person's own name, password, devices and access tokens."""

from starlette.responses import RedirectResponse, Response

from app.errors import NotFound
from app.models import SessionId, TokenId
from app.pages import entry
from app.pages.fields import Wrong, kept, token_asked, told
from app.pages.show import page
from app.pages.visitor import Form, Visitor, form, visitor
from app.passwords import FEWEST, MOST, PasswordUnfit, hashed, normalised
from app.queries import sessions, users
from app.routes.auth import path_id
from app.routes.resource import Request, resource

HERE = "/account"


async def show_account(request: Request) -> Response:
    who = await visitor(request)
    fresh = request.state["once"].take(who.session_id) if request.method == "GET" else None
    return await account_page(request, who, fresh=fresh)


async def account_page(
    request: Request, who: Visitor, *, wrong: Wrong | None = None, fresh: str | None = None, sent: Form | None = None
) -> Response:
    """Show the account, with what is wrong with a form, or an access token that was just made."""
    store, user_id = request.state["store"], who.user.id
    return page(
        request,
        "account.html",
        422 if wrong else 200,
        has_password=await store.read(users.has_password, user_id),
        devices=await store.read(sessions.list_sessions, user_id, None),
        tokens=await store.read(users.tokens_of, user_id),
        fresh=fresh,
        sent=kept(sent),
        **told(request, wrong),
        done=request.query_params.get("done", ""),
        fewest=FEWEST,
        most=MOST,
    )


async def change_password(request: Request) -> Response:
    """Set or change the password; every other session of theirs ends."""
    who, sent = await visitor(request), await form(request)
    if (wrong := unfit(sent)) or (wrong := await wrong_current(request, who, sent)):
        return await account_page(request, who, wrong=wrong)
    password = await request.state["threads"].hash(hashed, sent["password"])
    await request.state["store"].write(sessions.change_password, who.user.id, password, who.session_id)
    request.state["sessions"].ask_again()
    return RedirectResponse(f"{HERE}?done=password", 303)


def unfit(sent: Form) -> Wrong | None:
    """Return what is wrong with a new password."""
    try:
        password = normalised(sent.get("password", ""))
    except PasswordUnfit as error:
        return Wrong("password", f"password_{error.fault}", {"fewest": FEWEST, "most": MOST})
    again = sent.get("again", "")
    same = len(again) <= MOST * 4 and password in {again, _quietly(again)}
    return None if same else Wrong("again", "password_differs")


def _quietly(password: str) -> str:
    try:
        return normalised(password)
    except PasswordUnfit:
        return ""


async def wrong_current(request: Request, who: Visitor, sent: Form) -> Wrong | None:
    """Compare the password that is to be replaced, where there is one; who guesses at it is slowed as at the door."""
    found = await request.state["store"].read(users.password_of, who.user.name)
    if found is None or found[1] is None:
        return None
    if await entry.is_right(request, who.user.name, sent.get("current", "")) is not None:
        return None
    return Wrong("current", "wrong_current")


async def end_device(request: Request) -> Response:
    """Sign one device out."""
    who = await visitor(request)
    ended = await request.state["store"].write(sessions.end_session, SessionId(path_id(request)), who.user.id)
    if not ended:
        raise NotFound
    request.state["sessions"].ask_again()
    if path_id(request) == who.session_id:
        return signed_out(request)
    return RedirectResponse(f"{HERE}?done=device", 303)


async def sign_out_everywhere(request: Request) -> Response:
    who = await visitor(request)
    await request.state["store"].write(sessions.end_sessions, who.user.id)
    request.state["sessions"].ask_again()
    return signed_out(request)


def signed_out(request: Request) -> Response:
    response = RedirectResponse("/sign-in", 303)
    entry.drop_session(request.scope, response)
    return response


async def add_token(request: Request) -> Response:
    """Make an access token, which the next look at the account shows, once."""
    who, sent = await visitor(request), await form(request)
    asked = token_asked(sent)
    if isinstance(asked, Wrong):
        return await account_page(request, who, wrong=asked, sent=sent)
    token = users.new_token()
    await request.state["store"].write(users.add_token, who.user.id, token, asked.label, asked.expires_at)
    request.state["once"].put(who.session_id, token)
    return RedirectResponse(f"{HERE}?done=token", 303)


async def ask_to_revoke(request: Request) -> Response:
    """Show what revoking a token means, and ask."""
    who = await visitor(request)
    found = await request.state["store"].read(users.token, TokenId(path_id(request)), who.user.id)
    if found is None:
        raise NotFound
    return page(request, "revoke.html", token=found, back=HERE, foreign=False)


async def revoke(request: Request) -> Response:
    """Revoke a token of theirs, and the sessions that were opened with it."""
    who = await visitor(request)
    revoked = await request.state["store"].write(users.revoke_token, TokenId(path_id(request)), who.user.id)
    if not revoked:
        raise NotFound
    request.state["access"].ask_again()
    request.state["sessions"].ask_again()
    return RedirectResponse(f"{HERE}?done=revoked", 303)


routes = [
    resource(HERE, GET=show_account),
    resource(f"{HERE}/password", POST=change_password),
    resource(f"{HERE}/devices/{{id:id}}/end", POST=end_device),
    resource(f"{HERE}/sign-out-everywhere", POST=sign_out_everywhere),
    resource(f"{HERE}/tokens", POST=add_token),
    resource(f"{HERE}/tokens/{{id:id}}/revoke", GET=ask_to_revoke, POST=revoke),
]

"""`/sign-in` and `/sign-out`: in by an access token, or by name and password."""

from starlette.responses import RedirectResponse, Response

from app.credentials import csrf_of
from app.pages import entry
from app.pages.fields import Wrong, told
from app.pages.show import page
from app.pages.visitor import Form, SignInNeeded, fields, local_path, visitor
from app.routes.resource import Request, resource

NO_STORE = {"Cache-Control": "no-store"}


async def show_sign_in(request: Request) -> Response:
    """Show the form; who is signed in goes on."""
    next_path = local_path(request.query_params.get("next", "/"))
    try:
        await visitor(request)
    except SignInNeeded:
        response = sign_in_page(request, next_path)
        entry.drop_session(request.scope, response)  # of a session that is over; else each visit counts as a guess
        return response
    return RedirectResponse(next_path, 303, NO_STORE)


async def sign_in(request: Request) -> Response:
    """Take the form, and lead to where it was needed."""
    sent = await fields(request)
    entry.check_before(request.scope, sent)
    next_path = local_path(sent.get("next", "/"))
    if wrong := missing(sent):
        return sign_in_page(request, next_path, sent, wrong, 422)
    secret = await entry.enter(request, sent)
    if secret is None:
        wrong = Wrong("name", "wrong_password") if "name" in sent else Wrong("token", "wrong_token")
        return sign_in_page(request, next_path, sent, wrong, 401)
    response = RedirectResponse(next_path, 303, NO_STORE)
    entry.set_session(request.scope, response, secret)
    return response


async def sign_out(request: Request) -> Response:
    """End the session of this browser."""
    await visitor(request)
    await entry.leave(request)
    response = RedirectResponse("/sign-in", 303, NO_STORE)
    entry.drop_session(request.scope, response)
    return response


def missing(sent: Form) -> Wrong | None:
    """Return which field is empty."""
    if "name" not in sent:
        return None if sent.get("token", "").strip() else Wrong("token", "no_token")
    if not sent["name"].strip():
        return Wrong("name", "no_name")
    return None if sent.get("password") else Wrong("password", "no_password")


def sign_in_page(
    request: Request, next_path: str, sent: Form | None = None, wrong: Wrong | None = None, status: int = 200
) -> Response:
    """Show the form with what was typed, but for secrets, and with what is wrong."""
    secret = entry.secret_before(request.scope)
    response = page(
        request,
        "sign-in.html",
        status,
        next=next_path,
        csrf=csrf_of(secret),
        by_password=sent is not None and "name" in sent,
        name=(sent or {}).get("name", ""),
        **told(request, wrong),
    )
    entry.set_before(request.scope, response, secret)
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


routes = [
    resource("/sign-in", GET=show_sign_in, POST=sign_in),
    resource("/sign-out", POST=sign_out),
]

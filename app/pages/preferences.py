"""`POST /preferences`: the language and the colours that a reader chooses, kept in cookies."""

from starlette.responses import RedirectResponse, Response

from app.pages.look import THEMES
from app.pages.visitor import anybodys_form, local_path
from app.routes.resource import Request, resource
from app.words import LANGUAGES

YEAR = 365 * 24 * 3600


async def choose(request: Request) -> Response:
    """Keep what was chosen, and go back to where it was."""
    given = await anybodys_form(request)
    response = RedirectResponse(local_path(given.get("back", "/")), 303)
    for name, known in (("lang", LANGUAGES), ("theme", THEMES)):
        if given.get(name) in known:
            response.set_cookie(
                name, given[name], YEAR, secure=request.url.scheme == "https", httponly=True, samesite="lax"
            )
    return response


routes = [resource("/preferences", POST=choose)]

"""`page`: an HTML page with its words, its look and its headers."""

from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from app.models import now
from app.pages.look import language_of, theme_of
from app.pages.static import assets
from app.words import Words, times, words

FOLDER = Path(__file__).parent.parent / "templates"

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Nothing from elsewhere, nothing inline, in nobody's frame."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=(), browsing-topics=()",
    "Cache-Control": "no-store",
    "Vary": "Accept-Language, Cookie",
}


def page(request: Request[Any], template: str, status: int = 200, **context: object) -> Response:
    """Render a template. Beside `context` it has what `surroundings` gives; what it lacks is a bug and raises."""
    t = words(language_of(request))
    name = template.removesuffix(".html")
    given = surroundings(request, t) | {
        "page_name": name,
        "modules": modules(name),
        "imports": assets().imports(modules(name)),
    }
    html = environment().get_template(template).render(given | context)
    headers = HEADERS | {"Content-Language": t.language}
    return Response(html, status, headers, media_type="text/html; charset=utf-8")


def surroundings(request: Request[Any], t: Words) -> dict[str, object]:
    """Return what every template has: `t`, `language`, `theme`, `path`, `visitor`, `offline`, the makers of text."""
    settings = request.scope.get("state", {}).get("settings")
    reading = request.method in {"GET", "HEAD"}
    return {
        "t": t,
        "language": t.language,
        "theme": theme_of(request),
        "path": request.url.path,
        "here": address(request) if reading else request.url.path,
        "visitor": request.scope.get("visitor"),
        "moment": now(),
        "offline": bool(settings and settings.offline),
        "icon": "page.svg",
        "errors": (),
        "static": assets().url,
        "number": number,
        "when": partial(when, t.language),
        "duration": partial(times.duration, t.language),
    }


def address(request: Request[Any]) -> str:
    """Return where a reader is, without the language that the address may hold."""
    query = urlencode([(name, value) for name, value in request.query_params.multi_items() if name != "lang"])
    return f"{request.url.path}?{query}" if query else request.url.path


def modules(name: str) -> list[str]:
    """Return the modules of a page: `page.js` on each, and the one that is called as its template is, where it is."""
    return [file for file in ("page.js", f"{name}.js") if file in assets().files]


def number(value: int) -> str:
    """Write a whole number with separators: 8,123."""
    return f"{value:,}"


def when(language: str, moment: str, form: times.Form = "moment") -> Markup:
    """Write a time: in UTC, which a module puts into the reader's zone; `data-form` tells it how."""
    said = times.said(language, moment, now(), form)
    zone = "" if form == "day" else " UTC"
    return Markup('<time datetime="{}" data-form="{}">{}{}</time>').format(moment, form, said, zone)


@cache
def environment() -> Environment:
    """Compile all templates; blocks, so the first call is made in a thread."""
    made = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        cache_size=-1,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
    for name in made.list_templates():
        made.get_template(name)
    return made


def prepare() -> None:
    """Read and compile all that pages are made of; blocks."""
    environment()
    assets()

"""What a reader has chosen, language and colours: by address or cookie, else as the browser asks."""

import re
from typing import Any

from starlette.requests import Request

from app.words import LANGUAGES

THEMES = ("auto", "light", "dark")

PREFERENCE = re.compile(r"\s*([A-Za-z]{1,8}|\*)(?:-[A-Za-z0-9-]*)?\s*(?:;\s*q\s*=\s*([01](?:\.[0-9]{0,3})?)\s*)?")
"""One range of Accept-Language (RFC 9110, 12.5.4): its first subtag and its weight."""


def language_of(request: Request[Any]) -> str:
    """Return the language of the page: the query's or the cookie's `lang`, else the browser's best, else English."""
    for chosen in (request.query_params.get("lang"), request.cookies.get("lang")):
        if chosen in LANGUAGES:
            return chosen
    return preferred(request.headers.get("accept-language", ""))


def theme_of(request: Request[Any]) -> str:
    """Return the colours that were chosen; `auto` follows the device."""
    chosen = request.cookies.get("theme")
    return chosen if chosen in THEMES else "auto"


def preferred(accepted: str) -> str:
    """Return the language that an Accept-Language header likes best; the first where it likes two as much."""
    weights: dict[str, float] = {}
    for part in accepted.split(",")[:32]:
        if found := PREFERENCE.fullmatch(part):
            weights.setdefault(found[1].lower(), float(found[2] or 1))
    known = [language for language in weights if language in LANGUAGES and weights[language] > 0]
    return max(known, key=weights.__getitem__, default="en")

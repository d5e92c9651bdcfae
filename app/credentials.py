"""What a request says who it is with: an access token, or the secret of a browser's session. Pure."""

import hashlib
import hmac
import re
import secrets
from typing import NamedTuple

from starlette.requests import cookie_parser
from starlette.types import Scope

from app.headers import header

COOKIE = "longhand"

SECRET = re.compile(r"lh_[A-Za-z0-9_-]{43}")
"""256 random bits, as `new_secret` writes them: in a form that is kept out of the log."""


class Credential(NamedTuple):
    """An access token, or the secret of a session."""

    secret: str
    is_session: bool


def new_secret() -> str:
    """Make a secret: 256 random bits."""
    return "lh_" + secrets.token_urlsafe(32)


def credential(scope: Scope) -> Credential | None:
    """Return what a request carries: an access token goes before a session. None: nothing that could be either."""
    scheme, _, token = (header(scope, b"authorization") or b"").decode("latin-1").partition(" ")
    if scheme.lower() == "bearer":
        return Credential(token.strip(), is_session=False) if token.strip() else None
    secret = cookie(scope, COOKIE)
    return Credential(secret, is_session=True) if secret and SECRET.fullmatch(secret) else None


def cookie_name(scope: Scope, name: str) -> str:
    """Return what a cookie is called: under TLS its name binds it to this very host."""
    return f"__Host-{name}" if scope["scheme"] == "https" else name


def cookie(scope: Scope, name: str) -> str | None:
    """Return the value of a cookie of ours; under TLS one that was set without is not taken."""
    for key, value in scope["headers"]:
        if key == b"cookie":
            found = cookie_parser(value.decode("latin-1")).get(cookie_name(scope, name))
            if found is not None:
                return found
    return None


def csrf_of(secret: str) -> str:
    """Return what a page has to send along when the browser's cookie asks for a change. Nobody else can make it."""
    return hmac.new(secret.encode(), b"csrf", hashlib.sha256).hexdigest()


def same(given: str | None, wanted: str) -> bool:
    """Compare two secrets in a time that tells nothing."""
    return hmac.compare_digest((given or "").encode("utf-8", "surrogateescape"), wanted.encode())

"""Headers: how many a request may have, and which every answer carries."""

from starlette.types import Scope

from app.errors import Problem
from app.refusals import HeadersTooLarge, UriTooLong

Headers = list[tuple[bytes, bytes]]

MAX_URL_BYTES = 2**13
MAX_HEADERS = 100
MAX_HEADER_BYTES = 2**14
"""Names and values together. Hypercorn's own bound is on heads that have not arrived whole."""

POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
"""An answer of the API is nothing that a browser shows. A page sets its own, which stands."""

PROTECTION = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
STRICT_TRANSPORT = (b"strict-transport-security", b"max-age=31536000")

BARE = (POLICY, *PROTECTION)
UNDER_TLS = (*BARE, STRICT_TRANSPORT)
TAILS = {
    pairs: b"".join(b"%s: %s\r\n" % pair for pair in pairs) for kind in (BARE, UNDER_TLS) for pairs in (kind, kind[1:])
}
"""What `protected` adds, and how HTTP/1.1 writes it."""


def fault(scope: Scope) -> Problem | None:
    """Return what is wrong with the size of a request's head."""
    if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_URL_BYTES:
        return UriTooLong()
    headers = scope["headers"]
    if len(headers) > MAX_HEADERS:
        return HeadersTooLarge()
    size = 0
    for name, value in headers:
        size += len(name) + len(value)
    return HeadersTooLarge() if size > MAX_HEADER_BYTES else None


def protected(scope: Scope, headers: Headers) -> Headers:
    """Return the headers of an answer with those that protect whoever reads it."""
    added = protection(scope)
    for name, _ in headers:
        if name == POLICY[0]:
            return [*headers, *added[1:]]
    return [*headers, *added]


def protection(scope: Scope) -> tuple[tuple[bytes, bytes], ...]:
    """Return the headers that protect who reads an answer that has no policy of its own."""
    return UNDER_TLS if scope["scheme"] == "https" else BARE


def header(scope: Scope, name: bytes) -> bytes | None:
    """Return a request's header, the first of that name; `name` is in lower case."""
    for key, value in scope["headers"]:
        if key == name:
            found: bytes = value
            return found
    return None


def peer(scope: Scope) -> str | None:
    """Return the address that a request came from; None through a Unix socket."""
    client = scope.get("client")
    return client[0] if client else None

"""What stands around the application, as the settings ask: proxies, hosts, other origins, the quota of the unknown."""

from collections.abc import Sequence
from functools import partial

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.addresses import Trusted, client_of, matches_host
from app.again import withdraw
from app.bodies import BodyMiddleware
from app.credentials import credential
from app.forwarded import READERS, Origin
from app.headers import header, peer
from app.limiter import Limiter
from app.middleware import RequestMiddleware
from app.problems import on_bug, problem_response
from app.refusals import RateLimited, WrongHost
from app.settings import Settings

PROBES = frozenset({"/healthz", "/readyz"})
"""What a load balancer asks, by address and not by name."""


METHODS = ("GET", "HEAD", "POST", "PATCH", "PUT", "DELETE")
ASKED = ("Authorization", "Content-Type", "Idempotency-Key", "If-None-Match", "If-Match", "Last-Event-ID", "Prefer",
         "Range", "X-Request-ID")  # fmt: skip
SHOWN = ("Content-Digest", "Content-Disposition", "Content-Range", "ETag", "Idempotency-Replayed", "Location",
         "RateLimit", "RateLimit-Policy", "Retry-After", "WWW-Authenticate", "X-Request-ID")  # fmt: skip


def layers(settings: Settings) -> list[Middleware]:
    """Return what the application is wrapped in, outermost first; what is not asked for is not there."""
    found = [Middleware(RequestMiddleware)]
    if settings.trusted_proxies:
        found.insert(0, Middleware(ProxyMiddleware, settings.trusted_proxies, settings.proxy_header))
    if settings.cors_origins:
        origins = settings.cors_origins
        cors = partial(OriginsMiddleware, allow_methods=METHODS, allow_headers=ASKED, expose_headers=SHOWN)
        found += [Middleware(cors, allow_origins=origins), Middleware(BugMiddleware)]
    if settings.allowed_hosts:
        found.append(Middleware(HostMiddleware, settings.allowed_hosts))
    if settings.rate_per_address:
        found.append(Middleware(QuotaMiddleware, Limiter("address", settings.rate_per_address)))
    return [*found, Middleware(BodyMiddleware, settings.body_grace_seconds, settings.min_body_rate)]


class ProxyMiddleware:
    """Believes a trusted proxy, and nobody else, about the address, the scheme and the host of a request."""

    def __init__(self, app: ASGIApp, proxies: Sequence[str], which: str) -> None:
        self._app = app
        self._trusted = Trusted(proxies)
        self._read = READERS[which]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and peer(scope) in self._trusted:
            scope = _seen(scope, self._read(scope["headers"], self._trusted))
        await self._app(scope, receive, send)


def _seen(scope: Scope, origin: Origin) -> Scope:
    """Return a request's scope as it is on the other side of the proxy."""
    scope = {**scope, "scheme": origin.scheme or scope["scheme"]}
    if origin.address is not None:
        scope["client"] = (origin.address, 0)
    if origin.host is not None:
        others = [pair for pair in scope["headers"] if pair[0] != b"host"]
        scope["headers"] = [(b"host", origin.host.encode()), *others]
    return scope


class OriginsMiddleware(CORSMiddleware):
    """Lets pages of other origins read what is answered. Such an answer is never given again at once."""

    async def simple_response(self, scope: Scope, receive: Receive, send: Send, request_headers: Headers) -> None:
        async def send_without_offer(message: Message) -> None:
            withdraw(scope)  # it lacks the headers that are added here
            await send(message)

        await super().simple_response(scope, receive, send_without_offer, request_headers)


class HostMiddleware:
    """Refuses a request that names another host than the allowed ones; probes may name any."""

    def __init__(self, app: ASGIApp, allowed: Sequence[str]) -> None:
        self._app = app
        self._allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http" and scope["path"] not in PROBES:
            host = (header(scope, b"host") or b"").decode("latin-1")
            if not matches_host(host, self._allowed):
                app = problem_response(Request(scope), WrongHost())
        await app(scope, receive, send)


class QuotaMiddleware:
    """Bounds, by address, the requests of those who do not say who they are.

    Who does is counted where the credential is looked up. An access token may be right or wrong; a browser sends its
    cookie wherever it goes, so that one counts only while it is known to be somebody's. `/healthz` is free, as its
    answer decides whether the process is killed.
    """

    def __init__(self, app: ASGIApp, limiter: Limiter) -> None:
        self._app = app
        self._limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http" and not says_who(scope) and scope["path"] != "/healthz":
            try:
                scope["rate_limit"] = self._limiter.take(client_of(peer(scope)))
            except RateLimited as refusal:
                app = problem_response(Request(scope), refusal)
        await app(scope, receive, send)


class BugMiddleware:
    """Answers a bug within the headers for other origins; the outermost layer's answer would lack them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def sending(message: object) -> None:
            nonlocal begun
            begun = True
            await send(message)  # type: ignore[arg-type]

        try:
            await self._app(scope, receive, sending)
        except Exception as error:
            if begun or scope["type"] != "http":
                raise
            await on_bug(Request(scope), error)(scope, receive, send)


def says_who(scope: Scope) -> bool:
    """Say whether a request carries a credential that is counted: an access token, or a session that is known."""
    for name, _ in scope["headers"]:
        if name == b"authorization":
            return True
        if name == b"cookie" and (carried := credential(scope)) is not None:
            return not carried.is_session or bool(scope["state"]["sessions"].seen(carried.secret))
    return False

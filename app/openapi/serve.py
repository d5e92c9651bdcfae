"""`/openapi.json`, and `/docs` with the parts of its page: all from this machine."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from anyio import Lock
from starlette.responses import Response
from starlette.routing import Route

from app.openapi.build import PARTS, description
from app.routes.resource import Handler, Request, resource
from app.routes.status import matches

PAGE = Path(__file__).parent / "page"

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing from elsewhere, nothing inline, in nobody's frame."""

PAGE_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": POLICY,
}
OWN = {"start.js": "text/javascript; charset=utf-8"}
BUNDLED = {
    "swagger-ui.css": "text/css; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "favicon-32x32.png": "image/png",
}
"""The page's parts, ours and Swagger UI's, with their media types."""


@dataclass(frozen=True, slots=True)
class Content:
    """What is answered, and its entity tag."""

    body: bytes
    etag: str


class Kept:
    """Content that never changes while the process runs: made in a thread when it is first asked for, and kept."""

    def __init__(self, make: Callable[[Request], bytes], media_type: str, headers: Mapping[str, str]) -> None:
        self._make = make
        self._media_type = media_type
        self._headers = headers
        self._content: Content | None = None
        self._making = Lock()

    async def answer(self, request: Request) -> Response:
        content = await self._get(request)
        headers = {**self._headers, "ETag": content.etag}
        if matches(request.headers.get("if-none-match", ""), content.etag):
            return Response(status_code=304, headers=headers)
        return Response(content.body, 200, headers, media_type=self._media_type)

    async def _get(self, request: Request) -> Content:
        async with self._making:
            if self._content is None:
                body = await request.state["threads"].files(self._make, request)
                self._content = Content(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')
        return self._content


def routes() -> list[Route]:
    """Make the routes that describe an application to its callers; what they answer is kept with them."""
    return [
        resource("/openapi.json", GET=Kept(_description, "application/json", {"Cache-Control": "no-cache"}).answer),
        resource("/docs", GET=_file(PAGE / "index.html", "text/html; charset=utf-8")),
        *(resource(PARTS + name, GET=_file(PAGE / name, media)) for name, media in OWN.items()),
        *(resource(PARTS + name, GET=_file(_bundle() / name, media)) for name, media in BUNDLED.items()),
    ]


def _description(request: Request) -> bytes:
    described = description(request.app.routes, request.state["settings"].models)
    return json.dumps(described, ensure_ascii=False, separators=(",", ":")).encode()


def _file(path: Path, media_type: str) -> Handler:
    return Kept(partial(_read, path), media_type, PAGE_HEADERS).answer


def _read(path: Path, _: Request) -> bytes:
    return path.read_bytes()


def _bundle() -> Path:
    """Return the directory of Swagger UI's own files. Their package is not imported: it brings a framework's worth."""
    spec = find_spec("swagger_ui")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0], "static")

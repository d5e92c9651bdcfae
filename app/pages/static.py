"""Style sheet, modules and icons: loaded and compressed once, served under an address that names their content."""

import gzip
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from starlette.responses import Response

from app.errors import NotFound
from app.routes.resource import Request, resource
from app.routes.status import matches

FOLDER = Path(__file__).parent.parent / "static"

MEDIA = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

IMPORT = re.compile(rb'^import [^"]*"\./([^"]+)"', re.MULTILINE)

FOR_EVER = "public, max-age=31536000, immutable"


GZIP = re.compile(r"(?:^|,)\s*gzip\s*(?:;\s*q=(?!0(?:\.0*)?\s*(?:,|$))[0-9.]+\s*)?(?:,|$)", re.IGNORECASE)
"""An Accept-Encoding (RFC 9110, 12.5.3) that takes gzip by its name."""


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is served, as it is and packed, with its entity tag."""

    body: bytes
    packed: bytes
    media: str
    etag: str


@dataclass(frozen=True, slots=True)
class Assets:
    """All files. `version` names the content of all of them, so that a module finds the others beside itself."""

    version: str
    files: dict[str, Asset]

    def url(self, name: str) -> str:
        """Return the address of a file. Raises KeyError where there is none."""
        self.files[name]
        return f"/static/{self.version}/{name}"

    def imports(self, names: list[str]) -> list[str]:
        """Return the further modules that these modules import, so that a page asks for all of them at once."""
        found = list(names)
        for name in found:
            imported = [other.decode() for other in IMPORT.findall(self.files[name].body)]
            found += [other for other in imported if other not in found]
        return found[len(names) :]


@cache
def assets() -> Assets:
    """Read all files; blocks, so the first call is made in a thread."""
    found = {path.name: path for path in sorted(FOLDER.iterdir()) if path.suffix in MEDIA}
    files = {name: _asset(path.read_bytes(), MEDIA[path.suffix]) for name, path in found.items()}
    everything = hashlib.sha256("".join(name + asset.etag for name, asset in files.items()).encode())
    return Assets(everything.hexdigest()[:12], files)


def _asset(body: bytes, media: str) -> Asset:
    return Asset(body, gzip.compress(body, mtime=0), media, f'"{hashlib.sha256(body).hexdigest()[:32]}"')


async def get_file(request: Request) -> Response:
    """Answer a file. Under an address of this version it is kept for ever, under another it is asked for again."""
    known = assets()
    asset = known.files.get(request.path_params["file"])
    if asset is None:
        raise NotFound
    current = request.path_params.get("version") == known.version
    headers = {"Cache-Control": FOR_EVER if current else "no-cache", "Vary": "Accept-Encoding"}
    body, etag = asset.body, asset.etag
    if GZIP.search(request.headers.get("accept-encoding", "")):
        body, etag = asset.packed, f'{etag[:-1]}-gzip"'
        headers["Content-Encoding"] = "gzip"
    headers["ETag"] = etag
    if matches(request.headers.get("if-none-match", ""), etag):
        return Response(status_code=304, headers=headers)
    return Response(body, 200, headers | {"Content-Type": asset.media})


routes = [
    resource("/static/{file}", GET=get_file),
    resource("/static/{version}/{file}", GET=get_file),
]

"""Artifacts and messages: what a completed generation leaves behind."""

import base64
import logging
import re
from contextlib import suppress
from dataclasses import asdict
from typing import Any
from urllib.parse import quote

from starlette.responses import Response

from app.errors import ArtifactLost, Invalid, NotFound, RangeNotSatisfiable
from app.models import Artifact, ArtifactId
from app.queries import artifacts
from app.routes.auth import check_owner, current_user, owned_topic, path_id
from app.routes.paging import page
from app.routes.resource import Request, answer, listing, resource
from app.routes.status import matches

log = logging.getLogger("longhand.artifacts")

RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.IGNORECASE)
"""A single range of RFC 9110, 14.1.2; a list of ranges is answered whole, as it allows."""


async def list_messages(request: Request) -> Response:
    topic = await owned_topic(request)
    asked = page(request)
    found = await request.state["store"].read(artifacts.list_messages, topic.id, asked.position, asked.fetch)
    shown, next_cursor = asked.cut(found, lambda message: message.seq_no)
    return listing([asdict(message) for message in shown], next_cursor)


async def list_artifacts(request: Request) -> Response:
    topic = await owned_topic(request)
    asked = page(request)
    found = await request.state["store"].read(artifacts.list_artifacts, topic.id, asked.position, asked.fetch)
    shown, next_cursor = asked.cut(found, lambda artifact: artifact.id)
    return listing([document(artifact) for artifact in shown], next_cursor)


async def get_artifact(request: Request) -> Response:
    return answer(document(await owned_artifact(request)))


async def download(request: Request) -> Response:
    artifact = await owned_artifact(request)
    if request.query_params.get("format", "md") != "md":
        raise Invalid(("/format", "The format is md."))
    etag = f'"{artifact.sha256}"'
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": disposition(artifact.filename),
    }
    if matches(request.headers.get("if-none-match", ""), etag):
        return Response(status_code=304, headers=headers)
    content = await content_of(request, artifact)
    headers["Content-Type"] = "text/markdown; charset=utf-8"
    wanted = _range(request, etag, len(content))
    if wanted is None:
        digest = base64.b64encode(bytes.fromhex(artifact.sha256)).decode()
        return Response(content, 200, headers | {"Content-Digest": f"sha-256=:{digest}:"})
    first, last = wanted
    headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
    return Response(content[first : last + 1], 206, headers)


async def owned_artifact(request: Request) -> Artifact:
    """Return the artifact of the path, if it is the caller's. Raises Unauthorized or NotFound."""
    user = await current_user(request)
    found = await request.state["store"].read(artifacts.artifact, ArtifactId(path_id(request)))
    if found is None:
        raise NotFound
    artifact, owner = found
    check_owner(user, owner)
    return artifact


async def content_of(request: Request, artifact: Artifact) -> bytes:
    """Return an artifact's file. Raises ArtifactLost, or NotFound when its topic was deleted meanwhile."""
    with suppress(FileNotFoundError):
        return await request.state["files"].read(artifact.path)
    if await request.state["store"].read(artifacts.artifact, artifact.id) is None:
        raise NotFound
    log.error("The file of artifact=%s topic=%s is gone: %s", artifact.id, artifact.topic_id, artifact.path)
    raise ArtifactLost


def document(artifact: Artifact) -> dict[str, Any]:
    """An artifact as the API shows it: without its place on the server's disk."""
    shown = asdict(artifact)
    del shown["path"]
    return shown


def disposition(filename: str) -> str:
    """Return the Content-Disposition of a download (RFC 6266), with an ASCII name beside the true one (RFC 8187)."""
    plain = re.sub(r"[^\x20-\x7e]|[\"\\%]", "_", filename)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"


def _range(request: Request, etag: str, size: int) -> tuple[int, int] | None:
    """Return the first and last byte that are asked for; None: the whole. Raises RangeNotSatisfiable."""
    given = RANGE.fullmatch(request.headers.get("range", "")) if request.method == "GET" else None
    if not given or not (given[1] or given[2]) or request.headers.get("if-range", etag) != etag:
        return None
    if given[1]:
        first, last = int(given[1]), min(int(given[2] or size), size - 1)
        if given[2] and int(given[2]) < first:
            return None
    else:
        first, last = max(size - int(given[2]), 0), size - 1
        if not int(given[2]):
            raise RangeNotSatisfiable(size)
    if first >= size:
        raise RangeNotSatisfiable(size)
    return first, last


routes = [
    resource("/api/topics/{id:id}/messages", GET=list_messages),
    resource("/api/topics/{id:id}/artifacts", GET=list_artifacts),
    resource("/api/artifacts/{id:id}", GET=get_artifact),
    resource("/api/artifacts/{id:id}/download", GET=download),
]

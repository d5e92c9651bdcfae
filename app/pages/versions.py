"""The reading view of one version of a report."""

import logging
from contextlib import suppress

from starlette.responses import Response

from app.errors import ArtifactLost, NotFound
from app.models import Artifact
from app.pages.show import page
from app.pages.text import rendered
from app.pages.topic import MOST_VERSIONS
from app.pages.visitor import visitor
from app.queries import artifacts
from app.routes.auth import LARGEST_ID, owned_topic
from app.routes.resource import Request, resource

log = logging.getLogger("longhand.artifacts")


async def get_version(request: Request) -> Response:
    await visitor(request)
    topic = await owned_topic(request)
    number = min(int(request.path_params["version"]), LARGEST_ID)
    store = request.state["store"]
    version = await store.read(artifacts.version_of_topic, topic.id, number)
    if version is None:
        raise NotFound
    versions = await store.read(artifacts.list_artifacts, topic.id, None, MOST_VERSIONS)
    text = await rendered(request, await _content(request, version), topic.language)
    return page(request, "version.html", topic=topic, version=version, versions=versions, text=text, icon="check.svg")


async def _content(request: Request, version: Artifact) -> str:
    """Return the text of a version. Raises ArtifactLost, or NotFound when its topic was deleted meanwhile."""
    with suppress(FileNotFoundError):
        return (await request.state["files"].read(version.path)).decode()
    await owned_topic(request)
    log.error("The file of artifact=%s topic=%s is gone: %s", version.id, version.topic_id, version.path)
    raise ArtifactLost


routes = [resource("/topics/{id:id}/versions/{version:id}", GET=get_version)]

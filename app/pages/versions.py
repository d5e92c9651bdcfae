"""The reading view of one version of a report."""

from starlette.responses import Response

from app.errors import NotFound
from app.pages.show import page
from app.pages.topic import MOST_VERSIONS, below_title
from app.pages.visitor import visitor
from app.queries import artifacts
from app.routes.auth import LARGEST_ID, owned_topic
from app.routes.blocks import reading
from app.routes.resource import Request, resource


async def get_version(request: Request) -> Response:
    await visitor(request)
    topic = await owned_topic(request)
    number = min(int(request.path_params["version"]), LARGEST_ID)
    store = request.state["store"]
    version = await store.read(artifacts.version_of_topic, topic.id, number)
    if version is None:
        raise NotFound
    versions = await store.read(artifacts.list_artifacts, topic.id, None, MOST_VERSIONS)
    view = await reading(request, version)
    return page(
        request,
        "version.html",
        topic=topic,
        version=version,
        versions=versions,
        view=view,
        contents=below_title(view.contents),
        icon="check.svg",
    )


routes = [resource("/topics/{id:id}/versions/{version:id}", GET=get_version)]

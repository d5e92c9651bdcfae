"""What operators ask: is the process up, can it work."""

from starlette.responses import Response

from app.errors import DatabaseFailed, NotFound, NotReady
from app.exposition import exposition
from app.queries import topics
from app.routes.auth import current_user
from app.routes.resource import Request, answer, resource


async def healthz(_: Request) -> Response:
    return answer({"status": "ok"})


async def readyz(request: Request) -> Response:
    if request.state["runner"].draining:
        raise NotReady("The server is shutting down. Ask another one.")
    try:
        await request.state["store"].write(topics.check_writable)
    except DatabaseFailed as error:
        raise NotReady("The database cannot be written. See the server's log.") from error
    return answer({"status": "ready"})


async def metrics(request: Request) -> Response:
    if not request.state["settings"].metrics_public and not (await current_user(request)).is_admin:
        raise NotFound
    content, media_type = await exposition(request.state, request.headers.get("accept", ""))
    return Response(content, headers={"Content-Type": media_type, "Cache-Control": "no-store"})


routes = [
    resource("/healthz", GET=healthz),
    resource("/readyz", GET=readyz),
    resource("/metrics", GET=metrics),
]

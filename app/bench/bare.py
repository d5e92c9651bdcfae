"""The yardstick: a Starlette app that answers `{"ok": true}`, on stock Hypercorn on Trio.

python -m app.bench.bare
"""

from functools import partial
from typing import cast

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from hypercorn.typing import Framework
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from app.bench.child import end_with_parent, tell


async def ok(_: Request) -> JSONResponse:
    return JSONResponse({"ok": True})


async def serve_stock(app: Starlette) -> None:
    """Serve with Hypercorn as it comes, on a free port, until standard input ends; tell the URL."""
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.backlog = 1024
    async with trio.open_nursery() as nursery:
        (url,) = await nursery.start(partial(serve, cast("Framework", app), config))
        tell(url=url)
        await end_with_parent(nursery.cancel_scope)


if __name__ == "__main__":
    trio.run(serve_stock, Starlette(routes=[Route("/{path:path}", ok)]))
